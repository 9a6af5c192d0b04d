"""Makes, finds, checks or mends the backend's environment in a thread that never touches Blender. No bpy."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..backend.environment import Environment

TORCH_BUILD_OF_DEVICE = {"auto": "auto", "cuda": "cuda", "mps": "auto", "cpu": "cpu"}
"""The build of PyTorch that each device needs; on macOS one build has all."""

RUNTIME_SETS = ("runtime", "runtime-tasks")


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
    """

    root: Path
    device: str = "auto"
    existing: Path | None = None
    wheels: Path | None = None
    python: Path | None = None
    repair: bool = False

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

    An environment for CUDA does for the processor too, and one for the processor for "auto".

    Raises:
        SetupError: there is no Python in `existing`.
    """


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

    @property
    def is_finished(self) -> bool:
        """Whether the thread has ended."""
        return True

    def cancel(self, patience: float = 0.0) -> None:
        """Ask the thread to stop, and wait for it for `patience` seconds."""
