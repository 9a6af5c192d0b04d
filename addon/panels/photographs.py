"""Ready: the photographs, the few options that matter, one large button."""

from __future__ import annotations

from pathlib import Path

import bpy

from .. import paragraphs, photograph_list, photographed_faces
from ..properties import METHODS_FOR_SEVERAL, face_model_of, why_no_head
from ..thumbnails import thumbnails
from .parts import LARGE, large_button

FACES_IN_A_ROW = 3


class LIFEMASK_UL_photographs(bpy.types.UIList):
    """Photographs of one person: a picture, its name, and whose face is taken."""

    def draw_item(self, context, layout, data, item, icon, active_data, active_property, index=0):
        path = Path(bpy.path.abspath(item.filepath))
        row = layout.row(align=True)
        row.template_icon(icon_value=thumbnails.icon_of(path, photographed_faces.box_of(path, item.face)), scale=2.0)
        lines = row.column(align=True)
        lines.label(text=path.name)
        below = lines.row()
        below.active = False
        words, is_wrong = photographed_faces.in_words(path, item.face)
        below.alert = is_wrong
        below.label(text=words)


def draw(layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
    """The whole of the ready state."""
    settings = context.scene.lifemask
    width = paragraphs.width_of(context)
    if not len(settings.photographs):
        _draw_empty(layout, width)
        return
    _draw_list(layout, settings)
    _draw_faces(layout, context.scene)
    _draw_options(layout, settings)
    _draw_licence(layout, context.scene, width)
    button = layout.row()
    button.scale_y = LARGE
    button.enabled = not why_no_head(context.scene)
    button.operator("lifemask.reconstruct", text="Create Head", icon="USER")
    _draw_more_options(layout, settings, width)


def _draw_empty(layout: bpy.types.UILayout, width: float) -> None:
    box = layout.box()
    advice = "Photographs of one person, best from the front and from both sides, in any order."
    paragraphs.draw(box, advice, width - paragraphs.BOX_POINTS, "IMAGE_DATA")
    large_button(layout, "lifemask.add_photographs", "Choose Photographs", "ADD")
    paragraphs.draw(layout, "Or drop them into the viewport.", width)


def _draw_list(layout: bpy.types.UILayout, settings) -> None:
    row = layout.row()
    row.template_list(
        "LIFEMASK_UL_photographs", "", settings, "photographs", settings, "active_photograph", rows=3, maxrows=6
    )
    buttons = row.column(align=True)
    buttons.operator("lifemask.add_photographs", text="", icon="ADD")
    buttons.operator("lifemask.remove_photograph", text="", icon="REMOVE")
    buttons.separator()
    buttons.menu("LIFEMASK_MT_photographs", text="", icon="DOWNARROW_HLT")
    buttons.separator()
    buttons.operator("lifemask.move_photograph", text="", icon="TRIA_UP").direction = "UP"
    buttons.operator("lifemask.move_photograph", text="", icon="TRIA_DOWN").direction = "DOWN"


def _draw_faces(layout: bpy.types.UILayout, scene: bpy.types.Scene) -> None:
    """Whose head? Only where the chosen photograph shows several people."""
    line = photograph_list.active(scene)
    if line is None:
        return
    path = Path(bpy.path.abspath(line.filepath))
    found = photographed_faces.found_in(path)
    if found is None or len(found.faces) < 2:
        return
    box = layout.box()
    box.label(text="Whose head?")
    grid = box.grid_flow(row_major=True, columns=FACES_IN_A_ROW, even_columns=True, even_rows=True, align=True)
    chosen = line.face or photographed_faces.LARGEST
    for face in found.faces:
        cell = grid.column(align=True)
        cell.template_icon(icon_value=thumbnails.icon_of(path, face.box), scale=4.0)
        cell.enabled = face.usable
        button = cell.operator(
            "lifemask.pick_face", text=photographed_faces.name_of(face.number), depress=face.number == chosen
        )
        button.photograph, button.face = scene.lifemask.active_photograph, face.number


def _draw_options(layout: bpy.types.UILayout, settings) -> None:
    """What decides how good the head is and what may be done with it."""
    column = layout.column(heading="Texture")
    column.use_property_split = True
    column.use_property_decorate = False
    column.prop(settings, "use_texture", text="From Photographs")
    size = column.row()
    size.active = settings.use_texture
    size.prop(settings, "texture_size", text="Texture Size")
    column.prop(settings, "use_detail")
    column.prop(settings, "face_model")


def _draw_licence(layout: bpy.types.UILayout, scene: bpy.types.Scene, width: float) -> None:
    """What may be done with the head, or why none can be made from the face model that is chosen."""
    refusal, model = why_no_head(scene), face_model_of(scene)
    if model is not None:
        quiet = layout.column()
        quiet.active = False
        paragraphs.draw(quiet, model.licence_in_words, width)
    if refusal:
        box = layout.box()
        paragraphs.draw(box, refusal, width - paragraphs.BOX_POINTS, "ERROR", alert=True)
        box.operator("lifemask.show_preferences", text="Open the Preferences", icon="PREFERENCES")
    elif not model.commercial:
        paragraphs.draw(layout, "Heads made from it may not be sold.", width, "INFO")


def _draw_more_options(layout: bpy.types.UILayout, settings, width: float) -> None:
    header, body = layout.panel("lifemask_more_options", default_closed=True)
    header.label(text="More Options")
    if body is None:
        return
    body.use_property_split = True
    body.use_property_decorate = False
    body.prop(settings, "focal_length")
    body.prop(settings, "method")
    if settings.method in METHODS_FOR_SEVERAL and len(settings.photographs) == 1:
        advice = "This method looks at several photographs together: add one from the front and one of each side."
        paragraphs.draw(body, advice, width, "INFO")


CLASSES = (LIFEMASK_UL_photographs,)
