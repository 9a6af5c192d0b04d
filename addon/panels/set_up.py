"""Before Lifemask can work: what will be installed, where, and how far it has come."""

from __future__ import annotations

import bpy

from .. import paragraphs, preferences
from ..session import session
from .parts import large_button, megabytes, progress_bar


def draw_invitation(layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
    """One large button, what it downloads and where to; the rest is folded away."""
    width = paragraphs.width_of(context)
    chosen = preferences.preferences(context)
    paragraphs.draw(layout, "Photographs of a person become a head with 52 shape keys, a texture and cameras.", width)
    layout.separator(factor=0.5)
    large_button(layout, "lifemask.set_up", "Set Up Lifemask", "IMPORT")
    if chosen.existing_environment:
        paragraphs.draw(layout, "Uses the environment that you name below. Nothing is downloaded.", width, "INFO")
    elif chosen.wheel_folder:
        paragraphs.draw(layout, "Installs from the folder of packages that you name below.", width, "INFO")
    else:
        paragraphs.draw(layout, _download_words(chosen.device), width, "INFO")
        _draw_online_access(layout, context, width)
    column = layout.column()
    column.use_property_split = True
    column.use_property_decorate = False
    column.prop(chosen, "folder")
    column.prop(chosen, "device")
    header, body = layout.panel("lifemask_set_up_elsewhere", default_closed=True)
    header.label(text="Offline or by Hand")
    if body:
        body.use_property_split = True
        body.use_property_decorate = False
        body.prop(chosen, "existing_environment")
        body.prop(chosen, "wheel_folder")
        body.prop(chosen, "python")


def draw_progress(layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
    """The step, the bytes, and a way out."""
    setup = session.setup
    layout.label(text="Setting Up Lifemask")
    fraction = setup.fraction if setup else 0.0
    progress_bar(layout, fraction, f"{100 * fraction:.0f} %")
    if setup:
        paragraphs.draw(layout, setup.sentence, paragraphs.width_of(context))
        if setup.bytes_total:
            row = layout.row()
            row.active = False
            row.label(text=f"{megabytes(setup.bytes_done)} of {megabytes(setup.bytes_total)}  {setup.package}")
    row = layout.row()
    row.scale_y = 1.4
    row.operator("lifemask.cancel", text="Cancel", icon="X")
