"""Starts a child process in the Blender environment that turns a result folder into Blender files.

A process of its own, because one that holds torch or MediaPipe hangs for ever after Blender's glTF export. A plain OBJ
needs no Blender and is written here.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from backend import environment
from backend.errors import LifemaskError, SetupError
from backend.obj_file import write_obj, write_obj_note
from backend.result_folder import ALBEDO_FILE, read_result

logger = logging.getLogger(__name__)

SCRIPT = Path(__file__).resolve().parent.parent / "addon" / "build_files.py"
BLENDER_FORMATS = ("blend", "fbx", "glb", "usd")
PLAIN_OBJ_OPTIONS = {"parts": "joined", "texture_size": 0, "displacement": "off"}
OBJ_PRESET_OF_BLENDER = "obj-keys"
PORTRAIT_PIXELS = 512
SILENCE_SECONDS = 900  # longer than any one step takes on a slow machine
NEARLY_NO_BYTES = 1_000_000

Progress = Callable[[str, float], None]
"""Called with what has just been finished and the seconds that it took."""


class BlenderError(LifemaskError):
    """The child process failed."""

    def __init__(self, sentence: str):
        super().__init__("blender-files", sentence)


def export(
    folder: Path,
    formats: Sequence[str],
    progress: Progress | None = None,
    *,
    export_options: str = "",
    blender: Path | None = None,
    portrait: bool = True,
) -> list[str]:
    """Write head.blend, head.fbx, head.glb, head.usd, head.obj (with head.mtl) and render.png into a result folder.

    Args:
        folder: a complete result folder.
        formats: of `options.BLENDER_FORMATS`.
        progress: told of each file.
        export_options: JSON of `addon/export_presets.py`; "" for the plain files.
        blender: a Blender program, or an interpreter that imports bpy; by default that of the Blender environment.
        portrait: render.png too, when Blender is started for another file.

    Returns:
        Sentences on what could not be written, because there is no Blender here or this Blender cannot; empty when all
        is there.

    Raises:
        BlenderError: Blender was there and failed.
        ResultFolderError: the folder is not a result.
        OSError: with errno ENOSPC when the disk is full.
    """
    progress = progress or (lambda step, seconds: None)
    wanted = [name for name in BLENDER_FORMATS if name in formats]
    if "obj" in formats:
        if is_plain_obj(export_options):
            texture = ALBEDO_FILE if (folder / ALBEDO_FILE).is_file() else None
            result = read_result(folder)
            write_obj(result, folder / "head.obj", texture)
            write_obj_note(result, folder / "head.obj")
            progress("head.obj", 0.0)
        else:
            wanted.append("obj")
    if not wanted:
        return []
    reason = ""
    if blender is None:
        blender, reason = _find_python()
    elif not blender.is_file():
        blender, reason = None, f"there is no program {blender}. Name another with --blender."
    if blender is None:
        files = [f"head.{name}" for name in wanted] + (["render.png"] if portrait else [])
        names = " and ".join([", ".join(files[:-1]), files[-1]] if files[1:] else files)
        return [f"{names} could not be written: {reason}"]
    with tempfile.TemporaryDirectory(prefix=".blender-", dir=folder) as output:
        refused = _run_child(blender, folder, Path(output), wanted, portrait, export_options, progress)
        for file in Path(output).iterdir():
            os.replace(file, folder / file.name)
    return refused


def is_plain_obj(export_options: str) -> bool:
    """Whether the OBJ that is asked for needs no Blender: the neutral in one piece, with its texture as it is."""
    options = json.loads(export_options or "{}")
    changed = any(options.get(name, plain) != plain for name, plain in PLAIN_OBJ_OPTIONS.items())
    return not changed and options.get("preset", "") != OBJ_PRESET_OF_BLENDER


def is_blender_program(path: Path) -> bool:
    """Whether the file is a Blender rather than a Python that imports bpy: by its name, as nothing else is as quick."""
    return not path.name.lower().startswith(("python", "pypy"))


def _find_python() -> tuple[Path | None, str]:
    """The Blender environment's interpreter, or None and a sentence that says why there is none."""
    try:
        found = environment.find("blender")
    except SetupError as error:
        return None, error.sentence
    if found is None:
        return None, "Blender's Python module is not installed. To install it: python3 -m backend setup blender"
    return found.python, ""


def _start_of_command(blender: Path) -> list[str]:
    if not is_blender_program(blender):
        return [str(blender), str(SCRIPT)]
    options = ("--background", "--factory-startup", "--python-exit-code", "9", "--python")
    return [str(blender), *options, str(SCRIPT), "--"]


def _run_child(
    blender: Path,
    folder: Path,
    output: Path,
    formats: Sequence[str],
    portrait: bool,
    export_options: str,
    progress: Progress,
) -> list[str]:
    """Returns sentences on what this Blender cannot write."""
    command = [*_start_of_command(blender), "--result", str(folder.resolve()), "--output", str(output.resolve())]
    command.append("--end-with-input")
    for name in formats:
        command += ["--format", name]
    if export_options:
        command += ["--options", export_options]
    if portrait:
        command += ["--portrait", str(PORTRAIT_PIXELS)]
    with tempfile.TemporaryDirectory(prefix="lifemask-blender-", ignore_cleanup_errors=True) as resources:
        # Without an existing `config` folder Blender would silently read the user's own settings.
        (Path(resources) / "config").mkdir()
        log_path = Path(resources) / "blender.log"
        try:
            with log_path.open("wb") as log:
                child = subprocess.Popen(
                    command,
                    stdin=subprocess.PIPE,  # its end tells the child that we are gone
                    stdout=subprocess.PIPE,
                    stderr=log,
                    env=_child_variables(Path(resources)),
                    cwd=resources,
                )
        except OSError as error:
            raise BlenderError(f"{blender} cannot be started: {error.strerror}. Is it a Blender program?") from error
        refused: list[str] = []
        try:
            error = _follow(child, progress, refused)
        finally:
            child.kill()
            child.wait()
            child.stdin.close()
            child.stdout.close()
        if error is None:
            return refused
        logger.error("Blender's last words:\n%s", log_path.read_text("utf-8", errors="replace")[-8000:])
    if "No space left" in error or shutil.disk_usage(output).free < NEARLY_NO_BYTES:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(output))
    raise BlenderError(f"The Blender files could not be written: {error}")


def _follow(child: subprocess.Popen, progress: Progress, refused: list[str]) -> str | None:
    """Read the child's reports to their end. Returns None when all went well, else what went wrong.

    Sentences on files that this Blender cannot write are added to `refused`.
    """
    for message in _messages(child):
        if message.get("done"):
            return None
        if "error" in message:
            return str(message["error"])
        if message.get("refused"):
            refused.append(str(message["refused"]))
            continue
        progress(message.get("file") or message["stage"], float(message["seconds"]))
    code = child.wait()
    return f"Blender ended without a word (exit code {code})."


def _messages(child: subprocess.Popen) -> Iterator[dict]:
    """JSON objects, one a line; a child that is silent for too long is ended."""
    for line in iter(lambda: _line_in_time(child), b""):
        try:
            message = json.loads(line)
        except ValueError:
            logger.info(
                "Blender said: %r", line[:200]
            )  # before the script takes its standard output, as a program does
            continue
        if isinstance(message, dict):
            yield message


def _line_in_time(child: subprocess.Popen) -> bytes:
    guard = threading.Timer(SILENCE_SECONDS, child.kill)
    guard.daemon = True
    guard.start()
    try:
        return child.stdout.readline()
    finally:
        guard.cancel()


def _child_variables(resources: Path) -> dict[str, str]:
    """The environment without what would lead Python or Blender astray."""
    variables = {
        name: value
        for name, value in environment.clean_variables().items()
        if not name.startswith(("BLENDER_", "OCIO", "CYCLES_"))
    }
    variables["BLENDER_USER_RESOURCES"] = str(resources)
    return variables
