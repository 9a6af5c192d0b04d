"""Sentences broken into lines that fit the sidebar: Blender's labels do not wrap."""

from __future__ import annotations

import functools

import bpy

MARGIN_POINTS = 50
"""Borders of the panel, the tabs beside it and the scroll bar, at scale 1."""

BOX_POINTS = 16
"""What a box or an opened part of a panel takes off the width."""

ICON_POINTS = 22
SMALLEST_WIDTH_POINTS = 80
FONT_POINTS = 11


def draw(layout: bpy.types.UILayout, text: str, width: float, icon: str = "NONE", alert: bool = False) -> None:
    """Draw sentences as a block of tight lines, the icon beside the first.

    Args:
        layout: where to.
        text: sentences; line breaks are kept.
        width: points that a line may take, as `width_of` tells.
        icon: name of Blender's icon, or "NONE".
        alert: draw in the colour of errors.
    """
    column = layout.column(align=True)
    column.scale_y = 0.8
    column.alert = alert
    lines = wrapped(text, width - (ICON_POINTS if icon != "NONE" else 0))
    for number, line in enumerate(lines):
        if icon == "NONE":
            column.label(text=line)
        else:
            column.label(text=line, icon=icon if number == 0 else "BLANK1")


def width_of(context: bpy.types.Context) -> float:
    """Points for a line of text in the region that is drawn."""
    region = context.region
    scale = context.preferences.system.ui_scale
    points = region.width / scale if region and region.width > 1 else 260.0
    return max(points - MARGIN_POINTS, SMALLEST_WIDTH_POINTS)


def wrapped(text: str, width: float) -> list[str]:
    """Lines no wider than `width` points; a single longer word (a path) is cut where it must be."""
    lines: list[str] = []
    for paragraph in text.splitlines():
        line = ""
        for word in paragraph.split():
            for piece in _pieces(word, width):
                longer = f"{line} {piece}" if line else piece
                if line and _width(longer) > width:
                    lines.append(line)
                    line = piece
                else:
                    line = longer
        lines.append(line)
    return lines


def _pieces(word: str, width: float) -> list[str]:
    """A word in pieces that fit a line each."""
    pieces = []
    while word and _width(word) > width:
        fitting = next((end for end in range(len(word) - 1, 1, -1) if _width(word[:end]) <= width), 1)
        pieces.append(word[:fitting])
        word = word[fitting:]
    return [*pieces, word] if word else pieces


@functools.lru_cache(maxsize=4096)
def _width(text: str) -> float:
    """Points of a text in Blender's interface font."""
    import blf

    blf.size(0, FONT_POINTS)
    return blf.dimensions(0, text)[0] or 6.0 * len(text)
