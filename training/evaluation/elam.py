"""Eye states of reconstructions without and with ELAM (table 1 of Wang et al., ICASSP 2024).

The state is read from the fitted mesh: shut is a closure above 0.5 of the person's own open eye. Open is positive, as
in the paper. A picture without a face counts as wrong in every row but the one that always says open. Eyes half-way,
which nobody calls open or shut, are left out where the truth is a mesh.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from PIL import Image

from backend.calibration import load_calibration
from backend.detection import DetectedFace, detect_faces
from backend.environment import home
from backend.eye_landmarks import elam
from backend.eye_state import read_eye_closure
from backend.face_models import load_face_model
from backend.fitting import Observation, fit
from backend.lid_rig import SIDES
from backend.methods.eye_states import DEFAULT_WEIGHTS, EyeStateDetector
from backend.rendering.camera import focal_from_35mm
from training.data.eye_crops import CERTAINLY_OPEN, CERTAINLY_SHUT
from training.evaluation.data_folder import data_folder
from training.evaluation.eyes import SHUT_ABOVE, mesh_closure
from training.evaluation.ict_people import FOCAL_35MM, YAWS_DEGREES, subjects, winking_person

logger = logging.getLogger(__name__)

SYNTHETIC_SEED, SYNTHETIC_SIZE = 770_000_001, 320
"""People that no training run sees."""
LARGEST_YAW_DEGREES = 60
CEW_AT_LEAST, SYNTHETIC_WINKS_AT_LEAST, ICT_WINKS_AT_LEAST = 331 / 339, 0.97, 0.95
ALWAYS_OPEN = "always open"
OURS = "ELAM, along the eye's own axis"


@dataclass(frozen=True)
class KnownEyes:
    """A picture whose eyes' states are known.

    Attributes:
        image: (H, W, 3) uint8 sRGB. focal_35mm: in millimetres, None where unknown.
        is_shut: by side, sides that are neither open nor shut left out; or "face": one state for both.
        group: what it counts to.
    """

    image: np.ndarray
    focal_35mm: float | None
    is_shut: dict[str, bool]
    group: str


@dataclass
class Confusion:
    """Eyes (or faces) by true and found state; `missed` had no face found and count as wrong."""

    open_open: int = 0
    open_shut: int = 0
    shut_shut: int = 0
    shut_open: int = 0
    missed_open: int = 0
    missed_shut: int = 0

    def add(self, is_shut: bool, found_shut: bool | None) -> None:
        """Counts one; `found_shut` is None where no face was found."""
        true = "shut" if is_shut else "open"
        name = f"missed_{true}" if found_shut is None else f"{true}_{'shut' if found_shut else 'open'}"
        setattr(self, name, getattr(self, name) + 1)

    @property
    def right(self) -> int:
        return self.open_open + self.shut_shut

    @property
    def total(self) -> int:
        return self.right + self.open_shut + self.shut_open + self.missed_open + self.missed_shut

    @property
    def accuracy(self) -> float:
        return self.right / max(self.total, 1)

    @property
    def f1(self) -> float:
        """Of open: a missed open face is one that was not found, a missed shut face one that was taken for open."""
        wrong = self.open_shut + self.missed_open + self.shut_open + self.missed_shut
        return 2 * self.open_open / max(2 * self.open_open + wrong, 1)


@dataclass
class ElamFigures:
    """Confusions by row and group."""

    confusions: dict[str, dict[str, Confusion]] = field(default_factory=dict)

    def of(self, row: str, group: str) -> Confusion:
        return self.confusions.setdefault(row, {}).setdefault(group, Confusion())


Reading = Callable[[np.ndarray, DetectedFace, float | None], dict[str, float]]
"""Picture, face and focal length (35 mm equivalent) to the closure of the reconstruction, by side."""


def readings(detector: EyeStateDetector, *, fits: bool = True) -> dict[str, Reading]:
    """The rows of the table that look at the picture, by name.

    Args:
        fits: whether the closure is read from a fitted mesh. Else it is what the fit would be given, which
            takes far less time; the row that has only the fit is left out.
    """
    model, calibration = load_face_model("open_head"), load_calibration()

    def reconstructed(image, points, focal, closure) -> dict[str, float]:
        if not fits:
            return closure
        height, width = image.shape[:2]
        pixels = focal_from_35mm(focal, width, height) if focal else None
        return mesh_closure(fit(model, calibration, [Observation(points, width, height, pixels, closure)]))

    def landmarks_alone(image, face, focal):
        return reconstructed(image, face.points, focal, None)

    def detector_lids(image, face, focal):
        return reconstructed(image, face.points, focal, read_eye_closure(image, face))

    def published(image, face, focal):
        points = elam(image, face, detector, "published").points
        return reconstructed(image, points, focal, read_eye_closure(image, replace(face, points=points)))

    def own_axis(image, face, focal):
        found = elam(image, face, detector, "own-axis")
        return reconstructed(image, found.points, focal, found.closure)

    rows = {"landmarks alone, no ELAM": landmarks_alone} if fits else {}
    rows["MediaPipe's lids, no ELAM"] = detector_lids
    return rows | {"ELAM as published": published, OURS: own_axis}


def measure(
    figures: ElamFigures,
    pictures: Iterable[KnownEyes],
    rows: dict[str, Reading],
    find: Callable[[np.ndarray], list[DetectedFace]] = detect_faces,
) -> None:
    """Adds every picture to every row."""
    for picture in pictures:
        faces = find(picture.image)
        _count(figures.of(ALWAYS_OPEN, picture.group), picture, dict.fromkeys(SIDES, 0.0))
        for name, reading in rows.items():
            closure = reading(picture.image, faces[0], picture.focal_35mm) if faces else None
            _count(figures.of(name, picture.group), picture, closure)


def _count(confusion: Confusion, picture: KnownEyes, closure: dict[str, float] | None) -> None:
    for side, is_shut in picture.is_shut.items():
        if closure is None:
            confusion.add(is_shut, None)
            continue
        found = np.mean(list(closure.values())) if side == "face" else closure[side]
        confusion.add(is_shut, bool(found > SHUT_ABOVE))


def cew_faces(folder: Path, most: int | None = None) -> Iterator[KnownEyes]:
    """The pictures of Closed Eyes In The Wild: one state for a face."""
    for kind, is_shut in (("closed", True), ("open", False)):
        for path in sorted((folder / kind).glob("*.jpg"))[:most]:
            image = np.asarray(Image.open(path).convert("RGB"))
            yield KnownEyes(image, None, {"face": is_shut}, "CEW, faces")


def synthetic_faces(count: int) -> Iterator[KnownEyes]:
    """Synthetic people that no run learns from, seen from within 60 degrees; hidden eyes are left out."""
    from training.data.eye_crop_files import eyes_of_sample
    from training.data.generator import SyntheticPeople

    people, made, index = SyntheticPeople(SYNTHETIC_SEED, SYNTHETIC_SIZE), 0, 0
    while made < count:
        sample = people.photograph(index)
        index += 1
        if abs(sample.yaw) > LARGEST_YAW_DEGREES:
            continue
        made += 1
        states = {
            side: bool(closure >= CERTAINLY_SHUT)
            for side, closure in zip(SIDES, eyes_of_sample(sample).closure, strict=True)
            if closure <= CERTAINLY_OPEN or closure >= CERTAINLY_SHUT
        }
        wink = len(states) == 2 and states["left"] != states["right"]
        yield KnownEyes(sample.image, None, states, "synthetic, winks" if wink else "synthetic, eyes")


def ict_winks(path: Path, people: int, most: int | None = None) -> Iterator[KnownEyes]:
    """Winking people of ICT-FaceKit from -30, 0 and 30 degrees."""
    for subject in subjects(path, min(people, most or people), home() / "cache/evaluation", winking_person):
        for yaw, image in zip(YAWS_DEGREES, subject.pictures, strict=True):
            states = {side: subject.closure[side] > SHUT_ABOVE for side in SIDES}
            yield KnownEyes(image, FOCAL_35MM, states, f"ICT winks, yaw {yaw:+d}" if yaw else "ICT winks, frontal")


def elam_table(options) -> str:
    """Measures and writes the table; `options` as of `training.evaluation.eye_motion`."""
    detector = EyeStateDetector.load(options.weights or DEFAULT_WEIGHTS)
    rows, figures = readings(detector, fits=not options.without_fit), ElamFigures()
    if "synthetic" in options.only:
        logger.info("synthetic people: %d pictures", options.faces or options.synthetic)
        measure(figures, synthetic_faces(options.faces or options.synthetic), rows)
    if "cew" in options.only:
        logger.info("CEW")
        folder = data_folder(options.data, "eyes/cew_research_only") / "eyes/cew_research_only"
        measure(figures, cew_faces(folder, options.faces), rows)
    if "ict" in options.only:
        logger.info("ICT-FaceKit: %d people", options.people)
        path = data_folder(options.data, "face_models/ict_facekit.npz") / "face_models/ict_facekit.npz"
        measure(figures, ict_winks(path, options.people, options.faces), rows)
    if options.json:
        record = {
            row: {group: vars(confusion) for group, confusion in groups.items()}
            for row, groups in figures.confusions.items()
        }
        options.json.write_text(json.dumps(record, indent=1), "utf-8")
    return table(figures)


def table(figures: ElamFigures) -> str:
    """Accuracy and F1 in columns, one block a group, with what was to be reached."""
    groups = list(dict.fromkeys(group for row in figures.confusions.values() for group in row))
    lines = []
    for group in groups:
        lines.append(f"{group:40} {'right':>6} {'of':>5} {'accuracy':>9} {'F1':>8} {'no face':>8}")
        for row, of_row in figures.confusions.items():
            one = of_row.get(group, Confusion())
            missed = one.missed_open + one.missed_shut
            line = (
                f"  {row:38} {one.right:6} {one.total:5} {100 * one.accuracy:7.1f} % {100 * one.f1:6.1f} % {missed:8}"
            )
            wanted = _wanted(group)
            if row == OURS and wanted is not None:
                verdict = "reached" if one.accuracy >= wanted else "not reached"
                line += f"   at least {100 * wanted:.1f} %: {verdict}"
            lines.append(line)
    return "\n".join(lines)


def _wanted(group: str) -> float | None:
    if group == "CEW, faces":
        return CEW_AT_LEAST
    if group == "synthetic, winks":
        return SYNTHETIC_WINKS_AT_LEAST
    return ICT_WINKS_AT_LEAST if group.startswith("ICT") else None
