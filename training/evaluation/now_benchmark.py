"""Predicted neutral heads against the scans of the NoW challenge: `python3 -m training evaluate now`.

Reads the challenge's folders, pairs every photograph of its list with the predicted mesh and the scan of that person,
measures by the protocol of `now.py` and prints median, mean and standard deviation over the points of all scans, for
all photographs and for each challenge. Beside the table it writes

    summary.csv     the table
    images.csv      each photograph: median, mean, deviation, points, size found; or why it was left out
    curve.csv/.png  cumulative error from 0 to 8 mm
    NAME_computed_distances.npy, NAME_metrical_computed_distances.npy and ..._CHALLENGE.npy
                    all distances, as the challenge's own evaluation writes them for its own plots

`--reconstruct` first makes the predictions from the challenge's photographs; `--bench` measures the speed on heads of
our own.
"""

from __future__ import annotations

import argparse
import csv
import json
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from backend.errors import LifemaskError, UsageError
from backend.face_models import load_face_model
from backend.face_models.morphable_model import MorphableModel, split_quads
from backend.options import DEFAULT_METHOD, METHODS
from backend.output_folder import check_folder_above
from training.data.disk import in_words
from training.data.folders import NOW_CHALLENGES
from training.data.mesh_files import read_mesh
from training.data.now_layout import (
    PREDICTIONS_TREE,
    NowFolder,
    NowPhotograph,
    find_prediction,
    open_now,
    read_landmarks,
    write_prediction,
)
from training.evaluation.compiled_surface import CompiledSurface
from training.evaluation.error_curves import cumulative_curve, draw_curves, read_curves, write_curves
from training.evaluation.now import ErrorSummary, crop_to_face, scan_error, seven_landmarks, summary_of
from training.evaluation.now_checks import (
    METRES_OF,
    OFF_THE_MESH,
    OFF_THE_SCAN,
    UNITS,
    check_landmark_order,
    check_landmarks_on,
    check_topology,
    check_unit,
)

logger = logging.getLogger(__name__)

NON_METRICAL, METRICAL = "non-metrical", "metrical"
ALL = "all"
SUSPICIOUS_MM = 4.0
"""Mean of a photograph from which on its landmarks are to be looked at: what wrong ones typically give."""
FACE_MM = np.array(
    [[-43, -1, 9], [-16, -4, 10], [16, -4, 10], [43, -1, 9], [0, -44, 28], [-25, -68, 17], [25, -68, 17]], float
)
"""The seven landmarks of the open head's mean face, to know those of a scan by."""
BENCH_SCAN_POINTS, BENCH_IN_CROP = 120_000, 60_000  # of a scan of NoW, about; half of them inside the crop is many
BENCH_NOISE_M = 0.0002
BENCH_WANTED = 20  # scans a minute
BENCH_SCANS = 2


@dataclass(frozen=True)
class Measuring:
    """How photographs are measured.

    Attributes:
        protocols: of `NON_METRICAL` and `METRICAL`.
        unit: of the predictions; matters for the metrical protocol alone.
        scan_unit: of the scans and their landmarks.
        face_model: whose topology the predictions have, None for any. Its outer skin alone counts, and its own
            landmarks serve where a prediction has none.
    """

    protocols: tuple[str, ...] = (NON_METRICAL, METRICAL)
    unit: str = "m"
    scan_unit: str = "mm"
    face_model: str | None = None


@dataclass(frozen=True)
class Pair:
    """A prediction and the scan it is measured against, as files."""

    photograph: NowPhotograph
    mesh: Path
    landmarks: Path | None
    scan: Path
    scan_landmarks: Path


@dataclass(frozen=True)
class Measured:
    """What became of one photograph.

    Attributes:
        photograph: which.
        distances_mm: by protocol, (N,) float32.
        scale: by protocol, what the prediction was multiplied by, from metres to metres.
        left_out: a sentence, where it could not be measured.
        code: of that error, or "".
    """

    photograph: NowPhotograph
    distances_mm: dict[str, np.ndarray] = field(default_factory=dict)
    scale: dict[str, float] = field(default_factory=dict)
    left_out: str = ""
    code: str = ""


def main(arguments: list[str]) -> int:
    """`python3 -m training evaluate now`. 0 where every photograph of the list was measured, else 1."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    if options.bench:
        print(bench(options.processes))
        return 0
    if options.now is None or options.predictions is None:
        raise UsageError("now-folders-missing", "Name both folders: --predictions PREDICTIONS --now NOW. See --help.")
    output = options.output or options.predictions / "results"
    name = options.name or options.predictions.resolve().name
    if Path(name).name != name:
        raise UsageError("bad-name", f"'{name}' becomes part of file names. Give --name without slashes.")
    for place in (output, *([options.json] if options.json else [])):
        check_folder_above(place)
    if options.face_model:
        load_face_model(options.face_model)  # said now if there is none
    folder = open_now(options.now, options.images)
    beside = {name: curve for path in options.beside for name, curve in read_curves(path).items()}
    if options.reconstruct:
        try:
            write_predictions(folder, options.predictions, _reconstruction(options.method, options.face_model))
        except OSError as error:
            raise in_words(error, options.predictions) from error
    protocols = tuple(options.protocols or (NON_METRICAL, METRICAL))
    measuring = Measuring(protocols, options.unit, options.scan_unit, options.face_model)
    found = measure(folder, options.predictions, measuring, options.challenge, options.processes)
    summaries = summarise(found, protocols)
    try:
        write_results(output, name, found, summaries, beside)
    except OSError as error:
        raise in_words(error, output) from error
    print(table(summaries, found))
    print(f"\nWritten to {output}")
    if options.json:
        options.json.write_text(json.dumps(_record(summaries, found), indent=1), "utf-8")
    return 1 if any(one.left_out for one in found) else 0


def measure(
    folder: NowFolder, predictions: Path, measuring: Measuring, challenge: str | None = None, processes: int = 1
) -> list[Measured]:
    """Measures every photograph of a list, or those of one challenge.

    Args:
        folder: the challenge's.
        predictions: laid out as `now_layout` says.
        measuring: how.
        challenge: one of `NOW_CHALLENGES`, None for all.
        processes: how many photographs at the same time.

    Returns:
        One for each photograph, in the order of the list; those that cannot be measured say why.

    Raises:
        UsageError: there is no scan for any photograph, no prediction at all ("no-predictions"), or not one could be
            measured ("nothing-measured", with the first reason).
    """
    photographs = [one for one in folder.photographs if challenge in (None, one.challenge)]
    if not photographs:
        raise UsageError("nothing-measured", f"The list names no photograph of the challenge {challenge}.")
    if not any(one.subject in folder.scans for one in photographs):
        raise UsageError(
            "no-scans",
            f"{folder.root} has no scan of any person of the list. The scans of the validation set belong into "
            f"{folder.root / 'scans'}; those of the test set are not given out: its makers measure predictions sent to "
            "them.",
        )
    if not predictions.is_dir():
        raise UsageError("no-predictions", f"There is no folder {predictions}. Expected:\n{PREDICTIONS_TREE}")
    pairs, left_out = [], {}
    for one in photographs:
        pair = _paired(folder, predictions, one, measuring)
        if isinstance(pair, Measured):
            left_out[one] = pair
        else:
            pairs.append(pair)
    if all(one.code == "no-prediction" for one in left_out.values()) and not pairs:
        raise UsageError(
            "no-predictions",
            f"{predictions} has no prediction of any of the {len(photographs)} photographs. Expected:\n"
            f"{PREDICTIONS_TREE}",
        )
    pairs.sort(key=lambda pair: pair.photograph.subject)  # so that each scan is read once
    by_photograph = left_out
    for number, found in enumerate(_measured(pairs, measuring, processes), 1):
        by_photograph[found.photograph] = found
        said = found.left_out or ", ".join(
            f"{kind} {np.median(distances):.2f} mm" for kind, distances in found.distances_mm.items()
        )
        logger.info("%d of %d, %s: %s", number, len(pairs), found.photograph.name, said)
    found = [by_photograph[one] for one in photographs]
    if all(one.left_out for one in found):
        first = next((one for one in found if one.code != "no-prediction"), found[0])
        raise UsageError(
            "nothing-measured", f"No photograph could be measured. {first.photograph.name}: {first.left_out}"
        )
    return found


def measure_pair(pair: Pair, measuring: Measuring) -> Measured:
    """Measures one prediction against its scan, once for each protocol.

    Raises:
        UsageError: files that cannot be read, a wrong unit, wrong landmarks, another topology.
    """
    scan, scan_landmarks = _scan(pair.scan, pair.scan_landmarks, measuring.scan_unit)
    mesh = read_mesh(pair.mesh)
    triangles, model = mesh.triangles, None
    if measuring.face_model:
        model = load_face_model(measuring.face_model)
        check_topology(mesh.vertices, mesh.triangles, model, f"The mesh {pair.mesh}")
        triangles = _skin(model)
    if pair.landmarks is not None:
        landmarks, whose = seven_landmarks(read_landmarks(pair.landmarks)), f"The landmarks {pair.landmarks}"
    else:
        landmarks, whose = seven_landmarks(model.landmarks68(mesh.vertices)), f"The landmarks of {pair.mesh}"
    check_landmark_order(landmarks, scan_landmarks, whose)
    check_landmarks_on(mesh.vertices, landmarks, OFF_THE_MESH, whose, f"the mesh {pair.mesh}")
    if METRICAL in measuring.protocols:
        check_unit(landmarks, measuring.unit, f"The prediction {pair.mesh}", "--unit")
    distances, scale = {}, {}
    for protocol in measuring.protocols:
        metrical = protocol == METRICAL
        metres = METRES_OF[measuring.unit] if metrical else _eye_corners(scan_landmarks) / _eye_corners(landmarks)
        try:
            error = scan_error(
                mesh.vertices * metres, triangles, landmarks * metres, scan, scan_landmarks, metrical=metrical
            )
        except (ValueError, np.linalg.LinAlgError) as error:
            raise UsageError("bad-mesh", f"The mesh {pair.mesh} cannot be laid on its scan: {error}") from error
        distances[protocol] = error.distances_mm.astype(np.float32)
        scale[protocol] = error.alignment.scale * metres / METRES_OF[measuring.unit]
    return Measured(pair.photograph, distances, scale)


def summarise(found: list[Measured], protocols: tuple[str, ...]) -> dict[str, dict[str, ErrorSummary]]:
    """Figures by protocol and challenge ("all" first) of what was measured."""
    summaries: dict[str, dict[str, ErrorSummary]] = {}
    for protocol in protocols:
        rows = {ALL: [one for one in found if not one.left_out]}
        rows |= {name: [one for one in rows[ALL] if one.photograph.challenge == name] for name in NOW_CHALLENGES}
        summaries[protocol] = {
            name: summary_of([one.distances_mm[protocol] for one in members])
            for name, members in rows.items()
            if members
        }
    return summaries


def table(summaries: dict[str, dict[str, ErrorSummary]], found: list[Measured]) -> str:
    """The figures in words and columns, and what is missing from them."""
    lines = []
    for protocol, rows in summaries.items():
        lines.append(
            f"{'NoW, ' + protocol + ', mm':28} {'median':>7} {'mean':>7} {'std':>7} {'photographs':>12} {'points':>11}"
        )
        for name, row in rows.items():
            figures = f"{row.median:7.3f} {row.mean:7.3f} {row.std:7.3f} {row.scans:12d} {row.points:11d}"
            lines.append(f"  {name:26} {figures}")
    left_out = [one for one in found if one.left_out]
    if left_out:
        lines.append(
            f"\n{len(left_out)} of {len(found)} photographs are not in these figures, which cannot be compared with "
            "published ones:"
        )
        lines += [f"  {one.photograph.name}: {one.left_out}" for one in left_out[:5]]
        if len(left_out) > 5:
            lines.append(f"  ... and {len(left_out) - 5} more, see images.csv")
    odd = [
        (one, protocol, float(distances.mean(dtype=np.float64)))
        for one in found
        for protocol, distances in one.distances_mm.items()
        if distances.mean(dtype=np.float64) > SUSPICIOUS_MM
    ]
    if odd:
        lines.append(
            f"\nA mean above {SUSPICIOUS_MM:.0f} mm is more often a landmark in the wrong place than a bad head. See:"
        )
        lines += [f"  {one.photograph.name} ({protocol}): {mean:.1f} mm" for one, protocol, mean in odd[:5]]
    return "\n".join(lines)


def write_results(
    output: Path,
    name: str,
    found: list[Measured],
    summaries: dict[str, dict[str, ErrorSummary]],
    beside: dict[str, np.ndarray] | None = None,
) -> None:
    """Writes the files of the module's description into `output`, which is made where it is not there.

    Args:
        output: the folder.
        name: of the method, for file names and legends.
        found, summaries: see `measure`, `summarise`.
        beside: further curves to draw, by name.
    """
    output.mkdir(parents=True, exist_ok=True)
    with (output / "summary.csv").open("w", newline="", encoding="utf-8") as stream:
        rows = csv.writer(stream)
        rows.writerow(["protocol", "challenge", "median_mm", "mean_mm", "std_mm", "photographs", "points"])
        for protocol, by_challenge in summaries.items():
            for challenge, row in by_challenge.items():
                figures = (f"{value:.6f}" for value in (row.median, row.mean, row.std))
                rows.writerow([protocol, challenge, *figures, row.scans, row.points])
    with (output / "images.csv").open("w", newline="", encoding="utf-8") as stream:
        rows = csv.writer(stream)
        rows.writerow(["image", "protocol", "median_mm", "mean_mm", "std_mm", "points", "scale", "left_out"])
        for one in found:
            if one.left_out:
                rows.writerow([one.photograph.name, "", "", "", "", "", "", one.left_out])
            for protocol, distances in one.distances_mm.items():
                row = summary_of([distances])
                figures = (f"{value:.6f}" for value in (row.median, row.mean, row.std))
                rows.writerow([one.photograph.name, protocol, *figures, row.points, f"{one.scale[protocol]:.6f}", ""])
    curves = {}
    missing = sum(bool(one.left_out) for one in found)
    for protocol, by_challenge in summaries.items():
        kind = "_metrical" if protocol == METRICAL else ""
        for challenge in by_challenge:
            distances = [
                one.distances_mm[protocol]
                for one in found
                if not one.left_out and challenge in (ALL, one.photograph.challenge)
            ]
            row = f"{name}, {protocol}" + ("" if challenge == ALL else f", {challenge}")
            curves[row] = cumulative_curve(np.concatenate(distances))
            ending = "" if challenge == ALL else f"_{challenge}"
            np.save(
                output / f"{name}{kind}_computed_distances{ending}.npy",
                {"computed_distances": distances, "num_missing_files": missing},
                allow_pickle=True,
            )
    write_curves(output / "curve.csv", curves)
    drawn = {row: curve for row, curve in curves.items() if row.count(",") == 1} | (beside or {})
    draw_curves(output / "curve.png", drawn, "NoW")


def write_predictions(
    folder: NowFolder, predictions: Path, reconstruct: Callable[[Path], tuple[np.ndarray, np.ndarray, np.ndarray]]
) -> int:
    """Makes the predictions that are not there yet, from the challenge's photographs, each by itself.

    Args:
        folder: the challenge's.
        predictions: where they go; what is there is kept, so that a stopped run goes on.
        reconstruct: a picture's path to vertices (V, 3) in metres of the neutral head, triangles (T, 3) and seven
            landmarks (7, 3) in metres. A LifemaskError leaves that photograph out.

    Returns:
        How many were written.
    """
    written = 0
    for number, photograph in enumerate(folder.photographs, 1):
        if find_prediction(predictions, photograph)[0] is not None:
            continue
        try:
            head = reconstruct(folder.picture(photograph))
        except LifemaskError as error:
            logger.warning("%s has no prediction: %s", photograph.name, error.sentence)
            continue
        write_prediction(predictions, photograph, *head)
        written += 1
        logger.info("%d of %d predicted: %s", number, len(folder.photographs), photograph.name)
    return written


def bench(processes: int) -> str:
    """Speed on scans of NoW's size, made of random heads of the open head: a table to print.

    Seconds of the processor say how fast a core that works on nothing else is; on a computer that does other things the
    rate by the clock is less.
    """
    model = load_face_model("open_head")
    pairs = [bench_pair(model, seed) for seed in range(BENCH_SCANS)]
    _bench_start(0)
    lines = [
        f"{'scans of ' + format(BENCH_SCAN_POINTS, ',') + ' points':34} {'cropped':>8} {'scans/min':>10} {'CPU s':>6}"
    ]
    for protocol in (NON_METRICAL, METRICAL):
        started, used = time.perf_counter(), time.process_time()
        points = [_bench_one(pair, protocol) for pair in pairs]
        rate = 60 * len(pairs) / (time.perf_counter() - started)
        seconds = (time.process_time() - used) / len(pairs)
        lines.append(f"{protocol + ', one process':34} {np.mean(points):8.0f} {rate:10.1f} {seconds:6.2f}")
        if processes > 1:
            with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
                list(pool.map(_bench_start, range(processes)))  # starting is not measured
                started, work = time.perf_counter(), (pairs * processes)[: 2 * processes]
                list(pool.map(_bench_one, work, [protocol] * len(work)))
                rate = 60 * len(work) / (time.perf_counter() - started)
            lines.append(f"{protocol + f', {processes} processes':34} {np.mean(points):8.0f} {rate:10.1f}")
    lines.append(f"wanted: at least {BENCH_WANTED} scans a minute on two cores")
    return "\n".join(lines)


def _bench_start(_: int) -> None:
    CompiledSurface(np.eye(3), np.array([[0, 1, 2]])).closest(np.zeros((1, 3)))  # compiled once, kept on disk
    time.sleep(0.5)  # long enough for every process of the pool to be started


def bench_pair(model: MorphableModel, seed: int) -> tuple[np.ndarray, ...]:
    """A random head and points of another's skin: vertices, triangles, landmarks, scan, its landmarks; metres."""
    generator = np.random.default_rng(seed)
    heads = [model.neutral(generator.normal(size=model.identity_size).astype(np.float32)) for _ in range(2)]
    landmarks = [seven_landmarks(model.landmarks68(head)) for head in heads]
    triangles = _skin(model)
    corners = heads[1].astype(np.float64)[triangles]
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    inside, outside = [], []
    while sum(map(len, inside)) < BENCH_IN_CROP:
        weights = generator.dirichlet([1.0, 1.0, 1.0], BENCH_SCAN_POINTS)
        chosen = corners[generator.choice(len(area), BENCH_SCAN_POINTS, p=area / area.sum())]
        points = (chosen * weights[:, :, None]).sum(1) + BENCH_NOISE_M * generator.normal(size=(BENCH_SCAN_POINTS, 3))
        near = crop_to_face(points, landmarks[1])
        inside.append(points[near])
        outside.append(points[~near])
    rest = np.concatenate(outside)[: BENCH_SCAN_POINTS - BENCH_IN_CROP]
    scan = np.concatenate([*inside])[:BENCH_IN_CROP]
    return heads[0], triangles, landmarks[0], np.concatenate([scan, rest]).astype(np.float32), landmarks[1]


def _bench_one(pair, protocol: str) -> int:
    return int(scan_error(*pair, metrical=protocol == METRICAL).cropped.sum())


def _paired(folder: NowFolder, predictions: Path, photograph: NowPhotograph, measuring: Measuring) -> Pair | Measured:
    mesh, landmarks = find_prediction(predictions, photograph)
    if mesh is None:
        return Measured(
            photograph, left_out=f"There is no {predictions / photograph.name}.obj or .ply.", code="no-prediction"
        )
    if landmarks is None and not measuring.face_model:
        return Measured(
            photograph,
            left_out=f"There are no landmarks beside {mesh}: {mesh.stem}.npy or .txt with seven points. For "
            "meshes of a face model known here, --face-model NAME places them.",
            code="no-landmarks",
        )
    scan, scan_landmarks = folder.scans.get(photograph.subject), folder.scan_landmarks.get(photograph.subject)
    if scan is None or scan_landmarks is None:
        what = "scan" if scan is None else "landmarks of the scan"
        return Measured(photograph, left_out=f"There is no {what} of {photograph.subject}.", code="no-scan")
    return Pair(photograph, mesh, landmarks, scan, scan_landmarks)


def _measured(pairs: list[Pair], measuring: Measuring, processes: int) -> Iterator[Measured]:
    if processes <= 1 or len(pairs) <= 1:
        for pair in pairs:
            yield _measure_or_say(pair, measuring)
        return
    with ProcessPoolExecutor(min(processes, len(pairs)), get_context("spawn")) as pool:
        try:
            yield from pool.map(_measure_or_say, pairs, [measuring] * len(pairs))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _measure_or_say(pair: Pair, measuring: Measuring) -> Measured:
    try:
        return measure_pair(pair, measuring)
    except LifemaskError as error:
        return Measured(pair.photograph, left_out=error.sentence, code=error.code)


@lru_cache(maxsize=1)
def _scan(path: Path, landmarks_path: Path, unit: str) -> tuple[np.ndarray, np.ndarray]:
    """Points (S, 3) float32 and seven landmarks (7, 3) of a scan, metres, found to be a person's."""
    landmarks = seven_landmarks(read_landmarks(landmarks_path))
    check_unit(landmarks, unit, f"The scan {path}", "--scan-unit")
    check_landmark_order(landmarks, FACE_MM, f"The landmarks {landmarks_path}")
    points = read_mesh(path, needs_triangles=False).vertices
    check_landmarks_on(points, landmarks, OFF_THE_SCAN, f"The landmarks {landmarks_path}", f"the scan {path}")
    return (points * METRES_OF[unit]).astype(np.float32), landmarks * METRES_OF[unit]


def _skin(model: MorphableModel) -> np.ndarray:
    topology = model.topology
    faces = topology.faces[topology.part("skin")] if "skin" in topology.part_names else topology.faces
    return split_quads(faces)


def _eye_corners(landmarks: np.ndarray) -> float:
    return float(np.linalg.norm(landmarks[3] - landmarks[0]))


def _reconstruction(method: str, face_model: str | None) -> Callable:
    """Reads a picture and fits the face model to it."""
    from backend.photographs import load_photograph
    from backend.pipeline import fit_photographs

    model = load_face_model(face_model or "open_head")
    triangles = _skin(model)

    def reconstruct(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        picture = load_photograph(path)
        head = fit_photographs(
            [picture.image], [picture.focal_35mm], method, face_model=face_model or "open_head"
        ).neutral
        return head, triangles, seven_landmarks(model.landmarks68(head))

    return reconstruct


def _record(summaries: dict[str, dict[str, ErrorSummary]], found: list[Measured]) -> dict:
    rows = {protocol: {name: asdict(row) for name, row in rows.items()} for protocol, rows in summaries.items()}
    return {"figures": rows, "left_out": {one.photograph.name: one.left_out for one in found if one.left_out}}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python3 -m training evaluate now",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--predictions", type=Path, metavar="FOLDER", help="SUBJECT/CHALLENGE/IMG.obj and .npy")
    parser.add_argument("--now", type=Path, metavar="FOLDER", help="of the challenge: list, scans, scans_lmks_onlypp")
    parser.add_argument("--images", metavar="LIST", help="validation (default), test, or a list of your own")
    parser.add_argument("--challenge", choices=NOW_CHALLENGES, help="only this one; default all")
    parser.add_argument("--protocols", nargs="+", choices=(NON_METRICAL, METRICAL), help="default both")
    parser.add_argument("--unit", choices=UNITS, default="m", help="of the predictions, for metrical; default m")
    parser.add_argument("--scan-unit", choices=UNITS, default="mm", help="of the scans; default mm")
    parser.add_argument("--face-model", metavar="NAME", help="predictions are this model's: checked; its skin counts")
    parser.add_argument("--output", type=Path, metavar="FOLDER", help="of the results; default PREDICTIONS/results")
    parser.add_argument("--name", help="of the method, in file names; default the name of the predictions' folder")
    parser.add_argument(
        "--beside", type=Path, nargs="+", default=[], metavar="CSV", help="curve.csv of others, drawn too"
    )
    parser.add_argument(
        "--reconstruct", action="store_true", help="make missing predictions from the photographs first"
    )
    parser.add_argument("--method", choices=METHODS, default=DEFAULT_METHOD, help="with --reconstruct")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here too")
    parser.add_argument("--bench", action="store_true", help="measure the speed on this machine, nothing else")
    return parser
