"""Cameras: projection, focal lengths, orbits, JSON."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from backend.rendering.camera import Camera, focal_from_35mm, focal_to_35mm, frontal_orthographic, look_at

ROOT = Path(__file__).parents[2]


def test_projection_is_rotation_translation_division_and_scale():
    rng = np.random.default_rng(0)
    camera = Camera.orbit(0.3, -0.2, 0.7, 640, 480)
    for point in rng.normal(0, 0.05, (20, 3)):
        x, y, z = camera.rotation @ point + camera.translation
        expected = (camera.fx * x / z + camera.cx, camera.fy * y / z + camera.cy)
        assert np.allclose(camera.project(point), expected, atol=1e-9)


def test_a_frontal_camera_shows_up_as_up_and_the_subjects_left_on_the_right_of_the_picture():
    camera = Camera.orbit(0, 0, 1, 100)
    assert np.allclose(camera.project(np.zeros(3)), (50, 50))
    assert camera.project(np.array([0, 0.1, 0]))[1] < 50
    assert camera.project(np.array([0.1, 0, 0]))[0] > 50
    assert np.isclose(camera.to_camera(np.zeros(3))[2], 1)


def test_positive_yaw_moves_the_camera_to_the_subjects_left_and_positive_pitch_moves_it_up():
    assert Camera.orbit(0.5, 0, 1, 100).position[0] > 0.4
    assert Camera.orbit(0, 0.5, 1, 100).position[1] > 0.4


@pytest.mark.parametrize("yaw", [-2.0, 0.0, 1.0])
def test_an_orbit_camera_has_a_proper_rotation_and_its_target_in_the_middle(yaw):
    target = np.array([0.01, -0.02, 0.03])
    camera = Camera.orbit(yaw, 0.4, 0.6, 300, 200, target=target)
    assert np.allclose(camera.rotation @ camera.rotation.T, np.eye(3)) and np.linalg.det(camera.rotation) > 0
    assert np.allclose(camera.project(target), (150, 100))
    assert np.isclose(np.linalg.norm(camera.position - target), 0.6)


@pytest.mark.parametrize("size", [(3000, 2000), (2000, 3000), (4000, 3000)])
def test_a_35mm_equivalent_keeps_the_diagonal_angle_of_view(size):
    focal = focal_from_35mm(50, *size)
    angle = 2 * np.arctan(np.hypot(*size) / 2 / focal)
    assert np.isclose(angle, 2 * np.arctan(np.hypot(36, 24) / 2 / 50))
    assert np.isclose(focal_to_35mm(focal, *size), 50)


def test_a_focal_length_of_zero_is_refused():
    with pytest.raises(ValueError, match="above zero"):
        focal_from_35mm(0, 100, 100)


def test_a_camera_survives_json():
    camera = Camera.from_35mm(35, 640, 480, *look_at(np.array([0.1, 0.2, 0.5]), np.zeros(3)))
    again = Camera.from_json(json.loads(json.dumps(camera.to_json())))
    points = np.random.default_rng(1).normal(0, 0.1, (5, 3))
    assert np.array_equal(again.project(points), camera.project(points)) and again.image_size == (480, 640)


def test_crops_and_sizes_move_pixels_as_the_image_moves():
    camera, point = Camera.orbit(0.1, 0.1, 0.5, 400), np.array([0.02, 0.03, 0.01])
    pixel = camera.project(point)
    assert np.allclose(camera.cropped(30, 40, 100, 100).project(point), pixel - [30, 40])
    assert np.allclose(camera.resized(200, 800).project(point), pixel * [0.5, 2])


def test_looking_along_up_is_refused():
    with pytest.raises(ValueError, match="up direction"):
        look_at(np.array([0, 1.0, 0]), np.zeros(3))


def test_the_orthographic_view_keeps_scale_and_puts_nearer_points_in_front():
    screen, depth = frontal_orthographic(np.array([[0.01, 0.02, 0.0], [0.01, 0.02, 0.05]]), 1000, 64)
    assert np.allclose(screen, [[42, 12], [42, 12]]) and depth[1] < depth[0]


def test_the_camera_module_needs_no_torch():
    code = "import sys; sys.modules['torch'] = None; import backend.rendering.camera"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
