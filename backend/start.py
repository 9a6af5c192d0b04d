"""Goes on inside the environment that a command needs, after making it with visible progress.

Standard library only. `python3 -m backend`, `python3 -m training` and `python3 -m tests` begin here.
"""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TextIO

from . import environment
from .environment import Environment, Progress
from .errors import UsageError
from .face_landmarker import COMMAND, FACE_LANDMARKER, download_face_landmarker

ROOT = Path(__file__).resolve().parent.parent


def inside(set_name: str, module: str, arguments: list[str]) -> None:
    """Returns if this process already runs in an environment with the set; otherwise starts `python -m module` in it.

    Args:
        set_name: of the requirement set.
        module: to start there.
        arguments: for it.

    Raises:
        SetupError, Cancelled: as `environment.ensure`.
    """
    if environment.is_current(set_name):
        return
    there = ensure(set_name)
    variables = environment.clean_variables()
    if Path.cwd() != ROOT:
        variables["PYTHONPATH"] = str(ROOT)
    command = [str(there.python), "-m", module, *arguments]
    sys.stdout.flush()
    sys.stderr.flush()
    if sys.platform != "win32":
        os.execve(command[0], command, variables)
    process = subprocess.Popen(command, env=variables)
    while True:
        try:
            sys.exit(process.wait())
        except KeyboardInterrupt:  # Windows sends Ctrl-C to the child too, which says what is to be said
            continue


def ensure(set_name: str, repairing: bool = False, **how) -> Environment:
    """`environment.ensure` (or `repair`) for a terminal: says what will be installed and where, shows the progress.

    "runtime" stands for whichever set this machine has a Python for, see `environment.choose_runtime`.
    """
    build = how.get("build", "auto")
    if set_name == "runtime":
        set_name = environment.choose_runtime(build=build, base_python=how.get("base_python"))
    if not repairing and (found := environment.find(set_name, build)):
        return found
    wanted = environment.requirement_set(set_name)
    folder = environment.environment_folder(set_name, build)
    how.setdefault("base_python", environment.find_python(wanted.python))  # before promising anything
    packages = [line for _, requirements in wanted.steps for line in requirements]
    terminal = TerminalProgress()
    terminal.write_line(f"To {wanted.purpose}, Lifemask installs these packages once, about {wanted.installed_mb} MB:")
    terminal.write_line(f"  {', '.join(packages)}")
    terminal.write_line(f"  into {folder}")
    try:
        make = environment.repair if repairing else environment.ensure
        made = make(set_name, terminal, **how)
    except KeyboardInterrupt:
        terminal.write_line("\nWhat is installed so far is kept; the same command goes on from there.")
        raise
    finally:
        terminal.close()
    terminal.write_line(f"Done in {terminal.seconds():.0f} s.")
    return made


def face_landmarker(agreed: bool) -> Path:
    """The file of the second detector; downloaded after somebody has agreed.

    Args:
        agreed: on the command line; otherwise the terminal asks.

    Raises:
        SetupError, Cancelled: as `downloads.download`.
        UsageError("not-agreed"): nobody agreed.
    """
    wanted, target = FACE_LANDMARKER, environment.home() / "assets" / FACE_LANDMARKER.name
    if target.is_file() and wanted.is_in(target):
        return target
    terminal = TerminalProgress()
    terminal.write_line(f"{wanted.name}: {wanted.size / 1e6:.1f} MB, licence {wanted.licence}")
    terminal.write_line(f"  from {wanted.source}")
    terminal.write_line(f"  to   {target}")
    if not agreed and not (sys.stdin.isatty() and input("Download it? [y/N] ").strip().lower() in ("y", "yes")):
        raise UsageError("not-agreed", f"Nothing was downloaded. To download it without a question: {COMMAND} --yes")
    try:
        return download_face_landmarker(terminal)
    finally:
        terminal.close()


class TerminalProgress:
    """Shows progress as one changing line in a terminal, and as few lines as say enough anywhere else."""

    def __init__(self, stream: TextIO | None = None):
        self.stream = stream or sys.stderr
        self.changing = self.stream.isatty()
        self.started = time.monotonic()
        self.shown = ""
        self.key: tuple | None = None

    def __call__(self, progress: Progress) -> None:
        text = f"[{100 * progress.fraction:3.0f} %] {progress.sentence}"
        if progress.package:
            text += f": {progress.package}"
        quarter = None
        if progress.bytes_total:
            total = f"{progress.bytes_total / 1e6:.1f} MB"
            text += f" ({total})" if progress.bytes_done is None else f" ({progress.bytes_done / 1e6:.1f} of {total})"
            quarter = None if progress.bytes_done is None else 4 * progress.bytes_done // progress.bytes_total
        large = quarter is not None and progress.bytes_total > 20e6
        key = (progress.step, progress.sentence, progress.package, quarter if large else None)
        if self.changing:
            self._show(text)
        elif key != self.key:
            self.write_line(text)
        self.key = key

    def write_line(self, text: str) -> None:
        self.close()
        self.stream.write(text + "\n")
        self.stream.flush()

    def close(self) -> None:
        """Clears the changing line."""
        if self.shown:
            self._show("")

    def seconds(self) -> float:
        return time.monotonic() - self.started

    def _show(self, text: str) -> None:
        width = os.get_terminal_size(self.stream.fileno()).columns or 80
        text = text[: width - 1]
        self.stream.write("\r" + text + " " * (len(self.shown) - len(text)) + ("" if text else "\r"))
        self.stream.flush()
        self.shown = text
