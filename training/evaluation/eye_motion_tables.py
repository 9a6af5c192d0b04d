"""Two of the tables of Eye Motion: `evaluate eye-motion --table ldl` and `--table shape`.

ldl, the paper's table 2: what the local dynamic loss does, printed from the short runs of
`python3 -m training ablate eye-motion`. shape: `method_shapes` of the fit to the landmarks and of this method.
"""

from __future__ import annotations

import argparse
import json

from training.ablate import read_results
from training.evaluation import method_shapes
from training.evaluation.ablation_tables import check_complete, mean_figures

METHOD = "eye-motion"
LDL_ROWS = {"none": "without", "mouth": "+ mouth", "eyes-and-mouth": "+ eyes, + mouth"}
APERTURE_GAIN = 0.25
"""How much of the aperture error the loss is to take away."""


def ldl_table(options: argparse.Namespace) -> str:
    """Scan and aperture errors without the loss, with it on the mouth, and on eyes and mouth.

    Args:
        options: `json`, a file to write the figures to, or None.

    Raises:
        UsageError: an ablation has not been trained.
    """
    results = read_results(METHOD)
    check_complete(results, METHOD, LDL_ROWS)
    figures = {name: mean_figures([run["figures"] for run in results[name]]) for name in LDL_ROWS}
    lines = [f"{'local dynamic loss':18} {'lids mm':>8} {'lips mm':>8} {'both mm':>8} {'scan median':>12} {'mean':>6}"]
    for name, words in LDL_ROWS.items():
        row = figures[name]
        lines.append(
            f"{words:18} {row['lid_aperture_error_mm']:8.3f} {row['lip_aperture_error_mm']:8.3f} "
            f"{row['aperture_error_mm']:8.3f} {row['scan_median_mm']:12.3f} {row['scan_mean_mm']:6.3f}"
        )
    gain = 1 - figures["eyes-and-mouth"]["aperture_error_mm"] / figures["none"]["aperture_error_mm"]
    verdict = "reached" if gain >= APERTURE_GAIN else "not reached"
    lines.append(
        f"aperture error {100 * gain:.1f} % less with the loss (at least {100 * APERTURE_GAIN:.0f} %: {verdict})"
    )
    pictures, people = figures["none"]["pictures"], figures["none"]["people"]
    runs = min(len(results[name]) for name in LDL_ROWS)
    lines.append(
        f"{pictures:.0f} pictures of held-out synthetic people, {people:.0f} heads scanned, {runs} run(s) a row"
    )
    _write(options, figures)
    return "\n".join(lines)


def shape_table(options: argparse.Namespace) -> str:
    """As `method_shapes.shape_table`, of the fit and this method.

    Args:
        options: `data`, `people`, and `json`, a file to write the figures to, or None.
    """
    text, figures = method_shapes.shape_table(("fit", METHOD), options.people, options.data)
    _write(options, figures)
    return text


def _write(options: argparse.Namespace, figures: dict) -> None:
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1), "utf-8")
