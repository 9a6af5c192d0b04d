"""Crops of single eyes, the detector's answers, and ELAM's two rules."""

import numpy as np
import pytest
import torch

from backend.detection import DetectedFace, detect_faces
from backend.eye_crops import CROP_HEIGHT, CROP_WIDTH, EYE_WIDTHS, crop_eye, eye_region, face_picture
from backend.eye_landmarks import (
    EYES,
    adjust_eye_landmarks,
    disagreeing,
    elam,
    eye_aspect_ratio,
)
from backend.eye_state import read_eye_closure
from backend.face_mesh_points import MIRROR, RIGHT_EYE_INNER_CORNER, RIGHT_EYE_OUTER_CORNER
from backend.methods.eye_states import LANDMARKS_COUNT, EyeState, EyeStateDetector, make_network, state_of
from backend.picture_regions import Picture

SIDES = ("left", "right")


def eye_landmarks(count: int, gap: float, roll: float = 0.0) -> np.ndarray:
    """Landmarks of two upright eyes 30 px wide, whose lids are `gap` times the open gap apart, then turned."""
    points = np.zeros((count, 2))
    for side, inner, outer in (("left", (15.0, 0.0), (45.0, 0.0)), ("right", (-15.0, 0.0), (-45.0, 0.0))):
        eye = EYES[count][side]
        points[eye.outer], points[eye.inner] = outer, inner
        for share, (upper, lower, size) in enumerate(zip(eye.upper, eye.lower, eye.open_gaps, strict=True), 1):
            along = np.array(outer) + (np.array(inner) - outer) * share / (len(eye.upper) + 1)
            points[upper] = along + [0, -gap * size * 15]
            points[lower] = along + [0, gap * size * 15]
    turn = np.array([[np.cos(roll), -np.sin(roll)], [np.sin(roll), np.cos(roll)]])
    return points @ turn.T + 100


@pytest.fixture(scope="module")
def portrait(demo_photograph):
    image = demo_photograph
    return image, detect_faces(image)[0]


@pytest.fixture(scope="module")
def demo_photograph():
    from pathlib import Path

    from PIL import Image

    import backend

    return np.asarray(Image.open(Path(backend.__file__).parent / "assets/demo/astronaut.png").convert("RGB"))


def mirrored(image: np.ndarray, face: DetectedFace) -> tuple[np.ndarray, DetectedFace]:
    points = face.points[MIRROR].copy()
    points[:, 0] = image.shape[1] - points[:, 0]
    other = DetectedFace(points, face.depth[MIRROR], face.box, face.score, face.spread, face.detector)
    return np.ascontiguousarray(image[:, ::-1]), other


def test_the_right_eye_of_a_mirrored_picture_gives_the_same_crop_as_the_left_eye(portrait):
    image, face = portrait
    other_image, other_face = mirrored(image, face)
    left = crop_eye(Picture(image), eye_region(face, "left")).astype(int)
    right = crop_eye(Picture(other_image), eye_region(other_face, "right")).astype(int)
    assert left.shape == (CROP_HEIGHT, CROP_WIDTH, 3)
    assert np.abs(left - right).mean() < 1.0


def test_the_crop_is_upright_whatever_the_roll():
    for roll in (0.0, 0.7, -1.2):
        points = eye_landmarks(478, 1.0, roll)
        face = DetectedFace(points, np.zeros(478), np.zeros(4), 1.0, 0.0, "none")
        region = eye_region(face, "right")
        corners = region.to_region(points[[RIGHT_EYE_INNER_CORNER, RIGHT_EYE_OUTER_CORNER]])
        assert np.allclose(corners, [[0.5 - 0.5 / EYE_WIDTHS, 0.5], [0.5 + 0.5 / EYE_WIDTHS, 0.5]], atol=1e-9)
        upper = region.to_region(points[list(EYES[478]["right"].upper)])
        assert (upper[:, 1] < 0.5).all()


def test_an_eye_seen_from_aside_keeps_its_height_in_the_crop():
    points, depth = eye_landmarks(478, 1.0), np.zeros(478)
    eye = EYES[478]["left"]
    points[eye.outer, 0] = points[eye.inner, 0] + 15  # half as wide in the picture, the rest in depth
    depth[eye.outer] = np.sqrt(30**2 - 15**2)
    region = eye_region(DetectedFace(points, depth, np.zeros(4), 1.0, 0.0, "none"), "left")
    assert np.isclose(region.size, EYE_WIDTHS * 30)


@pytest.mark.parametrize("count", [68, 478])
def test_landmarks_of_open_and_shut_eyes_are_told_apart(count):
    assert (
        eye_aspect_ratio(eye_landmarks(count, 1.0), "left") > 0.2 > eye_aspect_ratio(eye_landmarks(count, 0.3), "left")
    )
    assert disagreeing(eye_landmarks(count, 1.0), {"left": True, "right": False}) == ("left",)
    assert disagreeing(eye_landmarks(count, 0.2), {"left": True, "right": False}) == ("right",)


@pytest.mark.parametrize("count", [68, 478])
def test_the_published_rule_is_the_formula_of_the_paper(count):
    points, shut = eye_landmarks(count, 1.0, 0.3), 0.7
    found = adjust_eye_landmarks(points, {"left": shut, "right": 0.0}, "published")
    for upper, lower in zip(EYES[count]["left"].upper, EYES[count]["left"].lower, strict=True):
        assert found[upper, 0] == points[upper, 0]
        assert np.isclose(found[upper, 1], (1 - shut) * points[upper, 1] + shut * points[lower, 1])
        assert (found[lower] == points[lower]).all()
    right = list(EYES[count]["right"].upper)
    assert np.allclose(found[right], points[right])


def test_the_published_rule_cannot_open_an_eye_and_the_own_axis_can():
    points = eye_landmarks(478, 0.1)
    opened = {"left": 0.0, "right": 0.0}
    assert eye_aspect_ratio(adjust_eye_landmarks(points, opened, "published"), "left") < 0.2
    found = adjust_eye_landmarks(points, opened, "own-axis")
    assert np.allclose(found, eye_landmarks(478, 1.0), atol=6)
    assert np.isclose(eye_aspect_ratio(found, "left"), 0.2, rtol=0.02)  # no wider than an open eye has to be


def test_an_eye_is_opened_as_wide_as_the_other_one_that_was_right():
    points, wide = eye_landmarks(478, 0.02), eye_landmarks(478, 1.2)
    left = EYES[478]["left"]
    shut_left = wide.copy()
    shut_left[list(left.upper + left.lower)] = points[list(left.upper + left.lower)]
    found = adjust_eye_landmarks(shut_left, {"left": 0.0, "right": 0.0}, "own-axis", ("left",))
    assert eye_aspect_ratio(found, "left") == pytest.approx(eye_aspect_ratio(wide, "right"), rel=0.05)
    assert np.array_equal(
        np.delete(found, list(left.upper + left.lower), 0), np.delete(shut_left, list(left.upper + left.lower), 0)
    )


@pytest.mark.parametrize("roll", [0.0, 0.6, np.pi / 2, -2.5])
@pytest.mark.parametrize("count", [68, 478])
def test_along_the_own_axis_lids_meet_at_any_roll(count, roll):
    found = adjust_eye_landmarks(eye_landmarks(count, 1.0, roll), {"left": 1.0, "right": 1.0}, "own-axis")
    for side in SIDES:
        assert eye_aspect_ratio(found, side) < 1e-9
    slit = adjust_eye_landmarks(eye_landmarks(count, 1.0, roll), {"left": 0.6, "right": 0.6}, "own-axis")
    assert np.isclose(eye_aspect_ratio(slit, "left"), eye_aspect_ratio(eye_landmarks(count, 0.4), "left"))


def test_the_published_rule_bends_a_rolled_eye_and_the_own_axis_does_not():
    """At a quarter turn the lids lie beside each other: moving in y alone cannot bring them together."""
    points, shut = eye_landmarks(68, 1.0, np.pi / 2), {"left": 1.0, "right": 1.0}
    assert eye_aspect_ratio(adjust_eye_landmarks(points, shut, "published"), "left") > 0.2


def test_landmarks_of_another_set_or_rule_are_refused():
    with pytest.raises(ValueError, match="68 or 478"):
        adjust_eye_landmarks(np.zeros((70, 2)), {"left": 0.0, "right": 0.0})
    with pytest.raises(ValueError, match="rule"):
        adjust_eye_landmarks(np.zeros((68, 2)), {"left": 0.0, "right": 0.0}, "other")


class BrightIsOpen(torch.nn.Module):
    """Calls dark crops shut; the degree is always a half."""

    def forward(self, image, apertures):
        bright = image.mean(dim=(1, 2, 3)) * 20 - 10
        return torch.stack([bright, -bright, torch.zeros_like(bright)], dim=1)


def test_each_eye_has_an_answer_of_its_own(portrait):
    image, face = portrait
    dark = image.copy()
    region = eye_region(face, "left")
    low, high = (region.centre - region.size).astype(int), (region.centre + region.size).astype(int)
    keep = int(face.points[168, 0])  # between the eyes
    dark[low[1] : high[1], max(low[0], keep) : high[0]] = 0
    bright = np.full_like(image, 255)
    bright[low[1] : high[1], max(low[0], keep) : high[0]] = dark[low[1] : high[1], max(low[0], keep) : high[0]]
    states = EyeStateDetector(BrightIsOpen()).read(bright, face)
    assert states["left"].is_shut and not states["right"].is_shut


def test_lids_whose_landmarks_meet_count_towards_shut_and_open_ones_not_towards_open(portrait, monkeypatch):
    image, face = portrait
    detector = EyeStateDetector(make_network(width=4, blocks=1))
    found = {}
    for seen in (0.0, 0.5, 1.0):
        monkeypatch.setattr("backend.methods.eye_states.read_eye_closure", lambda *_, s=seen: {"left": s, "right": 0.0})
        found[seen] = detector.probability_shut(image, face)
    logit = {seen: np.log(p["left"] / (1 - p["left"])) for seen, p in found.items()}
    assert logit[0.0] == pytest.approx(logit[0.5], abs=1e-5)
    assert logit[1.0] == pytest.approx(logit[0.0] + LANDMARKS_COUNT, abs=1e-4)
    assert len({p["right"] for p in found.values()}) == 1


def test_degree_and_state_agree():
    assert state_of(0.9, 0.2).closure > 0.5 and state_of(0.1, 0.8).closure <= 0.5
    assert state_of(0.9, 0.97) == EyeState(0.9, 0.97) and state_of(0.1, 0.2) == EyeState(0.1, 0.2)


def test_elam_moves_only_lids_that_the_detector_contradicts(portrait):
    image, face = portrait

    class SaysLeftShut:
        def read(self, image, face):
            return {"left": EyeState(0.95, 1.0), "right": EyeState(0.05, 0.0)}

    found = elam(image, face, SaysLeftShut())
    assert found.adjusted == ("left",)
    assert eye_aspect_ratio(face.points, "left") > 0.2
    assert eye_aspect_ratio(found.points, "left") < 0.1  # what is left is lids' points that lie beside each other
    moved = np.flatnonzero((found.points != face.points).any(axis=1))
    assert set(moved) == set(EYES[478]["left"].upper + EYES[478]["left"].lower)
    assert found.closure == {"left": 1.0, "right": 0.0}


def test_an_open_eye_is_as_open_as_the_more_open_of_detector_and_landmarks(portrait):
    image, face = portrait

    class SaysNarrow:
        def read(self, image, face):
            return {"left": EyeState(0.3, 0.5), "right": EyeState(0.9, 0.6)}

    closure = elam(image, face, SaysNarrow()).closure
    assert closure["left"] == min(0.5, read_eye_closure(image, face)["left"]) and closure["right"] == 0.6


def test_the_network_is_small_and_indifferent_to_exposure():
    torch.manual_seed(0)
    network = make_network(sees="eye", width=32, blocks=2, uses_apertures=True, dropout=0.2).eval()
    assert sum(parameter.numel() for parameter in network.parameters()) < 1_100_000
    image, apertures = torch.rand(2, 3, CROP_HEIGHT, CROP_WIDTH) * 0.5 + 0.1, torch.ones(2, 2)
    with torch.no_grad():
        assert torch.allclose(network(image, apertures), network(image * 1.5, apertures), atol=0.05)
        assert not torch.allclose(network(image, apertures), network(image, apertures * 0.3), atol=1e-4)


def test_the_paper_sees_the_whole_face_and_says_the_same_of_both_eyes(portrait):
    image, face = portrait
    assert face_picture(image, face).shape == (244, 244, 3)
    torch.manual_seed(0)
    states = EyeStateDetector(make_network(sees="face", width=8), "face").read(image, face)
    assert states["left"] == states["right"]
