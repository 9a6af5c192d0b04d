"""Makes and keeps the eye crops that a run learns from: one file a photograph, one a block of synthetic pictures.

What is there is not made again, so that an interrupted run goes on where it was.
"""

from __future__ import annotations

import logging
import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import torch
from tqdm import tqdm

from backend.errors import PhotoError, UsageError
from backend.eye_crops import CORNERS, SIDES
from backend.face_mesh_points import LEFT_LOWER_LID, LEFT_UPPER_LID, RIGHT_LOWER_LID, RIGHT_UPPER_LID
from backend.face_models import load_face_model
from training.data.eye_crops import CropCounts, EyeCrops, crops_of
from training.data.fitted_portraits import KEPT_AS, FittedPortrait, PortraitFitter
from training.data.generator import SyntheticPeople
from training.data.photographed_people import PhotographedPeople
from training.data.sample import Sample
from training.data.shards import ShardFolder
from training.data.shut_photographs import EyePicture, PortraitEditor, person_of

logger = logging.getLogger(__name__)

PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png")
KINDS = ("edited", "photographed", "synthetic")
BLOCK = 100
"""Synthetic pictures a file."""
SYNTHETIC_SIZE = 288
SMALLEST_VISIBLE = 0.5
"""Of the lid points of an eye: an eye more hidden than that tells nothing of its lids."""
LIDS = {"left": LEFT_UPPER_LID + LEFT_LOWER_LID, "right": RIGHT_UPPER_LID + RIGHT_LOWER_LID}


@dataclass(frozen=True)
class CropPart:
    """One file of crops.

    Attributes:
        path: of the file. kind: "edited", "photographed" or "synthetic".
        number: of the photograph, or of the block of synthetic pictures. photograph: its file.
    """

    path: Path
    kind: str
    number: int
    photograph: Path | None = None


@dataclass(frozen=True)
class CropRecipe:
    """What the crops of a run are made of.

    Attributes:
        folder: where they are kept.
        photographs: folder of photographs of open eyes; None: none.
        edited: pictures of each photograph with other lids, see `training.data.shut_photographs`.
        photographed: pictures of each photograph's head drawn anew, see `training.data.photographed_people`.
        synthetic: pictures of synthetic people.
        shards: folder written by `python3 -m training synthesise` that they are taken from; None makes them.
        seed: of everything random.
    """

    folder: Path
    photographs: Path | None
    edited: int
    photographed: int
    synthetic: int
    shards: Path | None
    seed: int

    def parts(self) -> list[CropPart]:
        """The files, and what each is made of."""
        found = []
        photographs = photographs_in(self.photographs) if self.photographs is not None else []
        for kind, count in (("edited", self.edited), ("photographed", self.photographed)):
            folder = self.folder / f"{kind}-{KEPT_AS}-{self.seed}-{count}"
            if count > 0:
                found += [
                    CropPart(folder / f"{path.stem}.npz", kind, number, path) for number, path in enumerate(photographs)
                ]
        folder = self.folder / (f"synthetic-{self.seed}" if self.shards is None else f"shards-{self.shards.name}")
        for number in range(-(-self.synthetic // BLOCK)):
            found.append(CropPart(folder / f"{number:05}.npz", "synthetic", number))
        return found


def photographs_in(folder: Path) -> list[Path]:
    """The JPEG and PNG files of a folder by name. Raises UsageError where there are none."""
    found = sorted(path for path in folder.glob("*") if path.suffix.lower() in PICTURE_SUFFIXES)
    if not found:
        raise UsageError(
            "no-photographs",
            f"There are no photographs in {folder}. Give a folder of portraits (JPEG or PNG) with open eyes as "
            "data.photographs.",
        )
    return found


def make_missing(recipe: CropRecipe, processes: int = 1) -> CropCounts:
    """Makes the files of a recipe that are not there yet, with a progress bar.

    Raises UsageError where the folder of photographs is empty.
    """
    missing = [part for part in recipe.parts() if not part.path.is_file()]
    counts = CropCounts()
    if not missing:
        return counts
    jobs = [(recipe, part) for part in missing]
    with tqdm(total=len(jobs), desc="eye crops", unit="file") as bar:
        for done in _finished(jobs, processes):
            counts.pictures += done.pictures
            counts.missed += done.missed
            counts.elsewhere += done.elsewhere
            bar.update()
    logger.info(
        "%d pictures; no face found in %d of them, a wrong one in %d", counts.pictures, counts.missed, counts.elsewhere
    )
    return counts


def load_crops(recipe: CropRecipe) -> EyeCrops:
    """All crops of a recipe, in memory (about 19 kB each)."""
    return EyeCrops.joined([EyeCrops.empty(), *(EyeCrops.load(part.path) for part in recipe.parts())])


def eyes_of_sample(sample: Sample, person: str | None = None, kind: str = "synthetic") -> EyePicture:
    """A synthetic picture as one with known lids. `person`: a name in place of the sample's own number."""
    name = person or f"synthetic_{sample.seed}_{sample.person}"
    return known_eyes(sample.image, sample.closure, sample.landmarks478, sample.visible478, name, kind)


def known_eyes(
    image: np.ndarray, closure: np.ndarray, landmarks478: np.ndarray, visible478: np.ndarray, person: str, kind: str
) -> EyePicture:
    """A picture whose landmarks are known, see `Sample`; the closure of hidden eyes becomes NaN."""
    closure = np.array(closure, np.float32)
    for row, side in enumerate(SIDES):
        if visible478[list(LIDS[side])].mean() < SMALLEST_VISIBLE:
            closure[row] = np.nan
    eyes = np.array([landmarks478[list(CORNERS[side])].mean(axis=0) for side in SIDES], np.float32)
    return EyePicture(image, closure, eyes, person, kind)


def _finished(jobs: list[tuple], processes: int) -> Iterator[CropCounts]:
    if processes <= 1:
        yield from map(_make_part, jobs)
        return
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"), _one_thread) as pool:
        yield from pool.map(_make_part, jobs)


def _one_thread() -> None:
    torch.set_num_threads(1)
    cv2.setNumThreads(1)


def _make_part(job: tuple[CropRecipe, CropPart]) -> CropCounts:
    recipe, part = job
    counts = CropCounts()
    generator = np.random.default_rng([recipe.seed, KINDS.index(part.kind), part.number])
    pictures = {"edited": _edited, "photographed": _photographed, "synthetic": _synthetic}[part.kind]
    found = crops_of(pictures(recipe, part, generator), generator, counts)
    EyeCrops.joined([EyeCrops.empty(), *found]).save(part.path)
    return counts


def _synthetic(recipe: CropRecipe, part: CropPart, generator: np.random.Generator) -> Iterator[EyePicture]:
    start = part.number * BLOCK
    indices = range(start, min(start + BLOCK, recipe.synthetic))
    if recipe.shards is None:
        people = _people(recipe.seed)
        yield from (eyes_of_sample(people.photograph(index)) for index in indices)
        return
    album = _album(recipe.shards)
    for index in indices[: max(len(album) - start, 0)]:
        labels = album.labels(index)
        name = f"synthetic_{labels['seed']}_{labels['person']}"
        yield known_eyes(
            album.image(index), labels["closure"], labels["landmarks478"], labels["visible478"], name, part.kind
        )


def _edited(recipe: CropRecipe, part: CropPart, generator: np.random.Generator) -> Iterator[EyePicture]:
    try:
        editor = PortraitEditor(_model(), _portrait(recipe.folder, part.photograph))
    except PhotoError as error:
        logger.warning("%s is left out: %s", part.photograph.name, error.sentence)
        return
    for _ in range(recipe.edited):
        yield editor.edited(generator)


def _photographed(recipe: CropRecipe, part: CropPart, generator: np.random.Generator) -> Iterator[EyePicture]:
    people, count = _photographed_people(recipe), recipe.photographed
    try:
        for index in range(part.number * count, (part.number + 1) * count):
            sample = people.photograph(index)
            yield eyes_of_sample(sample, person_of(part.photograph), part.kind)
    except PhotoError as error:
        logger.warning("%s is left out: %s", part.photograph.name, error.sentence)


@lru_cache(maxsize=1)
def _model():
    return load_face_model("open_head")


@lru_cache(maxsize=4)
def _portrait(folder: Path, path: Path) -> FittedPortrait:
    return PortraitFitter(_model(), folder / "portraits").portrait(path)


@lru_cache(maxsize=1)
def _album(folder: Path) -> ShardFolder:
    return ShardFolder(folder)


@lru_cache(maxsize=1)
def _people(seed: int) -> SyntheticPeople:
    return SyntheticPeople(seed, SYNTHETIC_SIZE)


@lru_cache(maxsize=1)
def _photographed_people(recipe: CropRecipe) -> PhotographedPeople:
    paths = photographs_in(recipe.photographs)
    return PhotographedPeople(
        recipe.seed,
        lambda number: _portrait(recipe.folder, paths[number]),
        SYNTHETIC_SIZE,
        pictures_per_person=recipe.photographed,
    )
