"""LDL, the Local Dynamic Loss of Eye Motion (Wang et al., ICASSP 2024, section 2.4, equation 5)."""

import torch
from torch import Tensor

EYELID_PAIRS = ((37, 41), (38, 40), (43, 47), (44, 46))
LIP_PAIRS = ((61, 67), (62, 66), (63, 65))
"""Upper and lower point of each pair, of the 68. The paper gives no indices; these are the pairs of DECA."""
_CORNERS = ((36, 39), (36, 39), (42, 45), (42, 45), (48, 54), (48, 54), (48, 54))
LEAST_WIDTH = 0.05
"""Of an eye or a mouth, in sides of the crop: seen from aside it is narrow, and its gap is not to count for more."""
LEAST_SQUARE = 1e-8
"""Of a gap, before its root is taken: the root of 0 has no derivative."""


def relative_gaps(landmarks: Tensor, widths: Tensor) -> Tensor:
    """D of the paper: the gap of every pair, eyelids first, over the width of its eye or mouth.

    Args:
        landmarks: (B, 68, 2) or (B, 68, 3) float.
        widths: (B, 7) float, see `local_widths`.

    Returns:
        (B, 7) float.
    """
    upper, lower = torch.tensor(EYELID_PAIRS + LIP_PAIRS, device=landmarks.device).unbind(1)
    return (landmarks[:, upper] - landmarks[:, lower]).square().sum(-1).clamp(min=LEAST_SQUARE).sqrt() / widths


def widths_of_pairs(landmarks: Tensor) -> Tensor:
    """(B, 7) float: from corner to corner of each pair's eye or mouth, of (B, 68, 2) or (B, 68, 3) landmarks."""
    first, second = torch.tensor(_CORNERS, device=landmarks.device).unbind(1)
    return (landmarks[:, first] - landmarks[:, second]).norm(dim=-1)


def local_widths(landmarks: Tensor, size: int) -> Tensor:
    """(B, 7) float: what gaps in a picture are divided by, (B, 68, 2) pixels of a crop of `size`."""
    return widths_of_pairs(landmarks).clamp(min=LEAST_WIDTH * size)


def pair_weights(eyes: float, mouth: float) -> Tensor:
    """(7,) float, w_k of the paper: a mask of 0 and 1 for eyelid and lip pairs."""
    return torch.tensor([eyes] * len(EYELID_PAIRS) + [mouth] * len(LIP_PAIRS))


def local_dynamic_loss(predicted: Tensor, wanted: Tensor, weights: Tensor, size: int) -> Tensor:
    """How differently far the lids, and the lips, are apart.

    The paper calls the distance "relative to a specific local area" and says neither by what it is divided nor
    which norm is taken. Here it is divided by the wanted width of that eye or mouth, and the differences are absolute.

    Args:
        predicted, wanted: (B, 68, 2) float, pixels of a crop of `size` pixels.
        weights: (7,) float, see `pair_weights`.
        size: side of that crop.

    Returns:
        () float: summed over the pairs as in equation 5, mean over the batch.
    """
    widths = local_widths(wanted, size)
    difference = (relative_gaps(predicted, widths) - relative_gaps(wanted, widths)).abs()
    return (difference * weights.to(difference)).sum(1).mean()
