"""Photographs of people from three sides made ready for training: crops, landmarks, classes of pixels, order, points.

Beside what `prepared.py` writes of each face, as faces/NAME/left, NAME/front and NAME/right, a folder holds
`triples.json`, which says what told the classes, and of each moment faces/NAME/triple.npy (written last, so that a
triple that has it is whole).
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from backend.aligned_crop import align
from backend.detection import DetectedFace, find_face
from backend.errors import LifemaskError, PhotoError, UsageError
from backend.face_parsing import FaceParser, read_face_parser
from backend.landmarks68 import landmarks68_from_478
from backend.view_checks import view_of
from backend.view_order import SLOTS, order_views
from training.data import description
from training.data.landmarks101 import COUNT
from training.data.pictures import Item
from training.data.prepare import LEFT_OUT, PREPARED, Outcome, prepare_each
from training.data.prepared import (
    DESCRIPTION,
    FACES,
    LABELS,
    PreparedFace,
    PreparedPictures,
    PreparedSettings,
    describe,
    read_description,
    write_face,
)
from training.data.triples import Triple, TripleFolder
from training.data.view_triples import VIEWS

TRIPLES = "triples.json"
WHAT = "triples"
RECORD = "triple.npy"
FORMAT = 1
LEAST_SIZE = 224
"""Side of the stored crops, pixels, where no larger ones are wanted: the paper's."""
FIELDS = [("yaw", "<f4", (VIEWS,)), ("points101", "<f4", (COUNT, 3)), ("points101_known", "?")]
"""Of NAME/triple.npy: measured degrees; millimetres, 0 where the set has none."""


@dataclass(frozen=True)
class ParsedBy:
    """What told the classes of a folder's pixels.

    Attributes:
        face_parser: its name or file, as it was given.
        fingerprint: of its weights.
    """

    face_parser: str
    fingerprint: str

    @classmethod
    def of(cls, face_parser: str) -> ParsedBy:
        """Raises UsageError: as `read_face_parser`."""
        state = read_face_parser(face_parser).state_dict()
        digest = hashlib.sha256()
        for name in sorted(state):
            digest.update(name.encode() + state[name].contiguous().numpy().tobytes())
        return cls(face_parser, digest.hexdigest()[:16])


@dataclass(frozen=True)
class TriplePreparation:
    """Triples of a set, see `training.data.prepare.Preparation`."""

    folder: TripleFolder
    output: Path
    settings: PreparedSettings
    parsed_by: ParsedBy
    what: str = WHAT

    def begin(self) -> None:
        describe(self.output, self.settings)
        path = self.output / TRIPLES
        if not path.exists():
            description.write_description(path, FORMAT, self.parsed_by)
            return
        there = read_parsed_by(self.output)
        if there.fingerprint != self.parsed_by.fingerprint:
            raise UsageError(
                "prepared-otherwise",
                f"{self.output} was prepared with the face parser {there.face_parser}, whose weights were others than "
                f"those of {self.parsed_by.face_parser} are. Name those weights with network.face_parser, or another "
                "folder with data.triples_prepared.",
            )

    def is_whole(self, name: str) -> bool:
        return (self.output / FACES / name / RECORD).exists()

    def start(self) -> Callable[[Triple], Outcome]:
        parser = read_face_parser(self.parsed_by.face_parser)
        return partial(_prepare_one, folder=self.folder, output=self.output, size=self.settings.size, parser=parser)


def prepare_triples(
    folder: TripleFolder,
    output: Path,
    size: int,
    face_parser: str,
    *,
    processes: int | None = None,
    again: bool = False,
) -> Counter[str]:
    """Makes those triples of a set ready that are not ready yet; left out are those that cannot be used.

    Args:
        folder: the set.
        output: for what is made. One that was begun before goes on with its own settings.
        size: side of the pictures that are trained on, pixels.
        face_parser: a name or a file, see `read_face_parser`.
        processes, again: as `prepare_each`; None for as many processes as there are cores.

    Returns:
        As `prepare_each`.

    Raises:
        UsageError: "prepared-otherwise", "prepared-too-small", and as `prepare_each` and `read_face_parser`.
    """
    begun = (output / DESCRIPTION).exists()
    settings = read_description(output) if begun else PreparedSettings("mediapipe", max(LEAST_SIZE, size))
    _check_size(output, settings, size)
    preparation = TriplePreparation(folder, output, settings, ParsedBy.of(face_parser))
    return prepare_each(folder.triples, preparation, processes=processes or os.cpu_count() or 1, again=again)


def whole_triples(folder: TripleFolder, output: Path) -> list[Triple]:
    """The triples of a set that are prepared.

    Raises:
        UsageError: "not-prepared"; "no-triples": none is.
    """
    read_parsed_by(output)
    there = [triple for triple in folder.triples if (output / FACES / triple.name / RECORD).exists()]
    if not there:
        raise UsageError(
            "no-triples",
            f"None of the {len(folder)} moments in {folder.root} can be trained on. The reasons are in "
            f"{output / LEFT_OUT}.",
        )
    return there


def read_parsed_by(output: Path) -> ParsedBy:
    """What told the classes of a folder.

    Raises:
        UsageError: "not-prepared": it is no folder of prepared triples.
    """
    try:
        return description.read_description(output / TRIPLES, FORMAT, ParsedBy)
    except (OSError, ValueError) as error:
        raise UsageError(
            "not-prepared",
            f"{output} is no folder of prepared triples ({TRIPLES}: {error}). Name an empty folder with "
            "data.triples_prepared, or one that `fit deep-fusion` or `prepare --kind pixel-face` made.",
        ) from error


class PreparedTriples(PreparedPictures):
    """Left, front and right view of a moment, then of the next one; see `Pictures`. Crops are as they were made.

    Args:
        places: for each moment the folder that it was prepared in, the triple, and the number of the person.
        size: side of the pictures in pixels.
        face_model: whose labels batches hold zeros of.
    """

    framing = "aligned"

    def __init__(self, places: Sequence[tuple[Path, Triple, int]], size: int, face_model: str) -> None:
        self.places, self.size, self.face_model = list(places), size, face_model
        for folder in {folder for folder, _, _ in places}:
            _check_size(folder, read_description(folder), size)
        self.files = [
            folder / FACES / triple.name / f"{slot}{LABELS}" for folder, triple, _ in self.places for slot in SLOTS
        ]

    def read(self, position: int, generator: np.random.Generator) -> Item:
        moment, slot = divmod(position, VIEWS)
        folder, triple, person = self.places[moment]
        record = np.load(folder / FACES / triple.name / RECORD, allow_pickle=False)
        return super().read(position, generator) | {
            "yaw": record["yaw"][slot],
            "person": np.array(person),
            "points101": np.array(record["points101"]),
            "points101_known": np.array(record["points101_known"]),
        }


def in_slots(triple: Triple, yaw: Sequence[float], names: Sequence[str]) -> tuple[int, int, int]:
    """Which picture of a triple shows the left side, the front and the right side of the face.

    Args:
        triple: where its set says from where its views are, they stand in that order, and are only looked after.
        yaw: measured degrees of each picture, positive where the left side shows.
        names: of the pictures, for sentences.

    Raises:
        PhotoError: "views-swapped": they show other sides than the set says; and as the remarks of `order_views`.
    """
    turned = ", ".join(f"{value:.0f}" for value in yaw)
    if None not in triple.yaw:
        if (np.diff(yaw) >= 0).any():
            said = ", ".join(f"{value:.0f}" for value in triple.yaw)
            raise PhotoError(
                "views-swapped",
                f"The views {', '.join(names)} are turned by {said} degrees as the set says, and by {turned} as they "
                "look. Left is the subject's own.",
            )
        return (0, 1, 2)
    order = order_views(yaw, names)
    remarks = [order.refusal] if order.refusal else list(order.warnings)
    if None in order.slots:
        raise PhotoError(remarks[0].code, f"{remarks[0].sentence} They are turned by {turned} degrees.")
    return order.slots


def _prepare_one(triple: Triple, folder: TripleFolder, output: Path, size: int, parser: FaceParser) -> Outcome:
    names = [path.relative_to(folder.root).as_posix() for path in triple.pictures]
    try:
        item = folder.read(triple)
        found = [find_face(image, name) for image, name in zip(item.images, names, strict=True)]
        yaw = [view_of(face.points, *image.shape[1::-1]).yaw for image, face in zip(item.images, found, strict=True)]
        order = in_slots(triple, yaw, names)
    except LifemaskError as error:
        return error.code, error.sentence
    faces = _cut_out([(item.images[place], found[place]) for place in order], size, parser)
    for slot, face in zip(SLOTS, faces, strict=True):
        write_face(output, f"{triple.name}/{slot}", face)
    record = np.zeros((), FIELDS)
    record["yaw"] = [yaw[place] for place in order]
    if item.points101 is not None:
        record["points101"], record["points101_known"] = item.points101, True
    target = output / FACES / triple.name / RECORD
    draft = target.with_suffix(".part.npy")
    np.save(draft, record)
    draft.replace(target)
    return PREPARED


def _cut_out(views: Sequence[tuple[np.ndarray, DetectedFace]], size: int, parser: FaceParser) -> list[PreparedFace]:
    """The aligned crops of pictures, the same that the network gets of a person's photographs."""
    crops = [align(landmarks68_from_478(face.points), size) for _, face in views]
    images = [crop.image(image) for crop, (image, _) in zip(crops, views, strict=True)]
    labels = parser.labels(torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255).numpy()
    return [
        PreparedFace(
            cropped,
            parsing,
            crop,
            image.shape[1::-1],
            crop.points_in(landmarks68_from_478(face.points)),
            crop.points_in(face.points),
        )
        for cropped, parsing, crop, (image, face) in zip(images, labels, crops, views, strict=True)
    ]


def _check_size(folder: Path, settings: PreparedSettings, size: int) -> None:
    if settings.size < size:
        raise UsageError(
            "prepared-too-small",
            f"The pictures in {folder} are {settings.size} px, the training wants {size} px. Set "
            f"data.size={settings.size}, or name another folder with data.triples_prepared.",
        )
