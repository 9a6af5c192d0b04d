"""Normals, light and the finished picture of a head."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .camera import Camera
from .interpolation import barycentric_interpolate, sample_texture
from .rasterizer import Fragments, rasterize

HARMONIC_CONSTANTS = (
    0.5 / math.sqrt(math.pi),
    0.5 * math.sqrt(3.0 / math.pi),
    0.5 * math.sqrt(15.0 / math.pi),
    0.25 * math.sqrt(5.0 / math.pi),
    0.25 * math.sqrt(15.0 / math.pi),
)


def srgb_to_linear(colour: Tensor) -> Tensor:
    """sRGB in [0, 1] to linear light in [0, 1], any shape (IEC 61966-2-1)."""
    return torch.where(colour <= 0.04045, colour / 12.92, ((colour.clamp(min=0.04045) + 0.055) / 1.055) ** 2.4)


def linear_to_srgb(colour: Tensor) -> Tensor:
    """Linear light in [0, 1] to sRGB in [0, 1], any shape (IEC 61966-2-1)."""
    return torch.where(colour <= 0.0031308, colour * 12.92, 1.055 * colour.clamp(min=0.0031308) ** (1.0 / 2.4) - 0.055)


def face_normals(vertices: Tensor, faces: Tensor) -> Tensor:
    """Normals whose length is twice the triangle's area. vertices (..., V, 3), faces (F, 3) -> (..., F, 3)."""
    a, b, c = (vertices.index_select(-2, faces[:, k]) for k in range(3))
    return torch.linalg.cross(b - a, c - a)


def vertex_normals(vertices: Tensor, faces: Tensor) -> Tensor:
    """Unit normals at the vertices, area-weighted means over their triangles.

    Args:
        vertices: (..., V, 3) float.
        faces: (F, 3) int64, counter-clockwise seen from outside.

    Returns:
        (..., V, 3) float; zero at vertices without a triangle. Differentiable.
    """
    faces = faces.to(vertices.device)
    flat = face_normals(vertices, faces)
    total = torch.zeros_like(vertices)
    for corner in range(3):
        total = total.index_add(-2, faces[:, corner], flat)
    return torch.nn.functional.normalize(total, dim=-1, eps=1e-20)


def harmonic_basis(normals: Tensor) -> Tensor:
    """The nine real spherical harmonics of order 0 to 2, the one basis of this project.

    Orthonormal on the sphere, in the order and with the signs of Ramamoorthi & Hanrahan, "An Efficient Representation
    for Irradiance Environment Maps" (2001), section 2: 1, y, z, x, xy, yz, 3z^2 - 1, xz, x^2 - y^2, with positive
    constants.

    Args:
        normals: (..., 3) float, unit length, model axes.

    Returns:
        (..., 9) float.
    """
    x, y, z = normals.unbind(dim=-1)
    c0, c1, c2, c3, c4 = HARMONIC_CONSTANTS
    return torch.stack(
        [
            torch.full_like(x, c0),
            c1 * y,
            c1 * z,
            c1 * x,
            c2 * x * y,
            c2 * y * z,
            c3 * (3.0 * z * z - 1.0),
            c2 * x * z,
            c4 * (x * x - y * y),
        ],
        dim=-1,
    )


@dataclass
class HarmonicLight:
    """Light as order-2 spherical harmonics of what a white matte surface sends back.

    A surface of albedo a (linear) and normal n shows a * sum_k coefficients[k] * basis_k(n): the cosine lobe's factors
    (pi, 2 pi/3, pi/4 over pi) are already in the coefficients.

    Attributes:
        coefficients: (9, 3) float, for red, green and blue, in the basis of `harmonic_basis`, model axes.
    """

    coefficients: Tensor

    def shade(self, normals: Tensor) -> Tensor:
        """(..., 3) unit normals to (..., 3) linear light, not below zero."""
        return (harmonic_basis(normals) @ self.coefficients.to(normals)).clamp(min=0.0)

    @classmethod
    def ambient(cls, level: float = 1.0) -> HarmonicLight:
        """The same light from everywhere: an albedo's own colour where `level` is 1."""
        coefficients = torch.zeros(9, 3)
        coefficients[0] = level / HARMONIC_CONSTANTS[0]
        return cls(coefficients)

    @classmethod
    def directional(
        cls, direction: tuple[float, float, float] = (0.3, 0.5, 1.0), strength: float = 0.8, ambient: float = 0.35
    ) -> HarmonicLight:
        """A distant lamp with a soft fill, to order 2.

        Args:
            direction: (3,) from the head towards the lamp, model axes.
            strength: light on a surface that faces the lamp.
            ambient: light from everywhere.
        """
        unit = torch.nn.functional.normalize(torch.tensor(direction, dtype=torch.float32), dim=0)
        lobe = torch.tensor([1.0] + [2.0 / 3.0] * 3 + [0.25] * 5)  # A_l / pi
        coefficients = harmonic_basis(unit) * lobe * math.pi * strength
        coefficients[0] += ambient / HARMONIC_CONSTANTS[0]
        return cls(coefficients.unsqueeze(1).repeat(1, 3))


@dataclass
class TextureMap:
    """An image and how it lies on the triangles.

    Attributes:
        image: (S, S, 3) uint8 sRGB, first row at v = 1.
        uv: (U, 2) float, v up.
        triangle_uv: (T, 3) int, rows of `uv`, one row for each triangle of the mesh.
    """

    image: np.ndarray
    uv: np.ndarray
    triangle_uv: np.ndarray


DEFAULT_COLOUR = (200, 170, 150)


def render_head(
    vertices: np.ndarray,
    triangles: np.ndarray,
    camera: Camera,
    colours: np.ndarray | tuple[int, int, int] = DEFAULT_COLOUR,
    texture: TextureMap | None = None,
    light: HarmonicLight | None = None,
    supersampling: int = 1,
    device: str | torch.device = "cpu",
) -> np.ndarray:
    """A picture of a head.

    Args:
        vertices: (V, 3) float, model space, metres.
        triangles: (T, 3) int, counter-clockwise seen from outside.
        camera: lens, image size and pose.
        colours: (V, 3) or (3,) uint8 sRGB albedo; not used with a texture.
        texture: albedo in UV space, in place of `colours`.
        light: model axes; without it `HarmonicLight.directional()`. `HarmonicLight.ambient()` shows bare albedo.
        supersampling: each pixel is the mean of this many squared (in linear light, edges blend into alpha).
        device: torch device.

    Returns:
        (H, W, 4) uint8 sRGB with straight (not premultiplied) alpha; 0 where there is no head.

    Raises:
        ValueError: `supersampling` is below 1.
    """
    if supersampling < 1:
        raise ValueError(f"Supersampling must be at least 1, not {supersampling}.")
    light = light or HarmonicLight.directional()
    with torch.no_grad():
        points = torch.as_tensor(np.ascontiguousarray(vertices), dtype=torch.float32, device=device)
        faces = torch.as_tensor(np.ascontiguousarray(triangles), dtype=torch.int64, device=device)
        fine = camera.resized(camera.width * supersampling, camera.height * supersampling)
        fragments = rasterize_with(fine, points, faces)
        hit = fragments.covered[0]
        normals = barycentric_interpolate(vertex_normals(points, faces)[None], faces, fragments)[0].permute(1, 2, 0)[
            hit
        ]
        albedo = _albedo(points, faces, fragments, colours, texture)
        shade = light.shade(torch.nn.functional.normalize(normals, dim=-1))
        picture = torch.zeros(*hit.shape, 4, device=device)
        picture[hit] = torch.cat([srgb_to_linear(albedo) * shade, torch.ones_like(shade[:, :1])], dim=-1)
        if supersampling > 1:
            picture = torch.nn.functional.avg_pool2d(picture.permute(2, 0, 1)[None], supersampling)[0].permute(1, 2, 0)
        colour, alpha = picture[..., :3], picture[..., 3:]
        colour = linear_to_srgb((colour / alpha.clamp(min=1e-6)).clamp(0.0, 1.0))
        return (torch.cat([colour, alpha], dim=-1) * 255.0 + 0.5).to(torch.uint8).cpu().numpy()


def rasterize_with(camera: Camera, vertices: Tensor, faces: Tensor) -> Fragments:
    """Rasterize (V, 3) or (B, V, 3) model-space vertices as a camera sees them."""
    rotation = torch.as_tensor(camera.rotation).to(vertices)
    translation = torch.as_tensor(camera.translation).to(vertices)
    seen = vertices @ rotation.T + translation
    intrinsics = torch.as_tensor(camera.intrinsics).to(vertices)
    return rasterize(seen if seen.ndim == 3 else seen[None], faces, intrinsics, camera.image_size)


def _albedo(
    points: Tensor, faces: Tensor, fragments: Fragments, colours: np.ndarray | tuple, texture: TextureMap | None
) -> Tensor:
    """(N, 3) sRGB in [0, 1] at the N covered pixels."""
    hit = fragments.covered[0]
    if texture is None:
        corner = torch.as_tensor(np.asarray(colours), device=points.device).to(torch.float32) / 255.0
        if corner.ndim == 1:
            return corner.expand(int(hit.sum()), 3)
        return barycentric_interpolate(corner[None], faces, fragments)[0].permute(1, 2, 0)[hit]
    uv = torch.as_tensor(np.ascontiguousarray(texture.uv), dtype=torch.float32, device=points.device)
    triangle_uv = torch.as_tensor(np.ascontiguousarray(texture.triangle_uv), dtype=torch.int64, device=points.device)
    place = barycentric_interpolate(uv[None], triangle_uv, fragments)[0].permute(1, 2, 0)[hit]
    image = torch.as_tensor(np.ascontiguousarray(texture.image), device=points.device).permute(2, 0, 1)
    return sample_texture(image.to(torch.float32) / 255.0, place)
