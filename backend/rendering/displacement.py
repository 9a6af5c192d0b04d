"""Normals of a surface that a displacement map raises, over a grid of texels."""

from __future__ import annotations

import torch
from torch import Tensor

THINNEST = 1e-20
"""Square metres: a texel with less has no slope."""


def displaced_normals(points: Tensor, normals: Tensor, displacement: Tensor, covered: Tensor) -> Tensor:
    """Unit normals of points + displacement * normals.

    The given normal less the gradient of the displacement along the surface (Blinn, "Simulation of Wrinkled Surfaces",
    SIGGRAPH 1978; exact where the displacement is small against the radius of the surface's curvature). The detail
    stage of DECA takes normals from the raised points themselves, which shows the flat faces of a coarse mesh.

    Differences are taken between neighbouring texels, central where both neighbours are covered and one-sided at the
    border of a chart.

    Args:
        points: (B, H, W, 3) float, the surface under each texel, metres.
        normals: (B, H, W, 3) float, its unit normals.
        displacement: (B, H, W) float, metres along the normal.
        covered: (B, H, W) or (H, W) bool, texels that lie on the surface. Charts that are not neighbours on the surface
            should be a texel apart in the grid.

    Returns:
        (B, H, W, 3) float; the given normal where a texel has no covered neighbour across or along, zero where not
        covered. Differentiable.
    """
    covered = covered.expand(displacement.shape)
    both = torch.cat([points, displacement.unsqueeze(-1)], dim=-1)
    across, has_across = _tangent(both, covered, dim=2)
    along, has_along = _tangent(both, covered, dim=1)
    side, up = torch.linalg.cross(along[..., :3], normals), torch.linalg.cross(normals, across[..., :3])
    area = (across[..., :3] * side).sum(dim=-1, keepdim=True)
    known = (has_across & has_along).unsqueeze(-1) & (area.abs() > THINNEST)
    rise = across[..., 3:] * side + along[..., 3:] * up
    slope = torch.where(known, rise, torch.zeros_like(rise)) / torch.where(known, area, torch.ones_like(area))
    # Normalising a zero would make its gradient infinite.
    normal = torch.nn.functional.normalize(normals - slope, dim=-1, eps=1e-20)
    return torch.where(covered.unsqueeze(-1), normal, torch.zeros_like(normal))


def _tangent(points: Tensor, covered: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """Sum of the differences (B, H, W, C) to the covered neighbours along `dim`, and where there is one (B, H, W)."""
    size = points.shape[dim]
    both = covered.narrow(dim, 0, size - 1) & covered.narrow(dim, 1, size - 1)
    step = points.narrow(dim, 1, size - 1) - points.narrow(dim, 0, size - 1)
    step = torch.where(both.unsqueeze(-1), step, torch.zeros_like(step))
    none = torch.zeros_like(points.narrow(dim, 0, 1))
    total = torch.cat([step, none], dim=dim) + torch.cat([none, step], dim=dim)
    never = torch.zeros_like(covered.narrow(dim, 0, 1))
    return total, torch.cat([both, never], dim=dim) | torch.cat([never, both], dim=dim)
