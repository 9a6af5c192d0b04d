"""Scan-to-mesh error by the protocol of the NoW challenge, non-metrical and metrical.

Sanyal et al., "Learning to Regress 3D Face Shape and Expression from an Image without 3D Supervision", CVPR 2019,
section 5 and the challenge's own evaluation: seven landmarks align the prediction to the scan, the scan is cropped to
the face, the alignment is refined by minimising the distance of the scan to the predicted surface, and what counts is
the unsigned distance of every cropped scan point to the closest point of that surface. Figures are over the points of
all scans together, not means of means.
"""

from dataclasses import dataclass

import numpy as np

from backend.surface import Surface

SEVEN_OF_68 = np.array([36, 39, 42, 45, 33, 48, 54])  # eye corners from the subject's right, nose base, mouth corners
CROP_RADIUS = 1.4  # of the mean of outer eye corner distance and nose length
CROP_CENTRE = 0.3  # of the way from the nose base to the bridge
MILLIMETRES = 1000.0
REFINEMENT_STEPS = 40
COARSE_SETTLED, SETTLED = 1e-5, 1e-4  # relative change of the sum of squares at which refinement ends
COARSE_POINTS = 2000


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
    surface: Surface, scan_points: np.ndarray, start: Similarity, *, with_scale: bool
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


def _minimise(surface: Surface, scan_points: np.ndarray, motion: Similarity, with_scale: bool, settled_at: float):
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


def _closest(surface: Surface, scan_points: np.ndarray, motion: Similarity):
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
