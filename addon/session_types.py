"""What the session is told and what it tells: states, settings, requests, progress, outcomes. No bpy."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..backend.protocol import Failure


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
        for_sale: the person sells what they make: nothing is used whose licence forbids that.
        idle_minutes: after how long without work the process ends and gives its memory back; 0 for never.
        blender: the program that writes Blender files in a batch; None where there is none.
    """

    root: Path | None = None
    device: str = "auto"
    existing: Path | None = None
    face_landmarker: Path | None = None
    for_sale: bool = False
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
        head_uid: `session_uid` of that head, for a head and its copies have the same id.
        originals: where the photographs came from, where `photographs` are copies of them.
    """

    photographs: tuple[tuple[Path, int | None], ...]
    options: Mapping[str, object] = field(default_factory=dict)
    scene: int = 0
    head: str = ""
    head_uid: int = 0
    originals: tuple[Path, ...] = ()

    @property
    def sources(self) -> list[tuple[Path, int | None]]:
        """The photographs as a head shall remember them."""
        originals = self.originals or tuple(path for path, _ in self.photographs)
        return [(original, face) for original, (_, face) in zip(originals, self.photographs, strict=True)]


@dataclass
class Work:
    """What is being done.

    Attributes:
        kind: "reconstruct", "update", "batch", or what is done with an asset: "add", "fetch", "remove".
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
