"""What DF-MVR minimises: how far renders, parsing and landmarks of several views of a face are from its photographs.

Zhao et al., "From 2D Images to 3D Model: Weakly Supervised Multi-View Face Reconstruction with Deep Fusion", ICME 2025,
sections 4.1 to 4.3; what the text leaves out is from the published code. Views are the second dimension of every
tensor, and a view that is missing counts for nothing. The other terms of the paper are `landmarks3d.py` (equations 5
and 6) and `regularisers.py` (equation 8, light and reflectance).

Published weights: photo 24, mask 1 (from epoch 100 on), 2D landmarks 0.02, 3D landmarks 1, coefficients 3e-4, light 10,
reflectance 5.
"""

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from training.losses.landmark import REFERENCE_SIZE
from training.losses.photometric import colour_distance
from training.losses.supervised import mean_over_known

LandmarkWeighting = Literal["published", "paper"]
STRESSED: dict[str, tuple[int, ...]] = {
    "published": (*range(28, 31), *range(36, 48), *range(60, 68)),
    "paper": (*range(28, 31), *range(60, 68)),
}
"""Landmarks that weigh `STRESS`, the others 1: the published code has nose, eyes and inner mouth, the paper's text
nose and inner mouth."""
STRESS = 20.0
LEAST_SQUARE = 1e-8
"""Of a distance in pixels, before its root is taken: the root of 0 has no derivative."""


def photo_loss(rendered: Tensor, image: Tensor, weights: Tensor, coverage: Tensor, present: Tensor) -> Tensor:
    """The weighted mean colour distance where a face was rendered (equation 2), each picture for itself.

    Args:
        rendered, image: (B, N, 3, H, W) float sRGB in [0, 1].
        weights: (B, N, H, W), 0 to 255, see `backend.face_parsing.weight_map`.
        coverage: (B, N, H, W) float in [0, 1], how much of a pixel the render covers. It chooses the pixels and has no
            gradient: a face must not gain by becoming smaller.
        present: (B, N) bool, which views there are.

    Returns:
        () float: the mean over the views present of sum m |dRGB| / sum m; 0 where there is none.
    """
    mask = weights / 255 * coverage.detach()
    distance = (colour_distance(rendered, image) * mask).sum((-2, -1)) / mask.sum((-2, -1)).clamp(min=1.0)
    return mean_over_known(distance, present)


def mask_loss(logits: Tensor, labels: Tensor, present: Tensor) -> Tensor:
    """Whether the parts of the rendered face lie where those of the photograph do (equation 3): cross entropy.

    The parsing network is frozen, but its input must not be detached: else the loss teaches the face nothing, as in the
    published code.

    Args:
        logits: (B, N, C, H, W) float, of the parsing network of the render.
        labels: (B, N, H, W) int, the photograph's classes.
        present: (B, N) bool.

    Returns:
        () float, the mean over the pixels of the views present.
    """
    entropy = functional.cross_entropy(logits.flatten(0, 1), labels.flatten(0, 1).long(), reduction="none")
    return mean_over_known(entropy.mean((-2, -1)).reshape(present.shape), present)


def landmark_weights(weighting: LandmarkWeighting = "published") -> Tensor:
    """(68,) float: `STRESS` on the landmarks of `STRESSED`, 1 on the others."""
    weights = torch.ones(68)
    weights[list(STRESSED[weighting])] = STRESS
    return weights


def landmark_loss(
    predicted: Tensor, wanted: Tensor, present: Tensor, size: int, weighting: LandmarkWeighting = "published"
) -> Tensor:
    """The weighted distance of the projected landmarks from those of the photographs (equation 4), not squared.

    Args:
        predicted, wanted: (B, N, 68, 2) float, pixels of crops of `size` pixels.
        present: (B, N) bool.
        size: side of the crops.
        weighting: see `STRESSED`.

    Returns:
        () float, pixels of a crop of 224 times weight: the sum over a picture's landmarks is divided by 68, not by the
        weights, then the mean over the views present is taken.
    """
    squared = ((predicted - wanted) * (REFERENCE_SIZE / size)).square().sum(-1)
    distance = squared.clamp(min=LEAST_SQUARE).sqrt() * landmark_weights(weighting).to(squared)
    return mean_over_known(distance.mean(-1), present)
