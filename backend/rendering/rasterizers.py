"""Rasterizers by name: the project's own in plain torch, and pytorch3d's where that package is installed."""

from __future__ import annotations

import importlib.util
import math
from typing import Protocol

import torch
from torch import Tensor

from ..errors import LifemaskError
from .rasterizer import NEAR_METRES, Fragments, rasterize


class Rasterizer(Protocol):
    """What `rasterizer.rasterize` does, by whatever means. A render is the same but for rounding."""

    def __call__(
        self,
        vertices_camera: Tensor,
        faces: Tensor,
        intrinsics: Tensor,
        image_size: tuple[int, int],
        near: float = NEAR_METRES,
    ) -> Fragments: ...


class RasterizerError(LifemaskError):
    """No rasterizer of this name, or its package is missing."""


def rasterizer_named(name: str = "torch") -> Rasterizer:
    """The rasterizer "torch" (the default) or "pytorch3d".

    Raises:
        RasterizerError: "unknown-rasterizer" or "rasterizer-not-installed".
    """
    if name not in RASTERIZERS:
        raise RasterizerError(
            "unknown-rasterizer", f"There is no rasterizer called {name}. Choose one of: {', '.join(RASTERIZERS)}."
        )
    if name == "pytorch3d" and not pytorch3d_is_installed():
        raise RasterizerError(
            "rasterizer-not-installed",
            "The rasterizer pytorch3d was chosen, but the package pytorch3d is not installed in this environment. "
            "Install it, or choose the rasterizer torch, which shows the same.",
        )
    return RASTERIZERS[name]


def pytorch3d_is_installed() -> bool:
    return importlib.util.find_spec("pytorch3d") is not None


def rasterize_with_pytorch3d(
    vertices_camera: Tensor,
    faces: Tensor,
    intrinsics: Tensor,
    image_size: tuple[int, int],
    near: float = NEAR_METRES,
) -> Fragments:
    """`rasterizer.rasterize` through pytorch3d's rasterizer. Arguments, result and frames are those of `rasterize`."""
    from pytorch3d.renderer.mesh.rasterize_meshes import rasterize_meshes
    from pytorch3d.structures import Meshes

    faces = faces.to(device=vertices_camera.device, dtype=torch.int64)
    batch = len(vertices_camera)
    meshes = Meshes(ndc_from_camera(vertices_camera, intrinsics, image_size), faces.expand(batch, -1, -1))
    face, depth, barycentric, _ = rasterize_meshes(
        meshes,
        image_size=image_size,
        blur_radius=0.0,
        faces_per_pixel=1,
        perspective_correct=True,
        clip_barycentric_coords=False,
        cull_backfaces=False,
        z_clip_value=near,
    )
    face, depth, barycentric = face[..., 0], depth[..., 0], barycentric[..., 0, :]
    covered = face >= 0
    # pytorch3d numbers the faces of all images in one row.
    own = face - torch.arange(batch, device=face.device).view(-1, 1, 1) * len(faces)
    return Fragments(
        torch.where(covered, own, -1),
        torch.where(covered, depth, math.inf),
        torch.where(covered.unsqueeze(-1), barycentric, 0.0),
    )


def ndc_from_camera(vertices_camera: Tensor, intrinsics: Tensor, image_size: tuple[int, int]) -> Tensor:
    """pytorch3d's screen coordinates: x left, y up, [-1, 1] over the shorter side of the image, and camera z.

    Args:
        vertices_camera: (B, V, 3) float, OpenCV camera coordinates.
        intrinsics: (4,) or (B, 4) float: fx, fy, cx, cy in pixels.
        image_size: (height, width).

    Returns:
        (B, V, 3) float, differentiable.
    """
    height, width = image_size
    x, y, z = vertices_camera.unbind(dim=-1)
    fx, fy, cx, cy = intrinsics.to(vertices_camera).expand(len(vertices_camera), 4).unsqueeze(-1).unbind(1)
    divisor = torch.where(z == 0, torch.full_like(z, 1e-8), z)
    shorter = min(height, width)
    left = (width - 2 * (fx * x / divisor + cx)) / shorter
    up = (height - 2 * (fy * y / divisor + cy)) / shorter
    return torch.stack([left, up, z], dim=-1)


RASTERIZERS: dict[str, Rasterizer] = {"torch": rasterize, "pytorch3d": rasterize_with_pytorch3d}
