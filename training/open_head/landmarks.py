"""Landmark embeddings: a render of the mean head is detected, and every point read back from the surface it hit."""

import logging

import numpy as np
import torch

from backend.detection import DetectedFace, MediaPipeFaceMesh
from backend.face_mesh_points import FIRST_IRIS, LOWER_INNER_LIP, MIRROR, POINT_COUNT, UPPER_INNER_LIP
from backend.face_models.morphable_model import SurfacePoints
from backend.rendering.camera import Camera
from backend.rendering.rasterizer import rasterize
from backend.rendering.shading import render_head

logger = logging.getLogger(__name__)

PICTURE_SIZE = 1024
DISTANCE = 2.0
FOCAL_PIXELS = 6000.0
COLOURS = {
    "skin": (205, 165, 140),
    "lips": (175, 95, 90),
    "brows": (80, 55, 40),
    "sclera": (235, 232, 228),
    "iris": (90, 65, 45),
    "pupil": (10, 10, 10),
    "part_mouth_inside": (110, 45, 45),
    "eye_socket": (120, 70, 65),
    "part_teeth_upper": (230, 225, 210),
    "part_teeth_lower": (230, 225, 210),
    "part_tongue": (170, 85, 85),
    "part_lashes": (40, 30, 25),
}
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


def plain_colours(masks: dict[str, np.ndarray]) -> np.ndarray:
    """(V, 3) uint8 sRGB: skin with tinted lips, brows, irises, teeth."""
    colours = np.tile(np.array(COLOURS["skin"], np.uint8), (len(masks["lips"]), 1))
    for name, colour in COLOURS.items():
        if name in masks:
            colours[masks[name]] = colour
    return colours


def detect_on_head(
    vertices: np.ndarray, triangles: np.ndarray, colours: np.ndarray, camera: Camera
) -> tuple[DetectedFace, np.ndarray]:
    """The face the detector finds on a render of a head.

    Returns:
        the face and the (H, W, 3) picture.

    Raises:
        ValueError: no face is found.
    """
    picture = render_head(vertices, triangles, camera, colours, supersampling=2)
    alpha = picture[..., 3:] / 255.0
    image = (picture[..., :3] * alpha + 120 * (1 - alpha)).astype(np.uint8)
    found = MediaPipeFaceMesh().detect(image)
    if not found:
        raise ValueError("The detector finds no face on the render of the head.")
    return found[0], image


def embed_points(
    points: np.ndarray, vertices: np.ndarray, triangles: np.ndarray, camera: Camera
) -> tuple[np.ndarray, np.ndarray]:
    """Where pixels (N, 2) lie on the surface: vertices (N, 3) int32 and barycentric weights (N, 3) float32.

    A point that misses the head takes the nearest pixel that shows it.
    """
    seen = torch.from_numpy(camera.to_camera(vertices)).to(torch.float64)[None]
    fragments = rasterize(seen, torch.from_numpy(triangles), torch.from_numpy(camera.intrinsics), camera.image_size)
    face = fragments.face_index[0].numpy()
    row, column = np.nonzero(face >= 0)
    corners, weights = [], []
    for x, y in points:
        nearest = np.argmin((column + 0.5 - x) ** 2 + (row + 0.5 - y) ** 2)
        r, c = row[nearest], column[nearest]
        triangle = triangles[face[r, c]]
        weight = _barycentric(np.array([x, y]), camera, vertices[triangle])
        if weight.min() < -0.05:
            weight = fragments.barycentric[0, r, c].numpy().astype(np.float64)
        weight = np.clip(weight, 0.0, None)
        corners.append(triangle)
        weights.append(weight / weight.sum())
    return np.array(corners, np.int32), np.array(weights, np.float32)


def _barycentric(point: np.ndarray, camera: Camera, corners: np.ndarray) -> np.ndarray:
    """Perspective-correct barycentric coordinates of a pixel in a triangle (3, 3) in model space."""
    ray = np.array([(point[0] - camera.cx) / camera.fx, (point[1] - camera.cy) / camera.fy, 1.0])
    weight = np.linalg.solve(camera.to_camera(corners).T, ray)
    return weight / weight.sum()


def frontal_camera(centre: np.ndarray) -> Camera:
    """The camera of the frontal embedding: straight into the face, far away."""
    return Camera.orbit(0.0, 0.0, DISTANCE, PICTURE_SIZE, focal_pixels=FOCAL_PIXELS, target=tuple(centre))


def embed_478(
    vertices: np.ndarray, triangles: np.ndarray, masks: dict[str, np.ndarray]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """MediaPipe's 478 points on the frontal mean head: vertices (478, 3), weights (478, 3), and the picture of it."""
    camera = frontal_camera(np.array([0.0, -0.03, 0.0]))
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
