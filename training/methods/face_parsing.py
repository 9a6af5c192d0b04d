"""Trains the face parse net of DF-MVR (Zhao et al., ICME 2025, sections 3.2 and 4.1): which class each pixel has.

A BiSeNet with hard-pixel cross entropy on its three heads. docs/methods/deep-fusion.md says what differs from the
published training and why.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from backend.face_parsing import METHOD, PARSING_CLASSES, FaceParser, PictureForm
from backend.networks.bisenet import BiSeNet
from training.data.batches import SyntheticBatches
from training.data.celebamask_layout import Sides
from training.data.celebamask_pictures import CelebAMaskData
from training.data.mirroring import other_side
from training.data.parsing_pictures import coloured_by_class
from training.evaluation.class_confusion import ClassConfusion
from training.losses.hard_pixels import LEAST_SHARE, hard_pixel_loss
from training.methods.base import Batch, Outputs, TrainingMethod
from training.methods.eye_motion import load_backbone
from training.settings import DataSettings, LossWeights, NetworkSettings, RunSettings, Weight

FACES_SHOWN, FACES_IN_A_ROW = 12, 3
CELEBAMASK_LEARNT_FROM = (
    "CelebAMask-HQ (Lee et al., CVPR 2020), which its owners give out for non-commercial research: the weights are not "
    "to be passed on without their leave."
)


class FaceParsingNetworkSettings(NetworkSettings):
    """The network and what counts as hard.

    Attributes:
        width: of the ResNet-18, 64 in the paper; a multiple of 2.
        size: side at which it looks at pictures, pixels; None for `data.size`. It answers at an eighth of this: an eye
            should be wider than two of its cells.
        initial_weights: file with a state dict of a ResNet-18 with torchvision's names to begin from, or None.
        hard_below: probability of its own class below which a pixel is hard.
        least_hard: share of the pixels of a batch that always count.
    """

    width: int = Field(64, ge=4, multiple_of=2)
    size: int | None = Field(None, ge=32)
    initial_weights: str | None = None
    hard_below: float = Field(0.7, gt=0, le=1)
    least_hard: float = Field(LEAST_SHARE, gt=0, le=1)


class FaceParsingLosses(LossWeights):
    """Hard-pixel cross entropy of the main head, and of those on the context at 1/8 and at 1/16 of the picture."""

    main: Weight = 1.0
    eighth: Weight = 1.0
    sixteenth: Weight = 1.0


class FaceParsingData(DataSettings):
    """What is learnt from: synthetic people, or CelebAMask-HQ.

    Attributes:
        celebamask: folder of the set, see `training.data.celebamask_layout`; None for synthetic people.
        celebamask_sides: what its names of sides mean, see `CelebAMaskFolder`.
        batch_size: two or more: some normalisations have one value a picture.
    """

    celebamask: str | None = None
    celebamask_sides: Sides = "labelled"
    batch_size: int = Field(16, ge=2)


class FaceParsingSettings(RunSettings):
    """All settings of a run."""

    network: FaceParsingNetworkSettings = FaceParsingNetworkSettings()
    losses: FaceParsingLosses = FaceParsingLosses()
    data: FaceParsingData = FaceParsingData()


class FaceParsingTraining(TrainingMethod):
    """The network with its losses, see `TrainingMethod`."""

    name = METHOD
    Settings = FaceParsingSettings
    learns_from = "Synthetic people of this project (docs/synthetic-people.md), made from CC0 data. No photographs."

    def __init__(self, settings: FaceParsingSettings):
        super().__init__(settings)
        network = BiSeNet(len(PARSING_CLASSES), settings.network.width)
        if settings.network.initial_weights is not None:
            load_backbone(network.cp.resnet, Path(settings.network.initial_weights), 18)
        if settings.data.celebamask is not None:
            self.learns_from = CELEBAMASK_LEARNT_FROM
        parser = FaceParser(network, PictureForm(settings.network.size or settings.data.size))
        self.parser = parser.to(memory_format=torch.channels_last)
        other = [PARSING_CLASSES.index(other_side(name)) for name in PARSING_CLASSES]
        self.register_buffer("mirrored_class", torch.tensor(other, dtype=torch.uint8), persistent=False)
        self._confusion = ClassConfusion(len(PARSING_CLASSES))

    def data(self, settings: FaceParsingSettings) -> LightningDataModule:
        chosen = settings.data
        if chosen.celebamask is None:
            return SyntheticBatches.from_settings(chosen)
        root = Path(chosen.celebamask)
        return CelebAMaskData(root, chosen.celebamask_sides, chosen.size, chosen.batch_size, chosen.workers)

    def prepared(self, batch: Batch) -> Batch:
        """Pictures and classes alone; half of a training's pictures are seen in a mirror, where left is right."""
        image, parsing = batch["image"], batch["parsing"]
        if self.training:
            mirrored = torch.rand(len(image), device=image.device) < 0.5
            image = torch.where(mirrored.view(-1, 1, 1, 1), image.flip(-1), image)
            parsing = torch.where(mirrored.view(-1, 1, 1), self.mirrored_class[parsing.flip(-1).int()], parsing)
        return {"image": image, "parsing": parsing}

    def outputs(self, batch: Batch) -> Outputs:
        """Of each head the logits (B, 10, H, W) float, as large as the batch's pictures."""
        image = self.parser.seen(batch["image"]).contiguous(memory_format=torch.channels_last)
        sides = batch["image"].shape[-2:]
        return {
            name: functional.interpolate(logits.float(), sides, mode="bilinear", align_corners=False)
            for name, logits in zip(FaceParsingLosses.model_fields, self.parser.network.all_heads(image), strict=True)
        }

    def losses(self, batch: Batch, outputs: Outputs) -> dict[str, Tensor]:
        chosen = self.settings.network
        return {
            name: hard_pixel_loss(logits, batch["parsing"], chosen.hard_below, chosen.least_hard)
            for name, logits in outputs.items()
            if self.wants(name)
        }

    def metrics(self, batch: Batch, outputs: Outputs) -> dict[str, Tensor]:
        """Nothing of a batch alone: its pixels are counted for `on_validation_epoch_end`."""
        self._confusion.add(batch["parsing"], outputs["main"].argmax(dim=1))
        return {}

    def on_validation_epoch_start(self) -> None:
        self._confusion = ClassConfusion(len(PARSING_CLASSES), self.device)

    def on_validation_epoch_end(self) -> None:
        """Writes down the intersections over unions of all pixels that were validated on, on all devices together."""
        self._confusion.counts = self.trainer.strategy.reduce(self._confusion.counts, reduce_op="sum")
        figures = confusion_figures(self._confusion)
        self.log_dict({f"validation/{name}": value for name, value in figures.items()}, sync_dist=True)

    def pictures(self, batch: Batch, outputs: Outputs) -> np.ndarray:
        """Faces three in a row, each as photograph, true classes, answer."""
        images = (batch["image"][:FACES_SHOWN].clamp(0, 1) * 255 + 0.5).to(torch.uint8)
        images = images.permute(0, 2, 3, 1).cpu().numpy()
        true = batch["parsing"][:FACES_SHOWN].cpu().numpy()
        answer = outputs["main"][:FACES_SHOWN].argmax(dim=1).cpu().numpy()
        tiles = np.concatenate([images, coloured_by_class(images, true), coloured_by_class(images, answer)], axis=2)
        shown = list(tiles) + [np.zeros_like(tiles[0])] * (-len(tiles) % FACES_IN_A_ROW)
        rows = [shown[start : start + FACES_IN_A_ROW] for start in range(0, len(shown), FACES_IN_A_ROW)]
        return np.vstack([np.hstack(row) for row in rows])

    def exported(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        network = self.parser.network
        facts = {"classes": network.classes, "width": network.width, "size": self.parser.form.size}
        return network.state_dict(), {"network": facts, "classes": list(PARSING_CLASSES)}


def confusion_figures(confusion: ClassConfusion) -> dict[str, float]:
    """ "mean_iou", "pixel_accuracy" and "iou_CLASS" of the classes that occur; {} where nothing was counted."""
    if not int(confusion.counts.sum()):
        return {}
    by_class = dict(zip(PARSING_CLASSES, confusion.intersection_over_union.tolist(), strict=True))
    return {
        "mean_iou": confusion.mean_intersection_over_union,
        "pixel_accuracy": confusion.pixel_accuracy,
        **{f"iou_{name}": value for name, value in by_class.items() if not np.isnan(value)},
    }
