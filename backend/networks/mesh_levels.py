"""A triangle mesh at several resolutions: edges are collapsed by quadric error, and every level keeps a subset of the
vertices of the finer one (Garland and Heckbert, SIGGRAPH 1997; Ranjan et al., ECCV 2018, section 3.2).

Lengths are in the unit of the vertices. Plain numpy and Python: the same mesh gives the same levels on every computer.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from backend.surface import Surface, barycentric_coordinates

FACTORS = (4, 4, 4, 4)
"""How many times fewer vertices each level has than the one before."""
BOUNDARY_WEIGHT = 10.0
"""How much dearer it is to leave the line of a boundary than to leave the plane of a triangle."""
LENGTH_WEIGHT = 1e-3
"""Of an edge's squared length in its cost: where a surface is flat, short edges go first."""
LEAST_COSINE = 0.1
"""Between a triangle's normals before and after a collapse; below it the triangle would fold over."""

Point = tuple[float, float, float]
Quadric = tuple[float, ...]  # upper half of a symmetric 4 x 4 matrix, row by row


@dataclass(frozen=True)
class MeshLevels:
    """A mesh, finest level first: L + 1 levels of V_0 > V_1 > … vertices.

    Attributes:
        vertices: (V_0, 3) float32, the shape that the levels were made on.
        faces: L + 1 times (F_l, 3) int64, vertices of that level.
        selection: L times (V_{l+1},) int64, ascending: the vertices of level l that level l + 1 keeps.
        corners: L times (V_l, 3) int64, vertices of level l + 1: the triangle on which each vertex of level l lies.
        shares: L times (V_l, 3) float32, barycentric weights in it; rows sum to 1.
    """

    vertices: np.ndarray
    faces: tuple[np.ndarray, ...]
    selection: tuple[np.ndarray, ...]
    corners: tuple[np.ndarray, ...]
    shares: tuple[np.ndarray, ...]

    @property
    def sizes(self) -> tuple[int, ...]:
        """Vertices of every level, finest first."""
        return (len(self.vertices), *(len(kept) for kept in self.selection))

    def adjacency(self, level: int) -> np.ndarray:
        """(E, 2) int64: every edge of a level in both directions, sorted, without repetition."""
        return directed_edges(self.faces[level])

    @classmethod
    def of_collapses(
        cls,
        vertices: np.ndarray,
        faces: np.ndarray,
        selection: Sequence[np.ndarray],
        coarse_faces: Sequence[np.ndarray],
    ) -> MeshLevels:
        """From what collapses left: the way back up is found by projection.

        Args:
            vertices: (V_0, 3); faces: (F_0, 3), of the finest level.
            selection: L times (V_{l+1},), see the class; coarse_faces: L times (F_{l+1}, 3).

        Raises:
            ValueError: a level names vertices that the one before does not have.
        """
        fine = np.asarray(vertices, np.float64)
        corners, shares = [], []
        for number, (kept, triangles) in enumerate(zip(selection, coarse_faces, strict=True)):
            if len(kept) and kept.max() >= len(fine) or len(triangles) and triangles.max() >= len(kept):
                raise ValueError(f"level {number + 1} names vertices that level {number} does not have")
            coarse = fine[kept]
            of_level = _projection(fine, coarse, triangles, kept)
            corners.append(of_level[0])
            shares.append(of_level[1])
            fine = coarse
        return cls(
            np.asarray(vertices, np.float32),
            tuple(np.asarray(each, np.int64) for each in (faces, *coarse_faces)),
            tuple(np.asarray(each, np.int64) for each in selection),
            tuple(corners),
            tuple(shares),
        )


def mesh_levels(vertices: np.ndarray, faces: np.ndarray, factors: Sequence[int] = FACTORS) -> MeshLevels:
    """The levels of a mesh: ceil(V / factor) vertices after each collapse (FLAME: 5023, 1256, 314, 79, 20).

    Args:
        vertices: (V, 3) float; several pieces, open ones too, are fine.
        faces: (F, 3) int.
        factors: how many times fewer vertices each level has.

    Raises:
        ValueError: there are no triangles, or more levels than the mesh has vertices for.
    """
    vertices, faces = np.asarray(vertices, np.float32), np.asarray(faces, np.int64)
    if not len(faces):
        raise ValueError("a mesh without triangles has no levels")
    selection, coarse_faces = [], []
    points, triangles = vertices.astype(np.float64), faces
    for factor in factors:
        kept, triangles = quadric_collapse(points, triangles, math.ceil(len(points) / factor))
        if not len(triangles):
            raise ValueError(f"{len(kept)} of {len(points)} vertices leave no triangle: take fewer levels")
        points = points[kept]
        selection.append(kept)
        coarse_faces.append(triangles)
    return MeshLevels.of_collapses(vertices, faces, selection, coarse_faces)


def directed_edges(faces: np.ndarray) -> np.ndarray:
    """(E, 2) int64: the edges of (F, 3) triangles, each in both directions, sorted, without repetition."""
    faces = np.asarray(faces, np.int64)
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    return np.unique(np.concatenate([edges, edges[:, ::-1]]), axis=0)


def quadric_collapse(vertices: np.ndarray, faces: np.ndarray, target: int) -> tuple[np.ndarray, np.ndarray]:
    """Fewer vertices on nearly the same surface: the cheapest edge loses one of its ends, again and again.

    A vertex of a boundary only moves along the boundary; a manifold stays one; no triangle folds over. Where the
    target cannot be reached so (many small pieces), folding and then changes of topology are allowed.

    Args:
        vertices: (V, 3) float.
        faces: (F, 3) int.
        target: vertices to keep, at least 1.

    Returns:
        (target,) int64, ascending, the vertices that are kept (all where there are no more than `target`), and
        (F', 3) int64, triangles of them, numbered as in the first.
    """
    if len(vertices) <= target:
        return np.arange(len(vertices)), np.asarray(faces, np.int64)
    return _Collapse(np.asarray(vertices, np.float64), np.asarray(faces, np.int64)).down_to(max(target, 1))


class _Collapse:
    """The mesh while edges are collapsed. Lists and sets of Python: each step touches a handful of numbers."""

    def __init__(self, vertices: np.ndarray, faces: np.ndarray):
        self.points: list[Point] = [tuple(row) for row in vertices.tolist()]
        self.triangles: dict[int, tuple[int, int, int]] = dict(enumerate(map(tuple, faces.tolist())))
        self.around: list[set[int]] = [set() for _ in self.points]  # triangles at each vertex
        for number, corners in self.triangles.items():
            for corner in corners:
                self.around[corner].add(number)
        self.alive = set(range(len(self.points)))
        self.version = [0] * len(self.points)
        self.blocked: dict[int, set[int]] = {}  # from a vertex to those that it could not be drawn to
        self.heap: list[tuple[float, int, int, int, int]] = []
        self.laxity = 0
        self._measure(vertices, faces)

    def _measure(self, vertices: np.ndarray, faces: np.ndarray) -> None:
        """The error that each vertex begins with: squared distances to its triangles' planes and boundaries."""
        first, second, third = (vertices[faces[:, column]] for column in range(3))
        normal = np.cross(second - first, third - first)
        twice_area = np.linalg.norm(normal, axis=1)
        unit = normal / np.maximum(twice_area, 1e-300)[:, None]
        planes = np.concatenate([unit, -(unit * first).sum(1, keepdims=True)], axis=1)
        errors = np.zeros((len(vertices), 4, 4))
        of_faces = planes[:, :, None] * planes[:, None] * (twice_area / 6)[:, None, None]
        for column in range(3):
            np.add.at(errors, faces[:, column], of_faces)
        # edges of one triangle: planes through them, upright on the triangle
        start, end = faces.reshape(-1), faces[:, [1, 2, 0]].reshape(-1)
        both = np.sort(np.stack([start, end], 1), axis=1)
        _, inverse, count = np.unique(both, axis=0, return_inverse=True, return_counts=True)
        alone = np.flatnonzero(count[inverse.reshape(-1)] == 1)
        along = vertices[end[alone]] - vertices[start[alone]]
        upright = np.cross(along, unit[alone // 3])
        upright /= np.maximum(np.linalg.norm(upright, axis=1, keepdims=True), 1e-300)
        planes = np.concatenate([upright, -(upright * vertices[start[alone]]).sum(1, keepdims=True)], axis=1)
        weight = BOUNDARY_WEIGHT * (along * along).sum(1)
        of_edges = planes[:, :, None] * planes[:, None] * weight[:, None, None]
        np.add.at(errors, start[alone], of_edges)
        np.add.at(errors, end[alone], of_edges)
        rows, columns = np.triu_indices(4)
        self.errors: list[Quadric] = [tuple(row) for row in errors[:, rows, columns].tolist()]
        self.length_cost = LENGTH_WEIGHT * float(twice_area.mean() / 2)

    def down_to(self, target: int) -> tuple[np.ndarray, np.ndarray]:
        loose = [vertex for vertex in sorted(self.alive, reverse=True) if not self.around[vertex]]
        self.alive.difference_update(loose[: max(len(self.alive) - target, 0)])
        self._push_all()
        while len(self.alive) > target:
            if not self.heap:
                if self.laxity == 2:
                    break
                self.laxity += 1
                self._push_all()
                continue
            _, gone, kept, *versions = heapq.heappop(self.heap)
            if gone not in self.alive or kept not in self.alive:
                continue
            if versions != [self.version[gone], self.version[kept]]:
                continue
            if self._may(gone, kept):
                self._collapse(gone, kept)
            else:
                self.blocked.setdefault(gone, set()).add(kept)
        for vertex in sorted(self.alive, reverse=True)[: len(self.alive) - target]:
            self.alive.discard(vertex)  # nothing but single points are left
        kept = np.array(sorted(self.alive), np.int64)
        place = {vertex: row for row, vertex in enumerate(kept.tolist())}
        left = [[place[corner] for corner in corners] for corners in self.triangles.values()]
        return kept, np.array(left, np.int64).reshape(-1, 3)

    def _neighbours(self, vertex: int) -> set[int]:
        ring = {corner for number in self.around[vertex] for corner in self.triangles[number]}
        ring.discard(vertex)
        return ring

    def _push_all(self) -> None:
        self.heap, self.blocked = [], {}
        for vertex in sorted(self.alive):
            for other in sorted(self._neighbours(vertex)):
                self._push(vertex, other)

    def _push(self, gone: int, kept: int) -> None:
        x, y, z = self.points[kept]
        u, v, w = self.points[gone]
        a, b, c, d, e, f, g, h, i, j = map(float.__add__, self.errors[gone], self.errors[kept])
        error = x * (a * x + 2 * (b * y + c * z + d)) + y * (e * y + 2 * (f * z + g)) + z * (h * z + 2 * i) + j
        length = (x - u) ** 2 + (y - v) ** 2 + (z - w) ** 2
        cost = max(error, 0.0) + self.length_cost * length
        heapq.heappush(self.heap, (cost, gone, kept, self.version[gone], self.version[kept]))

    def _may(self, gone: int, kept: int) -> bool:
        """Whether an edge may lose its first end as strictly as is asked for now."""
        shared = self.around[gone] & self.around[kept]
        if not shared:
            return False
        if self.laxity < 2 and not self._stays_manifold(gone, kept, shared):
            return False
        return self.laxity > 0 or not self._folds(gone, kept, shared)

    def _stays_manifold(self, gone: int, kept: int, shared: set[int]) -> bool:
        opposite = {corner for number in shared for corner in self.triangles[number]} - {gone, kept}
        ring = self._neighbours(gone)
        if ring & self._neighbours(kept) != opposite:  # the link condition
            return False
        if len(shared) != 2 and len(shared) != 1:
            return False
        # a vertex inside a surface has as many triangles as neighbours
        if len(shared) == 2 and len(ring) != len(self.around[gone]):
            return False  # across the surface from a boundary
        moved = [self._moved(number, gone, kept) for number in self.around[gone] - shared]
        staying = {frozenset(self.triangles[number]) for number in self.around[kept] - shared}
        if any(frozenset(corners) in staying for corners in moved):
            return False  # a tetrahedron would be left flat
        return bool(moved or staying)

    def _moved(self, number: int, gone: int, kept: int) -> tuple[int, int, int]:
        first, second, third = self.triangles[number]
        return (
            kept if first == gone else first,
            kept if second == gone else second,
            kept if third == gone else third,
        )

    def _folds(self, gone: int, kept: int, shared: set[int]) -> bool:
        for number in self.around[gone] - shared:
            before = self._normal(self.triangles[number])
            after = self._normal(self._moved(number, gone, kept))
            dot = sum(map(float.__mul__, before, after))
            squares = sum(value * value for value in before) * sum(value * value for value in after)
            if dot <= LEAST_COSINE * math.sqrt(squares):
                return True
        return False

    def _normal(self, corners: tuple[int, int, int]) -> Point:
        (ax, ay, az), (bx, by, bz), (cx, cy, cz) = (self.points[corner] for corner in corners)
        ux, uy, uz, vx, vy, vz = bx - ax, by - ay, bz - az, cx - ax, cy - ay, cz - az
        return uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx

    def _collapse(self, gone: int, kept: int) -> None:
        present = {frozenset(self.triangles[number]) for number in self.around[kept]}
        for number in sorted(self.around[gone]):
            for corner in self.triangles[number]:
                self.around[corner].discard(number)
            corners = self._moved(number, gone, kept)
            if len(set(corners)) < 3 or frozenset(corners) in present:
                del self.triangles[number]
                continue
            present.add(frozenset(corners))
            self.triangles[number] = corners
            for corner in corners:
                self.around[corner].add(number)
        self.alive.discard(gone)
        self.errors[kept] = tuple(map(float.__add__, self.errors[gone], self.errors[kept]))
        self.version[kept] += 1
        ring = sorted(self._neighbours(kept))
        for vertex in ring:
            self._push(vertex, kept)
            self._push(kept, vertex)
        # what could not be done before may be possible now that the surroundings have changed
        for vertex in (kept, *ring):
            for other in sorted(self.blocked.pop(vertex, ())):
                if other in self.alive and kept not in (vertex, other):
                    self._push(vertex, other)


def _projection(
    fine: np.ndarray, coarse: np.ndarray, triangles: np.ndarray, kept: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Where the vertices of a level lie on the next one: (V, 3) corners and weights; kept ones are on themselves."""
    places, triangle = Surface(coarse, triangles).closest(fine)
    shares = barycentric_coordinates(places, coarse[triangles[triangle]])
    shares = np.clip(np.nan_to_num(shares, nan=1.0 / 3), 0, 1)
    shares /= shares.sum(axis=1, keepdims=True)
    corners = np.asarray(triangles, np.int64)[triangle]
    corners[kept] = np.arange(len(kept))[:, None]
    shares[kept] = (1.0, 0.0, 0.0)
    return corners, shares.astype(np.float32)
