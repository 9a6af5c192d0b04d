"""The head as a map about its crown, on which hair is combed: how far the skin lies from the middle, by direction.

A place on the map is (forwards, sideways) in radians: an azimuthal equidistant map, the crown in its middle, so that
straight lines on it are the ways that combed hair takes.
"""

from __future__ import annotations

import cv2
import numpy as np

from backend.face_models.open_head import OpenHead
from training.data.depth_buffer import draw

CROWN = np.array([0.0, 0.85, -0.5]) / np.hypot(0.85, 0.5)
FORWARD = np.array([0.0, 0.5, 0.85]) / np.hypot(0.85, 0.5)
MIDDLE_FROM_SCALP = np.array([0.0, -0.019, 0.039])
"""Metres from the mean of the scalp's vertices to where all directions start, deep in the skull."""
AROUND, DOWN = 120, 60
"""Directions of the chart: round the crown, and from it to the far side."""
SMOOTH_POLE = 4
"""Rows about the crown where triangles of a flat chart fail; they take the next row's mean."""


def directions(places: np.ndarray) -> np.ndarray:
    """Unit vectors (..., 3) of places (..., 2) on the map."""
    down = np.linalg.norm(places, axis=-1, keepdims=True)
    ratio = np.sinc(down / np.pi)  # sin(d) / d
    flat = places[..., :1] * FORWARD + places[..., 1:] * np.array([1.0, 0.0, 0.0])
    return np.cos(down) * CROWN + ratio * flat


def place_at(down: np.ndarray, round_: np.ndarray) -> np.ndarray:
    """Places (..., 2) by radians from the crown and radians round it, 0 forwards, towards the subject's left."""
    return np.stack([down * np.cos(round_), down * np.sin(round_)], axis=-1)


class HeadChart:
    """Which triangle of the open head each direction meets; made once for a model, without and with the ears."""

    def __init__(self, model: OpenHead) -> None:
        self._scalp = model.masks["scalp"]
        triangles = model.topology.triangles
        outer = model.masks["outer_skin"][triangles].all(axis=1)
        bare = outer & ~model.masks["ears"][triangles].any(axis=1)
        self._corners = {}
        for name, kept in (("skin", bare), ("ears", outer)):
            self._corners[name] = self._met(model.mean.astype(float), triangles[kept])

    def middle(self, neutral: np.ndarray) -> np.ndarray:
        """(3,) metres, where directions start, of a neutral head (V, 3)."""
        return neutral[self._scalp].mean(axis=0).astype(float) + MIDDLE_FROM_SCALP

    def of(self, neutral: np.ndarray) -> Skull:
        """The chart of the person with this neutral head (V, 3)."""
        middle = self.middle(neutral)
        radii = []
        for corners, weights, known in self._corners.values():
            points = np.einsum("rck,rckx->rcx", weights, neutral[corners].astype(float))
            radius = np.linalg.norm(points - middle, axis=-1)
            radius[~known] = 0
            radii.append(_filled(radius.astype(np.float32), known))
        return Skull(middle, radii[0], np.maximum(radii[0], radii[1]))

    def _met(self, mean: np.ndarray, triangles: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Vertices (DOWN, AROUND, 3) and their weights for each direction, and where any triangle was met."""
        apart = mean - self.middle(mean)
        radius = np.linalg.norm(apart, axis=1)
        down = np.arccos(np.clip(apart @ CROWN / radius, -1, 1))
        round_ = np.arctan2(apart[:, 0], apart @ FORWARD)
        # A triangle across the seam at the back is drawn at both ends.
        corner_round = round_[triangles]
        across = np.ptp(corner_round, axis=1) > np.pi
        copies = [(triangles[~across], round_), (triangles[across], np.where(round_ < 0, round_ + 2 * np.pi, round_))]
        copies.append((triangles[across], np.where(round_ > 0, round_ - 2 * np.pi, round_)))
        screen = [np.stack([(at / (2 * np.pi) + 0.5) * AROUND, down / np.pi * DOWN], axis=1) for _, at in copies]
        count = len(mean)
        kept = np.concatenate([part + number * count for number, (part, _) in enumerate(copies)])
        depth = np.tile(1.0 - radius, 3)  # the outermost wins
        found, _, weights = draw(
            np.concatenate(screen).astype(np.float32), depth.astype(np.float32), kept, DOWN, AROUND, False
        )
        return kept[found.clip(min=0)] % count, weights, found >= 0


class Skull:
    """Where one person's skin lies, by direction from the middle of the skull.

    Args:
        middle: (3,) metres.
        skin: (DOWN, AROUND) float32 metres from the middle, as if there were no ears; with_ears: where there are.
    """

    def __init__(self, middle: np.ndarray, skin: np.ndarray, with_ears: np.ndarray) -> None:
        self.middle = middle
        # What lies over the ear slides over it: hair does not follow its folds.
        over = cv2.GaussianBlur(cv2.dilate(_padded(with_ears), np.ones((5, 5))), (0, 0), 1.2)
        self._skin, self._over_ears = _padded(skin), over

    def radius(self, direction: np.ndarray, *, over_ears: bool = False) -> np.ndarray:
        """Metres from the middle to the skin in unit directions (..., 3)."""
        if not direction.size:
            return np.zeros(direction.shape[:-1])
        down = np.arccos(np.clip(direction @ CROWN, -1, 1))
        round_ = np.arctan2(direction[..., 0], direction @ FORWARD)
        column = ((round_ / (2 * np.pi) + 0.5) * AROUND - 0.5 + PAD).astype(np.float32)
        row = (down / np.pi * DOWN - 0.5).astype(np.float32)
        table = self._over_ears if over_ears else self._skin
        shape = column.shape
        found = cv2.remap(
            table, column.reshape(len(column), -1), row.reshape(len(row), -1), cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )  # fmt: skip
        return found.reshape(shape).astype(float)

    def points(self, places: np.ndarray, height: np.ndarray) -> np.ndarray:
        """Places (..., 2) of the map at a height (...,) in metres above the skin: (..., 3)."""
        direction = directions(places)
        return self.middle + direction * (self.radius(direction) + height)[..., None]


PAD = 6


def _padded(radius: np.ndarray) -> np.ndarray:
    """The chart with its seam repeated at both ends."""
    return np.concatenate([radius[:, -PAD:], radius, radius[:, :PAD]], axis=1).astype(np.float32)


def _filled(radius: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Directions that meet nothing, as at the ears and in the neck, take a smooth mean of what is round them."""
    weight = known.astype(np.float32)
    value = radius * weight
    result = radius.copy()
    missing = ~known
    for sigma in (1.5, 4.0, 12.0):
        near = cv2.GaussianBlur(_padded(weight), (0, 0), sigma)[:, PAD:-PAD]
        mean = cv2.GaussianBlur(_padded(value), (0, 0), sigma)[:, PAD:-PAD]
        reached = missing & (near > 0.02)
        result[reached] = mean[reached] / near[reached]
        missing = missing & ~reached
    result[missing] = radius[known].mean()
    result[:SMOOTH_POLE] = result[SMOOTH_POLE].mean()
    return result
