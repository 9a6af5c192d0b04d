"""A head is selected: what it was made from, and its face."""

from __future__ import annotations

from pathlib import Path

import bpy

from .. import arkit_regions, expressions, head_record, paragraphs
from ..operators.view import cameras_in
from ..session import State, session
from ..thumbnails import thumbnails

OPEN_AT_FIRST = ("brow", "eye", "jaw")
NAME_SHARE = 0.4
"""Of a line of sliders, for the name."""


def draw(layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
    """The photographs of the head, with a camera and an expression each, and what may be done with it."""
    head = head_record.active_head(context)
    record = head_record.record_of(head)
    layout.prop(head, "name", text="", icon="USER")
    cameras = cameras_in(context.scene, head)
    for number, photograph in enumerate(record.photographs):
        row = layout.row(align=True)
        path = Path(photograph.path)
        icon = thumbnails.icon_of(path)
        if icon:
            row.label(text=photograph.name, icon_value=icon)
        else:
            row.label(text=photograph.name, icon="IMAGE_DATA")
        buttons = row.row(align=True)
        buttons.operator("lifemask.set_expression", text="", icon="USER").photograph = number
        camera = buttons.row(align=True)
        camera.enabled = number in cameras
        camera.operator("lifemask.show_camera_view", text="", icon="VIEW_CAMERA").photograph = number
    row = layout.row()
    row.scale_y = 1.4
    row.operator("lifemask.update_head", text="Update from Photographs", icon="FILE_REFRESH")
    if session.state is State.READY and len(context.scene.lifemask.photographs):
        layout.operator("lifemask.update_head", text="Update from the List Above").use_list = True
    for warning in record.warnings:
        paragraphs.draw(layout, warning, paragraphs.width_of(context), "ERROR")
    if record.licence_sentence or record.licence:
        words = layout.column()
        words.active = False
        paragraphs.draw(words, record.licence_sentence or f"Licence: {record.licence}", paragraphs.width_of(context))


def draw_expression(layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
    """Neutral, mirror and reset, then the sliders by region. Keys that are gone have no slider."""
    head = head_record.active_head(context)
    row = layout.row(align=True)
    row.operator("lifemask.set_neutral", text="Neutral", icon="LOOP_BACK")
    row.menu("LIFEMASK_MT_mirror", text="Mirror", icon="MOD_MIRROR")
    blocks = expressions.blocks_of(head)
    for region in arkit_regions.REGIONS:
        sliders = [slider for slider in region.sliders if any(key in blocks for key in slider.keys)]
        if not sliders:
            continue
        header, body = layout.panel(f"lifemask_{region.name}", default_closed=region.name not in OPEN_AT_FIRST)
        header.label(text=region.label)
        reset = header.operator("lifemask.reset_keys", text="", icon="LOOP_BACK", emboss=False)
        reset.region = region.name
        if body is not None:
            _draw_sliders(body, sliders, blocks)


def _draw_sliders(layout: bpy.types.UILayout, sliders: list[arkit_regions.Slider], blocks) -> None:
    """Names on the left, which tell what a key does and try it; then the values themselves, which can be keyframed."""
    halves = layout.split(factor=NAME_SHARE)
    names, values = halves.column(align=True), halves.column(align=True)
    if any(len(slider.keys) > 1 for slider in sliders):
        names.label(text="")
        sides = values.row(align=True)
        sides.active = False
        for side in ("Left", "Right"):
            cell = sides.row()
            cell.alignment = "CENTER"
            cell.label(text=side)
    for slider in sliders:
        name = names.row()
        name.alignment = "LEFT"
        name.operator("lifemask.toggle_key", text=slider.label, emboss=False).key = slider.keys[0]
        row = values.row(align=True)
        for key in slider.keys:
            if key in blocks:
                row.prop(blocks[key], "value", text="", slider=True)
            else:
                row.label(text="")
