"""Distance of the 68 projected landmarks from those of the picture."""

import torch
from torch import Tensor

REFERENCE_SIZE = 224
"""Losses in pixels count pixels of a crop of this side, whatever the crop's own: so published weights stay right."""
EYES, MOUTH = slice(36, 48), slice(48, 68)
STRESSED = 1.5
"""Weight of eyes and mouth (Wang et al., ICASSP 2024, section 2.4); Deep3D has 20 on nose and inner mouth."""


def landmark_weights() -> Tensor:
    """(68,) float: 1, and 1.5 on eyes and mouth."""
    weights = torch.ones(68)
    weights[EYES] = weights[MOUTH] = STRESSED
    return weights


def landmark_loss(predicted: Tensor, wanted: Tensor, size: int) -> Tensor:
    """The weighted mean of squared distances (Deng et al. 2019, equation 3, as its code divides).

    Args:
        predicted, wanted: (B, 68, 2) float, pixels of a crop of `size` pixels.
        size: side of that crop.

    Returns:
        () float, squared pixels of a crop of 224.
    """
    squared = ((predicted - wanted) * (REFERENCE_SIZE / size)).square().sum(-1)
    return (squared * landmark_weights().to(squared)).mean()
