"""What tests of all packages share: where the data and the Blender interpreters are."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from backend import environment

ROOT = Path(__file__).resolve().parent.parent
BLENDER_SETS = {"4.2": "blender-4.2", "4.5": "blender", "5.0": "blender-5.0"}


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of test data: `$LIFEMASK_DATA`, else ../shared/data. Skips where there is none."""
    folder = Path(os.environ.get("LIFEMASK_DATA") or ROOT.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"the test data is not here: {folder} (set LIFEMASK_DATA)")
    return folder


@pytest.fixture(scope="session")
def blender_python() -> Callable[[str], Path]:
    """A function from Blender's version ("4.2", "4.5", "5.0") to the interpreter that imports that bpy.

    Where it is not installed the test is skipped, except under `python3 -m tests` and in CI, where it fails.
    """

    def interpreter(version: str) -> Path:
        found = environment.find(BLENDER_SETS[version])
        if found is not None:
            return found.python
        reason = f"Blender {version} is not installed: python3 -m backend setup {BLENDER_SETS[version]}"
        if os.environ.get("LIFEMASK_ALL_TESTS") or os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)

    return interpreter
