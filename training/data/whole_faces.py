"""Whole faces of synthetic people with one state for both eyes: what the paper's eye-state detector learns from."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from backend.detection import region_around
from backend.eye_crops import FACE_SIZE
from backend.picture_regions import Picture, Region
from training.data.generator import SyntheticPeople

PICTURE_SIZE = 320
HELD_OUT_SHARE = 0.2
"""As the paper's split."""


class WholeFaces(Dataset):
    """Pictures `first` to `last` of an album: image (3, 244, 244) float sRGB in [0, 1] and the mean closure."""

    def __init__(self, seed: int, first: int, last: int):
        self.seed, self.first, self.last = seed, first, last

    @cached_property
    def _people(self) -> SyntheticPeople:
        return SyntheticPeople(self.seed, PICTURE_SIZE)

    def __len__(self) -> int:
        return self.last - self.first

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        sample = self._people.photograph(self.first + index)
        region = region_around(sample.landmarks478)
        face = Picture(sample.image).crop(Region(region.centre, region.size, region.angle), FACE_SIZE)
        return {
            "image": torch.as_tensor(np.ascontiguousarray(face)).permute(2, 0, 1).float() / 255,
            "apertures": torch.zeros(2),
            "closure": torch.tensor(float(sample.closure.mean())),
        }


class WholeFaceData(LightningDataModule):
    """Faces made while training; the last fifth is held out.

    Args:
        seed: of the people. pictures: of the album. batch_size: faces.
    """

    def __init__(self, seed: int, pictures: int, batch_size: int):
        super().__init__()
        self.seed, self.pictures, self.batch_size = seed, pictures, batch_size
        self.first_held_out = max(int(pictures * (1 - HELD_OUT_SHARE)), 1)

    def train_dataloader(self) -> DataLoader:
        return DataLoader(WholeFaces(self.seed, 0, self.first_held_out), self.batch_size, shuffle=True)

    def val_dataloader(self) -> DataLoader:
        return DataLoader(WholeFaces(self.seed, self.first_held_out, self.pictures), self.batch_size)
