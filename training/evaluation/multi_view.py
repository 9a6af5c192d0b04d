"""How near faces from several photographs come to true scans, as DF-MVR measures it: `evaluate multi-view`.

Zhao et al., "From 2D Images to 3D Model: Weakly Supervised Multi-View Face Reconstruction with Deep Fusion", ICME 2025,
section 5.1: the predicted face is laid on the scan, first by seven points, then by ICP; the scan is cropped to the
front of the face; the figure is the root mean square of the distances of its points to the planes of the prediction.
What the published code computes under the same name is the mean of the distances to the surface: it stands beside.

The crop is NoW's with the tip of the nose in the place of its base, as published. ICP is the refinement of NoW's
protocol (`now.py`): closest points found anew at each step, distances taken along their own directions.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from backend.errors import LifemaskError, UsageError
from backend.face_models import load_face_model
from backend.face_models.morphable_model import MorphableModel
from backend.options import DEFAULT_METHOD, METHODS
from training.data.bosphorus_layout import RIGHT_ANGLES, open_bosphorus
from training.data.landmarks101 import SEVEN_OF_68
from training.data.pixel_face_layout import SPLITS, open_pixel_face
from training.data.triples import Scan, TripleFolder
from training.evaluation.compiled_surface import CompiledSurface
from training.evaluation.now import MILLIMETRES, Similarity, crop_to_face, procrustes, refine
from training.evaluation.now_checks import METRES_OF, check_unit
from training.evaluation.shape import skin_triangles
from training.suggestions import unknown

logger = logging.getLogger(__name__)

Alignment = Literal["similarity", "rigid"]
FRONT = 1
"""Of a triple's pictures."""
SETS = ("pixel-face", "bosphorus")
ONE, THREE = "front photograph alone", "three photographs"


@dataclass(frozen=True)
class FaceError:
    """The error of one predicted face against one scan.

    Attributes:
        to_planes_mm: (N,) float64 of each cropped scan point, to the plane of the triangle it is nearest to.
        distances_mm: (N,) float64, to the surface itself: never less.
        cropped: (S,) bool, which of the scan's points count.
        alignment: what takes the prediction to the scan, both in metres.
    """

    to_planes_mm: np.ndarray
    distances_mm: np.ndarray
    cropped: np.ndarray
    alignment: Similarity

    @property
    def rmse_mm(self) -> float:
        """The paper's figure: root mean square, point to plane."""
        return float(np.sqrt(np.mean(self.to_planes_mm**2)))

    @property
    def mean_mm(self) -> float:
        """The published code's figure: the mean unsigned distance to the surface."""
        return float(self.distances_mm.mean())


@dataclass(frozen=True)
class FaceErrors:
    """The figures of several faces, in millimetres: mean and standard deviation over the faces, each counting once."""

    rmse: float
    rmse_deviation: float
    mean: float
    mean_deviation: float
    faces: int


def face_error(
    vertices: np.ndarray,
    triangles: np.ndarray,
    landmarks: np.ndarray,
    scan: Scan,
    *,
    alignment: Alignment = "similarity",
    unit: str = "m",
    scan_unit: str = "mm",
) -> FaceError:
    """The error of a predicted face.

    Args:
        vertices: (V, 3) float; triangles: (T, 3) int, the surface that counts.
        landmarks: of the prediction, (7, 3) or (68, 3), see `seven_with_nose_tip`.
        scan: the truth; only its vertices and landmarks are looked at.
        alignment: "rigid" keeps the prediction's size, "similarity" (as published) does not.
        unit, scan_unit: keys of `now_checks.METRES_OF`, of the prediction and of the scan.

    Raises:
        UsageError: "wrong-unit": in that unit the eyes of the prediction or of the scan are not as far apart as a
            person's; "empty-crop": no point of the scan lies near its landmarks.
        ValueError: landmarks of another shape.
    """
    own, wanted = seven_with_nose_tip(landmarks), seven_with_nose_tip(scan.landmarks)
    check_unit(own, unit, "The predicted face", "--unit")
    check_unit(wanted, scan_unit, "The scan", "--scan-unit")
    metres, scan_metres = METRES_OF[unit], METRES_OF[scan_unit]
    own, wanted = own * metres, wanted * scan_metres
    points = np.asarray(scan.vertices, np.float64) * scan_metres
    cropped = crop_to_face(points, wanted)
    if not cropped.any():
        raise UsageError(
            "empty-crop", "No point of the scan lies near its own landmarks. They should be in its unit and place."
        )
    with_scale = alignment == "similarity"
    surface = CompiledSurface(np.asarray(vertices, np.float64) * metres, triangles)
    start = procrustes(own, wanted, with_scale=with_scale)
    motion, distances = refine(surface, points[cropped], start, with_scale=with_scale)
    closest, nearest = surface.closest(motion.apply_inverse(points[cropped]))
    normals = surface.normals[nearest] @ motion.rotation.T
    to_planes = np.abs(((motion.apply(closest) - points[cropped]) * normals).sum(1))
    return FaceError(to_planes * MILLIMETRES, distances * MILLIMETRES, cropped, motion)


def seven_with_nose_tip(landmarks: np.ndarray) -> np.ndarray:
    """The seven points that align and crop, (7, 3) float64, out of them alone or out of iBUG's 68.

    Corners of the eye on the subject's right from the outer to the inner, of the other from the inner to the outer, tip
    of the nose (NoW has its base), corner of the mouth on the subject's right, on the left.

    Raises:
        ValueError: another shape.
    """
    landmarks = np.asarray(landmarks, np.float64)
    if landmarks.shape == (68, 3):
        return landmarks[list(SEVEN_OF_68)]
    if landmarks.shape == (7, 3):
        return landmarks
    raise ValueError(f"Landmarks should be (7, 3) or (68, 3), not {landmarks.shape}.")


def summary_of(errors: list[FaceError]) -> FaceErrors:
    """The figures of several faces.

    Raises:
        ValueError: there is none.
    """
    if not errors:
        raise ValueError("No face was measured, so there is nothing to summarise.")
    rmse, mean = (np.array([getattr(error, name) for error in errors]) for name in ("rmse_mm", "mean_mm"))
    return FaceErrors(float(rmse.mean()), float(rmse.std()), float(mean.mean()), float(mean.std()), len(errors))


def measure(
    folder: TripleFolder,
    reconstruct: Callable[[list[np.ndarray]], list[np.ndarray]],
    model: MorphableModel,
    *,
    alignment: Alignment = "similarity",
    most: int | None = None,
) -> tuple[dict[str, list[FaceError]], dict[str, str]]:
    """Errors of a set's people, from the front photograph alone and from three.

    Args:
        folder: whose triples have scans.
        reconstruct: photographs (H, W, 3) uint8 of one person to the head that each shows, (V, 3) metres in the
            topology of `model`.
        model: of the heads.
        alignment: see `face_error`.
        most: only so many triples.

    Returns:
        By row; and the names of the triples that were left out, and why.
    """
    triangles = skin_triangles(model)
    errors: dict[str, list[FaceError]] = {ONE: [], THREE: []}
    left_out = {}
    for index, triple in enumerate(folder.triples[:most]):
        try:
            scan = folder.scan(triple)
            if scan is None:
                left_out[triple.name] = "it has no scan"
                continue
            images = folder.item(index).images
            heads = {ONE: reconstruct([images[FRONT]])[0], THREE: reconstruct(images)[FRONT]}
            found = {
                row: face_error(head, triangles, model.landmarks68(head), scan, alignment=alignment)
                for row, head in heads.items()
            }
        except LifemaskError as error:
            left_out[triple.name] = error.sentence
            logger.warning("left out: %s: %s", triple.name, error.sentence)
            continue
        for row, error in found.items():
            errors[row].append(error)
        logger.info("%s: %s", triple.name, ", ".join(f"{row} {found[row].rmse_mm:.2f} mm" for row in found))
    return errors, left_out


def table(summaries: dict[str, FaceErrors]) -> str:
    """The figures in words and columns."""
    lines = [f"{'mm, over faces':28} {'RMSE to planes':>15} {'deviation':>10} {'mean distance':>15} {'deviation':>10}"]
    for name, found in summaries.items():
        lines.append(
            f"{name:28} {found.rmse:15.4f} {found.rmse_deviation:10.4f} {found.mean:15.4f} {found.mean_deviation:10.4f}"
        )
    faces = next(iter(summaries.values())).faces
    return "\n".join([*lines, f"{faces} face{'s' if faces > 1 else ''}"])


def main(arguments: list[str]) -> int:
    """`python3 -m training evaluate multi-view`."""
    parser = argparse.ArgumentParser(prog="evaluate multi-view", description=__doc__.splitlines()[0])
    parser.add_argument("set", choices=SETS)
    parser.add_argument("root", type=Path, help="folder of the set, as its owner lays it out")
    parser.add_argument("--method", choices=METHODS, default=DEFAULT_METHOD)
    parser.add_argument("--split", choices=tuple(SPLITS), default="val", help="of Pixel-Face")
    parser.add_argument("--right-angle", type=int, choices=RIGHT_ANGLES, default=45, help="of Bosphorus, degrees")
    parser.add_argument("--rigid", action="store_true", help="keep the heads' own size")
    parser.add_argument("--faces", type=int, help="only so many")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here too")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    folder = open_set(options.set, options.root, options.split, options.right_angle)
    from backend.pipeline import fit_photographs

    def reconstruct(images: list[np.ndarray]) -> list[np.ndarray]:
        head = fit_photographs(images, [None] * len(images), options.method)
        return [photograph.posed for photograph in head.photographs]

    alignment: Alignment = "rigid" if options.rigid else "similarity"
    model = load_face_model("open_head")
    errors, left_out = measure(folder, reconstruct, model, alignment=alignment, most=options.faces)
    if not errors[THREE]:
        name, why = next(iter(left_out.items()))
        raise UsageError("nothing-measured", f"No face of {options.root} could be measured. {name}: {why}")
    summaries = {row: summary_of(found) for row, found in errors.items()}
    print(f"{options.set}, {options.method}, {alignment} alignment")
    print(table(summaries))
    if left_out:
        print(f"{len(left_out)} left out, {next(iter(left_out))}: {next(iter(left_out.values()))}")
    if options.json:
        record = {row: asdict(found) for row, found in summaries.items()}
        options.json.write_text(json.dumps({"rows": record, "left_out": left_out}, indent=1), "utf-8")
    return 0


def open_set(name: str, root: Path, split: str = "val", right_angle: int = 45) -> TripleFolder:
    """A set with scans: "pixel-face", of which `split` counts, or "bosphorus", of which `right_angle` (degrees) does.

    Raises:
        UsageError: "unknown-set", and as `open_pixel_face` and `open_bosphorus`.
    """
    if name == "pixel-face":
        return open_pixel_face(root, split)
    if name == "bosphorus":
        return open_bosphorus(root, right_angle)
    raise unknown("set", name, SETS)
