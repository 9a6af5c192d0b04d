"""Two of the tables of Eye Motion: `evaluate eye-motion --table ldl` and `--table shape`.

ldl, the paper's table 2: what the local dynamic loss does, printed from the short runs of
`python3 -m training ablate eye-motion`. shape: the NoW protocol on people of ICT-FaceKit, of the mean head, the fit
to the landmarks, the network by itself, and the network with the fit.
"""

from __future__ import annotations

import argparse
import json
import logging
import time
from collections.abc import Callable
from dataclasses import asdict

import numpy as np

from backend.detection import find_face
from backend.environment import home
from backend.errors import PhotoError, UsageError
from backend.face_models import load_face_model
from backend.methods.eye_motion import EyeMotion
from backend.pipeline import fit_photographs
from training.ablate import read_results
from training.evaluation.data_folder import data_folder
from training.evaluation.ict_people import FOCAL_35MM, YAWS_DEGREES, IctSubject, subjects
from training.evaluation.now import ErrorSummary, ScanError, pooled, scan_error
from training.evaluation.shape import FRONT, skin_triangles

logger = logging.getLogger(__name__)

METHOD = "eye-motion"
LDL_ROWS = {"none": "without", "mouth": "+ mouth", "eyes-and-mouth": "+ eyes, + mouth"}
APERTURE_GAIN = 0.25
"""How much of the aperture error the loss is to take away."""
MEAN, FIT, NETWORK, BOTH = "mean head", "fit", "network alone", "network + fit"
COUNTS = {"one photograph": (FRONT,), "three photographs": tuple(range(len(YAWS_DEGREES)))}


def ldl_table(options: argparse.Namespace) -> str:
    """Scan and aperture errors without the loss, with it on the mouth, and on eyes and mouth.

    Args:
        options: `json`, a file to write the figures to, or None.

    Raises:
        UsageError: an ablation has not been trained.
    """
    results = read_results(METHOD)
    if missing := [name for name in LDL_ROWS if name not in results]:
        raise UsageError(
            "ablation-missing",
            f"There is no result of the ablation {missing[0]}. Train it with: python3 -m training ablate {METHOD} "
            f"--only {missing[0]} data.shards=FOLDER",
        )
    figures = {name: mean_figures([run["figures"] for run in results[name]]) for name in LDL_ROWS}
    lines = [f"{'local dynamic loss':18} {'lids mm':>8} {'lips mm':>8} {'both mm':>8} {'scan median':>12} {'mean':>6}"]
    for name, words in LDL_ROWS.items():
        row = figures[name]
        lines.append(
            f"{words:18} {row['lid_aperture_error_mm']:8.3f} {row['lip_aperture_error_mm']:8.3f} "
            f"{row['aperture_error_mm']:8.3f} {row['scan_median_mm']:12.3f} {row['scan_mean_mm']:6.3f}"
        )
    gain = 1 - figures["eyes-and-mouth"]["aperture_error_mm"] / figures["none"]["aperture_error_mm"]
    verdict = "reached" if gain >= APERTURE_GAIN else "not reached"
    lines.append(
        f"aperture error {100 * gain:.1f} % less with the loss (at least {100 * APERTURE_GAIN:.0f} %: {verdict})"
    )
    pictures, people = figures["none"]["pictures"], figures["none"]["people"]
    runs = min(len(results[name]) for name in LDL_ROWS)
    lines.append(
        f"{pictures:.0f} pictures of held-out synthetic people, {people:.0f} heads scanned, {runs} run(s) a row"
    )
    _write(options, figures)
    return "\n".join(lines)


def mean_figures(runs: list[dict[str, float]]) -> dict[str, float]:
    """The mean of every figure over runs that differ in their seed."""
    return {name: float(np.mean([run[name] for run in runs])) for name in runs[0]}


def shape_table(options: argparse.Namespace) -> str:
    """NoW's figures of ICT-FaceKit people, who are no open heads and were never trained on.

    Args:
        options: `data`, `people`, and `json`, a file to write the figures to, or None.

    Raises:
        UsageError: data or weights are missing.
    """
    path = data_folder(options.data, "face_models/ict_facekit.npz") / "face_models/ict_facekit.npz"
    method = EyeMotion.load()
    model = load_face_model("open_head")
    triangles = skin_triangles(model)
    errors: dict[tuple[str, str], list[ScanError]] = {}
    for number, subject in enumerate(subjects(path, options.people, home() / "cache/evaluation")):
        started = time.perf_counter()
        for row, head in heads_of(subject, model, method).items():
            found = scan_error(head, triangles, model.landmarks68(head), subject.scan, subject.scan_landmarks68)
            errors.setdefault(row, []).append(found)
        logger.info("person %d of %d (%.0f s)", number + 1, options.people, time.perf_counter() - started)
    summaries = {row: pooled(found) for row, found in errors.items()}
    _write(options, {", ".join(filter(None, row)): asdict(found) for row, found in summaries.items()})
    return _shape_lines(summaries, options.people)


def heads_of(subject: IctSubject, model, method: EyeMotion) -> dict[tuple[str, str], np.ndarray]:
    """Neutral heads (V, 3) of one person by row and by which photographs. Without a face it is the mean head."""
    mean = model.neutral(np.zeros(model.identity_size, np.float32))
    heads = {(MEAN, ""): mean}
    for count, chosen in COUNTS.items():
        pictures = [subject.pictures[number] for number in chosen]
        focal = [FOCAL_35MM] * len(pictures)
        heads[FIT, count] = _or_mean(lambda p=pictures, f=focal: fit_photographs(p, f, "fit").neutral, mean)
        heads[NETWORK, count] = _or_mean(lambda p=pictures: network_head(method, model, p), mean)
        heads[BOTH, count] = _or_mean(lambda p=pictures, f=focal: fit_photographs(p, f, METHOD).neutral, mean)
    return heads


def network_head(method: EyeMotion, model, pictures: list[np.ndarray]) -> np.ndarray:
    """The head (V, 3) of the network's identity, the mean over the pictures."""
    found = [method.codes(picture, find_face(picture, "picture", 1)).measurement.identity for picture in pictures]
    return model.neutral(np.mean(found, axis=0).astype(np.float32))


def _or_mean(make: Callable[[], np.ndarray], mean: np.ndarray) -> np.ndarray:
    try:
        return make()
    except PhotoError as error:
        logger.warning("%s The mean head is scored in its place.", error)
        return mean


def _shape_lines(summaries: dict[tuple[str, str], ErrorSummary], people: int) -> str:
    lines = [f"{'scan to mesh, mm':34} {'median':>7} {'mean':>7} {'std':>7}"]
    for (name, count), found in summaries.items():
        words = ", ".join(filter(None, (name, count)))
        lines.append(f"{words:34} {found.median:7.3f} {found.mean:7.3f} {found.std:7.3f}")
    lines.append(f"NoW protocol, non-metrical, {people} people of ICT-FaceKit, {FOCAL_35MM:.0f} mm told, points pooled")
    return "\n".join(lines)


def _write(options: argparse.Namespace, figures: dict) -> None:
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1), "utf-8")
