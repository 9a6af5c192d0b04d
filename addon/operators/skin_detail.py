"""The buttons of the panel "Skin Detail": baked to a mesh, to a normal map; a duplicate gets detail of its own."""

from __future__ import annotations

import bpy

from .. import displacement, head_record


class _OnDetail:
    """An operator that needs a head with skin detail as the active object, in Object Mode."""

    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def poll(cls, context):
        head = head_record.active_head(context)
        if head is None or displacement.detail_of(head) is None:
            cls.poll_message_set("Select a head with skin detail.")
            return False
        if context.mode != "OBJECT":
            cls.poll_message_set("Leave the present mode first.")
            return False
        if head.library is not None or head.data.library is not None:
            cls.poll_message_set("This head is linked from another file. Do this there.")
            return False
        return True

    def execute(self, context):
        try:
            self.report({"INFO"}, self.run(context, head_record.active_head(context)))
        except displacement.DetailError as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        return {"FINISHED"}


class LIFEMASK_OT_bake_detail_mesh(_OnDetail, bpy.types.Operator):
    """Make a dense copy with the skin's detail in its vertices and in every shape key, beside the head"""

    bl_idname = "lifemask.bake_detail_mesh"
    bl_label = "Bake Detail to Mesh"

    def run(self, context, head):
        from .. import detail_baking
        from .build_result import select

        dense = detail_baking.bake_mesh(head)
        select(context, context.scene, dense)
        return f"{dense.name} has {len(dense.data.vertices)} vertices"


class LIFEMASK_OT_bake_normal_map(_OnDetail, bpy.types.Operator):
    """Make a normal map of the skin's detail as it is now, for the coarse mesh in a game engine (green is up)"""

    bl_idname = "lifemask.bake_normal_map"
    bl_label = "Bake Normal Map"

    def run(self, context, head):
        from .. import detail_baking

        image = detail_baking.bake_normal_map(head)
        return f"The picture {image.name} is in this file: look for it in the Image Editor"


class LIFEMASK_OT_own_detail(_OnDetail, bpy.types.Operator):
    """Give this copy of a head a skin of its own, whose wrinkles follow its own sliders"""

    bl_idname = "lifemask.own_detail"
    bl_label = "Own Skin Detail"

    def run(self, context, head):
        displacement.make_own(head)
        return f"The wrinkles of {head.name} follow its own sliders"


CLASSES = (LIFEMASK_OT_bake_detail_mesh, LIFEMASK_OT_bake_normal_map, LIFEMASK_OT_own_detail)

register, unregister = bpy.utils.register_classes_factory(CLASSES)
