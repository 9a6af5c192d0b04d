"""The coded face as a small picture, with gradients: what photo and perceptual losses compare with the photograph."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from backend.face_models.differentiable import DifferentiableModel
from backend.methods.eye_motion import FACING, CropCamera, DecodedCodes
from backend.rendering.interpolation import barycentric_interpolate
from backend.rendering.rasterizer import rasterize
from backend.rendering.shading import harmonic_basis, linear_to_srgb, vertex_normals

DARKEST = 1e-4
"""Linear light below which the sRGB curve is not followed."""


@dataclass(frozen=True)
class RenderedFaces:
    """Pictures of coded faces.

    Attributes:
        image: (B, 3, S, S) float sRGB in [0, 1]; 0 where there is no face.
        covered: (B, S, S) bool.
        albedo: (B, V, 3) linear, of the vertices.
    """

    image: Tensor
    covered: Tensor
    albedo: Tensor


class FaceRenderer(nn.Module):
    """Draws the skin of coded faces, each vertex lit and colours blended between.

    Args:
        model: of the codes.
        camera: of the crop.
    """

    def __init__(self, model: DifferentiableModel, camera: CropCamera):
        super().__init__()
        self.model, self.camera = model, camera
        self.register_buffer("faces", model.faces[model.face_skin], persistent=False)

    def forward(self, codes: DecodedCodes, size: int) -> RenderedFaces:
        """Faces of B codes in pictures of `size` pixels."""
        vertices = self.model.vertices(codes.identity, codes.expression)
        seen = vertices @ codes.rotation.transpose(1, 2) + codes.translation.unsqueeze(1)
        intrinsics = seen.new_tensor(self.camera.intrinsics) * (size / self.camera.size)
        fragments = rasterize(seen, self.faces, intrinsics, (size, size))
        normals = vertex_normals(vertices, self.faces) @ self.viewer_rotation(codes.rotation).transpose(1, 2)
        albedo = self.model.albedo(codes.albedo)
        shade = (harmonic_basis(normals) @ codes.light).clamp(min=0.0)
        linear = barycentric_interpolate(albedo * shade, self.faces, fragments)
        covered = fragments.covered
        image = linear_to_srgb(linear.clamp(DARKEST, 1.0)) * covered.unsqueeze(1)
        return RenderedFaces(image, covered, albedo)

    @staticmethod
    def viewer_rotation(rotation: Tensor) -> Tensor:
        """(B, 3, 3) from model to viewer axes (x right, y up, z out of the picture), of world-to-camera rotations."""
        return torch.tensor(FACING).to(rotation) @ rotation
