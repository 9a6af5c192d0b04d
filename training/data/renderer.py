"""Draws a head, what is worn on it and the light on both into linear light, with what is known of every pixel.

One rasterization for everything opaque, at a finer size than the picture; `illumination` shades what it found; then
veils (lashes, tinted glass) are laid over it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from backend.rendering.camera import Camera
from training.data.depth_buffer import NEAREST_M, draw
from training.data.illumination import shade
from training.data.lamps import Lighting
from training.data.scene import Part, Scene, SeenPixels, SurfaceTexture, Veil, interpolate

VEIL_NEARER_M = 0.002
"""What a veil may lie behind the surface and still be seen: lashes start in the crease where lids meet."""


@dataclass(frozen=True)
class Rendering:
    """A picture in linear light and its geometry.

    Attributes:
        colour: (H, W, 3) float32 linear, premultiplied with `alpha`; alpha: (H, W) float32.
        part: (H, W) int32, number of the part seen, -1 for none.
        triangle: (H, W) int32, row in that part's triangles.
        barycentric: (H, W, 3) float32.
        depth: (H, W) float32 metres along the camera's axis, 0 where there is nothing.
        normals: (H, W, 3) float32, camera axes, displacement included; 0 where there is nothing.
        skin_normals, skin_light: (N, 3) float32, model axes, and what a white matte surface there would send back.
    """

    colour: np.ndarray
    alpha: np.ndarray
    part: np.ndarray
    triangle: np.ndarray
    barycentric: np.ndarray
    depth: np.ndarray
    normals: np.ndarray
    skin_normals: np.ndarray
    skin_light: np.ndarray


def render(
    parts: Sequence[Part],
    camera: Camera,
    lighting: Lighting,
    texture: SurfaceTexture | None = None,
    veils: Sequence[Veil] = (),
    supersampling: float = 2.0,
) -> Rendering:
    """Draws parts as a camera sees them.

    Args:
        parts: the first one is the head; the same order numbers them in the result.
        camera: of the picture.
        lighting: model axes.
        texture: colours, gloss and displacement of the first part, instead of those of its vertices.
        veils: drawn over the rest.
        supersampling: side of the drawing over side of the picture; colours are averaged, geometry is picked.
    """
    height, width = (round(side * supersampling) for side in camera.image_size)
    scene = Scene(parts)
    seen = _in_camera(scene.vertices, camera)
    kept = scene.facing(seen)
    fine = camera.resized(width, height)
    found, nearest, barycentric = draw(*_on_screen(seen, fine), scene.triangles[kept], height, width, True)
    face = found.reshape(-1)
    pixel = np.flatnonzero(face >= 0)
    depth = nearest.reshape(-1)[pixel]
    pixels = SeenPixels(
        kept[face[pixel]],
        barycentric.reshape(-1, 3)[pixel],
        float(camera.translation[2]) / fine.fx,
    )
    shaded = shade(scene, pixels, camera, lighting, texture)
    colour = np.zeros((height * width, 4), np.float32)
    colour[pixel, :3], colour[pixel, 3] = shaded.colour, 1.0
    colour = colour.reshape(height, width, 4)
    for veil in veils:
        _lay_over(colour, nearest, veil, fine)
    if (height, width) != camera.image_size:
        colour = cv2.resize(colour, camera.image_size[::-1], interpolation=cv2.INTER_AREA)

    # Geometry is that of the one fine pixel in whose reach the middle of the picture's pixel lies.
    number = np.full(height * width, -1, np.int64)
    number[pixel] = np.arange(len(pixel))
    rows, columns = (((np.arange(side) + 0.5) * supersampling).astype(int) for side in camera.image_size)
    number = number.reshape(height, width)[rows[:, None], columns]
    part = scene.part[pixels.triangle]
    own_row = (pixels.triangle - scene.first[part]).astype(np.int32)
    normals = shaded.normals

    def picked(values: np.ndarray, nothing: float) -> np.ndarray:
        found = values[number.clip(min=0)]
        found[number < 0] = nothing
        return found

    return Rendering(
        colour=colour[..., :3],
        alpha=colour[..., 3],
        part=picked(part, -1),
        triangle=picked(own_row, 0),
        barycentric=picked(pixels.weight, 0),
        depth=picked(depth, 0),
        normals=picked(normals, 0) @ camera.rotation.T.astype(np.float32),
        skin_normals=normals[shaded.skin][::7],
        skin_light=shaded.light[shaded.skin][::7],
    )


def _in_camera(vertices: np.ndarray, camera: Camera) -> np.ndarray:
    return vertices @ camera.rotation.T.astype(np.float32) + camera.translation.astype(np.float32)


def _on_screen(seen: np.ndarray, camera: Camera) -> tuple[np.ndarray, np.ndarray]:
    """(V, 2) pixels and (V,) depth of points (V, 3) in camera coordinates."""
    depth = np.ascontiguousarray(seen[:, 2])
    lens = np.array([camera.fx, camera.fy], np.float32), np.array([camera.cx, camera.cy], np.float32)
    return seen[:, :2] / np.maximum(depth, NEAREST_M)[:, None] * lens[0] + lens[1], depth


def _lay_over(colour: np.ndarray, depth: np.ndarray, veil: Veil, camera: Camera) -> None:
    """Blends a veil into colour (H, W, 4) where it lies in front of depth (H, W), inf where there is nothing."""
    screen, veil_depth = _on_screen(_in_camera(veil.vertices, camera), camera)
    found, veil_depth, barycentric = draw(screen, veil_depth, veil.triangles, *depth.shape, True)
    row, column = np.nonzero((veil_depth <= depth + VEIL_NEARER_M) & (found >= 0))
    corners = veil.triangles[found[row, column]]
    values = np.stack([veil.coverage, veil.strand], axis=1)
    at = interpolate(values, corners, barycentric[row, column])
    hidden = np.clip(at[:, 0] * (1.0 + 0.5 * np.cos(2 * np.pi * at[:, 1])), 0.0, 1.0)[:, None]
    over = np.append(veil.colour, 1.0).astype(np.float32)
    colour[row, column] = colour[row, column] * (1.0 - hidden) + over * hidden
