"""After a job: what was made and how sure it is, or what went wrong and what mends it."""

from __future__ import annotations

import bpy

from .. import head_record, paragraphs
from ..session import session
from .parts import large_button, quiet_label

GOOD_ERROR, FAIR_ERROR = 0.03, 0.06
"""Landmark errors, as shares of the distance of the outer eye corners. The backend warns above the second."""

OPERATOR_OF_FIX = {
    "choose-another-photo": ("lifemask.dismiss", "IMAGE_DATA"),
    "choose-face-model": ("lifemask.dismiss", "LOOP_BACK"),
    "add-face-model": ("lifemask.show_preferences", "ADD"),
    "fetch-asset": ("lifemask.show_preferences", "IMPORT"),
    "choose-folder": ("lifemask.show_preferences", "FILE_FOLDER"),
    "install": ("lifemask.set_up", "IMPORT"),
    "set-up": ("lifemask.set_up", "IMPORT"),
    "repair-environment": ("lifemask.set_up", "TOOL_SETTINGS"),
    "retry": ("lifemask.retry", "FILE_REFRESH"),
    "free-space": ("lifemask.retry", "FILE_REFRESH"),
    "allow-online-access": ("lifemask.allow_online_access", "INTERNET"),
    "use-cpu": ("lifemask.use_processor", "MEMORY"),
    "install-python": ("wm.url_open", "URL"),
    "open-log": ("lifemask.open_log", "TEXT"),
}
"""The button for each mend that the backend names: operator and icon. A mend without one is told in the sentence."""

LABEL_OF_FIX = {"free-space": "Try again"}
PROPERTIES_OF_FIX = {
    "install-python": {"url": "https://www.python.org/downloads/"},
    "repair-environment": {"repair": True},
}


def draw_done(layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
    """What was made, how sure, and where to go from here."""
    done = session.done
    width = paragraphs.width_of(context) - paragraphs.BOX_POINTS
    box = layout.box()
    paragraphs.draw(box, done.sentence, width, "CHECKMARK")
    if done.landmark_error is not None:
        paragraphs.draw(box, fit_in_words(done.landmark_error), width, "BLANK1")
    for warning in done.warnings:
        paragraphs.draw(box, warning, width, "ERROR")
    if done.waiting:
        if done.reason:  # without one it is being added just now
            paragraphs.draw(box, done.reason, width, "INFO")
            large_button(layout, "lifemask.build_result", "Add the Head", "ADD")
    elif done.head_id:
        _draw_next_steps(layout, context, done.head_id)
    elif done.folder:
        layout.operator("wm.path_open", text="Open the Folder", icon="FILE_FOLDER").filepath = str(done.folder)
    row = layout.row()
    row.scale_y = 1.4
    row.operator("lifemask.dismiss", text="Back to Photographs", icon="IMAGE_DATA")


def draw_error(layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
    """The sentence, and a button that mends it where there is a mend."""
    error = session.error
    width = paragraphs.width_of(context) - paragraphs.BOX_POINTS
    paragraphs.draw(layout.box(), error.sentence, width, "ERROR", alert=True)
    fix = error.fix
    if fix is not None and fix.action in OPERATOR_OF_FIX:
        operator, icon = OPERATOR_OF_FIX[fix.action]
        button = large_button(layout, operator, LABEL_OF_FIX.get(fix.action, fix.label), icon)
        for name, value in PROPERTIES_OF_FIX.get(fix.action, {}).items():
            setattr(button, name, value)
    elif fix is not None and fix.command:
        quiet_label(layout.box(), fix.command)
    row = layout.row(align=True)
    row.operator("lifemask.dismiss", text="Back", icon="LOOP_BACK")
    if error.log:
        row.operator("lifemask.open_log", text="Open the Log", icon="TEXT").filepath = str(error.log)


def fit_in_words(landmark_error: float) -> str:
    """How well the head lies on the photographs."""
    if landmark_error <= GOOD_ERROR:
        word = "closely"
    elif landmark_error <= FAIR_ERROR:
        word = "fairly well"
    else:
        word = "only roughly"
    return f"Fits {word}: landmarks {100 * landmark_error:.1f} % of the eyes' distance off."


def _draw_next_steps(layout: bpy.types.UILayout, context: bpy.types.Context, head_id: str) -> None:
    record = head_record.record_of(head_record.active_head(context))
    if record is None or record.id != head_id:
        row = layout.row()
        row.scale_y = 1.4
        row.operator("lifemask.select_head", text="Select the Head", icon="RESTRICT_SELECT_OFF").head_id = head_id
        return
    large_button(layout, "lifemask.show_camera_view", "Camera View", "VIEW_CAMERA")
    grid = layout.grid_flow(row_major=True, columns=2, even_columns=True, align=True)
    grid.scale_y = 1.2
    grid.operator("lifemask.set_neutral", text="Neutral", icon="LOOP_BACK")
    grid.operator("lifemask.set_expression", text="As Photographed", icon="IMAGE_DATA")
    grid.operator("lifemask.export_head", text="Export", icon="EXPORT")
    grid.operator("lifemask.save_as_asset", text="Save as Asset", icon="ASSET_MANAGER")
