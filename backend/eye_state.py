"""How far the eyes of a detected face are shut, from the landmarks of their lids.

The aperture of an eye is the gap between its lids over its width. A single photograph does not say how far this person
opens their eyes, so the aperture is compared with the typical open eye, or with the person's other eye where that is
open wider. Lid landmarks follow a shut lid only part of the way, and people with open eyes differ, so closure is
already 0 and 1 some way before the ends.

Left and right are the subject's own.
"""

from dataclasses import dataclass

import numpy as np

from backend.detection import DetectedFace, MediaPipeFaceLandmarker, MediaPipeFaceMesh
from backend.face_mesh_points import (
    LEFT_EYE_INNER_CORNER,
    LEFT_EYE_OUTER_CORNER,
    LEFT_IRIS_CENTRE,
    LEFT_LOWER_LID,
    LEFT_UPPER_LID,
    RIGHT_EYE_INNER_CORNER,
    RIGHT_EYE_OUTER_CORNER,
    RIGHT_IRIS_CENTRE,
    RIGHT_LOWER_LID,
    RIGHT_UPPER_LID,
)


@dataclass(frozen=True)
class ApertureScale:
    """What the apertures of one detector mean.

    Attributes:
        open: of the typical open eye.
        open_share, half_share, shut_share: shares of the open aperture at closure 0, 0.5 and 1.
        difference: what share of a difference between the two eyes the landmarks show.
    """

    open: float
    open_share: float
    half_share: float
    shut_share: float
    difference: float = 1.0

    def undo_likening(self, apertures: dict[str, float]) -> dict[str, float]:
        """The apertures of both eyes as far apart as they are, their mean kept."""
        middle = float(np.mean(list(apertures.values())))
        return {side: middle + (aperture - middle) / self.difference for side, aperture in apertures.items()}


FIRST_SCALE = ApertureScale(open=0.26, open_share=0.8, half_share=0.5, shut_share=0.3)
"""The first detector's: the median over 272 open eyes of 136 photographs of 88 people (the CC-BY training photographs),
95 % of which are open by more than the open share. Its lid landmarks seldom meet: on renders of lids that are shut by
four fifths a third of the aperture is left."""

SCALES = {
    MediaPipeFaceMesh.name: FIRST_SCALE,
    # Open: the median over the same 272 eyes. Its lid landmarks follow a shut lid farther: the shares are what it sees
    # in the median, on 678 blurred eyes, where the first detector sees the first one's shares. But it makes the two
    # eyes alike: on renders of 178 people whose eyes shut apart, a blink takes 0.25 off the sum of the apertures and
    # changes their difference by 0.10 only.
    MediaPipeFaceLandmarker.name: ApertureScale(
        open=0.266, open_share=0.8, half_share=0.38, shut_share=0.17, difference=0.4
    ),
}

_EYES = {
    "left": (LEFT_EYE_OUTER_CORNER, LEFT_EYE_INNER_CORNER, LEFT_UPPER_LID, LEFT_LOWER_LID, LEFT_IRIS_CENTRE),
    "right": (RIGHT_EYE_OUTER_CORNER, RIGHT_EYE_INNER_CORNER, RIGHT_UPPER_LID, RIGHT_LOWER_LID, RIGHT_IRIS_CENTRE),
}


@dataclass(frozen=True)
class EyeMeasure:
    """One eye, measured in its own frame: from the corner on the picture's left to the other, and across it.

    Attributes:
        aperture: the mean gap between the five middle pairs of lid points, over the eye's width in space.
        iris: (2,) float64: the iris centre, 0 at the left corner and 1 at the right one in the picture; and its
            distance below the line through them, over the width.
    """

    aperture: float
    iris: np.ndarray


def measure_eyes(face: DetectedFace) -> dict[str, EyeMeasure]:
    """Aperture and iris place of both eyes: {"left", "right"}."""
    return {side: _measure(face, *indices) for side, indices in _EYES.items()}


def read_eye_closure(image: np.ndarray, face: DetectedFace) -> dict[str, float]:
    """How far the eyes are shut.

    Args:
        image: (H, W, 3) uint8 sRGB, where the face was detected; the landmarks alone decide so far.
        face: the face.

    Returns:
        {"left": 0..1, "right": 0..1}, the subject's own sides, 0 open and 1 shut.
    """
    eyes = measure_eyes(face)
    scale = SCALES.get(face.detector, FIRST_SCALE)
    apertures = scale.undo_likening({side: eye.aperture for side, eye in eyes.items()})
    own_open = max(scale.open, *apertures.values())
    return {side: closure_from_aperture(aperture / own_open, scale) for side, aperture in apertures.items()}


def closure_from_aperture(share: float, scale: ApertureScale = FIRST_SCALE) -> float:
    """0 where an aperture's share of the open one is near 1 or above, 1 where hardly anything is left."""
    return float(np.interp(share, (scale.shut_share, scale.half_share, scale.open_share), (1.0, 0.5, 0.0)))


def _measure(face: DetectedFace, outer: int, inner: int, upper, lower, iris: int) -> EyeMeasure:
    first, second = sorted((outer, inner), key=lambda corner: face.points[corner, 0])
    across = face.points[second] - face.points[first]
    flat_width = max(float(np.linalg.norm(across)), 1e-6)
    across = across / flat_width
    down = np.array([-across[1], across[0]])
    width = max(float(np.hypot(flat_width, face.depth[second] - face.depth[first])), 1e-6)
    middle = slice(1, 6)  # next to the corners the lids meet anyway
    gaps = face.points[list(lower[middle])] - face.points[list(upper[middle])]
    # The landmarks of a shut eye cross each other and slide sideways: the signed gap can tell more or less than none,
    # the distance never less than the noise. Their mean is steadier than either.
    aperture = (float((gaps @ down).mean()) + float(np.linalg.norm(gaps, axis=1).mean())) / 2 / width
    place = (face.points[iris] - face.points[first]) @ np.stack([across, down], axis=1) / flat_width
    return EyeMeasure(aperture, place)
