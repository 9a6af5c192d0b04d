"""A photograph laid out in the window of the texture that shows the face, and what a network is shown of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from backend.detail_layout import DetailLayout, unwrapped
from backend.rendering.camera import Camera

VIEWER_AXES = np.diag([1.0, -1.0, -1.0])
"""From the camera's axes (x right, y down, z forward) to the viewer's (x right, y up, z out of the picture)."""
CONTRAST = 2.0
FINE_CONTRAST, LARGEST_FINE = 15.0, 3.0
"""Wrinkles change the brightness by some hundredths."""
FINE_MM = 6.0
"""Side of the square whose mean brightness is taken from that of a texel."""
LEAST_TRUSTED = 1e-3


@dataclass(frozen=True)
class UnwrappedFace:
    """What one photograph shows of a face, texel by texel of a `DetailLayout`.

    Attributes:
        texture: (height, width, 3) uint8 sRGB, right where it is trusted.
        trust: (height, width) float32 in [0, 1], how far the photograph shows the skin there.
        posed, neutral: (V, 3) float32 metres, with the photograph's expression and without any.
        rotation: (3, 3) float32, model to viewer axes.
    """

    texture: np.ndarray
    trust: np.ndarray
    posed: np.ndarray
    neutral: np.ndarray
    rotation: np.ndarray


def texels(layout: DetailLayout, posed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points and normals (height, width, 3) of a posed head (V, 3), model axes, metres; see `DetailLayout.surface`."""
    points, normals = layout.surface(torch.as_tensor(posed, dtype=torch.float32)[None])
    return points[0].numpy(), normals[0].numpy()


def unwrap(
    layout: DetailLayout,
    points: np.ndarray,
    trust: np.ndarray,
    posed: np.ndarray,
    neutral: np.ndarray,
    camera: Camera,
    image: np.ndarray,
) -> UnwrappedFace:
    """A photograph in the layout.

    Args:
        layout: of the open head.
        points: (height, width, 3) metres, see `texels`.
        trust: (height, width) in [0, 1].
        posed, neutral: (V, 3) metres.
        camera: of the photograph.
        image: (H, W, 3) uint8 sRGB.
    """
    rotation = (VIEWER_AXES @ camera.rotation).astype(np.float32)
    allowed = layout.covered.numpy()
    return UnwrappedFace(
        unwrapped(image, camera, points),
        (trust * allowed).astype(np.float32),
        np.asarray(posed, np.float32),
        np.asarray(neutral, np.float32),
        rotation,
    )


def seen_by_network(
    layout: DetailLayout, texture: Tensor, trust: Tensor, normals: Tensor, expression: Tensor, rotation: Tensor
) -> dict[str, Tensor]:
    """What a network is shown of B faces, see `attribute_detail_network.SEEN`.

    Skin tones and exposures are taken out: the texture is the difference from the mean colour of what is trusted, and
    0 where nothing is.

    Args:
        layout: of the texels.
        texture: (B, 3, height, width) float sRGB in [0, 1].
        trust: (B, height, width) float in [0, 1].
        normals: (B, height, width, 3) unit, model axes.
        expression: (B, 3, height, width), see `DetailLayout.expression_map`.
        rotation: (B, 3, 3) model to viewer axes.
    """
    weight = trust.unsqueeze(1)
    total = weight.sum(dim=(2, 3), keepdim=True).clamp(min=LEAST_TRUSTED * layout.height * layout.width)
    mean = (texture * weight).sum(dim=(2, 3), keepdim=True) / total
    viewed = torch.einsum("bij,bhwj->bihw", rotation, normals)
    side = 2 * round(FINE_MM / layout.millimetres_per_texel / 2) + 1
    brightness = texture.mean(dim=1, keepdim=True)

    def around(values: Tensor) -> Tensor:
        return functional.avg_pool2d(values, side, stride=1, padding=side // 2)

    fine = brightness - around(brightness * weight) / around(weight).clamp(min=LEAST_TRUSTED)
    return {
        "texture": CONTRAST * (texture - mean) * weight,
        "fine": (FINE_CONTRAST * fine).clamp(-LARGEST_FINE, LARGEST_FINE) * weight,
        "trust": weight,
        "normals": viewed,
        "expression": expression,
    }
