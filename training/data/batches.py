"""Batches for training: pictures out of shards in ever new order, real photographs among them where wanted.

A batch is a dictionary of tensors, batch first (B pictures of H x W pixels):

==============  ==================================  =================================================================
image           (B, 3, H, W) float32                sRGB, 0 to 1
identity        (B, I) float32                      standard deviations
key_weights     (B, E) float32                      the 52 keys, without the correctives that follow from them
albedo          (B, A) float32                      see `Sample.albedo`
rotation        (B, 3, 3), translation (B, 3)       model space to camera, metres
intrinsics      (B, 4) float32                      fx, fy, cx, cy in pixels of this picture
light           (B, 9, 3) float32                   see `Sample.light`
closure         (B, 2), gaze (B, 2, 2)              left, right; degrees
yaw, pitch      (B,) float32                        degrees
landmarks68     (B, 68, 2) float32                  pixels; visible68 (B, 68) bool
landmarks478    (B, 478, 2) float32                 pixels; visible478 (B, 478) bool
parsing         (B, H, W) uint8                     see `PARSING_CLASSES`
person          (B,) int64                          number of the person; -1 where nobody knows
has_truth       (B,) bool                           False for real photographs, whose codes and cameras are zero
identity_known  (B,) bool                           has_truth, or photographs of people whose heads were scanned
==============  ==================================  =================================================================
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from backend.errors import UsageError
from training.data.photo_variation import varied
from training.data.pictures import FreshPictures, Item, Pictures, ShardPictures, label_shapes, open_shards
from training.data.prepared import PreparedPictures
from training.settings import DataSettings

FRESH_PER_EPOCH = 4096
FRESH_VALIDATION = 512
VALIDATION_SEED_OFFSET = 1_000_003
HELD_OUT_SHARE = 0.04
BATCHES_AHEAD = 4


@dataclass(frozen=True)
class Reading:
    """One reading through the pictures.

    Attributes:
        seed: of the order and of all that varies; the same one gives the same batches, with any number of workers.
        rank, ranks: which share of each batch is read here, of how many.
    """

    seed: int = 0
    rank: int = 0
    ranks: int = 1


class Batches(IterableDataset):
    """Gives whole batches. Worker w of W gives every W-th, so that their order does not depend on W.

    Args:
        pictures: with truth.
        batch_size: on each rank.
        shuffled: a new order with every reading's seed; else as they lie.
        vary: whether pictures are changed as another camera would.
        real: without truth; `real_share` of each batch.
    """

    def __init__(
        self,
        pictures: Pictures,
        batch_size: int,
        *,
        shuffled: bool,
        vary: bool,
        real: Sequence[Pictures] = (),
        real_share: float = 0.0,
    ) -> None:
        self.pictures, self.batch_size = pictures, batch_size
        self.shuffled, self.vary = shuffled, vary
        self.real = [source for source in real if len(source)]
        self.real_count = round(real_share * batch_size) if self.real else 0
        self.reading = Reading()

    def __len__(self) -> int:
        """Batches of one reading on each rank."""
        return max(len(self.pictures) // (max(self.batch_size - self.real_count, 1) * self.reading.ranks), 1)

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        worker = get_worker_info()
        start, step = (worker.id, worker.num_workers) if worker else (0, 1)
        order = self._order()
        # The DataLoader asks its workers in turn, beginning with worker 0.
        for number in range(start, len(self), step):
            yield self.batch(number, order)

    def batch(self, number: int, order: np.ndarray) -> dict[str, Tensor]:
        """Batch `number` of the reading; `order` is `_order()`."""
        seed, rank = self.reading.seed, self.reading.rank
        synthetic = self.batch_size - self.real_count
        place = (number * self.reading.ranks + rank) * synthetic
        generator = np.random.default_rng([seed, number, rank])
        chosen = [(self.pictures, int(position)) for position in order[place : place + synthetic]]
        for _ in range(self.real_count):
            source = self.real[int(generator.integers(len(self.real)))]
            chosen.append((source, int(generator.integers(len(source)))))
        items = []
        for (source, position), own in zip(chosen, generator.spawn(len(chosen)), strict=True):
            item = source.read(position, own)
            if self.vary:
                item["image"] = varied(item["image"], own)
            items.append(item)
        return self.collated(items)

    def collated(self, items: Sequence[Item]) -> dict[str, Tensor]:
        """The tensors of a batch."""
        return collate(items, self.pictures.face_model)

    def _order(self) -> np.ndarray:
        wanted = len(self) * self.reading.ranks * (self.batch_size - self.real_count)
        count = len(self.pictures)
        order = np.random.default_rng(self.reading.seed).permutation(count) if self.shuffled else np.arange(count)
        return np.resize(order, wanted)  # a folder smaller than a batch repeats itself


def collate(items: Sequence[Item], face_model: str = "open_head") -> dict[str, Tensor]:
    """A batch of pictures of a face model's people; labels that a picture does not have are zero, its person -1."""
    batch = {}
    for name, (shape, kind) in label_shapes(face_model).items():
        missing = np.full(shape, -1 if name == "person" else 0, kind)
        batch[name] = torch.from_numpy(np.stack([np.asarray(item.get(name, missing), kind) for item in items]))
    batch["identity_known"] |= batch["has_truth"]
    images = torch.from_numpy(np.stack([item["image"] for item in items]))
    batch["image"] = images.permute(0, 3, 1, 2).contiguous().float().div_(255)
    batch["parsing"] = torch.from_numpy(np.stack([item["parsing"] for item in items]))
    return batch


class BatchLoader(DataLoader):
    """Reads a `Batches` anew with each iteration, in an order drawn from torch's global generator.

    So the same state of that generator gives the same batches. All ranks must have the same state; each reads its own
    share, as torch.distributed says.
    """

    def __init__(self, batches: Batches, workers: int) -> None:
        ahead = {"prefetch_factor": BATCHES_AHEAD} if workers else {}
        super().__init__(
            batches,
            batch_size=None,
            num_workers=workers,
            worker_init_fn=_start_worker,
            pin_memory=torch.cuda.is_available(),
            **ahead,
        )

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        rank, ranks = 0, 1
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            rank, ranks = torch.distributed.get_rank(), torch.distributed.get_world_size()
        seed = int(torch.randint(2**62, ()))
        self.dataset.reading = Reading(seed, rank, ranks)
        threads = cv2.getNumThreads()
        cv2.setNumThreads(1)  # a forked worker would wait for ever for OpenCV's threads, which it does not have
        try:
            return super().__iter__()
        finally:
            cv2.setNumThreads(threads)


def _start_worker(_: int) -> None:
    cv2.setNumThreads(1)
    torch.set_num_threads(1)


class SyntheticBatches(LightningDataModule):
    """Synthetic people for training and, other people, for validation; real photographs among the first.

    Args:
        shards: folder of `python3 -m training synthesise`; None makes the pictures while training.
        size: side of the pictures in pixels.
        batch_size: on each device.
        workers: processes that read; 0 reads in the training's own.
        seed: of the people where there are no shards.
        validation_shards: of held-out people; None holds out the last people of `shards`.
        real_folders: of `python3 -m training prepare`.
        real_share: of each batch, from the real folders.
        vary: whether training pictures are changed as another camera would; see `photo_variation`.
        face_model: of the people where there are no shards.

    Raises:
        UsageError: from `setup`: a folder is not what it should be.
    """

    views = "any"
    """Of the pictures that are made while training, see `SyntheticPeople`."""

    def __init__(
        self,
        shards: Path | str | None,
        size: int,
        batch_size: int,
        *,
        workers: int = 0,
        seed: int = 0,
        validation_shards: Path | str | None = None,
        real_folders: Sequence[Path | str] = (),
        real_share: float = 0.0,
        vary: bool = True,
        face_model: str = "open_head",
    ) -> None:
        super().__init__()
        self.face_model = face_model
        self.shards, self.validation_shards = shards, validation_shards
        self.size, self.batch_size, self.workers, self.seed = size, batch_size, workers, seed
        self.real_folders, self.real_share, self.vary = real_folders, real_share, vary
        self.training: Pictures | None = None
        self.validation: Pictures | None = None
        self.real: list[Pictures] = []

    @classmethod
    def from_settings(cls, settings: DataSettings, **options: Any) -> SyntheticBatches:
        """As the settings of a run say; `options` as for the class."""
        return cls(
            settings.shards,
            settings.size,
            settings.batch_size,
            workers=settings.workers,
            seed=settings.seed,
            validation_shards=settings.validation_shards,
            real_folders=settings.real_folders,
            real_share=settings.real_share,
            **options,
        )

    def setup(self, stage: str | None = None) -> None:
        if self.training is not None:
            return
        training, validation = self._split()
        if validation.face_model != training.face_model:
            raise UsageError(
                "shards-of-another-model",
                f"The pictures to train with are of {training.face_model}, those to validate with of "
                f"{validation.face_model}. Name shards of the same face model, see --face-model of synthesise.",
            )
        self.training, self.validation = training, validation
        self.real = [PreparedPictures(Path(folder), self.size) for folder in self.real_folders]

    @property
    def people(self) -> int:
        """One more than the highest number of a person in the training pictures. Only of shards."""
        self.setup()
        if not isinstance(self.training, ShardPictures):
            raise ValueError("Pictures that are made while training show people without end.")
        return int(self.training.folder.persons[self.training.positions].max()) + 1

    def train_dataloader(self) -> BatchLoader:
        batches = Batches(
            self.training,
            self.batch_size,
            shuffled=isinstance(self.training, ShardPictures),  # fresh people are cheaper two pictures at a time
            vary=self.vary,
            real=self.real,
            real_share=self.real_share,
        )
        return BatchLoader(batches, self.workers)

    def val_dataloader(self) -> BatchLoader:
        return BatchLoader(Batches(self.validation, self.batch_size, shuffled=False, vary=False), self.workers)

    def _split(self) -> tuple[Pictures, Pictures]:
        if self.shards is None:
            training: Pictures = FreshPictures(self.seed, self.size, FRESH_PER_EPOCH, self.face_model, self.views)
            seed = self.seed + VALIDATION_SEED_OFFSET
            validation: Pictures = FreshPictures(seed, self.size, FRESH_VALIDATION, self.face_model, self.views)
        else:
            folder = open_shards(Path(self.shards), self.size)
            people = np.unique(folder.persons)
            kept = folder.persons < people[-max(round(HELD_OUT_SHARE * len(people)), 1)]
            if self.validation_shards is not None or not kept.any():
                training = validation = ShardPictures(folder, self.size)
            else:
                training = ShardPictures(folder, self.size, np.flatnonzero(kept))
                validation = ShardPictures(folder, self.size, np.flatnonzero(~kept))
        if self.validation_shards is not None:
            validation = ShardPictures(open_shards(Path(self.validation_shards), self.size), self.size)
        return training, validation
