"""The landmark figure: distances by definition, the outline left out, misses said."""

import numpy as np
import pytest
from PIL import Image

from backend.errors import PhotoError
from backend.fitting import FACE_CONTOUR
from training.evaluation import landmarks


def test_distances_equal_the_definition():
    generator = np.random.default_rng(0)
    found, detected = generator.normal(size=(478, 2)), generator.normal(size=(478, 2))
    across = np.hypot(*(detected[263] - detected[33]))  # outer eye corners in MediaPipe's mesh
    counted = landmarks.inner_points()
    by_hand = [np.hypot(*(found[i] - detected[i])) / across for i in counted]
    assert np.allclose(landmarks.relative_distances(found, detected, counted), by_hand)


def test_the_outline_and_the_irises_do_not_count():
    counted = set(landmarks.inner_points().tolist())
    assert not counted & set(FACE_CONTOUR) and not counted & set(range(468, 478))
    assert len(counted) == 468 - len(FACE_CONTOUR)


class Stub:
    """A reconstruction whose landmarks are off by three pixels, and a detection with eyes 100 pixels apart."""

    def __init__(self):
        self.points = np.zeros((478, 2))
        self.points[263, 0] = 100.0
        self.photographs = [self]

    @property
    def landmarks(self):
        return self.points + [3.0, 0.0]


def test_three_pixels_at_a_hundred_between_the_eyes_are_three_percent(tmp_path):
    for name in ("a.png", "b.png"):
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    pictures = sorted(tmp_path.glob("*.png"))

    def reconstruct(images, focals):
        reconstruct.calls += 1
        if reconstruct.calls == 2:
            raise PhotoError("no-face", "No face was found.")
        return Stub()

    reconstruct.calls = 0
    distances, missed = landmarks.measure(pictures, reconstruct, lambda image, name: Stub())
    assert np.allclose(distances, 0.03) and missed == ["b.png"]
    text = landmarks.table(distances, missed)
    assert "3.00" in text and "b.png" in text


@pytest.mark.parametrize(("value", "verdict"), [(0.029, ": reached"), (0.031, ": not reached")])
def test_the_table_says_whether_the_target_is_reached(value, verdict):
    assert verdict in landmarks.table(np.full((3, 5), value), [])


def test_no_face_at_all_is_said():
    assert "No face" in landmarks.table(np.zeros((0,)), ["a.png"])


def test_one_head_is_made_of_all_views_of_a_person(tmp_path):
    for name in ("a.jpg", "b.jpg"):
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    asked = []

    def reconstruct(images, focals):
        asked.append((len(images), focals))
        head = Stub()
        head.photographs = [head, head]
        return head

    distances, missed = landmarks.measure_together(
        sorted(tmp_path.glob("*.jpg")), reconstruct, lambda image, name: Stub()
    )
    assert asked == [(2, [None, None])] and not missed
    assert distances.shape == (2, len(landmarks.inner_points())) and np.allclose(distances, 0.03)


def test_views_without_a_face_are_said():
    def reconstruct(images, focals):
        raise PhotoError("no-face", "No face was found in a.jpg.")

    distances, missed = landmarks.measure_together([], reconstruct, None)
    assert not len(distances) and missed == ["No face was found in a.jpg."]


def test_models_stand_beside_each_other_and_each_is_judged_on_london():
    good, bad, man = np.full((3, 5), 0.021), np.full((3, 5), 0.034), np.full((4, 5), 0.05)
    nothing = np.zeros((0,)), ["No face was found in 1.jpg."]
    text = landmarks.compared(
        {
            ("open_head", "London"): (good, []),
            ("open_head", "the man"): (man, []),
            ("other", "London"): (bad, ["x.jpg"]),
            ("other", "the man"): nothing,
        }
    )
    lines = text.splitlines()
    assert "2.10" in lines[2] and "London, 3" in lines[2] and "5.00" in lines[3] and "the man, 4" in lines[3]
    assert "3.40" in lines[4] and "x.jpg" in lines[5] and "1.jpg" in lines[6]
    assert lines[-1].endswith("open_head: reached, other: not reached")
