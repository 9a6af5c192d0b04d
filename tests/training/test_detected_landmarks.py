"""Landmarks made up for heads of known shape: the calibrated places, the calibrated errors."""

import numpy as np
import pytest
import torch

from backend.calibration import ViewDirection, load_calibration
from backend.errors import UsageError
from backend.face_models import load_face_model
from backend.rendering.camera import Camera
from tests.face_model_files import write_bfm_front
from training.data.detected_landmarks import DetectedLandmarks
from training.landmark_response import load_response, similarities
from training.methods.eye_motion import EyeMotionSettings, EyeMotionTraining
from training.settings import load_settings

COPIES = 600


@pytest.fixture(scope="module")
def neutral():
    model = load_face_model("open_head")
    return model.neutral(np.random.default_rng(5).normal(size=model.identity_size).astype(np.float32))


def seen_from(yaw, pitch, roll=0.0):
    """A camera 0.8 m away, its picture turned by `roll` radians."""
    camera = Camera.orbit(np.radians(yaw), np.radians(pitch), 0.8, 500, focal_pixels=1600)
    turn = np.array([[np.cos(roll), -np.sin(roll), 0], [np.sin(roll), np.cos(roll), 0], [0, 0, 1]])
    return Camera(*(getattr(camera, name) for name in ("fx", "fy", "cx", "cy", "width", "height")),
                  turn @ camera.rotation, turn @ camera.translation)  # fmt: skip


def detected(neutral, camera, copies=COPIES, mean_person=None):
    """(copies, 478, 2); without a mean person, the head itself is he."""
    torch.manual_seed(0)
    mean_person = neutral if mean_person is None else mean_person
    parts = [neutral, mean_person, camera.rotation, camera.translation, [camera.fx, camera.fy, camera.cx, camera.cy]]
    heads = [torch.as_tensor(np.asarray(part), dtype=torch.float32).expand(copies, *np.shape(part)) for part in parts]
    calibration = load_calibration()
    return DetectedLandmarks(calibration, load_response(calibration.detector))(*heads).double().numpy()


@pytest.mark.parametrize(("yaw", "pitch", "roll"), [(0, 0, 0), (37, -12, 0.3), (-80, 40, -0.5)])
def test_they_lie_where_the_calibration_says_with_the_errors_it_says(neutral, yaw, pitch, roll):
    camera, calibration = seen_from(yaw, pitch, roll), load_calibration()
    found = detected(neutral, camera)
    view = ViewDirection.from_pose(camera.rotation, camera.translation)
    places = camera.project(calibration.embedding(view).apply(neutral.astype(np.float64)))
    ratio = load_response(calibration.detector).deviation_ratio
    pixels = calibration.deviation_in(view) * ratio * camera.fx / camera.translation[2]
    assert np.abs(found.mean(0) - places).max() < 4.5 * pixels.max() / np.sqrt(COPIES)
    assert np.allclose(found.std(0).mean(1) / pixels, 1, atol=0.2)


def test_errors_are_shared_as_the_detectors_are_and_turn_with_the_face(neutral):
    factor, roll = load_response(load_calibration().detector).factor, 0.6
    upright, turned = detected(neutral, seen_from(0, 0)), detected(neutral, seen_from(0, 0, roll))
    errors = upright - upright.mean(0)
    correlation = np.corrcoef(errors[:, 0, 0], errors[:, 2, 0])[0, 1]
    assert correlation == pytest.approx(factor[0] @ factor[4], abs=0.12)
    back = np.array([[np.cos(roll), -np.sin(roll)], [np.sin(roll), np.cos(roll)]])  # rows turn by -roll
    assert np.allclose((turned - turned.mean(0)) @ back, errors, atol=0.05)


def test_only_a_part_of_what_is_a_persons_own_is_reported_but_all_of_place_size_and_turn(neutral):
    model, calibration = load_face_model("open_head"), load_calibration()
    mean = model.neutral(np.zeros(model.identity_size, np.float32))
    response = load_response(calibration.detector).response
    camera = seen_from(0, 0)
    person, of_mean = (detected(head, camera, 2, mean).mean(0) for head in (neutral, mean))  # the same errors
    found = person - of_mean
    embedding = calibration.embedding(ViewDirection.from_pose(camera.rotation, camera.translation))
    places, true = (camera.project(embedding.apply(head.astype(np.float64))) for head in (mean, neutral))
    basis = similarities(places)
    whole = (basis @ (basis.T @ (true - places).ravel())).reshape(-1, 2)
    assert np.allclose(found, whole + response * (true - places - whole), atol=0.35)  # pixels; the eyes are not level
    assert np.abs(found - (true - places)).max() > 1.5
    larger = np.float32(1.1) * mean
    grown = (detected(larger, camera, 2, mean) - detected(mean, camera, 2, mean)).mean(0)
    expected = camera.project(embedding.apply(larger.astype(np.float64))) - places
    assert np.linalg.norm(grown) == pytest.approx(np.linalg.norm(expected), rel=0.05)


def test_they_are_known_of_the_open_head_only(tmp_path):
    overrides = {
        "face_model": str(write_bfm_front(tmp_path / "BFM_model_front.mat", vertices=1200)),
        "losses.perceptual": 0, "network.sees_landmarks": True, "network.width": 4,
    }  # fmt: skip
    settings = load_settings(EyeMotionSettings, "eye-motion", "paper", overrides=overrides)
    with pytest.raises(UsageError, match=r"network\.sees_landmarks=false"):
        EyeMotionTraining(settings)
