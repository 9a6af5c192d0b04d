"""Does a face parser find the parts of faces? `python3 -m training evaluate parsing`.

On synthetic people whom no training has seen: intersection over union of each of the ten classes, over the pixels of
all pictures together, and the mean over the classes. "Yaw below 30 degrees" and "turned further" are parts of these
pictures.

On London's photographs nobody has drawn the parts. There the answer is compared with areas between the landmarks that a
detector found: a check that the parser looks at real faces at all, not of its outlines. The areas of skin and brows are
coarse, and hair and glasses before the face count as skin. `--sheet` shows what there is to look at.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from backend.aligned_crop import align
from backend.errors import PhotoError, UsageError
from backend.face_parsing import PARSING_CLASSES, SHIPPED, FaceParser, read_face_parser
from backend.landmarks68 import landmarks68_from_478
from backend.photographs import load_photograph
from training.data.face_masks import parsing_of_landmarks
from training.data.parsing_pictures import coloured_by_class
from training.evaluation.class_confusion import ClassConfusion
from training.evaluation.data_folder import data_folder
from training.evaluation.identity import FRONTAL_DEGREES, LONDON
from training.methods.face_parsing import confusion_figures

logger = logging.getLogger(__name__)

SEED = 9_024_007
"""Of the synthetic people; no training uses it."""
PEOPLE = 64
PICTURES_PER_PERSON = 4
LARGEST = 224
"""Side of the synthetic pictures in pixels, for parsers that look at larger ones, too."""
PHOTOGRAPH_SIZE = 224
BATCH = 16
GAP = 4
"""Pixels between faces on the sheet."""


def parse(parser: FaceParser, images: np.ndarray) -> np.ndarray:
    """(N, H, W, 3) uint8 sRGB to the answers (N, H, W) uint8, index in `PARSING_CLASSES`."""
    answers = []
    for start in range(0, len(images), BATCH):
        batch = torch.from_numpy(images[start : start + BATCH]).permute(0, 3, 1, 2).float() / 255
        answers.append(parser.labels(batch).numpy())
    return np.concatenate(answers)


def confusion(truth: np.ndarray, answer: np.ndarray) -> ClassConfusion:
    """Of the ten classes, (N, H, W) each."""
    counted = ClassConfusion(len(PARSING_CLASSES))
    counted.add(torch.from_numpy(truth), torch.from_numpy(answer))
    return counted


def synthetic_faces(people: int, size: int, seed: int = SEED) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Aligned pictures of synthetic people.

    Returns:
        images (P, size, size, 3) uint8, classes (P, size, size) uint8, yaw (P,) degrees.
    """
    from training.data.generator import SyntheticPeople

    album = SyntheticPeople(seed, size, framing="aligned", pictures_per_person=PICTURES_PER_PERSON)
    samples = [album.photograph(number) for number in range(people * PICTURES_PER_PERSON)]
    images, labels = (np.stack([getattr(sample, name) for sample in samples]) for name in ("image", "parsing"))
    return images, labels, np.array([sample.yaw for sample in samples])


def photographed_faces(paths: Sequence[Path], size: int = PHOTOGRAPH_SIZE) -> tuple[np.ndarray, np.ndarray]:
    """The aligned crops of those photographs in which a face is found, with what their landmarks say.

    Returns:
        images (P, size, size, 3) uint8, classes (P, size, size) uint8 as the landmarks outline them.
    """
    from backend.detection import find_face

    images, drawn = [np.zeros((0, size, size, 3), np.uint8)], [np.zeros((0, size, size), np.uint8)]
    for path in paths:
        image = load_photograph(path).image
        try:
            points = find_face(image, path.name).points
        except PhotoError as error:
            logger.warning("%s", error.sentence)
            continue
        landmarks = landmarks68_from_478(points)
        crop = align(landmarks, size)
        images.append(crop.image(image)[None])
        drawn.append(parsing_of_landmarks(crop.points_in(landmarks), crop.points_in(points), size)[None])
    return np.concatenate(images), np.concatenate(drawn)


def sheet_tiles(images: np.ndarray, answers: np.ndarray) -> list[np.ndarray]:
    """A picture for each face, (H + 4, 2 W + 4, 3) uint8: the photograph, and the same with the colours of its classes.

    Args:
        images: (N, H, W, 3) uint8; answers: (N, H, W).
    """
    shown = np.concatenate([images, coloured_by_class(images, answers)], axis=2)
    return [np.pad(tile, ((0, GAP), (0, GAP), (0, 0))) for tile in shown]


def table(figures: dict[str, dict[str, float]]) -> str:
    """Rows of `confusion_figures` by name, as columns of percent, a line a class."""
    width = max(map(len, figures)) + 2
    lines = [f"{'intersection over union, %':28}" + "".join(f"{name:>{width}}" for name in figures)]
    names = {f"iou_{name}": name.replace("_", " ") for name in PARSING_CLASSES}
    names |= {"mean_iou": "mean of the classes", "pixel_accuracy": "pixels that are right"}
    for key, name in names.items():
        values = [f"{100 * row[key]:.1f}" if key in row else "-" for row in figures.values()]
        lines.append(f"{name:28}" + "".join(f"{value:>{width}}" for value in values))
    return "\n".join(lines)


def main(arguments: list[str]) -> int:
    """`python3 -m training evaluate parsing`."""
    parser = argparse.ArgumentParser(prog="evaluate parsing", description=__doc__)
    parser.add_argument("--network", default=SHIPPED, metavar="FILE", help=f"that parses faces; default {SHIPPED}")
    parser.add_argument("--data", type=Path, help="folder of test data; default $LIFEMASK_DATA")
    parser.add_argument(
        "--people", type=int, default=PEOPLE, help=f"synthetic people, {PICTURES_PER_PERSON} pictures of each"
    )
    parser.add_argument("--size", type=int, help=f"side of their pictures; default the network's, up to {LARGEST}")
    parser.add_argument("--only", choices=("synthetic", "photographs"), help="one half of the table")
    parser.add_argument("--sheet", type=Path, metavar="FILE.png", help="photographs and their parts, to look at")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here too")
    options = parser.parse_args(arguments)
    if options.people < 1 or (options.size is not None and options.size < 32):
        parser.error("--people must be 1 or more, --size 32 or more.")
    if options.sheet and options.only == "synthetic":
        parser.error("--sheet shows photographs, which --only synthetic leaves out.")
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    network = read_face_parser(options.network)
    figures = {}
    if options.only != "photographs":
        size = options.size or min(network.form.size, LARGEST)
        logger.info("Synthetic: %d people, %d pictures of each, %d px", options.people, PICTURES_PER_PERSON, size)
        images, labels, yaws = synthetic_faces(options.people, size)
        answers, frontal = parse(network, images), np.abs(yaws) < FRONTAL_DEGREES
        parts = {
            "synthetic": np.ones_like(frontal),
            f"yaw below {FRONTAL_DEGREES:.0f} degrees": frontal,
            "turned further": ~frontal,
        }
        figures |= {name: confusion_figures(confusion(labels[part], answers[part])) for name, part in parts.items()}
    if options.only != "synthetic":
        folder = data_folder(options.data, LONDON) / LONDON
        paths = sorted(folder.glob("*.jpg"))
        logger.info("London: %d photographs", len(paths))
        images, drawn = photographed_faces(paths)
        if not len(images):
            raise UsageError("no-test-data", f"There is no photograph with a face in {folder}.")
        answers = parse(network, images)
        figures["London, by landmarks"] = confusion_figures(confusion(drawn, answers))
    print(table(figures))
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1), "utf-8")
    if options.sheet:
        from training.data.sheet import write

        write(options.sheet, sheet_tiles(images, answers))
    return 0
