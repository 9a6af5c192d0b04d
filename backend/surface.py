"""Triangle meshes that answer which of their points lies closest: by place alone, or by place and direction."""

import numpy as np
from scipy.spatial import cKDTree

CANDIDATES = 4
CANDIDATE_GROWTH = 4
SIZES_PER_OCTAVE = 1  # classes of triangle size for each doubling
SAMPLES_NEAR = 12
"""Triangles that are looked at for the closest point of a direction."""


class Surface:
    """A triangle mesh that answers which of its points is closest, exactly and fast.

    Triangles are sorted by size, each size in a k-d tree of its centres: only those can hold the closest point whose
    centre is nearer than the best distance found so far plus the largest radius of their size.

    Args:
        vertices: (V, 3) float.
        triangles: (T, 3) int.
    """

    def __init__(self, vertices: np.ndarray, triangles: np.ndarray):
        self._corners = np.asarray(vertices, np.float64)[np.asarray(triangles)]
        sides = self._corners[:, 1:] - self._corners[:, :1]
        self.normals = np.cross(sides[:, 0], sides[:, 1])
        self.normals /= np.maximum(np.linalg.norm(self.normals, axis=1, keepdims=True), 1e-30)
        centres = self._corners.mean(1)
        radius = np.linalg.norm(self._corners - centres[:, None], axis=2).max(1)
        size = np.floor(SIZES_PER_OCTAVE * np.log2(np.maximum(radius, 1e-12)))
        groups = [np.flatnonzero(size == value) for value in np.unique(size)]
        groups.sort(key=len, reverse=True)
        self._sizes = [(cKDTree(centres[group]), group, float(radius[group].max())) for group in groups]

    def closest(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The closest points of the surface.

        Args:
            points: (N, 3) float64.

        Returns:
            (N, 3) float64 on the surface and (N,) int64, the triangle each lies on.
        """
        points = np.asarray(points, np.float64)
        best, triangle = np.empty_like(points), np.empty(len(points), np.int64)
        nearest = np.full(len(points), np.inf)
        for tree, group, radius in self._sizes:
            left, seen, candidates = np.arange(len(points)), 0, min(CANDIDATES, len(group))
            while len(left):
                distance, index = tree.query(points[left], k=np.arange(seen + 1, candidates + 1))
                row, column = np.nonzero(distance - radius < nearest[left][:, None])
                piece, point = group[index[row, column]], left[row]
                found = closest_on_triangles(points[point], self._corners[piece])
                away = np.linalg.norm(found - points[point], axis=1)
                order = np.lexsort((away, row))
                first = order[np.unique(row[order], return_index=True)[1]]  # the best candidate of every point
                first = first[away[first] < nearest[point[first]]]
                best[point[first]], nearest[point[first]] = found[first], away[first]
                triangle[point[first]] = piece[first]
                if candidates == len(group):
                    break
                left = left[distance[:, -1] - radius < nearest[left]]
                seen, candidates = candidates, min(candidates * CANDIDATE_GROWTH, len(group))
        return best, triangle


class OrientedSurface:
    """A triangle mesh that answers which of its points is closest *and* faces the same way.

    Where a surface folds back on itself (lips that touch, lids, nostrils) the closest point alone may lie on the other
    side of the fold. Distance is measured in place and normal together.

    Args:
        vertices: (V, 3) float.
        triangles: (T, 3) int.
        turn_length: how many metres a right angle between the normals counts for, about.
    """

    def __init__(self, vertices: np.ndarray, triangles: np.ndarray, turn_length: float = 0.008):
        self.triangles, self._turn_length = np.asarray(triangles, np.int64), turn_length
        vertices = np.asarray(vertices, np.float64)
        self._corners = vertices[self.triangles]
        self._corner_normals = mesh_normals(vertices, self.triangles)[self.triangles]
        weights = np.array([[1, 1, 1], [4, 1, 1], [1, 4, 1], [1, 1, 4], [5, 5, 1], [1, 5, 5], [5, 1, 5]], float)
        weights /= weights.sum(1, keepdims=True)
        places, normals = (np.einsum("sc,tcd->tsd", weights, part) for part in (self._corners, self._corner_normals))
        self._sample_triangle = np.repeat(np.arange(len(self.triangles)), len(weights))
        self._tree = cKDTree(self._oriented(places.reshape(-1, 3), normals.reshape(-1, 3)))

    def _oriented(self, places: np.ndarray, normals: np.ndarray) -> np.ndarray:
        length = np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
        return np.concatenate([places, self._turn_length / np.sqrt(2) * normals / length], axis=1)

    def closest(self, points: np.ndarray, normals: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The closest points.

        Args:
            points: (N, 3); normals: (N, 3), which way the surface should face there.

        Returns:
            vertices (N, 3) int64 and barycentric weights (N, 3) float64 of the closest points, and (N,) float64, the
            cosine of the angle between the surface's normal there and the one asked for.
        """
        points = np.asarray(points, np.float64)
        unit = normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
        sample = self._tree.query(self._oriented(points, unit), k=min(SAMPLES_NEAR, self._tree.n))[1]
        candidate = self._sample_triangle[sample]  # (N, k)
        corners = self._corners[candidate]
        found = closest_on_triangles(points[:, None], corners)
        flat = corners.shape[:2]
        weights = barycentric_coordinates(found.reshape(-1, 3), corners.reshape(-1, 3, 3)).reshape(*flat, 3)
        weights = np.clip(weights, 0, 1)
        weights /= weights.sum(-1, keepdims=True)
        facing = np.einsum("nkc,nkcd->nkd", weights, self._corner_normals[candidate])
        facing /= np.maximum(np.linalg.norm(facing, axis=-1, keepdims=True), 1e-12)
        cosine = np.einsum("nkd,nd->nk", facing, unit)
        cost = ((found - points[:, None]) ** 2).sum(-1) + self._turn_length**2 * (1 - cosine)
        best = cost.argmin(1)[:, None]
        triangle = np.take_along_axis(candidate, best, 1)[:, 0]
        weights = np.take_along_axis(weights, best[..., None], 1)[:, 0]
        return self.triangles[triangle], weights, np.take_along_axis(cosine, best, 1)[:, 0]


def mesh_normals(vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Unit normals of the vertices, by the area of the triangles round them: (V, 3) float64; 0 where there are none."""
    corners = np.asarray(vertices, np.float64)[triangles]
    across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    result = np.zeros((len(vertices), 3))
    for corner in range(3):
        np.add.at(result, triangles[:, corner], across)
    return result / np.maximum(np.linalg.norm(result, axis=1, keepdims=True), 1e-30)


def barycentric_coordinates(points: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Weights (N, 3) of points (N, 3) on triangles (N, 3, 3)."""
    first, second, arm = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0], points - corners[:, 0]
    a, b, c = (first**2).sum(1), (first * second).sum(1), (second**2).sum(1)
    d, e = (arm * first).sum(1), (arm * second).sum(1)
    area = np.maximum(a * c - b * b, 1e-30)
    v, w = (c * d - b * e) / area, (a * e - b * d) / area
    return np.stack([1 - v - w, v, w], axis=1)


def closest_on_triangles(points: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """The point of each triangle closest to each point: the foot in the plane if inside, else the nearest edge point.

    Args:
        points: (..., 3).
        corners: (..., 3, 3), leading dimensions that broadcast with those of `points`.

    Returns:
        (..., 3).
    """
    a, b, c = corners[..., 0, :], corners[..., 1, :], corners[..., 2, :]
    ab, ac, ap = b - a, c - a, points - a
    d00, d01, d11 = _dot(ab, ab), _dot(ab, ac), _dot(ac, ac)
    d20, d21 = _dot(ap, ab), _dot(ap, ac)
    area = d00 * d11 - d01 * d01
    flat = area <= 1e-12 * np.maximum(d00 * d11, 1e-300)
    safe = np.where(flat, 1, area)
    v, w = (d11 * d20 - d01 * d21) / safe, (d00 * d21 - d01 * d20) / safe
    inside = (v >= 0) & (w >= 0) & (v + w <= 1) & ~flat
    # The three edges as points start + fraction * direction, by the barycentric coordinates (v, w) of the result.
    on_ab = np.clip(d20 / np.maximum(d00, 1e-300), 0, 1)
    on_ac = np.clip(d21 / np.maximum(d11, 1e-300), 0, 1)
    along_bc = d11 - 2 * d01 + d00
    on_bc = np.clip((d21 - d20 + d00 - d01) / np.maximum(along_bc, 1e-300), 0, 1)
    options_v = np.stack([v, on_ab, np.zeros_like(v), 1 - on_bc])
    options_w = np.stack([w, np.zeros_like(w), on_ac, on_bc])
    # |ap - v ab - w ac|^2 without the constant part
    cost = options_v**2 * d00 + 2 * options_v * options_w * d01 + options_w**2 * d11
    cost -= 2 * options_v * d20 + 2 * options_w * d21
    cost[0] = np.where(inside, -np.inf, np.inf)
    choice = cost.argmin(0)[None]
    v = np.take_along_axis(options_v, choice, 0)[0]
    w = np.take_along_axis(options_w, choice, 0)[0]
    return a + v[..., None] * ab + w[..., None] * ac


def _dot(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return np.einsum("...i,...i->...", first, second)
