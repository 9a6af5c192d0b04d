"""Difference of the rendered face from the picture."""

from torch import Tensor

LEAST_SQUARE = 1e-6
"""Under the root, whose derivative is infinite at 0."""


def colour_distance(rendered: Tensor, image: Tensor) -> Tensor:
    """How far two pictures' colours are apart, pixel by pixel: (..., 3, H, W) sRGB in [0, 1] to (..., H, W)."""
    return ((rendered - image).square().sum(-3) + LEAST_SQUARE).sqrt()


def photo_loss(rendered: Tensor, image: Tensor, mask: Tensor) -> Tensor:
    """The mean colour distance over the masked pixels (Deng et al. 2019, equation 1; weight 1.8 in Eye Motion).

    Args:
        rendered, image: (B, 3, H, W) float sRGB in [0, 1].
        mask: (B, H, W) float in [0, 1]: attention on skin, 0 where nothing is rendered.

    Returns:
        () float: the sum of masked distances over the sum of the mask; 0 where the mask is empty.
    """
    return (colour_distance(rendered, image) * mask).sum() / mask.sum().clamp(min=1.0)
