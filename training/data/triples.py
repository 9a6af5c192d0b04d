"""Sets in which each person is photographed from three sides at once: what they hold in common, whatever their layout.

A triple is three photographs of one moment, of some sets with points or a scan of the face in space. The sets:
`pixel_face_layout.py`, `multi_pie_layout.py`, `bosphorus_layout.py`; what is trained on: `photographed_triples.py`.
Nothing is downloaded: each set is had from its owner under the owner's terms.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from backend.errors import LifemaskError, UsageError
from backend.photographs import load_photograph

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Triple:
    """Three photographs of one person at one moment.

    Attributes:
        subject: who; the same word for all triples of one person.
        name: unique in the set.
        pictures: files of the views that the set calls left, front and right, or in the order of `yaw`, the left side
            of the face first.
        yaw: degrees of each picture, positive where the subject's left side shows; None where the set does not say it,
            and it is to be measured (`backend.view_order`).
    """

    subject: str
    name: str
    pictures: tuple[Path, Path, Path]
    yaw: tuple[float | None, float | None, float | None]


@dataclass(frozen=True)
class Scan:
    """The surface of a face, in millimetres.

    Attributes:
        vertices: (V, 3) float64; triangles: (T, 3) int64.
        landmarks: (7, 3) float64: eye corners from the subject's right, tip of the nose, right and left corner of the
            mouth.
    """

    vertices: np.ndarray
    triangles: np.ndarray
    landmarks: np.ndarray


@dataclass(frozen=True)
class TripleItem:
    """What one item of training is made from.

    Attributes:
        triple: which.
        images: its pictures (H, W, 3) uint8 sRGB, upright, in the triple's order.
        points101: (101, 3) float32 millimetres, see `landmarks101.py`; None where the set has none.
    """

    triple: Triple
    images: list[np.ndarray]
    points101: np.ndarray | None


@dataclass
class TripleFolder:
    """The triples of a set. Subclasses say how its files are read.

    Attributes:
        root: as the person gave it.
        triples: that are complete, by name.
        left_out: name of each moment that cannot be used, and why; `items` adds those whose files cannot be read.
    """

    root: Path
    triples: list[Triple]
    left_out: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.left_out:
            name, why = next(iter(self.left_out.items()))
            logger.warning("%s: %d moments are left out, %s: %s", self.root, len(self.left_out), name, why)

    def __len__(self) -> int:
        return len(self.triples)

    @property
    def subjects(self) -> list[str]:
        """Everybody, once."""
        return sorted({triple.subject for triple in self.triples})

    def item(self, index: int) -> TripleItem:
        """As `read`, of the triple in that place."""
        return self.read(self.triples[index])

    def read(self, triple: Triple) -> TripleItem:
        """The pictures and points of a triple.

        Raises:
            LifemaskError: a picture or the points cannot be read; see `load_photograph` and `points101`.
        """
        return TripleItem(triple, [self.image(path) for path in triple.pictures], self.points101(triple))

    def items(self) -> Iterator[TripleItem]:
        """All items that can be read; the others are counted in `left_out`."""
        for index, triple in enumerate(self.triples):
            try:
                yield self.item(index)
            except LifemaskError as error:
                self.left_out[triple.name] = error.sentence
                logger.warning("left out: %s", error.sentence)

    def image(self, path: Path) -> np.ndarray:
        """A picture, upright: (H, W, 3) uint8 sRGB."""
        return load_photograph(path).image

    def points101(self, triple: Triple) -> np.ndarray | None:
        """(101, 3) float32 millimetres, or None where the set has none.

        Raises:
            UsageError: "bad-landmarks": the file holds something else.
        """
        return None

    def scan(self, triple: Triple) -> Scan | None:
        """The face in space, or None where the set has none.

        Raises:
            UsageError: the file holds something else.
        """
        return None


def numbers_in_rows(path: Path, rows: int, columns: int) -> np.ndarray:
    """A text file of numbers: (rows, columns) float64. Empty lines are passed over.

    Raises:
        UsageError: "bad-landmarks": other than so many rows of so many finite numbers.
    """
    try:
        lines = [line.replace(",", " ").split() for line in path.read_text("utf-8-sig").splitlines()]
        found = np.array([[float(word) for word in line] for line in lines if line])
    except (OSError, ValueError) as error:
        raise UsageError("bad-landmarks", f"The points {path} cannot be read: {error}.") from error
    if found.shape != (rows, columns) or not np.isfinite(found).all():
        raise UsageError(
            "bad-landmarks",
            f"The points {path} should be {rows} lines of {columns} numbers each; there are {len(found)} lines"
            f"{'' if np.isfinite(found).all() else ', some with values that are no numbers'}.",
        )
    return found
