"""Lashes and the dark line they grow from, drawn as strokes into a finished picture."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from backend.lid_rig import EyeRig
from backend.rendering.camera import Camera

FINE = 4
"""Strokes are drawn so many times larger, then reduced."""
SHIFT_BITS = 4
"""OpenCV draws to fractions of a pixel of 2 to the minus this."""


@dataclass(frozen=True)
class LashStyle:
    """How one person's lashes look.

    Attributes:
        colour: (3,) linear. line_mm: thickness of the lash line of the upper lid; line_opacity: 0..1.
        count: lashes of one upper lid; length_mm; opacity: 0..1; curl: radians that they lean outwards at the ends.
    """

    colour: np.ndarray
    line_mm: float
    line_opacity: float
    count: int
    length_mm: float
    opacity: float
    curl: float

    @classmethod
    def random(cls, generator: np.random.Generator) -> LashStyle:
        """From fair and hardly seen to made up and black."""
        made_up = generator.random() < 0.3
        colour = generator.uniform(0.004, 0.02) if made_up else generator.uniform(0.006, 0.12)
        return cls(
            colour=colour * np.array([1.0, generator.uniform(0.7, 1.0), generator.uniform(0.5, 1.0)]),
            line_mm=generator.uniform(0.6, 1.7) if made_up else generator.uniform(0.35, 1.2),
            line_opacity=generator.uniform(0.6, 1.0) if made_up else generator.uniform(0.25, 0.95),
            count=int(generator.integers(22, 46)),
            length_mm=generator.uniform(5, 10) if made_up else generator.uniform(2.5, 7),
            opacity=generator.uniform(0.5, 0.95) if made_up else generator.uniform(0.05, 0.7),
            curl=generator.uniform(0.4, 1.0),
        )


def draw_lashes(
    picture: np.ndarray,
    posed: np.ndarray,
    eye: EyeRig,
    camera: Camera,
    closure: float,
    style: LashStyle,
    generator: np.random.Generator,
) -> np.ndarray:
    """The picture with the lashes of one eye's upper lid.

    Lashes of an open eye point forwards and up, those of a shut one down, over the skin below.

    Args:
        picture: (H, W, 3) float32 linear.
        posed: (V, 3) metres, model space.
        eye: the lid's vertices.
        camera: of the picture.
        closure: 0 open, 1 shut.
        style: how they look.

    Returns:
        A new array; where the eye looks away from the camera the same as before.
    """
    margin = posed[eye.upper].astype(np.float64)
    normal_view = camera.position - margin.mean(axis=0)
    if normal_view[2] <= 0.15 * np.linalg.norm(normal_view):
        return picture
    line = camera.project(margin)
    left, top = np.floor(line.min(axis=0) - 24).astype(int)
    right, bottom = np.ceil(line.max(axis=0) + 24).astype(int)
    left, top = max(left, 0), max(top, 0)
    right, bottom = min(right, picture.shape[1]), min(bottom, picture.shape[0])
    if right - left < 4 or bottom - top < 4:
        return picture
    scale = camera.fx / float(camera.to_camera(margin.mean(axis=0))[2])  # pixels per metre
    cover = np.zeros(((bottom - top) * FINE, (right - left) * FINE), np.float32)

    def stroke(points, millimetres, opacity):
        width = max(millimetres / 1000 * scale * FINE, 0.25)
        layer = np.zeros_like(cover)
        fixed = np.round(((np.asarray(points) - [left, top]) * FINE - 0.5) * 2**SHIFT_BITS).astype(np.int32)
        thickness = max(int(round(width)), 1)
        cv2.polylines(layer, [fixed.reshape(-1, 1, 2)], False, min(width, 1.0) * opacity, thickness, cv2.LINE_8,
                      SHIFT_BITS)  # fmt: skip
        np.maximum(cover, layer, out=cover)

    stroke(line, style.line_mm, style.line_opacity)
    for share in np.sort(generator.uniform(0.06, 0.98, style.count)):
        root = _along(margin, share)
        length = style.length_mm / 1000 * generator.uniform(0.6, 1.0) * (0.55 + 0.45 * np.sin(np.pi * share))
        lean = (share - 0.45) * style.curl * np.sign(margin[-1, 0] - margin[0, 0])
        down = -0.75 * closure + 0.55 * (1 - closure) + generator.normal(0, 0.08)
        direction = np.array([lean + generator.normal(0, 0.08), down, 0.75])
        direction /= np.linalg.norm(direction)
        bend = np.array([0.0, 0.35 * length, 0.0])  # tips curl up
        points = [root + t * length * direction + t * t * bend for t in (0.0, 0.5, 1.0)]
        stroke(camera.project(np.array(points)), 0.12, style.opacity)
    cover = cv2.resize(cover, (right - left, bottom - top), interpolation=cv2.INTER_AREA)[..., None]
    result = picture.copy()
    part = result[top:bottom, left:right]
    part += cover * (style.colour.astype(np.float32) - part)
    return result


def _along(points: np.ndarray, share: float) -> np.ndarray:
    place = share * (len(points) - 1)
    low = min(int(place), len(points) - 2)
    return points[low] + (place - low) * (points[low + 1] - points[low])
