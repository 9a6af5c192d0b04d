"""The sidebar tab "Lifemask": one face for each state of the session, then what belongs to the selected head."""

from __future__ import annotations

import bpy

from . import displacement, head_record
from .panels import head, outcome, photographs, set_up, work
from .session import State, session

FACE_OF_STATE = {
    State.NOT_SET_UP: set_up.draw_invitation,
    State.SETTING_UP: set_up.draw_progress,
    State.READY: photographs.draw,
    State.WORKING: work.draw,
    State.CANCELLING: work.draw,
    State.DONE: outcome.draw_done,
    State.ERROR: outcome.draw_error,
}


class _InTheTab:
    bl_space_type = "VIEW_3D"
    bl_region_type = "UI"
    bl_category = "Lifemask"


class _OfTheHead(_InTheTab):
    @classmethod
    def poll(cls, context):
        return head_record.active_head(context) is not None


class LIFEMASK_PT_lifemask(_InTheTab, bpy.types.Panel):
    """What Lifemask does now, and what to do next"""

    bl_idname = "LIFEMASK_PT_lifemask"
    bl_label = "Lifemask"
    bl_order = 0

    def draw_header_preset(self, context):
        self.layout.menu("LIFEMASK_MT_more", text="", icon="DOWNARROW_HLT")

    def draw(self, context):
        FACE_OF_STATE[session.state](self.layout, context)


class LIFEMASK_PT_head(_OfTheHead, bpy.types.Panel):
    """The selected head"""

    bl_idname = "LIFEMASK_PT_head"
    bl_label = "Head"
    bl_order = 1

    def draw(self, context):
        head.draw(self.layout, context)


class LIFEMASK_PT_expression(_OfTheHead, bpy.types.Panel):
    """The face of the selected head"""

    bl_idname = "LIFEMASK_PT_expression"
    bl_label = "Expression"
    bl_order = 2

    def draw(self, context):
        head.draw_expression(self.layout, context)


class LIFEMASK_PT_skin_detail(_InTheTab, bpy.types.Panel):
    """Wrinkles and pores of the selected head"""

    bl_idname = "LIFEMASK_PT_skin_detail"
    bl_label = "Skin Detail"
    bl_order = 3

    @classmethod
    def poll(cls, context):
        selected = head_record.active_head(context)
        return selected is not None and displacement.detail_of(selected) is not None

    def draw(self, context):
        head.draw_skin_detail(self.layout, context)


class LIFEMASK_PT_export(_OfTheHead, bpy.types.Panel):
    """The selected head for other programs"""

    bl_idname = "LIFEMASK_PT_export"
    bl_label = "Export"
    bl_order = 4

    def draw(self, context):
        column = self.layout.column(align=True)
        column.scale_y = 1.4
        column.operator("lifemask.export_head", text="Export", icon="EXPORT")
        column.operator("lifemask.save_as_asset", text="Save as Asset", icon="ASSET_MANAGER")


class LIFEMASK_PT_batch(_InTheTab, bpy.types.Panel):
    """Many people at once"""

    bl_idname = "LIFEMASK_PT_batch"
    bl_label = "Batch"
    bl_options = {"DEFAULT_CLOSED"}
    bl_order = 5

    @classmethod
    def poll(cls, context):
        return session.state not in (State.NOT_SET_UP, State.SETTING_UP)

    def draw(self, context):
        column = self.layout.column()
        column.label(text="A folder of photographs becomes a folder of heads.")
        column.operator("lifemask.batch", text="Choose a Folder", icon="FILE_FOLDER")


CLASSES = (
    *photographs.CLASSES,
    LIFEMASK_PT_lifemask,
    LIFEMASK_PT_head,
    LIFEMASK_PT_expression,
    LIFEMASK_PT_skin_detail,
    LIFEMASK_PT_export,
    LIFEMASK_PT_batch,
)

register, unregister = bpy.utils.register_classes_factory(CLASSES)
