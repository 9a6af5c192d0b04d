"""What `bench face-models` measures: real loads in processes of their own, and a verdict that follows from them."""

import sys

import pytest

from backend import bench_face_models
from backend.face_models import load_face_model


def test_a_new_process_says_how_long_the_open_head_took_to_load_and_what_it_is():
    model = load_face_model("open_head")
    found = bench_face_models.measure_one("open_head", forget=False)
    assert (found["vertices"], found["modes"]) == (len(model.mean), model.identity_size)
    assert found["keys"] == len(model.key_names)
    assert 0.001 < found["load_s"] < 30 and 0 < found["neutral_ms"] and 0 < found["keys_ms"]
    assert not found["forgotten"]


@pytest.mark.skipif(sys.platform != "linux", reason="Linux says what a process holds, and forgets files when asked")
def test_memory_is_at_least_that_of_the_arrays_and_a_file_can_be_forgotten(tmp_path):
    found = bench_face_models.measure_one("open_head", forget=True)
    model = load_face_model("open_head")
    assert found["holds_mb"] > (model.mean.nbytes + model.identity_basis.nbytes) / 1e6
    assert found["forgotten"]


def row(seconds, name="a", forgotten=True):
    found = dict.fromkeys(("vertices", "keys", "modes"), 7)
    found |= dict.fromkeys(("file_mb", "holds_mb", "first_ms", "neutral_ms", "keys_ms"), 1.5)
    return found | {"name": name, "load_s": seconds, "forgotten": forgotten}


def test_the_slowest_warm_model_decides():
    text = bench_face_models.table([(row(3.0), row(0.4)), (row(3.0, "b"), row(0.9, "b"))])
    assert text.endswith(": reached")
    text = bench_face_models.table([(row(3.0), row(0.4)), (row(3.0, "b"), row(1.1, "b"))])
    assert text.endswith("NOT reached by b")


def test_a_cold_figure_is_left_out_where_the_file_could_not_be_forgotten():
    text = bench_face_models.table([(row(3.21, forgotten=False), row(0.4))])
    assert "3.21" not in text and "0.400" in text


def test_every_model_that_is_here_is_measured_cold_and_then_warm(monkeypatch):
    asked = []
    monkeypatch.setattr("backend.options.face_model_names", lambda: ("open_head", "other"))
    monkeypatch.setattr(
        bench_face_models, "measure_one", lambda name, forget: asked.append((name, forget)) or row(0.1, name)
    )
    text = bench_face_models.measure_face_models(lambda line: None)
    assert asked == [("open_head", True), ("open_head", False), ("other", True), ("other", False)]
    assert "other" in text
