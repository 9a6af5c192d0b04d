"""DF-MVR (Zhao et al., "From 2D Images to 3D Model: Weakly Supervised Multi-View Face Reconstruction with Deep Fusion",
ICME 2025): codes of one head from up to three photographs of it.

The network is `deep_fusion_network.py`; which photograph stands in which slot, `backend/view_order.py`. Training:
`training/methods/deep_fusion.py`; what differs from the paper, and why: docs/methods/deep-fusion.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from backend.aligned_crop import align
from backend.code_measurement import CodeMeasurement, identity_prior, strengthened
from backend.face_parsing import METHOD as FACE_PARSING
from backend.face_parsing import SHIPPED, FaceParser, read_face_parser
from backend.landmarks68 import landmarks68_from_478
from backend.methods.deep_fusion_network import (
    ONE_VIEW,
    DeepFusionCodes,
    DeepFusionNetwork,
    fill_slots,
    network_input,
)
from backend.methods.eye_motion import LEAST_DEVIATION, SEEN_TWICE, EyeMotion, in_photograph
from backend.methods.method import Codes, ReconstructionMethod
from backend.methods.sureness import IdentitySureness, trained
from backend.view_checks import measured_order
from backend.view_order import SLOTS

if TYPE_CHECKING:
    from backend.detection import DetectedFace

METHOD = "deep-fusion"
DEFAULT_WEIGHTS = "deep-fusion-open-small"
SURENESS_OF_TWO = 0.8
"""Where two views lie between one (0) and three (1). Of the squared errors of identities that landmarks alone say: 9.5,
6.1 (left and front) and 5.2 mm2 (docs/methods/deep-fusion.md)."""

AGREEMENT_WITH_EYE_MOTION = 0.6
"""Correlation of what the two networks say of the same photographs: 0.64 of three, 0.60 of one (24 ICT-FaceKit people
that are not those of the tables)."""


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


class DeepFusion(ReconstructionMethod):
    """The method of the paper, ready for use.

    Up to three photographs, the best by their yaw, are looked at together: who it is, the skin's colours, the light and
    each one's camera. What the face does, the state of the eyes above all, comes from Eye Motion for each photograph by
    itself, since people do not hold one expression from one photograph to the next; so does all else of photographs
    beyond those three.

    Args:
        network: trained.
        sureness: of that network when it is shown three views.
        one_view: when it is shown one.
        eye_motion: what says what the face does.
        weights: see `ReconstructionMethod`.
        parser: tells the classes of pixels; needed by a network that sees them.
        device: where network and parser run.
    """

    name = METHOD
    sees_views_together = True

    def __init__(
        self,
        network: DeepFusionNetwork,
        sureness: IdentitySureness,
        one_view: IdentitySureness,
        eye_motion: EyeMotion,
        weights: dict[str, str],
        parser: FaceParser | None = None,
        device: str = "cpu",
    ):
        self.network = network.to(device).eval()
        self.parser = None if parser is None else parser.to(device).eval()
        self.sureness, self.one_view, self.eye_motion, self.weights = sureness, one_view, eye_motion, weights

    @classmethod
    def load(
        cls, weights: str | Path = DEFAULT_WEIGHTS, device: str = "cpu", parser: str | Path = SHIPPED
    ) -> DeepFusion:
        """The method with the weights of that name or file, for the open head, and Eye Motion's that ship.

        Args:
            weights: of the network.
            device: where it runs.
            parser: weights of a face parser, see `read_face_parser`; not read where the network sees no classes.

        Raises:
            SetupError, UsageError: weights are missing, damaged, of another method or face model.
        """
        loaded, network, sureness = trained(weights, METHOD, DeepFusionNetwork.from_facts, IdentitySureness)
        one_view = {
            name.removeprefix(ONE_VIEW): value for name, value in loaded.state.items() if name.startswith(ONE_VIEW)
        }
        names, face_parser = {METHOD: loaded.name}, None
        if network.settings["sees_classes"]:
            face_parser = read_face_parser(parser)
            names[FACE_PARSING] = Path(parser).stem
        eye_motion = EyeMotion.load(device=device)
        names |= eye_motion.weights
        return cls(network, sureness, IdentitySureness.from_state(one_view), eye_motion, names, face_parser, device)

    def codes(self, image: np.ndarray, face: DetectedFace) -> Codes:
        return self.codes_of([image], [face])[0]

    def codes_of(self, images: Sequence[np.ndarray], faces: Sequence[DetectedFace]) -> list[Codes]:
        """What is read from all photographs of one person, in any order. Only one of them carries the identity.

        Raises:
            PhotoError: see `measured_order`.
        """
        found = [self.eye_motion.codes(image, face) for image, face in zip(images, faces, strict=True)]
        slots = measured_order(images, faces).slots
        views = [None if number is None else (images[number], found[number].points) for number in slots]
        said = coded_views(self.network, views, self.parser)
        codes = [replace(each, measurement=CodeMeasurement(None, None, each.measurement.keys)) for each in found]
        taken = {slot: number for slot, number in enumerate(slots) if number is not None}
        for slot, number in taken.items():
            crop = align(landmarks68_from_478(found[number].points), self.network.camera.size)
            view = said.view(slot)
            camera, light = in_photograph(view, crop, self.network.camera, images[number])
            codes[number] = replace(codes[number], albedo=view.albedo[0].numpy(), camera=camera, light=light)
        carrier = taken.get(SLOTS.index("front"), next(iter(taken.values())))
        measured = self.measurement(said.identity[0], len(taken), found[carrier].measurement.keys)
        beside, _ = identity_prior([found[number].measurement for number in taken.values()], len(said.identity[0]))
        codes[carrier] = replace(codes[carrier], measurement=with_eye_motion(measured, beside))
        return codes

    def measurement(self, identity: Tensor, views: int, keys: dict[str, tuple[float, float]]) -> CodeMeasurement:
        """The network's own identity (I,) with how sure it is of so many views, and shape keys of elsewhere."""
        three = {1: 0.0, 2: SURENESS_OF_TWO, 3: 1.0}[views]
        gain = torch.lerp(self.one_view.identity_gain, self.sureness.identity_gain, three)
        squares = [sure.identity_deviation.double().square() for sure in (self.one_view, self.sureness)]
        seen_twice = SEEN_TWICE if self.network.sees_landmarks else 1.0
        deviation = (seen_twice * torch.lerp(*squares, three).sqrt()).clamp(LEAST_DEVIATION, 1.0)
        return CodeMeasurement((identity * gain).double().numpy(), deviation.numpy(), keys)


def with_eye_motion(measured: CodeMeasurement, beside: np.ndarray) -> CodeMeasurement:
    """The identity of both networks: they err in different ways, and their mean is nearer to the person than either.

    Args:
        measured: of deep fusion.
        beside: (I,) identity by Eye Motion of the same photographs.
    """
    mean = (measured.identity + beside) / 2
    return replace(measured, identity=strengthened(mean, np.full((2, 1), 0.5), AGREEMENT_WITH_EYE_MOTION))
