"""The tables of the spectral method: `python3 -m training evaluate spectral --table ablation|shape`.

ablation, the paper's claim: what the vertices of known heads and 3D-ID add to the picture's terms, printed from the
short runs of `python3 -m training ablate spectral`. shape: the NoW protocol on people of ICT-FaceKit, of the mean head
and of every method of the pipeline, by itself and with the fit.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from pathlib import Path

import numpy as np

from backend.options import METHODS
from training.ablate import read_results
from training.evaluation import method_shapes
from training.evaluation.ablation_tables import check_complete, spread

TABLES = ("ablation", "shape")
METHOD = "spectral"
PICTURE, VERTICES, STRUCTURE = "2d", "2d+vertices", "2d+vertices+3did"
ABLATION_ROWS = {
    PICTURE: "2D only",
    VERTICES: "+ vertices",
    STRUCTURE: "+ vertices + 3D-ID",
    "one-encoder": "the same, one encoder as in the paper",
}
COLUMNS = {
    "scan": "synthetic, non-metrical",
    "metrical": "synthetic, metrical",
    "ict_scan": "ICT, non-metrical",
    "ict_metrical": "ICT, metrical",
}
PARTS = ("median", "mean", "std")


def main(arguments: list[str]) -> int:
    """`python3 -m training evaluate spectral`."""
    parser = argparse.ArgumentParser(prog="evaluate spectral", description=__doc__)
    parser.add_argument("--table", choices=TABLES, default="ablation")
    parser.add_argument("--data", type=Path, help="folder of test data; default $LIFEMASK_DATA")
    parser.add_argument("--people", type=int, default=24, help="people of ICT-FaceKit, for shape")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here too")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    if options.table == "ablation":
        text, figures = ablation_table()
    else:
        text, figures = method_shapes.shape_table(METHODS, options.people, options.data)
    print(text)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1), "utf-8")
    return 0


def ablation_table() -> tuple[str, dict]:
    """In words, and every run's figures by row.

    Raises:
        UsageError: an ablation of the paper has not been trained.
    """
    results = read_results(METHOD)
    check_complete(results, METHOD, (PICTURE, VERTICES, STRUCTURE))
    runs = {name: [run["figures"] for run in results[name]] for name in ABLATION_ROWS if name in results}
    lines = []
    for kind, words in COLUMNS.items():
        if not all(f"{kind}_median_mm" in run for rows in runs.values() for run in rows):
            continue
        lines += [f"{words + ', mm':40} {'median':>16} {'mean':>16} {'std':>16}"]
        lines += [f"{ABLATION_ROWS[name]:40} {_cells(rows, kind)}" for name, rows in runs.items()]
        lines += [_gain(runs, kind, VERTICES, PICTURE), _gain(runs, kind, STRUCTURE, VERTICES), ""]
    lines.append(f"{'':40} {'landmarks, px':>16} {'steps':>16}")
    for name, rows in runs.items():
        pixels, steps = (
            spread([run["landmark_error_px"] for run in rows]),
            spread([result["steps"] for result in results[name]], 0),
        )
        lines.append(f"{ABLATION_ROWS[name]:40} {pixels:>16} {steps:>16}")
    counts = runs[STRUCTURE][0]
    lines.append(
        f"NoW protocol, network alone, one picture a person: {counts['people']:.0f} synthetic people held out, "
        f"{counts.get('ict_people', 0):.0f} of ICT-FaceKit. Mean over {len(runs[STRUCTURE])} seeds, in brackets their "
        "standard deviation. Landmarks: pixels of a picture of 224"
    )
    return "\n".join(lines), runs


def _cells(runs: list[dict[str, float]], kind: str) -> str:
    return " ".join(f"{spread([run[f'{kind}_{part}_mm'] for run in runs]):>16}" for part in PARTS)


def _gain(runs: dict[str, list[dict[str, float]]], kind: str, with_it: str, without: str) -> str:
    """How much lower the median is, and whether in every seed."""
    name = f"{kind}_median_mm"
    pairs = [(run[name], other[name]) for run, other in zip(runs[with_it], runs[without], strict=False)]
    share = 1 - np.mean([own for own, _ in pairs]) / np.mean([other for _, other in pairs])
    lower = sum(own < other for own, other in pairs)
    added = ABLATION_ROWS[with_it].rsplit("+", 1)[1].strip()
    return f"  with {added} the median is {100 * share:.1f} % lower, in {lower} of {len(pairs)} seeds"
