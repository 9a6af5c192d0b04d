"""The Eye Landmark Adjustment Module (ELAM) of Eye Motion (Wang et al., ICASSP 2024, section 2.3, equation 4).

Where the eye-state detector and the landmarks of an eye disagree, the landmarks are wrong and are moved. Two rules:

- "published": y of every upper lid point becomes (1 - P) y_upper + P y_lower. It moves along the picture's own y axis,
  whatever the roll of the head, shuts eyes only half-way where P is not quite 1, and cannot open an eye.
- "own-axis": along the eye's own up direction the lids get the gap of an open eye times (1 - closure); both lids move,
  as lids do, and an eye can be opened again: as wide as the other one where that is open and was right, else no
  wider than an open eye has to be, since landmarks take narrow eyes for shut ones.

The paper does not say when landmarks disagree. Here the eye aspect ratio decides (Soukupova & Cech, CVWW 2016).
Left and right are the subject's own.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from backend.detection import DetectedFace
from backend.eye_crops import SIDES
from backend.eye_state import read_eye_closure
from backend.face_mesh_points import (
    LEFT_EYE_INNER_CORNER,
    LEFT_EYE_OUTER_CORNER,
    LEFT_LOWER_LID,
    LEFT_UPPER_LID,
    RIGHT_EYE_INNER_CORNER,
    RIGHT_EYE_OUTER_CORNER,
    RIGHT_LOWER_LID,
    RIGHT_UPPER_LID,
)
from backend.lids import UPPER_SHARE

if TYPE_CHECKING:
    from backend.methods.eye_states import EyeState, EyeStateDetector

Rule = Literal["published", "own-axis"]

SHUT_BELOW_RATIO = 0.2
"""The customary limit of the eye aspect ratio, never tuned."""
SHUT_ABOVE = 0.5
"""The paper's threshold on P, never tuned; and the closure that agrees with it, see `EyeState`."""
OPEN_GAPS = (0.103, 0.190, 0.281, 0.336, 0.307, 0.205, 0.087)
"""Gaps between the seven pairs of lid points of an open eye, over the eye's width, from the outer corner to the inner:
medians over 272 open eyes of the CC-BY training photographs."""


@dataclass(frozen=True)
class EyePoints:
    """Which landmarks of a set belong to one eye; upper and lower are pairs, from the outer corner to the inner.

    Attributes:
        measured: which pairs the aspect ratio is taken over; next to the corners lids meet anyway.
        open_gaps: of the pairs, over the eye's width.
    """

    outer: int
    inner: int
    upper: tuple[int, ...]
    lower: tuple[int, ...]
    measured: tuple[int, ...]
    open_gaps: tuple[float, ...]


_MIDDLE = (1, 2, 3, 4, 5)
_GAPS_OF_68 = (OPEN_GAPS[2], OPEN_GAPS[4])
EYES = {
    68: {
        "right": EyePoints(36, 39, (37, 38), (41, 40), (0, 1), _GAPS_OF_68),
        "left": EyePoints(45, 42, (44, 43), (46, 47), (0, 1), _GAPS_OF_68),
    },
    478: {
        "right": EyePoints(
            RIGHT_EYE_OUTER_CORNER, RIGHT_EYE_INNER_CORNER, RIGHT_UPPER_LID, RIGHT_LOWER_LID, _MIDDLE, OPEN_GAPS
        ),
        "left": EyePoints(
            LEFT_EYE_OUTER_CORNER, LEFT_EYE_INNER_CORNER, LEFT_UPPER_LID, LEFT_LOWER_LID, _MIDDLE, OPEN_GAPS
        ),
    },
}


@dataclass(frozen=True)
class EyeStates:
    """What ELAM made of a face.

    Attributes:
        states: by side, what the detector says.
        points: (478, 2) float64 pixels, the landmarks, adjusted where they were wrong.
        adjusted: the sides whose landmarks were wrong.
        closure: by side, how far the lids are shut: of a shut eye what the detector says, of an open one the smaller
            of what the detector and the landmarks say. (On people held out of training faces are told apart better so
            than by the detector's degree alone, 98.2 % against 97.1 %: it tends to call narrow eyes half shut.)
    """

    states: dict[str, EyeState]
    points: np.ndarray
    adjusted: tuple[str, ...]
    closure: dict[str, float]


def elam(image: np.ndarray, face: DetectedFace, detector: EyeStateDetector, rule: Rule = "own-axis") -> EyeStates:
    """Eye states of a face, and its landmarks made to agree with them.

    Args:
        image: (H, W, 3) uint8 sRGB, where the face was detected.
        face: the face.
        detector: tells which eyes are shut.
        rule: how wrong landmarks are moved.
    """
    states = detector.read(image, face)
    wrong = disagreeing(face.points, {side: state.is_shut for side, state in states.items()})
    seen = read_eye_closure(image, face)
    closure = {
        side: state.closure if state.is_shut else min(state.closure, seen[side]) for side, state in states.items()
    }
    amount = {side: state.probability_shut for side, state in states.items()} if rule == "published" else closure
    return EyeStates(states, adjust_eye_landmarks(face.points, amount, rule, wrong), wrong, closure)


def eye_aspect_ratio(points: np.ndarray, side: str) -> float:
    """The mean gap between the lids over the eye's width, of (68, 2) or (478, 2) points."""
    eye = EYES[len(points)][side]
    pairs = list(eye.measured)
    gaps = np.linalg.norm(points[list(eye.upper)] - points[list(eye.lower)], axis=1)[pairs]
    width = np.linalg.norm(points[eye.outer] - points[eye.inner])
    return float(gaps.mean() / max(float(width), 1e-9))


def disagreeing(points: np.ndarray, is_shut: Mapping[str, bool]) -> tuple[str, ...]:
    """The sides whose landmarks say another state than `is_shut` does."""
    return tuple(side for side in SIDES if (eye_aspect_ratio(points, side) < SHUT_BELOW_RATIO) != is_shut[side])


def adjust_eye_landmarks(
    points: np.ndarray, closure: Mapping[str, float], rule: Rule = "own-axis", sides: Collection[str] = SIDES
) -> np.ndarray:
    """Landmarks whose lids are as shut as told.

    Args:
        points: (68, 2) iBUG's or (478, 2) MediaPipe's, pixels.
        closure: 0 open to 1 shut, {"left", "right"}, above 0.5 of eyes that count as shut; for the published rule the
            detector's P.
        rule: see the module.
        sides: whose lids are moved, since they were wrong.

    Returns:
        A new array of the same shape, float64.

    Raises:
        ValueError: another number of points, or no such rule.
    """
    if len(points) not in EYES:
        raise ValueError(f"Landmarks must be 68 or 478 points, not {len(points)}.")
    if rule not in ("published", "own-axis"):
        raise ValueError(f"The rule must be 'published' or 'own-axis', not '{rule}'.")
    result = np.array(points, dtype=np.float64)
    for side in sides:
        eye = EYES[len(points)][side]
        if rule == "published":
            upper, lower = list(eye.upper), list(eye.lower)
            result[upper, 1] = (1 - closure[side]) * result[upper, 1] + closure[side] * result[lower, 1]
        else:
            other = SIDES[1 - SIDES.index(side)]
            other_ratio = 0.0 if other in sides else eye_aspect_ratio(points, other)
            _along_own_axis(result, eye, side, _openness(eye, closure[side], other_ratio))
    return result


def _openness(eye: EyePoints, closure: float, other_ratio: float) -> float:
    """What the gap is to be, over the population's open one; `other_ratio`: of the other eye, 0 if it was wrong."""
    if closure > SHUT_ABOVE:
        return 1 - closure
    open_ratio = float(np.mean([eye.open_gaps[pair] for pair in eye.measured]))
    least = SHUT_BELOW_RATIO / open_ratio
    return max(least, (1 - closure) * other_ratio / open_ratio)


def _along_own_axis(points: np.ndarray, eye: EyePoints, side: str, openness: float) -> None:
    upper, lower = list(eye.upper), list(eye.lower)
    # From the corner on the picture's left, as it is on an upright face, to the other: so "down" is the face's own.
    first, second = (eye.inner, eye.outer) if side == "left" else (eye.outer, eye.inner)
    across = points[second] - points[first]
    width = max(float(np.linalg.norm(across)), 1e-9)
    down = np.array([-across[1], across[0]]) / width
    gap = (points[lower] - points[upper]) @ down
    excess = (gap - openness * width * np.array(eye.open_gaps))[:, None]
    points[upper] += UPPER_SHARE * excess * down
    points[lower] -= (1 - UPPER_SHARE) * excess * down
