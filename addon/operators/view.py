"""Looking: through a photograph's camera, at the log, and past what was reported."""

from __future__ import annotations

from pathlib import Path

import bpy

from .. import cameras, head_record
from ..session import session


class LIFEMASK_OT_show_camera_view(bpy.types.Operator):
    """Look at the head through the camera of a photograph, with the photograph behind it"""

    bl_idname = "lifemask.show_camera_view"
    bl_label = "Camera View"
    bl_options = {"REGISTER", "UNDO"}

    photograph: bpy.props.IntProperty(name="Photograph", description="0 is the first", min=0)

    @classmethod
    def poll(cls, context):
        return head_record.active_head(context) is not None

    def execute(self, context):
        head = head_record.active_head(context)
        matched = cameras_of(head, context.scene)
        if self.photograph >= len(matched):
            self.report({"ERROR"}, f"The camera of this photograph is not in the scene {context.scene.name} any more.")
            return {"CANCELLED"}
        cameras.look_through(context.scene, matched[self.photograph])
        for space in _spaces(context):
            space.use_local_camera = False
            space.region_3d.view_perspective = "CAMERA"
        return {"FINISHED"}


class LIFEMASK_OT_open_log(bpy.types.Operator):
    """Open the log, where everything that happened is written down"""

    bl_idname = "lifemask.open_log"
    bl_label = "Open the Log"
    bl_options = {"INTERNAL"}

    filepath: bpy.props.StringProperty(subtype="FILE_PATH", options={"SKIP_SAVE"})

    @classmethod
    def description(cls, context, properties):
        return f"{cls.__doc__}:\n{properties.filepath}" if properties.filepath else cls.__doc__

    def execute(self, context):
        path = Path(self.filepath)
        if not self.filepath or not path.is_file():
            self.report({"ERROR"}, f"There is no log at {path} any more." if self.filepath else "There is no log yet.")
            return {"CANCELLED"}
        if bpy.app.background:
            self.report({"INFO"}, str(path))
            return {"FINISHED"}
        try:
            bpy.ops.wm.path_open(filepath=str(path))
        except RuntimeError:
            self.report({"ERROR"}, f"No program of this computer opens text files by itself. The log is {path}")
            return {"CANCELLED"}
        return {"FINISHED"}


class LIFEMASK_OT_dismiss(bpy.types.Operator):
    """Back to the photographs"""

    bl_idname = "lifemask.dismiss"
    bl_label = "Back"
    bl_options = {"INTERNAL"}

    def execute(self, context):
        session.dismiss()
        return {"FINISHED"}


def cameras_of(head: bpy.types.Object, scene: bpy.types.Scene) -> list[bpy.types.Object]:
    """The matched cameras of a head that are in the scene, in the order of the photographs."""
    there = [
        child
        for child in head.children
        if child.type == "CAMERA" and "lifemask_image_size" in child.data and scene in child.users_scene
    ]
    return sorted(there, key=lambda camera: camera.data.get("lifemask_photograph", 0))


def _spaces(context: bpy.types.Context) -> list[bpy.types.SpaceView3D]:
    """The viewport that was clicked in, else every viewport of the window."""
    if context.area and context.area.type == "VIEW_3D":
        return [context.space_data]
    areas = context.window.screen.areas if context.window else []
    return [area.spaces.active for area in areas if area.type == "VIEW_3D"]


CLASSES = (LIFEMASK_OT_show_camera_view, LIFEMASK_OT_open_log, LIFEMASK_OT_dismiss)


def register() -> None:
    for cls in CLASSES:
        bpy.utils.register_class(cls)


def unregister() -> None:
    for cls in reversed(CLASSES):
        bpy.utils.unregister_class(cls)
