"""The regressor of DF-MVR: three views of a face to one identity, expression, albedo and light, and a pose a view.

Zhao et al., "From 2D Images to 3D Model: Weakly Supervised Multi-View Face Reconstruction with Deep Fusion", ICME 2025,
sections 3.3 and 3.4: each view's picture and face mask go into MulEn-Unet, its fused features into RedNet-50. Nothing
here needs the training package, so that inference can use it as it is.

The three views are `backend.view_order.SLOTS`, in that order. Left and right are the subject's own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, get_args

import torch
from torch import Tensor, nn

from backend.methods.eye_motion import (
    CAMERA_DISTANCE_M,
    FACING,
    FIRST_LIGHT,
    HEAD_SCALE,
    KEY_OFFSET,
    NEARER,
    SIDEWAYS_M,
    CropCamera,
    DecodedCodes,
    rotation_matrix,
)
from backend.methods.method import OutputSplit
from backend.networks.multi_encoder_unet import DoubleConvolution, MultiEncoderUnet
from backend.networks.rednet import rednet50
from backend.networks.resnet import resnet50
from backend.networks.view_landmarks import ViewLandmarks
from backend.rendering.shading import HARMONIC_CONSTANTS
from backend.view_order import SLOTS

POSE = 6
"""Of a view: axis-angle, then translation."""
CHANNELS = 4
"""Of a view: sRGB in [-1, 1], and the class of each pixel as a number from 0 to 9, neither scaled nor one-hot."""

ONE_VIEW = "one_view."
"""Before the names of the `Sureness` of a network that is shown one photograph alone; without it, of three."""

Fusion = Literal["unshared-encoders", "shared-encoder", "unet", "cnn", "pictures"]
Backbone = Literal["rednet", "resnet"]
Shown = TypeVar("Shown")

VARIANTS: Mapping[str, Mapping[str, Any]] = {
    "v1": {"fusion": "cnn"},
    "v2": {"fusion": "unet"},
    "v3": {"backbone": "resnet"},
    "v4": {"sees_classes": False},
    "v5": {},
    "v6": {},
}
"""The networks of the paper's ablation (table 3), as keywords of `DeepFusionNetwork`. v4 is trained without the mask
loss, too; v5 is the network of v6 trained without the loss on 3D landmarks."""


@dataclass(frozen=True)
class DeepFusionSplit(OutputSplit):
    """How many of the outputs are what, in the order in which they come; the paper's by default, 269.

    Attributes:
        identity, expression, albedo: codes of the face model, of all views together.
        light: nine harmonics of three colours, the colours of one harmonic together.
        poses: of each of `SLOTS`, axis-angle and translation.
    """

    identity: int = 80
    expression: int = 64
    albedo: int = 80
    light: int = 27
    poses: int = POSE * len(SLOTS)


PAPER_SPLIT = DeepFusionSplit()
OPEN_SPLIT = DeepFusionSplit(identity=96, expression=52, albedo=40)
"""233 outputs: the open head."""


@dataclass(frozen=True)
class DeepFusionCodes:
    """The network's answer in units, for B people.

    Attributes:
        identity: (B, I) standard deviations; expression: (B, E), weights of keys in [0, 1] or standard deviations.
        albedo: (B, A) standard deviations.
        rotation: (B, 3, 3, 3), translation: (B, 3, 3) metres: of each view, head to camera of its crop.
        light: (B, 9, 3) `HarmonicLight.coefficients`, viewer axes of every view: x right, y up, z out of the picture.
    """

    identity: Tensor
    expression: Tensor
    albedo: Tensor
    rotation: Tensor
    translation: Tensor
    light: Tensor

    def view(self, number: int) -> DecodedCodes:
        """The codes as if only one of `SLOTS` had been seen: what a rendering of this view needs."""
        return DecodedCodes(
            self.identity,
            self.expression,
            self.albedo,
            self.rotation[:, number],
            self.translation[:, number],
            self.light,
        )


class DeepFusionNetwork(nn.Module):
    """Three views to codes; `forward` gives them raw, `decode` in units.

    Args:
        split: what the outputs are.
        width: of the network that fuses the views, 64 in the paper.
        backbone_width: of the network that regresses, 64 in the paper.
        size: side of the crops that it is trained for, pixels; a multiple of 16.
        keys: whether expressions are weights of shape keys in [0, 1] instead of coefficients.
        fusion: how the views come together. "unshared-encoders" is MulEn-Unet. The others are for comparison:
            "shared-encoder" is MulEn-Unet with one encoder for all views; with "unet" one U-Net without gates looks at
            each view for itself, and its features are concatenated; with "cnn" a double convolution does; "pictures"
            concatenates the pictures themselves.
        gates: whether the decoder of the first two has attention gates.
        sees_classes: whether it looks at the class of each pixel, too.
        backbone: RedNet-50, or ResNet-50.
        sees_landmarks: whether it looks at a detector's 478 landmarks of each view, too; not in the paper.

    Raises:
        ValueError: there is no such fusion or backbone, or the split has another number of poses.
    """

    def __init__(
        self,
        split: DeepFusionSplit = PAPER_SPLIT,
        width: int = 64,
        backbone_width: int = 64,
        size: int = 224,
        keys: bool = True,
        fusion: Fusion = "unshared-encoders",
        gates: bool = True,
        sees_classes: bool = True,
        backbone: Backbone = "rednet",
        sees_landmarks: bool = False,
    ):
        super().__init__()
        if fusion not in get_args(Fusion) or backbone not in get_args(Backbone):
            raise ValueError(f"There is no fusion {fusion!r} with the backbone {backbone!r}.")
        if split.poses != POSE * len(SLOTS):
            raise ValueError(f"Three views have {POSE * len(SLOTS)} numbers of poses, not {split.poses}.")
        self.parameter_split, self.camera, self.keys = split, CropCamera(size), keys
        self.settings = {
            "width": width,
            "backbone_width": backbone_width,
            "size": size,
            "keys": keys,
            "fusion": fusion,
            "gates": gates,
            "sees_classes": sees_classes,
            "backbone": backbone,
            "sees_landmarks": sees_landmarks,
        }
        self.channels = CHANNELS if sees_classes else CHANNELS - 1
        self.fusion, fused = _fusion(fusion, self.channels, width, gates)
        if backbone == "rednet":
            self.backbone = rednet50(backbone_width, split.total, fused)
        else:
            self.backbone = resnet50(backbone_width, split.total, inputs=fused)
            self.backbone.start_as_identities()
        self.landmarks = None
        if sees_landmarks:
            self.landmarks = ViewLandmarks(split.total - split.poses, POSE, len(SLOTS))
        for layer in (self.backbone.fc, *(self.landmarks.last_layers if sees_landmarks else ())):
            nn.init.normal_(layer.weight, std=HEAD_SCALE)
            nn.init.zeros_(layer.bias)

    @property
    def sees_landmarks(self) -> bool:
        """Whether `forward` needs landmarks."""
        return self.landmarks is not None

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any]) -> DeepFusionNetwork:
        """The network that weights belong to, by what they say of it; see `facts`."""
        return cls(DeepFusionSplit(**facts["split"]), **{name: facts[name] for name in facts if name != "split"})

    def facts(self) -> dict[str, Any]:
        """What `from_facts` reads, JSON values."""
        return {"split": self.parameter_split.sizes(), **self.settings}

    def forward(self, views: Tensor, landmarks: Tensor | None = None, present: Tensor | None = None) -> Tensor:
        """The raw codes of B people.

        Args:
            views: (B, 3, 4, size, size) float: `SLOTS`, each as `network_input` makes it; what stands in empty ones is
                chosen by `fill_slots`. A network that does not see classes takes them with or without.
            landmarks: (B, 3, 478, 2) float, from 0 to 1 across each view's crop; only looked at by a network that
                `sees_landmarks`.
            present: (B, 3) bool, which slots were not empty; None for all. Only of use with landmarks.

        Returns:
            (B, outputs) float32.

        Raises:
            ValueError: views of another shape, or no landmarks for a network that sees them.
        """
        if views.ndim != 5 or views.shape[1] != len(SLOTS) or views.shape[2] < self.channels:
            raise ValueError(f"Expected (B, {len(SLOTS)}, {self.channels}, H, W) views, got {tuple(views.shape)}.")
        outputs = self.backbone(self.fusion(views[:, :, : self.channels])).float()
        if self.landmarks is None:
            return outputs
        if landmarks is None:
            raise ValueError("This network looks at landmarks, too: give them beside the views.")
        if present is None:
            present = torch.ones(landmarks.shape[:2], dtype=torch.bool, device=landmarks.device)
        return outputs + self.landmarks(landmarks, present)

    def decode(self, outputs: Tensor) -> DeepFusionCodes:
        """(B, outputs) to codes, poses and light. Differentiable."""
        part = self.parameter_split.split(outputs)
        expression = torch.sigmoid(part["expression"] - KEY_OFFSET) if self.keys else part["expression"]
        poses = part["poses"].unflatten(1, (len(SLOTS), POSE))
        turn, shift = poses[..., :3], poses[..., 3:]
        rotation = rotation_matrix(turn.flatten(0, 1)).unflatten(0, turn.shape[:2]) @ turn.new_tensor(FACING)
        depth = CAMERA_DISTANCE_M * torch.exp(NEARER * shift[..., 2:])
        translation = torch.cat([SIDEWAYS_M * shift[..., :2], depth], dim=-1)
        light = part["light"].unflatten(1, (9, 3))
        first = torch.zeros_like(light)
        first[:, 0] = FIRST_LIGHT / HARMONIC_CONSTANTS[0]
        return DeepFusionCodes(part["identity"], expression, part["albedo"], rotation, translation, light + first)


class EachView(nn.Module):
    """One network for every view by itself; what it says of them is concatenated.

    Args:
        network: (N, channels, H, W) -> (N, outputs, H, W).
    """

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, views: Tensor) -> Tensor:
        """(B, V, channels, H, W) -> (B, V outputs, H, W)."""
        return self.network(views.flatten(0, 1)).unflatten(0, views.shape[:2]).flatten(1, 2)


def _fusion(fusion: Fusion, channels: int, width: int, gates: bool) -> tuple[nn.Module, int]:
    """(B, 3, channels, H, W) -> (B, C, H, W), and C."""
    views = len(SLOTS)
    if fusion in ("unshared-encoders", "shared-encoder"):
        network = MultiEncoderUnet(views, channels, width, fusion == "shared-encoder", gates)
        return network, network.outputs
    if fusion == "unet":
        network = MultiEncoderUnet(1, channels, width, gates=False)
        return EachView(nn.Sequential(nn.Unflatten(1, (1, channels)), network)), views * network.outputs
    if fusion == "cnn":
        return EachView(DoubleConvolution(channels, width)), views * width
    return nn.Flatten(1, 2), views * channels


def network_input(images: Tensor, labels: Tensor) -> Tensor:
    """Pictures and the classes of their pixels as the network takes them.

    Args:
        images: (..., 3, H, W) float sRGB in [0, 1].
        labels: (..., H, W) integers, index in `backend.face_parsing.PARSING_CLASSES`.

    Returns:
        (..., 4, H, W) in the type of `images`.
    """
    return torch.cat([2 * images - 1, labels.unsqueeze(-3).to(images.dtype)], dim=-3)


def fill_slots(slots: Sequence[Shown | None]) -> tuple[Shown, ...]:
    """What each slot shows when some are empty: the nearest view that there is.

    So a single picture is seen three times, as in the paper's training for single views (section 5.3). Between two
    equally near views the first is taken.

    Args:
        slots: a view, or its number, for each of `SLOTS`, None where there is none; such as `ViewOrder.slots`.

    Returns:
        The same without None. The pose of a view is the answer for the slot where it stood before.

    Raises:
        ValueError: there is no view at all, or another number of slots.
    """
    given = [number for number, view in enumerate(slots) if view is not None]
    if not given or len(slots) != len(SLOTS):
        raise ValueError(f"{len(SLOTS)} slots with at least one view are needed, not {len(slots)} with {len(given)}.")
    return tuple(slots[min(given, key=lambda other: abs(other - slot))] for slot in range(len(SLOTS)))
