"""Makes real photographs ready for training: finds faces, cuts them out, keeps landmarks and masks.

`python3 -m training prepare FOLDER --output PREPARED` works in parallel and goes on where it was stopped. What cannot
be used is left out and written down with the reason.
"""

from __future__ import annotations

import argparse
import csv
import os
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
import torch
from tqdm import tqdm

from backend.aligned_crop import AlignedCrop, align
from backend.errors import LifemaskError, PhotoError, UsageError
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

LEFT_OUT = "left_out.csv"
COLUMNS = ("name", "code", "reason")
DEFAULT_SIZE = 336


def main(arguments: list[str]) -> int:
    """`python3 -m training prepare FOLDER --output PREPARED [--kind ffhq] [--landmarks NAME]`."""
    parser = argparse.ArgumentParser(prog="python3 -m training prepare", description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="of photographs, or of a data set")
    parser.add_argument("--output", type=Path, required=True, help="folder for the faces; may have been begun before")
    parser.add_argument("--kind", choices=KINDS, default="photographs", help="how FOLDER is laid out")
    parser.add_argument("--landmarks", choices=SOURCES, default="mediapipe", help="what finds the landmarks")
    parser.add_argument("--weights", type=Path, help="folder of the weights of face-alignment")
    parser.add_argument("--size", type=int, default=DEFAULT_SIZE, help="side of the stored pictures in pixels")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--again", action="store_true", help="try those again that were left out before")
    options = parser.parse_args(arguments)
    if options.size < 64 or options.processes < 1:
        raise UsageError("bad-number", "--size must be at least 64 and --processes at least 1.")
    settings = PreparedSettings(options.landmarks, options.size)
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
        processes: how many pictures are worked on at the same time.
        again: whether those are tried again that were left out before.

    Returns:
        How many pictures there are by what became of them: "prepared", or the code of the reason. Pictures of earlier
        runs are counted too.

    Raises:
        UsageError: the folder is not of that kind, the output was begun with other settings or cannot be written.
        SetupError: the landmark source cannot be used.
    """
    items = open_folder(folder, kind).items
    source = landmark_source(settings.landmarks, weights)  # before anything is written, and before processes start
    try:
        output.mkdir(parents=True, exist_ok=True)
        describe(output, settings)
        before = {} if again else read_left_out(output)
        counts = Counter(before[item.name] for item in items if item.name in before)
        wanted = []
        for item in items:
            if is_written(output, item.name):
                counts["prepared"] += 1
            elif item.name not in before:
                wanted.append(item)
        with (output / LEFT_OUT).open("w" if again else "a", newline="", encoding="utf-8") as stream:
            table = csv.writer(stream)
            if stream.tell() == 0:
                table.writerow(COLUMNS)
            outcomes = _outcomes(wanted, output, settings, source, weights, processes)
            for item, code, reason in tqdm(outcomes, total=len(wanted), desc="photographs", mininterval=1):
                counts[code] += 1
                if code != "prepared":
                    table.writerow((item.name, code, reason))
                    stream.flush()
    except OSError as error:
        raise in_words(error, output) from error
    return counts


def in_sentences(report: Counter[str], output: Path) -> str:
    """What `prepare` came to, for a person."""
    left_out = {code: count for code, count in sorted(report.items()) if code != "prepared"}
    lines = [f"{report['prepared']} of {report.total()} photographs are prepared. Folder: {output}"]
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


Outcome = tuple[str, str]
"""The code of what became of a picture, and the reason in words."""


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
    return "prepared", ""


def _outcomes(
    items: list[Item],
    output: Path,
    settings: PreparedSettings,
    source: LandmarkSource,
    weights: Path | None,
    processes: int,
) -> Iterator[tuple[Item, str, str]]:
    if processes <= 1 or len(items) <= 1:
        for item in items:
            yield item, *_prepare_one(item, output, settings.size, source)
        return
    started = (output, settings, weights)
    with ProcessPoolExecutor(min(processes, len(items)), get_context("spawn"), _start_process, started) as pool:
        try:
            for item, outcome in zip(items, pool.map(_prepare_in_process, items), strict=True):
                yield item, *outcome
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


_work: tuple[Path, int, LandmarkSource] | None = None
"""Of a worker process: output, size, landmark source."""


def _start_process(output: Path, settings: PreparedSettings, weights: Path | None) -> None:
    global _work
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    _work = (output, settings.size, landmark_source(settings.landmarks, weights))


def _prepare_in_process(item: Item) -> Outcome:
    output, size, source = _work
    return _prepare_one(item, output, size, source)
