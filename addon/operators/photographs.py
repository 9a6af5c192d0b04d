"""The buttons beside the list of photographs."""

from __future__ import annotations

from pathlib import Path

import bpy
from bpy_extras.io_utils import ImportHelper

from .. import photograph_list, photographed_faces


class LIFEMASK_OT_add_photographs(bpy.types.Operator, ImportHelper):
    """Add photographs of the person, one or several"""

    bl_idname = "lifemask.add_photographs"
    bl_label = "Add Photographs"
    bl_options = {"UNDO"}

    filter_image: bpy.props.BoolProperty(default=True, options={"HIDDEN", "SKIP_SAVE"})
    filter_folder: bpy.props.BoolProperty(default=True, options={"HIDDEN", "SKIP_SAVE"})
    directory: bpy.props.StringProperty(subtype="DIR_PATH", options={"HIDDEN", "SKIP_SAVE"})
    files: bpy.props.CollectionProperty(type=bpy.types.OperatorFileListElement, options={"HIDDEN", "SKIP_SAVE"})

    def execute(self, context):
        paths = chosen_files(self)
        if not paths:
            self.report({"WARNING"}, "No photograph was chosen.")
            return {"CANCELLED"}
        refused = photograph_list.add(context.scene, paths)
        photographed_faces.look_at_all(context.scene)
        for path in refused:
            self.report({"WARNING"}, f"{path.name} is not a picture and was left out.")
        return {"CANCELLED"} if len(refused) == len(paths) else {"FINISHED"}


class LIFEMASK_OT_remove_photograph(bpy.types.Operator):
    """Take this photograph out of the list; the file stays"""

    bl_idname = "lifemask.remove_photograph"
    bl_label = "Remove Photograph"
    bl_options = {"UNDO"}

    @classmethod
    def poll(cls, context):
        return photograph_list.active(context.scene) is not None

    def execute(self, context):
        photograph_list.remove(context.scene)
        return {"FINISHED"}


class LIFEMASK_OT_move_photograph(bpy.types.Operator):
    """Change the order. The first photograph gives the head its first expression and the scene's camera"""

    bl_idname = "lifemask.move_photograph"
    bl_label = "Move Photograph"
    bl_options = {"UNDO"}

    direction: bpy.props.EnumProperty(
        name="Direction", items=(("UP", "Up", "Towards the first"), ("DOWN", "Down", "Towards the last"))
    )

    @classmethod
    def poll(cls, context):
        return len(context.scene.lifemask.photographs) > 1

    def execute(self, context):
        photograph_list.move(context.scene, -1 if self.direction == "UP" else 1)
        return {"FINISHED"}


class LIFEMASK_OT_clear_photographs(bpy.types.Operator):
    """Empty the list; the files stay"""

    bl_idname = "lifemask.clear_photographs"
    bl_label = "Remove All Photographs"
    bl_options = {"UNDO"}

    @classmethod
    def poll(cls, context):
        return bool(context.scene.lifemask.photographs)

    def execute(self, context):
        photograph_list.clear(context.scene)
        return {"FINISHED"}


class LIFEMASK_MT_photographs(bpy.types.Menu):
    """What is needed less often"""

    bl_idname = "LIFEMASK_MT_photographs"
    bl_label = "Photographs"

    def draw(self, context):
        self.layout.operator(LIFEMASK_OT_clear_photographs.bl_idname, icon="X")
        self.layout.operator("lifemask.find_faces", icon="VIEWZOOM")


def chosen_files(operator) -> list[Path]:
    """The files that a file browser or a drop gave an operator: several in `directory`, or one in `filepath`."""
    names = [entry.name for entry in operator.files if entry.name]
    if names:
        folder = Path(bpy.path.abspath(operator.directory))
        return [folder / name for name in names]
    path = Path(bpy.path.abspath(operator.filepath)) if operator.filepath else None
    return [path] if path and not path.is_dir() else []


CLASSES = (
    LIFEMASK_OT_add_photographs,
    LIFEMASK_OT_remove_photograph,
    LIFEMASK_OT_move_photograph,
    LIFEMASK_OT_clear_photographs,
    LIFEMASK_MT_photographs,
)

register, unregister = bpy.utils.register_classes_factory(CLASSES)
