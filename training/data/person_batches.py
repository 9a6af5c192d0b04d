"""Batches in which every person is seen several times: what swapping identities between pictures of a person needs."""

from __future__ import annotations

from typing import Any

import numpy as np

from backend.errors import UsageError
from training.data.batches import Batches, BatchLoader, SyntheticBatches
from training.data.pictures import FRESH_PICTURES_PER_PERSON, FreshPictures, ShardPictures
from training.settings import DataSettings


class PersonBatches(Batches):
    """As `Batches`, with the pictures of a person side by side, `together` at a time.

    Each reading groups a person's pictures anew. A person with fewer is left out; of one with more, those that fill no
    group are left out of this reading.

    Args:
        persons: (N,) int64, who is in each picture.
        together: pictures of a person in a group; what a batch holds of pictures with truth is a multiple of it.
    """

    def __init__(self, *arguments: Any, persons: np.ndarray, together: int, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.persons, self.together = persons, together

    def _order(self) -> np.ndarray:
        generator = np.random.default_rng(self.reading.seed)
        mixed = generator.permutation(len(self.persons))
        mixed = mixed[np.argsort(self.persons[mixed], kind="stable")]  # by person, each in a new order
        starts = np.flatnonzero(np.diff(self.persons[mixed], prepend=-2))
        groups = [
            own[: len(own) // self.together * self.together].reshape(-1, self.together)
            for own in np.split(mixed, starts[1:])
        ]
        order = generator.permutation(np.concatenate(groups)).reshape(-1)
        return np.resize(order, len(self) * self.reading.ranks * (self.batch_size - self.real_count))


class PeopleSeenOften(SyntheticBatches):
    """As `SyntheticBatches`; in training each person is in a batch `together` times.

    Args:
        together: pictures of a person, 2 or more.
    """

    def __init__(self, *arguments: Any, together: int = 2, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.together = together

    @classmethod
    def from_settings(cls, settings: DataSettings, **options: Any) -> PeopleSeenOften:
        return super().from_settings(settings, **options)

    def setup(self, stage: str | None = None) -> None:
        super().setup(stage)
        self._persons()

    def train_dataloader(self) -> BatchLoader:
        batches = PersonBatches(
            self.training,
            self.batch_size,
            shuffled=True,
            vary=self.vary,
            real=self.real,
            real_share=self.real_share,
            persons=self._persons(),
            together=self.together,
        )
        if (batches.batch_size - batches.real_count) % self.together:
            raise UsageError(
                "batch-size",
                f"{batches.batch_size - batches.real_count} pictures of a batch show synthetic people, which are no "
                f"groups of {self.together}. Set data.batch_size to a multiple of data.pictures_per_person.",
            )
        return BatchLoader(batches, self.workers)

    def _persons(self) -> np.ndarray:
        """(N,) who is in each training picture. UsageError where nobody is seen often enough."""
        pictures = self.training
        if isinstance(pictures, FreshPictures):
            persons, most = np.arange(len(pictures)) // FRESH_PICTURES_PER_PERSON, FRESH_PICTURES_PER_PERSON
        elif isinstance(pictures, ShardPictures):
            persons = np.asarray(pictures.folder.persons[pictures.positions], np.int64)
            most = int(np.unique(persons, return_counts=True)[1].max())
        else:
            raise TypeError(f"who is in {type(pictures).__name__} is not known")
        if most < self.together:
            raise UsageError(
                "too-few-pictures-of-a-person",
                f"Swapping identities needs {self.together} pictures of a person in a batch, and "
                f"{self.shards or 'what is made while training'} shows nobody more than {most} times. Set "
                + (f"data.pictures_per_person={most}, or " if most > 1 else "")
                + "shape_consistency=false, or name other shards (python3 -m training synthesise shows everybody 8 "
                "times).",
            )
        return persons
