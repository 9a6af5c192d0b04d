"""Round bodies drawn in two dimensions, lit by one lamp: capsules that join into hands, cups and microphones."""

from __future__ import annotations

import numba
import numpy as np


class ShadedCanvas:
    """A picture of round bodies; where they overlap the one that stands out most is seen.

    Args:
        height, width: in pixels.
        light: (3,) towards the lamp: right, down, out of the picture.
        ambient: share of the light that comes from everywhere.

    Attributes:
        colour: (H, W, 3) float32 linear; cover: (H, W) float32 in [0, 1]; level: (H, W) float32 pixels out of the
            picture, minus infinity where there is nothing.
    """

    def __init__(self, height: int, width: int, light: np.ndarray, ambient: float = 0.35) -> None:
        self.colour = np.zeros((height, width, 3), np.float32)
        self.cover = np.zeros((height, width), np.float32)
        self.level = np.full((height, width), -np.inf, np.float32)
        self._light = np.asarray(light, np.float32) / np.linalg.norm(light)
        self._ambient = ambient

    def capsule(
        self,
        start: np.ndarray,
        end: np.ndarray,
        start_radius: float,
        end_radius: float,
        colour: np.ndarray,
        *,
        base: float = 0.0,
        flatness: float = 1.0,
        gloss: float = 0.0,
    ) -> None:
        """A rod with round ends.

        Args:
            start, end: (2,) pixels, x right, y down.
            start_radius, end_radius: pixels.
            colour: (3,) linear.
            base: how far its axis lies out of the picture, in pixels.
            flatness: 1 round; less is flatter, as the palm of a hand.
            gloss: strength of a highlight.
        """
        start, end = np.asarray(start, float), np.asarray(end, float)
        _draw_capsule(
            self.colour, self.cover, self.level, start, end, start_radius, end_radius, np.asarray(colour, np.float32),
            base, flatness, gloss, self._light, self._ambient,
        )  # fmt: skip

    def light_on(self, sideways: np.ndarray) -> np.ndarray:
        """Light (...) on an upright cylinder where its normal points `sideways` (...), -1 left, 1 right."""
        out = np.sqrt(np.maximum(1 - sideways**2, 0))
        facing = sideways * self._light[0] + out * self._light[2]
        return self._ambient * (0.6 + 0.4 * out) + (1 - self._ambient) * np.maximum(facing, 0)

    def paint(self, cover: np.ndarray, colour: np.ndarray, level: float) -> None:
        """Something flat: `cover` (H, W) in [0, 1], `colour` (H, W, 3) or (3,) linear, with its light."""
        wins = (cover > 0) & (level > self.level)
        share = np.where(wins, np.where(cover > self.cover, 1, cover), 0)[..., None].astype(np.float32)
        self.colour += share * (np.asarray(colour, np.float32) - self.colour)
        self.level[wins & (cover > 0.5)] = level
        self.cover = np.maximum(self.cover, np.where(wins, cover, 0)).astype(np.float32)


@numba.njit(cache=True, nogil=True)
def _draw_capsule(
    colours, covers, levels, start, end, start_radius, end_radius, colour, base, flatness, gloss, light, ambient
):
    """Pixel by pixel: how far from the axis, hence how far out and which way the surface faces; the outermost wins."""
    height, width = covers.shape
    reach = max(start_radius, end_radius) + 1
    left, top = max(int(min(start[0], end[0]) - reach), 0), max(int(min(start[1], end[1]) - reach), 0)
    right = min(int(max(start[0], end[0]) + reach) + 2, width)
    bottom = min(int(max(start[1], end[1]) + reach) + 2, height)
    axis_x, axis_y = end[0] - start[0], end[1] - start[1]
    length = max(axis_x * axis_x + axis_y * axis_y, 1e-6)
    for row in range(top, bottom):
        for column in range(left, right):
            x, y = column + 0.5 - start[0], row + 0.5 - start[1]
            share = min(max((x * axis_x + y * axis_y) / length, 0.0), 1.0)
            x, y = x - share * axis_x, y - share * axis_y
            radius = start_radius + share * (end_radius - start_radius)
            distance = np.sqrt(x * x + y * y)
            cover = min(max(radius - distance + 0.5, 0.0), 1.0)
            out = np.sqrt(max(1.0 - (distance / radius) ** 2, 0.0))
            level = base + out * radius * flatness
            if cover == 0.0 or (level <= levels[row, column] and cover <= covers[row, column]):
                continue
            slope_x, slope_y = x / radius * flatness, y / radius * flatness
            facing = slope_x * light[0] + slope_y * light[1] + out * light[2]
            facing = max(facing / np.sqrt(slope_x * slope_x + slope_y * slope_y + out * out + 1e-6), 0.0)
            shade = ambient * (0.6 + 0.4 * out) + (1.0 - ambient) * facing
            highlight = gloss * facing**24
            for channel in range(3):
                colours[row, column, channel] = shade * colour[channel] + highlight
            levels[row, column] = level
            covers[row, column] = max(covers[row, column], cover)
