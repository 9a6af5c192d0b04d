"""Makes, finds, checks or mends the backend's environment in a thread that never touches Blender. No bpy."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..backend.environment import Environment, Progress

log = logging.getLogger(__name__)

TORCH_BUILD_OF_DEVICE = {"auto": "auto", "cuda": "cuda", "mps": "auto", "cpu": "cpu"}
"""The build of PyTorch that each device needs; on macOS one build has all."""


@dataclass(frozen=True)
class SetupChoice:
    """How to set Lifemask up.

    Attributes:
        root: the folder that the environment goes to.
        device: "auto", "cuda", "mps" or "cpu": decides which build of PyTorch is installed.
        existing: use this environment, after checking it, and install nothing.
        wheels: install from the wheels in this folder, without a network.
        python: the interpreter to make the environment with; None looks for one that fits.
        repair: install again what is damaged.
        face_landmarker: the file of MediaPipe's newer detector, where it lies somewhere else than in `root`.
    """

    root: Path
    device: str = "auto"
    existing: Path | None = None
    wheels: Path | None = None
    python: Path | None = None
    repair: bool = False
    face_landmarker: Path | None = None

    @property
    def needs_network(self) -> bool:
        """Whether something is downloaded."""
        return self.existing is None and self.wheels is None


@dataclass(frozen=True)
class SetupProgress:
    """How far the set-up is: a sentence, the share of the whole, and the download where there is one."""

    sentence: str
    fraction: float = 0.0
    package: str = ""
    bytes_done: int = 0
    bytes_total: int = 0


def find_environment(root: Path, device: str, existing: Path | None) -> Environment | None:
    """The complete environment for a device, or None. Reads a few small files.

    One that was made for another device does too where it can: PyTorch for CUDA runs on the processor, and "automatic"
    takes what is there.

    Raises:
        SetupError: there is no Python in `existing`.
    """
    from ..backend import environment

    if existing is not None:
        return environment.named("runtime", existing)
    wanted = TORCH_BUILD_OF_DEVICE[device]
    builds = [wanted] if device == "cuda" else [wanted, "cpu", "cuda"]
    found = (environment.find_runtime(root, build) for build in dict.fromkeys(builds))
    return next((one for one in found if one is not None), None)


class SettingUp:
    """One set-up in a thread.

    Attributes:
        progress: the latest; a whole new object each time, so that reading needs no lock.
        error: what went wrong, once `is_finished`; None where all went well.
    """

    def __init__(self, choice: SetupChoice) -> None:
        self.choice = choice
        self.progress = SetupProgress("Starting")
        self.error: Exception | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="Lifemask set-up", daemon=True)
        self._thread.start()

    @property
    def is_finished(self) -> bool:
        """Whether the thread has ended."""
        return not self._thread.is_alive()

    def cancel(self, patience: float = 0.0) -> None:
        """Ask the thread to stop, and wait for it for at most `patience` seconds."""
        self._stop.set()
        self._thread.join(patience)

    def _run(self) -> None:
        try:
            self._make()
        except Exception as error:  # it is the session's to say so, in the main thread
            log.info("the set-up ended: %s", error, exc_info=True)
            self.error = error

    def _make(self) -> None:
        from ..backend.face_landmarker import provide_face_landmarker

        choice = self.choice
        provide_face_landmarker(
            self._make_environment(),
            self._tell,
            self._stop.is_set,
            root=choice.root,
            given=choice.face_landmarker,
            wheel_folder=choice.wheels,
            may_download=choice.needs_network,
        )

    def _make_environment(self) -> Environment:
        from ..backend import environment

        choice = self.choice
        if choice.existing is not None:
            self.progress = SetupProgress(f"Checking the packages in {choice.existing}", 0.1)
            return environment.existing("runtime", choice.existing, self._stop.is_set)
        build = TORCH_BUILD_OF_DEVICE[choice.device]
        name = environment.choose_runtime(choice.root, build, choice.python)
        make = environment.repair if choice.repair else environment.ensure
        return make(
            name,
            self._tell,
            self._stop.is_set,
            build=build,
            root=choice.root,
            base_python=choice.python,
            wheel_folder=choice.wheels,
        )

    def _tell(self, progress: Progress) -> None:
        self.progress = SetupProgress(
            progress.sentence,
            progress.fraction,
            progress.package or "",
            progress.bytes_done or 0,
            progress.bytes_total or 0,
        )
