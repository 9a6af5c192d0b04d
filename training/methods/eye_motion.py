"""Trains the regressor of Eye Motion (Wang et al., "Eye Motion Matters for 3D Face Reconstruction", ICASSP 2024).

Losses and weights of the paper, and beside them, with weight 0 in `paper`, the terms that need the known truth of
synthetic people. docs/methods/eye-motion.md says which preset uses what, and why.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from pydantic import Field
from torch import Tensor

from backend.embedding_files import read_embedding
from backend.errors import UsageError
from backend.face_models import load_face_model
from backend.face_models.differentiable import DifferentiableModel, differentiable_model
from backend.face_models.lid_keys import BLINK_CORRECTIVES
from backend.identity_crop import face_crop
from backend.methods.eye_motion import (
    CAMERA_DISTANCE_M,
    FACING,
    CropCamera,
    EyeMotionNetwork,
    Sureness,
    project,
    rotation_matrix,
)
from backend.methods.method import ParameterSplit
from backend.networks.resnet import ResNet
from backend.rendering.shading import harmonic_basis
from training.data.batches import SyntheticBatches
from training.data.detected_landmarks import DetectedLandmarks
from training.data.expressions import random_expression
from training.data.mirroring import Mirror
from training.data.pictures import shown_model
from training.losses import supervised
from training.losses.landmark import REFERENCE_SIZE, landmark_loss
from training.losses.local_dynamic import local_dynamic_loss, local_widths, pair_weights, relative_gaps
from training.losses.perceptual import perceptual_loss
from training.losses.photometric import photo_loss
from training.losses.regularisers import coefficient_loss, light_loss, reflectance_loss
from training.methods.base import Batch, Outputs, TrainingMethod
from training.methods.face_rendering import FaceRenderer
from training.settings import LossWeights, NetworkSettings, RunSettings, Section, Weight

SKIN_CLASSES = (1, 2, 3, 6, 8, 9)
"""Of the parsing: skin, brows, nose and lips; eyes and the inside of the mouth have no skin colour."""
LIGHT_DIRECTIONS = 64
POPULATION = 4000
"""Expressions from which the population's mean and spread are taken."""
EXAMPLE_TURNS = (0.15, 0.45, 0.12)
"""Radians about the axes of a head: deviations of examples from which landmarks are whitened; nodding, turning,
tilting."""
EXAMPLE_SHIFTS_M = (0.004, 0.004, 0.05)
EXAMPLES_AT_ONCE = 200
NEED_TRUTH = ("shape", "expression", "pose", "identity_codes", "key_weights", "albedo", "light_shown")
"""Losses that only pictures of the network's own face model can teach."""
LEAST_PEOPLE = 40
"""Pictures below which a validation says nothing of how sure the network is."""


class EyeMotionNetworkSettings(NetworkSettings):
    """The network.

    Attributes:
        width: of the ResNet-50, 64 in the paper.
        sees_landmarks: whether the network is given a detector's landmarks beside the picture; not in the paper. Of
            synthetic people they are made up with that detector's errors, see `training.data.detected_landmarks`.
        light: outputs for light: 9 of white light as in the paper, or 27.
        initial_weights: file with a state dict of torchvision's names to begin from, or None.
        embedding: of the perceptual loss: the name of shipped weights or a file of an ArcFace network, or None.
    """

    width: int = Field(64, ge=4)
    sees_landmarks: bool = False
    light: Literal[9, 27] = 27
    initial_weights: str | None = None
    embedding: str | None = None


class EyeMotionLosses(LossWeights):
    """The paper's losses with its weights, then those that need the truth."""

    photo: Weight = 1.8
    landmark: Weight = 1.6e-3
    perceptual: Weight = 0.17
    local_dynamic: Weight = 0.5
    coefficients: Weight = 3e-4
    light: Weight = 10.0
    reflectance: Weight = 5.0
    shape: Weight = 0.0
    expression: Weight = 0.0
    pose: Weight = 0.0
    identity_codes: Weight = 0.0
    key_weights: Weight = 0.0
    albedo: Weight = 0.0
    light_shown: Weight = 0.0


class LocalDynamicSettings(Section):
    """w_k of the local dynamic loss (equation 5): the mask of eyelid pairs and of lip pairs, 0 or 1."""

    eyes: Literal[0, 1] = 1
    mouth: Literal[0, 1] = 1


class RenderingSettings(Section):
    """The pictures of photo, perceptual and reflectance loss.

    Attributes:
        size: their side in pixels.
        every: steps between two that render; the others leave these losses out.
        pictures: of a batch that are rendered, the first ones; 0 for all.
    """

    size: int = Field(224, ge=16)
    every: int = Field(1, ge=1)
    pictures: int = Field(0, ge=0)


class EyeMotionSettings(RunSettings):
    """All settings of a run."""

    network: EyeMotionNetworkSettings = EyeMotionNetworkSettings()
    losses: EyeMotionLosses = EyeMotionLosses()
    local_dynamic: LocalDynamicSettings = LocalDynamicSettings()
    rendering: RenderingSettings = RenderingSettings()


class EyeMotionTraining(TrainingMethod):
    """The network with its losses, see `TrainingMethod`."""

    name = "eye-motion"
    Settings = EyeMotionSettings
    learns_from = "Synthetic people of this project (docs/synthetic-people.md), made from CC0 data. No photographs."

    def __init__(self, settings: EyeMotionSettings):
        super().__init__(settings)
        chosen = None if settings.expression == "auto" else settings.expression
        self.model = differentiable_model(settings.face_model, chosen)
        check_losses(settings, self.model)
        self.network = EyeMotionNetwork(
            parameter_split(self.model, settings.network.light),
            settings.network.width,
            settings.data.size,
            self.model.expression_is_bounded,
            settings.network.sees_landmarks,
        ).to(memory_format=torch.channels_last)
        if settings.network.sees_landmarks:
            self.detectors = landmark_detectors(self.model)
            examples = detected_examples(self.detectors, self.model, self.network.camera)
            self.network.landmark_encoder.whiten_as(examples / self.network.camera.size)
        if settings.network.initial_weights:
            load_backbone(self.network.backbone, Path(settings.network.initial_weights), 50)
        self.renderer = FaceRenderer(self.model, self.network.camera)
        self.shown_model = shown_model(settings.face_model, settings.data.shards)
        self.truth_is_of_model = self.model.name == self.shown_model and self.model.expression_is_bounded
        if not self.truth_is_of_model:
            check_truth_is_not_needed(settings, self.shown_model)
        sizes = self.network.parameter_split
        self.register_buffer("identity_gain", torch.ones(sizes.identity))
        self.register_buffer("identity_deviation", torch.ones(sizes.identity))
        self.register_buffer("expression_deviation", torch.full((sizes.expression,), 0.3))
        self.register_buffer("directions", front_directions(LIGHT_DIRECTIONS), persistent=False)
        if self.truth_is_of_model:
            identity, expression = shape_grams(self.model)
            self.register_buffer("identity_gram", identity, persistent=False)
            self.register_buffer("expression_gram", expression, persistent=False)
        # Mirrored identities of the open head are its identities again; other models' are not.
        self.mirror = Mirror(load_face_model("open_head")) if self.shown_model == "open_head" else None
        # In a tuple, so that it is neither trained nor saved.
        self._embedding = (load_embedding(settings.network.embedding),) if self.wants("perceptual") else ()
        self._held_out: list[tuple[Tensor, Tensor, Tensor]] = []

    def prepared(self, batch: Batch) -> Batch:
        """Half of the pictures of a training are seen in a mirror."""
        if self.truth_is_of_model and self.training and self.mirror is not None:
            batch = self.mirror(batch, torch.rand(len(batch["image"]), device=batch["image"].device) < 0.5)
        return self.completed(batch)

    def completed(self, batch: Batch) -> Batch:
        """A batch with the landmarks that its pictures do not bring.

        The 68 points of the open head are not quite each other's mirror images, so they are taken from the head anew;
        of every picture, so that shards stay right when the head's points are mended. For a network that sees
        landmarks there is "detected", (B, 478, 2) pixels.
        """
        if not self.truth_is_of_model:
            return batch
        points = self.model.points("landmarks68", batch["identity"], batch["key_weights"])
        landmarks = project(points, batch["rotation"], batch["translation"], batch["intrinsics"])
        known = supervised.known_pictures(batch)[:, None, None]
        added = {"landmarks68": torch.where(known, landmarks, batch["landmarks68"])}
        if self.network.sees_landmarks:
            usual = self.network.landmark_encoder.mean.unflatten(0, (-1, 2)) * self.network.camera.size
            added["detected"] = detected_landmarks(batch, self.model, self.detectors, usual)
        return batch | added

    def outputs(self, batch: Batch) -> Outputs:
        image = batch["image"].contiguous(memory_format=torch.channels_last)
        raw = self.network(image, batch["detected"] if self.network.sees_landmarks else None)
        with torch.autocast(raw.device.type, enabled=False):
            codes = self.network.decode(raw)
            points = self.model.points("landmarks68", codes.identity, codes.expression)
            intrinsics = points.new_tensor(self.network.camera.intrinsics)
            landmarks = project(points, codes.rotation, codes.translation, intrinsics)
        return {"codes": codes, "landmarks68": landmarks}

    def losses(self, batch: Batch, outputs: Outputs) -> dict[str, Tensor]:
        codes, landmarks, size = outputs["codes"], outputs["landmarks68"], self.network.camera.size
        with torch.autocast(landmarks.device.type, enabled=False):
            pairs = pair_weights(self.settings.local_dynamic.eyes, self.settings.local_dynamic.mouth)
            terms = {
                "landmark": lambda: landmark_loss(landmarks, batch["landmarks68"], size),
                "local_dynamic": lambda: local_dynamic_loss(landmarks, batch["landmarks68"], pairs, size),
                "coefficients": lambda: coefficient_loss(codes.identity, codes.expression, codes.albedo),
                "light": lambda: light_loss(codes.light),
            }
            if self.truth_is_of_model:
                terms |= self._supervised_terms(batch, outputs)
            losses = {name: term() for name, term in terms.items() if self.wants(name)}
            if self._renders_now():
                losses |= self._rendered_losses(batch, outputs)
        return losses

    def metrics(self, batch: Batch, outputs: Outputs) -> dict[str, Tensor]:
        codes, landmarks, size = outputs["codes"], outputs["landmarks68"], self.network.camera.size
        wanted = batch["landmarks68"]
        widths = local_widths(wanted, size)
        gaps = (relative_gaps(landmarks, widths) - relative_gaps(wanted, widths)).abs().mean(0)
        scale = REFERENCE_SIZE / size
        figures = {
            "landmark_error_px": (landmarks - wanted).norm(dim=-1).mean() * scale,
            "lid_gap_error": gaps[:4].mean(),
            "lip_gap_error": gaps[4:].mean(),
        }
        if not self.truth_is_of_model:
            return figures
        known = supervised.known_pictures(batch)
        self._held_out.append(
            (codes.identity[known], batch["identity"][known], (codes.expression - batch["key_weights"])[known])
        )
        rotation, _ = self._true_pose(batch)
        turn = ((codes.rotation * rotation).sum((1, 2)) - 1) / 2
        degrees = torch.rad2deg(torch.arccos(turn.clamp(-1, 1)))
        shape = supervised.shape_loss(codes.identity, batch["identity"], self.identity_gram, known)
        return figures | {
            "shape_error_mm": shape.sqrt(),
            "rotation_error_degrees": supervised.mean_over_known(degrees, known),
            "closure_error": supervised.mean_over_known(
                (self.closure(codes.identity, codes.expression) - batch["closure"]).abs().mean(1), known
            ),
        }

    def pictures(self, batch: Batch, outputs: Outputs) -> np.ndarray:
        from training.methods.eye_motion_pictures import picture_grid

        return picture_grid(self.renderer, batch, outputs["codes"], outputs["landmarks68"])

    def data(self, settings: EyeMotionSettings) -> LightningDataModule:
        return SyntheticBatches.from_settings(settings.data, face_model=self.shown_model)

    def exported(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        mean, spread = expression_population(self.model)
        sureness = Sureness(self.identity_gain, self.identity_deviation, self.expression_deviation, mean, spread)
        facts = {"network": self.network.facts(), "key_names": list(self.model.expression_names)}
        return self.network.state_dict() | sureness.state(), facts

    def ablation_figures(self) -> dict[str, float]:
        from training.evaluation.eye_motion_figures import held_out_figures

        return held_out_figures(self)

    def on_validation_epoch_start(self) -> None:
        self._held_out = []

    def on_validation_epoch_end(self) -> None:
        """Writes down how far codes of held-out people are from the truth, for `Sureness`."""
        if sum(len(identity) for identity, _, _ in self._held_out) >= LEAST_PEOPLE:
            said, true, left = (torch.cat(parts).float() for parts in zip(*self._held_out, strict=True))
            gain = ((said * true).sum(0) / said.square().sum(0).clamp(min=1e-6)).clamp(0.0, 1.2)
            self.identity_gain.copy_(gain)
            self.identity_deviation.copy_((said * gain - true).square().mean(0).sqrt().clamp(max=1.0))
            self.expression_deviation.copy_(left.square().mean(0).sqrt())
        self._held_out = []

    def closure(self, identity: Tensor, expression: Tensor) -> Tensor:
        """(B, 2) how far the lids of the coded head are shut, subject's left eye first; of models with own lids."""
        own = self.model.lids(self.model.points("lids", identity, torch.zeros_like(expression)))
        posed = self.model.lids(self.model.points("lids", identity, expression))
        return (1 - posed / own.clamp(min=1e-6)).clamp(0.0, 1.0)

    def _true_pose(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Of the crop's camera. A picture without truth has a pose of zeros and gets one that is not used."""
        return supervised.crop_pose(*pose_or_any(batch), self.network.camera.intrinsics)

    def _supervised_terms(self, batch: Batch, outputs: Outputs) -> dict[str, Any]:
        codes, known = outputs["codes"], supervised.known_pictures(batch)

        def pose() -> Tensor:
            rotation, translation = self._true_pose(batch)
            turned = supervised.rotation_loss(codes.rotation, rotation, known)
            nearer = torch.log(codes.translation[:, 2] / translation[:, 2]).square() * supervised.POSE_RADIUS_MM**2
            return turned + supervised.mean_over_known(nearer, known)

        def light_shown() -> Tensor:
            rotation, _ = self._true_pose(batch)
            turned = self.directions @ FaceRenderer.viewer_rotation(rotation).transpose(1, 2)
            truth = harmonic_basis(self.directions) @ batch["light"]
            return supervised.light_shown_loss(harmonic_basis(turned) @ codes.light, truth, known)

        return {
            "shape": lambda: supervised.shape_loss(codes.identity, batch["identity"], self.identity_gram, known),
            "expression": lambda: supervised.shape_loss(
                codes.expression, batch["key_weights"], self.expression_gram, known
            ),
            "pose": pose,
            "identity_codes": lambda: supervised.code_loss(codes.identity, batch["identity"], known),
            "key_weights": lambda: supervised.code_loss(codes.expression, batch["key_weights"], known),
            "light_shown": light_shown,
        } | (
            {"albedo": lambda: supervised.code_loss(codes.albedo, batch["albedo"], known)}
            if self.model.albedo_size
            else {}
        )

    def _renders_now(self) -> bool:
        wanted = any(self.wants(name) for name in ("photo", "perceptual", "reflectance"))
        return wanted and (not self.training or self.global_step % self.settings.rendering.every == 0)

    def _rendered_losses(self, batch: Batch, outputs: Outputs) -> dict[str, Tensor]:
        chosen = self.settings.rendering
        count = chosen.pictures or len(batch["image"])
        codes = type(outputs["codes"])(*(values[:count] for values in vars(outputs["codes"]).values()))
        rendered = self.renderer(codes, chosen.size)
        image = resized(batch["image"][:count].float(), chosen.size)
        losses = {}
        if self.wants("photo"):
            skin = torch.isin(batch["parsing"][:count], batch["parsing"].new_tensor(SKIN_CLASSES))
            skin = resized(skin.float().unsqueeze(1), chosen.size).squeeze(1)
            losses["photo"] = photo_loss(rendered.image, image, skin * rendered.covered)
        if self.wants("perceptual"):
            (embedding,) = self._embedding
            embedding.to(image.device)
            points = batch["landmarks68"][:count] * (chosen.size / self.network.camera.size)
            # The photograph round the face, so that only the face differs.
            shown = torch.where(rendered.covered.unsqueeze(1), rendered.image, image)
            with torch.no_grad():
                wanted = embedding(face_crop(image, points))
            losses["perceptual"] = perceptual_loss(embedding(face_crop(shown, points)), wanted)
        if self.wants("reflectance"):
            losses["reflectance"] = reflectance_loss(rendered.albedo, self.model.vertex_skin.nonzero().squeeze(1))
        return losses


def check_losses(settings: EyeMotionSettings, model: DifferentiableModel) -> None:
    """Refuses a loss that has nothing to move. Raises UsageError."""
    wanted = settings.losses.local_dynamic > 0 and settings.local_dynamic.eyes
    if wanted and model.shuts_lids and not model.expression_is_bounded:
        raise UsageError(
            "lids-out-of-reach",
            f"The local dynamic loss of the eyes needs lids that move, and the own expression of {model.name} does not "
            "shut them. Set expression=keys, which do, or local_dynamic.eyes=0.",
        )


def check_truth_is_not_needed(settings: EyeMotionSettings, shown: str) -> None:
    """Refuses losses that compare codes with those of people of another kind. Raises UsageError."""
    wanted = [name for name in NEED_TRUTH if settings.losses.weight(name) > 0]
    if wanted:
        raise UsageError(
            "truth-of-another-model",
            f"The losses {', '.join(wanted)} compare with known codes, and the pictures show people of {shown} by "
            f"their keys, not what {settings.face_model} codes. Make pictures of it (python3 -m training synthesise "
            "--face-model NAME), train on its keys (expression=keys), or set these weights to 0 as the preset paper "
            "does.",
        )


def parameter_split(model: DifferentiableModel, light: int) -> ParameterSplit:
    """The outputs of a network for a face model."""
    return ParameterSplit(model.identity_size, model.expression_size, model.albedo_size, light=light)


def expression_population(model: DifferentiableModel) -> tuple[Tensor, Tensor]:
    """(E,) mean and (E,) standard deviation of the keys of synthetic people; 0 and 1 where a model's are others."""
    if not model.expression_names:
        return torch.zeros(model.expression_size), torch.ones(model.expression_size)
    names = (*model.expression_names, *BLINK_CORRECTIVES.values())
    generator = np.random.default_rng(0)
    weights = np.stack([random_expression(names, generator).weights for _ in range(POPULATION)])
    weights = torch.from_numpy(weights[:, : model.expression_size])
    return weights.mean(0), weights.std(0)


def landmark_detectors(model: DifferentiableModel) -> torch.nn.ModuleList:
    """The detectors that a network which sees landmarks learns with. Raises UsageError for other face models."""
    if model.name != "open_head":
        raise UsageError(
            "landmarks-of-another-model",
            "Where a detector's landmarks lie is known on the open head only. Leave them out: "
            "network.sees_landmarks=false, of the spectral method network.landmarks=none.",
        )
    return DetectedLandmarks.of_all_detectors()


def pose_or_any(batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    """Rotation, translation and intrinsics; harmless ones of pictures whose pose nobody knows."""
    known = supervised.known_pictures(batch)
    translation = torch.where(known[:, None], batch["translation"], batch["translation"].new_tensor([0.0, 0, 1]))
    intrinsics = torch.where(known[:, None], batch["intrinsics"], torch.ones_like(batch["intrinsics"]))
    return batch["rotation"], translation, intrinsics


def detected_landmarks(
    batch: Batch, model: DifferentiableModel, detectors: torch.nn.ModuleList, usual: Tensor
) -> Tensor:
    """(B, 478, 2) pixels: what one of the detectors, by chance, would find in the pictures of a batch.

    Args:
        batch: of `training.data.batches`. Of photographs, whose pose nobody knows, it is what was found in them.
        usual: (478, 2) pixels, for photographs that were prepared with another detector.
    """
    known = supervised.known_pictures(batch)
    heads = with_mean_person(model, batch["identity"], batch["key_weights"])
    detected = detectors[int(torch.randint(len(detectors), ()))](*heads, *pose_or_any(batch))
    own = batch["landmarks478"]
    none = (own == 0).all(dim=(1, 2), keepdim=True)
    return torch.where(known[:, None, None], detected, torch.where(none, usual, own))


def detected_examples(
    detectors: torch.nn.ModuleList, model: DifferentiableModel, camera: CropCamera, count: int = POPULATION
) -> Tensor:
    """(count, 478, 2) pixels: landmarks of random people in crops, always the same."""
    generator = np.random.default_rng(0)
    names = (*model.expression_names, *BLINK_CORRECTIVES.values())
    keys = np.stack([random_expression(names, generator).weights for _ in range(count)])[:, : model.expression_size]
    turns = generator.normal(0, EXAMPLE_TURNS, (count, 3))
    shifts = generator.normal(0, EXAMPLE_SHIFTS_M, (count, 3)) + [0, 0, CAMERA_DISTANCE_M]
    identity = generator.normal(size=(count, model.identity_size))
    found = []
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        intrinsics = torch.tensor(camera.intrinsics).expand(count, 4)
        parts = (torch.from_numpy(values).float().split(EXAMPLES_AT_ONCE) for values in (identity, keys, turns, shifts))
        for number, (person, expression, turn, shift) in enumerate(zip(*parts, strict=True)):
            rotation = torch.tensor(FACING) @ rotation_matrix(turn)
            heads = with_mean_person(model, person, expression)
            detector = detectors[number % len(detectors)]
            found.append(detector(*heads, rotation, shift, intrinsics[: len(person)]))
    return torch.cat(found)


def with_mean_person(model: DifferentiableModel, identity: Tensor, expression: Tensor) -> tuple[Tensor, Tensor]:
    """(B, V, 3) metres, twice: people with their expressions, and the mean person with the same."""
    return model.vertices(identity, expression), model.vertices(torch.zeros_like(identity), expression)


def shape_grams(model: DifferentiableModel) -> tuple[Tensor, Tensor]:
    """(I, I) and (E, E): `supervised.shape_gram` of identity and expression over the skin of the face."""
    skin = model.vertex_skin
    with torch.no_grad():
        none = torch.zeros(1, model.identity_size), torch.zeros(1, model.expression_size)
        mean = model.vertices(*none)[:, skin]
        unit = torch.eye(model.identity_size)
        identity = model.vertices(unit, none[1].expand(len(unit), -1))[:, skin] - mean
        unit = torch.eye(model.expression_size)
        expression = model.vertices(none[0].expand(len(unit), -1), unit)[:, skin] - mean
        return supervised.shape_gram(identity), supervised.shape_gram(expression)


def front_directions(count: int) -> Tensor:
    """(count, 3) unit normals spread evenly over the half of a head that faces forward, model axes."""
    place = torch.arange(count) + 0.5
    z = 1 - place / count
    angle = place * torch.pi * (1 + 5**0.5)
    radius = (1 - z.square()).sqrt()
    return torch.stack([radius * torch.cos(angle), radius * torch.sin(angle), z], dim=1)


def resized(image: Tensor, size: int) -> Tensor:
    """(B, C, H, W) to (B, C, size, size), evenly filtered."""
    if image.shape[-1] == size:
        return image
    return torch.nn.functional.interpolate(image, (size, size), mode="bilinear", antialias=True, align_corners=False)


def load_backbone(backbone: ResNet, path: Path, depth: int) -> None:
    """Gives a ResNet the weights of a state dict with torchvision's names, but for its last layer.

    Args:
        backbone: to be changed.
        path: of a `.safetensors`, or of what torch writes, of which only tensors are read.
        depth: of the ResNet, for what is said of a file that does not fit.

    Raises:
        UsageError: the file cannot be read or belongs to another network.
    """
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            state = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
        state = {name: value for name, value in state.items() if not name.startswith("fc.")}
        wrong = backbone.load_state_dict(state, strict=False)
        if any(not name.startswith("fc.") for name in wrong.missing_keys) or wrong.unexpected_keys:
            raise ValueError(f"names differ, such as {(wrong.missing_keys + wrong.unexpected_keys)[-1]}")
    except Exception as error:  # torch.load raises whatever a file makes it stumble over
        raise UsageError(
            "initial-weights",
            f"{path} does not hold a ResNet-{depth} of width {backbone.conv1.out_channels} with torchvision's names "
            f"({error}). Give another file as network.initial_weights, or null to begin from random weights.",
        ) from error


def load_embedding(name: str | None, loss: str = "perceptual") -> torch.nn.Module:
    """The frozen network of a loss that compares people. Raises UsageError where there is none."""
    if name is None:
        raise UsageError(
            "no-embedding",
            f"The {loss} loss needs a network that recognises people. Set network.embedding to the file of an "
            f"ArcFace network or to weights that `fit identity-embedding` made, or losses.{loss}=0.",
        )
    return read_embedding(name).eval().requires_grad_(False)
