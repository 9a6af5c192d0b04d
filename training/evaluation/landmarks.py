"""Does the mesh lie where the landmarks are? `python3 -m training evaluate landmarks`.

The calibrated points of the fitted mesh against the detections on the London photographs, which no part of the project
was made with, over the distance of the outer eye corners. The points of the face's outline, which slide along the
silhouette, and the irises, which `evaluate eyes` measures, are left out.

With --face-model NAME the same for that model beside the open head, on London and on a man seen from four sides, whose
head is made from all four photographs together.
"""

import argparse
import json
import logging
import sys
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from backend.errors import PhotoError
from backend.face_models import load_face_model
from backend.options import DEFAULT_FACE_MODEL, DEFAULT_METHOD, METHODS
from training.evaluation.data_folder import data_folder

logger = logging.getLogger(__name__)

AT_MOST = 0.03
SKIN_POINTS = 468
LONDON, FOUR_VIEWS = "photos/london", "photos/four_views_nc"


def inner_points() -> np.ndarray:
    """The landmarks that count, ascending: those of the skin without the face's outline."""
    from backend.fitting import FACE_CONTOUR

    return np.setdiff1d(np.arange(SKIN_POINTS), FACE_CONTOUR)


def relative_distances(found: np.ndarray, detected: np.ndarray, counted: np.ndarray) -> np.ndarray:
    """Distances of landmarks over that of the detected outer eye corners.

    Args:
        found, detected: (478, 2) pixels.
        counted: (N,) which of them count.

    Returns:
        (N,) float64.
    """
    from backend.face_mesh_points import LEFT_EYE_OUTER_CORNER, RIGHT_EYE_OUTER_CORNER

    across = np.linalg.norm(detected[LEFT_EYE_OUTER_CORNER] - detected[RIGHT_EYE_OUTER_CORNER])
    return np.linalg.norm(found[counted] - detected[counted], axis=1) / across


def measure(pictures: list[Path], reconstruct, find) -> tuple[np.ndarray, list[str]]:
    """Relative distances (photographs, N) and the names of photographs without a face.

    Args:
        reconstruct: as `backend.pipeline.fit_photographs`; find: as `backend.detection.find_face`.
    """
    rows, missed = [], []
    for path in pictures:
        image = np.asarray(Image.open(path).convert("RGB"))
        try:
            found = reconstruct([image], [None]).photographs[0].landmarks
            rows.append(relative_distances(found, find(image, path.name).points, inner_points()))
        except PhotoError:
            missed.append(path.name)
    return np.array(rows), missed


def table(distances: np.ndarray, missed: list[str]) -> str:
    """The figures in words, with what was to be reached."""
    if not len(distances):
        return f"No face was found in any of {len(missed)} photographs."
    median, upper = np.percentile(distances, [50, 90])
    verdict = "reached" if median <= AT_MOST else "not reached"
    worst = np.median(distances, axis=1).max()
    lines = [
        "landmarks of the mesh to detections, % of the outer eye corners' distance",
        f"{'median':>8} {'mean':>8} {'90 %':>8} {'worst photograph (median)':>26}",
        f"{100 * median:8.2f} {100 * distances.mean():8.2f} {100 * upper:8.2f} {100 * worst:26.2f}",
        f"median at most {100 * AT_MOST:.0f} %: {verdict}; {len(distances)} photographs, {distances.shape[1]} points",
    ]
    return "\n".join(lines + [f"No face was found in {name}." for name in missed])


def measure_together(pictures: list[Path], reconstruct, find) -> tuple[np.ndarray, list[str]]:
    """As `measure`, with one head made from all photographs together; nothing where one of them shows no face."""
    images = [np.asarray(Image.open(path).convert("RGB")) for path in pictures]
    try:
        head = reconstruct(images, [None] * len(images))
    except PhotoError as error:
        return np.zeros((0,)), [error.sentence]
    detected = [find(image, path.name).points for image, path in zip(images, pictures, strict=True)]
    rows = [
        relative_distances(photograph.landmarks, points, inner_points())
        for photograph, points in zip(head.photographs, detected, strict=True)
    ]
    return np.array(rows), []


def compared(found: dict[tuple[str, str], tuple[np.ndarray, list[str]]]) -> str:
    """The figures of several face models in one table.

    Args:
        found: (face model, photographs) -> as `measure` returns it.
    """
    lines = [
        "landmarks of the mesh to detections, % of the outer eye corners' distance",
        f"{'face model':16} {'photographs':24} {'median':>8} {'mean':>8} {'90 %':>8} {'worst photograph (median)':>26}",
    ]
    for (model, name), (distances, missed) in found.items():
        if not len(distances):
            lines.append(f"{model:16} {name:24} No face was found: {'; '.join(missed)}")
            continue
        median, upper = 100 * np.percentile(distances, [50, 90])
        mean, worst = 100 * distances.mean(), 100 * np.median(distances, axis=1).max()
        title = f"{name}, {len(distances)}"
        lines.append(f"{model:16} {title:24} {median:8.2f} {mean:8.2f} {upper:8.2f} {worst:26.2f}")
        lines += [f"{'':16} No face was found in {each}." for each in missed]
    verdicts = [
        f"{model}: {'reached' if np.median(distances) <= AT_MOST else 'not reached'}"
        for (model, name), (distances, _) in found.items()
        if name == "London" and len(distances)
    ]
    return "\n".join([*lines, f"median on London at most {100 * AT_MOST:.0f} %: {', '.join(verdicts)}"])


def main(arguments: list[str]) -> int:
    """`python3 -m training evaluate landmarks`."""
    parser = argparse.ArgumentParser(prog="evaluate landmarks", description=__doc__)
    parser.add_argument("--data", type=Path, help="folder of test data; default $LIFEMASK_DATA")
    parser.add_argument("--faces", type=int, help="only so many photographs, for a quick look")
    parser.add_argument("--method", choices=METHODS, default=DEFAULT_METHOD, help="how heads are reconstructed")
    parser.add_argument("--face-model", metavar="NAME", help="this model beside the open head, the man included")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here too")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    from backend.detection import find_face
    from backend.pipeline import fit_photographs

    pictures = sorted((data_folder(options.data, LONDON) / LONDON).glob("*.jpg"))[: options.faces]
    if options.face_model:
        folder = data_folder(options.data, FOUR_VIEWS) / FOUR_VIEWS
        found = {}
        for model in dict.fromkeys((DEFAULT_FACE_MODEL, options.face_model)):
            load_face_model(model)  # says at once that there is none of that name
            reconstruct = partial(fit_photographs, method=options.method, face_model=model)
            found[model, "London"] = measure(pictures, reconstruct, find_face)
            found[model, "the man from four sides"] = measure_together(
                sorted(folder.glob("*.jpg")), reconstruct, find_face
            )
        print(compared(found))
        if options.json:
            rows = [
                {"face_model": model, "photographs": name, "missed": missed}
                | ({"median": float(np.median(row)), "mean": float(row.mean())} if len(row) else {})
                for (model, name), (row, missed) in found.items()
            ]
            options.json.write_text(json.dumps(rows, indent=1), "utf-8")
        return 0
    distances, missed = measure(pictures, partial(fit_photographs, method=options.method), find_face)
    print(table(distances, missed))
    if options.json and len(distances):
        record = {"median": float(np.median(distances)), "mean": float(distances.mean()), "missed": missed}
        options.json.write_text(json.dumps(record, indent=1), "utf-8")
    return 0
