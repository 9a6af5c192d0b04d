"""How much of a person a detector reports, learnt from pictures with a detector whose answer is made up."""

import numpy as np
import pytest

from backend.calibration import FILES, ViewDirection, load_calibration
from backend.errors import UsageError
from backend.face_models import load_face_model
from backend.rendering.camera import Camera
from training.calibration import Sample
from training.landmark_response import RESPONSE_FILES, learn_response, load_response, similarities
from training.synthetic_people import SyntheticPhotograph

REPORTED = np.array([0.3, 0.8])
PEOPLE = 150


@pytest.fixture(scope="module")
def model():
    return load_face_model("open_head")


def made_up(model, number):
    """A picture whose detector reports 30 % of what is a person's own across the face, and 80 % along it."""
    generator = np.random.default_rng(number)
    calibration = load_calibration()
    identity = generator.normal(size=model.identity_size).astype(np.float32)
    head = model.neutral(identity)
    camera = Camera.orbit(np.radians(generator.uniform(-20, 20)), 0.0, 1.2, 448, focal_pixels=1400)
    view = ViewDirection.from_pose(camera.rotation, camera.translation)
    embedding = calibration.embedding(view)
    mean = model.neutral(np.zeros(model.identity_size, np.float32))
    usual, true = (camera.project(embedding.apply(vertices.astype(np.float64))) for vertices in (mean, head))
    basis = similarities(usual)
    whole = (basis @ (basis.T @ (true - usual).ravel())).reshape(-1, 2)
    points = usual + whole + REPORTED * (true - usual - whole) + generator.normal(0, 0.5, usual.shape)
    photograph = SyntheticPhotograph(None, camera, head, identity, np.zeros(len(model.key_names), np.float32))
    return Sample(view, np.zeros((478, 3)), points, photograph, {"left": True, "right": True})


def test_the_response_is_found_again(model):
    samples = [made_up(model, number) for number in range(PEOPLE)]
    learnt = learn_response(model, load_calibration(), samples)
    assert np.allclose(np.median(learnt.response, axis=0), REPORTED, atol=0.05)
    assert np.median(learnt.deviation_ratio) < 0.7  # what is left is noise of half a pixel
    assert np.square(learnt.factor).sum(1).max() < 1


def test_too_few_people_are_refused(model):
    with pytest.raises(UsageError, match="found 2 people"):
        learn_response(model, load_calibration(), [made_up(model, number) for number in range(2)])


@pytest.mark.parametrize("detector", FILES)
def test_every_detector_has_one_that_can_be_saved_and_read(detector, tmp_path):
    learnt = load_response(detector)
    assert learnt.detector == detector and set(RESPONSE_FILES) == set(FILES)
    assert (learnt.response > 0).all() and np.median(learnt.response) < 0.8
    learnt.save(tmp_path / "response.npz")
    with np.load(tmp_path / "response.npz") as saved:
        assert np.array_equal(saved["response"], learnt.response.astype(np.float16))
