"""Landmarks of a face model by the detector itself: the model is rendered, points are read back from the surface.

The same detector errs alike on two heads that are rendered alike, so its points on one are where they are on the other.
"""

import numpy as np
import torch

from backend.detection import DetectedFace, MediaPipeFaceMesh
from backend.rendering.camera import Camera
from backend.rendering.rasterizer import rasterize
from backend.rendering.shading import render_head

PICTURE_SIZE = 1024
DISTANCE = 2.0
FOCAL_PIXELS = 6000.0
BACKDROP = 120
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


def plain_colours(masks: dict[str, np.ndarray]) -> np.ndarray:
    """(V, 3) uint8 sRGB: skin with tinted lips, brows, irises, teeth, as far as there are masks (V,) of them."""
    colours = np.tile(np.array(COLOURS["skin"], np.uint8), (len(next(iter(masks.values()))), 1))
    for name, colour in COLOURS.items():
        if name in masks:
            colours[masks[name]] = colour
    return colours


def detect_on_head(
    vertices: np.ndarray, triangles: np.ndarray, colours: np.ndarray, camera: Camera
) -> tuple[DetectedFace, np.ndarray]:
    """The face the detector finds on a render of a head.

    Args:
        vertices: (V, 3) metres, model space; triangles: (T, 3); colours: (V, 3) uint8 sRGB.
        camera: with the size of the picture.

    Returns:
        the face and the (H, W, 3) picture.

    Raises:
        ValueError: no face is found.
    """
    picture = render_head(vertices, triangles, camera, colours, supersampling=2)
    alpha = picture[..., 3:] / 255.0
    image = (picture[..., :3] * alpha + BACKDROP * (1 - alpha)).astype(np.uint8)
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
        r, c = int(np.clip(y, 0, len(face) - 1)), int(np.clip(x, 0, face.shape[1] - 1))
        if face[r, c] < 0:
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


def portrait_camera(centre: np.ndarray, yaw: float = 0.0) -> Camera:
    """A camera far away that fills its picture with a head; from the front, or `yaw` degrees to the subject's left."""
    return Camera.orbit(
        np.radians(yaw), 0.0, DISTANCE, PICTURE_SIZE, focal_pixels=FOCAL_PIXELS, target=tuple(np.asarray(centre))
    )
