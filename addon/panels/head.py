"""A head is selected: what it was made from, and its face."""

from __future__ import annotations

from pathlib import Path

import bpy

from .. import arkit_regions, displacement, expressions, face_models, head_record, paragraphs
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
    _draw_licence(layout, record, paragraphs.width_of(context))


def _draw_licence(layout: bpy.types.UILayout, record: head_record.HeadRecord, width: float) -> None:
    """What the head was made with, and whether it may be sold."""
    if record.face_model:
        layout.label(text=f"Face model: {record.face_model_label or label_of(record.face_model)}", icon="MESH_DATA")
    warned = " ".join(record.warnings)  # which say it already, where the backend knew
    if record.may_be_sold is False and "may not be sold" not in warned:
        paragraphs.draw(layout, "This head may not be sold.", width, "ERROR")
    words = layout.column()
    words.active = False
    if record.may_be_sold:
        words.label(text="This head may be sold.")
    for sentence in sentences_of(record):
        if sentence not in warned:
            paragraphs.draw(words, sentence, width)


def sentences_of(record: head_record.HeadRecord) -> list[str]:
    """What the licences allow: that of the face model, and of whatever else forbids something."""
    own = record.licence_sentence or (f"Licence: {record.licence}." if record.licence else "")
    others = [
        f"{licence['what'][:1].upper()}{licence['what'][1:]}: {licence['sentence']}"
        for licence in record.licences
        if licence["commercial"] is False and licence["sentence"] != own
    ]
    return [sentence for sentence in dict.fromkeys([own, *others]) if sentence]


def label_of(name: str) -> str:
    """What a face model is called for people; its name where nobody knows."""
    model = face_models.named(name, session.face_models)
    return model.label if model else name


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


def draw_skin_detail(layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
    """How strong the wrinkles are, whether they follow the sliders, and what they can be baked to."""
    head = head_record.active_head(context)
    column = layout.column(align=True)
    for name, text in ((displacement.STRENGTH, "Strength"), (displacement.PHOTOGRAPH, "Photograph")):
        if name in head:
            column.prop(head, f'["{name}"]', text=text, slider=True)
    if not displacement.follows_its_head(displacement.detail_of(head)):
        text = "This is a copy: its wrinkles follow the sliders of the head that it was copied from."
        paragraphs.draw(layout, text, paragraphs.width_of(context), "INFO")
        layout.operator("lifemask.own_detail", text="Follow Its Own Sliders", icon="LINKED")
    column = layout.column(align=True)
    column.operator("lifemask.bake_detail_mesh", icon="MESH_GRID")
    column.operator("lifemask.bake_normal_map", icon="NORMALS_FACE")


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
