"""A rendered wink is read as one, by both detectors."""

from pathlib import Path

import numpy as np
import pytest

from backend.detection import MediaPipeFaceLandmarker, MediaPipeFaceMesh
from backend.eye_state import read_eye_closure
from backend.face_models import load_face_model
from backend.rendering.camera import Camera
from training import synthetic_people

PEOPLE = 4


@pytest.fixture
def winking(monkeypatch: pytest.MonkeyPatch):
    """(picture, the side that is shut) of random people, seen from the front."""
    model = load_face_model("open_head")
    keys = list(model.key_offsets(model.neutral(np.zeros(1))).names)
    sides = []

    def wink(names, generator):
        sides.append(("left", "right")[len(sides) % 2])
        weights = np.zeros(len(names), np.float32)
        weights[keys.index(f"eyeBlink{sides[-1].title()}")] = 1.0
        return weights

    def frontal(generator, size):
        return Camera.orbit(0.0, 0.0, 1.0, size, focal_pixels=0.5 * size / 0.19, target=np.array([0, -0.03, 0.0]))

    monkeypatch.setattr(synthetic_people, "random_expression", wink)
    monkeypatch.setattr(synthetic_people, "random_camera", frontal)
    generators = [np.random.default_rng(child) for child in np.random.SeedSequence(5).spawn(PEOPLE)]
    return [(synthetic_people.random_photograph(model, generator).image, sides[-1]) for generator in generators]


@pytest.mark.parametrize("kind", ["first", "second"])
def test_the_shut_eye_of_a_wink_is_shut_and_the_other_open(kind: str, winking, data_folder: Path):
    file = data_folder / "mediapipe" / "face_landmarker.task"
    if kind == "second" and not file.is_file():
        pytest.skip("face_landmarker.task is not here")
    detector = MediaPipeFaceMesh() if kind == "first" else MediaPipeFaceLandmarker(file)
    right = 0
    for image, shut in winking:
        (face,) = detector.detect(image)
        closure = read_eye_closure(image, face)
        right += sum((closure[side] > 0.5) == (side == shut) for side in closure)
    assert right >= 2 * PEOPLE - 1
