"""Photographs dropped into the 3D view, or chosen in File > Import: a few questions, then the head is made."""

from __future__ import annotations

import bpy
from bpy_extras.io_utils import ImportHelper

from .. import paragraphs, photograph_list, photographed_faces, properties
from ..session import BUSY, State, session
from .photographs import chosen_files

LABEL = "Head from Photographs (Lifemask)"
NAMES_SHOWN = 6
POPUP_WIDTH = 340


class LIFEMASK_OT_drop_photographs(bpy.types.Operator, ImportHelper):
    """Make a head from photographs of one person"""

    bl_idname = "lifemask.drop_photographs"
    bl_label = LABEL  # Blender shows it among what it can do with a dropped file, and on the file browser's button
    bl_options = {"REGISTER", "UNDO"}

    filter_image: bpy.props.BoolProperty(default=True, options={"HIDDEN", "SKIP_SAVE"})
    filter_folder: bpy.props.BoolProperty(default=True, options={"HIDDEN", "SKIP_SAVE"})
    directory: bpy.props.StringProperty(subtype="DIR_PATH", options={"HIDDEN", "SKIP_SAVE"})
    files: bpy.props.CollectionProperty(type=bpy.types.OperatorFileListElement, options={"HIDDEN", "SKIP_SAVE"})
    keep: bpy.props.BoolProperty(
        name="Add to the Photographs in the List",
        description="The photographs in the list show the same person. Off: the list is emptied first",
        default=False,
        options={"SKIP_SAVE"},
    )
    start: bpy.props.BoolProperty(
        name="Create the Head Now",
        description="Off: the photographs go into the list only, to choose faces or change their order",
        default=True,
        options={"SKIP_SAVE"},
    )

    def invoke(self, context, event):
        if not chosen_files(self):
            return ImportHelper.invoke(self, context, event)
        return context.window_manager.invoke_props_dialog(
            self, width=POPUP_WIDTH, title="Head from Photographs", confirm_text=_confirmation(context.scene)
        )

    def draw(self, context):
        layout = self.layout
        names = [path.name for path in chosen_files(self)]
        if names:
            column = layout.box().column(align=True)
            for name in names[:NAMES_SHOWN]:
                column.label(text=name, icon="IMAGE_DATA")
            if len(names) > NAMES_SHOWN:
                column.label(text=f"and {len(names) - NAMES_SHOWN} more", icon="BLANK1")
        settings = context.scene.lifemask
        column = layout.column()
        column.use_property_split = True
        column.use_property_decorate = False
        column.prop(settings, "use_texture")
        sub = column.column()
        sub.active = settings.use_texture
        sub.prop(settings, "texture_size")
        column.prop(settings, "use_detail")
        column.prop(settings, "focal_length")
        column.prop(settings, "face_model")
        column = layout.column()
        if settings.photographs:
            column.prop(self, "keep")
        reason = _why_not(context.scene)
        if reason:
            paragraphs.draw(column, reason, POPUP_WIDTH - paragraphs.MARGIN_POINTS, "INFO")
        else:
            column.prop(self, "start")

    def execute(self, context):
        paths = chosen_files(self)
        if not any(photograph_list.is_picture(path) for path in paths):
            self.report({"ERROR"}, "None of these files is a picture.")
            return {"CANCELLED"}
        if not self.keep:
            photograph_list.clear(context.scene)
        for path in photograph_list.add(context.scene, paths):
            self.report({"WARNING"}, f"{path.name} is not a picture and was left out.")
        if self.start and (bpy.app.background or not _why_not(context.scene)):
            return bpy.ops.lifemask.reconstruct("EXEC_DEFAULT" if bpy.app.background else "INVOKE_DEFAULT")
        photographed_faces.look_at_all(context.scene)
        return {"FINISHED"}


class LIFEMASK_FH_photographs(bpy.types.FileHandler):
    """What Blender asks when pictures are dropped into a 3D view"""

    bl_idname = "LIFEMASK_FH_photographs"
    bl_label = LABEL
    bl_import_operator = LIFEMASK_OT_drop_photographs.bl_idname
    bl_file_extensions = ";".join(photograph_list.PICTURE_SUFFIXES)

    @classmethod
    def poll_drop(cls, context):
        return context.area is not None and context.area.type == "VIEW_3D"


def draw_menu_entry(menu, context):
    """The line in File > Import."""
    menu.layout.operator(LIFEMASK_OT_drop_photographs.bl_idname, text="Photographs to head (Lifemask)")


def _confirmation(scene: bpy.types.Scene) -> str:
    return "Add to the List" if _why_not(scene) else "OK"


def _why_not(scene: bpy.types.Scene) -> str:
    """Why no head can be made right away, in a sentence; "" where one can."""
    if not session.is_set_up and session.state is not State.SETTING_UP:
        return "Lifemask is not set up yet: see its sidebar tab."
    if session.state in BUSY:
        return "Lifemask is at work. Create the head afterwards."
    return properties.why_no_head(scene)


CLASSES = (LIFEMASK_OT_drop_photographs, LIFEMASK_FH_photographs)


def register() -> None:
    for cls in CLASSES:
        bpy.utils.register_class(cls)
    bpy.types.TOPBAR_MT_file_import.append(draw_menu_entry)


def unregister() -> None:
    bpy.types.TOPBAR_MT_file_import.remove(draw_menu_entry)
    for cls in reversed(CLASSES):
        bpy.utils.unregister_class(cls)
