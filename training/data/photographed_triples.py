"""Triples of photographs as a training's data: which sets there are, and who of them is learnt from."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from backend.errors import UsageError
from training.data.batches import HELD_OUT_SHARE
from training.data.bosphorus_layout import open_bosphorus
from training.data.multi_pie_layout import open_multi_pie
from training.data.pictures import Pictures, ShardPictures, open_shards
from training.data.pixel_face_layout import open_pixel_face
from training.data.prepare import in_sentences
from training.data.prepared_triples import WHAT, PreparedTriples, prepare_triples, whole_triples
from training.data.triples import Triple, TripleFolder
from training.data.view_triples import ViewTriples

logger = logging.getLogger(__name__)

PREPARED = "prepared_triples"
"""Where in the root of a set its prepared triples lie, where no other place is named."""
SEED_OF_HELD_OUT = 0


@dataclass(frozen=True)
class TripleSet:
    """A set that is known.

    Attributes:
        opened: root to triples; of Pixel-Face those of the owner's part for training.
        whose: what it is and on which terms it is had, for the card of what is learnt from it.
    """

    opened: Callable[[Path], TripleFolder]
    whose: str


SETS = {
    "pixel_face": TripleSet(open_pixel_face, "Pixel-Face (Lyu et al., 2020), for research, by a signed agreement"),
    "multi_pie": TripleSet(open_multi_pie, "Multi-PIE (Gross et al., FG 2008), bought for research"),
    "bosphorus": TripleSet(
        open_bosphorus, "Bosphorus (Savran et al., BIOID 2008), for research, by a signed agreement"
    ),
}
"""By the name of their setting."""


def kind_of(name: str) -> str:
    """How `prepare --kind` calls a set."""
    return name.replace("_", "-")


class PhotographedTriples(ViewTriples):
    """Triples of one or several sets. What is not ready yet is made ready before the training, once.

    Nobody is both learnt from and validated with: of each set's people `HELD_OUT_SHARE` are held out, the same ones
    each time. With `validation_shards` all people are learnt from.

    Args:
        roots: of the sets, by their names in `SETS`.
        prepared: folder for the prepared triples, one below it for each set; None for `PREPARED` in each root.
        face_parser: tells the classes of pixels, see `backend.face_parsing.read_face_parser`.

    Raises:
        UsageError: from `prepare_data` and `setup`: a folder is not what it should be, no triple can be used.
    """

    def __init__(
        self,
        *arguments: Any,
        roots: Mapping[str, Path | str],
        prepared: Path | str | None = None,
        face_parser: str,
        **options: Any,
    ) -> None:
        super().__init__(*arguments, **options)
        self.roots = {name: Path(root) for name, root in roots.items()}
        self.prepared = {
            name: root / PREPARED if prepared is None else Path(prepared) / name for name, root in self.roots.items()
        }
        self.face_parser = face_parser
        self._opened: dict[str, TripleFolder] = {}

    def prepare_data(self) -> None:
        for name, folder in self._folders().items():
            output = self.prepared[name]
            report = prepare_triples(folder, output, self.size, self.face_parser)
            logger.info("%s", in_sentences(report, output, WHAT))

    def _folders(self) -> dict[str, TripleFolder]:
        if not self._opened:  # a look through all names of a large set takes a while
            self._opened = {name: SETS[name].opened(root) for name, root in self.roots.items()}
        return self._opened

    def _split(self) -> tuple[Pictures, Pictures]:
        whole = {name: whole_triples(folder, self.prepared[name]) for name, folder in self._folders().items()}
        people = [
            (name, subject) for name, triples in whole.items() for subject in sorted({t.subject for t in triples})
        ]
        numbers = {person: number for number, person in enumerate(people)}
        held = set() if self.validation_shards is not None else held_out(people)
        learnt: list[tuple[Path, Triple, int]] = []
        others: list[tuple[Path, Triple, int]] = []
        for name, triples in whole.items():
            for triple in triples:
                person = name, triple.subject
                part = others if person in held else learnt
                part.append((self.prepared[name], triple, numbers[person]))
        training = PreparedTriples(learnt, self.size, self.face_model)
        if self.validation_shards is not None:
            return training, ShardPictures(open_shards(Path(self.validation_shards), self.size), self.size)
        return training, PreparedTriples(others, self.size, self.face_model)


def held_out(people: list[tuple[str, str]]) -> set[tuple[str, str]]:
    """Who is validated with, of (set, subject): at least one of each set.

    Raises:
        UsageError: "one-person": a set has nobody else to learn from.
    """
    found = set()
    for name in dict(people):
        own = [person for person in people if person[0] == name]
        if len(own) < 2:
            raise UsageError(
                "one-person",
                f"The set data.{name} has usable photographs of one person only, who cannot be both learnt from and "
                "validated with. Add people, or validate with synthetic triples: data.validation_shards=FOLDER.",
            )
        chosen = np.random.default_rng(SEED_OF_HELD_OUT).permutation(len(own))
        found |= {own[row] for row in chosen[: max(round(HELD_OUT_SHARE * len(own)), 1)]}
    return found


def learnt_from(sets: list[str]) -> str:
    """What the card of weights says that were learnt from these sets."""
    return (
        f"Photographs: {'; '.join(SETS[name].whose for name in sets)} (docs/datasets.md). The weights are not to be "
        "passed on without the owners' leave."
    )
