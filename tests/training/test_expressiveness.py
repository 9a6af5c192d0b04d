"""How much a model can express: a fit that finds what it can find, and yardsticks that mean what they say."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from scipy.spatial.transform import Rotation

from backend.errors import PhotoError, UsageError
from backend.face_models import load_face_model
from training.evaluation import expressiveness, shape
from training.evaluation.expressiveness import Expressiveness, Scan, error_of, fit_to_scan
from training.evaluation.now import ScanError, Similarity


@pytest.fixture(scope="module")
def model():
    return load_face_model("open_head")


@pytest.fixture(scope="module")
def scan(model):
    """Somebody of the open head itself: middles of the triangles that a scanner sees."""
    return scan_of_head(model, model.neutral(np.random.default_rng(5).normal(size=model.identity_size)))


def scan_of_head(model, head):
    triangles = shape.skin_triangles(model)
    triangles = triangles[model.masks["outer_skin"][triangles].all(axis=1)]
    head = head.astype(float)
    return Scan(head[triangles].mean(axis=1)[::2], model.landmarks68(head))


def median(model, head, scan, metrical=False):
    return np.median(error_of(model, head, scan, metrical).distances_mm)


def test_a_model_fitted_to_its_own_person_has_hardly_any_error(model, scan):
    mean = model.neutral(np.zeros(model.identity_size))
    for metrical in (False, True):
        assert median(model, fit_to_scan(model, scan, metrical=metrical), scan, metrical) < 0.06
        assert median(model, mean, scan, metrical) > 0.5


def test_where_the_scan_lies_and_how_large_it_is_does_not_matter(model, scan):
    turn = Rotation.from_euler("xyz", (20, -35, 10), degrees=True).as_matrix()
    elsewhere = Similarity(1.3, turn, np.array([0.4, -0.1, 0.9]))
    moved = Scan(elsewhere.apply(scan.points), elsewhere.apply(scan.landmarks68))
    assert median(model, fit_to_scan(model, moved, metrical=False), moved) < 0.06 * 1.3


def test_a_face_larger_than_the_modes_can_make_is_told_by_the_metrical_error_alone(model, scan):
    larger = Scan(1.3 * scan.points, 1.3 * scan.landmarks68)
    assert median(model, fit_to_scan(model, larger, metrical=True), larger, metrical=True) > 0.15
    assert median(model, fit_to_scan(model, larger, metrical=False), larger, metrical=False) < 0.08


def test_somebody_whom_half_the_modes_cannot_make_is_not_fitted_as_well(model, scan):
    few = SimpleNamespace(
        mean=model.mean,
        identity_basis=model.identity_basis[:6],
        identity_size=6,
        topology=model.topology,
        landmarks68=model.landmarks68,
        neutral=model.neutral,
    )
    assert median(model, fit_to_scan(few, scan, metrical=False), scan) > 0.2


def test_the_derivatives_of_the_motion_are_those_of_the_motion():
    points = np.random.default_rng(0).normal(size=(5, 3))
    still, small = Similarity(1.0, np.eye(3), np.zeros(3)), 1e-6
    for number in range(7):
        step = np.zeros(7)
        step[number] = small
        found = (expressiveness._stepped(still, step).apply(points) - points) / small
        assert np.allclose(expressiveness._motions(points, with_scale=True)[:, :, number], found, atol=1e-4)


def test_scans_are_points_on_the_outer_skin_and_no_vertices(model):
    (found,) = expressiveness.scans(model, 1, 300)
    identity = np.random.default_rng(expressiveness.FIRST_SEED).standard_normal(model.identity_size)
    head = model.neutral(identity.astype(np.float32)).astype(float)
    assert found.points.shape == (300, 3)
    assert median(model, head, found, metrical=True) < 1e-3
    nearest = np.linalg.norm(found.points[:, None] - head[None], axis=2).min(axis=1)
    assert np.median(nearest) > 2e-4


def test_a_head_agrees_with_itself_and_a_larger_copy_does_but_for_its_size(model):
    head = model.neutral(np.zeros(model.identity_size))
    larger = (1.04 * head + np.float32(0.01)).astype(np.float32)
    same = expressiveness.agreement([(model, head), (model, larger)], metrical=False, points=300)
    metrical = expressiveness.agreement([(model, head), (model, larger)], metrical=True, points=300)
    assert same.median < 0.02 and metrical.median > 0.3
    assert same.scans == 2 and same.points == 600


def test_the_four_views_are_made_into_one_head_by_each_model(model, tmp_path, monkeypatch):
    for number in range(2):
        Image.new("RGB", (640, 640)).save(tmp_path / f"{number}.jpg")
    seen, compared = [], []
    other = SimpleNamespace(name="other", identity_size=1, neutral=lambda identity: "mean of other")

    def reconstruct(images, focals, face_model):
        seen.append((len(images), focals, face_model))
        return SimpleNamespace(neutral=f"made by {face_model}")

    monkeypatch.setattr(expressiveness, "agreement", lambda heads, metrical: compared.append((heads, metrical)))
    expressiveness.four_views(tmp_path, [model, other], reconstruct)
    assert seen == [(2, [None, None], "open_head"), (2, [None, None], "other")]
    assert [metrical for _, metrical in compared] == [False, False, True, True]
    assert [head for _, head in compared[1][0]] == ["made by open_head", "made by other"]
    assert compared[0][0][1] == (other, "mean of other")


def errors(*millimetres):
    return [
        ScanError(np.array([value]), np.array([True]), Similarity(1.0, np.eye(3), np.zeros(3))) for value in millimetres
    ]


def test_the_table_says_how_much_is_explained_and_how_many_modes_did_it():
    rows = {expressiveness.MEAN: errors(1.0, 2.0, 3.0), expressiveness.FITTED: errors(0.5, 0.5, 0.5)}
    text = expressiveness.table([Expressiveness("a", 10, "b", 20, {"non-metrical": rows})])
    assert "3 people of b (20 modes), a (10 modes)" in text
    assert "a explains 75 % of the median distance of its mean" in text


def test_the_open_head_is_not_compared_with_itself():
    with pytest.raises(UsageError, match="name another one"):
        shape.main(["--face-model", "open_head"])


def test_the_command_prints_both_tables_and_writes_both(model, tmp_path, monkeypatch, capsys):
    other, answer = SimpleNamespace(name="other"), tmp_path / "figures.json"
    monkeypatch.setattr(shape, "load_face_model", lambda name: model if name == "open_head" else other)
    monkeypatch.setattr(shape, "data_folder", lambda given, needed: tmp_path)
    monkeypatch.setattr(
        expressiveness, "compare", lambda models, people: (f"{[m.name for m in models]} {people}", [{"rows": 1}])
    )
    monkeypatch.setattr(
        expressiveness, "compare_views", lambda models, folder, method: (f"{folder.name} {method}", {"metrical": 2})
    )
    assert shape.main(["--face-model", "other", "--people", "3", "--json", str(answer)]) == 0
    assert capsys.readouterr().out == "['open_head', 'other'] 3\nfour_views_nc eye-motion\n"
    assert json.loads(answer.read_text()) == {"expressiveness": [{"rows": 1}], "four_views": {"metrical": 2}}


def test_views_without_a_face_are_a_sentence_and_no_figures(model, tmp_path, monkeypatch):
    def no_face(*arguments):
        raise PhotoError("no-face", "No face was found in 1.jpg.")

    monkeypatch.setattr(expressiveness, "four_views", no_face)
    assert expressiveness.compare_views([model, model], tmp_path, "fit") == ("No face was found in 1.jpg.", {})
