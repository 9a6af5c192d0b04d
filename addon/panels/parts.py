"""Pieces that every face of the panel is made of."""

from __future__ import annotations

import bpy

LARGE = 2.0


def large_button(layout: bpy.types.UILayout, operator: str, text: str, icon: str = "NONE"):
    """The one thing to do next. Returns the operator's properties."""
    row = layout.row()
    row.scale_y = LARGE
    return row.operator(operator, text=text, icon=icon)


def progress_bar(layout: bpy.types.UILayout, share: float, text: str) -> None:
    """A bar from 0 to 1 with words on it."""
    row = layout.row()
    row.scale_y = 1.3
    row.progress(factor=min(max(share, 0.0), 1.0), text=text)


def quiet_label(layout: bpy.types.UILayout, text: str, icon: str = "NONE") -> None:
    """A line that is there for whoever looks for it."""
    row = layout.row()
    row.active = False
    row.label(text=text, icon=icon)


def minutes(seconds: float) -> str:
    """A duration as a clock shows it: "0:42"."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def megabytes(count: float) -> str:
    """A size as downloads show it: "85 MB", "1.5 GB"."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"
