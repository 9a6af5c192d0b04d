"""DF-MVR (Zhao et al., "From 2D Images to 3D Model: Weakly Supervised Multi-View Face Reconstruction with Deep Fusion",
ICME 2025): codes of one head from up to three photographs of it.

The network is `deep_fusion_network.py`; which photograph stands in which slot, `backend/view_order.py`. Training:
`training/methods/deep_fusion.py`; what differs from the paper, and why: docs/methods/deep-fusion.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from backend.aligned_crop import align
from backend.landmarks68 import landmarks68_from_478
from backend.methods.deep_fusion_network import DeepFusionCodes, DeepFusionNetwork, fill_slots, network_input

if TYPE_CHECKING:
    from backend.face_parsing import FaceParser

METHOD = "deep-fusion"
DEFAULT_WEIGHTS = "deep-fusion-open-small"


def coded_views(
    network: DeepFusionNetwork,
    views: Sequence[tuple[np.ndarray, np.ndarray] | None],
    parser: FaceParser | None = None,
) -> DeepFusionCodes:
    """What a network says of a person.

    Args:
        network: in evaluation mode; of the device that its parameters are on.
        views: for each of `SLOTS` a photograph (H, W, 3) uint8 sRGB and a detector's landmarks in it, (478, 2) pixels;
            None where there is none. At least one is needed.
        parser: tells the classes of pixels; needed by a network that sees them, on the same device.

    Returns:
        The codes of one person, on the CPU. The pose of a view is that of its own slot, for the crop that
        `backend.aligned_crop.align` cuts out by its landmarks; those of empty slots mean nothing.

    Raises:
        ValueError: no photograph at all, or no parser for a network that needs one.
    """
    if parser is None and network.settings["sees_classes"]:
        raise ValueError("This network sees the classes of pixels: give it a face parser.")
    size, device = network.camera.size, next(network.parameters()).device
    crops, landmarks = [], []
    for photograph, points in fill_slots(views):
        crop = align(landmarks68_from_478(points), size)
        crops.append(torch.from_numpy(crop.image(photograph)).permute(2, 0, 1))
        landmarks.append(torch.from_numpy(crop.points_in(points) / size))
    with torch.inference_mode():
        images = torch.stack(crops).to(device).float() / 255
        labels = torch.zeros_like(images[:, 0], dtype=torch.uint8) if parser is None else parser.labels(images)
        present = torch.tensor([[view is not None for view in views]], device=device)
        seen = network_input(images, labels)[None]
        codes = network.decode(network(seen, torch.stack(landmarks)[None].to(device).float(), present))
        return DeepFusionCodes(*(values.cpu() for values in vars(codes).values()))
