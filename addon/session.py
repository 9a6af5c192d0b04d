"""What Lifemask is doing and what came of it: one state machine for the panel, the operators and the timers. No bpy.

Nothing here blocks and nothing runs by itself: `Session.tick` is called by a timer where Blender has a window
(`ticking.py`), and by a loop where it has none (`Session.run`). What is drawn reads the attributes of `session`;
`session.version` grows whenever one of them changes.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

from . import jobs
from .setting_up import SettingUp, SetupChoice, SetupProgress

if TYPE_CHECKING:
    from ..backend.client import Backend
    from ..backend.protocol import Failure

log = logging.getLogger(__name__)

SECONDS_BETWEEN_TICKS = 0.02


class State(Enum):
    """Which face the panel shows."""

    NOT_SET_UP = "not set up"
    SETTING_UP = "setting up"
    READY = "ready"
    WORKING = "working"
    CANCELLING = "cancelling"
    DONE = "done"
    ERROR = "error"


BUSY = (State.SETTING_UP, State.WORKING, State.CANCELLING)
"""States in which nothing new can be started."""


@dataclass(frozen=True)
class Settings:
    """What the preferences say.

    Attributes:
        root: the folder of environments, logs and jobs; None for the platform's own.
        device: "auto", "cuda", "mps" or "cpu".
        existing: an environment that somebody else made, to be used as it is.
        face_landmarker: the file of MediaPipe's newer detector, where it lies somewhere else than in `root`.
        idle_minutes: after how long without work the process ends and gives its memory back; 0 for never.
        blender: the program that writes Blender files in a batch; None where there is none.
    """

    root: Path | None = None
    device: str = "auto"
    existing: Path | None = None
    face_landmarker: Path | None = None
    idle_minutes: float = 5.0
    blender: Path | None = None

    @property
    def folder(self) -> Path:
        """`root`, or the platform's folder."""
        from ..backend import environment

        return self.root or environment.home()


@dataclass(frozen=True)
class Program:
    """How the backend process is started: the command and all of its environment variables."""

    command: tuple[str, ...]
    variables: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Request:
    """One head as asked for.

    Attributes:
        photographs: (file, face) of one person; face 1 is the largest, None leaves it open.
        options: as the backend's method `reconstruct` takes them: texture_size, texture, device, focal_length_mm.
        scene: `session_uid` of the scene that the head is for. A loaded file has other ones, so that the head never
            lands in a file that it was not meant for.
        head: id of the head to update (`head_record`), empty for a new head.
    """

    photographs: tuple[tuple[Path, int | None], ...]
    options: Mapping[str, object] = field(default_factory=dict)
    scene: int = 0
    head: str = ""


@dataclass
class Work:
    """What is being done.

    Attributes:
        kind: "reconstruct", "update" or "batch".
        stage: what is done now, in words.
        share: of the whole, 0 to 1.
        detail: more words, such as the count and the time left of a batch; may be empty.
        cancelling: the person asked to stop.
    """

    kind: str
    stage: str = "Starting"
    share: float = 0.0
    detail: str = ""
    cancelling: bool = False
    started: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        """Since the start."""
        return time.monotonic() - self.started


@dataclass(frozen=True)
class Done:
    """What came of it.

    Attributes:
        sentence: what was made.
        head_name, head_id: the head in the Blender file; empty while it is not there, and for a batch.
        landmark_error: as the backend measured it, a share of the eyes' distance; None where it did not.
        warnings: sentences.
        seconds: from the start to the result.
        folder: the result folder, or the output folder of a batch.
        waiting: the result is not in the Blender file yet: the button "Add the head" brings it there.
        reason: why it waits, in a sentence.
        kind: as of `Work`.
        request: what was asked for; None for a batch.
    """

    sentence: str
    head_name: str = ""
    head_id: str = ""
    landmark_error: float | None = None
    warnings: tuple[str, ...] = ()
    seconds: float = 0.0
    folder: Path | None = None
    waiting: bool = False
    reason: str = ""
    kind: str = "reconstruct"
    request: Request | None = None


@dataclass(frozen=True)
class Face:
    """A face in a photograph: `number` 1 is the largest; `box` is x, y, width, height as shares of the upright
    picture; `usable` says whether it is large enough for a head."""

    number: int
    box: tuple[float, float, float, float]
    usable: bool = True


@dataclass(frozen=True)
class FoundFaces:
    """The faces of a photograph (width and height in pixels), or why they could not be looked for."""

    path: Path
    faces: tuple[Face, ...] = ()
    width: int = 0
    height: int = 0
    failure: Failure | None = None


FacesCallback = Callable[[FoundFaces], None]


def find_program(settings: Settings) -> Program | None:
    """How to start the backend in the environment that the settings name; None where none is complete.

    Reads a few small files, starts nothing. Raises SetupError where an environment is named that is not there.
    """
    from ..backend.client import backend_command
    from .setting_up import find_environment

    found = find_environment(settings.folder, settings.device, settings.existing)
    if found is None:
        return None
    arguments = ["serve", "--parent-pid", str(os.getpid())]
    if settings.idle_minutes:
        arguments += ["--idle-exit", str(round(60 * settings.idle_minutes))]
    command, variables = backend_command(found.python, *arguments)
    variables["LIFEMASK_HOME"] = str(settings.folder)
    if settings.face_landmarker:
        variables["LIFEMASK_FACE_LANDMARKER"] = str(settings.face_landmarker)
    return Program(tuple(command), variables)


class Session:
    """The state machine. Only ever used from Blender's main thread.

    Attributes:
        settings: what the preferences say, see `configure`.
        is_set_up: whether there is an environment, as of the last look.
        setup: how far the set-up is, while it runs.
        work: what is being done, or None.
        error: what went wrong last, until `dismiss`.
        done: what was made last, until `dismiss`.
        info: what the backend process said about itself (device, face models with licences), or None.
        find_program: how the backend process is found; tests put another one here.
        wake: called when there is something to tick for.
    """

    def __init__(self) -> None:
        self.settings = Settings()
        self.version = 0
        self.is_set_up = False
        self.setup: SetupProgress | None = None
        self.work: Work | None = None
        self.error: Failure | None = None
        self.done: Done | None = None
        self.info: dict | None = None
        self.find_program: Callable[[Settings], Program | None] = find_program
        self.wake: Callable[[], None] = lambda: None
        self._backend: Backend | None = None
        self._program: Program | None = None
        self._setting_up: SettingUp | None = None
        self._running: int | None = None
        self._request: Request | None = None
        self._again: Callable[[], None] | None = None
        self._faces: dict[int, tuple[Path, FacesCallback]] = {}

    @property
    def state(self) -> State:
        """Follows from the attributes, so that the two can never disagree."""
        if self.setup is not None:
            return State.SETTING_UP
        if self.work is not None:
            return State.CANCELLING if self.work.cancelling else State.WORKING
        if self.error is not None:
            return State.ERROR
        if self.done is not None:
            return State.DONE
        return State.READY if self.is_set_up else State.NOT_SET_UP

    @property
    def is_busy(self) -> bool:
        """Whether `tick` has something to do: set-up, work, or faces that are looked for."""
        return self.state in BUSY or bool(self._faces)

    # What the person asks for

    def configure(self, settings: Settings) -> None:
        """Take over what the preferences say, and look whether an environment is there."""
        self.settings = settings
        self.look_again()

    def look_again(self) -> None:
        """Look whether there is an environment. Reads a few small files."""

    def start_set_up(self, choice: SetupChoice) -> None:
        """Make, find or mend the environment in a thread. Raises LifemaskError when busy."""

    def cancel_set_up(self) -> None:
        """Stop the set-up. What is complete stays and is used next time."""

    def start_reconstruct(self, request: Request) -> None:
        """Ask for a head, or for new figures of one. Raises LifemaskError when busy; anything else becomes `error`."""

    def start_batch(self, parameters: Mapping[str, object]) -> None:
        """Ask for many heads in files, as the backend's method `batch` takes it. Raises LifemaskError when busy."""

    def find_faces(self, path: Path, callback: FacesCallback) -> None:
        """Look for the faces in a photograph; `callback` is called from `tick`. Never changes the state."""

    def cancel(self) -> None:
        """Stop whatever runs. Within a second, or by force 3 s later."""

    def retry(self) -> None:
        """Do again what failed."""

    def dismiss(self) -> None:
        """Forget what was reported: back to the photographs."""

    def release(self) -> None:
        """End the backend process, so that its memory is free; the next request starts another. Not while busy."""

    def shut_down(self) -> None:
        """End everything that was started. Called when the add-on is disabled and when Blender ends."""

    # What happens

    def tick(self) -> None:
        """Take over what the set-up and the backend process reported. Never blocks."""

    def run(self, told: Callable[[str, float], None] | None = None) -> None:
        """Tick until nothing is to be done any more: for Blender without a window.

        Args:
            told: called with a stage and its share when they change.
        """

    def report_built(self, name: str, head_id: str, notes: tuple[str, ...] = ()) -> None:
        """The head of `done` is in the Blender file now."""

    def report_waiting(self, reason: str) -> None:
        """The head of `done` could not be brought into the Blender file; `reason` is a sentence."""

    def _changed(self) -> None:
        self.version += 1


session = Session()
"""The one of this Blender."""

__all__ = [
    "BUSY", "Done", "Face", "FoundFaces", "Program", "Request", "Session", "Settings", "SetupChoice", "SetupProgress",
    "State", "Work", "asdict", "find_program", "jobs", "log", "replace", "session",
]  # fmt: skip
