"""Scan-to-mesh error by the protocol of the NoW challenge, non-metrical and metrical.

Sanyal et al., "Learning to Regress 3D Face Shape and Expression from an Image without 3D Supervision", CVPR 2019,
section 5 and the challenge's own evaluation: seven landmarks align the prediction to the scan, the scan is cropped to
the face, the alignment is refined by minimising the distance of the scan to the predicted surface, and what counts is
the unsigned distance of every cropped scan point to the closest point of that surface. Figures are over the points of
all scans together, not means of means.
"""

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

SEVEN_OF_68 = np.array([36, 39, 42, 45, 33, 48, 54])  # eye corners from the subject's right, nose base, mouth corners
CROP_RADIUS = 1.4  # of the mean of outer eye corner distance and nose length
CROP_CENTRE = 0.3  # of the way from the nose base to the bridge
MILLIMETRES = 1000.0
REFINEMENT_STEPS = 40
COARSE_SETTLED, SETTLED = 1e-5, 1e-4  # relative change of the sum of squares at which refinement ends
COARSE_POINTS = 2000
CANDIDATES = 4
CANDIDATE_GROWTH = 4
SIZES_PER_OCTAVE = 1  # classes of triangle size for each doubling


@dataclass(frozen=True)
class Similarity:
    """`scale * rotation @ point + translation`: scale a float, rotation (3, 3), translation (3,)."""

    scale: float
    rotation: np.ndarray
    translation: np.ndarray

    def apply(self, points: np.ndarray) -> np.ndarray:
        """Points (N, 3) moved: (N, 3)."""
        return self.scale * points @ self.rotation.T + self.translation

    def apply_inverse(self, points: np.ndarray) -> np.ndarray:
        """Points (N, 3) moved back: (N, 3)."""
        return (points - self.translation) @ self.rotation / self.scale


@dataclass(frozen=True)
class ScanError:
    """The error of one predicted head against one scan.

    Attributes:
        distances_mm: (N,) float64, one for each cropped scan point.
        cropped: (S,) bool, which of the scan's points were inside the crop.
        alignment: what takes the prediction to the scan after refinement.
    """

    distances_mm: np.ndarray
    cropped: np.ndarray
    alignment: Similarity


@dataclass(frozen=True)
class ErrorSummary:
    """Median, mean and standard deviation in millimetres over all points of all scans."""

    median: float
    mean: float
    std: float
    scans: int
    points: int


def pooled(errors: list[ScanError]) -> ErrorSummary:
    """The figures over the points of all scans together.

    Raises:
        ValueError: if there is no scan.
    """
    if not errors:
        raise ValueError("No scan was measured, so there is nothing to summarise.")
    distances = np.concatenate([error.distances_mm for error in errors])
    return ErrorSummary(
        float(np.median(distances)), float(distances.mean()), float(distances.std()), len(errors), len(distances)
    )


def scan_error(
    vertices: np.ndarray,
    triangles: np.ndarray,
    landmarks68: np.ndarray,
    scan_points: np.ndarray,
    scan_landmarks68: np.ndarray,
    *,
    metrical: bool = False,
) -> ScanError:
    """Distance of a scan to a predicted neutral head.

    Args:
        vertices: (V, 3) predicted vertices, metres.
        triangles: (T, 3) int, the predicted surface that counts (the outer skin).
        landmarks68: (68, 3) of the prediction, metres; the seven of `SEVEN_OF_68` are used.
        scan_points: (S, 3) points of the scan, metres.
        scan_landmarks68: (68, 3) of the scan, metres.
        metrical: True keeps the prediction's own scale.

    Returns:
        The distances of the scan points inside the crop after refinement.
    """
    vertices, scan_points = np.asarray(vertices, np.float64), np.asarray(scan_points, np.float64)
    own, wanted = landmarks68[SEVEN_OF_68].astype(np.float64), scan_landmarks68[SEVEN_OF_68].astype(np.float64)
    start = procrustes(own, wanted, with_scale=not metrical)
    cropped = crop_to_face(scan_points, scan_landmarks68)
    surface = Surface(vertices, triangles)
    alignment, distances = refine(surface, scan_points[cropped], start, with_scale=not metrical)
    return ScanError(distances * MILLIMETRES, cropped, alignment)


def procrustes(points: np.ndarray, onto: np.ndarray, *, with_scale: bool) -> Similarity:
    """The similarity (or rigid motion) that takes `points` (N, 3) closest to `onto` (N, 3) in the least-squares sense.

    No reflection. Umeyama 1991, equations 38 to 43.
    """
    centre, centre_onto = points.mean(0), onto.mean(0)
    flat, flat_onto = points - centre, onto - centre_onto
    left, values, right = np.linalg.svd(flat_onto.T @ flat)
    signs = np.array([1.0, 1.0, np.sign(np.linalg.det(left @ right))])
    rotation = (left * signs) @ right
    scale = float((values * signs).sum() / (flat**2).sum()) if with_scale else 1.0
    return Similarity(scale, rotation, centre_onto - scale * rotation @ centre)


def crop_to_face(scan_points: np.ndarray, scan_landmarks68: np.ndarray) -> np.ndarray:
    """Which points (S, 3) of a scan lie in the sphere round the face that NoW measures: (S,) bool."""
    outer_right, inner_right, inner_left, outer_left, nose_base = scan_landmarks68[SEVEN_OF_68[:5]].astype(np.float64)
    bridge = (inner_right + inner_left) / 2
    centre = nose_base + CROP_CENTRE * (bridge - nose_base)
    size = (np.linalg.norm(outer_left - outer_right) + np.linalg.norm(bridge - nose_base)) / 2
    return np.linalg.norm(scan_points - centre, axis=1) <= CROP_RADIUS * size


def refine(
    surface: "Surface", scan_points: np.ndarray, start: Similarity, *, with_scale: bool
) -> tuple[Similarity, np.ndarray]:
    """Moves a surface until the sum of squared distances of the scan points to it is smallest.

    Levenberg-Marquardt over scale (in its logarithm, so that it stays positive), rotation and translation. The
    closest points are found anew at every step; the derivative of a distance to a surface is that of the distance to
    the closest point held fixed, so these are the true gradients. A thinned scan goes first, then the whole one.

    Returns:
        The similarity that moves the surface, and the distances (N,) of the scan points to the moved surface, metres.
    """
    coarse = scan_points[:: max(1, len(scan_points) // COARSE_POINTS)]
    motion, _ = _minimise(surface, coarse, start, with_scale, COARSE_SETTLED)
    return _minimise(surface, scan_points, motion, with_scale, SETTLED)


def _minimise(surface: "Surface", scan_points: np.ndarray, motion: Similarity, with_scale: bool, settled_at: float):
    damping = 1e-6
    on_surface, normals, distances = _closest(surface, scan_points, motion)
    cost = (distances**2).sum()
    for _ in range(REFINEMENT_STEPS):
        moved = motion.apply(on_surface)
        pivot = moved.mean(0)
        arm = moved - pivot
        residual = (normals * (moved - scan_points)).sum(1)
        jacobian = np.concatenate([np.cross(arm, normals), normals], axis=1)
        if with_scale:
            jacobian = np.concatenate([jacobian, (normals * arm).sum(1, keepdims=True)], axis=1)
        normal_matrix, gradient = jacobian.T @ jacobian, jacobian.T @ residual
        while damping < 1e6:
            damped = normal_matrix + damping * np.diag(np.diag(normal_matrix))
            candidate = _stepped(motion, -np.linalg.solve(damped, gradient), pivot)
            found = _closest(surface, scan_points, candidate)
            new_cost = (found[2] ** 2).sum()
            if new_cost <= cost:
                break
            damping *= 10
        else:
            break
        settled = cost - new_cost <= settled_at * cost
        damping = max(damping / 10, 1e-9)
        motion, (on_surface, normals, distances), cost = candidate, found, new_cost
        if settled:
            break
    return motion, distances


def _closest(surface: "Surface", scan_points: np.ndarray, motion: Similarity):
    """Closest points in the surface's own frame (N, 3), directions of distance in the scan's frame, distances (N,)."""
    points, triangles = surface.closest(motion.apply_inverse(scan_points))
    away = motion.apply(points) - scan_points
    distances = np.linalg.norm(away, axis=1)
    flat = surface.normals[triangles] @ motion.rotation.T
    touching = distances < 1e-9
    normals = np.where(touching[:, None], flat, away / np.where(touching, 1, distances)[:, None])
    return points, normals, distances


def _stepped(motion: Similarity, step: np.ndarray, pivot: np.ndarray) -> Similarity:
    """A motion turned and grown about `pivot` and shifted: step = (axis-angle 3, shift 3[, log scale])."""
    turn = _rotation(step[:3])
    growth = float(np.exp(step[6])) if len(step) == 7 else 1.0
    translation = growth * turn @ (motion.translation - pivot) + pivot + step[3:6]
    return Similarity(motion.scale * growth, turn @ motion.rotation, translation)


def _rotation(axis_angle: np.ndarray) -> np.ndarray:
    angle = np.linalg.norm(axis_angle)
    if angle < 1e-12:
        return np.eye(3)
    x, y, z = axis_angle / angle
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


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
