"""The large button: photographs become a head. Also for scripts, and for Blender without a window."""

from __future__ import annotations

from collections.abc import Mapping

import bpy

from .. import properties, ticking
from ..session import BUSY, Request, State, session
from .photographs import chosen_files


class LIFEMASK_OT_reconstruct(bpy.types.Operator):
    """Make a head from the photographs"""

    bl_idname = "lifemask.reconstruct"
    bl_label = "Create Head"
    bl_options = {"REGISTER"}

    filepath: bpy.props.StringProperty(
        name="Photograph", description="Instead of the list", subtype="FILE_PATH", options={"HIDDEN", "SKIP_SAVE"}
    )
    directory: bpy.props.StringProperty(
        name="Folder", description="Of the files", subtype="DIR_PATH", options={"HIDDEN", "SKIP_SAVE"}
    )
    files: bpy.props.CollectionProperty(
        name="Photographs",
        description="Names in the folder, instead of the list",
        type=bpy.types.OperatorFileListElement,
        options={"HIDDEN", "SKIP_SAVE"},
    )

    @classmethod
    def poll(cls, context):
        return can_start(cls, context.scene)

    def execute(self, context):
        photographs = [(path, None) for path in chosen_files(self)]
        photographs = photographs or properties.chosen_photographs(context.scene)
        if not photographs:
            self.report({"ERROR"}, "There are no photographs. Add some to the list first.")
            return {"CANCELLED"}
        session.start_reconstruct(Request(tuple(photographs), options_of(context.scene), context.scene.session_uid))
        return ended(self)


def can_start(operator: type, scene: bpy.types.Scene | None = None) -> bool:
    """A poll for operators that start a job; says why not.

    `scene` is the one whose face model is used, where that is known before.
    """
    if session.state in BUSY:
        operator.poll_message_set("Lifemask is at work. Wait until it is done, or cancel it.")
        return False
    if not session.is_set_up and session.state is not State.ERROR:
        operator.poll_message_set("Lifemask is not set up yet: see its tab in the sidebar of the 3D view.")
        return False
    reason = properties.why_no_head(scene) if scene is not None else ""
    if reason:
        operator.poll_message_set(reason)
        return False
    return True


def options_of(scene: bpy.types.Scene) -> Mapping[str, object]:
    """What the scene says about the next head, as the backend takes it."""
    settings = scene.lifemask
    options: dict[str, object] = {
        "texture_size": int(settings.texture_size),
        "texture": settings.use_texture,
        "detail": settings.use_detail,
        "face_model": settings.face_model_name,
        "method": settings.method,
    }
    if settings.focal_length:
        options["focal_length_mm"] = settings.focal_length
    return options


def ended(operator: bpy.types.Operator) -> set[str]:
    """What an operator returns that has started something: at once in a window, else when it is done.

    Without a window progress is printed, and what went wrong is reported, so that a script gets an exception.
    """
    if not bpy.app.background:
        return {"FINISHED"} if session.error is None else {"CANCELLED"}
    ticking.finish(tell)
    if session.error is not None:
        operator.report({"ERROR"}, session.error.sentence)
        return {"CANCELLED"}
    if session.done is not None and session.done.waiting:
        operator.report({"WARNING"}, f"The head is made but not in the file. {session.done.reason}")
    return {"FINISHED"}


def tell(stage: str, share: float) -> None:
    """One line of progress on the console."""
    print(f"Lifemask [{100 * share:3.0f} %] {stage}", flush=True)


def register() -> None:
    bpy.utils.register_class(LIFEMASK_OT_reconstruct)


def unregister() -> None:
    bpy.utils.unregister_class(LIFEMASK_OT_reconstruct)
