"""Light on what the renderer found: sky, lamps with soft shadow, the gloss of skin and of wet eyes.

Light of low frequency is dimmed by how open a place is; the strongest lamp has a shadow map; light wraps round skin,
its red farthest past the terminator; gloss is Blinn-Phong with Schlick's rise towards grazing angles.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from backend.face_models.morphable_model import MorphableModel
from backend.rendering.camera import Camera
from training.data.depth_buffer import draw, lit_share
from training.data.lamps import Lamp, Lighting
from training.data.pixel_shading import gather, relief_slope, shade_pixels
from training.data.scene import Part, Scene, SeenPixels, SurfaceTexture, sample

SHADOW_MAP_SIDE = 160
SHADOW_BIAS_M = np.float32(0.0022)
SHADOW_BLUR_PIXELS = 1.6
LAMP_BLUR_M = 0.04
"""Radius of a shadow's blur, for the map's sake and for each radian of the lamp's width."""
SHADOW_REACH_M = 0.17
"""What is farther than this from the middle of the face, sideways, throws no shadow on it."""
SKIN_WRAP = np.array([0.28, 0.12, 0.07], np.float32)
"""How far light reaches past the terminator of skin, as the cosine where it ends: most in red."""
SHADOW_OFFSET_M = np.float32(0.002)
REFLECTANCE = np.float32(0.04)
WET_GLOSS = 0.93
"""From this gloss on a surface is wet: eyes."""
WET_EXPONENT = np.float32(350.0)
WINDOW = np.array([-0.35, -0.55, -0.76])
"""Towards what wet eyes mirror, camera axes: a light above and behind the camera."""
TEXELS_PER_METRE = 1900.0
"""Of the open head's UV layout over the face, for a texture of 512."""
CAVITY_BLUR_TEXELS = 2.5
CAVITY_M = 0.0011
"""A hollow this deep, on the scale of the blur, loses all light from everywhere."""
STEEPEST = np.float32(1.2)


@dataclass(frozen=True)
class Shaded:
    """What N pixels show.

    Attributes:
        colour: (N, 3) linear; normals: (N, 3) unit, model axes; light: (N, 3), what a white matte surface sends back.
        skin: (N,) bool, of the head.
    """

    colour: np.ndarray
    normals: np.ndarray
    light: np.ndarray
    skin: np.ndarray


def shade(
    scene: Scene, pixels: SeenPixels, camera: Camera, lighting: Lighting, texture: SurfaceTexture | None
) -> Shaded:
    """The colours of the pixels.

    Args:
        scene: what is drawn.
        pixels: which triangles are seen.
        camera: where from.
        lighting: model axes.
        texture: of the first part.
    """
    at = gather(scene.attributes, scene.triangles, pixels.triangle, pixels.weight)
    place, normals, albedo, gloss, openness = at[:, :3], _unit(at[:, 3:6]), at[:, 6:9], at[:, 9], at[:, 10]
    skin = scene.skin[pixels.triangle]
    on_head = scene.part[pixels.triangle] == 0
    eye = camera.position.astype(np.float32)
    if texture is not None:
        head = np.flatnonzero(on_head)
        albedo[head], gloss[head], slope, cavity = _textured(scene, pixels, head, texture)
        normals[head] = _unit(normals[head] - slope)
        openness[head] = np.clip(openness[head] * cavity, 0.0, 1.0)
    inside_out = ~scene.closed[pixels.triangle] & (np.einsum("ij,ij->i", normals, eye - place) < 0)
    normals[inside_out] *= -1.0
    wet = gloss > WET_GLOSS
    lamps = lighting.lamps
    colour, light = shade_pixels(
        place,
        normals,
        albedo,
        gloss,
        openness,
        wet,
        skin & ~wet,
        shadow(scene, place + SHADOW_OFFSET_M * normals, lamps[0]),
        eye,
        lighting.sky,
        np.stack([lamp.direction for lamp in lamps]),
        np.stack([lamp.colour for lamp in lamps]),
        np.array([8.0 / lamp.width**2 for lamp in lamps], np.float32),
        SKIN_WRAP,
        REFLECTANCE,
        WET_EXPONENT,
        (camera.rotation.T @ WINDOW).astype(np.float32),
    )
    return Shaded(colour, normals, light, on_head & skin & ~wet)


def _textured(
    scene: Scene, pixels: SeenPixels, head: np.ndarray, texture: SurfaceTexture
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Of pixels that see the head: albedo (N, 3), gloss (N,), slope (N, 3) of the relief, openness of hollows (N,)."""
    triangle, weight = pixels.triangle[head], pixels.weight[head]
    # A texture about as fine as the drawing: finer ones flicker from pixel to pixel.
    finest = TEXELS_PER_METRE * len(texture.layers[0]) / 512 * pixels.metres
    layer = texture.layers[int(np.clip(np.floor(np.log2(max(finest, 1e-3)) + 0.3), 0, len(texture.layers) - 1))]
    side, relief = len(layer), texture.displacement
    if side != len(relief):
        relief = cv2.resize(relief, (side, side), interpolation=cv2.INTER_AREA)
    raised = np.empty((side, side, 3), np.float32)
    raised[..., 0] = cv2.Sobel(relief, cv2.CV_32F, 1, 0, ksize=3, scale=side / 8)
    raised[..., 1] = cv2.Sobel(relief, cv2.CV_32F, 0, 1, ksize=3, scale=-side / 8)  # v points up
    raised[..., 2] = cv2.GaussianBlur(relief, (0, 0), CAVITY_BLUR_TEXELS * side / 512) - relief
    uv = gather(texture.uv, texture.triangle_uv, triangle, weight)
    spot = uv * np.array([side, -side], np.float32) + np.array([-0.5, side - 0.5], np.float32)
    colour, raised = sample(layer, spot), sample(raised, spot)
    mesh = scene.vertices, scene.triangles, texture.uv, texture.triangle_uv
    slope = relief_slope(*mesh, triangle, raised[:, 0], raised[:, 1], STEEPEST)
    cavity = np.clip(1.0 - raised[:, 2] / CAVITY_M, 0.25, 1.15)
    return colour[:, :3], colour[:, 3], slope, cavity


def shadow(scene: Scene, place: np.ndarray, lamp: Lamp) -> np.ndarray:
    """(N,) how much of a lamp reaches the points (N, 3): 1 all, 0 none, by a filtered depth map seen from the lamp."""
    forward = -lamp.direction
    aside = np.cross(forward, [0.0, 1.0, 0.0] if abs(forward[1]) < 0.9 else [1.0, 0.0, 0.0])
    aside /= np.linalg.norm(aside)
    axes = np.stack([aside, np.cross(forward, aside), forward]).astype(np.float32)
    seen = scene.vertices @ axes.T
    scale = (SHADOW_MAP_SIDE / 2 - 1) / SHADOW_REACH_M
    screen = seen[:, :2] * scale + SHADOW_MAP_SIDE / 2
    casting = scene.triangles[scene.facing(seen, parallel=True)]
    _, nearest, _ = draw(screen, seen[:, 2].copy(), casting, SHADOW_MAP_SIDE, SHADOW_MAP_SIDE, False)
    nearest = np.minimum(nearest, np.float32(9.0))
    own = place @ axes.T
    column, row, depth = own.T * np.array([[scale], [scale], [1.0]], np.float32)
    middle = np.float32(SHADOW_MAP_SIDE / 2 - 0.5)
    reach = np.float32(SHADOW_BLUR_PIXELS + lamp.width * LAMP_BLUR_M * scale)
    return lit_share(nearest, column + middle, row + middle, depth, reach, SHADOW_BIAS_M)


def openness_of(model: MorphableModel, directions: int = 48) -> np.ndarray:
    """How much of the light from everywhere reaches each vertex of the mean head.

    Args:
        model: the head.
        directions: lamps spread over the sphere; a vertex counts those it sees, by the cosine of their angle.

    Returns:
        (V,) float32 in [0, 1].
    """
    vertices, triangles = model.mean.astype(np.float32), model.topology.triangles
    nothing = np.zeros((len(vertices), 3), np.float32)
    scene = Scene([Part(vertices, triangles, nothing, nothing[:, 0], nothing[:, 0], closed=True, skin=True)])
    number = np.arange(directions) + 0.5
    polar, azimuth = np.arccos(1 - 2 * number / directions), np.pi * (1 + 5**0.5) * number
    spread = np.stack([np.cos(azimuth) * np.sin(polar), np.sin(azimuth) * np.sin(polar), np.cos(polar)], axis=1)
    reached, possible = np.zeros(len(vertices)), np.full(len(vertices), 1e-6)
    for direction in spread.astype(np.float32):
        cosine = np.maximum(scene.normals @ direction, 0.0)
        reached += cosine * shadow(scene, vertices + 0.003 * scene.normals, Lamp(direction, np.ones(3), 0.05))
        possible += cosine
    return (reached / possible).astype(np.float32)


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.sqrt(np.einsum("ij,ij->i", vectors, vectors)), 1e-9)[:, None]
