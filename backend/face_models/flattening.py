"""Lays discs of quads and triangles flat without flips or overlaps, close to their true shape.

A disc starts from Tutte's embedding (How to draw a graph, 1963): its rim on a convex curve, every other vertex a mean
of its neighbours, which cannot fold. Then the symmetric Dirichlet energy (Smith and Schaefer, Bijective
Parameterization with Free Boundaries, SIGGRAPH 2015) is lowered by L-BFGS; it grows without bound before a triangle
flips, so no step leaves the unfolded state. Holes are closed with a fan of extra triangles, the rim only slides along
its curve: the result is one-to-one. Every quad counts with all four corner triangles, so both ways of splitting it
stay unfolded.
"""

import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import scipy.sparse as sparse
from scipy.sparse.linalg import splu

logger = logging.getLogger(__name__)

ITERATIONS = 700
HISTORY = 20
CURVE_POINTS = 8192
STAGE_ITERATIONS, STAGE_STRETCH, STAGE_ENERGY = 12, 5.0, 15.0
FILL_WEIGHT, BAND_WEIGHT = 0.02, 4.0
REWEIGHTINGS = 40
LEAST_START_AREA, LEAST_TRIANGLE = 1e-3, 1e-9  # of the median triangle, where there are quads and where not
REACH_SLACK = 1.05  # steps that go further than this much of what is allowed are not tried
LEAST_LENGTH = 1e-3  # of the mean edge: shorter ones are taken to be as long


@dataclass(frozen=True)
class Curve:
    """A closed convex curve, symmetric about its upright middle line.

    Attributes:
        centre: (2,); half_size: (2,); power: of the superellipse |x/a|^p + |y/b|^p = 1.
    """

    centre: tuple[float, float]
    half_size: tuple[float, float]
    power: float = 2.0

    def table(self, turn: float) -> np.ndarray:
        """(CURVE_POINTS, 2) evenly spaced points, counter-clockwise from the bottom's middle.

        Args:
            turn: how far round, radians: pi for the right half, 2 pi for the whole curve.
        """
        angle = np.linspace(-np.pi / 2, -np.pi / 2 + turn, 16 * CURVE_POINTS)
        x, y = (np.sign(wave) * np.abs(wave) ** (2 / self.power) for wave in (np.cos(angle), np.sin(angle)))
        x[[0, -1]] = 0.0
        points = np.array(self.centre) + np.stack([x, y], axis=1) * self.half_size
        length = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
        wanted = np.linspace(0.0, length[-1], CURVE_POINTS)
        return np.stack([np.interp(wanted, length, points[:, axis]) for axis in range(2)], axis=1)


@dataclass(frozen=True)
class Disc:
    """A disc of faces; of a symmetric one the left half (x >= 0), cut along its middle line.

    Attributes:
        faces: (F, 4) int64 rows of the vertices below, -1 in the last column marks a triangle.
        vertices: (N, 3) float64 metres.
        size: (N,) float64, how large a vertex's surroundings should become in the map, relative.
        rim: (R,) int64, vertices on the curve in its order; the first and the last of a half lie on the middle line.
        middle: (M,) int64, vertices on the middle line that are not on the rim; none if the disc is whole.
        holes: loops of vertices to be closed, walked with the disc on the left; a path from middle line to middle
            line is closed on that line.
        band: (B, 3) int64, triangles between the faces and a rim beyond them; they want to stay as they begin.
        pairs: (P, 2) int64, places in `rim` that stay where they begin, mirror images of each other; one twice stays
            on the middle line. Of a whole disc only; the rim's first vertex always stays.
    """

    faces: np.ndarray
    vertices: np.ndarray
    size: np.ndarray
    rim: np.ndarray
    middle: np.ndarray
    holes: list[np.ndarray]
    band: np.ndarray = field(default_factory=lambda: np.zeros((0, 3), np.int64))
    pairs: np.ndarray = field(default_factory=lambda: np.zeros((0, 2), np.int64))


def flatten(
    disc: Disc,
    curve: Curve,
    iterations: int = ITERATIONS,
    reweightings: int = REWEIGHTINGS,
    stages: int = 0,
    enough: float = 0.0,
) -> np.ndarray:
    """Texture coordinates of the disc or half disc: (N, 2) float64, a half's middle line at the curve's centre.

    Args:
        iterations: of the descent, at most; reweightings: of the springs of the embedding it starts from, at most.
        stages: how often, at most, the descent first heads for shapes between those it has and the true ones; it gets
            stuck without, where the embedding has squashed a few triangles (Liu et al., Progressive
            Parameterizations, SIGGRAPH 2018).
        enough: the descent ends where iterations gain less than this share of the energy each.

    Raises:
        ValueError: the disc cannot be laid flat (Tutte's embedding has a fold: the mesh is no disc).
    """
    count = len(disc.vertices)
    fans, middle_extra, extra = _fans(disc, count)
    fillers = np.concatenate([fans, disc.band])
    corner, share = corner_triangles(disc.faces)
    free = np.setdiff1d(np.arange(count + extra), np.concatenate([disc.rim, disc.middle, middle_extra]))
    middle = np.concatenate([disc.middle, middle_extra]).astype(np.int64)
    whole = len(disc.middle) == 0
    table = curve.table(2 * np.pi if whole else np.pi)
    along = np.append(disc.rim, disc.rim[:1]) if whole else disc.rim
    parameter = _spaced(disc.vertices[along] * disc.size[along, None])[: len(disc.rim)]
    parameter = _mirrored(parameter, disc.pairs)
    start = _tutte(disc, fillers, count + extra, free, middle, _on_curve(table, parameter)[0], reweightings)

    rest = _rest_shapes(disc.vertices[corner], disc.size[corner].mean(axis=1))
    area = share * np.abs(np.linalg.det(rest)) / 2
    fit = np.sqrt((share * triangle_area(start[corner])).sum() / (2 * area.sum()))
    rest, area = rest * fit, area * fit**2
    filler_rest = np.stack([start[fillers[:, k]] - start[fillers[:, 0]] for k in (1, 2)], axis=2)
    rest = np.concatenate([rest, filler_rest])
    counts = np.repeat([FILL_WEIGHT, BAND_WEIGHT], [len(fans), len(disc.band)])
    weight = np.concatenate([area, counts * np.abs(np.linalg.det(filler_rest)) / 2])
    weight = weight / weight.sum()
    cells = np.concatenate([corner, fillers])
    staying = np.concatenate([[0], disc.pairs.ravel()] + ([] if whole else [[len(disc.rim) - 1]]))
    moving = np.setdiff1d(np.arange(len(disc.rim)), staying)
    places = _Places(count + extra, table, curve.centre[0], disc.rim, parameter, moving, middle, free)
    values = places.values(start)
    true_energy = _Stretch(cells, rest, weight, count + extra)
    first = last = true_energy(start)[0]
    if not np.isfinite(first):
        raise ValueError("This mesh cannot be laid flat: its first embedding has a fold.")
    for stage in range(stages + 1):
        last_stage = stage == stages or true_energy(places.uv(values))[0] < STAGE_ENERGY
        nearer = rest if last_stage else _between(places.uv(values)[cells], rest)
        stretch = _Stretch(cells, nearer, weight, count + extra)

        def energy(values: np.ndarray, stretch: _Stretch = stretch) -> tuple[float, np.ndarray | None]:
            value, gradient = stretch(places.uv(values))
            return value, None if gradient is None else places.pulled_back(values, gradient)

        def reach(values: np.ndarray, direction: np.ndarray, stretch: _Stretch = stretch) -> float:
            return stretch.reach(places.uv(values), places.pushed(values, direction))

        smooth = places.inverse(_stiffness(cells, nearer, weight, count + extra))
        at_most = iterations if nearer is rest else STAGE_ITERATIONS
        values, last = minimise(energy, values, at_most, smooth, reach, enough)
        if nearer is rest:
            break
    logger.info("Laid %d faces flat: distortion %.2f, then %.3f (4 is none).", len(disc.faces), first, last)
    return places.uv(values)[:count]


def corner_triangles(faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The triangles that must not flip, (T, 3) int64: of a quad those at all four corners, a triangle itself.

    Returns:
        them, and (T,) float64 how much of a triangle's area counts: half where a quad is covered twice.
    """
    quads, triangles = faces[faces[:, 3] >= 0], faces[faces[:, 3] < 0][:, :3]
    at_corners = [quads[:, [i, (i + 1) % 4, (i + 3) % 4]] for i in range(4)]
    share = np.concatenate([np.full(4 * len(quads), 0.5), np.ones(len(triangles))])
    return np.concatenate([*at_corners, triangles]), share


@dataclass(frozen=True)
class _Places:
    """What the descent moves: rim vertices along the curve, those of the middle line up and down, the rest freely.

    Attributes:
        total: number of vertices; table: the curve's points; line: u of the middle line.
        rim, middle, free: rows of vertices.
        parameter: (R,) where the rim's vertices begin on the curve; moving: which of them move.
    """

    total: int
    table: np.ndarray
    line: float
    rim: np.ndarray
    parameter: np.ndarray
    moving: np.ndarray
    middle: np.ndarray
    free: np.ndarray

    def values(self, uv: np.ndarray) -> np.ndarray:
        """One vector of all that moves, from places (total, 2)."""
        return np.concatenate([self.parameter[self.moving], uv[self.middle, 1], uv[self.free].ravel()])

    def _slide(self, values: np.ndarray) -> np.ndarray:
        slide = self.parameter.copy()
        slide[self.moving] = values[: len(self.moving)]
        return slide

    def uv(self, values: np.ndarray) -> np.ndarray:
        """(total, 2) places."""
        uv = np.zeros((self.total, 2))
        uv[:, 0] = self.line
        uv[self.rim] = _on_curve(self.table, self._slide(values))[0]
        rest = values[len(self.moving) :]
        uv[self.middle, 1] = rest[: len(self.middle)]
        uv[self.free] = rest[len(self.middle) :].reshape(-1, 2)
        return uv

    def pulled_back(self, values: np.ndarray, gradient: np.ndarray) -> np.ndarray:
        """The gradient by the places (total, 2) as one by the values."""
        slope = _on_curve(self.table, self._slide(values))[1]
        along = (slope * gradient[self.rim]).sum(axis=1)[self.moving]
        return np.concatenate([along, gradient[self.middle, 1], gradient[self.free].ravel()])

    def pushed(self, values: np.ndarray, direction: np.ndarray) -> np.ndarray:
        """(total, 2): how the places begin to move when the values do."""
        slide, result = np.zeros(len(self.rim)), np.zeros((self.total, 2))
        slide[self.moving] = direction[: len(self.moving)]
        result[self.rim] = _on_curve(self.table, self._slide(values))[1] * slide[:, None]
        rest = direction[len(self.moving) :]
        result[self.middle, 1] = rest[: len(self.middle)]
        result[self.free] = rest[len(self.middle) :].reshape(-1, 2)
        return result

    def inverse(self, stiffness: sparse.csr_matrix) -> Callable[[np.ndarray], np.ndarray]:
        """A guess of the inverse Hessian: each direction by itself, the rim apart from the rest."""
        rim = self.rim[self.moving]
        upright = np.concatenate([self.middle, self.free])
        length = np.linalg.norm(np.diff(self.table, axis=0), axis=1).sum()
        band = stiffness[rim][:, rim].tocoo()
        factor = np.where(np.abs(self.moving[band.row] - self.moving[band.col]) <= 1, length**2, 1.0)
        solve_rim = _solver(sparse.csc_matrix((band.data * factor, (band.row, band.col)), band.shape))
        solve_v = _solver(stiffness[upright][:, upright])
        solve_u = solve_v if len(self.middle) == 0 else _solver(stiffness[self.free][:, self.free])

        def smooth(vector: np.ndarray) -> np.ndarray:
            sliding = len(self.moving)
            first = sliding + len(self.middle)
            across, up = vector[first::2], np.concatenate([vector[sliding:first], vector[first + 1 :: 2]])
            result = np.empty_like(vector)
            result[:sliding] = solve_rim(vector[:sliding])
            up = solve_v(up)
            result[sliding:first] = up[: len(self.middle)]
            result[first::2], result[first + 1 :: 2] = solve_u(across), up[len(self.middle) :]
            return result

        return smooth


def _between(places: np.ndarray, rest: np.ndarray) -> np.ndarray:
    """Shapes (T, 2, 2) from which triangles at places (T, 3, 2) are stretched no more than STAGE_STRETCH times.

    Returns:
        them; `rest`, the true ones, where they do already.
    """
    edges = np.stack([places[:, 1] - places[:, 0], places[:, 2] - places[:, 0]], axis=2)
    left, stretch, right = np.linalg.svd(edges @ np.linalg.inv(rest))
    bounded = np.clip(stretch, 1 / STAGE_STRETCH, STAGE_STRETCH)
    far = (bounded != stretch).any(axis=1)
    if not far.any():
        return rest
    result = rest.copy()
    back = (left[far] * bounded[far, None]) @ right[far]
    result[far] = np.linalg.inv(back) @ edges[far]
    return result


class _Stretch:
    """The symmetric Dirichlet energy, sum of weight |J|^2 (1 + 1 / det(J)^2), and its gradient."""

    def __init__(self, cells: np.ndarray, rest: np.ndarray, weight: np.ndarray, total: int):
        """Triangles (T, 3), their true shapes (T, 2, 2), weights (T,), the number of vertices."""
        hats = _hat_gradients(rest)
        row = np.repeat(np.arange(len(cells)), 3)
        # (T, total) each: derivatives of a function on the vertices in the true shapes' first and second direction
        self.along, self.across = (
            sparse.csr_matrix((hats[:, :, k].ravel(), (row, cells.ravel())), (len(cells), total)) for k in range(2)
        )
        self.along_back, self.across_back = self.along.T.tocsr(), self.across.T.tocsr()
        self.weight = weight

    def __call__(self, uv: np.ndarray) -> tuple[float, np.ndarray | None]:
        """The energy at places (total, 2) and its gradient (total, 2); infinity and None where a triangle flips."""
        first, second = self.along @ uv, self.across @ uv  # (T, 2) each: J's columns
        determinant = _cross(first, second)
        if not determinant.min() > 0:
            return np.inf, None
        square = (first**2).sum(axis=1) + (second**2).sum(axis=1)
        inverse = determinant**-2
        value = float((self.weight * square * (1 + inverse)).sum())
        pull = (2 * self.weight * (1 + inverse))[:, None]
        push = (2 * self.weight * square * inverse / determinant)[:, None]
        by_first = pull * first - push * np.stack([second[:, 1], -second[:, 0]], axis=1)
        by_second = pull * second - push * np.stack([-first[:, 1], first[:, 0]], axis=1)
        return value, self.along_back @ by_first + self.across_back @ by_second

    def reach(self, uv: np.ndarray, way: np.ndarray) -> float:
        """How far places (total, 2) can go a way (total, 2) until the first triangle has no area left."""
        first, second, first_way, second_way = self.along @ uv, self.across @ uv, self.along @ way, self.across @ way
        bend, slope, now = (
            _cross(first_way, second_way),
            _cross(first, second_way) + _cross(first_way, second),
            _cross(first, second),
        )
        root = np.sqrt(np.maximum(slope**2 - 4 * bend * now, 0))
        ends = (slope**2 >= 4 * bend * now) & (root > slope)
        return float((2 * now[ends] / (root - slope)[ends]).min(initial=np.inf))


def minimise(
    energy: Callable[[np.ndarray], tuple[float, np.ndarray | None]],
    start: np.ndarray,
    iterations: int,
    smooth: Callable[[np.ndarray], np.ndarray],
    reach: Callable[[np.ndarray, np.ndarray], float],
    enough: float,
) -> tuple[np.ndarray, float]:
    """L-BFGS with a backtracking line search that takes infinity for "not allowed".

    Args:
        energy: gives a value and its gradient.
        smooth: a guess of the inverse Hessian, applied to a gradient.
        reach: about how far one can go from a point in a direction before it is not allowed.
        enough: end where HISTORY iterations gain less than this share of the energy each.

    Returns:
        the lowest point found and its energy.
    """
    position = start
    value, gradient = energy(position)
    history: deque = deque(maxlen=HISTORY)
    earlier = deque([np.inf] * HISTORY, maxlen=HISTORY)
    for _ in range(iterations):
        direction = -_two_loops(gradient, history, smooth)
        slope = float(direction @ gradient)
        if slope >= 0:
            history.clear()
            direction = -smooth(gradient)
            slope = float(direction @ gradient)
        step, limit = 1.0, np.inf
        for _ in range(40):
            if step > REACH_SLACK * limit:
                step /= 2
                continue
            there = position + step * direction
            found, turned = energy(there)
            if found <= value + 1e-4 * step * slope:
                break
            if found == np.inf and limit == np.inf:
                limit = reach(position, direction)
            step /= 2
        else:
            if not history:
                break
            history.clear()
            continue
        change, bend = there - position, turned - gradient
        if change @ bend > 1e-14 * (change @ change):
            history.append((change, bend))
        gained = value - found
        position, gradient, value = there, turned, found
        if gained < 1e-10 * value and np.abs(gradient).max() < 1e-6:
            break
        if earlier[0] - value < enough * HISTORY * value:
            break
        earlier.append(value)
    return position, value


def _two_loops(gradient: np.ndarray, history: deque, smooth: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """The inverse Hessian's guess times the gradient (Nocedal and Wright, algorithm 7.4)."""
    result, factors = gradient.copy(), []
    for change, bend in reversed(history):
        factor = (change @ result) / (change @ bend)
        result -= factor * bend
        factors.append(factor)
    result = smooth(result)
    for (change, bend), factor in zip(history, reversed(factors), strict=True):
        result += (factor - (bend @ result) / (change @ bend)) * change
    return result


def _solver(matrix: sparse.spmatrix) -> Callable[[np.ndarray], np.ndarray]:
    """Solves for a symmetric, positive definite matrix."""
    if matrix.shape[0] == 0:
        return lambda right: right
    return splu(
        matrix.tocsc(), permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True}
    ).solve


def _on_curve(table: np.ndarray, parameter: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points (R, 2) at parameters (R,) in [0, 1] along a table of evenly spaced points, and their derivatives."""
    place = np.clip(parameter, 0.0, 1.0) * (len(table) - 1)
    lower = np.minimum(np.floor(place), len(table) - 2).astype(np.int64)
    share = (place - lower)[:, None]
    inside = ((parameter >= 0.0) & (parameter <= 1.0))[:, None]
    slope = (table[lower + 1] - table[lower]) * (len(table) - 1) * inside
    return table[lower] * (1 - share) + table[lower + 1] * share, slope


def _spaced(points: np.ndarray) -> np.ndarray:
    """(R,) parameters from 0 to 1 by arc length, no two closer than a fifth of the mean."""
    length = np.linalg.norm(np.diff(points, axis=0), axis=1)
    length = np.maximum(length, 0.2 * length.mean())
    return np.concatenate([[0.0], np.cumsum(length)]) / length.sum()


def _mirrored(parameter: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Parameters (R,) stretched so that the places in a row of `pairs` (P, 2) are mirror images of each other."""
    half = (parameter[pairs[:, 0]] + 1 - parameter[pairs[:, 1]]) / 2
    place, where = np.concatenate([pairs[:, 0], pairs[:, 1]]), np.concatenate([half, 1 - half])
    place, first = np.unique(place, return_index=True)
    known = np.concatenate([[0.0], parameter[place], [1.0]])
    return np.interp(parameter, known, np.concatenate([[0.0], where[first], [1.0]]))


def _fans(disc: Disc, count: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Triangles over the holes round one extra vertex each.

    Returns:
        (T, 3) triangles, the extra vertices that lie on the middle line, how many extra vertices there are.
    """
    triangles, on_middle = [np.zeros((0, 3), np.int64)], []
    for extra, loop in enumerate(disc.holes):
        hub = count + extra
        closed = not np.isin(loop[[0, -1]], disc.middle).all()
        after = np.roll(loop, -1) if closed else loop[1:]
        before = loop if closed else loop[:-1]
        fan = np.stack([np.full(len(before), hub), after, before], axis=1)
        triangles.append(fan)
        if not closed:
            on_middle.append(hub)
    return np.concatenate(triangles), np.array(on_middle, np.int64), len(disc.holes)


def _tutte(
    disc: Disc,
    fillers: np.ndarray,
    total: int,
    free: np.ndarray,
    middle: np.ndarray,
    rim_uv: np.ndarray,
    reweightings: int,
) -> np.ndarray:
    """Every free vertex a weighted mean of its neighbours (quads' edges and diagonals), the rim fixed: (total, 2).

    Any positive weights give an embedding without folds. Springs that came out too long for the surface they lie on are
    made stiffer, too short ones softer, and the embedding is found anew.
    """
    faces = disc.faces
    edges = [faces[:, [i, j]] for i in range(4) for j in range(i)] + [fillers[:, [i, (i + 1) % 3]] for i in range(3)]
    edges = np.unique(np.sort(np.concatenate(edges), axis=1), axis=0)
    edges = edges[edges[:, 0] >= 0]
    wanted = np.full(len(edges), np.nan)
    real = (edges < len(disc.vertices)).all(axis=1)
    a, b = edges[real].T
    wanted[real] = np.linalg.norm(disc.vertices[a] - disc.vertices[b], axis=1) * (disc.size[a] + disc.size[b]) / 2
    wanted[~real] = np.median(wanted[real])
    wanted = np.maximum(wanted, 0.02 * np.median(wanted))
    stiffness = np.ones(len(edges))
    uv = np.zeros((total, 2))
    uv[:, 0] = rim_uv[0, 0]
    uv[disc.rim] = rim_uv
    loose, fixed_u = np.concatenate([free, middle]), np.concatenate([disc.rim, middle])
    triangles = np.concatenate([fillers, corner_triangles(faces)[0]])
    # quads may fold along a diagonal where springs differ too much, triangles cannot but for rounding
    least = LEAST_START_AREA if (faces[:, 3] >= 0).any() else LEAST_TRIANGLE
    kept = None
    for _ in range(reweightings):
        graph = sparse.csr_matrix((np.tile(stiffness, 2), np.concatenate([edges, edges[:, ::-1]]).T), (total, total))
        laplace = (sparse.diags(np.asarray(graph.sum(axis=1)).ravel()) - graph).tocsr()
        solve_v = _solver(laplace[loose][:, loose])
        solve_u = solve_v if len(middle) == 0 else _solver(laplace[free][:, free])
        uv[free, 0] = solve_u(-(laplace[free][:, fixed_u] @ uv[fixed_u, 0]))
        uv[loose, 1] = solve_v(-(laplace[loose][:, disc.rim] @ uv[disc.rim, 1]))
        area = triangle_area(uv[triangles])
        smallest = area.min() / np.median(area)
        if kept is not None and smallest <= least:
            break
        if kept is None:
            least = min(least, max(smallest, 0.0))
        kept = uv.copy()
        stretch = np.linalg.norm(uv[edges[:, 0]] - uv[edges[:, 1]], axis=1) / wanted
        stiffness = stiffness * np.clip(stretch / np.median(stretch), 0.25, 4.0) ** 0.3
        stiffness = np.clip(stiffness / np.median(stiffness), 1e-3, 1e3)
    return kept


def _stiffness(cells: np.ndarray, rest: np.ndarray, weight: np.ndarray, total: int) -> sparse.csr_matrix:
    """The Hessian of the weighted sum of |J|^2, (total, total), for one axis: a Laplacian."""
    hats = _hat_gradients(rest)
    blocks = 2 * weight[:, None, None] * hats @ hats.transpose(0, 2, 1)
    rows, columns = np.repeat(cells, 3, axis=1), np.tile(cells, (1, 3))
    return sparse.csr_matrix((blocks.reshape(len(cells), 9).ravel(), (rows.ravel(), columns.ravel())), (total, total))


def _hat_gradients(rest: np.ndarray) -> np.ndarray:
    """(T, 3, 2): in each true shape, the gradients of the functions that are 1 at one corner and 0 at the others."""
    inverse = np.linalg.inv(rest)
    return np.concatenate([-inverse.sum(axis=1, keepdims=True), inverse], axis=1)


def _rest_shapes(triangles: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Triangles (T, 3, 3) laid flat: their two edges from the first corner as columns, (T, 2, 2), times size (T,).

    Triangles without area become slivers.
    """
    first, second = triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0]
    length, square = np.linalg.norm(first, axis=1), (second**2).sum(axis=1)
    least = LEAST_LENGTH * length.mean()
    length = np.maximum(length, least)
    along = (first * second).sum(axis=1) / length
    across = np.sqrt(np.maximum(square - along**2, np.maximum(1e-6 * square, least**2)))
    zero = np.zeros_like(length)
    shapes = np.stack([np.stack([length, zero], axis=1), np.stack([along, across], axis=1)], axis=2)
    return shapes * size[:, None, None]


def triangle_area(triangles: np.ndarray) -> np.ndarray:
    """(T,) twice the areas of flat triangles (T, 3, 2), positive counter-clockwise."""
    return _cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])


def _cross(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """(N,) from (N, 2) each: the determinant of the two."""
    return one[:, 0] * other[:, 1] - one[:, 1] * other[:, 0]
