"""Keeps the session going while Blender has a window: a timer that runs only while there is something to do.

It also brings a finished head into the file, through an operator of its own, so that one step back removes the head
and one step forward brings it back.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import time

import bpy

from . import photographed_faces
from .operators import build_result
from .session import BUSY, State, session

log = logging.getLogger(__name__)

SECONDS_BETWEEN_TIMERS = 0.05
SECONDS_BETWEEN_DRAWINGS = 0.25
"""Of progress: drawing the sidebar takes longer than anything else that happens here."""

POSTPONED_FOR = ("TRANSFORM_OT_",)
"""While one of these is running with the mouse, nothing is added to the scene."""

SCENE_IS_GONE = "The scene that it was made for is not in this file any more."
NOT_IN_OBJECT_MODE = "Blender is not in Object Mode."

_drawn: tuple = ()
_drawn_at = 0.0


def wake() -> None:
    """Let the timer run. Without a window there are no timers: operators call `finish` there."""
    if not bpy.app.background and not bpy.app.timers.is_registered(_tick):
        bpy.app.timers.register(_tick, first_interval=0.0, persistent=True)


def finish(told=None) -> None:
    """Without a window: go on until nothing is left to do, and bring the result into the file.

    Args:
        told: called with a stage and its share when they change.
    """
    session.run(told)
    bring_in_result()


def bring_in_result() -> bool:
    """Build the head that the session has ready, where that is possible now. Returns whether to ask again soon.

    Where it is not possible the head waits with a reason, and the panel has a button.
    """
    done = session.done
    if done is None or not done.waiting or done.reason:
        return False
    if not any(scene.session_uid == done.request.scene for scene in bpy.data.scenes):
        session.report_waiting(SCENE_IS_GONE)
        return False
    override = _override(done.request.scene)
    with bpy.context.temp_override(**override) if override else contextlib.nullcontext():
        if bpy.context.mode != "OBJECT":
            session.report_waiting(NOT_IN_OBJECT_MODE)
            return False
        if build_result.is_being_edited(bpy.context, done.request):
            session.report_waiting(build_result.HEAD_IS_EDITED)
            return False
        if any(running.bl_idname.startswith(POSTPONED_FOR) for running in _modal_operators()):
            return True
        try:
            bpy.ops.lifemask.build_result("EXEC_DEFAULT", True)  # True: a step that can be undone
            if done.kind == "reconstruct":
                _look_at_selected(override, done.request.scene)
        except RuntimeError as error:  # what the operator reported
            from ..backend.protocol import LifemaskError

            session.report_error(LifemaskError("result-not-built", _sentence(error)))
    return False


def _look_at_selected(override: dict, scene_uid: int) -> None:
    """Bring a new head into view, with its texture: at its size it would hide inside Blender's first cube.

    A camera's view stays, and so does a shading that somebody has chosen.
    """
    area = override.get("area")
    if area is None or override["window"].scene.session_uid != scene_uid:
        return  # no window shows the scene: what another one shows stays
    space = area.spaces.active
    if space.region_3d.view_perspective != "CAMERA":
        bpy.ops.view3d.view_selected()
    if space.shading.type == "SOLID" and space.shading.color_type == "MATERIAL":
        space.shading.color_type = "TEXTURE"


def _override(scene_uid: int) -> dict:
    """A context that a mouse click would have: a 3D view of a window that shows the scene, else of any window."""
    if bpy.app.background:
        return {}
    windows = sorted(bpy.context.window_manager.windows, key=lambda window: window.scene.session_uid != scene_uid)
    for window in windows:
        for area in window.screen.areas:
            if area.type == "VIEW_3D":
                region = next(region for region in area.regions if region.type == "WINDOW")
                return {"window": window, "area": area, "region": region}
    return {"window": windows[0]} if windows else {}


def _modal_operators() -> list[bpy.types.Operator]:
    """What waits for the mouse in any window."""
    return [running for window in bpy.context.window_manager.windows for running in window.modal_operators]


def _tick() -> float | None:
    """Blender's timer."""
    try:
        was_busy = session.state in BUSY
        session.tick()
        again = bring_in_result()
        if was_busy and session.state in (State.READY, State.DONE):
            photographed_faces.look_at_all(bpy.context.scene)  # of photographs that were added meanwhile
        redraw_if_changed()
    except Exception as error:  # else Blender would drop the timer without a word in the panel
        log.exception("the timer failed")
        session.report_error(error)
        redraw_sidebars()
        again = False  # what failed would fail again
    return SECONDS_BETWEEN_TIMERS if session.is_busy or again else None


def redraw_if_changed() -> None:
    """Draw the sidebars and the preferences again, and nothing else, when what the session shows there has changed."""
    global _drawn, _drawn_at
    now = (session.state, session.version, int(session.work.seconds) if session.work else 0)
    is_only_progress = _drawn[:1] == now[:1] and session.state in BUSY
    if now == _drawn or is_only_progress and time.monotonic() - _drawn_at < SECONDS_BETWEEN_DRAWINGS:
        return
    _drawn, _drawn_at = now, time.monotonic()
    redraw_sidebars()


def redraw_sidebars() -> None:
    """Draw the sidebars of all 3D views again, and the preferences where they are open."""
    for window in bpy.context.window_manager.windows:
        for area in window.screen.areas:
            if area.type == "VIEW_3D":
                for region in area.regions:
                    if region.type == "UI":
                        region.tag_redraw()
            elif area.type == "PREFERENCES":
                area.tag_redraw()


@bpy.app.handlers.persistent
def _on_load(*_) -> None:
    """Another file: what was made for the last one is not news here, unless it still waits."""
    if session.done is not None and not session.done.waiting:
        session.dismiss()


def _sentence(error: RuntimeError) -> str:
    return str(error).strip().removeprefix("Error: ")


def register() -> None:
    from . import preferences

    session.wake = wake
    with contextlib.suppress(KeyError):  # enabled without an entry in the preferences, as some scripts do
        session.configure(preferences.settings_of(preferences.preferences()))
    bpy.app.handlers.load_post.append(_on_load)
    atexit.register(session.shut_down)


def unregister() -> None:
    """End everything that was started; a timer that is left behind crashes some versions of Blender at their end."""
    if _on_load in bpy.app.handlers.load_post:
        bpy.app.handlers.load_post.remove(_on_load)
    if bpy.app.timers.is_registered(_tick):
        bpy.app.timers.unregister(_tick)
    session.shut_down()
    atexit.unregister(session.shut_down)
