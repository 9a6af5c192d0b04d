"""How near do reconstructed neutral heads come to the true ones? `python3 -m training evaluate shape`.

Random people of ICT-FaceKit whose shape is known are rendered with plain skin from yaw -30, 0 and +30 degrees, some
with expressions, some with eyes shut, and reconstructed from the pictures. The neutral head is scored against a scan
of the true neutral by the protocol of `now.py`, over the head's outer skin. The reconstruction is told the focal
length, as a photograph's EXIF would tell it; --unknown-focal adds rows without.

With --methods it is of several methods, each network by itself and with the fit (`method_shapes.py`).

With --face-model NAME it is another question: how much that model and the open head can express of each other's people
(`expressiveness.py`).
"""

import argparse
import json
import logging
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np

from backend.environment import home
from backend.errors import PhotoError, UsageError
from backend.face_models import load_face_model
from backend.face_models.morphable_model import MorphableModel, split_quads
from backend.options import DEFAULT_METHOD, METHODS
from backend.surface import Surface, barycentric_coordinates
from training.evaluation.data_folder import data_folder
from training.evaluation.ict_people import FOCAL_35MM, YAWS_DEGREES, IctSubject, subjects
from training.evaluation.now import (
    SEVEN_OF_68,
    ErrorSummary,
    ScanError,
    crop_to_face,
    pooled,
    procrustes,
    refine,
    scan_error,
)
from training.open_head.makehuman_mean import load_makehuman_mean

logger = logging.getLogger(__name__)

MAKEHUMAN_MEAN, OWN_MEAN = "MakeHuman's mean", "own mean"
ONE, THREE, FLOOR = "one photograph", "three photographs", "basis fitted to the scan"
ONE_UNKNOWN, THREE_UNKNOWN = "one, focal length unknown", "three, focal length unknown"
TARGETS = {OWN_MEAN: (MAKEHUMAN_MEAN, 0.12), ONE: (OWN_MEAN, 0.05), THREE: (OWN_MEAN, 0.10)}
ICT_FILE = "face_models/ict_facekit.npz"
FRONT = YAWS_DEGREES.index(0)
SCAN_NOISE_M = 0.0003
INDEPENDENT_POINTS = 1500  # neighbouring scan points say the same
FLOOR_STEPS, FLOOR_POINTS = 8, 3000

Heads = dict[str, np.ndarray]


def heads_of(
    subject: IctSubject, model: MorphableModel, *, unknown_focal: bool, reconstruct: Callable | None = None
) -> Heads:
    """The neutral heads (V, 3) to be scored for one person, by row name. A picture without a face gives the own mean.

    Args:
        reconstruct: as `backend.pipeline.fit_photographs`; None leaves reconstructions out.
    """
    mean = model.neutral(np.zeros(model.identity_size, np.float32))
    heads = {MAKEHUMAN_MEAN: load_makehuman_mean(len(mean)), OWN_MEAN: mean}
    if reconstruct is not None:
        rows = [(ONE, [subject.pictures[FRONT]], FOCAL_35MM), (THREE, subject.pictures, FOCAL_35MM)]
        if unknown_focal:
            rows += [(ONE_UNKNOWN, [subject.pictures[FRONT]], None), (THREE_UNKNOWN, subject.pictures, None)]
        for name, pictures, focal in rows:
            try:
                heads[name] = reconstruct(pictures, [focal] * len(pictures)).neutral
            except PhotoError as error:
                logger.warning("%s: %s; the mean head is scored in its place.", name, error)
                heads[name] = mean
    heads[FLOOR] = fit_to_scan(model, subject.scan, subject.scan_landmarks68)
    return heads


def fit_to_scan(model: MorphableModel, scan: np.ndarray, scan_landmarks68: np.ndarray) -> np.ndarray:
    """The head of the model (V, 3) closest to a scan, under the prior of its coefficients: the floor of the basis.

    Alternates between the similarity (by closest points) and a linear solve for the identity, point to plane with a
    little point to point.
    """
    triangles = skin_triangles(model)
    identity = np.zeros(model.identity_size)
    points = scan[crop_to_face(scan, scan_landmarks68)]
    points = points[:: max(1, len(points) // FLOOR_POINTS)]
    mean, basis = model.mean.astype(np.float64), model.identity_basis
    own, wanted = model.landmarks68(mean)[SEVEN_OF_68], scan_landmarks68[SEVEN_OF_68]
    motion = procrustes(own, wanted, with_scale=True)
    for _ in range(FLOOR_STEPS):
        vertices = mean + np.tensordot(identity, basis, 1)
        surface = Surface(vertices, triangles)
        motion, _ = refine(surface, points, motion, with_scale=True)
        wanted = motion.apply_inverse(points)
        closest, at = surface.closest(wanted)
        corners = triangles[at]
        weights = barycentric_coordinates(closest, vertices[corners])
        shift = np.einsum("knci,nc->kni", basis[:, corners], weights)  # (K, N, 3)
        normal = surface.normals[at]
        residual = wanted - closest
        rows = [np.einsum("kni,ni->nk", shift, normal), 0.1 * shift.transpose(1, 2, 0).reshape(-1, len(identity))]
        right = [(residual * normal).sum(1), 0.1 * residual.reshape(-1)]
        design, target = np.concatenate(rows), np.concatenate(right) + np.concatenate(rows) @ identity
        precision = INDEPENDENT_POINTS / len(points) / SCAN_NOISE_M**2
        system = precision * design.T @ design + np.eye(len(identity))
        identity = np.linalg.solve(system, precision * design.T @ target)
    return model.neutral(identity.astype(np.float32))


def skin_triangles(model: MorphableModel) -> np.ndarray:
    """(T, 3) int64: the outer skin, without mouth, teeth and eyeballs."""
    return split_quads(model.topology.faces[model.topology.part("skin")])


def measure(
    path: Path,
    people: int,
    *,
    metrical: bool = False,
    unknown_focal: bool = False,
    cache: Path | None = None,
    reconstruct: Callable | None = None,
) -> dict[str, list[ScanError]]:
    """Errors of every person by row name, rows in the order of the table.

    Args:
        path: the ICT-FaceKit file.
        people: how many.
        metrical: True keeps the heads' own scale.
        cache: folder for rendered people.
        reconstruct: see `heads_of`.
    """
    model = load_face_model("open_head")
    triangles = skin_triangles(model)
    errors: dict[str, list[ScanError]] = {}
    for number, subject in enumerate(subjects(path, people, cache)):
        started = time.perf_counter()
        heads = heads_of(subject, model, unknown_focal=unknown_focal, reconstruct=reconstruct)
        for name, head in heads.items():
            error = scan_error(
                head, triangles, model.landmarks68(head), subject.scan, subject.scan_landmarks68, metrical=metrical
            )
            errors.setdefault(name, []).append(error)
        line = ", ".join(f"{name} {np.median(errors[name][-1].distances_mm):.2f}" for name in heads)
        logger.info("person %d of %d (%.0f s): %s", number + 1, people, time.perf_counter() - started, line)
    return errors


def table(summaries: dict[str, ErrorSummary]) -> str:
    """The figures in words and columns, with what was to be reached."""
    lines = [f"{'scan to mesh, mm':28} {'median':>7} {'mean':>7} {'std':>7}   against"]
    for name, found in summaries.items():
        line = f"{name:28} {found.median:7.3f} {found.mean:7.3f} {found.std:7.3f}"
        if name in TARGETS and TARGETS[name][0] in summaries:
            other, share = TARGETS[name]
            gain = 1 - found.median / summaries[other].median
            verdict = "reached" if gain >= share else "not reached"
            where = "below" if gain >= 0 else "above"
            line += f"   {100 * abs(gain):.1f} % {where} {other} (at least {100 * share:.0f} % below: {verdict})"
        lines.append(line)
    any_row = next(iter(summaries.values()))
    lines.append(f"{any_row.scans} people, {any_row.points} scan points, all points pooled")
    return "\n".join(lines)


def main(arguments: list[str]) -> int:
    """`python3 -m training evaluate shape`."""
    parser = argparse.ArgumentParser(prog="evaluate shape", description=__doc__)
    parser.add_argument("--data", type=Path, help="folder of test data; default $LIFEMASK_DATA")
    parser.add_argument("--people", type=int, help="default 24; with --face-model 20 of each of the two models")
    parser.add_argument(
        "--face-model", metavar="NAME", help="this model and the open head fitted to each other's people"
    )
    parser.add_argument(
        "--method", choices=METHODS, default=DEFAULT_METHOD, help="with --face-model: of the photographs"
    )
    parser.add_argument(
        "--methods", choices=METHODS, nargs="+", metavar="NAME", help="compare these: " + ", ".join(METHODS)
    )
    parser.add_argument("--metrical", action="store_true", help="keep the heads' own scale")
    parser.add_argument("--unknown-focal", action="store_true", help="also without telling the focal length")
    parser.add_argument("--only-means", action="store_true", help="leave the reconstructions out")
    parser.add_argument("--no-cache", action="store_true", help="render every person anew")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here too")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    if options.face_model:
        return _main_of_face_model(options)
    options.people = options.people or 24
    if options.methods:
        return _main_of_methods(options)
    path = data_folder(options.data, ICT_FILE) / ICT_FILE
    reconstruct = None
    if not options.only_means:
        from backend.pipeline import fit_photographs as reconstruct
    errors = measure(
        path,
        options.people,
        metrical=options.metrical,
        unknown_focal=options.unknown_focal,
        cache=None if options.no_cache else home() / "cache/evaluation",
        reconstruct=reconstruct,
    )
    summaries = {name: pooled(rows) for name, rows in errors.items()}
    kind = "metrical" if options.metrical else "non-metrical"
    print(f"NoW protocol, {kind}; pictures from yaw {', '.join(map(str, YAWS_DEGREES))}, {FOCAL_35MM:.0f} mm told")
    print(table(summaries))
    if options.json:
        people = {name: [float(np.median(e.distances_mm)) for e in rows] for name, rows in errors.items()}
        record = {"rows": {name: asdict(found) for name, found in summaries.items()}, "median_by_person": people}
        options.json.write_text(json.dumps(record | {"protocol": kind}, indent=1), "utf-8")
    return 0


def _main_of_methods(options: argparse.Namespace) -> int:
    from training.evaluation import method_shapes

    text, figures = method_shapes.shape_table(options.methods, options.people, options.data, metrical=options.metrical)
    print(text)
    if options.json:
        options.json.write_text(json.dumps({"rows": figures}, indent=1), "utf-8")
    return 0


def _main_of_face_model(options: argparse.Namespace) -> int:
    from training.evaluation import expressiveness

    models = [load_face_model("open_head"), load_face_model(options.face_model)]
    if models[0] is models[1]:
        raise UsageError("bad-face-model", "The open head is what other models are compared with: name another one.")
    folder = None
    if not options.only_means:
        folder = data_folder(options.data, expressiveness.FOUR_VIEWS) / expressiveness.FOUR_VIEWS
    text, found = expressiveness.compare(models, options.people or expressiveness.PEOPLE)
    print(text, flush=True)
    record = {"expressiveness": found}
    if folder is not None:
        text, record["four_views"] = expressiveness.compare_views(models, folder, options.method)
        print(text)
    if options.json:
        options.json.write_text(json.dumps(record, indent=1), "utf-8")
    return 0
