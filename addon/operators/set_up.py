"""Installs, finds or mends what Lifemask needs to compute heads."""

from __future__ import annotations

import bpy

from .. import preferences
from ..session import BUSY, SetupChoice, session
from .reconstruct import ended


class LIFEMASK_OT_set_up(bpy.types.Operator):
    """Install what Lifemask needs to compute heads, in its own folder; Blender itself is left alone"""

    bl_idname = "lifemask.set_up"
    bl_label = "Set Up Lifemask"
    bl_options = {"REGISTER"}

    repair: bpy.props.BoolProperty(
        name="Repair",
        description="Install again what is damaged",
        default=False,
        options={"SKIP_SAVE"},
    )

    @classmethod
    def poll(cls, context):
        if session.state in BUSY:
            cls.poll_message_set("Lifemask is at work.")
            return False
        return True

    def execute(self, context):
        choice = choice_of(preferences.preferences(context), self.repair)
        refusal = why_not(choice)
        if refusal is not None:
            session.report_error(refusal)
            self.report({"ERROR"}, refusal.sentence)
            return {"CANCELLED"}
        session.start_set_up(choice)
        return ended(self)


def choice_of(chosen: preferences.LIFEMASK_preferences, repair: bool = False) -> SetupChoice:
    """What the preferences say about the set-up."""
    return SetupChoice(
        root=session.settings.folder,
        device=chosen.device,
        existing=preferences.path_of(chosen.existing_environment),
        wheels=preferences.path_of(chosen.wheel_folder),
        python=preferences.path_of(chosen.python),
        repair=repair,
        face_landmarker=preferences.path_of(chosen.face_landmarker),
    )


def why_not(choice: SetupChoice):
    """The error of a set-up that may not start, or None."""
    from ...backend.environment import Fix, SetupError

    if choice.repair and choice.existing is not None:
        return SetupError(
            "not-ours-to-repair",
            f"The environment {choice.existing} was made by somebody else and is not changed. Mend it there, or empty "
            "the field Existing Environment in the preferences and set Lifemask up.",
            Fix("choose-folder", "Open the preferences"),
        )
    if choice.wheels is not None and not choice.wheels.is_dir():
        return SetupError(
            "no-such-folder",
            f"There is no folder {choice.wheels}. Choose the folder of packages again.",
            Fix("choose-folder", "Open the preferences"),
        )
    if choice.needs_network and not bpy.app.online_access:
        return SetupError(
            "offline",
            "Blender may not use the network, and the packages have to be downloaded. Allow online access, or set "
            "Lifemask up from a folder of packages or with an existing environment.",
            Fix("allow-online-access", "Allow online access"),
        )
    return None


class LIFEMASK_OT_allow_online_access(bpy.types.Operator):
    """Open Blender's preferences where online access is allowed"""

    bl_idname = "lifemask.allow_online_access"
    bl_label = "Allow Online Access"
    bl_options = {"INTERNAL"}

    def execute(self, context):
        session.dismiss()
        if not bpy.app.background:
            bpy.ops.screen.userpref_show(section="SYSTEM")
        return {"FINISHED"}


CLASSES = (LIFEMASK_OT_set_up, LIFEMASK_OT_allow_online_access)

register, unregister = bpy.utils.register_classes_factory(CLASSES)
