"""How good a trained regressor of DF-MVR is on people that it has never seen: what `ablate` writes down.

Scan errors: the NoW protocol (`now.py`), the neutral head that the network codes against points of the person's true
head, as in `spectral_figures.py`, and the paper's root mean square of the distances to planes (`multi_view.py`): from
three views, and ("single_") from the front view alone; of synthetic people, and ("ict_") of people of ICT-FaceKit from
yaw -30, 0 and 30 degrees.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from backend.detection import find_face
from backend.environment import home
from backend.errors import PhotoError, UsageError
from backend.face_parsing import FaceParser
from backend.methods.deep_fusion import coded_views
from backend.view_order import SLOTS, order_views
from training.data.triples import Scan
from training.errors import TrainingError
from training.evaluation import multi_view
from training.evaluation.data_folder import data_folder
from training.evaluation.ict_people import YAWS_DEGREES, IctSubject, subjects
from training.evaluation.multi_view import face_error
from training.evaluation.shape import ICT_FILE
from training.evaluation.spectral_figures import (
    BATCHES,
    ICT_PEOPLE,
    SCANNED_PEOPLE,
    CodedPerson,
    scan_figures,
    scanned,
    skin_of,
)
from training.methods.deep_fusion import load_face_parser

if TYPE_CHECKING:
    from training.methods.deep_fusion import DeepFusionTraining

logger = logging.getLogger(__name__)

ONE, THREE = "single_", ""
"""Before the names of figures: of the front view alone, and of three."""
FRONT = SLOTS.index("front")
NO_TRIANGLES = np.zeros((0, 3), np.int64)
"""Of scans that are points alone."""

View = tuple[np.ndarray, np.ndarray]
"""A photograph (H, W, 3) uint8 sRGB and a detector's landmarks in it, (478, 2) pixels."""


def held_out_figures(method: DeepFusionTraining) -> dict[str, float]:
    """What `DeepFusionTraining.metrics` measures, and scan errors, over the validation data of a method's run; scan
    errors of ICT's people.

    Returns:
        The names of `metrics`; "scan_median_mm", "scan_mean_mm", "scan_std_mm", the same with "metrical", "rmse_mm"
        and "rmse_deviation_mm" over the faces, and all these after "single_", "ict_" and "ict_single_"; "people",
        "ict_people". What is of ICT-FaceKit is left out where its file is not there, and where the network sees classes
        and no `network.face_parser` is named.

    Raises:
        TrainingError: the heads of the people in its pictures are not known.
    """
    if not method.truth_is_of_model:
        raise TrainingError(
            "no-truth", f"What {method.face_model_name} codes of people of {method.shown_model} is not known."
        )
    data = method.data(method.settings)
    data.setup()
    measured: list[dict[str, Tensor]] = []
    heads: dict[str, list[CodedPerson]] = {ONE: [], THREE: []}
    was_training = method.training
    method.eval()
    with torch.no_grad():
        for number, batch in enumerate(data.val_dataloader()):
            if number == BATCHES:
                break
            batch = method.completed({name: values.to(method.device) for name, values in batch.items()})
            outputs = method.outputs(batch)
            measured.append(method.metrics(batch, outputs))
            alone = method.outputs(method.front_alone(batch))
            for before, said in ((ONE, alone), (THREE, outputs)):
                coded = said["codes"].identity.cpu().numpy()
                true = batch["identity"][:, 0].cpu().numpy()
                missing = SCANNED_PEOPLE - len(heads[before])
                heads[before] += [scanned(method, *pair) for pair in list(zip(coded, true, strict=True))[:missing]]
    figures = {name: float(torch.stack([row[name] for row in measured]).mean()) for name in measured[0]}
    figures |= _scan_figures(method, heads) | {"people": len(heads[THREE])}
    figures |= ict_figures(method)
    method.train(was_training)
    return figures


def ict_figures(method: DeepFusionTraining) -> dict[str, float]:
    """Scan errors of ICT-FaceKit's people, or nothing where they cannot be measured."""
    parser = None
    if method.settings.network.sees_classes:
        if method.settings.network.face_parser is None:
            logger.warning("Without the people of ICT-FaceKit: nobody knows the classes of their pixels. Set "
                           "network.face_parser.")  # fmt: skip
            return {}
        parser = load_face_parser(method.settings.network.face_parser).to(method.device)
    try:
        path = data_folder(None, ICT_FILE) / ICT_FILE
    except UsageError as error:
        logger.warning("Without the people of ICT-FaceKit: %s", error)
        return {}
    heads: dict[str, list[CodedPerson]] = {ONE: [], THREE: []}
    for subject in subjects(path, ICT_PEOPLE, home() / "cache/evaluation"):
        for before, coded in coded_subject(method, subject, parser).items():
            heads[before].append(CodedPerson(coded, subject.scan, subject.scan_landmarks68))
    figures = {f"ict_{name}": value for name, value in _scan_figures(method, heads).items()}
    return figures | {"ict_people": len(heads[THREE])}


def coded_subject(method: DeepFusionTraining, subject: IctSubject, parser: FaceParser | None) -> dict[str, Tensor]:
    """The identity (I,) that the network says from one and from three pictures; 0 where no face is found in any."""
    seen = found_views(subject.pictures)
    places = order_views(YAWS_DEGREES).slots
    views = [None if place is None else seen[place] for place in places]
    front = [view if slot == FRONT else None for slot, view in enumerate(views)]
    return {ONE: _identity(method, front, parser), THREE: _identity(method, views, parser)}


def found_views(pictures: Sequence[np.ndarray]) -> list[View | None]:
    """Pictures (H, W, 3) uint8 with the landmarks (478, 2) that the detector finds, None where it finds none."""
    views: list[View | None] = []
    for picture in pictures:
        try:
            views.append((picture, find_face(picture, "picture", 1).points))
        except PhotoError as error:
            logger.warning("%s", error)
            views.append(None)
    return views


def _identity(method: DeepFusionTraining, views: Sequence[View | None], parser: FaceParser | None) -> Tensor:
    if all(view is None for view in views):
        logger.warning("The mean head is scored in its place.")
        return torch.zeros(method.model.identity_size)
    return coded_views(method.network, views, parser).identity[0]


def _scan_figures(method: DeepFusionTraining, heads: dict[str, list[CodedPerson]]) -> dict[str, float]:
    figures = {}
    for before, people in heads.items():
        found = scan_figures(method, people) | paper_figures(method, people)
        figures |= {f"{before}{name}": value for name, value in found.items()}
    return figures


def paper_figures(method: DeepFusionTraining, people: Sequence[CodedPerson]) -> dict[str, float]:
    """ "rmse_mm" and "rmse_deviation_mm" of the coded neutral heads: mean and standard deviation over the people."""
    with torch.no_grad():
        heads = method.neutral(torch.stack([person.identity for person in people]).to(method.device))
        landmarks = method.model.landmarks68(heads).double().cpu().numpy()
    errors = [
        face_error(head, skin_of(method), points, Scan(person.scan, NO_TRIANGLES, person.landmarks68), scan_unit="m")
        for head, points, person in zip(heads.double().cpu().numpy(), landmarks, people, strict=True)
    ]
    found = multi_view.summary_of(errors)
    return {"rmse_mm": found.rmse, "rmse_deviation_mm": found.rmse_deviation}
