"""How much of the points has at most which error: curves as tables and as a drawing."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from backend.errors import UsageError

LAST_MM = 8.0  # as NoW draws it
STEP_MM = 0.01
WIDTH, HEIGHT = 900, 640
LEFT, RIGHT, TOP, BOTTOM = 90, 30, 30, 80
LARGER = 2  # drawn so many times as large and made smaller, for smooth lines
COLOURS = ("#1f6fb4", "#d9661f", "#2f9a4a", "#b23a8e", "#7a6a2b", "#444444", "#c23030", "#2aa5a5")
LARGEST_TABLE_BYTES = 5_000_000


def errors_mm() -> np.ndarray:
    """(801,) float64: the errors at which a curve is known, 0 to 8 mm."""
    return np.arange(round(LAST_MM / STEP_MM) + 1) * STEP_MM


def cumulative_curve(distances_mm: np.ndarray) -> np.ndarray:
    """Percentage of the distances (N,) that are at most each of `errors_mm`: (801,) float64, of all, larger ones too.

    Raises:
        ValueError: there is no distance.
    """
    if not len(distances_mm):
        raise ValueError("There is no error to draw a curve of.")
    return 100 * np.searchsorted(np.sort(distances_mm), errors_mm(), side="right") / len(distances_mm)


def write_curves(path: Path, curves: dict[str, np.ndarray]) -> None:
    """A CSV table: `error_mm` and a column of percentages for each curve by its name."""
    with path.open("w", newline="", encoding="utf-8") as stream:
        table = csv.writer(stream)
        table.writerow(["error_mm", *curves])
        for error, *shares in zip(errors_mm(), *curves.values(), strict=True):
            table.writerow([f"{error:.2f}", *(f"{share:.4f}" for share in shares)])


def read_curves(path: Path) -> dict[str, np.ndarray]:
    """The curves of a table that `write_curves` wrote. UsageError "bad-curves" where it is none."""
    try:
        if path.stat().st_size > LARGEST_TABLE_BYTES:
            raise ValueError("too large")
        with path.open(newline="", encoding="utf-8") as stream:
            names, *rows = list(csv.reader(stream))
        numbers = np.array(rows, np.float64)
        if names[0] != "error_mm" or not np.allclose(numbers[:, 0], errors_mm()):
            raise ValueError("other columns")
    except (OSError, ValueError, IndexError, UnicodeDecodeError) as error:
        raise UsageError(
            "bad-curves", f"{path} is no curve.csv of an earlier `evaluate now` ({error}). Name such a file."
        ) from error
    return {name: numbers[:, column] for column, name in enumerate(names) if column}


def draw_curves(path: Path, curves: dict[str, np.ndarray], title: str = "") -> None:
    """A PNG of 900 x 640 pixels: error in millimetres to the right, percentage of points upwards, a legend.

    Args:
        path: of the picture.
        curves: (801,) percentages by name, see `cumulative_curve`.
        title: over it.
    """
    picture = Image.new("RGB", (WIDTH * LARGER, HEIGHT * LARGER), "white")
    draw = ImageDraw.Draw(picture)
    small, large = (ImageFont.load_default(size * LARGER) for size in (15, 18))
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM

    def place(error, share):
        x = LEFT + (right - LEFT) * np.asarray(error) / LAST_MM
        y = bottom - (bottom - TOP) * np.asarray(share) / 100
        return np.stack([x, y], -1) * LARGER

    def text(x, y, words, font, anchor):
        draw.text((x * LARGER, y * LARGER), words, "#333333", font, anchor)

    for share in range(0, 101, 20):
        draw.line([tuple(place(at, share)) for at in (0, LAST_MM)], "#dddddd", LARGER)
        text(LEFT - 8, place(0, share)[1] / LARGER, f"{share}", small, "rm")
    for error in range(int(LAST_MM) + 1):
        draw.line([tuple(place(error, at)) for at in (0, 100)], "#dddddd", LARGER)
        text(place(error, 0)[0] / LARGER, bottom + 8, f"{error}", small, "mt")
    text((LEFT + right) / 2, HEIGHT - 34, "Error, mm", large, "mt")
    text(12, TOP - 22, "Points, %", large, "lt")
    text(right, TOP - 22, title, small, "rt")
    for index, (name, shares) in enumerate(curves.items()):
        colour = COLOURS[index % len(COLOURS)]
        draw.line([tuple(point) for point in place(errors_mm(), shares)], colour, 2 * LARGER, joint="curve")
        y = bottom - 24 * (len(curves) - index)
        draw.line([(LARGER * (right - 330), LARGER * y), (LARGER * (right - 300), LARGER * y)], colour, 3 * LARGER)
        text(right - 292, y, name[:40], small, "lm")
    picture.resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS).save(path)
