"""The identity figures: areas and thresholds by definition, unknown faces as wrong, the table, real photographs."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.errors import PhotoError, UsageError
from backend.networks.iresnet import IResNet
from backend.weights import save_weights
from training.evaluation import identity

DATA = Path(os.environ.get("LIFEMASK_DATA") or Path(__file__).parents[3] / "shared/data")
values = st.lists(st.integers(-5, 5), min_size=1, max_size=12).map(lambda found: np.array(found) / 5)


@given(values, values)
def test_the_area_under_the_curve_is_the_share_of_pairs_in_order(same, different):
    wins = [1.0 if s > d else 0.5 if s == d else 0.0 for s in same for d in different]
    assert identity.roc_auc(same, different) == pytest.approx(np.mean(wins))


@settings(deadline=None)
@given(values, values)
def test_no_threshold_is_better_than_the_best(same, different):
    best = identity.accuracy(same, different, identity.best_threshold(same, different))
    tried = [identity.accuracy(same, different, threshold) for threshold in np.linspace(-2, 2, 81)]
    assert best >= max(tried) - 1e-12


def directions(people, pictures, noise, seed=0):
    rng = np.random.default_rng(seed)
    centres = np.repeat(rng.normal(size=(people, 32)), pictures, axis=0)
    found = centres + noise * rng.normal(size=centres.shape)
    return found / np.linalg.norm(found, axis=1, keepdims=True), np.repeat(np.arange(people), pictures)


def test_people_far_apart_are_told_apart_and_noise_is_guessing():
    clear = identity.verify(*directions(20, 4, 0.1))
    assert clear.accuracy > 0.99 and clear.auc > 0.999 and clear.same > 0.9 > 0.5 > clear.different
    assert (clear.same_pairs, clear.different_pairs) == (20 * 6, 80 * 79 // 2 - 20 * 6)
    noise = identity.verify(*directions(20, 4, 1e6))
    assert abs(noise.auc - 0.5) < 0.1 and abs(noise.accuracy - 0.5) < 0.1


def test_the_threshold_comes_from_other_people_than_it_is_tested_on():
    # Two families, their cosines on other levels: each half is separable, but not by the threshold of the other.
    near = np.array([[1.0, 0, 0], [1, 0.1, 0], [0.9, 0.5, 0], [0.9, 0.6, 0]])
    near[:, 2] = 0.01
    far = np.array([[0.0, 0, 1], [0.8, 0, 1], [0, 1, -1], [0, 1, -2.0]])
    embeddings = np.concatenate([near, far])
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    people = np.array([0, 0, 2, 2, 1, 1, 3, 3])  # even ones are one half, odd ones the other
    halves = [identity.pairs(embeddings[part], people[part]) for part in (slice(0, 4), slice(4, 8))]
    assert all(identity.accuracy(*half, identity.best_threshold(*half)) == 1 for half in halves)
    assert identity.verify(embeddings, people).accuracy < 1


def test_too_few_people_for_two_halves_have_an_area_but_no_accuracy():
    few = identity.verify(*directions(2, 4, 0.1))
    assert np.isnan(few.accuracy) and few.auc > 0.9


def test_a_photograph_without_a_face_is_a_wrong_answer():
    gallery = {"a": np.array([1.0, 0]), "b": np.array([0, 1.0]), "c": None}
    probes = [("a", np.array([0.9, 0.1])), ("b", np.array([0.8, 0.2])), ("a", None), ("c", np.array([1.0, 0]))]
    found = identity.identify(gallery, probes)
    assert (found.right, found.total, found.missed, found.gallery) == (1, 4, 2, 3)
    assert found.same == pytest.approx((0.9 + 0.2) / 2) and found.different == pytest.approx((0.1 + 0.8) / 2)


def test_nobody_found_makes_no_figures_but_no_error():
    found = identity.identify({"a": None}, [("a", None)])
    assert (found.right, found.total, found.missed) == (0, 1, 1) and np.isnan(found.auc)


def test_london_is_smiling_among_neutral_and_lisa_is_looked_for_among_others():
    one, two, her = np.eye(3)
    london = {"001_neutral": one, "001_smiling": one, "002_neutral": two, "002_smiling": one}
    found = identity.identify_london(london)
    assert (found.right, found.total, found.gallery) == (1, 2, 2)
    found = identity.identify_lisa({"60cm": her, "15cm": her, "lisa1": two}, london)
    assert (found.right, found.total, found.gallery) == (1, 2, 3)


def test_embeddings_are_of_unit_length_and_do_not_depend_on_the_batch(monkeypatch):
    network = IResNet((1, 1, 1, 1), width=4, embedding=16)
    faces = np.random.default_rng(0).integers(0, 256, (5, 112, 112, 3), np.uint8)
    whole = identity.embedder(network)(faces)
    monkeypatch.setattr(identity, "BATCH", 2)
    assert np.allclose(identity.embedder(network)(faces), whole, atol=1e-5)
    assert np.allclose(np.linalg.norm(whole, axis=1), 1, atol=1e-5) and not network.training


@pytest.fixture(scope="module")
def synthetic():
    return identity.synthetic_faces(4)


def test_faces_of_synthetic_people_are_crops_of_several_people(synthetic):
    faces, people, yaws = synthetic
    assert faces.shape == (32, 112, 112, 3) and faces.dtype == np.uint8 and yaws.shape == (32,)
    assert people.tolist() == np.repeat(range(4), 8).tolist() and faces.std() > 20


def test_a_photograph_without_a_face_is_kept_as_none(tmp_path, monkeypatch, caplog):
    from PIL import Image

    def nothing(image, name):
        raise PhotoError("no-face", f"No face was found in {name}.")

    monkeypatch.setattr("backend.detection.find_face", nothing)
    Image.new("RGB", (50, 50)).save(tmp_path / "wall.jpg")
    assert identity.photographed_faces([tmp_path / "wall.jpg"]) == {"wall": None}
    assert "wall.jpg" in caplog.text
    assert identity.embed_found(lambda faces: faces, {"wall": None}) == {"wall": None}


def tiny_weights(path):
    facts = {"network": {"blocks": [1, 1, 1, 1], "width": 4, "embedding": 16, "size": 112}}
    save_weights(path, IResNet(**facts["network"]).state_dict(), "identity-embedding", "open_head", facts)
    return path


def test_the_command_prints_a_table_and_writes_the_figures(tmp_path, capsys, monkeypatch, synthetic):
    monkeypatch.setattr(identity, "synthetic_faces", lambda people: synthetic)
    weights = tiny_weights(tmp_path / "tiny.safetensors")
    figures = tmp_path / "figures.json"
    wanted = ["--network", str(weights), "--people", "4", "--only", "synthetic", "--json", str(figures)]
    assert identity.main(wanted) == 0
    printed = capsys.readouterr().out
    assert "accuracy" in printed and "synthetic, any view" in printed and "yaw below 30 degrees" in printed
    found = json.loads(figures.read_text())["synthetic, any view"]
    assert found["same_pairs"] == 4 * 28 and 0 <= found["auc"] <= 1


def test_test_data_that_are_not_there_are_named(tmp_path):
    with pytest.raises(UsageError, match="photos/london"):
        identity.main(["--only", "photographs", "--data", str(tmp_path)])


def test_too_few_people_are_a_wrong_command(capsys):
    with pytest.raises(SystemExit):
        identity.main(["--people", "2"])
    assert "4 or more" in capsys.readouterr().err


@pytest.mark.skipif(not (DATA / identity.LONDON).is_dir(), reason="needs shared/data/photos/london")
def test_the_shipped_network_finds_smiling_people_among_neutral_ones():
    paths = sorted((DATA / identity.LONDON).glob("*.jpg"))[:10]  # five people
    embed = identity.embedder(identity.read_embedding(identity.SHIPPED))
    found = identity.identify_london(identity.embed_found(embed, identity.photographed_faces(paths)))
    assert found.total == 5 and found.right >= 4 and found.missed == 0 and found.auc > 0.97
