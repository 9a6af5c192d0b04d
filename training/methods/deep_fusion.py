"""Trains the regressor of DF-MVR (Zhao et al., "From 2D Images to 3D Model: Weakly Supervised Multi-View Face
Reconstruction with Deep Fusion", ICME 2025): one head from a left, a front and a right view.

Losses and weights of the paper and of its published code, and beside them, with weight 0 in `paper`, the terms that
need the known truth of synthetic people. docs/methods/deep-fusion.md says which preset uses what, and why.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from pydantic import Field
from torch import Tensor
from tqdm import trange

from backend.errors import UsageError
from backend.face_models import load_face_model
from backend.face_models.differentiable import DifferentiableModel, differentiable_model
from backend.face_parsing import SHIPPED, FaceParser, read_face_parser, weight_map
from backend.methods.deep_fusion_network import (
    ONE_VIEW,
    Backbone,
    DeepFusionCodes,
    DeepFusionNetwork,
    DeepFusionSplit,
    Fusion,
    network_input,
)
from backend.methods.eye_motion import DecodedCodes, Sureness, project
from backend.rendering.shading import harmonic_basis
from backend.view_order import SLOTS
from training.data.landmarks101 import SEVEN_OF_68
from training.data.mirroring import Mirror
from training.data.photographed_triples import SETS, PhotographedTriples, learnt_from
from training.data.pictures import shown_model
from training.data.view_triples import ViewTriples
from training.errors import TrainingError
from training.losses import deep_fusion, supervised
from training.losses.landmark import REFERENCE_SIZE
from training.losses.landmarks3d import aligned_landmark_loss
from training.losses.regularisers import coefficient_loss, light_loss, reflectance_loss
from training.methods.base import Batch, Outputs, TrainingMethod
from training.methods.deep_fusion_landmarks import RandomViews
from training.methods.deep_fusion_views import (
    FORMS,
    FRONT,
    VIEWS,
    Missing,
    flat,
    form_of,
    form_probabilities,
    mirrored,
    shown_as,
)
from training.methods.eye_motion import (
    LIGHT_DIRECTIONS,
    RenderingSettings,
    check_truth_is_not_needed,
    detected_examples,
    detected_landmarks,
    expression_population,
    front_directions,
    landmark_detectors,
    pose_or_any,
    resized,
    shape_grams,
)
from training.methods.face_rendering import FaceRenderer
from training.methods.measured_points import MeasuredPoints
from training.settings import DataSettings, LossWeights, NetworkSettings, RunSettings, Weight

RENDERED = ("photo", "mask", "reflectance")
MILLIMETRES = 1000.0
LEAST_PEOPLE = 40
"""People below which a validation says nothing of how sure the network is."""
PEOPLE_SHOWN, SIDE = 6, 112


class DeepFusionNetworkSettings(NetworkSettings):
    """The network, see `DeepFusionNetwork`.

    Attributes:
        width: of the network that fuses the views, 64 in the paper.
        backbone_width: of the network that regresses, 64 in the paper.
        fusion, gates, sees_classes, backbone: see `DeepFusionNetwork`.
        sees_landmarks: whether the network is given a detector's landmarks of each view, too; not in the paper. Of
            synthetic people they are made up with that detector's errors, see `training.data.detected_landmarks`.
        face_parser: weights of the face parser, a name or a file, see `backend.face_parsing.read_face_parser`: for the
            mask loss, for photographs, and for the classes that the network sees, so that it learns what to make of a
            parser's errors; or None: it sees the true classes of synthetic people.
    """

    width: int = Field(64, ge=4)
    backbone_width: int = Field(64, ge=16)
    fusion: Fusion = "unshared-encoders"
    gates: bool = True
    sees_classes: bool = True
    backbone: Backbone = "rednet"
    sees_landmarks: bool = False
    face_parser: str | None = None


class DeepFusionLosses(LossWeights):
    """The published losses with their weights, then those that need the truth."""

    photo: Weight = 24.0
    mask: Weight = 1.0
    landmark: Weight = 0.02
    landmarks3d: Weight = 1.0
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
    landmarks_alone: Weight = 0.0


class DeepFusionData(DataSettings):
    """What is trained on; `batch_size` counts people.

    Synthetic people, or photographs of the sets that are named here: several may be.

    Attributes:
        pixel_face, multi_pie, bosphorus: folder of the set, see `training.data.pixel_face_layout` and its neighbours.
        triples_prepared: folder for what is made of their photographs before the training (one below it for each set);
            None for "prepared_triples" in the folder of each set.
        missing: which views a person may be shown without, once in three times: "published" shows one alone, "any" one
            or two.
        people_without_pictures: in a step, from whose landmarks alone the loss `landmarks_alone` is taken.
    """

    pixel_face: str | None = None
    multi_pie: str | None = None
    bosphorus: str | None = None
    triples_prepared: str | None = None
    missing: Missing = "published"
    people_without_pictures: int = Field(64, ge=1)

    @property
    def sets(self) -> dict[str, str]:
        """The sets of photographs that are named, and their folders."""
        return {name: getattr(self, name) for name in SETS if getattr(self, name) is not None}


class DeepFusionSettings(RunSettings):
    """All settings of a run.

    Attributes:
        landmark_weighting: which landmarks count more, see `training.losses.deep_fusion.STRESSED`.
        mask_from: the part of the run after which the mask loss counts.
        landmarks_first: steps of the loss `landmarks_alone` by itself before the run. They cost a twentieth of the
            others, and the part that sees landmarks is then taught by more people than there are pictures of.
        rendering: `pictures` counts people.
    """

    network: DeepFusionNetworkSettings = DeepFusionNetworkSettings()
    losses: DeepFusionLosses = DeepFusionLosses()
    rendering: RenderingSettings = RenderingSettings()
    data: DeepFusionData = DeepFusionData()
    landmark_weighting: deep_fusion.LandmarkWeighting = "published"
    mask_from: float = Field(0.0, ge=0, le=1)
    landmarks_first: int = Field(0, ge=0)


class DeepFusionTraining(TrainingMethod):
    """The network with its losses, see `TrainingMethod`. Batches are those of `training.data.view_triples`."""

    name = "deep-fusion"
    Settings = DeepFusionSettings
    learns_from = "Synthetic people of this project (docs/synthetic-people.md), made from CC0 data. No photographs."

    def __init__(self, settings: DeepFusionSettings):
        super().__init__(settings)
        check_photographs(settings)
        if settings.data.sets:
            self.learns_from = learnt_from(list(settings.data.sets))
        chosen = None if settings.expression == "auto" else settings.expression
        self.model = differentiable_model(settings.face_model, chosen)
        network = settings.network
        self.network = DeepFusionNetwork(
            parameter_split(self.model),
            network.width,
            network.backbone_width,
            settings.data.size,
            self.model.expression_is_bounded,
            network.fusion,
            network.gates,
            network.sees_classes,
            network.backbone,
            network.sees_landmarks,
        )
        if network.sees_landmarks:
            self.detectors = landmark_detectors(self.model)
            examples = detected_examples(self.detectors, self.model, self.network.camera)
            self.network.landmarks.whiten_as(examples / self.network.camera.size)
        if self.wants("landmarks_alone"):
            if not network.sees_landmarks:
                raise UsageError(
                    "no-landmarks",
                    "The loss landmarks_alone teaches the part of the network that sees landmarks. Set "
                    "network.sees_landmarks=true, or losses.landmarks_alone=0.",
                )
            self.random_views = RandomViews(self.model, self.network.camera)
        self.renderer = FaceRenderer(self.model, self.network.camera)
        self.measured_points = MeasuredPoints(self.model)
        self.shown_model = shown_model(settings.face_model, settings.data.shards)
        self.truth_is_of_model = self.model.name == self.shown_model and self.model.expression_is_bounded
        if not self.truth_is_of_model:
            check_truth_is_not_needed(settings, self.shown_model)
        sizes = self.network.parameter_split
        # Of one view from the front, then of three.
        self.register_buffer("identity_gain", torch.ones(2, sizes.identity))
        self.register_buffer("identity_deviation", torch.ones(2, sizes.identity))
        self.register_buffer("expression_deviation", torch.full((2, sizes.expression), 0.3))
        self.register_buffer("directions", front_directions(LIGHT_DIRECTIONS), persistent=False)
        self.register_buffer("form_probabilities", form_probabilities(settings.data.missing), persistent=False)
        if self.truth_is_of_model:
            identity, expression = shape_grams(self.model)
            self.register_buffer("identity_gram", identity, persistent=False)
            self.register_buffer("expression_gram", expression, persistent=False)
        # In tuples, so that they are neither trained nor saved.
        self._shown = () if self.truth_is_of_model else (differentiable_model(self.shown_model, "keys"),)
        parsed = network.face_parser is not None or self.wants("mask")
        self._parser = (load_face_parser(network.face_parser),) if parsed else ()
        # Mirrored identities of the open head are its identities again; other models' are not.
        self.mirror = Mirror(load_face_model("open_head")) if self.shown_model == "open_head" else None
        self._held_out: list[tuple[Tensor, Tensor, Tensor]] = []

    # What is learnt from.

    def data(self, settings: DeepFusionSettings) -> LightningDataModule:
        if not settings.data.sets:
            return ViewTriples.from_settings(settings.data, face_model=self.shown_model)
        return PhotographedTriples.from_settings(
            settings.data,
            roots=settings.data.sets,
            prepared=settings.data.triples_prepared,
            face_parser=settings.network.face_parser,
            face_model=self.shown_model,
        )

    def prepared(self, batch: Batch) -> Batch:
        """In training half of the people are seen in a mirror, and some without all of their views."""
        people, device = len(batch["person"]), batch["image"].device
        if self.training and self.mirror is not None:
            chosen = torch.rand(people, device=device) < 0.5
            if "points101" in batch:  # of which some have no other side
                chosen &= ~batch["points101_known"]
            batch = mirrored(batch, self.mirror, chosen)
        batch = self.completed(batch)
        if self.training:
            batch = shown_as(batch, torch.multinomial(self.form_probabilities, people, replacement=True))
        return batch

    def completed(self, batch: Batch) -> Batch:
        """A batch with what the network and the losses look at, all views shown.

        Added are "views" (B, 3, 4, S, S), "points68" (B, 68, 3) metres, the landmarks of the posed heads, and for a
        network that sees landmarks "detected" (B, 3, 478, 2), from 0 to 1 across the crops. The 68 landmarks in the
        pictures are taken from the head anew, so that shards stay right when the head's points are mended.
        """
        single, size = flat(batch), batch["image"].shape[-1]
        shown = self.model if self.truth_is_of_model else self._shown[0].to(batch["image"].device)
        identity, expression = batch["identity"][:, 0], batch["key_weights"][:, 0]
        points = shown.points("landmarks68", identity, expression)
        landmarks = project(points.repeat_interleave(VIEWS, 0), *pose_or_any(single))
        known = supervised.known_pictures(single)[:, None, None]
        landmarks = torch.where(known, landmarks, single["landmarks68"])
        batch = {
            **batch,
            "views": network_input(batch["image"].float(), self.classes_seen(batch)),
            "landmarks68": landmarks.unflatten(0, (-1, VIEWS)),
            "points68": points,
        }
        if self.network.sees_landmarks:
            usual = self.network.landmarks.mean.unflatten(0, (-1, 2)) * size
            found = detected_landmarks(single, self.model, self.detectors, usual) / size
            batch["detected"] = found.unflatten(0, (-1, VIEWS))
        return batch

    def classes_seen(self, batch: Batch) -> Tensor:
        """(B, 3, S, S): the class of each pixel that the network is told, the parser's where there is one."""
        if not (self._parser and self.network.settings["sees_classes"]):
            return batch["parsing"]
        (parser,) = self._parser
        images = batch["image"].flatten(0, 1).float()
        return by_view(parser.to(images.device).labels(images))

    # What the network makes of it.

    def outputs(self, batch: Batch) -> Outputs:
        raw = self.network(batch["views"], batch.get("detected"), batch["present"])
        with torch.autocast(raw.device.type, enabled=False):
            codes = self.network.decode(raw)
            points = self.model.points("landmarks68", codes.identity, codes.expression)
            single = single_views(codes)
            intrinsics = points.new_tensor(self.network.camera.intrinsics)
            landmarks = project(points.repeat_interleave(VIEWS, 0), single.rotation, single.translation, intrinsics)
        return {"codes": codes, "points68": points, "landmarks68": landmarks.unflatten(0, (-1, VIEWS))}

    def neutral(self, identity: Tensor) -> Tensor:
        """(B, V, 3) metres: heads of identities (B, I) without expression, in model space."""
        return self.model.vertices(identity, identity.new_zeros(len(identity), self.model.expression_size))

    # What is wrong with it.

    def losses(self, batch: Batch, outputs: Outputs) -> dict[str, Tensor]:
        codes, landmarks = outputs["codes"], outputs["landmarks68"]
        with torch.autocast(landmarks.device.type, enabled=False):
            terms: dict[str, Callable[[], Tensor]] = {
                "landmark": lambda: deep_fusion.landmark_loss(
                    landmarks,
                    batch["landmarks68"],
                    batch["present"],
                    self.network.camera.size,
                    self.settings.landmark_weighting,
                ),
                "landmarks3d": lambda: self._landmarks3d(batch, outputs),
                "coefficients": lambda: coefficient_loss(codes.identity, codes.expression, codes.albedo),
                "light": lambda: light_loss(codes.light),
            }
            if self.truth_is_of_model:
                terms |= self._supervised_terms(batch, outputs)
            losses = {name: term() for name, term in terms.items() if self.wants(name)}
            if self._renders_now():
                losses |= self._rendered_losses(batch, outputs)
        return losses

    def _landmarks3d(self, batch: Batch, outputs: Outputs) -> Tensor:
        """Of photographs by the points that were measured, of synthetic people by all landmarks."""
        if "points101" in batch:
            own, codes = self.measured_points, outputs["codes"]
            points = own(codes.identity, codes.expression, outputs["points68"])
            known = batch["points101_known"][:, None].expand(-1, len(own.rows))
            return aligned_landmark_loss(points, batch["points101"][:, own.rows], own.anchors, known)
        points = batch["points68"]
        known = batch["has_truth"][:, :1].to(torch.bool).expand(-1, points.shape[1])
        return aligned_landmark_loss(outputs["points68"], points * MILLIMETRES, SEVEN_OF_68, known)

    def _supervised_terms(self, batch: Batch, outputs: Outputs) -> dict[str, Callable[[], Tensor]]:
        codes, known = outputs["codes"], batch["has_truth"][:, 0].to(torch.bool)
        single, seen = single_views(codes), (batch["present"] & batch["has_truth"].to(torch.bool)).flatten()
        own = flat(batch)

        def pose() -> Tensor:
            rotation, translation = self._true_pose(own)
            turned = supervised.rotation_loss(single.rotation, rotation, seen)
            nearer = torch.log(single.translation[:, 2] / translation[:, 2]).square() * supervised.POSE_RADIUS_MM**2
            return turned + supervised.mean_over_known(nearer, seen)

        def light_shown() -> Tensor:
            rotation, _ = self._true_pose(own)
            turned = self.directions @ FaceRenderer.viewer_rotation(rotation).transpose(1, 2)
            truth = harmonic_basis(self.directions) @ own["light"]
            return supervised.light_shown_loss(harmonic_basis(turned) @ single.light, truth, seen)

        def code_loss(name: str, predicted: Tensor) -> Callable[[], Tensor]:
            return lambda: supervised.code_loss(predicted, batch[name][:, 0], known)

        terms = {
            "landmarks_alone": self._landmarks_alone,
            "shape": lambda: supervised.shape_loss(codes.identity, batch["identity"][:, 0], self.identity_gram, known),
            "expression": lambda: supervised.shape_loss(
                codes.expression, batch["key_weights"][:, 0], self.expression_gram, known
            ),
            "pose": pose,
            "identity_codes": code_loss("identity", codes.identity),
            "key_weights": code_loss("key_weights", codes.expression),
            "light_shown": light_shown,
        }
        return terms | ({"albedo": code_loss("albedo", codes.albedo)} if self.model.albedo_size else {})

    def _landmarks_alone(self) -> Tensor:
        count = self.settings.data.people_without_pictures
        identity, landmarks = self.random_views(count, self.model, self.detectors)
        forms = torch.multinomial(self.form_probabilities, count, replacement=True)
        said = self.network.landmarks(landmarks, FORMS.to(forms.device)[forms])
        said = said[:, : self.model.identity_size]
        return supervised.shape_loss(said, identity, self.identity_gram, torch.ones_like(identity[:, 0]))

    def on_train_start(self) -> None:
        """Teaches the part that sees landmarks before the run, see `DeepFusionSettings.landmarks_first`."""
        super().on_train_start()
        steps = self.settings.landmarks_first
        if not steps or self.global_step or not self.wants("landmarks_alone"):
            return
        chosen = self.settings.optimiser
        optimiser = torch.optim.AdamW(
            self.network.landmarks.parameters(), chosen.learning_rate, weight_decay=chosen.weight_decay
        )
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
        with torch.random.fork_rng():
            torch.manual_seed(self.settings.training.seed)  # the same on all devices, where there are several
            for _ in trange(steps, desc="landmarks", mininterval=10):
                optimiser.zero_grad()
                self._landmarks_alone().backward()
                optimiser.step()
                schedule.step()
        optimiser.zero_grad()

    def _true_pose(self, single: Batch) -> tuple[Tensor, Tensor]:
        """Of single views, (3 B, 3, 3) and (3 B, 3), of the crop's camera."""
        return supervised.crop_pose(*pose_or_any(single), self.network.camera.intrinsics)

    def _renders_now(self) -> bool:
        wanted = any(self.wants(name) for name in RENDERED)
        return wanted and (not self.training or self.global_step % self.settings.rendering.every == 0)

    def _rendered_losses(self, batch: Batch, outputs: Outputs) -> dict[str, Tensor]:
        size, people = self.settings.rendering.size, self.settings.rendering.pictures or len(batch["image"])
        present = batch["present"][:people]
        rendered = self.renderer(single_views(outputs["codes"], people), size)
        image = resized(batch["image"][:people].flatten(0, 1).float(), size)
        losses = {}
        if self.wants("photo"):
            weights = weight_map(batch["parsing"][:people].flatten(0, 1)).unsqueeze(1).float()
            coverage = rendered.covered.float()
            pictures = (rendered.image, image, resized(weights, size).squeeze(1), coverage)
            losses["photo"] = deep_fusion.photo_loss(*(by_view(values) for values in pictures), present)
        if self.wants("mask") and (not self.training or self.progress(self.global_step) >= self.settings.mask_from):
            # The photograph round the face, and where the eyes and the mouth are: the renderer draws skin only.
            shown = torch.where(rendered.covered.unsqueeze(1), rendered.image, image)
            (parser,) = self._parser
            logits = parser.to(shown.device)(shown)
            labels = batch["parsing"][:people].flatten(0, 1).unsqueeze(1).float()
            labels = torch.nn.functional.interpolate(labels, (size, size), mode="nearest-exact").squeeze(1)
            losses["mask"] = deep_fusion.mask_loss(by_view(logits), by_view(labels), present)
        if self.wants("reflectance"):
            albedo = rendered.albedo[::VIEWS]
            losses["reflectance"] = reflectance_loss(albedo, self.model.vertex_skin.nonzero().squeeze(1))
        return losses

    # How good it is.

    def metrics(self, batch: Batch, outputs: Outputs) -> dict[str, Tensor]:
        """Of three views, and ("single_") of the front view alone."""
        alone = self.outputs(self.front_alone(batch))
        scale, wanted = REFERENCE_SIZE / self.network.camera.size, batch["landmarks68"]
        away = (outputs["landmarks68"] - wanted).norm(dim=-1).mean((0, 2)) * scale
        away_alone = (alone["landmarks68"] - wanted)[:, FRONT].norm(dim=-1).mean() * scale
        figures = {f"landmark_error_{slot}_px": error for slot, error in zip(SLOTS, away, strict=True)}
        figures |= {"landmark_error_px": away.mean(), "single_landmark_error_px": away_alone}
        known = batch["has_truth"][:, 0].to(torch.bool)
        if not (self.truth_is_of_model and known.any()):
            return figures
        identity, keys = batch["identity"][:, 0], batch["key_weights"][:, 0]
        both = [alone["codes"], outputs["codes"]]
        self._held_out.append(
            (
                torch.stack([codes.identity[known] for codes in both]),
                identity[known],
                torch.stack([(codes.expression - keys)[known] for codes in both]),
            )
        )

        def distance_mm(predicted: Tensor) -> Tensor:
            return supervised.shape_loss(predicted, identity, self.identity_gram, known).sqrt()

        rotation, _ = self._true_pose(flat(batch))
        turn = ((single_views(outputs["codes"]).rotation * rotation).sum((1, 2)) - 1) / 2
        degrees = torch.rad2deg(torch.arccos(turn.clamp(-1, 1)))
        return figures | {
            "shape_error_mm": distance_mm(both[1].identity),
            "single_shape_error_mm": distance_mm(both[0].identity),
            "mean_head_error_mm": distance_mm(torch.zeros_like(identity)),
            "rotation_error_degrees": supervised.mean_over_known(degrees, known.repeat_interleave(VIEWS)),
        }

    def front_alone(self, batch: Batch) -> Batch:
        """A completed batch as if of each person there were the front view only."""
        form = form_of(tuple(view == FRONT for view in range(VIEWS)))
        return shown_as(batch, torch.full((len(batch["views"]),), form, device=batch["views"].device))

    def on_validation_epoch_start(self) -> None:
        self._held_out = []

    def on_validation_epoch_end(self) -> None:
        """Writes down how far codes of held-out people are from the truth, for `Sureness`."""
        if sum(len(true) for _, true, _ in self._held_out) >= LEAST_PEOPLE:
            said, left = (torch.cat([row[part] for row in self._held_out], dim=1).float() for part in (0, 2))
            true = torch.cat([row[1] for row in self._held_out]).float()
            gain = ((said * true).sum(1) / said.square().sum(1).clamp(min=1e-6)).clamp(0.0, 1.2)
            self.identity_gain.copy_(gain)
            self.identity_deviation.copy_((said * gain[:, None] - true).square().mean(1).sqrt().clamp(max=1.0))
            self.expression_deviation.copy_(left.square().mean(1).sqrt())
        self._held_out = []

    def ablation_figures(self) -> dict[str, float]:
        if self.settings.data.sets and self.settings.data.validation_shards is None:
            raise TrainingError(
                "no-truth",
                "The heads of photographed people are not known. Name synthetic triples to measure with: "
                "data.validation_shards=FOLDER.",
            )
        from training.evaluation.deep_fusion_figures import held_out_figures

        return held_out_figures(self)

    def pictures(self, batch: Batch, outputs: Outputs) -> np.ndarray:
        """A row a person: its three photographs, then the coded face over each."""
        people = min(PEOPLE_SHOWN, len(batch["image"]))
        with torch.no_grad():
            rendered = self.renderer(single_views(outputs["codes"], people), SIDE)
            photographs = resized(batch["image"][:people].flatten(0, 1).float(), SIDE)
            shown = torch.where(rendered.covered.unsqueeze(1), rendered.image, photographs)
            rows = torch.cat([by_view(photographs), by_view(shown)], dim=1)
            grid = rows.permute(0, 3, 1, 4, 2).reshape(people * SIDE, 2 * VIEWS * SIDE, 3)
        return (grid.clamp(0, 1) * 255 + 0.5).to(torch.uint8).cpu().numpy()

    def exported(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """How sure the network is of three views as "sureness.…", of a front view alone as "one_view.sureness.…"."""
        population = expression_population(self.model)
        deviations = zip(self.identity_gain, self.identity_deviation, self.expression_deviation, strict=True)
        alone, three = (Sureness(*row, *population).state() for row in deviations)
        state = self.network.state_dict() | three | {f"{ONE_VIEW}{name}": value for name, value in alone.items()}
        # Safetensors refuses tensors that share memory.
        state = {name: value.detach().clone() for name, value in state.items()}
        return state, {"network": self.network.facts(), "key_names": list(self.model.expression_names)}


def parameter_split(model: DifferentiableModel) -> DeepFusionSplit:
    """The outputs of a network for a face model."""
    return DeepFusionSplit(model.identity_size, model.expression_size, model.albedo_size)


def single_views(codes: DeepFusionCodes, people: int | None = None) -> DecodedCodes:
    """The codes of the first people as if each view were a picture of its own: B people, 3 B faces."""
    rotation, translation = (values[:people].flatten(0, 1) for values in (codes.rotation, codes.translation))
    identity, expression, albedo, light = (
        values[:people].repeat_interleave(VIEWS, 0)
        for values in (codes.identity, codes.expression, codes.albedo, codes.light)
    )
    return DecodedCodes(identity, expression, albedo, rotation, translation, light)


def by_view(values: Tensor) -> Tensor:
    """(3 B, ...) to (B, 3, ...)."""
    return values.unflatten(0, (-1, VIEWS))


def check_photographs(settings: DeepFusionSettings) -> None:
    """Refuses sets of photographs with something beside them or without a face parser. Raises UsageError."""
    named = [f"data.{name}" for name in settings.data.sets]
    if not named:
        return
    if settings.data.shards is not None:
        raise UsageError(
            "shards-and-photographs",
            f"Learnt from are synthetic people (data.shards) or photographs ({', '.join(named)}), not both. Set "
            f"data.shards=null, or leave out {' and '.join(named)}.",
        )
    load_face_parser(settings.network.face_parser, f"Photographs ({', '.join(named)}) need", f"leave out {named[0]}")


def load_face_parser(
    name: str | None, who: str = "The mask loss needs", otherwise: str = "losses.mask=0"
) -> FaceParser:
    """A frozen network that tells the classes of pixels.

    Args:
        name: see `read_face_parser`.
        who, otherwise: for the sentence, what needs it and what to do without.

    Raises:
        UsageError: "no-face-parser": there is no name; and as `read_face_parser`.
    """
    if name is None:
        raise UsageError(
            "no-face-parser",
            f"{who} a network that knows the parts of a face. Set network.face_parser to {SHIPPED}, to weights that "
            f"`fit face-parsing` made or to a file of face-parsing.PyTorch, or {otherwise}.",
        )
    return read_face_parser(name).eval().requires_grad_(False)
