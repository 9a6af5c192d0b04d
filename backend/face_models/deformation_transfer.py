"""Shape keys of one mesh carried over to another: how each piece of surface turns and stretches, not how far it moves.

After Sumner and Popović, "Deformation Transfer for Triangle Meshes", SIGGRAPH 2004. The source's deformation gradients
are smoothed onto its vertices, taken to the target by a dense correspondence, and integrated there (a Poisson problem
on the target's own triangles, so that its own proportions say how far a point moves). A weak pull to the source's
movement keeps what has no border from drifting.
"""

from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import splu

from backend.face_models.morphable_model import SurfacePoints

PULL_LENGTH_M = 0.015
"""Over about this length the target's own proportions decide; farther off, the source's movement."""
REST_SHARE = 0.15
"""How much weaker than that the pull to rest is where the source knows nothing."""
LEAST_COTANGENT, LARGEST_COTANGENT = 0.02, 20.0


@dataclass(frozen=True)
class TransferSource:
    """The mesh whose keys are carried over.

    Attributes:
        vertices: (S, 3) metres at rest; triangles: (T, 3) int.
        place: for every vertex of the target the point of the source that it is.
        trust: (V,) in [0, 1], how well that is known.
        rotation: (3, 3) from the source's axes to the target's; scale: how much larger the target is.
    """

    vertices: np.ndarray
    triangles: np.ndarray
    place: SurfacePoints
    trust: np.ndarray
    rotation: np.ndarray
    scale: float


def transfer_keys(
    source: TransferSource, offsets: np.ndarray, vertices: np.ndarray, triangles: np.ndarray
) -> np.ndarray:
    """The keys of the source on the target.

    Args:
        source: see there.
        offsets: (K, S, 3) metres, the source's keys.
        vertices: (V, 3) metres, the target at rest; triangles: (T, 3) int, the part of it that is solved for.

    Returns:
        (K, V, 3) float64 metres; 0 for vertices without a triangle.
    """
    used = np.unique(triangles)
    start, end, weight, triangle = _weighted_edges(vertices, triangles)
    arm = vertices[end] - vertices[start]
    area = _vertex_areas(vertices, triangles)
    pull = area / PULL_LENGTH_M**2 * (REST_SHARE + (1 - REST_SHARE) * source.trust)
    count = len(vertices)
    difference = sparse.csr_matrix(
        (
            np.concatenate([np.ones(len(end)), -np.ones(len(start))]),
            (np.tile(np.arange(len(start)), 2), np.concatenate([end, start])),
        ),
        (len(start), count),
    )
    matrix = (difference.T @ sparse.diags(weight) @ difference + sparse.diags(pull)).tocsc()[used][:, used]
    solver = splu(matrix)
    turn = source.rotation
    result = np.zeros((len(offsets), count, 3))
    for row, offset in enumerate(np.asarray(offsets, np.float64)):
        gradient = vertex_gradients(source.vertices, source.vertices + offset, source.triangles)  # (S, 3, 3), less 1
        carried = np.einsum("vc,vcij->vij", source.place.barycentric, gradient[source.place.vertices])
        carried = source.trust[:, None, None] * (turn @ carried @ turn.T)
        of_triangle = carried[triangles].mean(axis=1)
        bent = np.einsum("eij,ej->ei", of_triangle[triangle], arm)
        moved = np.einsum("vc,vci->vi", source.place.barycentric, offset[source.place.vertices])
        moved = source.trust[:, None] * source.scale * moved @ turn.T
        right = difference.T @ (weight[:, None] * bent) + pull[:, None] * moved
        result[row, used] = solver.solve(right[used])
    return result


def vertex_gradients(rest: np.ndarray, posed: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """How the surface round each vertex is turned and stretched: (V, 3, 3), the deformation gradient less the identity.

    Of every triangle it is the map of its two sides and its unit normal; vertices take the mean by area.
    """
    before, after = _frames(rest, triangles), _frames(posed, triangles)
    gradient = after @ np.linalg.inv(before) - np.eye(3)
    corners = rest[triangles]
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    result, total = np.zeros((len(rest), 3, 3)), np.zeros(len(rest))
    for corner in range(3):
        np.add.at(result, triangles[:, corner], area[:, None, None] * gradient)
        np.add.at(total, triangles[:, corner], area)
    return result / np.maximum(total, 1e-30)[:, None, None]


def _frames(vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """(T, 3, 3): two sides and the unit normal of each triangle, as columns; regular without area."""
    corners = np.asarray(vertices, np.float64)[triangles]
    first, second = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    normal = np.cross(first, second)
    length = np.linalg.norm(normal, axis=1, keepdims=True)
    frame = np.stack([first, second, normal / np.maximum(length, 1e-30)], axis=2)
    frame[length[:, 0] < 1e-14] = np.eye(3)
    return frame


def _weighted_edges(
    vertices: np.ndarray, triangles: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The three edges of every triangle: start and end (3 T,), cotangent of the angle opposite, the triangle."""
    starts, ends, weights = [], [], []
    for corner in range(3):
        apex, start, end = (triangles[:, (corner + k) % 3] for k in range(3))
        one, other = vertices[start] - vertices[apex], vertices[end] - vertices[apex]
        across = np.linalg.norm(np.cross(one, other), axis=1)
        cotangent = (one * other).sum(axis=1) / np.maximum(across, 1e-30)
        starts.append(start)
        ends.append(end)
        weights.append(np.clip(cotangent, LEAST_COTANGENT, LARGEST_COTANGENT))
    return (*(np.concatenate(part) for part in (starts, ends, weights)), np.tile(np.arange(len(triangles)), 3))


def _vertex_areas(vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    corners = vertices[triangles]
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1) / 6
    return np.bincount(triangles.reshape(-1), np.repeat(area, 3), minlength=len(vertices))
