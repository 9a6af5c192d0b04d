"""What a picture says of a face: the terms of DECA's coarse training, which the spectral method takes over.

Feng et al., "Learning an Animatable Detailed 3D Face Model from In-The-Wild Images", SIGGRAPH 2021, section 4.1, with
the divisors of its published code. "3DFace" (WWW 2024), section 3.2.2, uses them as they are. Landmarks are in [-1, 1]
across the picture. DECA's term for white light is `regularisers.light_loss`, that for identity `perceptual.py`.
"""

import torch
from torch import Tensor

from training.losses.local_dynamic import EYELID_PAIRS, LEAST_SQUARE, LIP_PAIRS

_STRESSED = {
    2.0: (5, 6, 10, 11),
    1.5: (*range(27, 36), *range(48, 68)),
    3.0: (30, 31, 35, 48, 54),
}
"""Weight to landmarks; the later ones win, all others weigh 1."""


def landmark_weights() -> Tensor:
    """(68,) float: more on the chin's sides, the nose and the mouth, most on the nose's tip and wings and the corners
    of the mouth."""
    weights = torch.ones(68)
    for weight, points in _STRESSED.items():
        weights[list(points)] = weight
    return weights


def landmark_distance(predicted: Tensor, wanted: Tensor, visible: Tensor) -> Tensor:
    """The weighted mean of absolute differences over the visible landmarks of all pictures together.

    Args:
        predicted, wanted: (B, 68, 2) float, -1 to 1 across the picture.
        visible: (B, 68) bool.

    Returns:
        () float: sum of w v (|dx| + |dy|) over twice the sum of w v; 0 where nothing is visible.
    """
    weights = landmark_weights().to(predicted) * visible.to(predicted)
    return ((predicted - wanted).abs().sum(dim=-1) * weights).sum() / (2 * weights.sum()).clamp(min=1e-8)


def eye_distance(predicted: Tensor, wanted: Tensor) -> Tensor:
    """How differently far the lids are apart: (B, 68, 2) in [-1, 1] to (), mean over four pairs and all pictures."""
    return _gap_difference(predicted, wanted, EYELID_PAIRS)


def lip_distance(predicted: Tensor, wanted: Tensor) -> Tensor:
    """How differently far the lips are apart: (B, 68, 2) in [-1, 1] to (), mean over three pairs and all pictures."""
    return _gap_difference(predicted, wanted, LIP_PAIRS)


def photometric_distance(rendered: Tensor, image: Tensor, mask: Tensor) -> Tensor:
    """The mean of masked absolute differences over all pixels and colours, those outside the mask included.

    Args:
        rendered, image: (B, 3, H, W) float sRGB in [0, 1].
        mask: (B, H, W) float in [0, 1]: skin on which a face was rendered.

    Returns:
        () float.
    """
    return (mask.unsqueeze(1) * (rendered - image).abs()).mean()


def code_size(codes: Tensor) -> Tensor:
    """Half the sum of squared codes (B, N), summed over the batch as DECA does: ()."""
    return codes.square().sum() / 2


def _gap_difference(predicted: Tensor, wanted: Tensor, pairs: tuple[tuple[int, int], ...]) -> Tensor:
    return (_gaps(predicted, pairs) - _gaps(wanted, pairs)).abs().mean()


def _gaps(points: Tensor, pairs: tuple[tuple[int, int], ...]) -> Tensor:
    upper, lower = torch.tensor(pairs, device=points.device).unbind(1)
    # the root is taken of what is clamped: the root of 0 has no derivative
    return (points[:, upper] - points[:, lower]).square().sum(dim=-1).clamp(min=LEAST_SQUARE).sqrt()
