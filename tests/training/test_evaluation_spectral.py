"""The tables of the spectral method: what each loss adds, seed by seed, and whose heads are nearest."""

from types import SimpleNamespace

import numpy as np
import pytest

from backend.errors import PhotoError, UsageError
from backend.face_models import load_face_model
from training import ablate
from training.evaluation import method_shapes, spectral
from training.evaluation.shape import FRONT


def run(median, **more):
    kinds = ("scan", "metrical", "ict_scan", "ict_metrical")
    figures = {f"{kind}_{part}_mm": median for kind in kinds for part in ("median", "mean", "std")}
    return {"figures": figures | {"landmark_error_px": 3.0, "people": 24.0, "ict_people": 24.0} | more, "steps": 700}


@pytest.fixture
def results(monkeypatch):
    found = {
        "2d": [run(2.0), run(2.2), run(2.1)],
        "2d+vertices": [run(1.5), run(1.7), run(1.6)],
        "2d+vertices+3did": [run(1.4), run(1.8), run(1.5)],
        "one-encoder": [run(1.9, landmark_error_px=9.0)],
    }
    monkeypatch.setattr(spectral, "read_results", lambda method: found)
    return found


def test_the_ablation_says_what_each_loss_adds_and_how_seeds_differ(results):
    text, figures = spectral.ablation_table()
    assert set(figures) == set(results)
    lines = text.splitlines()
    assert next(line for line in lines if line.startswith("2D only")).split()[2:4] == ["2.100", "(0.100)"]
    assert "with vertices the median is 23.8 % lower, in 3 of 3 seeds" in text
    assert "with 3D-ID the median is 2.1 % lower, in 2 of 3 seeds" in text
    assert next(line for line in lines[::-1] if line.startswith("the same, one encoder")).split()[-2:] == [
        "9.000",
        "700",
    ]
    assert text.count("ICT") == 3


def test_figures_that_were_not_measured_are_left_out(results):
    for rows in results.values():
        for row in rows:
            row["figures"] = {name: value for name, value in row["figures"].items() if not name.startswith("ict")}
    text, _ = spectral.ablation_table()
    assert "ICT, " not in text and "synthetic, metrical" in text


def test_an_ablation_that_was_not_trained_is_named(results):
    del results["one-encoder"]
    assert "one encoder" not in spectral.ablation_table()[0]
    del results["2d+vertices"]
    with pytest.raises(UsageError, match="--only 2d\\+vertices"):
        spectral.ablation_table()


def test_rows_of_one_seed_are_trained_once():
    named = [(each.name, each.seed) for each in ablate.ablations("spectral")]
    assert named.count(("one-encoder", 1)) == 1 and len(named) == 10
    assert {seed for name, seed in named if name == "2d"} == {1, 2, 3}


def test_each_method_is_scored_by_itself_and_with_the_fit(monkeypatch):
    """The network's head is that of its joint identity; a picture without a face is scored as the mean head."""
    model = load_face_model("open_head")
    pictures = [np.full((2, 2, 3), value, np.uint8) for value in range(3)]

    def find_face(picture, name, number):
        if picture is pictures[0]:
            raise PhotoError("no-face", "No face.")
        return picture

    def codes_of(chosen, faces):
        """The middle one carries the identity of all."""
        total = np.full(96, float(sum(picture[0, 0, 0] for picture in chosen)))
        carrier = len(chosen) // 2
        return [
            SimpleNamespace(measurement=SimpleNamespace(identity=total if number == carrier else None))
            for number in range(len(chosen))
        ]

    fitted = []

    def fit_photographs(chosen, focal, method):
        fitted.append((len(chosen), method))
        return SimpleNamespace(neutral=model.mean)

    monkeypatch.setattr(method_shapes, "find_face", find_face)
    monkeypatch.setattr(method_shapes, "fit_photographs", fit_photographs)
    methods = {"fit": None, "some": SimpleNamespace(codes_of=codes_of)}
    heads = method_shapes.heads_of(SimpleNamespace(pictures=pictures), model, methods)
    assert set(heads) == {("mean head", "")} | {
        (row, count) for row in ("fit", "some, network alone", "some + fit") for count in method_shapes.COUNTS
    }
    assert fitted == [(1, "fit"), (1, "some"), (3, "fit"), (3, "some")]
    alone = heads["some, network alone", "one photograph"]
    assert np.allclose(alone, model.neutral(np.full(96, FRONT, np.float32)), atol=1e-6)
    assert np.array_equal(heads["some, network alone", "three photographs"], heads["mean head", ""])
    alone = method_shapes.network_head(methods["some"], model, pictures[1:])
    assert np.allclose(alone, model.neutral(np.full(96, 1 + 2, np.float32)), atol=1e-6)
