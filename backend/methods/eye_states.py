"""The eye-state detector of Eye Motion (Wang et al., ICASSP 2024, section 2.3), for each eye by itself.

The paper's detector sees the whole face and gives one answer, so that a wink cannot be said. Ours sees one eye at a
time, upright along its own axis, the right one mirrored. `docs/methods/eye-states.md` has the figures.

Left and right are the subject's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from backend.detection import DetectedFace
from backend.eye_crops import FACE_SIZE, SIDES, crop_eye, eye_region, face_picture, moved, relative_apertures
from backend.eye_landmarks import SHUT_ABOVE
from backend.eye_state import read_eye_closure
from backend.networks.eye_state import EyeStateNetwork, WholeFaceNetwork
from backend.picture_regions import Picture
from backend.weights import load_weights

METHOD = "eye-state"
DEFAULT_WEIGHTS = "eye-state-open-small"
LANDMARKS_COUNT = 1.0
"""What lids whose landmarks meet add to the logit of shut. Open eyes hardly ever look so to a landmark detector (97 %
of such eyes of people held out of training are shut), shut ones often look open to it: nothing is ever taken off.
Chosen on these people: 98.4 % right with 1, 98.2 % with 0, 98.0 % with 2."""
LOOKS = ((0.0, 0.0, 1.0, 0.0), (0.04, 0.02, 0.95, 0.06), (-0.04, 0.02, 1.05, -0.06), (0.02, -0.03, 1.1, 0.03),
         (-0.02, -0.02, 0.9, -0.03))  # fmt: skip
"""Shift along and across the eye in parts of the crop, size factor, turn in radians: the answer is the mean of all."""


@dataclass(frozen=True)
class EyeState:
    """What the detector says of one eye.

    Attributes:
        probability_shut: 0 to 1, the paper's P; the eye counts as shut above 0.5.
        closure: 0 as open as the person's own open eye, 1 shut; above 0.5 where the eye counts as shut, not above
            elsewhere.
    """

    probability_shut: float
    closure: float

    @property
    def is_shut(self) -> bool:
        return self.probability_shut > SHUT_ABOVE


class EyeStateDetector:
    """Tells which eyes of a face are shut.

    Args:
        network: takes (B, 3, H, W) pictures and (B, 2) apertures, gives (B, 2) or (B, 3), see `EyeStateNetwork`.
        sees: "eye": crops of single eyes; "face": the whole face, one answer for both eyes, as in the paper.
        face_size: side in pixels of the picture of a whole face.
    """

    def __init__(self, network: torch.nn.Module, sees: str = "eye", face_size: int = FACE_SIZE):
        self.network = network.eval()
        self.sees, self.face_size = sees, face_size

    @classmethod
    def load(cls, weights: str | Path = DEFAULT_WEIGHTS) -> EyeStateDetector:
        """The detector with the weights of that name or file.

        Raises:
            UsageError: they are missing, damaged or of another method; see `backend.weights`.
        """
        loaded = load_weights(weights, METHOD)
        kind = dict(loaded.facts["network"])
        network = make_network(**kind)
        loaded.load_into(network)
        return cls(network, kind.get("sees", "eye"), kind.get("face_size", FACE_SIZE))

    def read(self, image: np.ndarray, face: DetectedFace) -> dict[str, EyeState]:
        """Both eyes of a face.

        Args:
            image: (H, W, 3) uint8 sRGB, where the face was detected.
            face: the face.

        Returns:
            {"left", "right"}, the subject's own.
        """
        if self.sees == "face":
            both = self._answer([face_picture(image, face, self.face_size)], np.zeros((1, 2)))[0]
            return dict.fromkeys(SIDES, both)
        picture, apertures = Picture(image), relative_apertures(face)
        crops, beside = [], []
        for side, other in (SIDES, SIDES[::-1]):
            region = eye_region(face, side)
            crops += [crop_eye(picture, moved(region, *look)) for look in LOOKS]
            beside += [(apertures[side], apertures[other])] * len(LOOKS)
        seen = read_eye_closure(image, face)
        evidence = [LANDMARKS_COUNT * max(0.0, 2 * seen[side] - 1) for side in SIDES]
        states = self._answer(crops, np.array(beside), len(LOOKS), evidence)
        return dict(zip(SIDES, states, strict=True))

    def probability_shut(self, image: np.ndarray, face: DetectedFace) -> dict[str, float]:
        """The paper's P for each eye, {"left", "right"}; see `read`."""
        return {side: state.probability_shut for side, state in self.read(image, face).items()}

    def closure(self, image: np.ndarray, face: DetectedFace) -> dict[str, float]:
        """The degree of closure of each eye, {"left", "right"}; see `read`."""
        return {side: state.closure for side, state in self.read(image, face).items()}

    def _answer(
        self, crops: list[np.ndarray], apertures: np.ndarray, looks: int = 1, evidence: Sequence[float] = (0.0,)
    ) -> list[EyeState]:
        """One state for every `looks` crops; `evidence` that the eye is shut, from elsewhere, added to the logit."""
        images = torch.as_tensor(np.stack(crops)).permute(0, 3, 1, 2).float() / 255
        with torch.no_grad():
            outputs = self.network(images, torch.as_tensor(apertures, dtype=torch.float32))
        outputs = outputs.reshape(-1, looks, outputs.shape[1]).mean(dim=1)
        shut = torch.sigmoid(outputs[:, 1] - outputs[:, 0] + torch.tensor(evidence))
        degree = torch.sigmoid(outputs[:, 2]) if outputs.shape[1] > 2 else shut
        return [state_of(float(p), float(c)) for p, c in zip(shut, degree, strict=True)]


def state_of(probability_shut: float, closure: float) -> EyeState:
    """Both answers, the degree made to agree with the state."""
    if probability_shut > SHUT_ABOVE:
        return EyeState(probability_shut, max(closure, float(np.nextafter(SHUT_ABOVE, 1.0))))
    return EyeState(probability_shut, min(closure, SHUT_ABOVE))


def make_network(sees: str = "eye", face_size: int = FACE_SIZE, **shape) -> torch.nn.Module:
    """The network by what its weights say of it: `EyeStateNetwork`, or the paper's ResNet-50 with two outputs."""
    if sees == "eye":
        return EyeStateNetwork(**shape)
    return WholeFaceNetwork(**shape)
