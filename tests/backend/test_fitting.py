"""The fit finds shape, pose, expression and gaze again, and its short-cuts equal the mathematics they stand for."""

import cv2
import numpy as np
import pytest
from scipy.optimize import minimize

from backend import fitting
from backend.calibration import ViewDirection, load_calibration
from backend.face_models import load_face_model
from backend.fitting import Observation, _bounded_solve, _Fit, _gaze_direction, _project, _State, fit
from backend.rendering.camera import Camera

SIZE = 800


@pytest.fixture(scope="module")
def model():
    return load_face_model("open_head")


@pytest.fixture(scope="module")
def calibration():
    return load_calibration()


def observe(model, calibration, identity, camera, weights=None, noise=0.0, focal=None, closure=None, seed=0):
    """Landmarks of a person exactly where the calibration says that the detector sees them."""
    neutral = model.neutral(identity)
    posed = model.key_offsets(neutral).apply(neutral, weights or {})
    view = ViewDirection.from_pose(camera.rotation, camera.translation)
    points = camera.project(calibration.embedding(view).apply(posed.astype(np.float64)))
    points += np.random.default_rng(seed).normal(0, noise, points.shape)
    return Observation(points, camera.width, camera.height, focal, closure), posed


def aligned_error_mm(found, true):
    """Mean distance after the best rigid motion and scale, millimetres."""
    a, b = found - found.mean(0), true - true.mean(0)
    u, values, vt = np.linalg.svd(a.T @ b)
    scale = values.sum() / np.square(a).sum()
    return 1000 * np.linalg.norm(scale * a @ (u @ vt) - b, axis=1).mean()


def portrait(yaw=0.0, pitch=0.0, distance=1.0):
    return Camera.orbit(np.radians(yaw), np.radians(pitch), distance, SIZE, focal_pixels=3.2 * SIZE * distance)


def test_a_view_from_the_subjects_left_and_above_has_positive_angles():
    camera = portrait(yaw=20, pitch=10)
    view = ViewDirection.from_pose(camera.rotation, camera.translation)
    assert view.yaw == pytest.approx(20, abs=0.5) and view.pitch == pytest.approx(10, abs=0.5)


def test_the_fit_is_nearer_to_the_person_than_the_mean_head_is(model, calibration):
    generator = np.random.default_rng(5)
    face = model.masks["face"]
    gains = []
    for yaw in (-25, 0, 25):
        identity = generator.normal(size=model.identity_size).astype(np.float32)
        camera = portrait(yaw)
        observation, _ = observe(model, calibration, identity, camera, focal=camera.fx)
        head = fit(model, calibration, [observation])
        true = model.neutral(identity)[face]
        gains.append(aligned_error_mm(head.neutral[face], true) / aligned_error_mm(model.mean[face], true))
    assert np.mean(gains) < 0.75


def test_three_views_of_a_person_tell_more_than_one(model, calibration):
    generator = np.random.default_rng(8)
    face = model.masks["face"]
    one, three = [], []
    for _ in range(3):
        identity = generator.normal(size=model.identity_size).astype(np.float32)
        cameras = [portrait(yaw) for yaw in (0, -30, 30)]
        seen = [observe(model, calibration, identity, camera, focal=camera.fx)[0] for camera in cameras]
        true = model.neutral(identity)[face]
        one.append(aligned_error_mm(fit(model, calibration, seen[:1]).neutral[face], true))
        three.append(aligned_error_mm(fit(model, calibration, seen).neutral[face], true))
    assert np.mean(three) < np.mean(one)


def test_a_smile_becomes_key_weights_and_the_camera_is_found(model, calibration):
    weights = {"mouthSmileLeft": 0.8, "mouthSmileRight": 0.8}
    camera = portrait(yaw=10, pitch=-5)
    observation, posed = observe(model, calibration, np.zeros(1), camera, weights, focal=camera.fx)
    photograph = fit(model, calibration, [observation]).photographs[0]
    found = dict(zip(fit(model, calibration, [observation]).keys.names, photograph.key_weights, strict=True))
    assert found["mouthSmileLeft"] > 0.4 and found["mouthSmileRight"] > 0.4
    assert photograph.view.yaw == pytest.approx(10, abs=3) and photograph.view.pitch == pytest.approx(-5, abs=3)
    assert photograph.landmark_error < 0.02
    miss = np.linalg.norm(photograph.camera.project(photograph.posed) - camera.project(posed), axis=1)
    assert np.median(miss) < 0.01 * SIZE


def test_a_shut_eye_is_a_blink_and_not_a_small_eye(model, calibration):
    shut = {"eyeBlinkLeft": 1.0, "eyeBlinkRight": 0.0}
    camera = portrait()
    observation, _ = observe(
        model, calibration, np.zeros(1), camera, shut, focal=camera.fx, closure={"left": 1.0, "right": 0.0}
    )
    head = fit(model, calibration, [observation])
    photograph = head.photographs[0]
    assert photograph.closure["left"] > 0.9 and photograph.closure["right"] < 0.15
    own = [fitting.lid_closure(head.neutral, model.neutral(np.zeros(1)), model.rig, side) for side in ("left", "right")]
    assert max(own) < 0.2, "the neutral eyes of the fitted person must stay open"


@pytest.mark.parametrize(("across", "up"), [(15.0, 5.0), (-20.0, 0.0), (0.0, -12.0)])
def test_the_gaze_comes_back_through_any_camera(across, up):
    centre, distance = np.array([0.03, 0.0, 0.0]), 0.0105
    yaw, pitch = np.radians([across, up])
    iris = centre + distance * np.array([np.sin(yaw) * np.cos(pitch), np.sin(pitch), np.cos(yaw) * np.cos(pitch)])
    camera = portrait(yaw=25, pitch=-10, distance=0.6)
    found = _gaze_direction(camera, camera.project(iris[None])[0], centre, distance)
    assert found == pytest.approx([across, up], abs=1e-6)


def test_derivatives_of_the_projection_equal_differences():
    generator = np.random.default_rng(0)
    surface = generator.normal(0, 0.05, (7, 3))
    state = _State(
        cv2.Rodrigues(np.array([3.0, 0.2, -0.1]))[0], np.array([0.02, -0.01, 0.7]), np.log(900.0), np.zeros(1)
    )
    observation = Observation(np.zeros((7, 2)), 640, 480)
    _, by_point, by_pose = _project(surface, state, observation, jacobian=True)

    def moved(step):
        turned = _State(
            cv2.Rodrigues(step[:3])[0] @ state.rotation,
            state.translation + step[3:6],
            state.log_focal + step[6],
            state.weights,
        )
        return _project(surface, turned, observation)[0]

    for column in range(7):
        step = np.zeros(7)
        step[column] = 1e-6
        assert by_pose[:, :, column] == pytest.approx((moved(step) - moved(-step)) / 2e-6, rel=1e-4, abs=1e-3)
    for axis in range(3):
        shift = np.zeros(3)
        shift[axis] = 1e-7
        difference = _project(surface + shift, state, observation)[0] - _project(surface - shift, state, observation)[0]
        assert by_point[:, :, axis] == pytest.approx(difference / 2e-7, rel=1e-4, abs=1e-2)


def test_the_matrix_inversion_lemma_equals_the_dense_covariance(model, calibration):
    class Bare:
        pass

    bare = Bare()
    bare.calibration = calibration
    generator = np.random.default_rng(1)
    jacobian, residual = generator.normal(size=(956, 5)), generator.normal(size=956)
    covariance = calibration.factor @ calibration.factor.T + np.diag(calibration.own_variance)
    squares, slope = _Fit._whitened_squares(bare, jacobian, residual)
    assert squares == pytest.approx(jacobian.T @ np.linalg.solve(covariance, jacobian), rel=1e-6)
    assert slope == pytest.approx(jacobian.T @ np.linalg.solve(covariance, residual), rel=1e-6, abs=1e-8)


@pytest.mark.parametrize("seed", range(8))
def test_the_bounded_solution_is_the_least_of_all(seed):
    generator = np.random.default_rng(seed)
    root = generator.normal(size=(12, 8))
    hessian, right = root.T @ root, 3 * generator.normal(size=8)
    lower, upper = -generator.uniform(0, 0.5, 8), generator.uniform(0, 0.5, 8)
    lower[:3], upper[:3] = -np.inf, np.inf
    found = _bounded_solve(hessian, right, lower, upper)
    bounds = [(None if np.isinf(a) else a, None if np.isinf(b) else b) for a, b in zip(lower, upper, strict=True)]

    def value(x):
        return 0.5 * x @ hessian @ x - right @ x

    tight = {"ftol": 1e-15, "gtol": 1e-10}
    best = minimize(
        value, np.zeros(8), jac=lambda x: hessian @ x - right, bounds=bounds, method="L-BFGS-B", options=tight
    )
    assert value(found) <= best.fun + 1e-8
    assert np.all(found >= lower - 1e-9) and np.all(found <= upper + 1e-9)
