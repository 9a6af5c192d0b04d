"""How the backend process is started in the environment that was set up. No bpy."""

from __future__ import annotations

import os

from .session_types import Program, Settings


def find_program(settings: Settings) -> Program | None:
    """How to start the backend in the environment that the settings name; None where none is complete.

    Reads a few small files, starts nothing. Raises SetupError where an environment is named that is not there.
    """
    from ..backend.client import backend_command
    from .setting_up import find_environment

    found = find_environment(settings.folder, settings.device, settings.existing)
    if found is None:
        return None
    arguments = ["serve", "--parent-pid", str(os.getpid()), "--give-way"]
    if settings.idle_minutes:
        arguments += ["--idle-exit", str(round(60 * settings.idle_minutes))]
    command, variables = backend_command(found.python, *arguments)
    variables["LIFEMASK_HOME"] = str(settings.folder)
    if settings.face_landmarker:
        variables["LIFEMASK_FACE_LANDMARKER"] = str(settings.face_landmarker)
    return Program(tuple(command), variables)
