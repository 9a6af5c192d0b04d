"""Finding the head: through a photograph's camera, and in the scene."""

from __future__ import annotations

import bpy

from .. import head_record


class LIFEMASK_OT_show_camera_view(bpy.types.Operator):
    """Look at the head through the camera of a photograph, with the photograph behind it"""

    bl_idname = "lifemask.show_camera_view"
    bl_label = "Camera View"
    bl_options = {"REGISTER", "UNDO"}

    photograph: bpy.props.IntProperty(name="Photograph", description="0 is the first", min=0)
    show_texture: bpy.props.BoolProperty(
        name="Show the Texture",
        description="In solid shading, draw the head with its texture, to compare it with the photograph",
        default=True,
    )

    @classmethod
    def poll(cls, context):
        return head_record.active_head(context) is not None

    def execute(self, context):
        from .. import cameras

        head = head_record.active_head(context)
        matched = cameras_in(context.scene, head)
        if self.photograph not in matched:
            self.report({"ERROR"}, f"The camera of this photograph is not in the scene {context.scene.name} any more.")
            return {"CANCELLED"}
        cameras.look_through(context.scene, matched[self.photograph])
        for number, camera in matched.items():
            if context.view_layer.objects.get(camera.name) is camera:  # not in a collection that is switched off
                camera.hide_set(number != self.photograph)  # the others' frames would stand before the face
        for space in _spaces(context):
            space.use_local_camera = False
            space.region_3d.view_perspective = "CAMERA"
            if self.show_texture and space.shading.type == "SOLID":
                space.shading.color_type = "TEXTURE"
        return {"FINISHED"}


class LIFEMASK_OT_select_head(bpy.types.Operator):
    """Select the head and make it the active object"""

    bl_idname = "lifemask.select_head"
    bl_label = "Select the Head"
    bl_options = {"UNDO", "INTERNAL"}

    head_id: bpy.props.StringProperty(options={"SKIP_SAVE"})

    def execute(self, context):
        head = head_record.find_head(self.head_id)
        if head is None or context.view_layer.objects.get(head.name) is not head:
            self.report({"ERROR"}, "The head is not in this scene any more.")
            return {"CANCELLED"}
        if context.mode != "OBJECT":
            bpy.ops.object.mode_set(mode="OBJECT")
        for other in context.view_layer.objects.selected:
            other.select_set(False)
        head.hide_set(False)
        head.select_set(True)
        context.view_layer.objects.active = head
        return {"FINISHED"}


def cameras_in(scene: bpy.types.Scene, head: bpy.types.Object) -> dict[int, bpy.types.Object]:
    """The matched cameras of a head that are in the scene, by the number of their photograph."""
    from .. import cameras

    return {number: camera for number, camera in cameras.cameras_of(head).items() if scene in camera.users_scene}


def _spaces(context: bpy.types.Context) -> list[bpy.types.SpaceView3D]:
    """The viewport that was clicked in, else every viewport of the window."""
    if context.area and context.area.type == "VIEW_3D":
        return [context.space_data]
    areas = context.window.screen.areas if context.window else []
    return [area.spaces.active for area in areas if area.type == "VIEW_3D"]


CLASSES = (LIFEMASK_OT_show_camera_view, LIFEMASK_OT_select_head)

register, unregister = bpy.utils.register_classes_factory(CLASSES)
