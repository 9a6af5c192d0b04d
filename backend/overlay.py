"""The picture a person looks at first: the photograph, the mesh over it, and the textured head from two sides."""

import cv2
import numpy as np

from backend.fitting import FittedHead, FittedPhotograph
from backend.rendering.camera import Camera
from backend.rendering.shading import HarmonicLight, TextureMap, render_head

PANEL = 640
"""Side of each panel, pixels."""
CLAY = (205, 190, 178)
BACKDROP = 58
SIDE_VIEWS_DEGREES = (-35.0, 35.0)


def draw_overlay(head: FittedHead, image: np.ndarray, albedo: np.ndarray | None, device: str = "cpu") -> np.ndarray:
    """Photograph | mesh over it | head from its right | head from its left, of the first photograph.

    Args:
        head: the fitted head.
        image: (H, W, 3) uint8 sRGB, the first photograph.
        albedo: (S, S, 3) uint8 sRGB in UV, None for plain clay.
        device: torch device of the renderer.

    Returns:
        (PANEL, 4 PANEL, 3) uint8 sRGB.
    """
    photograph = head.photographs[0]
    picture, camera = _crop_round_head(image, photograph)
    topology = head.model.topology
    shown = np.ones(len(topology.triangles), bool)
    if "lashes" in topology.part_names:  # their cards need a transparent texture
        lashes = topology.part("lashes")
        shown = (topology.triangle_face < lashes.start) | (topology.triangle_face >= lashes.stop)
    triangles = topology.triangles[shown]
    mesh = render_head(photograph.posed, triangles, camera, CLAY, device=device)
    cover = mesh[..., 3:].astype(np.float32) / 255 * 0.75
    over = (mesh[..., :3] * cover + picture * (1 - cover)).astype(np.uint8)
    texture = None
    if albedo is not None:
        texture = TextureMap(albedo, topology.uv, topology.triangle_uv[shown])
    light = HarmonicLight.directional((0.2, 0.5, 1.0), 0.55, 0.45)
    panels = [picture, over]
    for yaw in SIDE_VIEWS_DEGREES:
        view = Camera.orbit(np.radians(yaw), 0.05, 1.1, PANEL, focal_35mm=105, target=(0, -0.03, -0.05))
        side = render_head(head.neutral, triangles, view, CLAY, texture, light, device=device)
        alpha = side[..., 3:].astype(np.float32) / 255
        panels.append((side[..., :3] * alpha + BACKDROP * (1 - alpha)).astype(np.uint8))
    return np.concatenate(panels, axis=1)


def _crop_round_head(image: np.ndarray, photograph: FittedPhotograph) -> tuple[np.ndarray, Camera]:
    """A square part of the photograph round the head, PANEL pixels a side, with its camera."""
    camera = photograph.camera
    points = camera.project(photograph.posed)
    low, high = points.min(axis=0), points.max(axis=0)
    side = int(np.ceil(1.15 * (high - low).max()))
    left, top = np.round((low + high) / 2 - side / 2).astype(int)
    padded = np.full((side, side, 3), BACKDROP, np.uint8)
    height, width = image.shape[:2]
    x0, y0, x1, y1 = max(left, 0), max(top, 0), min(left + side, width), min(top + side, height)
    padded[y0 - top : y1 - top, x0 - left : x1 - left] = image[y0:y1, x0:x1]
    interpolation = cv2.INTER_AREA if side > PANEL else cv2.INTER_CUBIC
    return cv2.resize(padded, (PANEL, PANEL), interpolation=interpolation), camera.cropped(
        left, top, side, side
    ).resized(PANEL, PANEL)
