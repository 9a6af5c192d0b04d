"""The faces that were found in the photographs of the list, so that a person can say whose head is wanted.

The backend finds them in the background, when photographs are added; what it found is kept for this session of
Blender. Drawing reads what is known (`found_in`), operators ask (`look_at_all`).
"""

from __future__ import annotations

import logging
from pathlib import Path

import bpy

from .session import BUSY, Face, FoundFaces, State, session

log = logging.getLogger(__name__)

LARGEST = 1

_found: dict[str, FoundFaces] = {}
_asked: set[str] = set()


def found_in(path: Path) -> FoundFaces | None:
    """What is known of a photograph; None where nobody looked yet."""
    return _found.get(str(path))


def is_asked(path: Path) -> bool:
    """Whether the backend is looking at this photograph."""
    return str(path) in _asked


def look_at_all(scene: bpy.types.Scene, again: bool = False) -> int:
    """Ask the backend for the faces of the photographs in the list that nobody looked at. Returns how many are asked.

    Where Lifemask is not set up or busy nothing is asked; the timer asks when that is over.
    """
    if session.state in BUSY or session.state is State.NOT_SET_UP or not session.is_set_up or bpy.app.background:
        return 0
    paths = [Path(bpy.path.abspath(line.filepath)) for line in scene.lifemask.photographs if line.filepath]
    wanted = [path for path in dict.fromkeys(paths) if str(path) not in _asked and (again or str(path) not in _found)]
    for path in wanted:
        _asked.add(str(path))
        session.find_faces(path, _answered)
    return len(wanted)


def forget() -> None:
    """Know nothing any more."""
    _found.clear()
    _asked.clear()


def remember(found: FoundFaces) -> None:
    """Keep what was found."""
    _found[str(found.path)] = found


def in_words(path: Path, face: int) -> tuple[str, bool]:
    """What to say below a photograph's name, and whether it is something wrong. `face` is 0 for the largest."""
    found = found_in(path)
    if found is None:
        if is_asked(path):
            return "Looking for faces", False
        return (f"Person {face}", False) if face else ("", False)
    if found.failure is not None:
        return "Cannot be read", True
    if not found.faces:
        return "No face found", True
    if not any(each.usable for each in found.faces):
        return "The face is too small", True
    if len(found.faces) == 1:
        return "1 person", False
    return f"{name_of(face or LARGEST)} of {len(found.faces)} people", False


def name_of(number: int) -> str:
    """A face in words, as the picker and the list call it."""
    return "Largest" if number == LARGEST else f"Person {number}"


def box_of(path: Path, face: int) -> tuple[float, float, float, float] | None:
    """Where the chosen face is (shares of the upright picture) in a photograph of several people, else None."""
    found = found_in(path)
    if found is None or len(found.faces) < 2:
        return None
    return next((each.box for each in found.faces if each.number == (face or LARGEST)), None)


def usable_faces(path: Path) -> list[Face]:
    """The faces that a head can be made from, largest first; empty where nothing is known."""
    found = found_in(path)
    return [face for face in found.faces if face.usable] if found else []


def _answered(found: FoundFaces) -> None:
    """The backend's answer, on Blender's main thread.

    That a photograph cannot be read is kept; that the process failed or was stopped is not, so that it can be asked
    again.
    """
    _asked.discard(str(found.path))
    if found.failure is not None and found.failure.kind != "photo":
        log.info("No faces known of %s: %s", found.path, found.failure)
        return
    remember(found)


def register() -> None:
    """Nothing is known at first."""


def unregister() -> None:
    forget()
