"""The tables of deep fusion: `python3 -m training evaluate deep-fusion --table ablation|views|angles`, and `--bench`.

ablation, the paper's table 3: how views are fused, the backbone, the mask and 3D landmarks, v1 to v6, printed from the
short runs of `python3 -m training ablate deep-fusion`. views: one view against two and three; angles, the paper's table
4: views from aside that are turned less or more; both of the trained weights, see `deep_fusion_people.py`. bench:
how long three photographs take, see `deep_fusion_bench.py`.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from backend.environment import home
from backend.face_parsing import SHIPPED
from backend.methods.deep_fusion import DEFAULT_WEIGHTS, METHOD
from backend.view_order import order_views
from training.ablate import read_results
from training.evaluation.ablation_tables import check_complete, spread
from training.evaluation.data_folder import data_folder
from training.evaluation.ict_people import YAWS_DEGREES
from training.evaluation.shape import ICT_FILE

if TYPE_CHECKING:
    from backend.methods.deep_fusion import DeepFusion

TABLES = ("ablation", "views", "angles")
KINDS = ("synthetic", "ict")
SYNTHETIC_PEOPLE = {"views": 64, "angles": 32}
VARIANTS = {
    "v1": "v1 convolutions, concatenated",
    "v2": "v2 U-Net of each view, concatenated",
    "v3": "v3 ResNet-50 for RedNet-50",
    "v4": "v4 without mask",
    "v5": "v5 without 3D landmarks",
    "v6": "v6 all of it",
}
PAPER_RMSE_MM = {"v1": 1.5415, "v2": 1.5207, "v3": 1.5206, "v4": 1.4656, "v5": 1.5770, "v6": 1.4040}
"""Table 3, on Pixel-Face."""
WHOLE = "v6"
CLAIMS = {
    "v1": "the fusion beats convolutions",
    "v2": "the fusion beats U-Nets",
    "v3": "RedNet beats ResNet",
    "v4": "the mask helps",
    "v5": "3D landmarks help",
}
"""What the paper concludes from each row being worse than v6."""
COLUMNS = {
    "rmse_mm": "RMSE",
    "scan_median_mm": "median",
    "single_scan_median_mm": "1 view",
    "ict_rmse_mm": "ICT RMSE",
    "ict_scan_median_mm": "ICT median",
    "ict_single_scan_median_mm": "ICT 1 view",
}
ORDERED_BY = {"rmse_mm": "synthetic people", "ict_rmse_mm": "people of ICT-FaceKit"}

Runs = Mapping[str, Sequence[Mapping[str, Any]]]


def main(arguments: list[str]) -> int:
    """`python3 -m training evaluate deep-fusion`."""
    parser = argparse.ArgumentParser(prog="evaluate deep-fusion", description=__doc__)
    parser.add_argument("--table", choices=TABLES, default="ablation")
    parser.add_argument("--bench", action="store_true", help="no table: how long three photographs take here")
    parser.add_argument("--paper", action="store_true", help="with --bench: networks as large as the paper's, too")
    parser.add_argument("--data", type=Path, help="folder of test data; default $LIFEMASK_DATA")
    parser.add_argument("--weights", default=DEFAULT_WEIGHTS, help=f"name or file; default {DEFAULT_WEIGHTS}")
    parser.add_argument("--parser", default=SHIPPED, metavar="FILE", help=f"that parses faces; default {SHIPPED}")
    parser.add_argument("--only", choices=KINDS, nargs="+", default=KINDS, help="kinds of people, for views and angles")
    parser.add_argument("--people", type=int, default=24, help="people of ICT-FaceKit")
    parser.add_argument(
        "--synthetic", type=int, help="synthetic people; default " + _of_each(SYNTHETIC_PEOPLE, "{1} for {0}")
    )
    parser.add_argument(
        "--fit",
        action=argparse.BooleanOptionalAction,
        help="people of ICT-FaceKit with the fit, too; default for views. The fit uses the weights that ship",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here too")
    options = parser.parse_args(arguments)
    check(parser, options)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    if options.bench:
        from training.evaluation.deep_fusion_bench import measure_bench

        text, figures = measure_bench(options.weights, options.parser, paper=options.paper)
    elif options.table == "ablation":
        text, figures = ablation_table()
    else:
        text, figures = people_table(options)
    print(text)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1), "utf-8")
    return 0


def check(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """Fills in what was left to the table, and refuses what does not go together."""
    own = options.weights != DEFAULT_WEIGHTS or options.parser != SHIPPED
    if options.people < 1 or (options.synthetic is not None and options.synthetic < 1):
        parser.error("--people and --synthetic must be 1 or more.")
    if options.paper and not options.bench:
        parser.error("--paper is a part of --bench.")
    if own and options.fit:
        parser.error("--fit uses the weights that ship: leave out --weights and --parser, or --fit.")
    if options.fit is None:
        options.fit = options.table == "views" and not own
    options.synthetic = options.synthetic or SYNTHETIC_PEOPLE.get(options.table)


def people_table(options: argparse.Namespace) -> tuple[str, dict[str, Any]]:
    """The table of views or of angles, and its figures.

    Args:
        options: `table`, `only`, `people`, `synthetic`, `fit`, `data`, `weights`, `parser`.

    Raises:
        UsageError: data or weights are missing.
    """
    from backend.methods.deep_fusion import DeepFusion

    method = DeepFusion.load(options.weights, parser=options.parser)
    return measured(method, options)


def measured(method: DeepFusion, options: argparse.Namespace) -> tuple[str, dict[str, Any]]:
    """As `people_table`, of a method."""
    from training.evaluation import deep_fusion_people as people

    angles = options.table == "angles"
    found = {}
    if "ict" in options.only:
        path = data_folder(options.data, ICT_FILE) / ICT_FILE  # before an hour of synthetic people
    if "synthetic" in options.only:
        shown = people.rows_of_angles if angles else lambda number: people.rows_of_counts()
        yaws = people.TURNED if angles else None
        found[people.SYNTHETIC] = people.measure_synthetic(method, options.synthetic, shown, yaws)
    if "ict" in options.only:
        places = order_views(YAWS_DEGREES).slots
        shown = people.rows_of_angles if angles else lambda number: people.rows_of_counts(places)
        yaws = people.TURNED if angles else YAWS_DEGREES
        fit = fitted if options.fit else None
        alone, with_fit = people.measure_ict(
            method, path, options.people, shown, yaws, home() / "cache/evaluation", fit
        )
        found |= {people.ICT: alone} | ({people.ICT_WITH_FIT: with_fit} if fit else {})
    return people.table(found)


def fitted(pictures: list[np.ndarray], focal_35mm: list[float | None]) -> np.ndarray:
    """The neutral head (V, 3) that the pipeline makes of photographs by deep fusion."""
    from backend.pipeline import fit_photographs

    return fit_photographs(pictures, focal_35mm, METHOD).neutral


def ablation_table() -> tuple[str, dict[str, Any]]:
    """In words, and every run's figures by row.

    Raises:
        UsageError: an ablation of the paper has not been trained.
    """
    results = read_results(METHOD)
    check_complete(results, METHOD, VARIANTS)
    runs = {name: sorted(results[name], key=lambda run: run["seed"]) for name in VARIANTS}
    columns = [name for name in COLUMNS if all(name in run["figures"] for rows in runs.values() for run in rows)]
    lines = [f"{'':36} {'paper, RMSE':>11} " + " ".join(f"{COLUMNS[name]:>14}" for name in columns) + f" {'steps':>7}"]
    for name, words in VARIANTS.items():
        cells = " ".join(f"{spread([run['figures'][column] for run in runs[name]]):>14}" for column in columns)
        steps = spread([runs[name][0]["steps"]], 0)
        lines.append(f"{words:36} {PAPER_RMSE_MM[name]:11.4f} {cells} {steps:>7}")
    figures, seeds = runs[WHOLE][0]["figures"], {name: len(rows) for name, rows in runs.items()}
    lines.append(
        f"mm, network alone, three views if not said otherwise: {figures['people']:.0f} synthetic people held out, "
        f"{figures.get('ict_people', 0):.0f} of ICT-FaceKit. RMSE: to planes, as the paper says; its own column is of "
        f"Pixel-Face. Median: NoW protocol. Mean over {_of_each(seeds, '{1} ({0})')} seeds, in brackets "
        "their standard deviation"
    )
    lines += [orderings(runs, column, people) for column, people in ORDERED_BY.items() if column in columns]
    return "\n".join(lines), {name: [dict(run["figures"]) for run in rows] for name, rows in runs.items()}


def orderings(runs: Runs, column: str, people: str) -> str:
    """Which of the paper's orderings hold, in a sentence. Rows are compared over the seeds that both were trained with.

    Args:
        runs: by variant, results with "seed" and "figures".
        column: the figure that orders them.
        people: whose, in words.
    """
    held, failed = [], []
    for name, claim in CLAIMS.items():
        pairs = list(_paired(runs[WHOLE], runs[name], column))
        whole, other = np.mean(pairs, axis=0)
        lower = sum(own < theirs for own, theirs in pairs)
        seeds = f"{lower} of {len(pairs)} seeds"
        words = f"{claim} ({WHOLE} {whole:.3f}, {name} {other:.3f}; lower in {seeds})"
        (held if whole < other else failed).append(words)
    means = {name: float(np.mean([run["figures"][column] for run in rows])) for name, rows in runs.items()}
    return (
        f"By RMSE of {people} {len(held)} of the paper's {len(CLAIMS)} orderings hold: {'; '.join(held) or 'none'}. "
        f"Not: {'; '.join(failed) or 'none'}. Best first {', '.join(sorted(means, key=means.get))}; in the paper "
        f"{', '.join(sorted(PAPER_RMSE_MM, key=PAPER_RMSE_MM.get))}."
    )


def _paired(runs: Sequence[Mapping[str, Any]], others: Sequence[Mapping[str, Any]], column: str):
    """The figures of two rows for each seed that both have; of all against all where they share none."""
    by_seed, other_by_seed = ({run["seed"]: run["figures"][column] for run in rows} for rows in (runs, others))
    if shared := sorted(by_seed.keys() & other_by_seed.keys()):
        return [(by_seed[seed], other_by_seed[seed]) for seed in shared]
    return [(own, other) for own in by_seed.values() for other in other_by_seed.values()]


def _of_each(counts: Mapping[str, int], words: str) -> str:
    return ", ".join(words.format(name, count) for name, count in counts.items())
