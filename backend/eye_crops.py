"""The pictures that tell whether an eye is shut: crops of one eye, upright along its own axis, or of the whole face.

Left and right are the subject's own.
"""

import numpy as np

from backend.detection import DetectedFace, region_around
from backend.eye_state import FIRST_SCALE, SCALES, measure_eyes
from backend.face_mesh_points import (
    LEFT_EYE_INNER_CORNER,
    LEFT_EYE_OUTER_CORNER,
    RIGHT_EYE_INNER_CORNER,
    RIGHT_EYE_OUTER_CORNER,
)
from backend.picture_regions import Picture, Region

SIDES = ("left", "right")
CORNERS = {
    "left": (LEFT_EYE_OUTER_CORNER, LEFT_EYE_INNER_CORNER),
    "right": (RIGHT_EYE_OUTER_CORNER, RIGHT_EYE_INNER_CORNER),
}
CROP_HEIGHT, CROP_WIDTH = 48, 64
EYE_WIDTHS = 2.0
"""Width of the crop over that of the eye."""
FACE_SIZE = 244
"""Side in pixels of the picture of the whole face, as the paper's detector has it."""


def eye_region(face: DetectedFace, side: str) -> Region:
    """The square round one eye, upright along its corners, `EYE_WIDTHS` wide; mirrored for the right eye.

    The width is that in space, so that an eye seen from aside keeps its height in the crop.
    """
    outer, inner = CORNERS[side]
    first, second = (inner, outer) if side == "left" else (outer, inner)
    across = face.points[second] - face.points[first]
    width = float(np.hypot(np.linalg.norm(across), face.depth[second] - face.depth[first]))
    angle = float(np.arctan2(across[1], across[0]))
    middle = (face.points[outer] + face.points[inner]) / 2
    return Region(middle, EYE_WIDTHS * max(width, 1.0), angle, mirrored=side == "right")


def crop_eye(picture: Picture, region: Region, width: int = CROP_WIDTH) -> np.ndarray:
    """The middle three quarters of a square region's height: (3/4 width, width, 3) uint8 sRGB."""
    square = picture.crop(region, width)
    return square[width // 8 : width - width // 8]


def moved(region: Region, along: float, across: float, size: float, turn: float) -> Region:
    """A region shifted by parts of its side in its own axes, larger or smaller by a factor, turned by radians."""
    centre = region.to_picture(np.array([[0.5 + along, 0.5 + across]]))[0]
    return Region(centre, region.size * size, region.angle + turn, region.mirrored)


def relative_apertures(face: DetectedFace) -> dict[str, float]:
    """The gap between the landmarks of the lids of each eye, over that of the detector's typical open eye."""
    scale = SCALES.get(face.detector, FIRST_SCALE)
    return {side: eye.aperture / scale.open for side, eye in measure_eyes(face).items()}


def face_picture(image: np.ndarray, face: DetectedFace, size: int = FACE_SIZE) -> np.ndarray:
    """The whole face upright, (size, size, 3) uint8: what the paper's detector sees. CEW's pictures are cut so."""
    region = region_around(face.points)
    return Picture(image).crop(Region(region.centre, region.size, region.angle), size)
