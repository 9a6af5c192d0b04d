"""The eye figures: states from the mesh, misses as wrong, angles by definition."""

from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from backend.errors import PhotoError
from backend.face_models import load_face_model
from backend.rendering.camera import Camera
from training.evaluation import eyes
from training.evaluation.ict_people import IctSubject, picture_camera

SIDES = ("left", "right")


@pytest.fixture(scope="module")
def model():
    return load_face_model("open_head")


@pytest.fixture(scope="module")
def head(model):
    """A function of key weights (and a camera): a reconstruction of the mean head that does what the keys say."""
    neutral = model.neutral(np.zeros(model.identity_size, np.float32))
    keys = model.key_offsets(neutral)

    def make(weights, camera=None):
        photograph = SimpleNamespace(posed=keys.apply(neutral, weights), camera=camera or picture_camera(0))
        return SimpleNamespace(model=model, neutral=neutral, photographs=[photograph])

    return make


def pictures(folder, count):
    for number in range(count):
        Image.new("RGB", (8, 8)).save(folder / f"{number}.png")
    return sorted(folder.glob("*.png"))


def test_a_wink_is_read_from_the_mesh_on_its_own_side(head):
    found = eyes.mesh_closure(head({"eyeBlinkLeft": 1.0}))
    assert found["left"] > 0.9 and found["right"] < 0.1


def test_a_small_angle_on_the_eyeball_is_the_distance_over_the_radius():
    one_millimetre = 0.001 * 1000 / 0.5  # pixels, focal length 1000, half a metre away
    assert np.isclose(np.radians(eyes.degrees_on_eyeball(one_millimetre, 0.5, 1000, 0.012)), np.arcsin(1 / 12))


def test_an_iris_where_it_should_be_has_no_error_and_one_beside_it_has_its_angle(head):
    found = head({})
    camera = found.photographs[0].camera
    for side in SIDES:
        middle, centre, radius = eyes.mesh_iris(found, side)
        assert eyes.iris_error(found, side, camera.project(middle)) < 1e-6
        beside = camera.project(middle + [0.002, 0, 0])
        assert np.isclose(eyes.iris_error(found, side, beside), np.degrees(np.arcsin(0.002 / radius)), rtol=0.05)
        assert 0.008 < radius < 0.0125
        assert np.linalg.norm((middle - centre)[:2]) < 0.001  # straight ahead on the neutral


def subject(gaze=(0.0, 0.0), closure=None):
    closure = closure or {"left": 1.0, "right": 0.0}
    centres = np.array([[0.031, 0, 0], [-0.031, 0, 0]])
    gazes = {"left": gaze, "right": gaze}
    return IctSubject(
        [np.zeros((8, 8, 3), np.uint8)] * 3, np.zeros((1, 3)), np.zeros((68, 3)), closure, gazes, centres, 0.0127
    )


def test_the_true_gaze_turns_to_the_subjects_left_and_up():
    across = eyes.true_gaze(subject((20.0, 0.0)), "left")
    assert np.allclose(across, [np.sin(np.radians(20)), 0, np.cos(np.radians(20))])
    assert eyes.true_gaze(subject((0.0, 10.0)), "left")[1] > 0.1


def test_the_true_iris_moves_with_the_gaze_in_the_picture():
    ahead = eyes.true_iris(subject(), "left", 0)
    left = eyes.true_iris(subject((15.0, 0.0)), "left", 0)
    up = eyes.true_iris(subject((0.0, 15.0)), "left", 0)
    assert left[0] > ahead[0] + 3 and up[1] < ahead[1] - 3


def test_a_mesh_that_looks_ahead_errs_by_the_gaze_it_missed(head):
    assert eyes.gaze_error(head({}), subject(), "right", 0) < 3
    assert np.isclose(eyes.gaze_error(head({}), subject((15.0, 0.0)), "right", 0), 15, atol=3)


def test_a_camera_from_the_side_changes_nothing_for_a_gaze_in_space(head):
    for yaw in (-30, 30):
        found = head({}, picture_camera(yaw))
        assert eyes.gaze_error(found, subject(), "right", yaw) < 3


def test_winks_count_both_eyes_and_a_missed_face_counts_two_wrong(head):
    figures, yaw = eyes.EyeFigures(), iter((-30, 0, 30))

    def reconstruct(images, focals):
        assert focals == [85.0]
        at = next(yaw)
        if at == 30:
            raise PhotoError("no-face", "No face was found.")
        return head({"eyeBlinkLeft": 1.0} if at == 0 else {}, picture_camera(at))

    eyes.measure_winks(figures, [subject()], reconstruct)
    right, side, missed = (figures.counts[f"ICT winks, {n}"] for n in ("frontal", "yaw -30", "yaw +30"))
    assert (right.right, right.total) == (2, 2)
    assert (side.right, side.total) == (1, 2)  # the shut eye was left open
    assert (missed.right, missed.total, missed.missed) == (0, 2, 2)
    assert len(figures.degrees["ICT, iris to truth, frontal"]) == 1  # the open eye alone


def test_faces_are_judged_by_both_eyes_and_misses_are_wrong(head, tmp_path):
    figures, answers = eyes.EyeFigures(), iter(({"eyeBlinkLeft": 1.0, "eyeBlinkRight": 1.0}, {}, None))

    def reconstruct(images, focals):
        weights = next(answers)
        if weights is None:
            raise PhotoError("no-face", "No face was found.")
        return head(weights)

    eyes.measure_faces(figures, "CEW, closed", pictures(tmp_path, 3), True, reconstruct)
    found = figures.counts["CEW, closed"]
    assert (found.right, found.total, found.missed) == (1, 3, 1)


def test_the_table_adds_up_cew_and_tells_what_was_reached():
    figures = eyes.EyeFigures()
    figures.counts = {"CEW, closed": eyes.Count(150, 154), "CEW, open": eyes.Count(176, 185, 2)}
    figures.degrees = {"London, iris to detection": [1.0, 2.0, 3.0]}
    lines = eyes.table(figures).splitlines()
    cew = next(line for line in lines if line.startswith("CEW, all"))
    assert "326" in cew and "339" in cew and cew.endswith(": reached")
    figures.counts["CEW, open"] = eyes.Count(175, 185)
    assert "not reached" in eyes.table(figures)


def test_the_camera_of_a_head_may_be_anywhere(head):
    """The error is seen from the camera: an iris off along the line of sight is not off."""
    camera = Camera.orbit(0.5, 0.1, 0.8, 600)
    found = head({}, camera)
    middle, _, _ = eyes.mesh_iris(found, "left")
    towards = camera.position - middle
    assert eyes.iris_error(found, "left", camera.project(middle + 0.01 * towards)) < 0.01
