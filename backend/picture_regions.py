"""A picture's crops: square regions of any place, size and angle, and the windows in which faces are looked for."""

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

SMALLEST_LEVEL_PX = 384
"""A picture is halved, for crops of large regions, until its shorter side would be below half of this."""


@dataclass(frozen=True)
class Region:
    """A square part of a picture, which may be turned, mirrored and reach beyond the border.

    Attributes:
        centre: (2,) float64 pixels.
        size: side, pixels.
        angle: radians, from the picture's x axis to the region's, clockwise as seen (y is down).
        mirrored: whether the region's x axis is reversed.
    """

    centre: np.ndarray
    size: float
    angle: float = 0.0
    mirrored: bool = False

    @cached_property
    def axes(self) -> np.ndarray:
        """(2, 2): columns are the region's x and y directions in the picture, unit length."""
        cosine, sine = np.cos(self.angle), np.sin(self.angle)
        flip = -1.0 if self.mirrored else 1.0
        return np.array([[cosine * flip, -sine], [sine * flip, cosine]])

    def to_picture(self, points: np.ndarray) -> np.ndarray:
        """(N, 2) points with 0 to 1 inside the region -> picture pixels."""
        return self.centre + (np.asarray(points) - 0.5) * self.size @ self.axes.T

    def to_region(self, points: np.ndarray) -> np.ndarray:
        """(N, 2) picture pixels -> 0 to 1 inside the region."""
        return (np.asarray(points) - self.centre) @ self.axes / self.size + 0.5


class Picture:
    """A picture that gives evenly filtered crops at any size and angle.

    Args:
        image: (H, W, 3) uint8.
    """

    def __init__(self, image: np.ndarray) -> None:
        self.levels = [np.ascontiguousarray(image)]
        while min(self.levels[-1].shape[:2]) > SMALLEST_LEVEL_PX:
            height, width = self.levels[-1].shape[:2]
            half = ((width + 1) // 2, (height + 1) // 2)
            self.levels.append(cv2.resize(self.levels[-1], half, interpolation=cv2.INTER_AREA))

    @property
    def width(self) -> int:
        return self.levels[0].shape[1]

    @property
    def height(self) -> int:
        return self.levels[0].shape[0]

    def crop(self, region: Region, side: int, border: int = cv2.BORDER_REPLICATE) -> np.ndarray:
        """The region as a (side, side, 3) uint8 picture; outside the picture what OpenCV's border mode says."""
        fine = 2 * side
        wanted_reduction = max(region.size / fine, 1.0)
        level = min(int(np.log2(wanted_reduction)), len(self.levels) - 1)
        source = self.levels[level]
        scale = np.array([source.shape[1] / self.width, source.shape[0] / self.height])
        linear = region.axes * region.size / fine  # picture pixels per crop pixel
        corner = region.centre - linear @ np.full(2, fine / 2)
        # OpenCV puts integers at pixel centres: crop index i is at i + 0.5, and the source index is the place - 0.5.
        offset = scale * (corner + linear @ np.full(2, 0.5)) - 0.5
        matrix = np.column_stack([scale[:, None] * linear, offset])
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        crop = cv2.warpAffine(source, matrix, (fine, fine), flags=flags, borderMode=border)
        return cv2.resize(crop, (side, side), interpolation=cv2.INTER_AREA)


def search_windows(width: int, height: int) -> list[list[Region]]:
    """Square windows over a picture: all of it (also from further off), then tiles at two finer scales."""
    centre = np.array([width / 2, height / 2])
    whole = max(width, height)
    levels = [[Region(centre, whole), Region(centre, 1.5 * whole)]]
    for tiles in (2, 4):
        side = whole / tiles
        columns, rows = _tile_centres(width, side), _tile_centres(height, side)
        levels.append([Region(np.array([x, y]), side) for y in rows for x in columns])
    return levels


def _tile_centres(extent: float, side: float) -> np.ndarray:
    """Centres of tiles that overlap by at least half and cover 0 to extent."""
    if extent <= side:
        return np.array([extent / 2])
    count = int(np.ceil((extent - side) / (side / 2))) + 1
    return np.linspace(side / 2, extent - side / 2, count)
