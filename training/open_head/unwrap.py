"""Lays discs of quads flat without flips or overlaps, close to their true shape.

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
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sparse
import torch
from scipy.sparse.linalg import splu, spsolve

logger = logging.getLogger(__name__)

ITERATIONS = 700
HISTORY = 20
CURVE_POINTS = 8192
FILL_WEIGHT = 0.02
REWEIGHTINGS = 40
LEAST_START_AREA = 1e-3


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
    """A disc of quads; of a symmetric one the left half (x >= 0), cut along its middle line.

    Attributes:
        faces: (F, 4) int64 rows of the vertices below.
        vertices: (N, 3) float64 metres.
        size: (N,) float64, how large a vertex's surroundings should become in the map, relative.
        rim: (R,) int64, vertices on the curve in its order; the first and the last of a half lie on the middle line.
        middle: (M,) int64, vertices on the middle line that are not on the rim; none if the disc is whole.
        holes: loops of vertices to be closed, walked with the disc on the left; a path from middle line to middle
            line is closed on that line.
    """

    faces: np.ndarray
    vertices: np.ndarray
    size: np.ndarray
    rim: np.ndarray
    middle: np.ndarray
    holes: list[np.ndarray]


def flatten(disc: Disc, curve: Curve, iterations: int = ITERATIONS) -> np.ndarray:
    """Texture coordinates of the half: (N, 2) float64, the middle line at the curve's centre.

    Raises:
        ValueError: the disc cannot be laid flat (Tutte's embedding has a fold: the mesh is no disc).
    """
    count = len(disc.vertices)
    triangles, middle_extra, extra = _fans(disc, count)
    corner = np.concatenate([disc.faces[:, [i, (i + 1) % 4, (i + 3) % 4]] for i in range(4)])
    free = np.setdiff1d(np.arange(count + extra), np.concatenate([disc.rim, disc.middle, middle_extra]))
    middle = np.concatenate([disc.middle, middle_extra]).astype(np.int64)
    whole = len(disc.middle) == 0
    table = torch.from_numpy(curve.table(2 * np.pi if whole else np.pi))
    along = np.append(disc.rim, disc.rim[:1]) if whole else disc.rim
    parameter = _spaced(disc.vertices[along] * disc.size[along, None])[: len(disc.rim)]
    sliding = len(parameter) - (1 if whole else 2)
    ends = torch.ones(0 if whole else 1, dtype=torch.float64)
    start = _tutte(disc, triangles, count + extra, free, middle, _on_curve(table, torch.from_numpy(parameter)).numpy())

    rest = _rest_shapes(disc.vertices[corner], disc.size[corner].mean(axis=1))
    area = np.abs(np.linalg.det(rest)) / 2
    fit = np.sqrt(_signed_area(start[disc.faces]).sum() / (area.sum() / 2))
    rest, area = rest * fit, area * fit**2
    fan_rest = np.stack(
        [start[triangles[:, 1]] - start[triangles[:, 0]], start[triangles[:, 2]] - start[triangles[:, 0]]], 2
    )
    rest = np.concatenate([rest, fan_rest])
    weight = np.concatenate([area / 2, FILL_WEIGHT * np.abs(np.linalg.det(fan_rest)) / 2])
    cells = torch.from_numpy(np.concatenate([corner, triangles]))
    inverse, weight = torch.from_numpy(np.linalg.inv(rest)), torch.from_numpy(weight / weight.sum())

    def place(values: torch.Tensor) -> torch.Tensor:
        uv = torch.zeros(count + extra, 2, dtype=torch.float64)
        uv[:, 0] = curve.centre[0]
        slide = torch.cat([values.new_zeros(1), values[:sliding], ends])
        uv = uv.index_copy(0, torch.from_numpy(disc.rim), _on_curve(table, slide))
        rest_of = values[sliding:]
        on_line = torch.stack([torch.full_like(rest_of[: len(middle)], curve.centre[0]), rest_of[: len(middle)]], 1)
        uv = uv.index_copy(0, torch.from_numpy(middle), on_line)
        return uv.index_copy(0, torch.from_numpy(free), rest_of[len(middle) :].reshape(-1, 2))

    def energy(values: torch.Tensor) -> torch.Tensor:
        uv = place(values)
        a, b, c = (uv.index_select(0, cells[:, k]) for k in range(3))
        jacobian = torch.stack([b - a, c - a], dim=2) @ inverse
        determinant = jacobian[:, 0, 0] * jacobian[:, 1, 1] - jacobian[:, 0, 1] * jacobian[:, 1, 0]
        if not bool((determinant > 0).all()):
            return torch.full((), torch.inf, dtype=torch.float64)
        square = (jacobian**2).sum(dim=(1, 2))
        return (weight * square * (1 + determinant**-2)).sum()

    values = torch.from_numpy(np.concatenate([parameter[1 : sliding + 1], start[middle, 1], start[free].ravel()]))
    first = float(energy(values))
    if not np.isfinite(first):
        raise ValueError("This mesh cannot be laid flat: its first embedding has a fold.")
    stiff = _stiffness(cells.numpy(), rest, weight.numpy(), count + extra)
    rows = np.concatenate([disc.rim[1 : sliding + 1], middle, np.repeat(free, 2)])
    axis = np.concatenate([np.full(sliding, 2), np.ones(len(middle), int), np.tile([0, 1], len(free))])
    length = float(torch.linalg.norm(table[1:] - table[:-1], dim=1).sum())
    matrix = stiff[rows][:, rows].multiply(axis[:, None] == axis[None, :]).tolil()
    for i in range(sliding):
        matrix[i, i] *= length**2
    for i in range(sliding - 1):
        matrix[i, i + 1] = matrix[i + 1, i] = matrix[i, i + 1] * length**2
    solver = splu(matrix.tocsc() + 1e-9 * sparse.identity(len(rows), format="csc"))
    values, last = minimise(energy, values, iterations, lambda vector: torch.from_numpy(solver.solve(vector.numpy())))
    logger.info("Laid %d quads flat: distortion %.2f, then %.3f (4 is none).", len(disc.faces), first, last)
    return place(values).detach().numpy()[:count]


def minimise(
    energy: Callable[[torch.Tensor], torch.Tensor],
    start: torch.Tensor,
    iterations: int,
    smooth: Callable[[torch.Tensor], torch.Tensor],
) -> tuple[torch.Tensor, float]:
    """L-BFGS with a backtracking line search that takes infinity for "not allowed".

    Args:
        smooth: a guess of the inverse Hessian, applied to a gradient.

    Returns:
        the lowest point found and its energy.
    """
    position = start.clone().requires_grad_(True)
    value = energy(position)
    (gradient,) = torch.autograd.grad(value, position)
    value = float(value.detach())
    history: deque = deque(maxlen=HISTORY)
    for _ in range(iterations):
        direction = -_two_loops(gradient, history, smooth)
        slope = float(direction @ gradient)
        if slope >= 0:
            history.clear()
            direction = -smooth(gradient)
            slope = float(direction @ gradient)
        step = 1.0
        for _ in range(40):
            there = (position.detach() + step * direction).requires_grad_(True)
            found = energy(there)
            if float(found.detach()) <= value + 1e-4 * step * slope:
                break
            step /= 2
        else:
            if not history:
                break
            history.clear()
            continue
        (turned,) = torch.autograd.grad(found, there)
        change, bend = (there - position).detach(), turned - gradient
        if float(change @ bend) > 1e-14 * float(change @ change):
            history.append((change, bend))
        gained = value - float(found.detach())
        position, gradient, value = there, turned, float(found.detach())
        if gained < 1e-10 * value and float(gradient.abs().max()) < 1e-6:
            break
    return position.detach(), value


def _two_loops(gradient: torch.Tensor, history: deque, smooth: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
    """The inverse Hessian's guess times the gradient (Nocedal and Wright, algorithm 7.4)."""
    result, factors = gradient.clone(), []
    for change, bend in reversed(history):
        factor = float(change @ result) / float(change @ bend)
        result -= factor * bend
        factors.append(factor)
    result = smooth(result)
    for (change, bend), factor in zip(history, reversed(factors), strict=True):
        result += (factor - float(bend @ result) / float(change @ bend)) * change
    return result


def _on_curve(table: torch.Tensor, parameter: torch.Tensor) -> torch.Tensor:
    """Points (R, 2) at parameters (R,) in [0, 1] along a table of evenly spaced points."""
    place = parameter.clamp(0.0, 1.0) * (len(table) - 1)
    lower = place.detach().floor().clamp(max=len(table) - 2).long()
    share = (place - lower)[:, None]
    return table[lower] * (1 - share) + table[lower + 1] * share


def _spaced(points: np.ndarray) -> np.ndarray:
    """(R,) parameters from 0 to 1 by arc length, no two closer than a fifth of the mean."""
    length = np.linalg.norm(np.diff(points, axis=0), axis=1)
    length = np.maximum(length, 0.2 * length.mean())
    return np.concatenate([[0.0], np.cumsum(length)]) / length.sum()


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
    disc: Disc, fans: np.ndarray, total: int, free: np.ndarray, middle: np.ndarray, rim_uv: np.ndarray
) -> np.ndarray:
    """Every free vertex a weighted mean of its neighbours (quads' edges and diagonals), the rim fixed: (total, 2).

    Any positive weights give an embedding without folds. Springs that came out too long for the surface they lie on are
    made stiffer, too short ones softer, and the embedding is found anew.
    """
    faces = disc.faces
    edges = [faces[:, [i, j]] for i in range(4) for j in range(i)] + [fans[:, [0, 1]], fans[:, [0, 2]]]
    edges = np.unique(np.sort(np.concatenate(edges), axis=1), axis=0)
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
    kept = None
    for _ in range(REWEIGHTINGS):
        graph = sparse.csr_matrix((np.tile(stiffness, 2), np.concatenate([edges, edges[:, ::-1]]).T), (total, total))
        laplace = (sparse.diags(np.asarray(graph.sum(axis=1)).ravel()) - graph).tocsr()
        uv[free, 0] = spsolve(laplace[free][:, free].tocsc(), -(laplace[free][:, fixed_u] @ uv[fixed_u, 0]))
        uv[loose, 1] = spsolve(laplace[loose][:, loose].tocsc(), -(laplace[loose][:, disc.rim] @ uv[disc.rim, 1]))
        corners = np.concatenate([fans, *(faces[:, [i, (i + 1) % 4, (i + 3) % 4]] for i in range(4))])
        area = _triangle_area(uv[corners])
        if kept is not None and area.min() <= LEAST_START_AREA * np.median(area):
            break  # quads may fold along a diagonal where springs differ too much
        kept = uv.copy()
        stretch = np.linalg.norm(uv[edges[:, 0]] - uv[edges[:, 1]], axis=1) / wanted
        stiffness = stiffness * np.clip(stretch / np.median(stretch), 0.25, 4.0) ** 0.3
        stiffness = np.clip(stiffness / np.median(stiffness), 1e-3, 1e3)
    return kept


def _stiffness(cells: np.ndarray, rest: np.ndarray, weight: np.ndarray, total: int) -> sparse.csr_matrix:
    """The Hessian of the weighted sum of |J|^2, (total, total), for one axis: a Laplacian."""
    inverse = np.linalg.inv(rest)  # rows: gradients of the second and third corner's hat functions
    hats = np.concatenate([-inverse.sum(axis=1, keepdims=True), inverse], axis=1)  # (T, 3, 2)
    blocks = 2 * weight[:, None, None] * hats @ hats.transpose(0, 2, 1)
    rows, columns = np.repeat(cells, 3, axis=1), np.tile(cells, (1, 3))
    return sparse.csr_matrix((blocks.reshape(len(cells), 9).ravel(), (rows.ravel(), columns.ravel())), (total, total))


def _rest_shapes(triangles: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Triangles (T, 3, 3) laid flat: their two edges from the first corner as columns, (T, 2, 2), times size (T,)."""
    first, second = triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0]
    length = np.linalg.norm(first, axis=1)
    along = (first * second).sum(axis=1) / length
    across = np.sqrt(np.maximum((second**2).sum(axis=1) - along**2, 1e-6 * (second**2).sum(axis=1)))
    zero = np.zeros_like(length)
    shapes = np.stack([np.stack([length, zero], axis=1), np.stack([along, across], axis=1)], axis=2)
    return shapes * size[:, None, None]


def _triangle_area(triangles: np.ndarray) -> np.ndarray:
    """(T,) twice the areas of flat triangles (T, 3, 2), positive counter-clockwise."""
    one, other = triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0]
    return one[:, 0] * other[:, 1] - one[:, 1] * other[:, 0]


def _signed_area(quads: np.ndarray) -> np.ndarray:
    """(F,) areas of flat quads (F, 4, 2), positive counter-clockwise."""
    one, other = quads[:, 2] - quads[:, 0], quads[:, 3] - quads[:, 1]
    return (one[:, 0] * other[:, 1] - one[:, 1] * other[:, 0]) / 2
