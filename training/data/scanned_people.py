"""Photographs of people whose heads were scanned: of each, who it is and the identity of the head, and nothing else.

The sets are MICA's (`mica_layout.py`). Their photographs are made ready as all real ones are (`prepare.py`), once, and
what is trained on are groups of K photographs of one person.
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from backend.errors import UsageError
from backend.face_models.flame import FLAME_2020
from training.data.batches import HELD_OUT_SHARE
from training.data.folders import open_folder
from training.data.mica_layout import Actor, open_sets, read_parameters
from training.data.person_batches import PeopleSeenOften, PersonBatches, grouped
from training.data.pictures import Item, Pictures, ShardPictures, open_shards
from training.data.prepare import DEFAULT_SIZE, LEFT_OUT, in_sentences, prepare, read_left_out
from training.data.prepared import DESCRIPTION, ROOM, PreparedPictures, PreparedSettings, is_written, read_description

logger = logging.getLogger(__name__)

KIND = "mica"
"""Of the folder, as `prepare` and `open_folder` name it."""
PREPARED = "prepared"
"""Where in the folder of the sets the prepared photographs lie, where no other place is named."""
SEED_OF_HELD_OUT = 0


@dataclass(frozen=True)
class ScannedPerson:
    """Someone with a known head.

    Attributes:
        name: of the set and of the actor, such as "LYHM/00017".
        identity: (300,) float32, FLAME's shape coefficients; the mean of the heads that were fitted to the scans.
        pictures: names of the prepared photographs, sorted.
    """

    name: str
    identity: np.ndarray
    pictures: tuple[str, ...]


def prepare_scans(root: Path, prepared: Path, size: int) -> None:
    """Makes those photographs of the sets ready that are not ready yet; those without a face are left out.

    Args:
        root: of the sets, see `open_sets`.
        prepared: folder for the faces. One that was begun before goes on with its own settings.
        size: side of the pictures that are trained on, pixels.

    Raises:
        UsageError: as `prepare` and `open_folder`.
    """
    names = [item.name for item in open_folder(root, KIND).items]
    begun = (prepared / DESCRIPTION).exists()
    left_out = read_left_out(prepared)
    if begun and all(name in left_out or is_written(prepared, name) for name in names):
        return
    settings = PreparedSettings("mediapipe", max(DEFAULT_SIZE, round(size * ROOM)))
    if begun:
        settings = read_description(prepared)
    report = prepare(root, prepared, settings, kind=KIND, processes=os.cpu_count() or 1)
    logger.info("%s", in_sentences(report, prepared))


def scanned_people(root: Path, prepared: Path, least_pictures: int) -> list[ScannedPerson]:
    """Everybody of the sets with enough prepared photographs.

    Args:
        root: of the sets; prepared: their photographs, made ready by `prepare_scans`.
        least_pictures: K; people with fewer are left out.

    Raises:
        UsageError: as `open_sets` and `read_parameters`; "not-prepared"; "no-actors", where nobody is left.
    """
    read_description(prepared)
    names = {item.path: item.name for item in open_folder(root, KIND).items}
    people = []
    for folder in open_sets(root, least_pictures):
        for actor in folder.actors:
            pictures = [names[path] for path in actor.pictures if is_written(prepared, names[path])]
            if len(pictures) >= least_pictures:
                people.append(ScannedPerson(f"{folder.name}/{actor.name}", identity_of(actor), tuple(pictures)))
            else:
                logger.warning(
                    "%s: actor %s is left out: a face was found in %d of %d pictures, %d are wanted",
                    folder.name, actor.name, len(pictures), len(actor.pictures), least_pictures,
                )  # fmt: skip
    if not people:
        raise UsageError(
            "no-actors",
            f"No actor in {root} has {least_pictures} photographs in which a face was found. The reasons are in "
            f"{prepared / LEFT_OUT}.",
        )
    return people


def identity_of(actor: Actor) -> np.ndarray:
    """(300,) float32: one identity for all that was fitted to an actor's scans, their mean."""
    return np.mean([read_parameters(path).identity for path in actor.parameters], axis=0, dtype=np.float32)


class ScannedPictures(PreparedPictures):
    """The prepared photographs of scanned people, everybody's first one before anybody's second; see `Pictures`.

    Args:
        prepared: folder of the photographs.
        size: side of the pictures in pixels.
        people: who is to be seen.
        first: number of the first of the people; the others follow.

    Attributes:
        persons: (N,) int64, who is in each picture.
    """

    face_model = FLAME_2020

    def __init__(self, prepared: Path, size: int, people: list[ScannedPerson], first: int = 0) -> None:
        turns = sorted((turn, row) for row, person in enumerate(people) for turn in range(len(person.pictures)))
        super().__init__(prepared, size, [people[row].pictures[turn] for turn, row in turns])
        self.rows = np.array([row for _, row in turns])
        self.persons = self.rows + first
        self.identities = np.stack([person.identity for person in people])

    def read(self, position: int, generator: np.random.Generator) -> Item:
        known = {
            "identity": self.identities[self.rows[position]],
            "person": self.persons[position],
            "identity_known": np.array(True),
        }
        return super().read(position, generator) | known


class JoinedPictures:
    """Synthetic people's pictures, then those of scanned people; see `Pictures`."""

    def __init__(self, synthetic: ShardPictures, scanned: ScannedPictures) -> None:
        self.synthetic, self.scanned, self.face_model = synthetic, scanned, scanned.face_model

    def __len__(self) -> int:
        return len(self.synthetic) + len(self.scanned)

    def read(self, position: int, generator: np.random.Generator) -> Item:
        count = len(self.synthetic)
        if position < count:
            return self.synthetic.read(position, generator)
        return self.scanned.read(position - count, generator)


class ScannedBatches(PersonBatches):
    """As `PersonBatches`; every scanned person is in one group, then everybody again with other photographs.

    Args:
        synthetic: how many of the pictures, the first, are of synthetic people.
        share: which part of a batch's groups is of scanned people where there are synthetic ones, too. Each of both has
            one group at least.
    """

    def __init__(self, *arguments: Any, synthetic: int, share: float, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.synthetic, self.share = synthetic, share

    def _order(self) -> np.ndarray:
        generator = np.random.default_rng(self.reading.seed)
        batches = len(self) * self.reading.ranks
        groups = (self.batch_size - self.real_count) // self.together
        scanned = min(max(round(self.share * groups), 1), groups - 1) if self.synthetic else groups
        rounds = []
        while sum(map(len, rounds)) < batches * scanned:
            rounds.append(grouped(self.persons[self.synthetic :], self.together, generator, most=1) + self.synthetic)
        parts = [np.concatenate(rounds)[: batches * scanned].reshape(batches, -1)]
        if self.synthetic:
            others = grouped(self.persons[: self.synthetic], self.together, generator)
            parts.append(np.resize(others, (batches, (groups - scanned) * self.together)))
        return np.concatenate(parts, axis=1).reshape(-1)


class ScannedPeople(PeopleSeenOften):
    """Scanned people for training, with synthetic ones of shards where these are named, and others for validation.

    Validated is with scanned people who are held out, the same ones each time, or with `validation_shards`.

    Args:
        scans: root of MICA's sets.
        prepared: folder of their prepared photographs, which are made ready where they are not; None for `PREPARED`
            in the root.
        share: see `ScannedBatches`.

    Raises:
        UsageError: from `prepare_data` and `setup`: a folder is not what it should be, a batch too small for both.
    """

    def __init__(
        self, *arguments: Any, scans: Path | str, prepared: Path | str | None = None, share: float = 0.5, **options: Any
    ) -> None:
        super().__init__(*arguments, **options)
        self.scans, self.share = Path(scans), share
        self.prepared = self.scans / PREPARED if prepared is None else Path(prepared)

    def prepare_data(self) -> None:
        open_sets(self.scans, self.together)  # what is wrong with them is said before the photographs take an hour
        prepare_scans(self.scans, self.prepared, self.size)

    def _split(self) -> tuple[Pictures, Pictures]:
        people = scanned_people(self.scans, self.prepared, self.together)
        chance = np.random.default_rng(SEED_OF_HELD_OUT)
        held = set(chance.permutation(len(people))[: max(round(HELD_OUT_SHARE * len(people)), 1)].tolist())
        if self.validation_shards is not None or len(held) == len(people):
            learnt = others = people
        else:
            learnt = [person for row, person in enumerate(people) if row not in held]
            others = [people[row] for row in sorted(held)]
        if self.shards is None:
            training: Pictures = ScannedPictures(self.prepared, self.size, learnt)
        else:
            synthetic, _ = super()._split()
            first = int(self._persons(synthetic).max()) + 1
            training = JoinedPictures(synthetic, ScannedPictures(self.prepared, self.size, learnt, first))
        if self.validation_shards is not None:
            return training, ShardPictures(open_shards(Path(self.validation_shards), self.size), self.size)
        return training, ScannedPictures(self.prepared, self.size, others)

    def _persons(self, pictures: Pictures) -> np.ndarray:
        if isinstance(pictures, ScannedPictures):
            return pictures.persons
        if isinstance(pictures, JoinedPictures):
            return np.concatenate([self._persons(pictures.synthetic), self._persons(pictures.scanned)])
        return super()._persons(pictures)

    def _batches(self) -> ScannedBatches:
        synthetic = len(self.training.synthetic) if isinstance(self.training, JoinedPictures) else 0
        batches = ScannedBatches(
            self.training, self.batch_size, synthetic=synthetic, share=self.share, **self._batch_options()
        )
        if (batches.batch_size - batches.real_count) // self.together < (2 if synthetic else 1):
            raise UsageError(
                "batch-size",
                f"A batch of {self.batch_size} has no room for {self.together} photographs of a scanned person"
                f"{f' and {self.together} of a synthetic one' if synthetic else ''}. Set a larger data.batch_size.",
            )
        return batches
