"""How near heads of deep fusion come to known heads, by which views of the people it is shown: two tables of `evaluate
deep-fusion`.

views, the paper's claim: one view against two and three. angles, its robustness (table 4): the views from aside turned
by 30, 45 or 60 degrees, or by one of these by chance.

Measured are synthetic people whom no training has seen, in aligned crops with what a landmark detector would find there
(`training.data.detected_landmarks`), and people of ICT-FaceKit in whole pictures, by the network alone and with the
fit. Every head is scored without expression, by the NoW protocol (`now.py`) and by the error of the paper
(`multi_view.py`). Network alone means without Eye Motion, which has its say in the fit, too.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from backend.errors import PhotoError
from backend.face_models import load_face_model
from backend.face_models.differentiable import differentiable_model
from backend.methods.deep_fusion import coded_views
from backend.methods.deep_fusion_network import fill_slots, network_input
from training.data.batches import collate
from training.data.pictures import item_of
from training.data.triples import Scan
from training.evaluation import multi_view, now
from training.evaluation.deep_fusion_figures import NO_TRIANGLES, View, found_views
from training.evaluation.ict_people import FOCAL_35MM, YAWS_DEGREES, subjects
from training.evaluation.method_shapes import GAIN, MEAN
from training.evaluation.multi_view import FaceError, face_error
from training.evaluation.now import ScanError, scan_error
from training.evaluation.shape import skin_triangles
from training.methods.eye_motion import detected_landmarks, landmark_detectors

if TYPE_CHECKING:
    from backend.methods.deep_fusion import DeepFusion
    from training.data.sample import Sample

logger = logging.getLogger(__name__)

SEED = 9_024_011
"""Of the synthetic people; no training uses it."""
SYNTHETIC, ICT, ICT_WITH_FIT = "synthetic people, network alone", "ICT, network alone", "ICT, with the fit"
ANGLES_DEGREES = (30, 45, 60)
TURNED = (*ANGLES_DEGREES, 0, *(-angle for angle in ANGLES_DEGREES))
"""From where people are seen for the table of angles: left, front, right."""

Slots = tuple[int | None, int | None, int | None]
"""Which of a person's pictures stands in each of `backend.view_order.SLOTS`."""
Rows = Mapping[str, Slots]
"""By the name of a table's row. The first one shows one view."""
Fit = Callable[[list[np.ndarray], list[float | None]], np.ndarray]
"""Photographs and their 35 mm focal lengths to the neutral head (V, 3)."""


def rows_of_counts(places: Sequence[int] = (0, 1, 2)) -> Rows:
    """The rows of the table of views.

    Args:
        places: which picture shows the left side, the front and the right side.
    """
    left, front, right = places
    return {"one view": (None, front, None), "two views": (left, front, None), "three views": (left, front, right)}


def rows_of_angles(person: int) -> Rows:
    """The rows of the table of angles, of pictures from `TURNED`; "random" draws the angle of each side."""
    front = len(ANGLES_DEGREES)
    chance = np.random.default_rng([SEED, person]).integers(len(ANGLES_DEGREES), size=2).tolist()
    sides = {f"{angle} degrees": (number, number) for number, angle in enumerate(ANGLES_DEGREES)} | {"random": chance}
    rows: dict[str, Slots] = {"front alone": (None, front, None)}
    return rows | {name: (left, front, front + 1 + right) for name, (left, right) in sides.items()}


@dataclass
class HeadErrors:
    """Errors of several people's heads by row.

    Attributes:
        of_now, of_paper: by row, one a person.
        unseen: pictures in which the detector found no face.
    """

    of_now: dict[str, list[ScanError]] = field(default_factory=dict)
    of_paper: dict[str, list[FaceError]] = field(default_factory=dict)
    unseen: int = 0

    def add(self, row: str, head: np.ndarray, scan: np.ndarray, scan_landmarks68: np.ndarray) -> None:
        """Scores an open head (V, 3) against points (N, 3) of the true one, whose landmarks are (68, 3); metres."""
        model = load_face_model("open_head")
        triangles, landmarks = skin_triangles(model), model.landmarks68(head)
        truth = Scan(scan, NO_TRIANGLES, scan_landmarks68)
        self.of_now.setdefault(row, []).append(scan_error(head, triangles, landmarks, scan, scan_landmarks68))
        self.of_paper.setdefault(row, []).append(face_error(head, triangles, landmarks, truth, scan_unit="m"))

    def figures(self) -> dict[str, dict[str, Any]]:
        """By row: "now" and "paper", the figures of these protocols; of rows that show several views also how much
        smaller the median ("median_gain") and the paper's error ("rmse_gain") are than with one view, both as shares,
        the number of people of whom the paper's error is smaller ("nearer"), and "beats_one_view", by the median."""
        figures: dict[str, dict[str, Any]] = {}
        single = None
        for row in self.of_now:
            summary, faces = now.pooled(self.of_now[row]), multi_view.summary_of(self.of_paper[row])
            figures[row] = {"now": asdict(summary), "paper": asdict(faces)}
            if single is not None:
                alone = figures[single]
                gain = 1 - summary.median / alone["now"]["median"]
                pairs = zip(self.of_paper[row], self.of_paper[single], strict=True)
                figures[row] |= {
                    "median_gain": gain,
                    "rmse_gain": 1 - faces.rmse / alone["paper"]["rmse"],
                    "nearer": sum(several.rmse_mm < one.rmse_mm for several, one in pairs),
                    "beats_one_view": gain > 0,
                }
            elif row != MEAN:
                single = row
        return figures


def measure_synthetic(
    method: DeepFusion, people: int, rows_of: Callable[[int], Rows], yaws_degrees: Sequence[float] | None = None
) -> HeadErrors:
    """Heads of synthetic people by the network alone.

    Args:
        method: its network, its parser and how sure it is.
        people: how many.
        rows_of: number of a person -> what is shown of its pictures.
        yaws_degrees: from where the pictures are taken; None for the three of a triple.
    """
    from training.data.generator import SyntheticPeople

    album = SyntheticPeople(SEED, method.network.camera.size, framing="aligned")
    detected = CropLandmarks(method)
    model, errors = load_face_model("open_head"), HeadErrors()
    skin = np.unique(skin_triangles(model))
    for number in range(people):
        samples = album.triple(number) if yaws_degrees is None else album.turned(number, yaws_degrees)
        rows = rows_of(number)
        identities = identities_of_crops(method, samples, detected(samples, number), rows.values())
        true = model.neutral(samples[0].identity)
        scan, landmarks = true[skin].astype(np.float64), model.landmarks68(true).astype(np.float64)
        for row, identity in {MEAN: np.zeros(model.identity_size), **dict(zip(rows, identities, strict=True))}.items():
            errors.add(row, model.neutral(np.asarray(identity, np.float32)), scan, landmarks)
        _say(number, people, errors)
    return errors


class CropLandmarks:
    """What a landmark detector would find in pictures of synthetic people, if a method's network looks at it."""

    def __init__(self, method: DeepFusion):
        self.seen = method.network.sees_landmarks
        if self.seen:
            self.model = differentiable_model("open_head", "keys")
            self.detectors = landmark_detectors(self.model)

    def __call__(self, samples: Sequence[Sample], seed: int) -> Tensor:
        """(N, 478, 2) float32 pixels, the errors drawn by the seed; zeros for a network that does not look."""
        if not self.seen:
            return torch.zeros(len(samples), 478, 2)
        batch = collate([item_of(sample) for sample in samples])
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return detected_landmarks(batch, self.model, self.detectors, torch.zeros(478, 2))


def identities_of_crops(
    method: DeepFusion, samples: Sequence[Sample], landmarks: Tensor, rows: Iterable[Slots]
) -> np.ndarray:
    """Identities (R, I) of one person from aligned pictures, as sure as the network is of them.

    Args:
        method: whose network looks.
        samples: N pictures of its size.
        landmarks: (N, 478, 2) pixels, found in them.
        rows: which are shown.
    """
    network, size, rows = method.network, method.network.camera.size, list(rows)
    device = next(network.parameters()).device
    with torch.inference_mode():
        images = torch.from_numpy(np.stack([sample.image for sample in samples])).permute(0, 3, 1, 2)
        images = images.to(device).float() / 255
        labels = torch.zeros_like(images[:, 0], dtype=torch.uint8)
        if network.settings["sees_classes"]:
            labels = method.parser.labels(images)
        shown = torch.tensor([fill_slots(slots) for slots in rows], device=device)
        present = torch.tensor([[view is not None for view in slots] for slots in rows], device=device)
        points = landmarks.to(device).float() / size
        codes = network.decode(network(network_input(images, labels)[shown], points[shown], present))
    return np.stack([as_sure(method, said, slots) for said, slots in zip(codes.identity.cpu(), rows, strict=True)])


def as_sure(method: DeepFusion, identity: Tensor, shown: Sequence[object | None]) -> np.ndarray:
    """An identity (I,) as the pipeline takes it over from the network: drawn to the mean by how sure that is."""
    return method.measurement(identity, sum(view is not None for view in shown), {}).identity


def measure_ict(
    method: DeepFusion,
    path: Path,
    people: int,
    rows_of: Callable[[int], Rows],
    yaws_degrees: Sequence[float] = YAWS_DEGREES,
    cache: Path | None = None,
    fit: Fit | None = None,
) -> tuple[HeadErrors, HeadErrors]:
    """Heads of people of ICT-FaceKit, by the network alone, and with the fit (none without).

    Args:
        method, people: as for `measure_synthetic`.
        path: the ICT-FaceKit file.
        rows_of: number of a person -> what is shown of its pictures.
        yaws_degrees: from where the pictures are taken.
        cache: folder for rendered people.
        fit: makes heads of photographs.
    """
    model = load_face_model("open_head")
    mean = np.zeros(model.identity_size, np.float32)
    alone, fitted = HeadErrors(), HeadErrors()
    for number, subject in enumerate(subjects(path, people, cache, yaws_degrees=yaws_degrees)):
        views = found_views(subject.pictures)
        alone.unseen += views.count(None)
        truth = subject.scan, subject.scan_landmarks68
        alone.add(MEAN, model.neutral(mean), *truth)
        if fit is not None:
            fitted.add(MEAN, model.neutral(mean), *truth)
        for row, slots in rows_of(number).items():
            shown = [None if place is None else views[place] for place in slots]
            alone.add(row, model.neutral(network_identity(method, shown, mean)), *truth)
            if fit is not None:
                fitted.add(row, fitted_head(fit, shown, model.neutral(mean)), *truth)
        _say(number, people, fitted if fit else alone)
    return alone, fitted


def network_identity(method: DeepFusion, shown: Sequence[View | None], mean: np.ndarray) -> np.ndarray:
    """The identity (I,) float32 of whole photographs, for each of `SLOTS` one or None; `mean` where there is none."""
    if all(view is None for view in shown):
        return mean
    return as_sure(method, coded_views(method.network, shown, method.parser).identity[0], shown).astype(np.float32)


def fitted_head(fit: Fit, shown: Sequence[View | None], mean: np.ndarray) -> np.ndarray:
    """The neutral head (V, 3) of the photographs that there are; `mean` (V, 3) where there is none."""
    pictures = [view[0] for view in shown if view is not None]
    try:
        return fit(pictures, [FOCAL_35MM] * len(pictures)) if pictures else mean
    except PhotoError as error:
        logger.warning("%s The mean head is scored in its place.", error)
        return mean


def table(by_people: Mapping[str, HeadErrors]) -> tuple[str, dict[str, Any]]:
    """In words, and the figures of each kind of people by row (`HeadErrors.figures`).

    Args:
        by_people: `SYNTHETIC`, `ICT`, `ICT_WITH_FIT`, those that were measured.
    """
    lines, record = [], {}
    for people, errors in by_people.items():
        record[people] = figures = errors.figures()
        lines.append(f"{people + ', mm':36} {'median':>7} {'mean':>7} {'std':>7} {'RMSE':>8} {'deviation':>9}")
        for row, found in figures.items():
            scores, paper = found["now"], found["paper"]
            line = f"{row:36} {scores['median']:7.3f} {scores['mean']:7.3f} {scores['std']:7.3f} "
            line += f"{paper['rmse']:8.3f} {paper['rmse_deviation']:9.3f}"
            lines.append((line + _verdict(found)).rstrip())
        if people == ICT_WITH_FIT and "three views" in figures:
            lines.append(_below_the_mean_head(figures))
        people_measured = figures[MEAN]["now"]["scans"]
        unseen = f"; no face was found in {errors.unseen} pictures" if errors.unseen else ""
        lines += [f"{people_measured} {'person' if people_measured == 1 else 'people'}{unseen}", ""]
    lines.append(
        "Neutral heads. Median, mean, std: NoW protocol, non-metrical, points pooled. RMSE: to planes, as the paper "
        "says (size free), mean and standard deviation over the people. A row beats single view by its median"
    )
    return "\n".join(lines), record


def _verdict(found: Mapping[str, Any]) -> str:
    if "beats_one_view" not in found:
        return ""
    beats = "beats" if found["beats_one_view"] else "does not beat"
    return (
        f"   multi view {beats} single view: {_lower(found['median_gain'])}, RMSE {_lower(found['rmse_gain'])}, "
        f"nearer for {found['nearer']} of {found['paper']['faces']} people"
    )


def _lower(gain: float) -> str:
    return f"{100 * abs(gain):.1f} % {'below' if gain >= 0 else 'above'}"


def _below_the_mean_head(figures: Mapping[str, Any]) -> str:
    gain = 1 - figures["three views"]["now"]["median"] / figures[MEAN]["now"]["median"]
    wanted = GAIN["three photographs"]
    verdict = "reached" if gain >= wanted else "not reached"
    return f"three photographs, network and fit: median {_lower(gain)} the mean head ({100 * wanted:.0f} %: {verdict})"


def _say(number: int, people: int, errors: HeadErrors) -> None:
    found = ", ".join(f"{row} {rows[-1].rmse_mm:.2f}" for row, rows in errors.of_paper.items())
    logger.info("person %d of %d: %s", number + 1, people, found)
