"""MediaPipe's 478 points as the 68 of iBUG, which the papers' methods and crops are written for.

Each of the 68 is the nearest of the 478. Those of the jaw are moved by a linear combination of their neighbours that
changes with the turn of the head: the detector's outline slides over the face as it turns, the jaw's points do not.
The combination was learnt on rendered heads (`python3 -m training calibrate-landmarks68`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from backend.errors import SetupError
from backend.face_mesh_points import LEFT_EYE_OUTER_CORNER, POINT_COUNT, RIGHT_EYE_OUTER_CORNER

ASSET = Path(__file__).parent / "assets/landmarks68.npz"

JAW = (127, 234, 93, 132, 58, 136, 150, 176, 152, 400, 379, 365, 288, 361, 323, 454, 356)
BROWS = (70, 63, 105, 66, 107, 336, 296, 334, 293, 300)
NOSE = (168, 197, 5, 4, 75, 97, 2, 326, 305)
EYES = (33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380)
OUTER_LIPS = (61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181)
INNER_LIPS = (78, 82, 13, 312, 308, 317, 14, 87)
NEAREST = np.array(JAW + BROWS + NOSE + EYES + OUTER_LIPS + INNER_LIPS)
"""(68,) the one point of the 478 that lies nearest to each of the 68, seen from the front."""

NOSE_TIP, RIGHT_TEMPLE, LEFT_TEMPLE = 1, 234, 454
LARGEST_TURN = 1.2


JAW_COUNT = len(JAW)


@dataclass(frozen=True)
class Landmarks68Table:
    """What moves the nearest points of the jaw to their places.

    Attributes:
        neighbours: (17, K) int64, points of the 478.
        weights: (3, 17, K) float64, of the neighbours' offsets: constant, times the turn, times its square.
    """

    neighbours: np.ndarray
    weights: np.ndarray

    def apply(self, points: np.ndarray) -> np.ndarray:
        """(..., 478, 2) to (..., 68, 2), as `landmarks68_from_478`."""
        moved = points[..., NEAREST, :]
        jaw = moved[..., :JAW_COUNT, :]
        turned = turn_of(points)[..., None, None]
        weights = self.weights[0] + turned * self.weights[1] + turned**2 * self.weights[2]  # (..., 17, K)
        offsets = points[..., self.neighbours, :] - jaw[..., None, :]
        jaw += (weights[..., None, :] @ offsets)[..., 0, :]  # a view of `moved`, which is a copy
        return moved


def landmarks68_from_478(points: np.ndarray) -> np.ndarray:
    """The 68 points of a face.

    Args:
        points: (..., 478, 2) pixels, MediaPipe's order.

    Returns:
        (..., 68, 2) float64 pixels, iBUG order: 0 to 16 the jaw from the subject's right ear to the left, brows, nose,
        36 to 41 the subject's right eye, 42 to 47 the left, lips. The points of the jaw are those of the surface, not
        of the outline, as 3D landmarks have them.

    Raises:
        ValueError: not 478 points.
        SetupError: "asset-missing".
    """
    points = np.asarray(points, dtype=np.float64)
    if points.shape[-2:] != (POINT_COUNT, 2):
        raise ValueError(f"The 68 points need (..., {POINT_COUNT}, 2) points, not {points.shape}.")
    return landmarks68_table().apply(points)


def turn_of(points: np.ndarray) -> np.ndarray:
    """How far a head is turned: (...,), 0 from the front, above 0 where its left side shows, about 1 in profile.

    Args:
        points: (..., 478, 2) pixels.
    """
    across = points[..., LEFT_EYE_OUTER_CORNER, :] - points[..., RIGHT_EYE_OUTER_CORNER, :]
    tip, right, left = (
        (points[..., row, :] * across).sum(-1) for row in (NOSE_TIP, RIGHT_TEMPLE, LEFT_TEMPLE)
    )  # along the eye line
    width = np.maximum(np.abs(left - right), 1e-9)
    return np.clip(((left - tip) - (tip - right)) / width, -LARGEST_TURN, LARGEST_TURN)


@cache
def landmarks68_table() -> Landmarks68Table:
    """The table in backend/assets."""
    if not ASSET.exists():
        raise SetupError(
            "asset-missing", f"The table {ASSET.name} is missing from {ASSET.parent}. Get the project anew."
        )
    with np.load(ASSET, allow_pickle=False) as data:
        return Landmarks68Table(data["neighbours"].astype(np.int64), data["weights"].astype(np.float64))
