"""Runs a script in the window of a real Blender, with the extension installed and a real backend at hand.

The program that does it is `blender-gui`: on the PATH, named by $BLENDER_GUI, or beside the test data. It brings
Blender 5.2 ("sid") and 4.3 ("trixie") in folders of their own and clicks with a real mouse. The tests are left out of
the ordinary run: `python3 -m tests -m gui`.
"""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from backend import environment

ROOT = Path(__file__).resolve().parents[2]
BLENDERS = {"5.2": "sid", "4.3": "trixie"}
SECONDS_AT_MOST = 420


@dataclass(frozen=True)
class WindowRun:
    """What a script in the window left: its figures by name and its pictures."""

    figures: dict[str, float]
    folder: Path


@pytest.fixture(params=sorted(BLENDERS))
def window_blender(request: pytest.FixtureRequest) -> str:
    """Blender's version."""
    return request.param


@pytest.fixture(scope="session")
def in_window(data_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., WindowRun]:
    """A function that runs a script of this folder in a Blender's window.

    The script gets the folder that it may write to, the environment of the backend and the folder of test data as
    arguments, or the first and the project's own folder. A Python error that Blender only prints fails the test.
    """
    program = _program(data_folder)
    runtime = environment.find("runtime") or environment.find("tests")
    if runtime is None:
        pytest.skip("the backend's packages are not installed: python3 -m backend setup runtime")
    base = Path(os.path.realpath(runtime.python)).parent.parent
    kept = Path(os.environ.get("LIFEMASK_GUI_OUT") or tmp_path_factory.mktemp("window"))

    def run(version: str, script: str, *, project: bool = False) -> WindowRun:
        folder = kept / f"{Path(script).stem}-{version}"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        variables = dict(
            os.environ,
            BLENDER_GUI_SUITE=BLENDERS[version],
            BLENDER_GUI_EXT=str(ROOT),
            BLENDER_GUI_OUT=str(folder),
            BLENDER_GUI_BIND=":".join(map(str, (folder, runtime.folder, base, data_folder))),
            BLENDER_GUI_TIMEOUT=str(SECONDS_AT_MOST),
        )
        places = [ROOT] if project else [runtime.folder, data_folder]
        command = [program, Path(__file__).with_name(script), folder, *places]
        ended = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
        log = folder / "gui.log"
        said = log.read_text("utf-8", errors="replace") if log.exists() else ""
        assert ended.returncode == 0, f"{script} in Blender {version}:\n{said[-4000:]}\n{ended.stderr[-2000:]}"
        figures = {name: json.loads(value) for name, value in re.findall(r"^FIGURE (\S+) (\S+)$", said, re.MULTILINE)}
        return WindowRun(figures, folder)

    return run


def _program(data_folder: Path) -> Path:
    named = os.environ.get("BLENDER_GUI") or shutil.which("blender-gui") or data_folder.parent / "tools" / "blender-gui"
    if not Path(named).is_file():
        pytest.skip("the program blender-gui is not here (set BLENDER_GUI)")
    if os.name != "posix" or os.geteuid() != 0:
        pytest.skip("blender-gui needs root")
    return Path(named)
