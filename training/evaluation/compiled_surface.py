"""The closest points of a triangle mesh, compiled: for scans, where one mesh is asked hundreds of thousands of times.

`backend.surface.Surface` needs numpy and scipy alone and pays for it: 23 microseconds of a core for a point of a scan
there, under four here. Both answer the same.
"""

from __future__ import annotations

import numba
import numpy as np

LEAF = 4  # triangles
STACK = 64  # nodes that wait; a tree of 2 ** 60 leaves does not need more
FLAT = 1e-12
"""Share of the product of two squared sides below which the squared area of a triangle is none."""


class CompiledSurface:
    """A triangle mesh that answers which of its points is closest, exactly.

    Triangles lie in a binary tree of boxes, each half of the one above along a curve that fills space (Lauterbach et
    al., "Fast BVH Construction on GPUs", 2009): built without a loop over triangles, searched nearest box first.

    Args:
        vertices: (V, 3) float.
        triangles: (T, 3) int.

    Raises:
        ValueError: there is no triangle, or a corner of one is no number.
    """

    def __init__(self, vertices: np.ndarray, triangles: np.ndarray):
        corners = np.asarray(vertices, np.float64)[np.asarray(triangles)]
        if not len(corners):
            raise ValueError("The mesh has no triangles.")
        if not np.isfinite(corners).all():
            raise ValueError("A vertex of the mesh is no number.")
        self.normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        self.normals /= np.maximum(np.linalg.norm(self.normals, axis=1, keepdims=True), 1e-30)
        leaves = 1 << max(0, (-(-len(corners) // LEAF) - 1).bit_length())
        along = np.argsort(_along_the_curve(corners.mean(1)), kind="stable")
        self._triangle = along[np.arange(leaves * LEAF) * len(along) // (leaves * LEAF)]  # some stand twice
        self._corners = corners[self._triangle]
        self._low, self._high = _boxes(self._corners, leaves)

    def closest(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The closest points of the surface.

        Args:
            points: (N, 3) float64.

        Returns:
            (N, 3) float64 on the surface and (N,) int64, the triangle each lies on.
        """
        points = np.ascontiguousarray(points, np.float64)
        found, place = _closest(points, self._corners, self._low, self._high)
        return found, self._triangle[place]


def _along_the_curve(centres: np.ndarray) -> np.ndarray:
    """(T,) int64, where points (T, 3) come on a Z-order curve: the bits of their three coordinates in turn."""
    low = centres.min(0)
    cells = ((centres - low) / max(np.ptp(centres, axis=0).max(), 1e-300) * 1023).astype(np.int64)
    code = np.zeros(len(centres), np.int64)
    for bit in range(10):
        for axis in range(3):
            code |= ((cells[:, axis] >> bit) & 1) << (3 * bit + axis)
    return code


def _boxes(corners: np.ndarray, leaves: int) -> tuple[np.ndarray, np.ndarray]:
    """Low and high ends (2 leaves, 3) of the boxes of a tree: 1 is the root, 2n and 2n + 1 are the halves of n."""
    own = corners.reshape(leaves, -1, 3)
    low, high = np.empty((2 * leaves, 3)), np.empty((2 * leaves, 3))
    low[leaves:], high[leaves:] = own.min(1), own.max(1)
    first = leaves
    while first > 1:
        low[first // 2 : first] = np.minimum(low[first : 2 * first : 2], low[first + 1 : 2 * first : 2])
        high[first // 2 : first] = np.maximum(high[first : 2 * first : 2], high[first + 1 : 2 * first : 2])
        first //= 2
    return low, high


@numba.njit(cache=True, nogil=True)
def _closest(points, corners, low, high):
    """Closest points (N, 3) of the triangles `corners` (leaves * LEAF, 3, 3), and which of them they lie on, (N,)."""
    leaves = len(low) // 2
    found, place = np.empty_like(points), np.zeros(len(points), np.int64)
    waiting, away = np.empty(STACK, np.int64), np.empty(STACK)
    on = np.empty(3)
    for number in range(len(points)):
        point = points[number]
        nearest, count = np.inf, 1
        waiting[0], away[0] = 1, 0.0
        while count:
            count -= 1
            node = waiting[count]
            if away[count] >= nearest:
                continue
            if node >= leaves:
                first = (node - leaves) * LEAF
                for triangle in range(first, first + LEAF):
                    squared = _closest_on_triangle(point, corners[triangle], on)
                    if squared < nearest:
                        nearest, place[number] = squared, triangle
                        found[number] = on
                continue
            one, other = 2 * node, 2 * node + 1
            to_one, to_other = (
                _squared_to_box(point, low[one], high[one]),
                _squared_to_box(point, low[other], high[other]),
            )
            if to_one < to_other:
                one, other, to_one, to_other = other, one, to_other, to_one
            waiting[count], away[count] = one, to_one  # the nearer one comes last and is taken first
            waiting[count + 1], away[count + 1] = other, to_other
            count += 2
    return found, place


@numba.njit(cache=True, nogil=True)
def _squared_to_box(point, low, high):
    squared = 0.0
    for axis in range(3):
        outside = max(low[axis] - point[axis], 0.0, point[axis] - high[axis])
        squared += outside * outside
    return squared


@numba.njit(cache=True, nogil=True)
def _closest_on_triangle(point, corners, on):
    """Writes the closest point into `on` (3,) and returns its squared distance, as `closest_on_triangles` finds it."""
    d00 = d01 = d11 = d20 = d21 = 0.0
    for axis in range(3):
        ab, ac = corners[1, axis] - corners[0, axis], corners[2, axis] - corners[0, axis]
        ap = point[axis] - corners[0, axis]
        d00, d01, d11 = d00 + ab * ab, d01 + ab * ac, d11 + ac * ac
        d20, d21 = d20 + ap * ab, d21 + ap * ac
    area = d00 * d11 - d01 * d01
    v = w = -1.0
    if area > FLAT * d00 * d11:
        v, w = (d11 * d20 - d01 * d21) / area, (d00 * d21 - d01 * d20) / area
    if v < 0 or w < 0 or v + w > 1:  # the foot lies outside: the best of the three edges
        on_ab = min(max(d20 / max(d00, 1e-300), 0.0), 1.0)
        on_ac = min(max(d21 / max(d11, 1e-300), 0.0), 1.0)
        on_bc = min(max((d21 - d20 + d00 - d01) / max(d11 - 2 * d01 + d00, 1e-300), 0.0), 1.0)
        v, w, least = on_ab, 0.0, on_ab * (on_ab * d00 - 2 * d20)  # squared distances without the part all share
        cost = on_ac * (on_ac * d11 - 2 * d21)
        if cost < least:
            v, w, least = 0.0, on_ac, cost
        rest = 1 - on_bc
        cost = rest * rest * d00 + 2 * rest * on_bc * d01 + on_bc * on_bc * d11 - 2 * rest * d20 - 2 * on_bc * d21
        if cost < least:
            v, w = rest, on_bc
    squared = 0.0
    for axis in range(3):
        on[axis] = (
            corners[0, axis] + v * (corners[1, axis] - corners[0, axis]) + w * (corners[2, axis] - corners[0, axis])
        )
        squared += (on[axis] - point[axis]) ** 2
    return squared
