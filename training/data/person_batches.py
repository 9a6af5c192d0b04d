"""Batches in which every person is seen several times: what swapping identities between pictures of a person needs."""

from __future__ import annotations

from typing import Any

import numpy as np

from backend.errors import UsageError
from training.data.batches import Batches, BatchLoader, SyntheticBatches
from training.data.pictures import FRESH_PICTURES_PER_PERSON, FreshPictures, Pictures, ShardPictures


class PersonBatches(Batches):
    """As `Batches`, with the pictures of a person side by side, `together` at a time.

    Each reading groups a person's pictures anew. A person with fewer is left out; of one with more, those that fill no
    group are left out of this reading.

    Args:
        persons: (N,) int64, who is in each picture.
        together: pictures of a person in a group; what a batch holds of pictures of known people is a multiple of it.
    """

    def __init__(self, *arguments: Any, persons: np.ndarray, together: int, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.persons, self.together = persons, together

    def _order(self) -> np.ndarray:
        groups = grouped(self.persons, self.together, np.random.default_rng(self.reading.seed))
        return np.resize(groups.reshape(-1), len(self) * self.reading.ranks * (self.batch_size - self.real_count))


def grouped(persons: np.ndarray, together: int, generator: np.random.Generator, most: int | None = None) -> np.ndarray:
    """Pictures of the same person side by side, in a new order.

    Args:
        persons: (N,) int64, who is in each picture.
        together: T, pictures in a group.
        generator: draws the order.
        most: groups of each person; None for as many as their pictures fill.

    Returns:
        (G, T) int64, positions of pictures; those that fill no group are left out.
    """
    mixed = generator.permutation(len(persons))
    mixed = mixed[np.argsort(persons[mixed], kind="stable")]  # by person, each in a new order
    starts = np.flatnonzero(np.diff(persons[mixed], prepend=-2))
    groups = [
        own[: len(own) // together * together].reshape(-1, together)[:most] for own in np.split(mixed, starts[1:])
    ]
    return generator.permutation(np.concatenate(groups))


class PeopleSeenOften(SyntheticBatches):
    """As `SyntheticBatches`; in training each person is in a batch `together` times.

    Args:
        together: pictures of a person, 2 or more.
    """

    def __init__(self, *arguments: Any, together: int = 2, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.together = together

    def setup(self, stage: str | None = None) -> None:
        super().setup(stage)
        self._persons(self.training)

    def train_dataloader(self) -> BatchLoader:
        batches = self._batches()
        if (batches.batch_size - batches.real_count) % self.together:
            raise UsageError(
                "batch-size",
                f"{batches.batch_size - batches.real_count} pictures of a batch show known people, which are no "
                f"groups of {self.together}. Set data.batch_size to a multiple of data.pictures_per_person.",
            )
        return BatchLoader(batches, self.workers)

    def _batches(self) -> PersonBatches:
        return PersonBatches(self.training, self.batch_size, **self._batch_options())

    def _batch_options(self) -> dict[str, Any]:
        return {
            "shuffled": True,
            "vary": self.vary,
            "real": self.real,
            "real_share": self.real_share,
            "persons": self._persons(self.training),
            "together": self.together,
        }

    def _persons(self, pictures: Pictures) -> np.ndarray:
        """(N,) who is in each picture. UsageError where nobody is seen often enough."""
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
