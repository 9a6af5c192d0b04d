"""The spectral method ("3D Face Reconstruction Using A Spectral-Based Graph Convolution Encoder", WWW 2024): codes of
one photograph.

The identity comes from the features by which an ArcFace network tells people apart, taught by metrical heads and by
what a spectral mesh autoencoder says of them (3D-ID). Such features leave expression, pose and light out, so that all
else, the state of the eyes above all, comes from Eye Motion. Training: `training/methods/spectral.py`; what differs
from the paper, and why: docs/methods/spectral.md.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from backend.aligned_crop import align
from backend.code_measurement import CodeMeasurement
from backend.identity_crop import identity_crop, network_input
from backend.landmarks68 import landmarks68_from_478
from backend.methods.eye_motion import LEAST_DEVIATION, SEEN_TWICE, EyeMotion
from backend.methods.method import Codes, ReconstructionMethod
from backend.methods.spectral_network import SpectralNetwork
from backend.methods.sureness import IdentitySureness, trained

if TYPE_CHECKING:
    from backend.detection import DetectedFace

METHOD = "spectral"
DEFAULT_WEIGHTS = "spectral-open-small"


def coded_identity(network: SpectralNetwork, photograph: np.ndarray, points: np.ndarray) -> Tensor:
    """What a network says of who is shown.

    Args:
        network: in evaluation mode; of the device that its parameters are on.
        photograph: (H, W, 3) uint8 sRGB.
        points: (478, 2) pixels, a detector's landmarks.

    Returns:
        (I,) float32 on the CPU, standard deviations of the face model's people.
    """
    landmarks68 = landmarks68_from_478(points)
    face = network_input(identity_crop(photograph, landmarks68)[None])
    placed = torch.from_numpy(align(landmarks68, 1).points_in(points))[None].float()
    device = next(network.parameters()).device
    with torch.inference_mode():
        return network.identity(face.to(device), placed.to(device))[0].cpu()


class Spectral(ReconstructionMethod):
    """The method of the paper, ready for use.

    Args:
        network: trained.
        sureness: of that network.
        eye_motion: what says everything but the identity.
        weights: see `ReconstructionMethod`.
        device: where the network runs.
    """

    name = METHOD

    def __init__(
        self,
        network: SpectralNetwork,
        sureness: IdentitySureness,
        eye_motion: EyeMotion,
        weights: dict[str, str],
        device: str = "cpu",
    ):
        self.network = network.to(device).eval()
        self.sureness, self.eye_motion, self.weights = sureness, eye_motion, weights

    @classmethod
    def load(cls, weights: str | Path = DEFAULT_WEIGHTS, device: str = "cpu") -> Spectral:
        """The method with the weights of that name or file, for the open head, and Eye Motion's that ship.

        Raises:
            SetupError, UsageError: weights are missing, damaged, of another method or face model.
        """
        loaded, network, sureness = trained(weights, METHOD, SpectralNetwork.from_facts, IdentitySureness)
        eye_motion = EyeMotion.load(device=device)
        return cls(network, sureness, eye_motion, {METHOD: loaded.name, **eye_motion.weights}, device)

    def codes(self, image: np.ndarray, face: DetectedFace) -> Codes:
        found = self.eye_motion.codes(image, face)
        identity = coded_identity(self.network, image, found.points)
        return replace(found, measurement=self.measurement(identity, found.measurement.keys))

    def measurement(self, identity: Tensor, keys: dict[str, tuple[float, float]]) -> CodeMeasurement:
        """The network's identity (I,) with how sure it is, and shape keys of elsewhere."""
        sure = self.sureness
        seen_twice = SEEN_TWICE if self.network.landmarks == "all" else 1.0
        deviation = (seen_twice * sure.identity_deviation.double()).clamp(LEAST_DEVIATION, 1.0)
        return CodeMeasurement((identity * sure.identity_gain).double().numpy(), deviation.numpy(), keys)
