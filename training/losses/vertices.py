"""The vertex loss of the spectral method: neutral heads vertex by vertex, with a weight for each region of the face.

Zielonka et al., "Towards Metrical Reconstruction of Human Faces", ECCV 2022, section 3.2 (MICA), whose weights these
are; "3DFace" (WWW 2024), section 3.2.1, names eyes, nose, forehead and mouth and gives no numbers.
"""

from collections.abc import Mapping
from typing import Literal

import numpy as np
import torch
from torch import Tensor

RegionWeighting = Literal["mica", "features", "even"]
WEIGHTINGS: dict[str, dict[str, float]] = {
    "mica": {"face": 150.0, "eyeballs": 0.01, "ears": 0.01},
    "features": {"eyes": 50.0, "nose": 50.0, "forehead": 50.0, "mouth": 50.0, "eyeballs": 0.01, "ears": 0.01},
    "even": {},
}
"""Name to region to weight, the later regions win; everything else weighs 1. "mica" is what MICA's published code
applies, "features" what it declares besides and what the spectral paper's text names."""
MILLIMETRES = 1000.0


def vertex_weights(count: int, regions: Mapping[str, np.ndarray], weighting: RegionWeighting = "mica") -> Tensor:
    """(V,) float32 weights of the vertices.

    Args:
        count: V.
        regions: name to (V,) bool: "face", "eyes", "nose", "forehead", "mouth", "eyeballs", "ears".
        weighting: of `WEIGHTINGS`.

    Raises:
        KeyError: a region that the weighting names is not there.
    """
    weights = torch.ones(count)
    for region, weight in WEIGHTINGS[weighting].items():
        weights[torch.from_numpy(np.asarray(regions[region], bool))] = weight
    return weights


def vertex_loss(predicted: Tensor, wanted: Tensor, weights: Tensor) -> Tensor:
    """The weighted mean of absolute differences over vertices and axes, each head for itself.

    Args:
        predicted, wanted: (B, V, 3) float metres, neutral and in one place, so that they differ by identity alone.
        weights: (V,) float.

    Returns:
        (B,) float, millimetres times weight. The sum is divided by 3 V, not by the weights: as MICA does.
    """
    return ((predicted - wanted).abs() * weights.to(predicted)[:, None]).mean(dim=(1, 2)) * MILLIMETRES
