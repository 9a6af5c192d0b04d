"""Plain grey pictures of heads, for runs that learn geometry alone."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from backend.networks.mesh_autoencoder import MeshAutoencoder
from backend.rendering.interpolation import barycentric_interpolate
from backend.rendering.rasterizer import rasterize
from backend.rendering.shading import linear_to_srgb, vertex_normals

SIDE = 256
DISTANCE, FIELD = 1.1, 0.36
"""Metres from the camera to the head, and the width of what it sees there."""
YAW_DEGREES = 25.0
LAMPS = (((-0.5, 0.5, 0.7), 0.50), ((0.8, 0.1, 0.5), 0.20))
"""Direction to a lamp as the camera sees the head (x right, y up, z towards it), and its strength."""
AMBIENT = 0.06


def shaded_heads(
    vertices: Tensor, faces: Tensor, size: int = SIDE, yaw: float = YAW_DEGREES, colours: Tensor | None = None
) -> np.ndarray:
    """Heads in half profile, grey on white.

    Args:
        vertices: (N, V, 3) metres in model space.
        faces: (F, 3) int64.
        size: side of a picture, pixels.
        yaw: degrees by which the head is turned.
        colours: (N, V, 3) linear, shown as they are instead of grey; None shades.

    Returns:
        (N, size, size, 3) uint8.
    """
    with torch.no_grad(), torch.autocast(vertices.device.type, enabled=False):
        vertices = vertices.float()
        middle = (vertices.amax(dim=1, keepdim=True) + vertices.amin(dim=1, keepdim=True)) / 2
        cosine, sine = math.cos(math.radians(yaw)), math.sin(math.radians(yaw))
        turn = vertices.new_tensor([[cosine, 0.0, sine], [0.0, 1.0, 0.0], [-sine, 0.0, cosine]])
        turned = (vertices - middle) @ turn.T
        seen = turned * vertices.new_tensor([1.0, -1.0, -1.0]) + vertices.new_tensor([0.0, 0.0, DISTANCE])
        focal = 2 * size * DISTANCE / FIELD  # twice as fine, for smooth edges
        fragments = rasterize(seen, faces, seen.new_tensor([focal, focal, size, size]), (2 * size, 2 * size))
        if colours is None:
            normals = vertex_normals(turned, faces)
            shade = torch.full_like(normals[..., :1], AMBIENT)
            for direction, strength in LAMPS:
                towards = torch.nn.functional.normalize(normals.new_tensor(direction), dim=0)
                shade = shade + strength * (normals @ towards).clamp(min=0).unsqueeze(-1)
            colours = shade.expand(-1, -1, 3)
        image = linear_to_srgb(barycentric_interpolate(colours, faces, fragments).clamp(1e-4, 1))
        image = torch.where(fragments.covered.unsqueeze(1), image, torch.ones_like(image))
        image = torch.nn.functional.avg_pool2d(image, 2)
        return (255 * image).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()


def side_by_side(images: np.ndarray) -> np.ndarray:
    """(N, H, W, 3) to (H, N W, 3)."""
    return np.hstack(list(images))


def interpolation(network: MeshAutoencoder, first: Tensor, second: Tensor, steps: int = 7) -> Tensor:
    """(steps, V, 3) metres: heads whose codes lie on the line between those of two heads (V, 3), both included."""
    with torch.no_grad():
        codes = network.encode(torch.stack([first, second]))
        share = torch.linspace(0, 1, steps, device=codes.device)[:, None]
        return network.decode((1 - share) * codes[0] + share * codes[1])
