"""Trains the spectral mesh autoencoder: the 3D encoder of the spectral method (section 3.1), after CoMA.

Ranjan et al., "Generating 3D Faces using Convolutional Mesh Autoencoders", ECCV 2018. Neutral heads of one topology
go through eight numbers and come back; docs/methods/spectral.md says what differs from the published code.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from pydantic import Field
from torch import Tensor

from backend.errors import UsageError
from backend.networks.mesh_autoencoder import Activation, LatentActivation, MeshAutoencoder
from backend.networks.mesh_levels import MeshLevels
from backend.weights import load_weights
from training.data.registered_heads import HeadData, Part, head_geometry, head_levels
from training.methods.base import Batch, Outputs, TrainingMethod, make_optimiser
from training.methods.mesh_pictures import shaded_heads, side_by_side
from training.settings import DataSettings, LossWeights, NetworkSettings, OptimiserSettings, RunSettings, Weight

PEOPLE_SHOWN = 4
EXAMPLES = 4096
"""Heads from which the mean and the spread of the codes are taken."""
SHIPPED = "mesh-autoencoder-open-small"
LEVELS = "levels."
"""Begins the names of what weights hold of the levels."""


class MeshAutoencoderNetworkSettings(NetworkSettings):
    """The network, see `backend.networks.mesh_autoencoder.MeshAutoencoder`.

    Attributes:
        latent, widths, order, activation, latent_activation, last_bias: as there.
        whitened_codes: whether exported codes are moved and turned so that those of the heads that were learnt from
            have mean 0 and unit covariance. What is decoded does not change; the angle between two codes then counts
            no direction for more than another.
    """

    latent: int = Field(8, ge=1)
    widths: tuple[int, int, int, int] = (16, 16, 16, 32)
    order: int = Field(6, ge=1)
    activation: Activation = "relu"
    latent_activation: LatentActivation = "linear"
    last_bias: bool = False
    whitened_codes: bool = False


class MeshAutoencoderLosses(LossWeights):
    """distance: mean absolute difference of normalised vertices."""

    distance: Weight = 1.0


class MeshAutoencoderData(DataSettings):
    """What is learnt from.

    Attributes:
        part: of the face model: "skin", or "all" with eyes, teeth and the like.
        heads, held_out: people that are sampled from the face model, to learn from and to validate with.
        scans: folder of registered scans to learn from instead, see `training.data.registered_heads`.
    """

    part: Part = "skin"
    heads: int = Field(20000, ge=2)
    held_out: int = Field(512, ge=2)
    scans: str | None = None


class MeshAutoencoderOptimiser(OptimiserSettings):
    """How the parameters move.

    Attributes:
        epoch_decay: factor of the learning rate after each reading of all heads.
        decays: which parameters `weight_decay` is for: "all", or "dense", the two layers without a mesh.
    """

    epoch_decay: float = Field(1.0, gt=0, le=1)
    decays: Literal["all", "dense"] = "all"


class MeshAutoencoderSettings(RunSettings):
    """All settings of a run."""

    network: MeshAutoencoderNetworkSettings = MeshAutoencoderNetworkSettings()
    losses: MeshAutoencoderLosses = MeshAutoencoderLosses()
    data: MeshAutoencoderData = MeshAutoencoderData()
    optimiser: MeshAutoencoderOptimiser = MeshAutoencoderOptimiser()


class MeshAutoencoderTraining(TrainingMethod):
    """The network with its loss, see `TrainingMethod`."""

    name = "mesh-autoencoder"
    Settings = MeshAutoencoderSettings
    learns_from = (
        "Neutral heads of the face model, whose identity coefficients are drawn from N(0, 1); the open head is CC0. No "
        "photographs and no scans, unless the settings name a folder of scans."
    )

    def __init__(self, settings: MeshAutoencoderSettings):
        super().__init__(settings)
        self.geometry = head_geometry(settings.face_model, settings.data.part)
        self.shape = self.geometry.shape()
        levels = head_levels(settings.face_model, settings.data.part)
        self.network = MeshAutoencoder(levels, **network_facts(settings.network))
        self.register_buffer("faces", torch.from_numpy(self.geometry.triangles), persistent=False)
        size = 3 * len(self.geometry.template)
        self.register_buffer("mean_head", torch.zeros(size), persistent=False)
        self.register_buffer("principal", torch.zeros(settings.network.latent, size), persistent=False)
        self.steps_per_epoch = 1
        self._levels = levels

    def prepared(self, batch: Batch) -> Batch:
        """Makes the heads of codes that were drawn, on the network's device."""
        if "vertices" in batch:
            return batch
        codes = batch["identity"]
        return {**batch, "vertices": self.shape(codes, codes.new_zeros(len(codes), 0))}

    def outputs(self, batch: Batch) -> Outputs:
        code = self.network.encode(batch["vertices"])
        return {"code": code, "normalised": self.network.decode_normalised(code)}

    def losses(self, batch: Batch, outputs: Outputs) -> dict[str, Tensor]:
        wanted = self.network.normalised(batch["vertices"])
        return {"distance": (outputs["normalised"] - wanted).abs().mean()}

    def metrics(self, batch: Batch, outputs: Outputs) -> dict[str, Tensor]:
        """Mean distances of vertices: after the network, of the mean head, and after as many principal components."""
        wanted = batch["vertices"]
        flat = wanted.flatten(1) - self.mean_head
        projected = (flat @ self.principal.T) @ self.principal
        code = torch.nn.functional.normalize(outputs["code"])
        likeness = (code @ code.T)[~torch.eye(len(code), dtype=torch.bool, device=code.device)]
        figures = {
            "error_mm": _distance_mm(self._decoded(outputs), wanted),
            "mean_head_error_mm": _distance_mm(self.mean_head.view(-1, 3), wanted),
            "pca_error_mm": _distance_mm((projected + self.mean_head).view_as(wanted), wanted),
        }
        if len(likeness):
            figures["likeness_different"] = likeness.mean()
        return figures

    def pictures(self, batch: Batch, outputs: Outputs) -> np.ndarray:
        """People in columns: as they are, as they come back, and where that is wrong (red at 3 mm and more)."""
        true = batch["vertices"][:PEOPLE_SHOWN].detach()
        back = self._decoded(outputs)[:PEOPLE_SHOWN].detach()
        wrong = ((true - back).norm(dim=-1, keepdim=True) / 3e-3).clamp(0, 1)
        heat = torch.cat([0.03 + 0.8 * wrong, 0.03 + 0 * wrong, 0.03 + 0 * wrong], dim=-1)
        rows = [shaded_heads(true, self.faces), shaded_heads(back, self.faces)]
        rows.append(shaded_heads(true, self.faces, colours=heat))
        return np.vstack([side_by_side(row) for row in rows])

    def data(self, settings: MeshAutoencoderSettings) -> LightningDataModule:
        chosen = settings.data
        data = HeadData(self.geometry, chosen.batch_size, chosen.heads, chosen.held_out, chosen.seed, chosen.scans)
        mean, factor = (torch.from_numpy(part).to(self.mean_head) for part in data.training.spread())
        components = torch.linalg.svd(factor, full_matrices=False)[2][: len(self.principal)]
        self.mean_head.copy_(mean)
        self.principal.zero_()[: len(components)] = components
        if not self.network.is_normalised:  # else it came from a checkpoint
            self.network.normalise_as(mean, factor.square().sum(dim=0).sqrt())
        self.steps_per_epoch = data.steps_per_epoch
        return data

    def configure_optimizers(self) -> dict[str, Any]:
        chosen = self.settings.optimiser
        if chosen.decays == "all":
            return super().configure_optimizers()
        dense, others = self._parameter_groups()
        optimiser = make_optimiser(chosen, others)
        optimiser.add_param_group({"params": dense})
        self._schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, self.share_of_rate)
        self._decay_dense_alone()
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": self._schedule, "interval": "step"}}

    def on_train_start(self) -> None:
        super().on_train_start()
        if self.settings.optimiser.decays == "dense":
            self._decay_dense_alone()

    def share_of_rate(self, step: int) -> float:
        return super().share_of_rate(step) * self.settings.optimiser.epoch_decay ** (step // self.steps_per_epoch)

    def exported(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        network = self.network
        if self.settings.network.whitened_codes:
            network = copy.deepcopy(network)
            with torch.no_grad():
                heads = HeadData(
                    self.geometry,
                    256,
                    min(EXAMPLES, self.settings.data.heads),
                    seed=self.settings.data.seed,
                    scans=self.settings.data.scans,
                ).train_dataloader()
                codes = [network.encode(self.prepared(batch)["vertices"]) for batch in heads]
                network.whiten_codes(torch.cat(codes))
        state = dict(network.state_dict())
        for number, (kept, faces) in enumerate(zip(self._levels.selection, self._levels.faces[1:], strict=True)):
            state[f"{LEVELS}selection_{number}"] = torch.from_numpy(kept.astype(np.int32))
            state[f"{LEVELS}faces_{number}"] = torch.from_numpy(faces.astype(np.int32))
        facts = {
            "network": network_facts(self.settings.network),
            "part": self.settings.data.part,
            "sizes": list(self.network.sizes),
        }
        return state, facts

    def _decoded(self, outputs: Outputs) -> Tensor:
        return self.network.in_metres(outputs["normalised"])

    def _parameter_groups(self) -> tuple[list[Tensor], list[Tensor]]:
        dense = [*self.network.to_code.parameters(), *self.network.from_code.parameters()]
        those = {id(parameter) for parameter in dense}
        return dense, [parameter for parameter in self.parameters() if id(parameter) not in those]

    def _decay_dense_alone(self) -> None:
        others, dense = self._schedule.optimizer.param_groups
        others["weight_decay"], dense["weight_decay"] = 0.0, self.settings.optimiser.weight_decay


def network_facts(settings: MeshAutoencoderNetworkSettings) -> dict[str, Any]:
    """The keywords of `MeshAutoencoder`, but for the levels."""
    facts = settings.model_dump()
    facts.pop("whitened_codes")
    return {**facts, "widths": list(settings.widths)}


def trained_autoencoder(
    weights: str | Path = SHIPPED, face_model: str = "open_head"
) -> tuple[MeshAutoencoder, np.ndarray]:
    """The network of exported weights, frozen, and (V,) int64, the vertices of the face model that it sees.

    `network.encode(head[:, rows])` of (B, ., 3) neutral heads, metres in model space, is what the 3D-ID loss compares.

    Args:
        weights: name of weights that ship, or a file that `python3 -m training export mesh-autoencoder` wrote.
        face_model: as in the settings of a run.

    Raises:
        UsageError: they are missing, damaged, or of another method or face model; or the face model is.
    """
    read = load_weights(weights, MeshAutoencoderTraining.name, Path(face_model).name)
    geometry = head_geometry(face_model, read.facts["part"])
    state = {name: value for name, value in read.state.items() if not name.startswith(LEVELS)}
    count = len(read.facts["sizes"]) - 1
    selection, faces = (
        [read.state[f"{LEVELS}{kind}_{number}"].long().numpy() for number in range(count)]
        for kind in ("selection", "faces")
    )
    if len(geometry.template) != read.facts["sizes"][0]:
        raise UsageError(
            "weights-do-not-fit",
            f"The weights {read.name} were trained on heads of {read.facts['sizes'][0]} vertices; {face_model} has "
            f"{len(geometry.template)}. Train them again: python3 -m training fit mesh-autoencoder.",
        )
    levels = MeshLevels.of_collapses(geometry.template, geometry.triangles, selection, faces)
    network = MeshAutoencoder(levels, **read.facts["network"])
    network.load_state_dict(state)
    return network.eval().requires_grad_(False), geometry.rows


def _distance_mm(first: Tensor, second: Tensor) -> Tensor:
    return 1e3 * (first - second).norm(dim=-1).mean()
