"""Are eyes shut that are shut, and do they look where they look? `python3 -m training evaluate eyes`.

The state of an eye is read from the resulting mesh: one minus its lid aperture over that of the same person's own open
eye. Shut is a closure above 0.5, a threshold that was never tuned. A picture in which no face is found counts as wrong.

Iris centres: the distance of the mesh's iris centre, projected into the picture, from where it should be, as the angle
that it subtends on the eyeball: arcsin(distance / distance of the iris from the eyeball's centre). "Should be" is
the truth on ICT-FaceKit; on real photographs there is only the detector's own point, so the figure there says how well
the mesh follows the detector.
"""

import argparse
import json
import logging
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from backend.environment import home
from backend.errors import PhotoError
from backend.face_models.eyes import IRIS_DEGREES, gaze_rotation
from backend.lid_rig import SIDES
from backend.lids import closure
from backend.options import DEFAULT_METHOD, METHODS
from training.evaluation.data_folder import data_folder
from training.evaluation.ict_people import (
    FOCAL_35MM,
    YAWS_DEGREES,
    IctSubject,
    picture_camera,
    subjects,
    winking_person,
)

logger = logging.getLogger(__name__)

SHUT_ABOVE = 0.5
CEW_AT_LEAST = 326 / 339
LONDON_AT_LEAST = 0.98
WINKS_AT_LEAST = 0.90
WINKING_PEOPLE = 24
DETECTED_IRIS = {"right": 468, "left": 473}
RIM_SHARE = 0.85  # iris vertices this far out, of the farthest, are its rim


@dataclass
class Count:
    """How many were right of how many; `missed` of the wrong ones had no face found."""

    right: int = 0
    total: int = 0
    missed: int = 0

    def add(self, is_right: bool) -> None:
        self.right += bool(is_right)
        self.total += 1

    def miss(self, how_many: int) -> None:
        self.total += how_many
        self.missed += how_many

    @property
    def share(self) -> float:
        return self.right / max(self.total, 1)


@dataclass
class EyeFigures:
    """What one run found: counts by name and iris errors in degrees by name."""

    counts: dict[str, Count] = field(default_factory=dict)
    degrees: dict[str, list[float]] = field(default_factory=dict)

    def count(self, name: str) -> Count:
        return self.counts.setdefault(name, Count())


Reconstruct = Callable[[list[np.ndarray], list[float | None]], object]
"""As `backend.pipeline.fit_photographs`."""


def mesh_closure(head, number: int = 0) -> dict[str, float]:
    """By side, 0 where the posed mesh is as open as its own neutral, 1 where it is shut."""
    posed = head.photographs[number].posed
    return {side: closure(posed, head.neutral, head.model.rig, side) for side in SIDES}


def mesh_iris(head, side: str, number: int = 0) -> tuple[np.ndarray, np.ndarray, float]:
    """The middle of the iris' rim on the posed mesh (3,), the eyeball's centre (3,), and their distance, metres."""
    model, posed = head.model, head.photographs[number].posed.astype(np.float64)
    centre = model.eye_centres(head.neutral)[SIDES.index(side)]
    ball = model.eyeballs[side]
    iris = ball[model.masks["iris"][ball]]
    off_axis = np.linalg.norm((head.neutral[iris] - centre)[:, :2], axis=1)
    rim = iris[off_axis > RIM_SHARE * off_axis.max()]
    middle = posed[rim].mean(axis=0)
    return middle, centre, float(np.linalg.norm(head.neutral[rim].mean(axis=0) - centre))


def degrees_on_eyeball(pixels: float, depth: float, focal: float, radius: float) -> float:
    """The angle on an eyeball that a distance in the picture subtends.

    Args:
        pixels: distance in the picture.
        depth: of the eye from the camera, metres; focal: pixels.
        radius: from the eyeball's centre to the iris, metres.
    """
    return float(np.degrees(np.arcsin(np.clip(pixels * depth / focal / radius, 0, 1))))


def iris_error(head, side: str, wanted: np.ndarray, number: int = 0) -> float:
    """Degrees between the mesh's iris centre and the point (2,) in the picture where it should be."""
    camera = head.photographs[number].camera
    middle, centre, radius = mesh_iris(head, side, number)
    away = float(np.linalg.norm(camera.project(middle) - wanted))
    return degrees_on_eyeball(away, float(camera.to_camera(centre)[2]), camera.fx, radius)


def measure_faces(
    figures: EyeFigures, name: str, pictures: list[Path], is_shut: bool, reconstruct: Reconstruct
) -> None:
    """One state for a picture, the mean of both eyes: for data labelled by the face."""
    for path in pictures:
        try:
            found = mesh_closure(reconstruct([_read(path)], [None]))
        except PhotoError:
            figures.count(name).miss(1)
            continue
        figures.count(name).add((np.mean(list(found.values())) > SHUT_ABOVE) == is_shut)


def measure_open_photographs(figures: EyeFigures, pictures: list[Path], reconstruct: Reconstruct) -> None:
    """Both eyes of every photograph should be open, their irises where the detector sees them."""
    from backend.detection import find_face

    for path in pictures:
        image = _read(path)
        try:
            head = reconstruct([image], [None])
        except PhotoError:
            figures.count("London, open").miss(2)
            continue
        points = find_face(image, path.name).points
        for side, state in mesh_closure(head).items():
            figures.count("London, open").add(state <= SHUT_ABOVE)
            if state <= SHUT_ABOVE:
                error = iris_error(head, side, points[DETECTED_IRIS[side]])
                figures.degrees.setdefault("London, iris to detection", []).append(error)


def measure_winks(figures: EyeFigures, people: list[IctSubject], reconstruct: Reconstruct) -> None:
    """One eye shut, one open, known gaze, each picture by itself."""
    for subject in people:
        for yaw, picture in zip(YAWS_DEGREES, subject.pictures, strict=True):
            name = f"ICT winks, yaw {yaw:+d}" if yaw else "ICT winks, frontal"
            try:
                head = reconstruct([picture], [FOCAL_35MM])
            except PhotoError:
                figures.count(name).miss(2)
                continue
            for side, state in mesh_closure(head).items():
                figures.count(name).add((state > SHUT_ABOVE) == (subject.closure[side] > SHUT_ABOVE))
                if subject.closure[side] <= SHUT_ABOVE and state <= SHUT_ABOVE:
                    where = name.removeprefix("ICT winks, ")
                    error = iris_error(head, side, true_iris(subject, side, yaw))
                    figures.degrees.setdefault(f"ICT, iris to truth, {where}", []).append(error)
                    error = gaze_error(head, subject, side, yaw)
                    figures.degrees.setdefault(f"ICT, gaze in space, {where}", []).append(error)


def true_gaze(subject: IctSubject, side: str) -> np.ndarray:
    """(3,) unit vector in the head's frame."""
    across, up = subject.gaze_degrees[side]
    return gaze_rotation("ToLeft", across) @ gaze_rotation("Up", up) @ [0.0, 0.0, 1.0]


def true_iris(subject: IctSubject, side: str, yaw_degrees: float) -> np.ndarray:
    """(2,) pixels, the middle of the iris' rim in the picture from that yaw."""
    centre = subject.eye_centres[SIDES.index(side)]
    distance = subject.eyeball_radius * np.cos(np.radians(IRIS_DEGREES))
    return picture_camera(yaw_degrees).project(centre + distance * true_gaze(subject, side))


def gaze_error(head, subject: IctSubject, side: str, yaw_degrees: float) -> float:
    """Degrees between the mesh's line of sight and the true one, both seen from the camera."""
    middle, centre, _ = mesh_iris(head, side)
    found = head.photographs[0].camera.rotation @ (middle - centre)
    wanted = picture_camera(yaw_degrees).rotation @ true_gaze(subject, side)
    cosine = found @ wanted / np.linalg.norm(found)
    return float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))


def _read(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"))


def table(figures: EyeFigures) -> str:
    """The figures in words and columns, with what was to be reached."""
    counts = dict(figures.counts)
    cew = [count for name, count in counts.items() if name.startswith("CEW")]
    if cew:
        counts["CEW, all"] = Count(*(sum(getattr(c, part) for c in cew) for part in ("right", "total", "missed")))
    at_least = {"CEW, all": CEW_AT_LEAST, "London, open": LONDON_AT_LEAST, "ICT winks, frontal": WINKS_AT_LEAST}
    lines = [f"{'eye states read from the mesh':32} {'right':>6} {'of':>5} {'share':>8} {'no face':>8}"]
    for name, count in counts.items():
        line = f"{name:32} {count.right:6} {count.total:5} {100 * count.share:6.1f} % {count.missed:8}"
        if name in at_least:
            verdict = "reached" if count.share >= at_least[name] else "not reached"
            line += f"   at least {100 * at_least[name]:.1f} %: {verdict}"
        lines.append(line)
    lines.append(f"{'iris centres, degrees':32} {'median':>6} {'mean':>8} {'90 %':>8} {'eyes':>6}")
    for name, errors in figures.degrees.items():
        low, high = np.percentile(errors, [50, 90])
        lines.append(f"{name:32} {low:6.2f} {np.mean(errors):8.2f} {high:8.2f} {len(errors):6}")
    return "\n".join(lines)


def main(arguments: list[str]) -> int:
    """`python3 -m training evaluate eyes`."""
    parser = argparse.ArgumentParser(prog="evaluate eyes", description=__doc__)
    parser.add_argument("--data", type=Path, help="folder of test data; default $LIFEMASK_DATA")
    parser.add_argument("--people", type=int, default=WINKING_PEOPLE, help="winking people of ICT-FaceKit")
    parser.add_argument("--faces", type=int, help="only so many photographs of each kind, for a quick look")
    parser.add_argument("--only", choices=("cew", "london", "ict"), nargs="+", default=("cew", "london", "ict"))
    parser.add_argument("--method", choices=METHODS, default=DEFAULT_METHOD, help="how heads are reconstructed")
    parser.add_argument("--no-cache", action="store_true", help="render every person anew")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here too")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    from backend.pipeline import fit_photographs

    reconstruct = partial(fit_photographs, method=options.method)
    figures = EyeFigures()
    if "cew" in options.only:
        folder = data_folder(options.data, "eyes/cew_research_only") / "eyes/cew_research_only"
        for kind, is_shut in (("closed", True), ("open", False)):
            pictures = sorted((folder / kind).glob("*.jpg"))[: options.faces]
            logger.info("CEW, %s: %d pictures", kind, len(pictures))
            measure_faces(figures, f"CEW, {kind}", pictures, is_shut, reconstruct)
    if "london" in options.only:
        folder = data_folder(options.data, "photos/london") / "photos/london"
        pictures = sorted(folder.glob("*.jpg"))[: options.faces]
        logger.info("London: %d photographs", len(pictures))
        measure_open_photographs(figures, pictures, reconstruct)
    if "ict" in options.only:
        path = data_folder(options.data, "face_models/ict_facekit.npz") / "face_models/ict_facekit.npz"
        cache = None if options.no_cache else home() / "cache/evaluation"
        logger.info("ICT-FaceKit: %d winking people from %d sides", options.people, len(YAWS_DEGREES))
        measure_winks(figures, list(subjects(path, options.people, cache, winking_person)), reconstruct)
    print(table(figures))
    if options.json:
        counts = {name: vars(count) for name, count in figures.counts.items()}
        options.json.write_text(json.dumps({"counts": counts, "degrees": figures.degrees}, indent=1), "utf-8")
    return 0
