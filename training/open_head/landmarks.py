"""Landmark embeddings: a render of the mean head is detected, and every point read back from the surface it hit."""

import logging

import numpy as np

from backend.face_mesh_points import FIRST_IRIS, LOWER_INNER_LIP, MIRROR, POINT_COUNT, UPPER_INNER_LIP
from backend.face_models.morphable_model import SurfacePoints
from backend.face_models.rendered_landmarks import detect_on_head, embed_points, plain_colours, portrait_camera

logger = logging.getLogger(__name__)

IBUG_68_IN_478 = (
    127, 234, 93, 132, 58, 136, 150, 176, 152, 400, 379, 365, 288, 361, 323, 454, 356,
    70, 63, 105, 66, 107, 336, 296, 334, 293, 300,
    168, 197, 5, 4, 240, 99, 2, 328, 460,
    33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380,
    61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181,
    78, 82, 13, 312, 308, 317, 14, 87,
)  # fmt: skip
"""The mesh point nearest to each of the 68 points of iBUG 300-W (Sagonas et al. 2013), in their order: the subject's
right jaw first, brows, nose, eyes, outer and inner lips."""


def embed_478(
    vertices: np.ndarray, triangles: np.ndarray, masks: dict[str, np.ndarray]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """MediaPipe's 478 points on the frontal mean head: vertices (478, 3), weights (478, 3), and the picture of it."""
    camera = portrait_camera(np.array([0.0, -0.03, 0.0]))
    face, picture = detect_on_head(vertices, triangles, plain_colours(masks), camera)
    corners, weights = embed_points(face.points, vertices, triangles, camera)
    balls = masks["sclera"] | masks["iris"] | masks["pupil"]
    own_surfaces = {  # what the points belong to, where lids, lashes or the other lip may be in front
        tuple(range(FIRST_IRIS, POINT_COUNT)): balls,
        UPPER_INNER_LIP: masks["lip_upper"],
        LOWER_INNER_LIP: masks["lip_lower"],
    }
    for points, surface in own_surfaces.items():
        own = triangles[surface[triangles].all(axis=1)]
        rows = list(points)
        corners[rows], weights[rows] = embed_points(face.points[rows], vertices, own, camera)
    return corners, weights, picture


def brought_to_the_face(points: SurfacePoints, neck: np.ndarray, mirror: np.ndarray) -> SurfacePoints:
    """The 478 points without those on the neck.

    Seen from the front the jaw hides the neck by a pixel or two: a point detected just beside its edge hits the neck,
    four centimetres behind. It takes the mirrored place of its partner on the other side of the face instead.

    Args:
        points: as from `embed_478`.
        neck: (V,) bool; mirror: (V,) int, see `MorphableModel`.
    """
    vertices, barycentric = points.vertices.copy(), points.barycentric.copy()
    on_neck = neck[vertices].any(axis=1)
    lost = np.flatnonzero(on_neck & ~on_neck[MIRROR])
    vertices[lost], barycentric[lost] = mirror[vertices[MIRROR[lost]]], barycentric[MIRROR[lost]]
    return SurfacePoints(vertices, barycentric)
