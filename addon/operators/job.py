"""Buttons for what is going on: stop it, do it again, put it away, read about it, free its memory."""

from __future__ import annotations

from pathlib import Path

import bpy

from ..session import BUSY, State, session


class LIFEMASK_OT_cancel(bpy.types.Operator):
    """Stop. Nothing half finished stays behind"""

    bl_idname = "lifemask.cancel"
    bl_label = "Cancel"
    bl_options = {"INTERNAL"}

    @classmethod
    def poll(cls, context):
        return session.state in (State.SETTING_UP, State.WORKING)

    def execute(self, context):
        session.cancel()
        return {"FINISHED"}


class LIFEMASK_OT_retry(bpy.types.Operator):
    """Do again what went wrong"""

    bl_idname = "lifemask.retry"
    bl_label = "Try Again"
    bl_options = {"INTERNAL"}

    @classmethod
    def poll(cls, context):
        return session.state is State.ERROR

    def execute(self, context):
        session.retry()
        return {"FINISHED"}


class LIFEMASK_OT_dismiss(bpy.types.Operator):
    """Back to the photographs"""

    bl_idname = "lifemask.dismiss"
    bl_label = "Back"
    bl_options = {"INTERNAL"}

    def execute(self, context):
        session.dismiss()
        return {"FINISHED"}


class LIFEMASK_OT_release(bpy.types.Operator):
    """End the process that computes heads, so that its memory is free. The next head takes some seconds longer"""

    bl_idname = "lifemask.release"
    bl_label = "Free Memory"
    bl_options = {"REGISTER"}

    @classmethod
    def poll(cls, context):
        return session.state not in BUSY

    def execute(self, context):
        session.release()
        self.report({"INFO"}, "The memory of Lifemask's process is free.")
        return {"FINISHED"}


class LIFEMASK_OT_open_log(bpy.types.Operator):
    """Open the log, where everything that happened is written down"""

    bl_idname = "lifemask.open_log"
    bl_label = "Open the Log"
    bl_options = {"INTERNAL"}

    filepath: bpy.props.StringProperty(
        name="Log", description="Empty: the newest one", subtype="FILE_PATH", options={"SKIP_SAVE"}
    )

    @classmethod
    def description(cls, context, properties):
        return f"{cls.__doc__}:\n{properties.filepath}" if properties.filepath else cls.__doc__

    def execute(self, context):
        path = Path(self.filepath) if self.filepath else newest_log(session.settings.folder / "logs")
        if path is None or not path.is_file():
            self.report({"ERROR"}, f"There is no log at {path} any more." if path else "There is no log yet.")
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


class LIFEMASK_OT_use_processor(bpy.types.Operator):
    """Compute on the processor from now on, and try again"""

    bl_idname = "lifemask.use_processor"
    bl_label = "Use the Processor"
    bl_options = {"INTERNAL"}

    def execute(self, context):
        from .. import preferences

        preferences.preferences(context).device = "cpu"
        if session.state is State.ERROR:
            session.retry()
        return {"FINISHED"}


class LIFEMASK_OT_show_preferences(bpy.types.Operator):
    """Folder, device, Python and what else is set once for all files"""

    bl_idname = "lifemask.show_preferences"
    bl_label = "Preferences"
    bl_options = {"INTERNAL"}

    def execute(self, context):
        from .. import preferences

        bpy.ops.preferences.addon_show(module=preferences.PACKAGE)
        return {"FINISHED"}


class LIFEMASK_MT_more(bpy.types.Menu):
    """What is needed less often"""

    bl_idname = "LIFEMASK_MT_more"
    bl_label = "Lifemask"

    def draw(self, context):
        layout = self.layout
        layout.operator("lifemask.show_preferences", icon="PREFERENCES")
        layout.operator("lifemask.open_log", icon="TEXT")
        layout.separator()
        layout.operator("lifemask.release", icon="MEMORY")


def newest_log(folder: Path) -> Path | None:
    """The log that was written to last, or None where there is none."""
    logs = [path for path in folder.glob("*.log") if path.is_file()] if folder.is_dir() else []
    return max(logs, key=lambda path: path.stat().st_mtime, default=None)


CLASSES = (
    LIFEMASK_OT_cancel,
    LIFEMASK_OT_retry,
    LIFEMASK_OT_dismiss,
    LIFEMASK_OT_release,
    LIFEMASK_OT_open_log,
    LIFEMASK_OT_use_processor,
    LIFEMASK_OT_show_preferences,
    LIFEMASK_MT_more,
)

register, unregister = bpy.utils.register_classes_factory(CLASSES)
