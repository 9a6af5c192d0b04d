"""The 3D-ID loss of the spectral method (section 3.2.1, equation 6): codes of heads that point the same way."""

import torch
from torch import Tensor

LEAST_NORM = 1e-2
"""Of a code: a shorter one is divided by this, so that the gradient stays bounded where a code has no direction."""


def structure_loss(first: Tensor, second: Tensor) -> Tensor:
    """1 - cosine of the angle between codes, each row for itself.

    The paper says "optimising the similarity" and leaves the formula out. A code of length 0 has no direction: its
    loss is 1, with a gradient towards the other code.

    Args:
        first, second: (B, N) float, see `MeshAutoencoder.encode`.

    Returns:
        (B,) float32 (float64 of such), from 0 to 2.
    """
    with torch.autocast(first.device.type, enabled=False):
        first, second = (code if code.dtype == torch.float64 else code.float() for code in (first, second))
        norms = _norm(first) * _norm(second)
        return 1 - (first * second).sum(dim=1) / norms


def _norm(code: Tensor) -> Tensor:
    # the root is taken of what is clamped: the root of 0 has no derivative
    return code.square().sum(dim=1).clamp(min=LEAST_NORM**2).sqrt()
