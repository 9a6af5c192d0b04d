"""What is wrong with skin detail: Yang et al., "Detailed 3D Face Reconstruction from Single Images Via Self-supervised
Attribute Learning", SIGGRAPH Asia 2020 Posters, section 2.5."""

import torch
from torch import Tensor

MILLIMETRES = 1000.0
SMOOTHED_MM = 0.005
"""Steps smaller than this count by their square: else flat skin would be a trap that no small detail gets out of."""


def masked_pixel_loss(rendered: Tensor, photograph: Tensor, mask: Tensor) -> Tensor:
    """Mean absolute difference within a mask (section 2.5.1; the norm is not published).

    Args:
        rendered, photograph: (B, 3, H, W) sRGB in [0, 1].
        mask: (B, H, W) in [0, 1].
    """
    away = (rendered - photograph).abs().mean(dim=1)
    return (away * mask).sum() / mask.sum().clamp(min=1.0)


def detail_regularisation(displacement: Tensor) -> Tensor:
    """Mean distance of the refined points from the coarse ones, millimetres (equation 2).

    The refined points lie `displacement` along the coarse normals, so that their distance is its absolute value. N
    counts texels, at which the detail has its points.

    Args:
        displacement: (..., H, W) metres.
    """
    return MILLIMETRES * displacement.abs().mean()


def roughness(displacement: Tensor, trust: Tensor) -> Tensor:
    """Mean step between neighbouring texels, millimetres: total variation (not in the poster, weight 0 there).

    Where the photograph shows nothing it counts twice.

    Args:
        displacement: (B, H, W) metres; trust: (B, H, W) in [0, 1].
    """
    weight = 2.0 - trust

    def length(step: Tensor) -> Tensor:
        return ((MILLIMETRES * step).square() + SMOOTHED_MM**2).sqrt() - SMOOTHED_MM

    across = (length(displacement.diff(dim=-1)) * weight[..., 1:]).mean()
    along = (length(displacement.diff(dim=-2)) * weight[..., 1:, :]).mean()
    return across + along


def annealed(progress: float, until: float, shape: str) -> float:
    """The share of the detail regularisation's coefficient that is left (section 2.5.4: "gradually reduced").

    Args:
        progress: of the run, 0 to 1.
        until: when nothing (linear) or a thousandth (exponential) of it is left; 0: there never is any.
        shape: "linear", "exponential", or "constant" for all of it all the time.
    """
    if shape == "constant":
        return 1.0
    if until <= 0:
        return 0.0
    share = progress / until
    return max(1.0 - share, 0.0) if shape == "linear" else float(torch.tensor(10.0) ** (-3.0 * share))
