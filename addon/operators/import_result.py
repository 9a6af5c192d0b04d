"""File > Import > Lifemask Result: a result folder becomes a head in the scene."""

from __future__ import annotations

from pathlib import Path

import bpy


class LIFEMASK_OT_import_result(bpy.types.Operator):
    """Build the head of a Lifemask result folder in this scene"""

    bl_idname = "lifemask.import_result"
    bl_label = "Lifemask Result"
    bl_options = {"REGISTER", "UNDO"}

    directory: bpy.props.StringProperty(
        name="Result folder", description="A folder that holds head.npz and head.json", subtype="DIR_PATH"
    )
    show_camera: bpy.props.BoolProperty(
        name="Use the Photograph's Camera",
        description="Make the first photograph's camera the scene's camera, with the photograph's resolution",
        default=True,
    )

    def invoke(self, context, event):
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def execute(self, context):
        from .. import cameras, head_builder
        from ..result import ResultError, read_result

        try:
            result = read_result(Path(bpy.path.abspath(self.directory)))
        except ResultError as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        head = head_builder.build_head(result, context.scene)
        for other in context.selected_objects:
            other.select_set(False)
        head.object.select_set(True)
        context.view_layer.objects.active = head.object
        if self.show_camera and head.cameras:
            cameras.look_through(context.scene, head.cameras[0])
        return {"FINISHED"}


def draw_menu_entry(menu, context):
    """The line in File > Import."""
    menu.layout.operator(LIFEMASK_OT_import_result.bl_idname, text="Lifemask Result (folder)")


def register() -> None:
    bpy.utils.register_class(LIFEMASK_OT_import_result)
    bpy.types.TOPBAR_MT_file_import.append(draw_menu_entry)


def unregister() -> None:
    bpy.types.TOPBAR_MT_file_import.remove(draw_menu_entry)
    bpy.utils.unregister_class(LIFEMASK_OT_import_result)
