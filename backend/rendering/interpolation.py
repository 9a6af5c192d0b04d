"""From what the rasterizer found to values at pixels: vertex attributes, UV coordinates, texture look-ups."""

from __future__ import annotations

import torch
from torch import Tensor

from .rasterizer import Fragments


def barycentric_interpolate(attributes: Tensor, faces: Tensor, fragments: Fragments) -> Tensor:
    """Vertex attributes at every covered pixel.

    Args:
        attributes: (B, V, C) or (1, V, C) float, one row per vertex.
        faces: (F, 3) int64, rows of `attributes`; with a list of its own (say UV corners) any V will do.
        fragments: what the rasterizer found for B images of H x W pixels.

    Returns:
        (B, C, H, W) float; zero where no face covers the pixel. Gradients reach `attributes` and, through the
        barycentric coordinates, the vertices.
    """
    batch, height, width = fragments.face_index.shape
    attributes = attributes.expand(batch, -1, -1)
    count, channels = attributes.shape[1:]
    flat = fragments.face_index.reshape(-1)
    hit = (flat >= 0).nonzero().squeeze(1)
    image = torch.div(hit, height * width, rounding_mode="floor")
    row = (faces.to(hit)[flat[hit]] + (image * count).unsqueeze(1)).reshape(-1)
    corners = attributes.reshape(-1, channels).index_select(0, row).view(-1, 3, channels)
    weight = fragments.barycentric.reshape(-1, 3).index_select(0, hit)
    value = (corners * weight.unsqueeze(-1)).sum(dim=1)
    image = value.new_zeros(batch * height * width, channels).index_copy(0, hit, value)
    return image.view(batch, height, width, channels).permute(0, 3, 1, 2)


def sample_bilinear(image: Tensor, points: Tensor) -> Tensor:
    """Colours of an image, or of B images, between their pixels.

    Args:
        image: (C, H, W) or (B, C, H, W) float.
        points: (..., 2) or, for B images, (B, ..., 2) float, pixels: x, y from the top left corner, centres at half
            integers.

    Returns:
        (..., C) or (B, ..., C) float. Points outside take the colour of the nearest border pixel. Differentiable in
        both arguments.

    Raises:
        ValueError: the numbers of images and of sets of points differ.
    """
    height, width = image.shape[-2:]
    images = image if image.ndim == 4 else image[None]
    if image.ndim == 4 and len(points) != len(image):
        raise ValueError(f"Expected points for {len(image)} images, got {len(points)} sets.")
    scale = points.new_tensor([2.0 / width, 2.0 / height])
    grid = (points.reshape(len(images), 1, -1, 2) * scale - 1.0).to(image.dtype)
    sampled = torch.nn.functional.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return sampled[:, :, 0].transpose(1, 2).reshape(*points.shape[:-1], image.shape[-3])


def sample_texture(texture: Tensor, uv: Tensor) -> Tensor:
    """Colours of a texture, or of B textures, at UV coordinates.

    Args:
        texture: (C, H, W) or (B, C, H, W) float, first row at the top, where v = 1.
        uv: (..., 2) or (B, ..., 2) float in [0, 1], v up (as in OBJ files and Blender).

    Returns:
        (..., C) or (B, ..., C) float, bilinear, differentiable in both arguments.
    """
    height, width = texture.shape[-2:]
    return sample_bilinear(texture, torch.stack([uv[..., 0] * width, (1.0 - uv[..., 1]) * height], dim=-1))
