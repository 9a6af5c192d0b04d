"""`blender --command lifemask reconstruct|batch|assets|setup|doctor …`: the commands of the backend.

The command runs in the environment that was set up, as a child whose output and exit code are passed on. Blender files
are written by this very Blender.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import bpy

from .session import session

NAME = "lifemask"
NEED_AN_ENVIRONMENT = ("reconstruct", "batch", "demo", "bench")
ADD_A_FACE_MODEL = ["assets", "add"]
"""Prepares a model, for which the packages are needed too; the other commands about assets need none."""

TAKE_A_BLENDER = MAKE_HEADS = ("reconstruct", "batch")
FOR_SALE = "--for-sale"
USAGE = f"""\
usage: blender --command {NAME} COMMAND ...

  reconstruct PHOTO [PHOTO ...] --output DIR [--format fbx,glb,...]
  batch INPUT --output DIR [--format fbx,glb,...] [--per-person] [--resume] [--jobs N] [--report FILE]
  assets list | add FILE | fetch NAME | remove NAME      face models and their licences
  setup               install what is needed to compute heads
  doctor              what is installed and what is missing

Add --help to a command for all of its options."""
NOT_SET_UP = (
    "lifemask: Lifemask is not set up yet. Run: blender --command lifemask setup (or press Set Up Lifemask in Blender)"
)

_handle = None


def run(arguments: Sequence[str]) -> int:
    """Run a command. Returns its exit code; 2 where it cannot be run."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(USAGE)
        return 0 if arguments else 2
    started = command_of(arguments)
    if started is None:
        print(NOT_SET_UP, file=sys.stderr)
        return 2
    command, variables = started
    sys.stdout.flush()
    with subprocess.Popen(command, env=variables) as child:
        return _wait(child)


def command_of(arguments: Sequence[str]) -> tuple[list[str], dict[str, str]] | None:
    """Command and environment variables of the child; None where an environment is needed and there is none."""
    from ..backend.client import backend_command
    from ..backend.environment import SetupError
    from .setting_up import find_environment

    settings = session.settings
    try:
        found = find_environment(settings.folder, settings.device, settings.existing)
    except SetupError:
        found = None
    if found is None and (arguments[0] in NEED_AN_ENVIRONMENT or list(arguments[:2]) == ADD_A_FACE_MODEL):
        return None
    python = found.python if found else Path(sys.executable)
    arguments = list(arguments)
    if arguments[0] in TAKE_A_BLENDER and not any(each.split("=")[0] == "--blender" for each in arguments):
        arguments += ["--blender", bpy.app.binary_path or sys.executable]
    if arguments[0] in MAKE_HEADS and settings.for_sale and FOR_SALE not in arguments:
        arguments.append(FOR_SALE)
    command, variables = backend_command(python, *arguments)
    variables["LIFEMASK_HOME"] = str(settings.folder)
    variables["LIFEMASK_PARENT_PID"] = str(os.getpid())  # where Blender is killed, the command ends too
    if settings.existing:
        variables["LIFEMASK_ENVIRONMENT_RUNTIME"] = str(settings.existing)
    if settings.face_landmarker:
        variables["LIFEMASK_FACE_LANDMARKER"] = str(settings.face_landmarker)
    return command, variables


def _wait(child: subprocess.Popen) -> int:
    """The child's exit code. Ctrl-C reaches the child by itself, which then cleans up: it must not end us first."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        code = child.wait()
    finally:
        signal.signal(signal.SIGINT, before if callable(before) else signal.SIG_DFL)
    return code if code >= 0 else 128 - code


def register() -> None:
    global _handle
    _handle = bpy.utils.register_cli_command(NAME, run)


def unregister() -> None:
    global _handle
    if _handle is not None:
        bpy.utils.unregister_cli_command(_handle)
    _handle = None
