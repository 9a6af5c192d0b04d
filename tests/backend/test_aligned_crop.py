"""The crop of Deng et al. 2019 and the way back."""

import cv2
import numpy as np
import pytest

from backend.aligned_crop import SCALE_AT_224, TEMPLATE, AlignedCrop, align, five_points
from backend.face_models import load_face_model
from backend.rendering.camera import Camera


def landmarks_of(five: np.ndarray) -> np.ndarray:
    """68 landmarks whose five points are these."""
    points = np.zeros((68, 2))
    for rows, place in (((36, 39), five[0]), ((42, 45), five[1]), ((30,), five[2]), ((48,), five[3]), ((54,), five[4])):
        points[list(rows)] = place
    return points


def seen_head(yaw_degrees: float) -> tuple[np.ndarray, Camera]:
    """The 68 landmarks of the mean head in a photograph, and its camera."""
    model = load_face_model("open_head")
    camera = Camera.orbit(np.radians(yaw_degrees), 0.1, 1.3, 900, 700, focal_35mm=50.0)
    return camera.project(model.landmarks68(model.mean)), camera


def test_the_template_itself_gets_the_scale_and_the_middle_that_it_stands_for():
    seen = TEMPLATE[:, :2] * [300.0, -300.0] + [512.0, 400.0]  # a parallel projection, 300 pixels per decimetre
    crop = align(landmarks_of(seen), 224)
    assert crop.scale == pytest.approx(SCALE_AT_224 / 300)
    assert crop.points_in([512.0, 400.0]) == pytest.approx([112.0, 112.0])


def test_five_points_are_eye_middles_nose_and_mouth_corners():
    points = np.arange(136.0).reshape(68, 2)
    expected = [(points[36] + points[39]) / 2, (points[42] + points[45]) / 2, points[30], points[48], points[54]]
    np.testing.assert_allclose(five_points(points), expected)


@pytest.mark.parametrize("size", [112, 224])
@pytest.mark.parametrize("yaw", [-70.0, 0.0, 35.0])
def test_a_face_lies_in_its_crop_at_the_same_place_whatever_the_size(size: int, yaw: float):
    points, _ = seen_head(yaw)
    inside = align(points, size).points_in(points) / size
    assert (inside > 0).all() and (inside < 1).all()
    assert np.linalg.norm(inside.mean(0) - 0.5) < 0.2


def test_moving_and_scaling_a_photograph_moves_and_scales_its_crop():
    points, _ = seen_head(20.0)
    before, after = align(points), align(points * 2.5 + [40.0, -30.0])
    assert after.scale == pytest.approx(before.scale / 2.5)
    np.testing.assert_allclose(after.points_in(points * 2.5 + [40.0, -30.0]), before.points_in(points), atol=1e-9)


def test_points_go_in_and_out():
    crop = AlignedCrop(0.37, -21.5, 88.25, 224)
    points = np.random.default_rng(1).uniform(-500, 1500, (20, 2))
    np.testing.assert_allclose(crop.points_out(crop.points_in(points)), points)


def test_the_crops_camera_sees_the_head_where_the_crop_shows_it_and_leads_back():
    points, camera = seen_head(-30.0)
    crop = align(points, 128)
    model = load_face_model("open_head")
    inner = crop.camera_in(camera)
    np.testing.assert_allclose(inner.project(model.landmarks68(model.mean)), crop.points_in(points), atol=1e-9)
    assert inner.image_size == (128, 128)
    outer = crop.camera_out(inner, camera.width, camera.height)
    np.testing.assert_allclose(outer.intrinsics, camera.intrinsics)
    assert outer.image_size == camera.image_size
    np.testing.assert_array_equal(outer.rotation, camera.rotation)


@pytest.mark.parametrize("factor", [0.15, 0.9, 3.0])
def test_the_picture_is_where_the_points_are(factor: float):
    """A bright disc lies in the crop where `points_in` says, reduced or enlarged."""
    image = np.zeros((1200, 1500, 3), np.uint8)
    centre = np.array([703.0, 655.0])
    cv2.circle(image, (703, 655), round(12 / factor) + 8, (255, 255, 255), -1)
    crop = AlignedCrop(factor, *(centre - [60.0, 40.0] / np.array(factor)), 128)
    rows, columns = np.nonzero(crop.image(image)[..., 0] > 127)
    found = np.array([columns.mean(), rows.mean()]) + 0.5
    # OpenCV draws round the middle of pixel 703, which is the place 703.5.
    np.testing.assert_allclose(found, crop.points_in(centre + 0.5), atol=0.3)


def test_the_photograph_goes_on_beyond_its_border():
    crop = AlignedCrop(1.0, -50.0, -50.0, 100)
    photograph = np.full((200, 200, 3), 200, np.uint8)
    photograph[:, :2] = 90
    shown = crop.image(photograph)
    assert (shown[:, :45] == 90).all() and (shown[:, 60:] == 200).all()


def test_labels_are_taken_as_they_are():
    labels = np.zeros((40, 40), np.uint8)
    labels[10:20, 10:20] = 7
    shown = AlignedCrop(2.0, 5.0, 5.0, 60).labels(labels)
    expected = np.zeros((60, 60), np.uint8)
    expected[10:30, 10:30] = 7
    np.testing.assert_array_equal(shown, expected)


@pytest.mark.parametrize(
    "points", [np.zeros((68, 2)), np.full((68, 2), np.nan), np.zeros((5, 2))], ids=["one place", "nan", "five"]
)
def test_landmarks_that_make_no_crop_are_refused(points: np.ndarray):
    with pytest.raises(ValueError, match="crop"):
        align(points)
