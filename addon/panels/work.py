"""While a job runs: what is done now, how far, how long, and a way out."""

from __future__ import annotations

import bpy

from .. import paragraphs
from ..session import State, session
from .parts import minutes, progress_bar, quiet_label

TITLES = {
    "reconstruct": "Creating the Head",
    "update": "Updating the Head",
    "batch": "Batch",
    "add": "Adding a Face Model",
    "fetch": "Downloading",
    "remove": "Removing a Face Model",
}


def draw(layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
    """The working and the cancelling state."""
    work = session.work
    cancelling = session.state is State.CANCELLING
    row = layout.row()
    row.label(text=TITLES.get(work.kind, "Working") if work else "Working")
    clock = row.row()
    clock.alignment = "RIGHT"
    clock.label(text=minutes(work.seconds) if work else "")
    share = work.share if work else 0.0
    stage = "Stopping" if cancelling else _sentence_case(work.stage if work else "")
    progress_bar(layout, share, stage or "Starting")
    if work and work.detail:
        paragraphs.draw(layout, work.detail, paragraphs.width_of(context))
    row = layout.row()
    row.scale_y = 1.4
    row.enabled = not cancelling
    row.operator("lifemask.cancel", text="Stopping" if cancelling else "Cancel", icon="X")
    quiet_label(layout, "Blender can be used meanwhile.")


def _sentence_case(text: str) -> str:
    return text[:1].upper() + text[1:]
