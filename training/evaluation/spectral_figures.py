"""How good a trained spectral regressor is on people that it has never seen: what `ablate` writes down.

Scan errors: the NoW protocol (`now.py`), the neutral head that the network codes of one picture of each person against
points of that person's true head, with the size free ("scan") and as it is ("metrical"): of synthetic people, and
("ict_scan", "ict_metrical") of people of ICT-FaceKit, who have another mesh and the statistics of real scans.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from backend.detection import find_face
from backend.environment import home
from backend.errors import PhotoError, UsageError
from backend.face_models import load_face_model
from backend.face_models.linearised import names_a_file
from backend.methods.spectral import coded_identity
from training.errors import TrainingError
from training.evaluation.data_folder import data_folder
from training.evaluation.held_out import look_at_held_out
from training.evaluation.ict_people import subjects
from training.evaluation.now import ScanError, pooled, scan_error
from training.evaluation.shape import FRONT, ICT_FILE, skin_triangles

if TYPE_CHECKING:
    from training.methods.base import Batch, Outputs
    from training.methods.deep_fusion import DeepFusionTraining
    from training.methods.spectral import SpectralTraining

logger = logging.getLogger(__name__)

BATCHES = 30
SCANNED_PEOPLE = 24
ICT_PEOPLE = 24


@dataclass(frozen=True)
class CodedPerson:
    """What a network says of a person, and the person.

    Attributes:
        identity: (I,) float32.
        scan: (N, 3) metres, points of the true neutral head; landmarks68: (68, 3) of it.
    """

    identity: Tensor
    scan: np.ndarray
    landmarks68: np.ndarray


def held_out_figures(method: SpectralTraining) -> dict[str, float]:
    """Shape, landmark and scan errors over the validation data of a method's run, and scan errors of ICT's people.

    Returns:
        "shape_error_mm", "mean_head_error_mm", "landmark_error_px" (of a picture of 224), "scan_median_mm",
        "scan_mean_mm", "scan_std_mm", the same with "metrical", "ict_scan" and "ict_metrical", "pictures", "people",
        "ict_people". What is of ICT-FaceKit is left out where its file is not there.

    Raises:
        TrainingError: the heads of the people in its pictures are not known.
    """
    if not method.truth_is_of_model:
        raise TrainingError(
            "no-truth", f"What {method.face_model_name} codes of people of {method.shown_model} is not known."
        )
    measured, pictures = [], []

    def look(batch: Batch, outputs: Outputs) -> None:
        measured.append(method.metrics(batch, outputs))
        pictures.append(len(batch["points"]))

    heads = look_at_held_out(method, BATCHES, look)
    known = [scanned(method, *pair) for pair in list(heads.values())[:SCANNED_PEOPLE]]
    figures = {name: float(torch.stack([row[name] for row in measured]).mean()) for name in measured[0]}
    figures |= scan_figures(method, known) | {"pictures": sum(pictures), "people": len(known)}
    try:
        folder = data_folder(None, ICT_FILE)
    except UsageError as error:
        logger.warning("Without the people of ICT-FaceKit: %s", error)
        return figures
    others = list(ict_people(method, folder / ICT_FILE))
    ict = {f"ict_{name}": value for name, value in scan_figures(method, others).items()}
    return figures | ict | {"ict_people": len(others)}


def scanned(method: SpectralTraining, identity: np.ndarray, true: np.ndarray) -> CodedPerson:
    """A person whose true identity (I,) in the method's own face model is known."""
    with torch.no_grad():
        head = method.neutral(torch.from_numpy(true)[None].to(method.device))
        landmarks = method.model.landmarks68(head)[0].double().cpu().numpy()
    scan = head[0].double().cpu().numpy()[np.unique(skin_of(method))]
    return CodedPerson(torch.from_numpy(identity), scan, landmarks)


def ict_people(method: SpectralTraining, path: Path, people: int = ICT_PEOPLE) -> Iterable[CodedPerson]:
    """ICT-FaceKit's people as the network codes them from one frontal picture; the mean head where no face is found."""
    was_training = method.training
    method.eval()
    for subject in subjects(path, people, home() / "cache/evaluation"):
        picture = subject.pictures[FRONT]
        try:
            identity = coded_identity(method.network, picture, find_face(picture, "picture", 1).points)
        except PhotoError as error:
            logger.warning("%s The mean head is scored in its place.", error)
            identity = torch.zeros(method.model.identity_size)
        yield CodedPerson(identity, subject.scan, subject.scan_landmarks68)
    method.train(was_training)


def scan_figures(method: SpectralTraining, people: Iterable[CodedPerson]) -> dict[str, float]:
    """NoW's figures of the coded neutral heads."""
    triangles = skin_of(method)
    errors: dict[str, list[ScanError]] = {"scan": [], "metrical": []}
    for person in people:
        with torch.no_grad():
            head = method.neutral(person.identity[None].to(method.device))
            landmarks = method.model.landmarks68(head)[0].double().cpu().numpy()
        vertices = head[0].double().cpu().numpy()
        for protocol, rows in errors.items():
            metrical = protocol == "metrical"
            rows.append(scan_error(vertices, triangles, landmarks, person.scan, person.landmarks68, metrical=metrical))
    figures = {}
    for protocol, rows in errors.items():
        summary = pooled(rows)
        figures |= {f"{protocol}_{part}_mm": getattr(summary, part) for part in ("median", "mean", "std")}
    return figures


def skin_of(method: SpectralTraining | DeepFusionTraining) -> np.ndarray:
    """Triangles (T, 3) of the outer skin of a method's face model."""
    name = method.settings.face_model
    if names_a_file(name):
        return method.model.faces[method.model.face_skin].cpu().numpy()
    return skin_triangles(load_face_model(name))
