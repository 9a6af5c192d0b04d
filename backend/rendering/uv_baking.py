"""Which point of the surface lies under every texel of a texture: the bridge from the mesh to its UV square.

UV charts do not overlap, so no depth test is needed: the triangles are filled one after the other, with a border of
about one texel that is extrapolated, which spares seams at the chart's edges. The result depends on the topology and
the size alone and is kept in memory.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

SUBPIXEL_BITS = 6
MAPS_KEPT = 4

_kept: OrderedDict[tuple, TexelMap] = OrderedDict()


@dataclass
class TexelMap:
    """The covered texels of a square texture, packed in one list, and what lies under them.

    Attributes:
        size: side of the texture, texels.
        texel: (N,) int64, row * size + column; row 0 is at the top, where v = 1.
        triangle: (N,) int64, the triangle under the texel's centre (or nearest to it, at the border of a chart).
        barycentric: (N, 3) float32 of the texel's centre; slightly outside [0, 1] in the border.
    """

    size: int
    texel: np.ndarray
    triangle: np.ndarray
    barycentric: np.ndarray

    def interpolate(self, values: np.ndarray, triangles: np.ndarray) -> np.ndarray:
        """Vertex values at the texels.

        Args:
            values: (V, C) float.
            triangles: (T, 3) int, the corners in the order of the `triangle_uv` this map was made from.

        Returns:
            (N, C) float32.
        """
        corners = np.asarray(values, np.float32)[triangles]  # (T, 3, C)
        result = corners[:, 0].take(self.triangle, axis=0)
        result *= self.barycentric[:, :1]
        for corner in (1, 2):
            part = corners[:, corner].take(self.triangle, axis=0)
            part *= self.barycentric[:, corner : corner + 1]
            result += part
        return result

    @cached_property
    def nearest(self) -> np.ndarray:
        """(size * size,) int32: the row in the packed list of the covered texel nearest to each texel."""
        covered = np.ones(self.size * self.size, np.uint8)
        covered[self.texel] = 0
        _, label = cv2.distanceTransformWithLabels(
            covered.reshape(self.size, self.size), cv2.DIST_L2, 3, labelType=cv2.DIST_LABEL_PIXEL
        )
        row_of_label = np.zeros(len(self.texel) + 1, np.int32)
        row_of_label[label.reshape(-1)[self.texel]] = np.arange(len(self.texel), dtype=np.int32)
        return row_of_label[label.reshape(-1)]

    def image(self, packed: np.ndarray) -> np.ndarray:
        """(N, ...) packed values as an image (size, size, ...); texels outside the charts take the nearest value."""
        return packed.take(self.nearest, axis=0).reshape(self.size, self.size, *packed.shape[1:])


def texel_map(uv: np.ndarray, triangle_uv: np.ndarray, size: int) -> TexelMap:
    """The texel map of a UV layout, from memory if it was made before.

    Args:
        uv: (U, 2) float in [0, 1], v up.
        triangle_uv: (T, 3) int, rows of `uv`.
        size: side of the texture, texels.
    """
    key = (size, uv.shape, triangle_uv.shape, hash(uv.tobytes()), hash(triangle_uv.tobytes()))
    if key in _kept:
        _kept.move_to_end(key)
        return _kept[key]
    result = _fill(np.asarray(uv, np.float64), np.asarray(triangle_uv, np.int64), size)
    _kept[key] = result
    if len(_kept) > MAPS_KEPT:
        _kept.popitem(last=False)
    return result


def _fill(uv: np.ndarray, triangle_uv: np.ndarray, size: int) -> TexelMap:
    corners = np.stack([uv[:, 0], 1.0 - uv[:, 1]], axis=1)[triangle_uv] * size  # (T, 3, 2), x right, y down
    # OpenCV's pixel centres are whole numbers.
    fixed = np.round((corners - 0.5) * (1 << SUBPIXEL_BITS)).astype(np.int32)
    label = np.full((size, size), -1, np.int32)
    for number, polygon in enumerate(fixed):
        cv2.fillConvexPoly(label, polygon, number, cv2.LINE_8, SUBPIXEL_BITS)
    texel = np.flatnonzero(label.reshape(-1) >= 0)
    triangle = label.reshape(-1)[texel].astype(np.int64)
    # Barycentric coordinates are affine in the texel's place: solve once for each triangle.
    a, b, c = corners[:, 0], corners[:, 1], corners[:, 2]
    area = (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (b[:, 1] - a[:, 1]) * (c[:, 0] - a[:, 0])
    area = np.where(np.abs(area) < 1e-9, np.inf, area)
    first = np.stack([b[:, 1] - c[:, 1], c[:, 0] - b[:, 0], b[:, 0] * c[:, 1] - c[:, 0] * b[:, 1]], axis=1)
    second = np.stack([c[:, 1] - a[:, 1], a[:, 0] - c[:, 0], c[:, 0] * a[:, 1] - a[:, 0] * c[:, 1]], axis=1)
    affine = np.concatenate([first, second], axis=1) / area[:, None]
    affine[:, 2] += affine[:, :2] @ [0.5, 0.5]
    affine[:, 5] += affine[:, 3:5] @ [0.5, 0.5]
    # Relative to the triangle's own corner the numbers stay small enough for float32.
    origin = np.floor(a)
    affine[:, 2] += (affine[:, :2] * origin).sum(axis=1)
    affine[:, 5] += (affine[:, 3:5] * origin).sum(axis=1)
    affine, origin = affine.astype(np.float32), origin.astype(np.float32)
    row, column = np.divmod(texel, size)
    chosen = affine.take(triangle, axis=0)
    x = column.astype(np.float32) - origin[:, 0].take(triangle)
    y = row.astype(np.float32) - origin[:, 1].take(triangle)
    barycentric = np.empty((len(texel), 3), np.float32)
    barycentric[:, 0] = chosen[:, 0] * x + chosen[:, 1] * y + chosen[:, 2]
    barycentric[:, 1] = chosen[:, 3] * x + chosen[:, 4] * y + chosen[:, 5]
    barycentric[:, 2] = 1.0 - barycentric[:, 0] - barycentric[:, 1]
    # Slivers extrapolate wildly: keep their border inside.
    wild = (np.abs(barycentric - 1 / 3) > 3.0).any(axis=1)
    if wild.any():
        clipped = np.clip(barycentric[wild], 0.0, 1.0)
        barycentric[wild] = clipped / np.maximum(clipped.sum(axis=1, keepdims=True), 1e-6)
    return TexelMap(size, texel, triangle, barycentric)
