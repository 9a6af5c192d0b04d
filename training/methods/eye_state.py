"""Trains the eye-state detector of Eye Motion (Wang et al., ICASSP 2024): which eye is shut, and how far.

docs/methods/eye-states.md says what differs from the paper and why.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from backend.environment import home
from backend.eye_crops import FACE_SIZE
from backend.methods.eye_states import SHUT_ABOVE, make_network
from training.data.eye_batches import EyeCropData
from training.data.eye_crop_files import CropRecipe
from training.data.eye_crops import CERTAINLY_OPEN, CERTAINLY_SHUT
from training.data.whole_faces import WholeFaceData
from training.evaluation.data_folder import data_folder
from training.methods.base import Batch, Outputs, TrainingMethod
from training.settings import DataSettings, LossWeights, NetworkSettings, RunSettings, Weight

PICTURES_SHOWN = 48


class EyeStateNetworkSettings(NetworkSettings):
    """The network.

    Attributes:
        sees: "eye", one eye at a time, or "face", one answer for both, as in the paper.
        width, blocks, dropout: of `backend.networks.eye_state.EyeStateNetwork`; `width` also of the paper's ResNet-50.
        uses_apertures: whether the gap between the detector's lid landmarks is given to it, too.
    """

    sees: Literal["eye", "face"] = "eye"
    width: int = Field(16, ge=4)
    blocks: int = Field(2, ge=1)
    dropout: float = Field(0.2, ge=0, lt=1)
    uses_apertures: bool = True


class EyeStateLosses(LossWeights):
    """state: cross entropy of open and shut. closure: absolute error of the degree; not in the paper."""

    state: Weight = 1.0
    closure: Weight = 1.0


class EyeStateData(DataSettings):
    """What is learnt from.

    Attributes:
        crops: folder where eye crops are made and kept; None: in the cache.
        photographs: folder of portraits with open eyes whose lids are shut by our own head; a relative one that is
            not here is looked for in the folder of test data. None: no photographs.
        edited: pictures made of each photograph by shutting its lids, see `training.data.shut_photographs`.
        photographed: pictures of each photograph's whole head drawn anew, see `training.data.photographed_people`.
        more_crops: files that `EyeCrops.save` wrote, or folders of them: eyes whose closure is known otherwise.
        synthetic: pictures of synthetic people, of `shards` where that is given, else made now.
    """

    crops: str | None = None
    photographs: str | None = "photos/training_ccby"
    edited: int = Field(8, ge=0)
    photographed: int = Field(8, ge=0)
    synthetic: int = Field(2400, ge=0)
    more_crops: tuple[str, ...] = ()


class EyeStateSettings(RunSettings):
    """All settings of a run."""

    network: EyeStateNetworkSettings = EyeStateNetworkSettings()
    losses: EyeStateLosses = EyeStateLosses()
    data: EyeStateData = EyeStateData()


class EyeStateTraining(TrainingMethod):
    """The network with its losses, see `TrainingMethod`."""

    name = "eye-state"
    Settings = EyeStateSettings
    learns_from = (
        "Pictures of synthetic people (our own, CC0), and 136 photographs of 88 people of the Face Research Lab London "
        "Set and the Young Adult White Faces set (DeBruine & Jones, CC-BY 4.0) whose lids our own fitted head shuts. "
        "Closed Eyes In The Wild and ICT-FaceKit are measured on and never learnt from."
    )

    def __init__(self, settings: EyeStateSettings):
        super().__init__(settings)
        # The layout in which convolutions of few channels are fastest on a CPU.
        network = make_network(**network_facts(settings.network))
        self.network = network.to(memory_format=torch.channels_last)

    def outputs(self, batch: Batch) -> Outputs:
        image = batch["image"].contiguous(memory_format=torch.channels_last)
        answer = self.network(image, batch["apertures"]).float()
        degree = torch.sigmoid(answer[:, 2]) if answer.shape[1] > 2 else None
        return {"logits": answer[:, :2], "closure": degree}

    def losses(self, batch: Batch, outputs: Outputs) -> dict[str, Tensor]:
        shut = wanted_probability(batch["closure"])
        losses = {"state": functional.cross_entropy(outputs["logits"], torch.stack([1 - shut, shut], dim=1))}
        if outputs["closure"] is not None:
            losses["closure"] = (outputs["closure"] - batch["closure"]).abs().mean()
        return losses

    def metrics(self, batch: Batch, outputs: Outputs) -> dict[str, Tensor]:
        shut = torch.softmax(outputs["logits"], dim=1)[:, 1] > SHUT_ABOVE
        certain = (batch["closure"] <= CERTAINLY_OPEN) | (batch["closure"] >= CERTAINLY_SHUT)
        right = (shut == (batch["closure"] >= CERTAINLY_SHUT))[certain].float()
        figures = {"accuracy": right.mean() if len(right) else torch.ones(())}
        if outputs["closure"] is not None:
            figures["closure_error"] = (outputs["closure"] - batch["closure"]).abs().mean()
        return figures

    def pictures(self, batch: Batch, outputs: Outputs) -> np.ndarray:
        """Eyes by P, the bar below as long as P: green where the state is right, red where it is wrong."""
        shut = torch.softmax(outputs["logits"].detach(), dim=1)[:PICTURES_SHOWN, 1].cpu().numpy()
        true = batch["closure"][:PICTURES_SHOWN].cpu().numpy() > (CERTAINLY_OPEN + CERTAINLY_SHUT) / 2
        images = batch["image"][:PICTURES_SHOWN].permute(0, 2, 3, 1).cpu().numpy()
        tiles = []
        for index in np.argsort(shut, kind="stable"):
            tile = (np.clip(images[index], 0, 1) * 255).astype(np.uint8).copy()
            colour = (60, 200, 60) if (shut[index] > SHUT_ABOVE) == true[index] else (220, 40, 40)
            cv2.rectangle(tile, (0, tile.shape[0] - 4), (int(shut[index] * tile.shape[1]), tile.shape[0]), colour, -1)
            tiles.append(tile)
        tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % 8)
        return np.vstack([np.hstack(tiles[start : start + 8]) for start in range(0, len(tiles), 8)])

    def data(self, settings: EyeStateSettings) -> LightningDataModule:
        if settings.network.sees == "face":
            return WholeFaceData(settings.data.seed, settings.data.synthetic, settings.data.batch_size)
        chosen = settings.data
        more = [Path(path) for path in chosen.more_crops]
        return EyeCropData(recipe_of(chosen), chosen.batch_size, chosen.workers, more)

    def exported(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        facts = {
            "network": network_facts(self.settings.network),
            "classes": ["open", "shut"],
            "threshold": SHUT_ABOVE,
            "certainly_open": CERTAINLY_OPEN,
            "certainly_shut": CERTAINLY_SHUT,
        }
        return self.network.state_dict(), facts


def wanted_probability(closure: Tensor) -> Tensor:
    """What P should be at a closure (B,): 0 up to `CERTAINLY_OPEN`, 1 from `CERTAINLY_SHUT` on, a line between."""
    return ((closure - CERTAINLY_OPEN) / (CERTAINLY_SHUT - CERTAINLY_OPEN)).clamp(0, 1)


def network_facts(settings: EyeStateNetworkSettings) -> dict[str, Any]:
    """The keywords of `backend.methods.eye_states.make_network`."""
    if settings.sees == "face":
        return {"sees": "face", "face_size": FACE_SIZE, "width": settings.width}
    return settings.model_dump()


def recipe_of(settings: EyeStateData) -> CropRecipe:
    """The crops that the settings ask for. Raises UsageError where a folder of photographs is missing."""
    photographs = None
    if settings.photographs is not None:
        photographs = Path(settings.photographs)
        if not photographs.is_dir():
            photographs = data_folder(None, settings.photographs) / settings.photographs
    return CropRecipe(
        folder=Path(settings.crops) if settings.crops else home() / "cache/eye_crops",
        photographs=photographs,
        edited=settings.edited,
        photographed=settings.photographed,
        synthetic=settings.synthetic,
        shards=Path(settings.shards) if settings.shards else None,
        seed=settings.seed,
    )
