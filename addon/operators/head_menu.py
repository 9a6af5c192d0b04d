"""Object > Lifemask Head: what can be done with a head, also for the operator search, which looks through menus."""

from __future__ import annotations

import bpy

from .. import head_record


class LIFEMASK_MT_head(bpy.types.Menu):
    """What can be done with the selected head"""

    bl_idname = "LIFEMASK_MT_head"
    bl_label = "Lifemask Head"

    def draw(self, context):
        layout = self.layout
        layout.operator_context = "INVOKE_DEFAULT"
        layout.operator("lifemask.show_camera_view", text="Show Camera View", icon="VIEW_CAMERA")
        layout.separator()
        layout.operator("lifemask.set_neutral", text="Set Neutral Expression", icon="LOOP_BACK")
        layout.operator("lifemask.set_expression", text="Set Expression of Photograph", icon="IMAGE_DATA")
        layout.menu("LIFEMASK_MT_mirror", text="Mirror Expression", icon="MOD_MIRROR")
        layout.separator()
        layout.operator("lifemask.update_head", text="Update Head from Photographs", icon="FILE_REFRESH")
        layout.operator("lifemask.export_head", text="Export Head", icon="EXPORT")
        layout.operator("lifemask.save_as_asset", text="Save Head as Asset", icon="ASSET_MANAGER")


def draw_menu_entry(menu, context):
    """The line in the Object menu, while a head is the active object."""
    if head_record.active_head(context) is not None:
        menu.layout.separator()
        menu.layout.menu(LIFEMASK_MT_head.bl_idname, icon="USER")


def register() -> None:
    bpy.utils.register_class(LIFEMASK_MT_head)
    bpy.types.VIEW3D_MT_object.append(draw_menu_entry)


def unregister() -> None:
    bpy.types.VIEW3D_MT_object.remove(draw_menu_entry)
    bpy.utils.unregister_class(LIFEMASK_MT_head)
