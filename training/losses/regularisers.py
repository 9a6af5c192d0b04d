"""What keeps codes near the mean face, light white and skin even (Deng et al. 2019, section 3.2)."""

import torch
from torch import Tensor

IDENTITY, EXPRESSION, ALBEDO = 1.0, 0.8, 0.017
"""Shares of the coefficients in their regulariser."""


def coefficient_loss(identity: Tensor, expression: Tensor, albedo: Tensor) -> Tensor:
    """The weighted sum of squared coefficients (B, I), (B, E), (B, A), mean over the batch: ()."""
    terms = ((IDENTITY, identity), (EXPRESSION, expression), (ALBEDO, albedo))
    return sum(share * codes.square().sum(1).mean() for share, codes in terms)


def light_loss(light: Tensor) -> Tensor:
    """How far the light (B, 9, 3) is from white: the mean square of what differs from the mean of the colours."""
    return (light - light.mean(dim=2, keepdim=True)).square().mean()


def reflectance_loss(albedo: Tensor, vertices: Tensor) -> Tensor:
    """How uneven the skin is: the variance of the albedo over skin vertices, sum over colours, mean over the batch.

    Args:
        albedo: (B, V, 3) float.
        vertices: (S,) int64, of the skin.
    """
    skin = torch.index_select(albedo, 1, vertices)
    return (skin - skin.mean(dim=1, keepdim=True)).square().sum(dim=2).mean()
