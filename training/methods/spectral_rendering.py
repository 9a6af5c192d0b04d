"""Posed, coloured heads as a weak-perspective camera sees them, with gradients: DECA's picture of a face."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from backend.methods.spectral_network import weakly_projected
from backend.rendering.interpolation import barycentric_interpolate
from backend.rendering.rasterizer import Fragments, rasterize_screen
from backend.rendering.shading import harmonic_basis, linear_to_srgb, vertex_normals

DARKEST = 1e-4
"""Linear light below which the sRGB curve is not followed."""


@dataclass(frozen=True)
class SeenFaces:
    """What of B heads is seen in pictures of S x S pixels, before it is coloured.

    Attributes:
        faces: (F, 3) int64; fragments: of these faces.
        normals: (B, V, 3), viewer axes.
    """

    faces: Tensor
    fragments: Fragments
    normals: Tensor

    @property
    def covered(self) -> Tensor:
        """(B, S, S) bool."""
        return self.fragments.covered

    def coloured(self, albedo: Tensor, light: Tensor) -> Tensor:
        """(B, 3, S, S) sRGB in [0, 1], 0 where there is no face, of albedos (B, V, 3) linear and lights (B, 9, 3)."""
        shade = (harmonic_basis(self.normals) @ light).clamp(min=0.0)
        linear = barycentric_interpolate(albedo * shade, self.faces, self.fragments)
        return linear_to_srgb(linear.clamp(DARKEST, 1.0)) * self.covered.unsqueeze(1)


def seen_faces(posed: Tensor, camera: Tensor, faces: Tensor, size: int) -> SeenFaces:
    """Heads as cameras see them.

    Args:
        posed: (B, V, 3) metres, viewer axes (x right, y up, z out of the picture).
        camera: (B, 3), see `weakly_projected`.
        faces: (F, 3) int64, what is drawn.
        size: S, side of the pictures, pixels.
    """
    screen = (weakly_projected(posed, camera) + 1) * (size / 2)
    fragments = rasterize_screen(screen, -posed[..., 2], faces, (size, size), perspective=False)
    return SeenFaces(faces, fragments, torch.nn.functional.normalize(vertex_normals(posed, faces), dim=-1, eps=1e-12))
