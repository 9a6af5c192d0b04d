"""Draws what was measured while training, one small diagram for each name: `python3 -m training curves RUN ...`."""

import argparse
import html
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from backend.errors import UsageError
from backend.output_folder import check_folder_above
from training.runs.folder import RunFolder
from training.runs.metrics_file import read_rows
from training.suggestions import unknown

COLUMNS = 3
WIDTH, HEIGHT = 280, 190  # of one diagram, pixels
LEFT, RIGHT, TOP, BOTTOM = 60, 12, 26, 24  # margins in it
COLOURS = ("#1f6fb4", "#d9661f", "#2f9a4a", "#b23a8e", "#7a6a2b")
POINTS = 120
"""Of a curve; each is the mean of the values around it."""
LOGARITHMIC_FROM = 20.0
"""Times its lowest value that a curve's highest has to be for a logarithmic axis."""


@dataclass(frozen=True)
class Curve:
    """A measured quantity of one run: steps (N,) and values (N,), at most `POINTS` of them."""

    steps: np.ndarray
    values: np.ndarray


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python3 -m training curves", description=__doc__)
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="folders of runs, to be drawn together")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="an SVG file")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="such as train/photo validation/closure_error")
    chosen = parser.parse_args(arguments)
    check_folder_above(chosen.output)
    runs = {path.name: read_curves(path) for path in chosen.runs}
    chosen.output.parent.mkdir(parents=True, exist_ok=True)
    chosen.output.write_text(draw(runs, chosen.only), "utf-8")
    print(chosen.output)
    return 0


def read_curves(path: Path) -> dict[str, Curve]:
    """Everything in a run's `metrics.csv` by name, thinned to `POINTS` means. UsageError where there is none."""
    table = RunFolder(path).metrics_table
    if not table.is_file():
        raise UsageError("no-metrics", f"{path} is no folder of a run that has measured anything: no {table.name}.")
    values: dict[str, list[tuple[int, float]]] = {}
    for step, name, value in read_rows(table):
        if math.isfinite(value):
            values.setdefault(name, []).append((step, value))
    return {name: thinned(np.array(pairs, np.float64)) for name, pairs in values.items()}


def thinned(pairs: np.ndarray) -> Curve:
    """A curve of at most `POINTS` means out of steps and values (N, 2)."""
    parts = np.array_split(pairs, min(len(pairs), POINTS))
    means = np.stack([part.mean(axis=0) for part in parts])
    return Curve(means[:, 0], means[:, 1])


def draw(runs: dict[str, dict[str, Curve]], only: Sequence[str] | None = None) -> str:
    """An SVG drawing, a diagram for each name that any run has, training first.

    Args:
        runs: curves by name, for each run by its own.
        only: the names to draw; None for all but the learning rate.

    Raises:
        UsageError: no run has measured such a name.
    """
    there = sorted({name for curves in runs.values() for name in curves}, key=lambda name: (name[0] != "t", name))
    for name in only or ():
        if name not in there:
            raise unknown("measure", name, there, "in these runs")
    names = list(only or [name for name in there if name != "train/learning_rate"])
    rows = math.ceil(len(names) / COLUMNS)
    legend = 24 if len(runs) > 1 else 0
    width, height = COLUMNS * WIDTH, rows * HEIGHT + legend
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        'font-family="sans-serif" font-size="11">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
    ]
    for index, name in enumerate(names):
        row, column = divmod(index, COLUMNS)
        parts.append(f'<g transform="translate({column * WIDTH} {row * HEIGHT})">')
        parts += _diagram(name, [curves.get(name) for curves in runs.values()])
        parts.append("</g>")
    if legend:
        for index, name in enumerate(runs):
            x, y = LEFT + index * width / len(runs), height - 8
            parts.append(f'<text x="{x:.0f}" y="{y}" fill="{_colour(index)}">— {html.escape(name)}</text>')
    return "\n".join([*parts, "</svg>", ""])


def _diagram(name: str, curves: Sequence[Curve | None]) -> list[str]:
    drawn = [curve for curve in curves if curve is not None]
    values = np.concatenate([curve.values for curve in drawn])
    last = max(max(curve.steps[-1] for curve in drawn), 1)
    is_logarithmic = values.min() > 0 and values.max() > LOGARITHMIC_FROM * values.min()
    scale = np.log10 if is_logarithmic else np.asarray
    low, high = float(scale(values.min())), float(scale(values.max()))
    if high - low < 1e-12:
        low, high = low - 0.5, high + 0.5
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM

    def place(steps: np.ndarray, heights: np.ndarray) -> np.ndarray:
        x = LEFT + (right - LEFT) * np.asarray(steps) / last
        y = bottom - (bottom - TOP) * (np.asarray(heights) - low) / (high - low)
        return np.stack([x, y], axis=-1)

    kind = ", logarithmic" if is_logarithmic else ""
    parts = [f'<text x="{LEFT}" y="16" font-weight="bold">{html.escape(name)}{kind}</text>']
    for height in np.linspace(low, high, 4):
        y = float(place(np.zeros(1), np.array([height]))[0, 1])
        shown = 10**height if is_logarithmic else height
        parts.append(f'<line x1="{LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>')
        parts.append(f'<text x="{LEFT - 5}" y="{y + 4:.1f}" text-anchor="end" fill="#555">{shown:.3g}</text>')
    parts.append(f'<text x="{LEFT}" y="{HEIGHT - 8}" fill="#555">0</text>')
    parts.append(f'<text x="{right}" y="{HEIGHT - 8}" text-anchor="end" fill="#555">{last:,.0f} steps</text>')
    for index, curve in enumerate(curves):
        if curve is None:
            continue
        points = place(curve.steps, scale(curve.values))
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{_colour(index)}" stroke-width="1.5"/>')
        if len(points) < 30:
            parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2" fill="{_colour(index)}"/>' for x, y in points]
    return parts


def _colour(index: int) -> str:
    return COLOURS[index % len(COLOURS)]
