"""Whose head, where a photograph shows several people."""

from __future__ import annotations

from pathlib import Path

import bpy

from .. import photographed_faces


class LIFEMASK_OT_pick_face(bpy.types.Operator):
    """Make the head of this person"""

    bl_idname = "lifemask.pick_face"
    bl_label = "Choose the Person"
    bl_options = {"UNDO", "INTERNAL"}

    photograph: bpy.props.IntProperty(name="Photograph", description="Line of the list, 0 is the first", min=0)
    face: bpy.props.IntProperty(name="Face", description="1 is the largest", min=1, default=1)

    def execute(self, context):
        photographs = context.scene.lifemask.photographs
        if self.photograph >= len(photographs):
            self.report({"ERROR"}, f"The list holds {len(photographs)} photographs only.")
            return {"CANCELLED"}
        line = photographs[self.photograph]
        path = Path(bpy.path.abspath(line.filepath))
        known = photographed_faces.found_in(path) is not None
        if known and self.face not in [face.number for face in photographed_faces.usable_faces(path)]:
            self.report({"ERROR"}, f"{path.name} shows no face {self.face} that a head can be made from.")
            return {"CANCELLED"}
        line.face = self.face
        return {"FINISHED"}


class LIFEMASK_OT_find_faces(bpy.types.Operator):
    """Look who is in the photographs, to choose the person where there are several"""

    bl_idname = "lifemask.find_faces"
    bl_label = "Find Faces"
    bl_options = {"INTERNAL"}

    @classmethod
    def poll(cls, context):
        return bool(context.scene.lifemask.photographs)

    def execute(self, context):
        if not photographed_faces.look_at_all(context.scene, again=True):
            self.report({"WARNING"}, "Lifemask cannot look now: it is at work or not set up.")
            return {"CANCELLED"}
        return {"FINISHED"}


CLASSES = (LIFEMASK_OT_pick_face, LIFEMASK_OT_find_faces)

register, unregister = bpy.utils.register_classes_factory(CLASSES)
