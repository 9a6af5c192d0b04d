"""Before Lifemask can work: what will be installed, where, and how far it has come."""

from __future__ import annotations

import bpy

from .. import paragraphs, preferences
from ..session import session
from .parts import LARGE, megabytes, progress_bar, quiet_label

INVITATION = "Turn photographs of a person into a head with shape keys, texture and matched cameras."
WHAT_IS_DOWNLOADED = "Downloads about 0.5 GB once and takes 1.5 GB on the disk; with CUDA several GB more."
WHERE = "Outside the extension, so that an update deletes nothing."


def draw_invitation(layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
    """One large button, what it downloads and where to; the rest is folded away."""
    width = paragraphs.width_of(context)
    chosen = preferences.preferences(context)
    paragraphs.draw(layout, INVITATION, width)
    is_download = not chosen.existing_environment and not chosen.wheel_folder
    if is_download and not bpy.app.online_access:
        _draw_online_access(layout, context, width)
    button = layout.row()
    button.scale_y = LARGE
    button.enabled = bpy.app.online_access or not is_download
    button.operator("lifemask.set_up", text="Set Up Lifemask", icon="IMPORT")
    if chosen.existing_environment:
        paragraphs.draw(layout, "Checks the environment below and uses it. Nothing is downloaded.", width)
    elif chosen.wheel_folder:
        paragraphs.draw(layout, "Installs from the folder of packages below. Nothing is downloaded.", width)
    else:
        paragraphs.draw(layout, WHAT_IS_DOWNLOADED, width)
    layout.separator()
    column = layout.column()
    column.use_property_decorate = False
    column.label(text="Folder")
    column.prop(chosen, "folder", text="", placeholder=str(session.settings.folder))
    quiet = column.column()
    quiet.active = False
    paragraphs.draw(quiet, WHERE, width)
    column.separator()
    column.prop(chosen, "device")
    _draw_elsewhere(layout, chosen)


def draw_progress(layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
    """The step, the bytes, and a way out."""
    setup = session.setup
    layout.label(text="Setting Up Lifemask")
    progress_bar(layout, setup.fraction, f"{100 * setup.fraction:.0f} %")
    paragraphs.draw(layout, setup.sentence, paragraphs.width_of(context))
    if setup.bytes_total:
        quiet_label(layout, f"{megabytes(setup.bytes_done)} of {megabytes(setup.bytes_total)}  {setup.package}")
    row = layout.row()
    row.scale_y = 1.4
    row.operator("lifemask.cancel", text="Cancel", icon="X")
    quiet = layout.column()
    quiet.active = False
    paragraphs.draw(quiet, "After a stop it goes on from here.", paragraphs.width_of(context))


def _draw_online_access(layout: bpy.types.UILayout, context: bpy.types.Context, width: float) -> None:
    """Blender forbids the network: ask for it, where it can be given."""
    box = layout.box()
    width -= paragraphs.BOX_POINTS
    if bpy.app.online_access_override:
        paragraphs.draw(
            box,
            "Blender was started offline. Start it without --offline-mode, or set Lifemask up without a network below.",
            width,
            "INTERNET_OFFLINE",
        )
        return
    paragraphs.draw(box, "Blender may not use the network yet.", width, "INTERNET_OFFLINE")
    row = box.row()
    row.scale_y = 1.2
    row.prop(context.preferences.system, "use_online_access", text="Allow Online Access", toggle=True, icon="INTERNET")


def _draw_elsewhere(layout: bpy.types.UILayout, chosen) -> None:
    header, body = layout.panel("lifemask_set_up_elsewhere", default_closed=True)
    header.label(text="Without a Network")
    if body is None:
        return
    for name in ("existing_environment", "wheel_folder", "python"):
        column = body.column(align=True)
        column.label(text=chosen.bl_rna.properties[name].name)
        column.prop(chosen, name, text="")
