"""Eye Motion (Wang et al., "Eye Motion Matters for 3D Face Reconstruction", ICASSP 2024): codes of one photograph.

A residual network looks at the aligned crop of a face and answers with identity, expression, albedo, pose and light.
The state of the eyes comes from ELAM (`backend/eye_landmarks.py`) and its detector (`eye_states.py`). What differs from
the paper, and why: docs/methods/eye-motion.md. Training: `training/methods/eye_motion.py`.

Left and right are the subject's own.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from backend.aligned_crop import AlignedCrop, align
from backend.code_measurement import CodeMeasurement
from backend.landmarks68 import landmarks68_from_478
from backend.methods.method import Codes, ParameterSplit, ReconstructionMethod
from backend.methods.sureness import Sureness, trained
from backend.networks.landmark_encoder import LandmarkEncoder
from backend.networks.resnet import Bottleneck, resnet50
from backend.rendering.camera import Camera
from backend.rendering.harmonic_conventions import rotated
from backend.rendering.shading import HARMONIC_CONSTANTS, HarmonicLight

if TYPE_CHECKING:
    from backend.detection import DetectedFace
    from backend.methods.eye_states import EyeStateDetector

METHOD = "eye-motion"
DEFAULT_WEIGHTS = "eye-motion-open-small"
PAPER_SPLIT = ParameterSplit(identity=80, expression=64, albedo=80, pose=6, light=9)
"""239 outputs (section 3.1): the Basel face model and white light."""
OPEN_SPLIT = ParameterSplit(identity=96, expression=52, albedo=40, pose=6, light=27)
"""221 outputs: the open head."""

FOCAL_AT_224 = 1015.0
CAMERA_DISTANCE_M = 1.0
"""Deep3D's camera of the crop: a long lens, one metre away."""
FACING = ((1.0, 0.0, 0.0), (0.0, -1.0, 0.0), (0.0, 0.0, -1.0))
"""World to camera of a head that looks into the camera."""
SIDEWAYS_M, NEARER = 0.1, 0.3
"""What an output of 1 shifts the head by: metres across, and the natural logarithm of the distance."""
FIRST_LIGHT = 0.8
"""White light from everywhere that the network starts from."""
KEY_OFFSET = 3.0
"""A network that answers 0 sets every key to sigmoid(-3), 5 %."""
IMAGENET_MEAN, IMAGENET_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
LEAST_DEVIATION = 0.05
"""Of a code: validated on synthetic people, a network is never surer than this of a photograph."""
SEEN_TWICE = 0.5
"""Factor on the deviations of identities of a network that sees landmarks. The fit looks at the same landmarks again,
whose errors the network's answer has weighed already. Chosen on 12 people of ICT-FaceKit that are not those of the
tables: scan error 1.048 mm with 1, 1.014 with 0.5, 1.012 with 0.25; 1.062 of the fit alone."""
HEAD_SCALE = 1e-3
"""Of the last layer's first weights: training starts at the mean face."""


@dataclass(frozen=True)
class CropCamera:
    """The camera that the network's poses are meant for; it is the same for every crop.

    Attributes:
        size: side of the crop, pixels.
    """

    size: int

    @property
    def focal(self) -> float:
        """Pixels."""
        return FOCAL_AT_224 * self.size / 224

    @property
    def intrinsics(self) -> tuple[float, float, float, float]:
        """fx, fy, cx, cy in pixels."""
        return self.focal, self.focal, self.size / 2, self.size / 2

    def camera(self, rotation: np.ndarray, translation: np.ndarray) -> Camera:
        """With a pose, (3, 3) and (3,) world to camera."""
        return Camera(*self.intrinsics, self.size, self.size, rotation, translation)


@dataclass(frozen=True)
class DecodedCodes:
    """The network's answer in units, for B crops.

    Attributes:
        identity: (B, I) standard deviations; expression: (B, E), weights of keys in [0, 1] or standard deviations.
        albedo: (B, A) standard deviations.
        rotation: (B, 3, 3), translation: (B, 3) metres: head to camera of the crop.
        light: (B, 9, 3) `HarmonicLight.coefficients`, viewer axes: x right, y up, z out of the picture.
    """

    identity: Tensor
    expression: Tensor
    albedo: Tensor
    rotation: Tensor
    translation: Tensor
    light: Tensor


class EyeMotionNetwork(nn.Module):
    """ResNet-50 whose outputs are codes; `forward` gives them raw, `decode` in units.

    Args:
        split: what the outputs are.
        width: of the ResNet, 64 in the paper.
        size: side of the crop that it is trained for, pixels.
        keys: whether expressions are weights of shape keys in [0, 1] instead of coefficients.
        sees_landmarks: whether it looks at a detector's 478 landmarks, too; not in the paper.
    """

    def __init__(
        self, split: ParameterSplit, width: int = 64, size: int = 224, keys: bool = True, sees_landmarks: bool = False
    ):
        super().__init__()
        self.parameter_split, self.camera, self.keys = split, CropCamera(size), keys
        self.backbone = resnet50(width=width, outputs=split.total)
        for module in self.backbone.modules():  # blocks start as identities, which trains sooner
            if isinstance(module, Bottleneck):
                nn.init.zeros_(module.bn3.weight)
        self.landmark_encoder = LandmarkEncoder(split.total) if sees_landmarks else None
        last_layers = [self.backbone.fc] + ([self.landmark_encoder.layers[-1]] if sees_landmarks else [])
        for layer in last_layers:
            nn.init.normal_(layer.weight, std=HEAD_SCALE)
            nn.init.zeros_(layer.bias)

    @property
    def sees_landmarks(self) -> bool:
        """Whether `forward` needs landmarks."""
        return self.landmark_encoder is not None

    @classmethod
    def from_facts(cls, facts: dict[str, Any]) -> EyeMotionNetwork:
        """The network that weights belong to, by what they say of it; see `facts`."""
        split, names = ParameterSplit(**facts["split"]), ("width", "size", "keys", "sees_landmarks")
        return cls(split, **{name: facts[name] for name in names if name in facts})

    def facts(self) -> dict[str, Any]:
        """What `from_facts` reads, JSON values."""
        width = self.backbone.conv1.out_channels
        return {
            "split": self.parameter_split.sizes(),
            "width": width,
            "size": self.camera.size,
            "keys": self.keys,
            "sees_landmarks": self.sees_landmarks,
        }

    def forward(self, image: Tensor, landmarks: Tensor | None = None) -> Tensor:
        """The raw codes of B crops.

        Args:
            image: (B, 3, size, size) float sRGB in [0, 1].
            landmarks: (B, 478, 2) pixels of the crop; only looked at by a network that `sees_landmarks`.

        Returns:
            (B, outputs) float32.
        """
        mean, deviation = (image.new_tensor(values).view(1, 3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_DEVIATION))
        outputs = self.backbone((image - mean) / deviation).float()
        if self.sees_landmarks:
            outputs = outputs + self.landmark_encoder(landmarks / self.camera.size)
        return outputs

    def decode(self, outputs: Tensor) -> DecodedCodes:
        """(B, outputs) to codes, pose and light. Differentiable."""
        part = self.parameter_split.split(outputs)
        expression = torch.sigmoid(part["expression"] - KEY_OFFSET) if self.keys else part["expression"]
        turn, shift = part["pose"][:, :3], part["pose"][:, 3:]
        rotation = rotation_matrix(turn) @ turn.new_tensor(FACING)
        depth = CAMERA_DISTANCE_M * torch.exp(NEARER * shift[:, 2])
        translation = torch.cat([SIDEWAYS_M * shift[:, :2], depth.unsqueeze(1)], dim=1)
        light = part["light"].unflatten(1, (9, -1)).expand(-1, 9, 3)  # one colour stands for all three
        first = torch.zeros_like(light)
        first[:, 0] = FIRST_LIGHT / HARMONIC_CONSTANTS[0]
        return DecodedCodes(part["identity"], expression, part["albedo"], rotation, translation, light + first)


def rotation_matrix(axis_angle: Tensor) -> Tensor:
    """(B, 3) radians to (B, 3, 3), by Rodrigues' formula. Differentiable at 0 too."""
    square = axis_angle.square().sum(-1).clamp(min=1e-12)
    angle = square.sqrt()
    x, y, z = axis_angle.unbind(-1)
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).unflatten(-1, (3, 3))
    first = (torch.sin(angle) / angle)[:, None, None]
    second = ((1 - torch.cos(angle)) / square)[:, None, None]
    return torch.eye(3, device=axis_angle.device) + first * cross + second * (cross @ cross)


def project(points: Tensor, rotation: Tensor, translation: Tensor, intrinsics: Tensor) -> Tensor:
    """Pixels of points of heads.

    Args:
        points: (B, N, 3) metres, model space.
        rotation: (B, 3, 3), translation: (B, 3): world to camera.
        intrinsics: (4,) or (B, 4): fx, fy, cx, cy.

    Returns:
        (B, N, 2), and nothing useful of points behind the camera.
    """
    seen = points @ rotation.transpose(1, 2) + translation.unsqueeze(1)
    intrinsics = intrinsics.expand(len(points), 4).unsqueeze(1)
    return seen[..., :2] / seen[..., 2:].clamp(min=1e-3) * intrinsics[..., :2] + intrinsics[..., 2:]


def in_photograph(
    codes: DecodedCodes, crop: AlignedCrop, camera: CropCamera, image: np.ndarray
) -> tuple[Camera, np.ndarray]:
    """The first pose and light of codes of a crop, as `Codes` has them: of the whole photograph (H, W, 3).

    Args:
        codes: what a network says of the crop, on any device.
        crop: where it was cut out.
        camera: that the poses are meant for.

    Returns:
        The camera of the photograph, and (9, 3) float32, light in model axes.
    """
    rotation, translation = codes.rotation[0].double().cpu().numpy(), codes.translation[0].double().cpu().numpy()
    height, width = image.shape[:2]
    viewer_to_model = torch.from_numpy((np.array(FACING) @ rotation).T)
    light = rotated(HarmonicLight(codes.light[0].cpu()), viewer_to_model).coefficients
    return crop.camera_out(camera.camera(rotation, translation), width, height), light.numpy()


class EyeMotion(ReconstructionMethod):
    """The method of the paper, ready for use.

    Args:
        network: trained.
        sureness: of that network.
        key_names: of its expression outputs.
        detector: of eye states.
        weights: see `ReconstructionMethod`.
        device: where the network runs.
    """

    name = METHOD

    def __init__(
        self,
        network: EyeMotionNetwork,
        sureness: Sureness,
        key_names: tuple[str, ...],
        detector: EyeStateDetector,
        weights: dict[str, str],
        device: str = "cpu",
    ):
        self.network, self.device = network.to(device).eval(), device
        self.sureness, self.key_names, self.detector, self.weights = sureness, key_names, detector, weights

    @classmethod
    def load(cls, weights: str | Path = DEFAULT_WEIGHTS, device: str = "cpu") -> EyeMotion:
        """The method with the weights of that name or file, for the open head, and the detector that ships.

        Raises:
            SetupError, UsageError: weights are missing, damaged, of another method or face model.
        """
        from backend.methods.eye_states import DEFAULT_WEIGHTS as DETECTOR_WEIGHTS
        from backend.methods.eye_states import EyeStateDetector

        loaded, network, sureness = trained(weights, METHOD, EyeMotionNetwork.from_facts, Sureness)
        names = {METHOD: loaded.name, "eye-state": DETECTOR_WEIGHTS}
        return cls(network, sureness, tuple(loaded.facts["key_names"]), EyeStateDetector.load(), names, device)

    def codes(self, image: np.ndarray, face: DetectedFace) -> Codes:
        from backend.eye_landmarks import elam

        eyes = elam(image, face, self.detector)
        crop = align(landmarks68_from_478(face.points), self.network.camera.size)
        picture = torch.from_numpy(crop.image(image)).permute(2, 0, 1)[None].float().div(255)
        landmarks = torch.from_numpy(crop.points_in(eyes.points))[None].float()
        with torch.inference_mode():
            found = self.network.decode(self.network(picture.to(self.device), landmarks.to(self.device)))
        camera, light = in_photograph(found, crop, self.network.camera, image)
        return Codes(
            measurement=self.measurement(found.identity[0].cpu(), found.expression[0].cpu()),
            albedo=found.albedo[0].cpu().numpy(),
            camera=camera,
            light=light,
            closure=dict(eyes.closure),
            points=np.asarray(eyes.points, np.float64),
        )

    def measurement(self, identity: Tensor, expression: Tensor) -> CodeMeasurement:
        """Codes (I,) and (E,) with how sure they are.

        Of the keys it is what the photograph alone says: the network's answer, a normal distribution, divided by that
        of the people it was trained on. Keys of which it says nothing are left out.
        """
        sure = self.sureness
        seen_twice = SEEN_TWICE if self.network.sees_landmarks else 1.0
        identity_deviation = (seen_twice * sure.identity_deviation.double()).clamp(LEAST_DEVIATION, 1.0)
        precision = 1 / sure.expression_deviation.clamp(min=LEAST_DEVIATION) ** 2
        before = 1 / sure.expression_spread.clamp(min=LEAST_DEVIATION) ** 2
        own = precision - before
        value = (expression * precision - sure.expression_mean * before) / own.clamp(min=1e-6)
        keys = {
            name: (min(max(float(weight), 0.0), 1.0), float(certainty) ** -0.5)
            for name, weight, certainty in zip(self.key_names, value, own, strict=True)
            if certainty > 1.0
        }
        return CodeMeasurement((identity * sure.identity_gain).double().numpy(), identity_deviation.numpy(), keys)
