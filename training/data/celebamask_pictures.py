"""CelebAMask-HQ as pictures to train a face parser with, cropped as the published trainings of BiSeNet do."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from lightning.pytorch import LightningDataModule

from training.data.batches import HELD_OUT_SHARE, Batches, BatchLoader
from training.data.celebamask_layout import CelebAMaskFolder, Sides, open_celebamask
from training.data.pictures import Item

SCALES = (0.75, 1.0, 1.25, 1.5, 1.75, 2.0)
"""Of which one is drawn for each picture, as published."""


class CelebAMaskPictures:
    """Faces of the set with their classes; see `Pictures`. Nothing else is known of them.

    Args:
        folder: of the set.
        positions: (N,) the faces to give, by their position in the folder.
        size: side of the pictures in pixels.
        cropped: whether each reading cuts another square out of a picture of another scale; else the whole picture.
    """

    face_model = "open_head"  # nobody knows any codes: batches hold zeros, as many as this one's

    def __init__(self, folder: CelebAMaskFolder, positions: np.ndarray, size: int, cropped: bool) -> None:
        self.folder, self.positions, self.size, self.cropped = folder, positions, size, cropped

    def __len__(self) -> int:
        return len(self.positions)

    def read(self, position: int, generator: np.random.Generator) -> Item:
        face = self.folder.item(int(self.positions[position]))
        image, labels = face.image, face.labels
        height, width = labels.shape
        if not self.cropped:
            return _item(*_resized(image, labels, self.size, self.size))
        # A picture smaller than the crop is enlarged until it fills it, as published.
        scale = max(float(generator.choice(SCALES)), self.size / min(height, width))
        image, labels = _resized(image, labels, round(height * scale), round(width * scale))
        top, left = (int(generator.integers(side - self.size + 1)) for side in labels.shape)
        inside = np.s_[top : top + self.size, left : left + self.size]
        return _item(image[inside], labels[inside])


class CelebAMaskData(LightningDataModule):
    """The faces of CelebAMask-HQ; the last of them, `HELD_OUT_SHARE`, are held out.

    Batches are those of `training.data.batches`; of their labels only `parsing` says something.

    Args:
        root, sides: of `open_celebamask`.
        size: side of the pictures in pixels.
        batch_size: on each device.
        workers: processes that read; 0 reads in the training's own.

    Raises:
        UsageError: from `setup`, as `open_celebamask`.
    """

    def __init__(self, root: Path, sides: Sides, size: int, batch_size: int, workers: int = 0) -> None:
        super().__init__()
        self.root, self.sides = root, sides
        self.size, self.batch_size, self.workers = size, batch_size, workers
        self.training: CelebAMaskPictures | None = None
        self.validation: CelebAMaskPictures | None = None

    def setup(self, stage: str | None = None) -> None:
        if self.training is not None:
            return
        folder = open_celebamask(self.root, self.sides)
        first_held_out = len(folder) - max(round(HELD_OUT_SHARE * len(folder)), 1)
        kept, held_out = np.split(np.arange(len(folder)), [first_held_out])
        # Of a folder with one face there is nothing to hold out.
        self.training = CelebAMaskPictures(folder, kept if len(kept) else held_out, self.size, cropped=True)
        self.validation = CelebAMaskPictures(folder, held_out, self.size, cropped=False)

    def train_dataloader(self) -> BatchLoader:
        return BatchLoader(Batches(self.training, self.batch_size, shuffled=True, vary=True), self.workers)

    def val_dataloader(self) -> BatchLoader:
        return BatchLoader(Batches(self.validation, self.batch_size, shuffled=False, vary=False), self.workers)


def _resized(image: np.ndarray, labels: np.ndarray, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    smaller = height < labels.shape[0]
    even = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    return (
        cv2.resize(image, (width, height), interpolation=even),
        cv2.resize(labels, (width, height), interpolation=cv2.INTER_NEAREST_EXACT),
    )


def _item(image: np.ndarray, labels: np.ndarray) -> Item:
    return {"image": np.ascontiguousarray(image), "parsing": np.ascontiguousarray(labels)}
