"""The folder of a run: settings, commit, seed, command, metrics, pictures, checkpoints."""

import json
import os
import platform
import re
import shlex
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from backend.errors import UsageError
from backend.output_folder import check_folder_above
from training.settings import RunSettings, read_settings, write_settings

ROOT = Path(__file__).resolve().parents[2]
DEFAULT_PLACE = Path("runs")
QUOTED_PATH = re.compile(r"(?<=')(?:[A-Za-z]:[\\/]|~?/)(?:[^'\\/]+[\\/])*([^'\\/]*)(?=')")
ABSOLUTE_PATH = re.compile(r"(?<![\w.~/:-])(?:[A-Za-z]:[\\/]|~?/)(?:[^\s'\"\\/=]+[\\/])*([^\s'\"\\/=]*)")


@dataclass(frozen=True)
class RunFolder:
    """Where everything of a run lies.

    Attributes:
        path: the folder. In it `settings.yaml`, `run.json` (method, preset, command, commit, seed, machine, and every
            time it was resumed with what had changed), `metrics.csv`, `metrics.json` (the last values), `tensorboard/`,
            `pictures/` and `checkpoints/last.ckpt`.
    """

    path: Path

    @property
    def settings_file(self) -> Path:
        return self.path / "settings.yaml"

    @property
    def record_file(self) -> Path:
        return self.path / "run.json"

    @property
    def metrics_table(self) -> Path:
        return self.path / "metrics.csv"

    @property
    def figures_file(self) -> Path:
        return self.path / "metrics.json"

    @property
    def pictures(self) -> Path:
        return self.path / "pictures"

    @property
    def checkpoint(self) -> Path:
        return self.path / "checkpoints" / "last.ckpt"

    def begin(self, method: str, preset: str | None, settings: RunSettings, arguments: list[str]) -> None:
        """Makes the folder and writes down what the run is. Only the first of several processes does anything.

        A run that ended before its first checkpoint, such as one whose data were missing, is replaced.

        Raises:
            UsageError: there is a run already, or the folder cannot be made.
        """
        if rank_zero_only.rank != 0:
            return
        if self.checkpoint.exists():
            raise UsageError(
                "run-exists",
                f"{self.path} holds a run already. Add --resume to go on with it, or name another with --output.",
            )
        check_folder_above(self.path)
        self.path.mkdir(parents=True, exist_ok=True)
        write_settings(settings, self.settings_file)
        record = {
            "method": method,
            "preset": preset,
            "face_model": settings.face_model,
            "command": f"python3 -m training {shlex.join(arguments)}",
            "commit": commit(),
            "seed": settings.training.seed,
            "begun": _now(),
            "torch": torch.__version__,
            "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
            "resumed": [],
        }
        write_json(self.record_file, record)

    def note_resumed(self, settings: RunSettings, changes: dict[str, tuple[Any, Any]], step: int) -> None:
        """Writes down that the run goes on from a step, and with which settings."""
        if rank_zero_only.rank != 0:
            return
        record = self.record()
        changed = {name: {"from": before, "to": after} for name, (before, after) in changes.items()}
        record["resumed"].append({"step": step, "when": _now(), "commit": commit(), "changed": changed})
        write_json(self.record_file, record)
        write_settings(settings, self.settings_file)

    def record(self) -> dict[str, Any]:
        """What `run.json` says. Raises UsageError where this is no folder of a run."""
        return self._read(self.record_file)

    def figures(self) -> dict[str, Any]:
        """What `metrics.json` says, {} before the end of the first part."""
        return self._read(self.figures_file) if self.figures_file.exists() else {}

    def settings(self, settings_class: type[RunSettings], method: str) -> RunSettings:
        """The settings of the run, with those of its last resumption."""
        return read_settings(settings_class, method, self.settings_file)

    def _read(self, path: Path) -> dict[str, Any]:
        try:
            return json.loads(path.read_text("utf-8"))
        except FileNotFoundError as error:
            raise UsageError(
                "no-run", f"{self.path} is no folder of a run: there is no {path.name}. `fit --output` makes one."
            ) from error
        except (OSError, ValueError) as error:
            raise UsageError("run-unreadable", f"{path} cannot be read: {error}") from error


def default_folder(method: str, preset: str | None) -> Path:
    """`runs/<method>/<preset>`, from the folder in which the command runs."""
    return DEFAULT_PLACE / method / (preset or "defaults")


def commit() -> str:
    """The commit of the code, with "+changes" where code is not committed; "unknown" outside a checkout."""
    try:
        head = _git("rev-parse", "--short=12", "HEAD")
        changes = _git("status", "--porcelain", "--untracked-files=no", "--", "backend", "training")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head + ("+changes" if changes else "")


def without_places(content: Any) -> Any:
    """JSON values in which absolute paths have lost their folders: what is published says nothing of a machine."""
    if isinstance(content, dict):
        return {name: without_places(value) for name, value in content.items()}
    if isinstance(content, list | tuple):
        return [without_places(value) for value in content]
    if not isinstance(content, str):
        return content
    return ABSOLUTE_PATH.sub(r"\1", QUOTED_PATH.sub(r"\1", content))


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Replaces a JSON file at once: a reader finds the old one or the new one."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", "utf-8")
    partial.replace(path)


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
