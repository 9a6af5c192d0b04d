"""The random people to measure with: states as promised, pictures with a face, scans of what is seen."""

import os
from pathlib import Path

import numpy as np
import pytest

from backend.face_models.ict import IctFaceKit
from backend.surface import Surface
from training.evaluation import ict_people
from training.evaluation.ict_people import (
    IctPainter,
    ict_person,
    lip_weights,
    picture_camera,
    random_expression,
    scan_of,
    seen_from_outside,
    subjects,
    winking_person,
)
from training.evaluation.now import crop_to_face

DATA = Path(os.environ.get("LIFEMASK_DATA") or Path(__file__).parents[3] / "shared/data")
FILE = DATA / "face_models/ict_facekit.npz"
pytestmark = pytest.mark.skipif(not FILE.is_file(), reason=f"no {FILE}: ICT-FaceKit is not part of the project")


@pytest.fixture(scope="module")
def model():
    return IctFaceKit(FILE)


@pytest.fixture(scope="module")
def person(model):
    return ict_person(model, 3)


def test_half_of_24_people_have_an_eye_shut_and_half_an_expression(model, monkeypatch):
    asked = []
    monkeypatch.setattr(
        ict_people, "make_person", lambda model, seed, closure, **how: asked.append((seed, closure, how))
    )
    for number in range(24):
        ict_person(model, number)
    assert sum(max(closure.values()) > 0.5 for _, closure, _ in asked) == 12
    assert sum(how["with_expression"] for _, _, how in asked) == 12
    both = sum(max(closure.values()) > 0.5 and how["with_expression"] for _, closure, how in asked)
    assert both == 6
    assert [seed for seed, _, _ in asked] == list(range(10_000, 10_024))


def test_winking_people_shut_one_eye_left_and_right_by_turns(model):
    first, second = winking_person(model, 0), winking_person(model, 1)
    assert first.closure == {"left": 1.0, "right": 0.0} and second.closure == {"left": 0.0, "right": 1.0}
    found = model.lid_closure(first.posed, first.neutral)
    assert found["left"] > 0.9 and found["right"] < 0.3


def test_a_person_is_the_same_every_time(model, person):
    again = ict_person(model, 3)
    assert np.array_equal(again.posed, person.posed)
    assert not np.array_equal(again.identity, ict_person(model, 4).identity)


def test_expressions_are_keys_of_the_model_and_leave_the_lids_alone(model):
    for seed in range(20):
        weights = random_expression(np.random.default_rng(seed))
        assert weights and set(weights) <= set(model.key_names)
        assert not any(name.startswith("eye") for name in weights)
        assert all(0 <= value <= 1 for value in weights.values())


def test_lips_are_red_where_the_mouth_is_and_nowhere_else(model):
    lips = lip_weights(model)
    points = model.landmarks68(model.mean)
    painted = model.mean[lips > 0.5]
    assert len(painted) > 100
    assert painted[:, 1].max() < points[33, 1] and painted[:, 1].min() > points[8, 1]
    assert lips[model._landmark_vertices[[51, 57]]].min() > 0.3  # the middle of both lips' outline
    assert lips[model._landmark_vertices[[8, 30, 39]]].max() == 0


def test_a_picture_shows_a_face_where_the_camera_looks(model, person):
    from backend.detection import find_face

    camera = picture_camera(0, 448)
    picture = IctPainter(model).picture(person, camera)
    assert picture.shape == (448, 448, 3) and picture.dtype == np.uint8
    face = find_face(picture, "picture")
    tip = camera.project(model.landmarks68(person.posed)[30])
    outer = camera.project(model.landmarks68(person.posed)[[36, 45]])
    assert np.linalg.norm(face.points[1] - tip) < 0.1 * np.linalg.norm(outer[0] - outer[1])


def test_scan_points_lie_on_the_skin_inside_the_crop(model, person):
    scan = scan_of(model, person, 500)
    triangles = model.topology.triangles[np.isin(model.topology.triangle_face, range(*model.topology.part_faces[0]))]
    closest, _ = Surface(person.neutral, triangles).closest(scan)
    assert scan.shape == (500, 3)
    assert np.abs(closest - scan).max() < 1e-6
    assert crop_to_face(scan, model.landmarks68(person.neutral)).all()


def test_a_scanner_sees_the_nose_but_not_the_inside_of_the_mouth_nor_the_back_of_the_head(model, person):
    neutral = person.neutral.astype(float)
    tip, back = neutral[model._landmark_vertices[30]], neutral[neutral[:, 2].argmin()]
    inside = neutral[model.topology.part_vertices("mouth_inside")].mean(0)
    points = np.array([tip, back, inside])
    normals = np.array([[0, 0, 1.0], [0, 0, -1.0], [0, 0, 1.0]])
    assert list(seen_from_outside(model, neutral, points, normals)) == [True, False, False]


def test_people_from_the_cache_equal_those_made_anew(monkeypatch, tmp_path):
    monkeypatch.setattr(ict_people, "SCAN_POINTS", 200)
    monkeypatch.setattr(ict_people, "picture_camera", lambda yaw: picture_camera(yaw, 96))
    made = next(subjects(FILE, 1, tmp_path, yaws_degrees=(0,)))
    monkeypatch.setattr(ict_people, "IctFaceKit", None)  # the cache does without the model
    loaded = next(subjects(FILE, 1, tmp_path, yaws_degrees=(0,)))
    assert len(loaded.pictures) == 1 and np.array_equal(made.pictures[0], loaded.pictures[0])
    assert np.array_equal(made.scan, loaded.scan)
    assert loaded.closure == made.closure
    assert loaded.gaze_degrees["left"] == pytest.approx(made.gaze_degrees["left"])


def test_people_are_seen_from_the_yaws_asked_for_and_kept_apart_from_others(model, person, monkeypatch, tmp_path):
    class Painter:
        """Its pictures say from which yaw they were taken."""

        def __init__(self, model):
            pass

        def picture(self, person, camera):
            x, _, z = camera.position - [0, -0.03, 0.02]
            return np.full((2, 2, 3), 100 + round(np.degrees(np.arctan2(x, z))), np.uint8)

    def ict_person(model, number):
        return person

    monkeypatch.setattr(ict_people, "IctFaceKit", lambda path: model)
    monkeypatch.setattr(ict_people, "IctPainter", Painter)
    monkeypatch.setattr(ict_people, "scan_of", lambda model, person: np.zeros((1, 3)))

    def yaws_seen(yaws):
        (subject,) = subjects(FILE, 1, tmp_path, ict_person, yaws)
        return [int(picture.max()) - 100 for picture in subject.pictures]

    for _ in ("made", "from the cache"):
        assert yaws_seen(ict_people.YAWS_DEGREES) == [-30, 0, 30]
        assert yaws_seen((-60, 0)) == [-60, 0]
    assert sorted(path.name for path in tmp_path.glob("*/*")) == ["ict_person_000.npz", "ict_person_000_from_-60_0.npz"]
