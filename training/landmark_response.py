"""How much of what makes a person unlike others a detector reports: `python3 -m training learn-landmark-response`.

A landmark detector has a face of its own in mind: of what makes a person's landmarks unlike those of the mean person,
beyond their place, size and turn in the picture, it reports only a part. Where it is not known, that part looks like a
random error (`backend.calibration` holds it for one), and a network that learns from made-up landmarks takes the
likeness of all people's landmarks for likeness of the people. Learnt from such pictures as the calibration: for each
landmark and axis the regression of the detector's residual on the true displacement by person and by expression.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from backend.calibration import FILES, LandmarkCalibration, load_calibration
from backend.detection import MediaPipeFaceLandmarker, MediaPipeFaceMesh
from backend.errors import UsageError
from backend.face_models.open_head import OpenHead
from training.calibration import Sample, collected, level_axes, level_residual, shared_factor

logger = logging.getLogger(__name__)

ASSETS = Path(__file__).parent / "assets"
RESPONSE_FILES = {
    MediaPipeFaceMesh.name: ASSETS / "mediapipe_response.npz",
    MediaPipeFaceLandmarker.name: ASSETS / "mediapipe_tasks_response.npz",
}
"""The response of each detector."""
FARTHEST_YAW, FARTHEST_PITCH = 50.0, 30.0
TYPICAL_DISPLACEMENT_M = 1.2e-3
PICTURES_OF_PRIOR = 40
"""The mean response of all landmarks counts as much as so many pictures of typical displacement."""
LEAST_PICTURES = 100
LEAST_RESPONSE, MOST_RESPONSE = 0.05, 1.3


@dataclass(frozen=True)
class LandmarkResponse:
    """What was learnt of one detector.

    Attributes:
        detector: its name, as in `DetectedFace.detector`.
        response: (L, 2) float64: the part of a person's displacement from the mean person that is reported, to the
            right and down in an image whose eye line is level; 1 would be all of it.
        deviation_ratio: (L,) float64: the deviation that is then left, over that of the calibration.
        factor: (2 L, R) float64: as `LandmarkCalibration.factor`, of what is then left.
    """

    detector: str
    response: np.ndarray
    deviation_ratio: np.ndarray
    factor: np.ndarray

    def save(self, path: Path) -> None:
        """Writes the table as an `.npz` that `load_response` reads."""
        halves = {name: getattr(self, name).astype(np.float16) for name in ("response", "deviation_ratio", "factor")}
        np.savez_compressed(path, detector=np.array(self.detector), **halves)


@lru_cache(maxsize=4)
def load_response(detector: str) -> LandmarkResponse:
    """That of a detector, one of `RESPONSE_FILES`. Raises OSError if its file is missing or cannot be read."""
    with np.load(RESPONSE_FILES[detector], allow_pickle=False) as data:
        tables = (data[name].astype(np.float64) for name in ("response", "deviation_ratio", "factor"))
        return LandmarkResponse(str(data["detector"]), *tables)


def similarities(places: np.ndarray) -> np.ndarray:
    """An orthonormal basis of the displacements that shift, scale or turn landmarks as a whole.

    Args:
        places: (L, 2) of the mean person.

    Returns:
        (2 L, 4) float64.
    """
    x, y = (places - places.mean(0)).T
    one, none = np.ones_like(x), np.zeros_like(x)
    moves = [np.stack(move, 1).ravel() for move in ((one, none), (none, one), (x, y), (-y, x))]
    return np.linalg.qr(np.stack(moves, 1))[0]


def learn_response(model: OpenHead, calibration: LandmarkCalibration, samples: Sequence[Sample]) -> LandmarkResponse:
    """The response from detected pictures; those from far aside, above or below are left out.

    Raises UsageError if fewer than `LEAST_PICTURES` are left.
    """
    samples = [s for s in samples if abs(s.view.yaw) < FARTHEST_YAW and abs(s.view.pitch) < FARTHEST_PITCH]
    if len(samples) < LEAST_PICTURES:
        raise UsageError(
            "too-few-people",
            f"The detector found {len(samples)} people who can be used, and {LEAST_PICTURES} are needed. Ask for more: "
            "--people 600.",
        )
    mean = model.neutral(np.zeros(model.identity_size, np.float32)).astype(np.float64)
    residual = np.stack([level_residual(calibration, sample) for sample in samples])
    moved = []
    for sample, missed in zip(samples, residual, strict=True):
        places = _level_places(calibration, sample, mean)
        neutral = model.neutral(sample.photograph.identity).astype(np.float64)
        person = _level_places(calibration, sample, neutral)
        posed = _level_places(calibration, sample, sample.photograph.vertices.astype(np.float64))
        basis = similarities(places)
        rows = np.stack([(person - places).ravel(), (posed - person).ravel(), missed.ravel()])
        moved.append(rows - (rows @ basis) @ basis.T)
    by_person, by_expression, missed = np.stack(moved, 1)  # (N, 2 L) each
    both = np.stack([by_person, by_expression], -1)
    squares = np.einsum("nki,nkj->kij", both, both)
    products = np.einsum("nki,nk->ki", both, missed)
    prior = PICTURES_OF_PRIOR * TYPICAL_DISPLACEMENT_M**2 * np.eye(2)
    squares, products = squares.reshape(-1, 2, 2, 2), products.reshape(-1, 2, 2, 1)  # landmark, axis, …
    usual = np.linalg.solve(squares.sum(0) + prior, products.sum(0))
    missing = np.linalg.solve(squares + prior, products + prior @ usual)[..., 0, 0]
    response = np.clip(1 + missing, LEAST_RESPONSE, MOST_RESPONSE)
    left = residual + ((1 - response).reshape(-1) * by_person).reshape(residual.shape)
    ratio = np.sqrt(np.square(left).sum((0, 2)) / np.square(residual).sum((0, 2)))
    deviation = np.stack([calibration.deviation_in(sample.view) for sample in samples]) * ratio
    factor = shared_factor(np.clip((left / deviation[..., None]).reshape(len(samples), -1), -4, 4))
    return LandmarkResponse(calibration.detector, response, ratio, factor)


def _level_places(calibration: LandmarkCalibration, sample: Sample, vertices: np.ndarray) -> np.ndarray:
    """(L, 2) metres: a head's landmarks in the sample's view, seen from far away, in an image with a level eye line."""
    places = calibration.embedding(sample.view).apply(vertices)
    return (places @ sample.photograph.camera.rotation.T)[:, :2] @ level_axes(sample).T


def main(arguments: list[str]) -> int:
    """`python3 -m training learn-landmark-response [--detector tasks] [--people N] [--seed S] [--output FILE]`."""
    parser = argparse.ArgumentParser(prog="learn-landmark-response", description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, help="default: the file in training/assets")
    options, model, detector, samples = collected(parser, arguments, people=600, seed=77)
    learnt = learn_response(model, load_calibration(FILES[detector.name]), samples)
    output = options.output or RESPONSE_FILES[detector.name]
    learnt.save(output)
    across, down = 100 * np.median(learnt.response, axis=0)
    left = 100 * np.median(learnt.deviation_ratio)
    print(f"Of what makes a person unlike the mean, {detector.name} reports {across:.0f} % across the face and "
          f"{down:.0f} % along it (median of {len(learnt.response)} landmarks, {len(samples)} people). The deviation "
          f"that is left is {left:.0f} % of the calibration's. Written: {output}")  # fmt: skip
    return 0
