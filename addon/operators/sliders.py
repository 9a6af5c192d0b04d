"""The buttons of the expression panel: neutral, as photographed, mirrored, reset, one key on and off."""

from __future__ import annotations

import bpy

from .. import arkit_regions, expressions, head_record

REGION_ITEMS = (
    ("all", "Whole Face", "All sliders"),
    *((region.name, region.label, f"The sliders of the region {region.label}") for region in arkit_regions.REGIONS),
)
MIRROR_ITEMS = (
    (expressions.LEFT_TO_RIGHT, "Left to Right", "The person's right side becomes as the left one"),
    (expressions.RIGHT_TO_LEFT, "Right to Left", "The person's left side becomes as the right one"),
    (expressions.SWAP, "Swap Sides", "Left and right change places"),
)


class _OnActiveHead:
    """An operator that needs a Lifemask head as the active object."""

    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def poll(cls, context):
        if head_record.active_head(context) is None:
            cls.poll_message_set("Select a head that Lifemask made.")
            return False
        return True


class LIFEMASK_OT_set_neutral(_OnActiveHead, bpy.types.Operator):
    """Bring the face to rest: eyes open, mouth shut, every shape key at 0"""

    bl_idname = "lifemask.set_neutral"
    bl_label = "Neutral"

    def execute(self, context):
        expressions.set_neutral(head_record.active_head(context))
        return {"FINISHED"}


class LIFEMASK_OT_set_expression(_OnActiveHead, bpy.types.Operator):
    """Give the face the expression, lids and gaze of a photograph"""

    bl_idname = "lifemask.set_expression"
    bl_label = "As Photographed"

    photograph: bpy.props.IntProperty(name="Photograph", description="0 is the first", min=0)

    def execute(self, context):
        head = head_record.active_head(context)
        photographs = head_record.record_of(head).photographs
        if self.photograph >= len(photographs):
            self.report({"ERROR"}, f"{head.name} was made from {len(photographs)} photographs only.")
            return {"CANCELLED"}
        expressions.show(head, photographs[self.photograph].values)
        return {"FINISHED"}


class LIFEMASK_OT_mirror_keys(_OnActiveHead, bpy.types.Operator):
    """Copy one side of the face to the other, or swap the sides"""

    bl_idname = "lifemask.mirror_keys"
    bl_label = "Mirror Expression"

    direction: bpy.props.EnumProperty(name="Direction", items=MIRROR_ITEMS)
    region: bpy.props.EnumProperty(name="Region", items=REGION_ITEMS)

    @classmethod
    def description(cls, context, properties):
        return next(text for name, _, text in MIRROR_ITEMS if name == properties.direction)

    def execute(self, context):
        expressions.mirror(head_record.active_head(context), self.region, self.direction)
        return {"FINISHED"}


class LIFEMASK_OT_reset_keys(_OnActiveHead, bpy.types.Operator):
    """Set sliders to 0"""

    bl_idname = "lifemask.reset_keys"
    bl_label = "Reset Expression"

    region: bpy.props.EnumProperty(name="Region", items=REGION_ITEMS)

    @classmethod
    def description(cls, context, properties):
        label = dict((name, label) for name, label, _ in REGION_ITEMS)[properties.region]
        return f"Set the sliders to 0: {label}"

    def execute(self, context):
        expressions.reset(head_record.active_head(context), self.region)
        return {"FINISHED"}


class LIFEMASK_OT_toggle_key(_OnActiveHead, bpy.types.Operator):
    """Try a shape key: all the way on, or off again"""

    bl_idname = "lifemask.toggle_key"
    bl_label = "Try a Shape Key"
    bl_options = {"UNDO", "INTERNAL"}

    key: bpy.props.StringProperty(name="Key", description="An ARKit name; its other side goes along")

    @classmethod
    def description(cls, context, properties):
        slider = arkit_regions.SLIDER_OF_KEY.get(properties.key)
        if slider is None:
            return cls.__doc__
        return f"{slider.tooltip}.\nClick to try it, once more to take it back. Shape key: {', '.join(slider.keys)}"

    def execute(self, context):
        slider = arkit_regions.SLIDER_OF_KEY.get(self.key)
        together = slider.keys if slider and not slider.is_direction else (self.key,)
        expressions.toggle(head_record.active_head(context), together)
        return {"FINISHED"}


class LIFEMASK_MT_mirror(bpy.types.Menu):
    """Which side goes where"""

    bl_idname = "LIFEMASK_MT_mirror"
    bl_label = "Mirror"

    def draw(self, context):
        for direction, label, _ in MIRROR_ITEMS:
            self.layout.operator("lifemask.mirror_keys", text=label).direction = direction


CLASSES = (
    LIFEMASK_OT_set_neutral,
    LIFEMASK_OT_set_expression,
    LIFEMASK_OT_mirror_keys,
    LIFEMASK_OT_reset_keys,
    LIFEMASK_OT_toggle_key,
    LIFEMASK_MT_mirror,
)

register, unregister = bpy.utils.register_classes_factory(CLASSES)
