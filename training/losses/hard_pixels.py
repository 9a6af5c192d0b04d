"""Cross entropy of the pixels that a network is least sure of: "online hard example mining", OHEM.

Shrivastava et al., "Training Region-based Object Detectors with Online Hard Example Mining", CVPR 2016, as BiSeNet's
trainings take it for pixels.
"""

import math

from torch import Tensor
from torch.nn import functional

LEAST_SHARE = 1 / 16
"""Of the pixels, which always count, hard or not."""


def hard_pixel_loss(logits: Tensor, labels: Tensor, probability: float = 0.7, least: float = LEAST_SHARE) -> Tensor:
    """The mean cross entropy of the hard pixels of a batch.

    Hard is a pixel whose own class is given less than `probability`. Where so few are hard that they are less than
    `least` of the pixels, the hardest `least` count instead.

    Args:
        logits: (B, C, H, W) float.
        labels: (B, H, W) integers, below C.
        probability: of the own class, above 0 and at most 1; 1 counts every pixel that is not certain.
        least: share of the pixels of the batch, above 0 and at most 1.

    Returns:
        () float.
    """
    losses = functional.cross_entropy(logits, labels.long(), reduction="none").flatten()
    wanted = max(int(least * losses.numel()), 1)
    hard = losses.detach() > -math.log(probability)
    if int(hard.sum()) < wanted:
        return losses.topk(wanted, sorted=False).values.mean()
    return losses[hard].mean()
