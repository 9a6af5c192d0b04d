"""Normals of a surface that a displacement map raises, over a grid of texels."""

from __future__ import annotations

import torch
from torch import Tensor


def displaced_normals(points: Tensor, normals: Tensor, displacement: Tensor, covered: Tensor) -> Tensor:
    """Unit normals of points + displacement * normals.

    Tangents are differences between neighbouring texels of the raised surface, central where both neighbours are
    covered and one-sided at the border of a chart, as in the detail stage of Feng et al., "Learning an Animatable
    Detailed 3D Face Model from In-The-Wild Images" (DECA), SIGGRAPH 2021.

    Args:
        points: (B, H, W, 3) float, the surface under each texel, metres.
        normals: (B, H, W, 3) float, its unit normals.
        displacement: (B, H, W) float, metres along the normal.
        covered: (B, H, W) or (H, W) bool, texels that lie on the surface. Charts that are not neighbours on the surface
            should be a texel apart in the grid.

    Returns:
        (B, H, W, 3) float, on the side of `normals`; the given normal where a texel has no covered neighbour across or
        along, zero where not covered. Differentiable.
    """
    covered = covered.expand(displacement.shape)
    raised = points + displacement.unsqueeze(-1) * normals
    across, has_across = _tangent(raised, covered, dim=2)
    along, has_along = _tangent(raised, covered, dim=1)
    raw = torch.linalg.cross(across, along)
    side = torch.sign((raw * normals).sum(dim=-1, keepdim=True))
    known = (has_across & has_along).unsqueeze(-1) & (side != 0)
    # Normalising a zero would make its gradient infinite.
    normal = torch.nn.functional.normalize(torch.where(known, raw * side, normals), dim=-1, eps=1e-20)
    return torch.where(covered.unsqueeze(-1), normal, torch.zeros_like(normal))


def _tangent(points: Tensor, covered: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """Sum of the differences (B, H, W, 3) to the covered neighbours along `dim`, and where there is one (B, H, W)."""
    size = points.shape[dim]
    both = covered.narrow(dim, 0, size - 1) & covered.narrow(dim, 1, size - 1)
    step = points.narrow(dim, 1, size - 1) - points.narrow(dim, 0, size - 1)
    step = torch.where(both.unsqueeze(-1), step, torch.zeros_like(step))
    none = torch.zeros_like(points.narrow(dim, 0, 1))
    total = torch.cat([step, none], dim=dim) + torch.cat([none, step], dim=dim)
    never = torch.zeros_like(covered.narrow(dim, 0, 1))
    return total, torch.cat([both, never], dim=dim) | torch.cat([never, both], dim=dim)
