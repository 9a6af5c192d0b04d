"""The regressor of the spectral method: a photographed face to codes of a face model, pose, camera and light.

"3DFace" (WWW 2024), section 3.2: the features by which an ArcFace network tells people apart, and a mapping network to
300 identity, 6 pose, 100 expression, 50 texture, 3 camera and 27 light numbers, all from one encoder. Such features
are taught to leave out pose, expression and light; with two encoders a ResNet looks at the picture for these.

The camera is DECA's (Feng et al., SIGGRAPH 2021), weak perspective: x' = s (x + t_x), y' = -s (y + t_y), from -1 to 1
across the picture. Nothing here needs the training package, so that inference can use it as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from backend.embedding_files import shape_of
from backend.methods.eye_motion import FIRST_LIGHT, HEAD_SCALE, IMAGENET_DEVIATION, IMAGENET_MEAN, KEY_OFFSET
from backend.methods.method import OutputSplit
from backend.networks.identity_encoder import FROZEN_STAGES, IdentityEncoder
from backend.networks.iresnet import IResNet
from backend.networks.landmark_encoder import LandmarkEncoder
from backend.networks.resnet import Bottleneck, resnet50
from backend.rendering.harmonic_conventions import light_from_deca
from backend.rendering.shading import HARMONIC_CONSTANTS

NEARER, SIDEWAYS_M = 0.3, 0.05
"""What an output of 1 changes the camera by: the natural logarithm of the scale, and metres across."""

LandmarksFor = Literal["none", "second", "all"]


@dataclass(frozen=True)
class SpectralSplit(OutputSplit):
    """How many of the outputs are what, in the order in which they come; the paper's by default, 486.

    Attributes:
        identity, expression, albedo: codes of the face model.
        pose: 6: axis-angle of the head and of the jaw, of models with joints; 3 of others.
        camera: scale and shift; light: nine harmonics of three colours in DECA's order.
    """

    identity: int = 300
    pose: int = 6
    expression: int = 100
    albedo: int = 50
    camera: int = 3
    light: int = 27


@dataclass(frozen=True)
class SpectralCodes:
    """The network's answer in units, for B faces.

    Attributes:
        identity: (B, I) standard deviations; expression: (B, E), weights of keys in [0, 1] or standard deviations.
        albedo: (B, A) standard deviations.
        pose: (B, 3) or (B, 6) radians, axis-angle of the head, and of the jaw.
        camera: (B, 3): scale in half pictures per metre, shift in metres; see the module.
        light: (B, 9, 3) `HarmonicLight.coefficients`, viewer axes: x right, y up, z out of the picture.
    """

    identity: Tensor
    expression: Tensor
    albedo: Tensor
    pose: Tensor
    camera: Tensor
    light: Tensor

    def rows(self, chosen: Tensor) -> SpectralCodes:
        """The codes of the faces `chosen` (N,) int64."""
        return SpectralCodes(*(values[chosen] for values in vars(self).values()))

    def with_identities(self, order: Tensor) -> SpectralCodes:
        """2 B codes: these, and these again with the identity of the faces `order` (B,) int64 instead of their own."""
        twice = {name: torch.cat([values, values]) for name, values in vars(self).items()}
        return SpectralCodes(**{**twice, "identity": torch.cat([self.identity, self.identity[order]])})


class SpectralNetwork(nn.Module):
    """Faces to codes; `forward` gives them raw, `decode` in units.

    Args:
        split: what the outputs are.
        recogniser: that the identity encoder begins with.
        encoders: 1 as in the paper: all comes from the identity features. 2: they give the identity alone, and a
            ResNet-50 that looks at the aligned crop gives everything else.
        width, hidden, frozen_stages: of the `IdentityEncoder`.
        second_width: of the ResNet-50.
        second_frozen: whether of the ResNet-50 the last layer alone learns.
        landmarks: what a detector's 478 landmarks say something of, beside the picture; not in the paper. "none",
            "all", or with two encoders "second": everything but the identity.
        keys: whether expressions are weights of shape keys in [0, 1] instead of coefficients.
        first_camera: scale and shift that an answer of 0 stands for.
    """

    def __init__(
        self,
        split: SpectralSplit,
        recogniser: IResNet,
        encoders: int = 1,
        width: int = 300,
        hidden: int = 3,
        frozen_stages: int = FROZEN_STAGES,
        second_width: int = 32,
        keys: bool = True,
        first_camera: tuple[float, float, float] = (8.0, 0.0, 0.0),
        second_frozen: bool = False,
        landmarks: LandmarksFor = "none",
    ):
        super().__init__()
        self.parameter_split, self.keys, self.frozen_stages = split, keys, frozen_stages
        self.second_frozen, self.landmarks = second_frozen, landmarks
        outputs = split.total if encoders == 1 else split.identity
        self.identity_encoder = IdentityEncoder(recogniser, outputs, width, hidden, frozen_stages)
        self.second = None
        if encoders == 2:
            self.second = resnet50(width=second_width, outputs=split.total - split.identity)
            for module in self.second.modules():  # blocks start as identities, which trains sooner
                if isinstance(module, Bottleneck):
                    nn.init.zeros_(module.bn3.weight)
            nn.init.normal_(self.second.fc.weight, std=HEAD_SCALE)
            nn.init.zeros_(self.second.fc.bias)
            if second_frozen:
                self.second.requires_grad_(False)
                self.second.fc.requires_grad_(True)
        self.landmark_encoder = None
        if landmarks != "none":
            self.landmark_encoder = LandmarkEncoder(split.total - (split.identity if landmarks == "second" else 0))
            nn.init.normal_(self.landmark_encoder.layers[-1].weight, std=HEAD_SCALE)
            nn.init.zeros_(self.landmark_encoder.layers[-1].bias)
        self.register_buffer("first_camera", torch.tensor(first_camera, dtype=torch.float32))
        self.register_buffer("_light_from_deca", light_matrix(), persistent=False)

    @property
    def encoders(self) -> int:
        """How many there are, 1 or 2."""
        return 1 if self.second is None else 2

    def train(self, mode: bool = True) -> SpectralNetwork:
        """As of every module; normalisations of what is frozen keep their statistics."""
        super().train(mode)
        if self.second is not None and self.second_frozen:
            self.second.eval()
        return self

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any]) -> SpectralNetwork:
        """The network that weights belong to, by what they say of it; see `facts`."""
        shape = {**facts["recogniser"], "blocks": tuple(facts["recogniser"]["blocks"])}
        names = ("encoders", "width", "hidden", "frozen_stages", "second_width", "keys", "landmarks")
        return cls(SpectralSplit(**facts["split"]), IResNet(**shape), **{name: facts[name] for name in names})

    def facts(self) -> dict[str, Any]:
        """What `from_facts` reads, JSON values."""
        mapping = self.identity_encoder.mapping
        shape = shape_of(self.identity_encoder.recogniser.state_dict())
        return {
            "split": self.parameter_split.sizes(),
            "recogniser": {**shape, "blocks": list(shape["blocks"]), "size": self.identity_encoder.recogniser.size},
            "encoders": self.encoders,
            "width": mapping.output.in_features,
            "hidden": len(mapping.layers) - 1,
            "frozen_stages": self.frozen_stages,
            "second_width": 32 if self.second is None else self.second.conv1.out_channels,
            "keys": self.keys,
            "landmarks": self.landmarks,
        }

    def forward(self, face: Tensor, image: Tensor | None = None, landmarks: Tensor | None = None) -> Tensor:
        """The raw codes of B faces.

        Args:
            face: (B, 3, 112, 112) float sRGB in [-1, 1], see `backend.identity_crop`.
            image: (B, 3, S, S) float sRGB in [0, 1], the aligned crop; only looked at with two encoders.
            landmarks: (B, 478, 2) float, from 0 to 1 across the aligned crop; only looked at by a network that takes
                something from them.

        Returns:
            (B, outputs) float32.
        """
        outputs = self.identity_encoder(face).float()
        if self.second is not None:
            mean, deviation = (
                image.new_tensor(value).view(1, 3, 1, 1) for value in (IMAGENET_MEAN, IMAGENET_DEVIATION)
            )
            outputs = torch.cat([outputs, self.second((image - mean) / deviation).float()], dim=1)
        if self.landmark_encoder is not None:
            added = self.landmark_encoder(landmarks)
            outputs = outputs + nn.functional.pad(added, (outputs.shape[1] - added.shape[1], 0))
        return outputs

    def identity(self, face: Tensor, landmarks: Tensor | None = None) -> Tensor:
        """(B, I): the identity part of `forward`, for which no aligned crop is needed."""
        identity = self.identity_encoder(face).float()[:, : self.parameter_split.identity]
        if self.landmarks == "all":
            identity = identity + self.landmark_encoder(landmarks)[:, : self.parameter_split.identity]
        return identity

    def identity_alone(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """State and facts of a network whose `identity` is the same, without what only the rest needs."""
        state, facts = self.state_dict(), self.facts()
        if self.second is None:
            return state, facts
        size = self.parameter_split.identity
        state = {name: value for name, value in state.items() if not name.startswith("second.")}
        facts |= {"encoders": 1, "split": dict.fromkeys(facts["split"], 0) | {"identity": size}}
        if self.landmarks == "second":
            state = {name: value for name, value in state.items() if not name.startswith("landmark_encoder.")}
            facts["landmarks"] = "none"
        elif self.landmarks == "all":
            last = f"landmark_encoder.layers.{len(self.landmark_encoder.layers) - 1}."
            state = {name: value[:size] if name.startswith(last) else value for name, value in state.items()}
        return state, facts

    def decode(self, outputs: Tensor) -> SpectralCodes:
        """(B, outputs) to codes, pose, camera and light. Differentiable."""
        part = self.parameter_split.split(outputs)
        expression = torch.sigmoid(part["expression"] - KEY_OFFSET) if self.keys else part["expression"]
        raw = part["camera"]
        scale = self.first_camera[:1] * torch.exp(NEARER * raw[:, :1])
        camera = torch.cat([scale, self.first_camera[1:] + SIDEWAYS_M * raw[:, 1:]], dim=1)
        light = self._light_from_deca @ part["light"].unflatten(1, (9, 3))
        first = torch.zeros_like(light)
        first[:, 0] = FIRST_LIGHT / HARMONIC_CONSTANTS[0]
        return SpectralCodes(part["identity"], expression, part["albedo"], part["pose"], camera, light + first)


def light_matrix() -> Tensor:
    """(9, 9) float32 M: M c are our coefficients of a light c in DECA's order, for each colour."""
    unit = torch.eye(9)
    columns = [light_from_deca(unit[:, [k]].expand(9, 3)).coefficients[:, 0] for k in range(9)]
    return torch.stack(columns, dim=1)


def weakly_projected(points: Tensor, camera: Tensor) -> Tensor:
    """(B, N, 3) metres, posed heads in viewer axes, and (B, 3) cameras to (B, N, 2), -1 to 1 across, y down."""
    scale, shift = camera[:, None, :1], camera[:, None, 1:]
    return scale * (points[..., :2] + shift) * points.new_tensor([1.0, -1.0])


def fitted_camera(points: Tensor, wanted: Tensor) -> tuple[float, float, float]:
    """Scale and shift by which points (N, 3), metres, best lie where they are wanted, (N, 2) from -1 to 1, y down."""
    x, y = points.double()[:, :2].unbind(1)
    one, zero = torch.ones_like(x), torch.zeros_like(x)
    rows = torch.cat([torch.stack([x, one, zero], 1), torch.stack([-y, zero, -one], 1)])
    scale, across, up = torch.linalg.lstsq(rows, wanted.double().T.reshape(-1, 1)).solution[:, 0].tolist()
    return scale, across / scale, up / scale
