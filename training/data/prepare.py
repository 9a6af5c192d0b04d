"""Makes real photographs ready for training: finds faces, cuts them out, keeps landmarks and masks.

`python3 -m training prepare FOLDER --output PREPARED` works in parallel and goes on where it was stopped. What cannot
be used is left out and written down with the reason. Of sets that show people from three sides triples are made, see
`prepared_triples.py`.
"""

from __future__ import annotations

import argparse
import csv
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
import torch
from tqdm import tqdm

from backend.aligned_crop import AlignedCrop, align
from backend.errors import LifemaskError, PhotoError, UsageError
from backend.face_parsing import SHIPPED
from backend.photographs import load_photograph
from training.data.disk import in_words
from training.data.face_masks import parsing_of_landmarks
from training.data.folders import KINDS, Item, open_folder
from training.data.landmark_sources import SOURCES, Landmarks, LandmarkSource, landmark_source
from training.data.prepared import (
    ROOM,
    PreparedFace,
    PreparedSettings,
    describe,
    is_written,
    write_face,
)
from training.data.triples import TripleFolder

LEFT_OUT = "left_out.csv"
COLUMNS = ("name", "code", "reason")
DEFAULT_SIZE = 336

Outcome = tuple[str, str]
"""The code of what became of an item, and the reason in words."""
PREPARED: Outcome = ("prepared", "")


class Named(Protocol):
    """An item of a set."""

    @property
    def name(self) -> str:
        """Unique in the set."""
        ...


def main(arguments: list[str]) -> int:
    """`python3 -m training prepare FOLDER --output PREPARED [--kind ffhq] [--landmarks NAME]`."""
    from training.data.photographed_triples import SETS, kind_of  # which imports this

    triples = {kind_of(name): known for name, known in SETS.items()}
    parser = argparse.ArgumentParser(prog="python3 -m training prepare", description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="of photographs, or of a data set")
    parser.add_argument("--output", type=Path, required=True, help="folder for the faces; may have been begun before")
    parser.add_argument("--kind", choices=(*KINDS, *triples), default="photographs", help="how FOLDER is laid out")
    parser.add_argument("--landmarks", choices=SOURCES, default="mediapipe", help="what finds the landmarks")
    parser.add_argument("--weights", type=Path, help="folder of the weights of face-alignment")
    parser.add_argument("--face-parser", metavar="NAME", help="weights that tell the classes of pixels, of triples")
    parser.add_argument("--size", type=int, help=f"side of the stored pictures in pixels ({DEFAULT_SIZE}; of triples, "
                        "which have no room round the aligned crop, 224)")  # fmt: skip
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--again", action="store_true", help="try those again that were left out before")
    options = parser.parse_args(arguments)
    if (options.size is not None and options.size < 64) or options.processes < 1:
        raise UsageError("bad-number", "--size must be at least 64 and --processes at least 1.")
    if options.kind in triples:
        return _prepare_triples(triples[options.kind].opened(options.folder), options)
    settings = PreparedSettings(options.landmarks, options.size or DEFAULT_SIZE)
    report = prepare(
        options.folder,
        options.output,
        settings,
        kind=options.kind,
        weights=options.weights,
        processes=options.processes,
        again=options.again,
    )
    print(in_sentences(report, options.output))
    return 0


class Preparation(Protocol):
    """What is made of each item of a set, a file or several; it is sent to other processes as it is.

    Attributes:
        output: folder for what is made.
        what: the items in a word, such as "photographs".
    """

    output: Path
    what: str

    def begin(self) -> None:
        """Says in the folder, which is there, how it is made. UsageError where it was begun with other settings."""
        ...

    def is_whole(self, name: str) -> bool:
        """Whether the item of that name is made."""
        ...

    def start(self) -> Callable[[Any], Outcome]:
        """Once in each process, before anything is written: what makes an item, with all it needs in memory."""
        ...


@dataclass(frozen=True)
class PhotographPreparation:
    """Faces of photographs, see `Preparation`.

    Attributes:
        settings: what finds the landmarks, and how large the stored pictures are.
        weights: folder of the weights of face-alignment.
    """

    output: Path
    settings: PreparedSettings
    weights: Path | None = None
    what: str = "photographs"

    def begin(self) -> None:
        describe(self.output, self.settings)

    def is_whole(self, name: str) -> bool:
        return is_written(self.output, name)

    def start(self) -> Callable[[Item], Outcome]:
        source = landmark_source(self.settings.landmarks, self.weights)
        return partial(_prepare_one, output=self.output, size=self.settings.size, source=source)


def prepare(
    folder: Path,
    output: Path,
    settings: PreparedSettings,
    *,
    kind: str = "photographs",
    weights: Path | None = None,
    processes: int = 1,
    again: bool = False,
) -> Counter[str]:
    """Makes ready what is not ready yet.

    Args:
        folder: of pictures; `kind` as `open_folder`.
        output: of the prepared faces; may have been begun before, with the same settings.
        settings: what finds the landmarks, and how large the stored pictures are.
        weights: folder of the weights of face-alignment.
        processes, again: as `prepare_each`.

    Returns:
        As `prepare_each`.

    Raises:
        UsageError: the folder is not of that kind, the output was begun with other settings or cannot be written.
        SetupError: the landmark source cannot be used.
    """
    items = open_folder(folder, kind).items
    return prepare_each(items, PhotographPreparation(output, settings, weights), processes=processes, again=again)


def prepare_each(
    items: Sequence[Named], preparation: Preparation, *, processes: int = 1, again: bool = False
) -> Counter[str]:
    """Makes what is not made yet, and writes down what was left out.

    Args:
        items: each with a `name` that is unique.
        preparation: what is made of them.
        processes: how many items are worked on at the same time.
        again: whether those are tried again that were left out before.

    Returns:
        How many items there are by what became of them: "prepared", or the code of the reason. Items of earlier runs
        are counted too.

    Raises:
        UsageError: the output was begun with other settings or cannot be written; and what `start` raises.
    """
    output, work = preparation.output, preparation.start()
    try:
        output.mkdir(parents=True, exist_ok=True)
        preparation.begin()
        before = {} if again else read_left_out(output)
        counts = Counter(before[item.name] for item in items if item.name in before)
        wanted = []
        for item in items:
            if preparation.is_whole(item.name):
                counts["prepared"] += 1
            elif item.name not in before:
                wanted.append(item)
        with (output / LEFT_OUT).open("w" if again else "a", newline="", encoding="utf-8") as stream:
            table = csv.writer(stream)
            if stream.tell() == 0:
                table.writerow(COLUMNS)
            outcomes = _outcomes(wanted, preparation, work, processes)
            for item, (code, reason) in tqdm(outcomes, total=len(wanted), desc=preparation.what, mininterval=1):
                counts[code] += 1
                if code != "prepared":
                    table.writerow((item.name, code, reason))
                    stream.flush()
    except OSError as error:
        raise in_words(error, output) from error
    return counts


def in_sentences(report: Counter[str], output: Path, what: str = PhotographPreparation.what) -> str:
    """What `prepare_each` came to, for a person; `what` are the items."""
    left_out = {code: count for code, count in sorted(report.items()) if code != "prepared"}
    lines = [f"{report['prepared']} of {report.total()} {what} are prepared. Folder: {output}"]
    if left_out:
        lines.append(f"Left out: {sum(left_out.values())}, written down with their reasons in {output / LEFT_OUT}.")
        lines += [f"  {count} x {code}" for code, count in left_out.items()]
    return "\n".join(lines)


def read_left_out(output: Path) -> dict[str, str]:
    """Name -> code of the reason, of what was left out so far."""
    path = output / LEFT_OUT
    if not path.exists():
        return {}
    with path.open(newline="", encoding="utf-8") as stream:
        return {row["name"]: row["code"] for row in csv.DictReader(stream)}


def cut_out(image: np.ndarray, landmarks: Landmarks, size: int) -> PreparedFace:
    """The face of a photograph with room round it.

    Args:
        image: (H, W, 3) uint8 sRGB.
        landmarks: in its pixels.
        size: side of the picture, pixels.
    """
    middle = align(landmarks.points68, round(size / ROOM))
    room = (size - middle.size) / 2 / middle.scale
    crop = AlignedCrop(middle.scale, middle.left - room, middle.top - room, size)
    points68 = crop.points_in(landmarks.points68)
    points478 = None if landmarks.points478 is None else crop.points_in(landmarks.points478)
    height, width = image.shape[:2]
    there = crop.labels(np.ones((height, width), np.uint8))  # a tight photograph ends before the face does
    parsing = parsing_of_landmarks(points68, points478, size) * there
    return PreparedFace(crop.image(image), parsing, crop, (width, height), points68, points478)


def _prepare_triples(folder: TripleFolder, options: argparse.Namespace) -> int:
    from training.data.prepared_triples import LEAST_SIZE, WHAT, prepare_triples

    if options.face_parser is None:
        raise UsageError(
            "no-face-parser",
            "Triples are prepared with the classes of their pixels: name what tells them, the same as in the "
            f"training's network.face_parser, such as --face-parser {SHIPPED}.",
        )
    if options.landmarks != "mediapipe":
        raise UsageError("no-such-source", "Triples are prepared with the landmarks of mediapipe only.")
    size = options.size or LEAST_SIZE
    report = prepare_triples(
        folder, options.output, size, options.face_parser, processes=options.processes, again=options.again
    )
    print(in_sentences(report, options.output, WHAT))
    return 0


def _prepare_one(item: Item, output: Path, size: int, source: LandmarkSource) -> Outcome:
    try:
        image = load_photograph(item.path).image
        landmarks = source.find(image)
        if landmarks is None:
            raise PhotoError("no-face", f"No face that is large enough was found in {item.path.name}.")
        face = cut_out(image, landmarks, size)
    except LifemaskError as error:
        return error.code, error.sentence
    write_face(output, item.name, face)
    return PREPARED


def _outcomes(
    items: list[Named], preparation: Preparation, work: Callable[[Any], Outcome], processes: int
) -> Iterator[tuple[Named, Outcome]]:
    if processes <= 1 or len(items) <= 1:
        for item in items:
            yield item, work(item)
        return
    with ProcessPoolExecutor(min(processes, len(items)), get_context("spawn"), _start_process, (preparation,)) as pool:
        try:
            yield from zip(items, pool.map(_prepare_in_process, items), strict=True)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


_work: Callable[[Any], Outcome] | None = None
"""Of a worker process."""


def _start_process(preparation: Preparation) -> None:
    global _work
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    _work = preparation.start()


def _prepare_in_process(item: Named) -> Outcome:
    return _work(item)
