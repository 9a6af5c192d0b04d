"""The state of each eye is read from its lids."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from backend.detection import DetectedFace, detect_faces
from backend.eye_state import FIRST_SCALE, closure_from_aperture, measure_eyes, read_eye_closure
from backend.face_mesh_points import (
    LEFT_EYE_INNER_CORNER,
    LEFT_EYE_OUTER_CORNER,
    LEFT_IRIS_CENTRE,
    LEFT_LOWER_LID,
    LEFT_UPPER_LID,
    MIRROR,
    RIGHT_LOWER_LID,
    RIGHT_UPPER_LID,
)

SHUT_ABOVE = 0.5
NO_IMAGE = np.zeros((1, 1, 3), np.uint8)


def read(path: Path) -> np.ndarray:
    return cv2.imread(str(path))[..., ::-1]


@pytest.fixture(scope="module")
def face(data_folder) -> DetectedFace:
    return detect_faces(read(data_folder / "photos" / "london" / "001_neutral.jpg"))[0]


def with_lids(face: DetectedFace, left: float, right: float) -> DetectedFace:
    """The face with the gap between its lids multiplied."""
    points = face.points.copy()
    for factor, upper, lower in ((left, LEFT_UPPER_LID, LEFT_LOWER_LID), (right, RIGHT_UPPER_LID, RIGHT_LOWER_LID)):
        upper, lower = list(upper), list(lower)
        points[upper] = points[lower] + factor * (face.points[upper] - face.points[lower])
    return replace(face, points=points)


def test_closure_runs_from_zero_through_a_half_to_one():
    values = [closure_from_aperture(share) for share in np.linspace(0, 1.2, 25)]
    assert values[0] == 1.0 and values[-1] == 0.0
    assert np.all(np.diff(values) <= 0)
    assert closure_from_aperture(FIRST_SCALE.half_share) == pytest.approx(0.5)


def test_an_open_face_is_open_and_shutting_its_lids_shuts_it(face):
    assert read_eye_closure(NO_IMAGE, face) == {"left": 0.0, "right": 0.0}
    both = read_eye_closure(NO_IMAGE, with_lids(face, 0.05, 0.05))
    assert both == {"left": 1.0, "right": 1.0}


def test_left_and_right_are_the_subjects_own(face):
    wink = read_eye_closure(NO_IMAGE, with_lids(face, 0.05, 1.0))
    assert wink["left"] == 1.0 and wink["right"] == 0.0
    left_eye_x = face.points[[LEFT_EYE_INNER_CORNER, LEFT_EYE_OUTER_CORNER], 0].mean()
    assert left_eye_x > face.points[:, 0].mean()  # on the picture's right


def test_a_wide_open_eye_makes_the_other_ones_standard_stricter(face):
    wide, half = 1.5 * FIRST_SCALE.open, 0.6 * FIRST_SCALE.open
    own = {side: eye.aperture for side, eye in measure_eyes(face).items()}
    alone = closure_from_aperture(half / FIRST_SCALE.open)
    wink = read_eye_closure(NO_IMAGE, with_lids(face, half / own["left"], wide / own["right"]))
    assert alone < SHUT_ABOVE < wink["left"]


def test_apertures_do_not_depend_on_size_place_or_turn_of_the_picture(face):
    turn = 2.5 * np.array([[np.cos(0.5), -np.sin(0.5)], [np.sin(0.5), np.cos(0.5)]])
    moved = replace(face, points=face.points @ turn.T + [30, -70], depth=2.5 * face.depth)
    for side, eye in measure_eyes(face).items():
        assert measure_eyes(moved)[side].aperture == pytest.approx(eye.aperture)
        np.testing.assert_allclose(measure_eyes(moved)[side].iris, eye.iris)


def test_a_mirrored_face_has_its_eyes_exchanged(face):
    mirrored = replace(face, points=(face.points * [-1, 1])[MIRROR], depth=face.depth[MIRROR])
    eyes, other = measure_eyes(face), measure_eyes(mirrored)
    assert other["left"].aperture == pytest.approx(eyes["right"].aperture)
    assert other["right"].aperture == pytest.approx(eyes["left"].aperture)


def test_the_iris_place_follows_the_iris(face):
    before = measure_eyes(face)["left"].iris
    points = face.points.copy()
    corners = points[[LEFT_EYE_INNER_CORNER, LEFT_EYE_OUTER_CORNER]]
    points[LEFT_IRIS_CENTRE] += 0.2 * (corners[1] - corners[0])  # outwards: to the picture's right
    after = measure_eyes(replace(face, points=points))["left"].iris
    np.testing.assert_allclose(after - before, [0.2, 0.0], atol=1e-9)
    assert 0.3 < before[0] < 0.7


def test_eyes_of_neutral_portraits_are_open(data_folder):
    paths = sorted((data_folder / "photos" / "london").glob("*_neutral.jpg"))[::2]
    assert paths
    for path in paths:
        closure = read_eye_closure(NO_IMAGE, detect_faces(read(path))[0])
        assert max(closure.values()) < 0.2, path.name


@pytest.mark.slow
def test_blurred_closed_and_open_eyes_are_told_apart(data_folder):
    right = total = 0
    for state in ("open", "closed"):
        for path in sorted((data_folder / "eyes" / "cew_research_only" / state).glob("*.jpg"))[::6]:
            faces = detect_faces(read(path))
            closure = np.mean(list(read_eye_closure(NO_IMAGE, faces[0]).values())) if faces else -1.0
            right += closure >= 0 and (closure > SHUT_ABOVE) == (state == "closed")
            total += 1
    if total == 0:
        pytest.skip("the CEW crops are not here")
    assert right / total >= 0.95
