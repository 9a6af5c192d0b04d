"""Likeness of the rendered face to the photographed one, as a network for recognising people sees it."""

from torch import Tensor
from torch.nn import functional


def perceptual_loss(rendered: Tensor, wanted: Tensor) -> Tensor:
    """One minus the cosine of the two embeddings (Deng et al. 2019, equation 4; weight 0.17 in Eye Motion).

    Args:
        rendered, wanted: (B, E) float, of any length.

    Returns:
        () float, 0 to 2.
    """
    return (1 - functional.cosine_similarity(rendered, wanted, dim=1, eps=1e-6)).mean()
