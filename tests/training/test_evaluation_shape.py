"""The shape figures: the floor is a floor, rows mean what they say, the table tells what was reached."""

import json
import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from backend.errors import PhotoError, SetupError
from backend.face_models import load_face_model
from training.evaluation import shape
from training.evaluation.ict_people import IctSubject
from training.evaluation.now import ErrorSummary, scan_error
from training.open_head.makehuman_mean import load_makehuman_mean

DATA = Path(os.environ.get("LIFEMASK_DATA") or Path(__file__).parents[3] / "shared/data")
FILE = DATA / "face_models/ict_facekit.npz"


@pytest.fixture(scope="module")
def model():
    return load_face_model("open_head")


@pytest.fixture(scope="module")
def subject(model):
    """Someone of the open head itself, as a scan; pictures without a face."""
    identity = np.random.default_rng(0).normal(size=model.identity_size).astype(np.float32)
    neutral = model.neutral(identity).astype(float)
    triangles = shape.skin_triangles(model)
    triangles = triangles[model.masks["outer_skin"][triangles].all(axis=1)]  # a scanner sees no eye socket
    scan = neutral[triangles].mean(1)[::2]
    picture = np.full((96, 96, 3), 128, np.uint8)
    shut = {"left": 0.0, "right": 0.0}
    ahead = {"left": (0.0, 0.0), "right": (0.0, 0.0)}
    centres = model.eye_centres(neutral)
    return IctSubject([picture] * 3, scan, model.landmarks68(neutral), shut, ahead, centres, 0.012)


def error_of(model, head, subject):
    triangles = shape.skin_triangles(model)
    error = scan_error(head, triangles, model.landmarks68(head), subject.scan, subject.scan_landmarks68)
    return np.median(error.distances_mm)


def test_the_floor_of_somebody_the_basis_can_be_is_far_below_the_mean(model, subject):
    mean = model.neutral(np.zeros(model.identity_size, np.float32))
    floor = shape.fit_to_scan(model, subject.scan, subject.scan_landmarks68)
    assert error_of(model, floor, subject) < 0.35 * error_of(model, mean, subject)


def test_makehumans_mean_is_a_head_of_the_same_mesh(model):
    own, makehuman = model.neutral(np.zeros(model.identity_size, np.float32)), load_makehuman_mean(len(model.mean))
    skin = np.unique(shape.skin_triangles(model))
    assert np.linalg.norm(makehuman[skin] - own[skin], axis=1).max() < 0.04
    assert np.linalg.norm(makehuman[skin] - own[skin], axis=1).mean() < 0.015


def test_a_mean_of_another_mesh_is_refused_with_the_command_that_mends_it():
    with pytest.raises(SetupError, match="makehuman_mean --data"):
        load_makehuman_mean(17)


def test_reconstructions_get_the_frontal_picture_then_all_and_the_focal_length(model, subject, monkeypatch):
    monkeypatch.setattr(shape, "fit_to_scan", lambda *_: model.mean)
    calls = []

    def reconstruct(pictures, focals):
        calls.append((len(pictures), focals))
        return SimpleNamespace(neutral=model.mean + len(calls))

    heads = shape.heads_of(subject, model, unknown_focal=True, reconstruct=reconstruct)
    assert calls == [(1, [85.0]), (3, [85.0] * 3), (1, [None]), (3, [None] * 3)]
    assert list(heads) == [
        *(shape.MAKEHUMAN_MEAN, shape.OWN_MEAN, shape.ONE, shape.THREE),
        *(shape.ONE_UNKNOWN, shape.THREE_UNKNOWN, shape.FLOOR),
    ]
    assert np.allclose(heads[shape.THREE], model.mean + 2)


def test_a_picture_without_a_face_is_scored_as_the_mean_not_left_out(model, subject, monkeypatch):
    monkeypatch.setattr(shape, "fit_to_scan", lambda *_: model.mean)

    def reconstruct(pictures, focals):
        raise PhotoError("no-face", "No face was found.")

    heads = shape.heads_of(subject, model, unknown_focal=False, reconstruct=reconstruct)
    assert np.array_equal(heads[shape.ONE], heads[shape.OWN_MEAN])


def test_the_table_says_what_was_reached_and_what_not():
    rows = {
        shape.MAKEHUMAN_MEAN: ErrorSummary(1.30, 1.5, 1.0, 24, 9),
        shape.OWN_MEAN: ErrorSummary(1.10, 1.5, 1.0, 24, 9),
        shape.ONE: ErrorSummary(1.08, 1.5, 1.0, 24, 9),
        shape.THREE: ErrorSummary(1.15, 1.5, 1.0, 24, 9),
    }
    own, one, three = shape.table(rows).splitlines()[2:5]
    assert "15.4 % below" in own and own.endswith(": reached)")
    assert "1.8 % below" in one and one.endswith("not reached)")
    assert "4.5 % above" in three and three.endswith("not reached)")


@pytest.mark.slow
@pytest.mark.skipif(not FILE.is_file(), reason=f"no {FILE}: ICT-FaceKit is not part of the project")
def test_the_command_prints_the_means_and_the_floor_of_a_person(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(shape, "subjects", lambda path, people, cache: one_person(path))
    answer = tmp_path / "figures.json"
    code = shape.main(["--data", str(DATA), "--people", "1", "--only-means", "--no-cache", "--json", str(answer)])
    assert code == 0
    printed, rows = capsys.readouterr().out, json.loads(answer.read_text())["rows"]
    assert f"{rows[shape.OWN_MEAN]['median']:.3f}" in printed
    assert rows[shape.FLOOR]["median"] < 0.6 * rows[shape.OWN_MEAN]["median"]
    assert 0.8 < rows[shape.MAKEHUMAN_MEAN]["median"] < 2.0


def one_person(path):
    """Person 0 without pictures, 4000 scan points."""
    from backend.face_models.ict import IctFaceKit
    from training.evaluation.ict_people import ict_person, scan_of

    ict = IctFaceKit(path)
    person = ict_person(ict, 0)
    landmarks = ict.landmarks68(person.neutral).astype(float)
    yield IctSubject(
        [], scan_of(ict, person, 4000), landmarks, person.closure, person.gaze_degrees, np.zeros((2, 3)), 0.012
    )
