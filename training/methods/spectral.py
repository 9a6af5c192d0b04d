"""Trains the regressor of the spectral method ("3D Face Reconstruction Using A Spectral-Based Graph Convolution
Encoder", WWW 2024, "3DFace" in its authors' words): metrical heads by the features that tell people apart.

Losses and weights of the paper: vertices and 3D-ID compare neutral heads with the known truth, DECA's terms compare
with the picture. docs/methods/spectral.md says what the paper leaves open and how it was decided.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from pydantic import Field
from torch import Tensor

from backend.embedding_files import SHIPPED as SHIPPED_EMBEDDING
from backend.embedding_files import read_embedding
from backend.face_models import load_face_model
from backend.face_models.differentiable import differentiable_model
from backend.identity_crop import FACE_SIZE, face_crop, five_of_68, similarity
from backend.methods.eye_motion import CropCamera, project, rotation_matrix
from backend.methods.spectral_network import LandmarksFor, SpectralCodes, SpectralNetwork, weakly_projected
from backend.methods.sureness import IdentitySureness
from backend.networks.identity_encoder import FROZEN_STAGES
from training.data.batches import SyntheticBatches
from training.data.mirroring import Mirror
from training.data.person_batches import PeopleSeenOften
from training.data.scanned_people import ScannedPeople
from training.losses import deca, supervised
from training.losses.landmark import REFERENCE_SIZE
from training.losses.perceptual import perceptual_loss
from training.losses.regularisers import light_loss
from training.losses.structure import structure_loss
from training.losses.vertices import RegionWeighting, vertex_loss
from training.methods.base import Batch, Outputs, TrainingMethod
from training.methods.eye_motion import (
    SKIN_CLASSES,
    RenderingSettings,
    detected_examples,
    detected_landmarks,
    landmark_detectors,
    load_embedding,
    resized,
)
from training.methods.mesh_autoencoder import SHIPPED as SHIPPED_AUTOENCODER
from training.methods.spectral_parts import (
    check_people_are_seen_often,
    check_truth_is_not_needed,
    first_camera,
    identity_is_known,
    load_autoencoder,
    load_second,
    model_of_pictures,
    parameter_split,
    region_weights,
)
from training.methods.spectral_rendering import SeenFaces, seen_faces
from training.settings import DataSettings, LossWeights, NetworkSettings, RunSettings, Section, Weight

RENDERED = ("photometric", "identity")
LEAST_PEOPLE = 40
"""Pictures below which a validation says nothing of how sure the network is."""
PEOPLE_SHOWN, SIDE = 6, 160
SCANS_LEARNT_FROM = (
    "Photographs and heads of scanned people in MICA's layout (docs/datasets.md), which their owners give out for "
    "academic, non-commercial work: the weights are not to be passed on without their leave."
)
HEAD, JAW = 0, 2
"""Places of the joints that are turned, in FLAME's order."""


class SpectralNetworkSettings(NetworkSettings):
    """The network, see `SpectralNetwork`.

    Attributes:
        encoders: "one" as in the paper, or "two".
        recogniser: what the identity encoder begins with: the name of weights that ship, or a file of an ArcFace
            network.
        frozen_stages: of the recogniser; -1 lets all of it learn.
        width, hidden: of the mapping network.
        albedo: outputs for albedo; None for as many as the face model has.
        second_width: of the second encoder, a ResNet-50.
        second_weights: of Eye Motion, from whose ResNet the second encoder begins, or None.
        second_frozen: whether of the second encoder the last layer alone learns.
        landmarks: what a detector's landmarks are asked for, beside the picture: "none" as in the paper, "second" for
            what the second encoder says, or "all". See `training.data.detected_landmarks`.
        autoencoder: weights of `fit mesh-autoencoder`, for the 3D-ID loss, or None.
        embedding: of the identity loss, as `recogniser`, or None.
        jitter: how far the five points of a face are moved in training, pixels of the picture, as a detector's are off.
    """

    encoders: Literal["one", "two"] = "one"
    recogniser: str = SHIPPED_EMBEDDING
    frozen_stages: int = Field(FROZEN_STAGES, ge=-1, le=4)
    width: int = Field(300, ge=1)
    hidden: int = Field(3, ge=0)
    albedo: int | None = Field(None, ge=0)
    second_width: int = Field(32, ge=4)
    second_weights: str | None = None
    second_frozen: bool = False
    landmarks: LandmarksFor = "none"
    autoencoder: str | None = SHIPPED_AUTOENCODER
    embedding: str | None = SHIPPED_EMBEDDING
    jitter: float = Field(1.0, ge=0)


class SpectralLosses(LossWeights):
    """0.4 (0.5 vertices + 0.5 structure) + 0.6 times DECA's terms with DECA's weights.

    The last six keep codes small and light white; the paper names one for each and gives no weight, so that those of
    identity, expression, albedo and light are DECA's, and pose and camera, which DECA has none for, have the same.
    """

    vertices: Weight = 0.2
    structure: Weight = 0.2
    landmark: Weight = 0.6
    eye_distance: Weight = 0.6
    lip_distance: Weight = 0.3
    photometric: Weight = 1.2
    identity: Weight = 0.12
    identity_size: Weight = 6e-5
    expression_size: Weight = 6e-5
    albedo_size: Weight = 6e-5
    pose_size: Weight = 6e-5
    camera_size: Weight = 6e-5
    light: Weight = 0.6


class ThreeDSettings(Section):
    """The losses that compare heads.

    Attributes:
        regions: whose vertices weigh more, see `training.losses.vertices.WEIGHTINGS`.
        mean_weight_is_one: whether the weights are divided by their mean. Published ones are not: a millimetre on each
            axis costs their mean, about 50, beside which 3D-ID, 2 at most, hardly counts.
        structure: how codes are compared: the angle between them, or "l2", half their squared distance.
    """

    regions: RegionWeighting = "mica"
    mean_weight_is_one: bool = False
    structure: Literal["cosine", "l2"] = "cosine"


class SpectralData(DataSettings):
    """What is trained on.

    Attributes:
        pictures_per_person: of each known person in a batch, side by side.
        scans: folder of scanned people with photographs, see `training.data.mica_layout`: MICA's sets, whichever are
            there. Trained on are these alone, or synthetic people among them where `shards` are named.
        scans_prepared: folder of their photographs as `python3 -m training prepare SCANS --kind mica` makes them; None
            for "prepared" in `scans`. What is not there is made before the training.
        scans_share: which part of a batch is of scanned people where there are shards, too.
    """

    pictures_per_person: int = Field(2, ge=1)
    scans: str | None = None
    scans_prepared: str | None = None
    scans_share: float = Field(0.5, gt=0, lt=1)


class SpectralSettings(RunSettings):
    """All settings of a run.

    Attributes:
        shape_consistency: whether every picture is compared a second time, with the identity read from another picture
            of the same person.
    """

    network: SpectralNetworkSettings = SpectralNetworkSettings()
    losses: SpectralLosses = SpectralLosses()
    three_d: ThreeDSettings = ThreeDSettings()
    rendering: RenderingSettings = RenderingSettings()
    data: SpectralData = SpectralData()
    shape_consistency: bool = True


class SpectralTraining(TrainingMethod):
    """The network with its losses, see `TrainingMethod`.

    With one encoder the picture in which landmarks and colours are compared is the recogniser's crop, as in the paper;
    with two it is the aligned crop that the second one looks at. Landmarks are from -1 to 1 across it.
    """

    name = "spectral"
    Settings = SpectralSettings
    learns_from = "Synthetic people of this project (docs/synthetic-people.md), made from CC0 data. No photographs."

    def __init__(self, settings: SpectralSettings):
        super().__init__(settings)
        check_people_are_seen_often(settings)
        self.model = differentiable_model(
            settings.face_model, None if settings.expression == "auto" else settings.expression
        )
        self.shown_model = model_of_pictures(settings)
        if settings.data.scans is not None:
            self.learns_from = SCANS_LEARNT_FROM
        self.truth_is_of_model = identity_is_known(self.model, self.shown_model)
        if not self.truth_is_of_model:
            check_truth_is_not_needed(settings, self.shown_model)
        self.network = SpectralNetwork(
            parameter_split(self.model, settings.network.albedo),
            read_embedding(settings.network.recogniser),
            1 if settings.network.encoders == "one" else 2,
            settings.network.width,
            settings.network.hidden,
            settings.network.frozen_stages,
            settings.network.second_width,
            self.model.expression_is_bounded,
            first_camera(self.model, settings.network.encoders),
            settings.network.second_frozen,
            settings.network.landmarks,
        ).to(memory_format=torch.channels_last)
        if self.network.landmark_encoder is not None:
            self.detectors = landmark_detectors(self.model)
            size = settings.data.size
            examples = detected_examples(self.detectors, self.model, CropCamera(size))
            self.network.landmark_encoder.whiten_as(examples / size)
        if self.network.second is not None and settings.network.second_weights is not None:
            load_second(self.network, settings.network.second_weights)
        self.register_buffer("faces", self.model.faces[self.model.face_skin], persistent=False)
        self.register_buffer("identity_gain", torch.ones(self.model.identity_size))
        self.register_buffer("identity_deviation", torch.ones(self.model.identity_size))
        if self.wants("vertices"):
            self.register_buffer("region_weights", region_weights(settings, self.model), persistent=False)
        if self.wants("structure"):
            # In tuples, so that they are neither trained nor saved.
            autoencoder, rows = load_autoencoder(settings)
            self._autoencoder = (autoencoder,)
            self.register_buffer("autoencoder_rows", torch.from_numpy(rows), persistent=False)
        self._embedding = (load_embedding(settings.network.embedding, "identity"),) if self.wants("identity") else ()
        # Mirrored identities of the open head are its identities again; other models' are not.
        own = self.shown_model == self.model.name == "open_head" and self.model.expression_is_bounded
        self.mirror = Mirror(load_face_model("open_head")) if own else None
        self._held_out: list[tuple[Tensor, Tensor]] = []

    # What is learnt from.

    def data(self, settings: SpectralSettings) -> LightningDataModule:
        options: dict[str, Any] = {"face_model": self.shown_model}
        if settings.data.scans is not None:
            return ScannedPeople.from_settings(
                settings.data,
                together=settings.data.pictures_per_person,
                scans=settings.data.scans,
                prepared=settings.data.scans_prepared,
                share=settings.data.scans_share,
                **options,
            )
        if settings.data.pictures_per_person < 2:
            return SyntheticBatches.from_settings(settings.data, **options)
        return PeopleSeenOften.from_settings(settings.data, together=settings.data.pictures_per_person, **options)

    def prepared(self, batch: Batch) -> Batch:
        """Half of the people of a training are seen in a mirror; see `completed`, and whose identities are swapped."""
        if self.training and self.mirror is not None:
            batch = self.mirror(batch, chosen_by_person(batch["person"]))
        jitter = self.settings.network.jitter if self.training else 0.0
        batch = self.completed(batch, jitter)
        if self.training and self.settings.shape_consistency:
            batch["swap"] = swapped_within_people(batch["person"])
        return batch

    def completed(self, batch: Batch, jitter: float = 0.0) -> Batch:
        """A batch with what the network and the losses look at.

        Added are "face" (B, 3, 112, 112) in [-1, 1], the recogniser's crop by landmarks that are up to `jitter` pixels
        off, and "points" (B, 68, 2), the landmarks from -1 to 1 across the picture. With one encoder the picture with
        its parsing becomes that crop, too. For a network that takes something from landmarks there is "detected",
        (B, 478, 2) from 0 to 1 across the aligned crop.
        """
        landmarks = batch["landmarks68"]
        if self.truth_is_of_model and self.model.expression_is_bounded:
            # of every picture anew, so that shards stay right when the head's points are mended
            known = supervised.known_pictures(batch)[:, None, None]
            own = self.model.points("landmarks68", batch["identity"], batch["key_weights"])
            own = project(own, batch["rotation"], batch["translation"], batch["intrinsics"])
            landmarks = torch.where(known, own, landmarks)
        seen_at = landmarks + jitter * torch.randn_like(landmarks[:, :1])
        size = batch["image"].shape[-1]
        batch = {**batch, "landmarks68": landmarks, "face": face_crop(batch["image"].float(), seen_at)}
        if self.network.landmark_encoder is not None:
            usual = self.network.landmark_encoder.mean.unflatten(0, (-1, 2)) * size
            batch["detected"] = detected_landmarks(batch, self.model, self.detectors, usual) / size
        if self.network.encoders == 1:
            batch |= in_identity_crop(batch, seen_at)
        batch["points"] = batch["landmarks68"] * (2 / size) - 1
        return batch

    # What the network makes of it.

    def outputs(self, batch: Batch) -> Outputs:
        """Codes of the B pictures, then, where there is "swap", of all again with other identities; heads likewise."""
        face, image = (batch[name].contiguous(memory_format=torch.channels_last) for name in ("face", "image"))
        raw = self.network(face, image if self.network.encoders == 2 else None, batch.get("detected"))
        with torch.autocast(raw.device.type, enabled=False):
            codes = self.network.decode(raw)
            if "swap" in batch:
                codes = codes.with_identities(batch["swap"])
            return {
                "raw": self.network.parameter_split.split(raw),
                "codes": codes,
                "points": weakly_projected(self.landmarks68(codes), codes.camera),
                "neutral": self.neutral(codes.identity[: len(raw)]),
            }

    def neutral(self, identity: Tensor) -> Tensor:
        """(B, V, 3) metres: heads of identities (B, I) without expression, in model space."""
        return self.model.vertices(identity, identity.new_zeros(len(identity), self.model.expression_size))

    def posed(self, codes: SpectralCodes) -> Tensor:
        """(B, V, 3) metres: the coded heads, turned."""
        if self.model.joint_names:
            return self.model.vertices(codes.identity, codes.expression, self._joint_turns(codes))
        return self.model.vertices(codes.identity, codes.expression) @ rotation_matrix(codes.pose).transpose(1, 2)

    def landmarks68(self, codes: SpectralCodes) -> Tensor:
        """(B, 68, 3) of the posed heads. The jaw's line slides where landmarks are not the model's own but found."""
        turn = rotation_matrix(codes.pose[:, :3])
        if not self.truth_is_of_model:
            viewer = turn[:, 2]  # in axes of the head, from where it is seen
            yaw = torch.rad2deg(torch.atan2(viewer[:, 0], viewer[:, 2]))
            return self.model.landmarks68(self.posed(codes), yaw)
        if self.model.joint_names:
            return self.model.points("landmarks68", codes.identity, codes.expression, self._joint_turns(codes))
        return self.model.points("landmarks68", codes.identity, codes.expression) @ turn.transpose(1, 2)

    def _joint_turns(self, codes: SpectralCodes) -> Tensor:
        """(B, J, 3) radians."""
        pose = codes.pose.new_zeros(len(codes.pose), len(self.model.joint_names), 3)
        pose[:, HEAD], pose[:, JAW] = codes.pose[:, :3], codes.pose[:, 3:]
        return pose

    def albedo(self, codes: SpectralCodes) -> Tensor:
        """(B, V, 3) linear. Codes that the face model does not have mean nothing."""
        missing = self.model.albedo_size - codes.albedo.shape[1]  # where it is negative, the last are left out
        return self.model.albedo(torch.nn.functional.pad(codes.albedo, (0, missing)))

    # What is wrong with it.

    def losses(self, batch: Batch, outputs: Outputs) -> dict[str, Tensor]:
        points, raw, codes = outputs["points"], outputs["raw"], outputs["codes"]
        copies = len(points) // len(batch["points"])
        with torch.autocast(points.device.type, enabled=False):
            wanted, visible = (torch.cat([batch[name]] * copies) for name in ("points", "visible68"))
            terms: dict[str, Callable[[], Tensor]] = {
                "landmark": lambda: deca.landmark_distance(points, wanted, visible),
                "eye_distance": lambda: deca.eye_distance(points, wanted),
                "lip_distance": lambda: deca.lip_distance(points, wanted),
                "identity_size": lambda: deca.code_size(codes.identity),
                "expression_size": lambda: deca.code_size(codes.expression),
                "albedo_size": lambda: deca.code_size(codes.albedo),
                "pose_size": lambda: deca.code_size(codes.pose),
                "camera_size": lambda: deca.code_size(raw["camera"]),
                "light": lambda: light_loss(raw["light"].unflatten(1, (9, 3))),
            }
            if self.truth_is_of_model:
                terms |= self._heads_compared(batch, outputs["neutral"])
            losses = {name: term() for name, term in terms.items() if self.wants(name)}
            if self._renders_now():
                losses |= self._rendered_losses(batch, outputs)
        return losses

    def _heads_compared(self, batch: Batch, neutral: Tensor) -> dict[str, Callable[[], Tensor]]:
        known = batch["identity_known"]
        with torch.no_grad():
            true = self.neutral(batch["identity"])

        def structure() -> Tensor:
            found, wanted = self.structure_of(neutral), self.structure_of(true)
            if self.settings.three_d.structure == "l2":
                return supervised.mean_over_known((found - wanted).square().sum(1) / 2, known)
            return supervised.mean_over_known(structure_loss(found, wanted), known)

        return {
            "vertices": lambda: supervised.mean_over_known(vertex_loss(neutral, true, self.region_weights), known),
            "structure": structure,
        }

    def structure_of(self, neutral: Tensor) -> Tensor:
        """(B, 8): the frozen mesh autoencoder's codes of neutral heads (B, V, 3)."""
        (autoencoder,) = self._autoencoder
        return autoencoder.to(neutral.device).encode(neutral[:, self.autoencoder_rows])

    def _renders_now(self) -> bool:
        wanted = any(self.wants(name) for name in RENDERED)
        return wanted and (not self.training or self.global_step % self.settings.rendering.every == 0)

    def _rendered_losses(self, batch: Batch, outputs: Outputs) -> dict[str, Tensor]:
        size, pictures = self.settings.rendering.size, len(batch["points"])
        count = min(self.settings.rendering.pictures or pictures, pictures)
        copies = len(outputs["points"]) // pictures
        chosen = torch.cat([torch.arange(count) + copy * pictures for copy in range(copies)]).to(batch["points"].device)
        codes = outputs["codes"].rows(chosen)
        image = torch.cat([resized(batch["image"][:count].float(), size)] * copies)
        seen = seen_faces(self.posed(codes), codes.camera, self.faces, size)
        losses = {}
        if self.wants("photometric"):
            skin = torch.isin(batch["parsing"][:count], batch["parsing"].new_tensor(SKIN_CLASSES))
            skin = resized(skin.float().unsqueeze(1), size).squeeze(1)
            mask = torch.cat([skin] * copies) * seen.covered
            losses["photometric"] = deca.photometric_distance(self._coloured(seen, codes), image, mask)
        if self.wants("identity"):
            points = torch.cat([(batch["points"][:count] + 1) * (size / 2)] * copies)
            losses["identity"] = self._identity_loss(seen, codes, image, points)
        return losses

    def _coloured(self, seen: SeenFaces, codes: SpectralCodes) -> Tensor:
        return seen.coloured(self.albedo(codes), codes.light)

    def _identity_loss(self, seen: SeenFaces, codes: SpectralCodes, image: Tensor, points: Tensor) -> Tensor:
        """Colour and light are to be learnt from colours alone: no gradient of this loss reaches them."""
        (embedding,) = self._embedding
        embedding.to(image.device)
        fixed = seen.coloured(self.albedo(codes).detach(), codes.light.detach())
        shown = torch.where(seen.covered.unsqueeze(1), fixed, image)
        with torch.no_grad():
            wanted = embedding(face_crop(image, points))
        return perceptual_loss(embedding(face_crop(shown, points)), wanted)

    # How good it is.

    def metrics(self, batch: Batch, outputs: Outputs) -> dict[str, Tensor]:
        pictures = len(batch["points"])
        away = (outputs["points"][:pictures] - batch["points"]).norm(dim=-1).mean()
        figures = {"landmark_error_px": away * (REFERENCE_SIZE / 2)}
        if not self.truth_is_of_model:
            return figures
        known = batch["identity_known"]
        identity = outputs["codes"].identity[:pictures]
        self._held_out.append((identity[known], batch["identity"][known]))
        true, skin = self.neutral(batch["identity"]), self.model.vertex_skin
        mean = self.neutral(torch.zeros_like(batch["identity"]))

        def distance_mm(heads: Tensor) -> Tensor:
            return supervised.mean_over_known(1e3 * (heads - true)[:, skin].norm(dim=-1).mean(1), known)

        figures |= {"shape_error_mm": distance_mm(outputs["neutral"]), "mean_head_error_mm": distance_mm(mean)}
        return figures

    def on_validation_epoch_start(self) -> None:
        self._held_out = []

    def on_validation_epoch_end(self) -> None:
        """Writes down how far codes of held-out people are from the truth, for whoever uses the weights."""
        if sum(len(identity) for identity, _ in self._held_out) >= LEAST_PEOPLE:
            said, true = (torch.cat(parts).float() for parts in zip(*self._held_out, strict=True))
            gain = ((said * true).sum(0) / said.square().sum(0).clamp(min=1e-6)).clamp(0.0, 1.2)
            self.identity_gain.copy_(gain)
            self.identity_deviation.copy_((said * gain - true).square().mean(0).sqrt().clamp(max=1.0))
        self._held_out = []

    def ablation_figures(self) -> dict[str, float]:
        from training.evaluation.spectral_figures import held_out_figures

        return held_out_figures(self)

    def pictures(self, batch: Batch, outputs: Outputs) -> np.ndarray:
        """A row a person: photograph, coded face over it, difference, neutral head as found and, where known, true."""
        from training.methods.mesh_pictures import shaded_heads

        count = min(PEOPLE_SHOWN, len(batch["points"]))
        first = torch.arange(count, device=batch["points"].device)
        with torch.no_grad():
            codes = outputs["codes"].rows(first)
            seen = seen_faces(self.posed(codes), codes.camera, self.faces, SIDE)
            photographs = resized(batch["image"][:count].float(), SIDE)
            shown = torch.where(seen.covered.unsqueeze(1), self._coloured(seen, codes), photographs)
            different = (shown - photographs).abs().clamp(max=0.5) * 2
            heads = [outputs["neutral"][:count]]
            if self.truth_is_of_model:
                heads.append(self.neutral(batch["identity"][:count]))
            columns = [
                (values.clamp(0, 1) * 255 + 0.5).to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
                for values in (photographs, shown, different)
            ]
            columns += [shaded_heads(head.detach(), self.faces, SIDE) for head in heads]
        return np.vstack([np.hstack(row) for row in zip(*columns, strict=True)])

    def exported(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """What says who is shown. A second encoder was there for the picture's terms and is left out."""
        state, facts = self.network.identity_alone()
        sureness = IdentitySureness(self.identity_gain, self.identity_deviation)
        return state | sureness.state(), {"network": facts, "key_names": list(self.model.expression_names)}


def chosen_by_person(person: Tensor) -> Tensor:
    """(B,) bool, by chance, the same for all pictures of a person (B,) int64; -1, whom nobody knows, is many people."""
    coins = torch.rand(len(person), device=person.device) < 0.5
    _, group = torch.unique(person, return_inverse=True)
    shared = torch.zeros_like(coins).index_put((group,), coins)
    return torch.where(person < 0, coins, shared[group])


def swapped_within_people(person: Tensor) -> Tensor:
    """(B,) int64: for each picture another one of the same person (B,) int64, each once; itself where there is none.

    People numbered -1 are not known, and so keep their own.
    """
    order = torch.arange(len(person), device=person.device)
    for number in torch.unique(person[person >= 0]):
        own = (person == number).nonzero().squeeze(1)
        own = own[torch.randperm(len(own), device=own.device)]
        order[own] = own.roll(1)
    return order


def in_identity_crop(batch: Batch, points: Tensor) -> Batch:
    """What of a batch changes when its pictures become the recogniser's crop, as large as they were.

    Args:
        batch: of `training.data.batches`.
        points: (B, 68, 2) pixels, by which the crop is laid.

    Returns:
        "image", "parsing", "landmarks68" and "visible68"; black and "background" beyond the picture's border.
    """
    height, width = batch["image"].shape[-2:]
    factor, shift = similarity(five_of_68(points))
    steps = (torch.arange(width, device=points.device, dtype=points.dtype) + 0.5) * (FACE_SIZE / width)
    down, across = torch.meshgrid(steps, steps, indexing="ij")
    place = torch.view_as_real(factor[:, None, None] * torch.complex(across, down) + shift[:, None, None])
    place = place * 2 / place.new_tensor([width, height]) - 1
    image = torch.nn.functional.grid_sample(batch["image"].float(), place.float(), align_corners=False)
    classes = batch["parsing"].unsqueeze(1).float()
    classes = torch.nn.functional.grid_sample(classes, place.float(), mode="nearest", align_corners=False)
    landmarks = torch.view_as_complex(batch["landmarks68"].contiguous())
    landmarks = torch.view_as_real((landmarks - shift[:, None]) / factor[:, None]) * (width / FACE_SIZE)
    inside = ((landmarks >= 0) & (landmarks < width)).all(-1)
    return {
        "image": image,
        "parsing": classes.squeeze(1).to(batch["parsing"].dtype),
        "landmarks68": landmarks,
        "visible68": batch["visible68"] & inside,
    }
