"""Whose heads are nearest? The NoW protocol on people of ICT-FaceKit, of the mean head and of each method: its network
by itself, and with the fit. Part of `evaluate shape --methods` and of the tables of each method.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from backend.detection import find_face
from backend.environment import home
from backend.errors import PhotoError
from backend.face_models import load_face_model
from backend.face_models.morphable_model import MorphableModel
from backend.methods.method import ReconstructionMethod
from backend.pipeline import fit_photographs, method_named
from training.evaluation.data_folder import data_folder
from training.evaluation.ict_people import FOCAL_35MM, YAWS_DEGREES, IctSubject, subjects
from training.evaluation.now import ErrorSummary, ScanError, pooled, scan_error
from training.evaluation.shape import FRONT, ICT_FILE, skin_triangles

logger = logging.getLogger(__name__)

MEAN, ALONE, WITH_FIT = "mean head", "{}, network alone", "{} + fit"
COUNTS = {"one photograph": (FRONT,), "three photographs": tuple(range(len(YAWS_DEGREES)))}
GAIN = {"one photograph": 0.10, "three photographs": 0.18}
"""How far below the mean head a network with the fit should be."""


def shape_table(methods: Sequence[str], people: int, data: Path | None = None, *, metrical: bool = False):
    """NoW's figures of ICT-FaceKit people, who are no open heads and were never trained on.

    Args:
        methods: of `backend.options.METHODS`.
        people: how many.
        data: folder of test data, None for the usual one.
        metrical: True keeps the heads' own scale.

    Returns:
        The table in words, and the figures by row.

    Raises:
        UsageError: data or weights are missing.
    """
    path = data_folder(data, ICT_FILE) / ICT_FILE
    loaded = {name: method_named(name) for name in methods}
    model = load_face_model("open_head")
    triangles = skin_triangles(model)
    errors: dict[tuple[str, str], list[ScanError]] = {}
    for number, subject in enumerate(subjects(path, people, home() / "cache/evaluation")):
        started = time.perf_counter()
        for row, head in heads_of(subject, model, loaded).items():
            found = scan_error(
                head, triangles, model.landmarks68(head), subject.scan, subject.scan_landmarks68, metrical=metrical
            )
            errors.setdefault(row, []).append(found)
        logger.info("person %d of %d (%.0f s)", number + 1, people, time.perf_counter() - started)
    summaries = {row: pooled(found) for row, found in errors.items()}
    figures = {", ".join(filter(None, row)): asdict(found) for row, found in summaries.items()}
    return _lines(summaries, people, "metrical" if metrical else "non-metrical"), figures


def heads_of(
    subject: IctSubject, model: MorphableModel, methods: dict[str, ReconstructionMethod | None]
) -> dict[tuple[str, str], np.ndarray]:
    """Neutral heads (V, 3) of one person by row and by which photographs. Without a face it is the mean head.

    Args:
        methods: by name; None has no network of its own.
    """
    mean = model.neutral(np.zeros(model.identity_size, np.float32))
    heads = {(MEAN, ""): mean}
    for count, chosen in COUNTS.items():
        pictures = [subject.pictures[number] for number in chosen]
        focal = [FOCAL_35MM] * len(pictures)
        for name, method in methods.items():
            if method is not None:
                alone = _or_mean(lambda m=method, p=pictures: network_head(m, model, p), mean)
                heads[ALONE.format(name), count] = alone
            row = name if method is None else WITH_FIT.format(name)
            heads[row, count] = _or_mean(lambda n=name, p=pictures, f=focal: fit_photographs(p, f, n).neutral, mean)
    return heads


def network_head(method: ReconstructionMethod, model: MorphableModel, pictures: list[np.ndarray]) -> np.ndarray:
    """The head (V, 3) of the network's identity, the mean over the pictures that carry one."""
    faces = [find_face(picture, "picture", 1) for picture in pictures]
    found = [codes.measurement.identity for codes in method.codes_of(pictures, faces)]
    return model.neutral(np.mean([each for each in found if each is not None], axis=0).astype(np.float32))


def _or_mean(make: Callable[[], np.ndarray], mean: np.ndarray) -> np.ndarray:
    try:
        return make()
    except PhotoError as error:
        logger.warning("%s The mean head is scored in its place.", error)
        return mean


def _lines(summaries: dict[tuple[str, str], ErrorSummary], people: int, protocol: str) -> str:
    mean = summaries[MEAN, ""].median
    lines = [f"{'scan to mesh, mm':44} {'median':>7} {'mean':>7} {'std':>7}   below the mean head"]
    for (name, count), found in summaries.items():
        words = ", ".join(filter(None, (name, count)))
        line = f"{words:44} {found.median:7.3f} {found.mean:7.3f} {found.std:7.3f}"
        if count:
            gain = 1 - found.median / mean
            line += f"   {100 * gain:.1f} %"
            if name.endswith("+ fit"):
                verdict = "reached" if gain >= GAIN[count] else "not reached"
                line += f" (at least {100 * GAIN[count]:.0f} %: {verdict})"
        lines.append(line)
    lines.append(f"NoW protocol, {protocol}, {people} people of ICT-FaceKit, {FOCAL_35MM:.0f} mm told, points pooled")
    return "\n".join(lines)
