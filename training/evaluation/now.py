"""Scan-to-mesh error by the protocol of the NoW challenge, non-metrical and metrical.

Sanyal et al., "Learning to Regress 3D Face Shape and Expression from an Image without 3D Supervision", CVPR 2019,
section 5 and the challenge's own evaluation: seven landmarks align the prediction to the scan, the scan is cropped to
the face, the alignment is refined by minimising the distance of the scan to the predicted surface, and what counts is
the unsigned distance of every cropped scan point to the closest point of that surface. Figures are over the points of
all scans together, not means of means.

Metrical means that the prediction keeps its own size, in the first step and in the refinement. The published code
(`scan2mesh_computations_metrical.py`) takes rotation *and translation* of its first step from a Procrustes alignment
with scale, so that it starts from a place that belongs to a head of another size; only its refinement mends that. Here
the first step is free of scale altogether.

Points are worked on a few thousand at a time: memory beyond the scan itself and its distances does not grow with the
scan.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from training.evaluation.compiled_surface import CompiledSurface

SEVEN_OF_68 = np.array([36, 39, 42, 45, 33, 48, 54])  # eye corners from the subject's right, nose base, mouth corners
CROP_RADIUS = 1.4  # of the mean of outer eye corner distance and nose length
CROP_CENTRE = 0.3  # of the way from the nose base to the bridge
MILLIMETRES = 1000.0
REFINEMENT_STEPS = 40
COARSE_SETTLED, SETTLED = 1e-5, 1e-4  # relative change of the sum of squares at which refinement ends
EXACT_M = 1e-8
"""Mean distance at which nothing is left to refine."""
COARSE_POINTS = 2000
REFINED_POINTS = 120_000
"""Of a scan at most, for the refinement: an even selection of larger ones. No scan of NoW has so many in the crop."""
CHUNK = 8192
"""Points that are worked on at a time."""


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
        distances_mm: (N,) float, one for each cropped scan point.
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
    return summary_of([error.distances_mm for error in errors])


def summary_of(distances_mm: list[np.ndarray]) -> ErrorSummary:
    """As `pooled`, of the distances (N,) of each scan, float32 or float64."""
    if not distances_mm:
        raise ValueError("No scan was measured, so there is nothing to summarise.")
    distances = np.concatenate(distances_mm)
    return ErrorSummary(
        float(np.median(distances)),
        float(distances.mean(dtype=np.float64)),
        float(distances.std(dtype=np.float64)),
        len(distances_mm),
        len(distances),
    )


def seven_landmarks(landmarks: np.ndarray) -> np.ndarray:
    """The seven landmarks of the protocol, (7, 3) float64, out of them alone or out of iBUG's 68 or 51 (no outline).

    In the order of NoW: corners of the eye on the subject's right from the outer to the inner, of the other from the
    inner to the outer, nose base, corner of the mouth on the subject's right, on the left.

    Raises:
        ValueError: another shape.
    """
    landmarks = np.asarray(landmarks, np.float64)
    if landmarks.shape == (68, 3):
        return landmarks[SEVEN_OF_68]
    if landmarks.shape == (51, 3):
        return landmarks[SEVEN_OF_68 - 17]
    if landmarks.shape == (7, 3):
        return landmarks
    raise ValueError(f"Landmarks should be (7, 3), (68, 3) or (51, 3), not {landmarks.shape}.")


def scan_error(
    vertices: np.ndarray,
    triangles: np.ndarray,
    landmarks: np.ndarray,
    scan_points: np.ndarray,
    scan_landmarks: np.ndarray,
    *,
    metrical: bool = False,
) -> ScanError:
    """Distance of a scan to a predicted neutral head.

    Args:
        vertices: (V, 3) predicted vertices, metres.
        triangles: (T, 3) int, the predicted surface that counts (the outer skin).
        landmarks: of the prediction, metres: (7, 3), (51, 3) or (68, 3), see `seven_landmarks`.
        scan_points: (S, 3) float32 or float64, points of the scan, metres.
        scan_landmarks: of the scan, metres, as `landmarks`.
        metrical: True keeps the prediction's own scale.

    Returns:
        The distances of the scan points inside the crop after refinement.

    Raises:
        ValueError: landmarks of another shape, or no point of the scan lies in the crop.
    """
    own, wanted = seven_landmarks(landmarks), seven_landmarks(scan_landmarks)
    start = procrustes(own, wanted, with_scale=not metrical)
    cropped = crop_to_face(scan_points, wanted)
    if not cropped.any():
        raise ValueError("No point of the scan lies near its own landmarks.")
    surface = CompiledSurface(vertices, triangles)
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


def crop_to_face(scan_points: np.ndarray, scan_landmarks: np.ndarray) -> np.ndarray:
    """Which points (S, 3) of a scan lie in the sphere round the face that NoW measures: (S,) bool."""
    outer_right, inner_right, inner_left, outer_left, nose_base = seven_landmarks(scan_landmarks)[:5]
    bridge = (inner_right + inner_left) / 2
    centre = nose_base + CROP_CENTRE * (bridge - nose_base)
    size = (np.linalg.norm(outer_left - outer_right) + np.linalg.norm(bridge - nose_base)) / 2
    inside = [np.linalg.norm(part - centre, axis=1) <= CROP_RADIUS * size for part in _chunks(scan_points)]
    return np.concatenate([np.zeros(0, bool), *inside])


def refine(
    surface: CompiledSurface, scan_points: np.ndarray, start: Similarity, *, with_scale: bool
) -> tuple[Similarity, np.ndarray]:
    """Moves a surface until the sum of squared distances of the scan points to it is smallest.

    Levenberg-Marquardt over scale (in its logarithm, so that it stays positive), rotation and translation. The
    closest points are found anew at every step; the derivative of a distance to a surface is that of the distance to
    the closest point held fixed, so these are the true gradients. A thinned scan goes first, then the whole one, or of
    one that has more than `REFINED_POINTS` an even selection.

    Returns:
        The similarity that moves the surface, and the distances (N,) of all scan points to the moved surface, metres.
    """
    coarse = scan_points[:: max(1, len(scan_points) // COARSE_POINTS)]
    found = _minimise(surface, coarse, start, with_scale, COARSE_SETTLED)
    step = -(-len(scan_points) // REFINED_POINTS)
    found = _minimise(surface, scan_points[::step], found.motion, with_scale, SETTLED)
    if step > 1:
        return found.motion, _measured(surface, scan_points, found.motion).distances
    return found.motion, found.distances


@dataclass(frozen=True)
class _Fit:
    """A motion with what the next step needs to know of it.

    Attributes:
        motion: of the surface.
        distances: (N,) of the scan points, metres.
        cost: their sum of squares.
        normal_matrix, gradient: (7, 7) and (7,) of the cost by (axis-angle 3, shift 3, log scale) about `pivot`.
        pivot: (3,), the mean of the closest points.
    """

    motion: Similarity
    distances: np.ndarray
    cost: float
    normal_matrix: np.ndarray
    gradient: np.ndarray
    pivot: np.ndarray


def _minimise(
    surface: CompiledSurface, scan_points: np.ndarray, motion: Similarity, with_scale: bool, settled_at: float
):
    damping, used = 1e-6, slice(0, 7 if with_scale else 6)
    best = _measured(surface, scan_points, motion)
    for _ in range(REFINEMENT_STEPS):
        normal_matrix, gradient = best.normal_matrix[used, used], best.gradient[used]
        while damping < 1e6:
            damped = normal_matrix + damping * np.diag(np.diag(normal_matrix))
            step = -np.linalg.solve(damped, gradient)
            candidate = _measured(surface, scan_points, _stepped(best.motion, step, best.pivot))
            if candidate.cost <= best.cost:
                break
            damping *= 10
        else:
            break
        settled = (
            best.cost - candidate.cost <= settled_at * best.cost or candidate.cost <= len(scan_points) * EXACT_M**2
        )
        damping = max(damping / 10, 1e-9)
        best = candidate
        if settled:
            break
    return best


def _measured(surface: CompiledSurface, scan_points: np.ndarray, motion: Similarity) -> _Fit:
    """Distances and derivatives, a chunk of the scan at a time.

    The pivot is known only when all closest points are, so the sums are made about a point nearby and moved after it:
    cross(arm - shift, n) = cross(arm, n) - cross(shift, n).
    """
    distances, nearby = [], np.asarray(scan_points[0], np.float64)
    total, normal_matrix, gradient = np.zeros(3), np.zeros((7, 7)), np.zeros(7)
    for part in _chunks(scan_points):
        on_surface, normals, away = _closest(surface, part, motion)
        moved = motion.apply(on_surface)
        arm = moved - nearby
        jacobian = np.concatenate([np.cross(arm, normals), normals, (normals * arm).sum(1, keepdims=True)], axis=1)
        normal_matrix += jacobian.T @ jacobian
        gradient += jacobian.T @ (normals * (moved - part)).sum(1)
        total += arm.sum(0)
        distances.append(away)
    distances = np.concatenate(distances)
    shift = total / len(distances)
    to_pivot = np.eye(7)
    to_pivot[3:6, :3], to_pivot[3:6, 6] = _cross_matrix(shift), -shift
    return _Fit(
        motion,
        distances,
        float((distances**2).sum()),
        to_pivot.T @ normal_matrix @ to_pivot,
        to_pivot.T @ gradient,
        nearby + shift,
    )


def _chunks(points: np.ndarray) -> Iterator[np.ndarray]:
    """Parts of points (N, 3) in their order, as float64."""
    for start in range(0, len(points), CHUNK):
        yield np.asarray(points[start : start + CHUNK], np.float64)


def _closest(surface: CompiledSurface, scan_points: np.ndarray, motion: Similarity):
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
    cross = _cross_matrix(axis_angle / angle)
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def _cross_matrix(vector: np.ndarray) -> np.ndarray:
    """(3, 3): times a point it is the cross product of the vector and the point."""
    x, y, z = vector
    return np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
