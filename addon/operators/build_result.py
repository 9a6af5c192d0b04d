"""A finished result comes into the Blender file: the one step that undo takes back."""

from __future__ import annotations

from pathlib import Path

import bpy

from ..session import Request, session

HEAD_IS_GONE = "The head that was to be updated is not in this file, so it was made anew."
HEAD_IS_EDITED = "The head that is to be updated is not in Object Mode."


class LIFEMASK_OT_build_result(bpy.types.Operator):
    """Add the head that was made to the scene"""

    bl_idname = "lifemask.build_result"
    bl_label = "Add the Head"
    bl_options = {"REGISTER", "UNDO", "INTERNAL"}

    directory: bpy.props.StringProperty(
        name="Result Folder",
        description="Empty: what was made last",
        subtype="DIR_PATH",
        options={"HIDDEN", "SKIP_SAVE"},
    )

    @classmethod
    def poll(cls, context):
        if context.mode != "OBJECT":
            cls.poll_message_set("Leave the present mode first: heads are added in Object Mode.")
            return False
        return True

    def execute(self, context):
        from ..result import ResultError, read_result

        done = session.done
        folder = Path(bpy.path.abspath(self.directory)) if self.directory else done and done.folder
        if not folder:
            self.report({"ERROR"}, "There is no result to add. Make a head first.")
            return {"CANCELLED"}
        is_of_session = done is not None and done.folder == folder
        try:
            result = read_result(folder)
        except ResultError as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        request = done.request if is_of_session else None
        if request is not None and is_being_edited(context, request):
            self.report({"ERROR"}, HEAD_IS_EDITED)
            return {"CANCELLED"}
        self.directory = str(folder)  # redoing this step later adds the same head
        head, notes = bring_in(context, result, request)
        if is_of_session:
            from .. import head_record

            session.report_built(head.name, head_record.record_of(head).id, notes)
        for note in notes:
            self.report({"WARNING"}, note)
        return {"FINISHED"}


def bring_in(context: bpy.types.Context, result, request: Request | None) -> tuple[bpy.types.Object, tuple[str, ...]]:
    """Build or update the head of a result; it is selected and active afterwards.

    Args:
        context: of a window, or of Blender without one.
        result: as read from its folder.
        request: what was asked for; None for a folder from elsewhere.

    Returns:
        The head, and sentences on what was not as expected.
    """
    from .. import head_builder, head_record, update

    request = request or Request(())
    scene = next((scene for scene in bpy.data.scenes if scene.session_uid == request.scene), context.scene)
    wanted, notes = head_to_update(context, request), ()
    if wanted is not None:
        record = head_record.describe(result, request.sources, request.options, request.head)
        updated = update.update_head(wanted, result, record, scene)
        head, notes = updated.head, updated.notes
    else:
        if request.head:
            notes = (HEAD_IS_GONE,)
        record = head_record.describe(result, request.sources, request.options)
        built = head_builder.build_head(result, scene, record=record)
        head_builder.make_independent(built)
        head = built.object
        head.location = scene.cursor.location
    select(context, scene, head)
    return head, notes


def head_to_update(context: bpy.types.Context, request: Request) -> bpy.types.Object | None:
    """The head that was asked for; of several copies in a file that was loaded meanwhile the active one.

    None where there is none that can be changed: linked from another file, or deleted from its scene and still held by
    something that points to it.
    """
    from .. import head_record

    active = head_record.active_head(context)
    same = [head for head, record in head_record.heads() if request.head and record.id == request.head]
    same.sort(key=lambda head: (head.session_uid != request.head_uid, head != active))
    return next(
        (head for head in same if head.users_scene and head.library is None and head.data.library is None), None
    )


def is_being_edited(context: bpy.types.Context, request: Request) -> bool:
    """Whether the head to update is in another mode, as in another window: leaving it would undo the update."""
    head = head_to_update(context, request)
    return head is not None and (head.mode != "OBJECT" or head.data.is_editmode)


def select(context: bpy.types.Context, scene: bpy.types.Scene, head: bpy.types.Object) -> None:
    """Make the head the only selected object and the active one, where the scene shows it."""
    layer = context.view_layer if context.scene == scene else scene.view_layers[0]
    layer.update()  # else a window's layer does not know the new collection yet
    if head.name not in layer.objects:
        return
    for other in layer.objects:
        if other.select_get(view_layer=layer):
            other.select_set(False, view_layer=layer)
    head.select_set(True, view_layer=layer)
    layer.objects.active = head


def register() -> None:
    bpy.utils.register_class(LIFEMASK_OT_build_result)


def unregister() -> None:
    bpy.utils.unregister_class(LIFEMASK_OT_build_result)
