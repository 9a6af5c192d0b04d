"""The 68 landmarks out of MediaPipe's 478."""

import numpy as np
import pytest

from backend import landmarks68
from backend.errors import SetupError
from backend.face_mesh_points import MIRROR
from backend.face_models import load_face_model
from backend.landmarks68 import NEAREST, Landmarks68Table, landmarks68_from_478, turn_of
from backend.rendering.camera import Camera
from training.landmarks68 import MIRROR68, Detections, errors, learn


def seen(yaw_degrees: float, roll: float = 0.0) -> np.ndarray:
    """(478, 2) pixels of the mean head."""
    model = load_face_model("open_head")
    camera = Camera.orbit(np.radians(yaw_degrees), 0.0, 1.0, 400, focal_35mm=50.0)
    points = camera.project(model.landmarks478(model.mean)) - 200
    turn = np.array([[np.cos(roll), -np.sin(roll)], [np.sin(roll), np.cos(roll)]])
    return points @ turn.T + 200


def test_the_points_lie_where_they_are_named():
    points = landmarks68_from_478(seen(0.0))
    assert points.shape == (68, 2)
    assert points[36, 0] < points[39, 0] < points[27, 0] < points[42, 0] < points[45, 0]  # the right eye is seen left
    assert points[19, 1] < points[37, 1] < points[30, 1] < points[51, 1] < points[57, 1] < points[8, 1]
    assert (np.diff(points[:17, 0]) > 0).all()


def test_they_follow_a_picture_that_is_moved_scaled_and_turned():
    points = seen(25.0)
    turn = 3.0 * np.array([[np.cos(0.4), -np.sin(0.4)], [np.sin(0.4), np.cos(0.4)]])
    expected = landmarks68_from_478(points) @ turn.T + [50.0, -20.0]
    np.testing.assert_allclose(landmarks68_from_478(points @ turn.T + [50.0, -20.0]), expected, atol=1e-6)


@pytest.mark.parametrize("yaw", [0.0, 30.0])
def test_a_face_in_the_mirror_has_mirrored_points(yaw: float):
    points = seen(yaw)
    mirrored = points[MIRROR] * [-1.0, 1.0]
    expected = landmarks68_from_478(points)[MIRROR68] * [-1.0, 1.0]
    off = np.linalg.norm(landmarks68_from_478(mirrored) - expected, axis=1)
    assert off.max() < 0.01 * np.ptp(points[:, 1])


def test_faces_in_a_batch_are_treated_one_by_one():
    faces = np.stack([seen(yaw) for yaw in (-40.0, 0.0, 40.0)])
    np.testing.assert_allclose(landmarks68_from_478(faces), [landmarks68_from_478(face) for face in faces])


def test_the_turn_of_a_head_has_the_sign_of_the_side_that_shows():
    turns = [float(turn_of(seen(yaw, roll=0.3))) for yaw in (-50.0, -20.0, 0.0, 20.0, 50.0)]
    assert turns == sorted(turns) or turns == sorted(turns, reverse=True)
    assert turns[2] == pytest.approx(0.0, abs=0.02) and turns[4] > 0.5


def test_what_was_displaced_by_a_turn_is_learnt_back():
    """Detections whose jaw slides with the turn: the table moves it back, the nearest points alone do not."""
    chance = np.random.default_rng(2)
    model = load_face_model("open_head")
    points478, points68 = [], []
    for _ in range(160):
        camera = Camera.orbit(np.radians(chance.uniform(-50, 50)), 0.0, 1.0, 400, focal_35mm=50.0)
        vertices = model.shape(chance.normal(size=model.identity_size) * 0.5)
        found = camera.project(model.landmarks478(vertices))
        true = camera.project(model.landmarks68(vertices))
        true[:17, 0] += 25 * turn_of(found)
        points478.append(found)
        points68.append(true)
    people = Detections(np.array(points478), np.array(points68), np.zeros(160), np.arange(160))
    table = learn(people.rows(np.arange(160) < 120))
    held_out = people.rows(np.arange(160) >= 120)
    assert errors(held_out, None).mean() > 4 * errors(held_out, table).mean()


def test_a_table_of_zeros_gives_the_nearest_points():
    table = Landmarks68Table(np.zeros((17, 5), np.int64), np.zeros((3, 17, 5)))
    points = seen(10.0)
    np.testing.assert_array_equal(table.apply(points), points[NEAREST])


def test_only_the_jaw_is_moved_and_the_given_points_stay_as_they_are():
    points = seen(35.0)
    before = points.copy()
    found = landmarks68_from_478(points)
    np.testing.assert_array_equal(found[17:], points[NEAREST[17:]])
    assert np.abs(found[:17] - points[NEAREST[:17]]).max() > 1
    np.testing.assert_array_equal(points, before)


def test_other_points_are_refused():
    with pytest.raises(ValueError, match="478"):
        landmarks68_from_478(np.zeros((468, 2)))


def test_a_missing_table_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(landmarks68, "ASSET", tmp_path / "landmarks68.npz")
    landmarks68.landmarks68_table.cache_clear()
    try:
        with pytest.raises(SetupError, match=r"landmarks68\.npz"):
            landmarks68_from_478(seen(0.0))
    finally:
        landmarks68.landmarks68_table.cache_clear()
