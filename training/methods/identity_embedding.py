"""Trains a small network that recognises people: the embedding of the perceptual loss where no ArcFace file is given.

ArcFace (Deng et al., CVPR 2019) on synthetic people, several pictures of each with other expressions, light and lenses.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from backend.identity_crop import face_crop
from backend.networks.iresnet import BLOCKS, INPUT_SIZE, IResNet
from training.data.batches import SyntheticBatches
from training.errors import TrainingError
from training.losses.additive_angular_margin import AdditiveAngularMargin
from training.methods.base import Batch, Outputs, TrainingMethod
from training.settings import LossWeights, NetworkSettings, RunSettings, Weight

PICTURES_SHOWN = 16


class IdentityEmbeddingNetworkSettings(NetworkSettings):
    """The network and its loss.

    Attributes:
        depth: of the IResNet, 18 to 100.
        width: of its first stage, 64 in the paper.
        embedding: length of the answer.
        people: that are told apart in training; more than the highest number of a person in the shards.
        scale, margin: of ArcFace; the margin in radians.
        jitter: how far the five points are moved, pixels of the crop, as a detector's are off.
    """

    depth: int = 50
    width: int = Field(64, ge=4)
    embedding: int = Field(512, ge=8)
    people: int = Field(4000, ge=2)
    scale: float = Field(64.0, gt=0)
    margin: float = Field(0.5, ge=0, le=1)
    jitter: float = Field(1.0, ge=0)


class IdentityEmbeddingLosses(LossWeights):
    """margin: the additive angular margin loss."""

    margin: Weight = 1.0


class IdentityEmbeddingSettings(RunSettings):
    """All settings of a run."""

    network: IdentityEmbeddingNetworkSettings = IdentityEmbeddingNetworkSettings()
    losses: IdentityEmbeddingLosses = IdentityEmbeddingLosses()


class IdentityEmbeddingTraining(TrainingMethod):
    """The network with its loss, see `TrainingMethod`."""

    name = "identity-embedding"
    Settings = IdentityEmbeddingSettings
    learns_from = "Synthetic people of this project (docs/synthetic-people.md), made from CC0 data. No photographs."

    def __init__(self, settings: IdentityEmbeddingSettings):
        super().__init__(settings)
        chosen = settings.network
        self.network = IResNet(**network_facts(chosen))
        self.margin = AdditiveAngularMargin(chosen.embedding, chosen.people, chosen.scale, chosen.margin)

    def outputs(self, batch: Batch) -> Outputs:
        points = batch["landmarks68"]
        if self.training:
            points = points + self.settings.network.jitter * torch.randn_like(points[:, :1])
        faces = face_crop(batch["image"], points)
        return {"faces": faces, "embedding": self.network(faces).float()}

    def losses(self, batch: Batch, outputs: Outputs) -> dict[str, Tensor]:
        if int(batch["person"].max()) >= self.settings.network.people or int(batch["person"].min()) < 0:
            raise TrainingError(
                "too-many-people",
                f"The shards show person {int(batch['person'].max())}, but network.people is "
                f"{self.settings.network.people}. Set it to more than the highest number, and use synthetic people "
                "only.",
            )
        with torch.autocast(outputs["embedding"].device.type, enabled=False):
            return {"margin": self.margin(outputs["embedding"], batch["person"])}

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        """Measures only: the people of the validation are none of those that the loss tells apart."""
        outputs = self.outputs(batch)
        self._write_down("validation", self.metrics(batch, outputs), batch)
        if batch_index == 0:
            self.shown = (self.global_step, batch, outputs)

    def metrics(self, batch: Batch, outputs: Outputs) -> dict[str, Tensor]:
        direction = functional.normalize(outputs["embedding"])
        likeness = direction @ direction.T
        same = batch["person"][:, None] == batch["person"][None]
        different = likeness[~same]
        same = likeness[same & ~torch.eye(len(same), dtype=torch.bool, device=same.device)]
        if not len(same) or not len(different):
            return {}
        return {
            "likeness_same": same.mean(),
            "likeness_different": different.mean(),
            "told_apart": (same[:, None] > different[None]).float().mean(),
        }

    def pictures(self, batch: Batch, outputs: Outputs) -> np.ndarray:
        """The faces as the network sees them."""
        faces = ((outputs["faces"][:PICTURES_SHOWN].detach().float() + 1) * 127.5).clamp(0, 255).to(torch.uint8)
        tiles = list(faces.permute(0, 2, 3, 1).cpu().numpy())
        tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % 8)
        return np.vstack([np.hstack(tiles[start : start + 8]) for start in range(0, len(tiles), 8)])

    def data(self, settings: IdentityEmbeddingSettings) -> LightningDataModule:
        return SyntheticBatches.from_settings(settings.data)

    def exported(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        facts = network_facts(self.settings.network)
        return self.network.state_dict(), {"network": facts | {"blocks": list(facts["blocks"])}}


def network_facts(settings: IdentityEmbeddingNetworkSettings) -> dict[str, Any]:
    """The keywords of `IResNet`."""
    return {
        "blocks": BLOCKS[settings.depth],
        "width": settings.width,
        "embedding": settings.embedding,
        "size": INPUT_SIZE,
    }
