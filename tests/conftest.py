"""What tests of all packages share: where the data and the Blender interpreters are."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from backend import environment

ROOT = Path(__file__).resolve().parent.parent
BLENDER_SETS = {"4.2": "blender-4.2", "4.5": "blender", "5.0": "blender-5.0"}
GNM_MODES = (100, 60)
"""Of the test file in GNM Head's format, of identity and expression: the published 253 and 383 take longer."""


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


@pytest.fixture(scope="session")
def prepared_flame(tmp_path_factory) -> Path:
    """A head in FLAME's format, prepared: eyeballs of their own, joints, no texture coordinates."""
    from backend.face_models.flame import flame_arrays
    from tests.stand_in_heads import write_flame_head

    folder = tmp_path_factory.mktemp("flame")
    return _prepared(flame_arrays(write_flame_head(folder / "generic_model.pkl")), folder)


@pytest.fixture(scope="session")
def prepared_bfm(tmp_path_factory) -> Path:
    """A face in the Basel Face Model's format, prepared: one surface, lids and eyes grown together."""
    from backend.face_models.bfm import bfm_arrays
    from tests.stand_in_heads import write_bfm_head

    folder = tmp_path_factory.mktemp("bfm")
    return _prepared(bfm_arrays(write_bfm_head(folder / "BFM_model_front.mat")), folder)


@pytest.fixture(scope="session")
def prepared_gnm(tmp_path_factory) -> Path:
    """A head in GNM Head's format, prepared: sunk irises under clear shells, teeth grown together with their gums."""
    from backend.face_models.gnm import gnm_arrays
    from tests.gnm_heads import write_gnm_head

    folder = tmp_path_factory.mktemp("gnm")
    return _prepared(gnm_arrays(write_gnm_head(folder / "gnm_head.npz", modes=GNM_MODES)), folder)


@pytest.fixture(scope="session")
def prepared_ict(tmp_path_factory, data_folder) -> Path:
    """ICT-FaceKit, the real one, prepared: shape keys of its own, eyeballs that are no balls."""
    from backend.face_models.ict_files import ict_arrays

    return _prepared(ict_arrays(data_folder / "face_models/ict_facekit.npz"), tmp_path_factory.mktemp("ict"))


def _prepared(arrays, folder: Path) -> Path:
    """The file of a prepared model."""
    from backend.face_models.preparation import prepare

    path = folder / f"{arrays.name}.npz"
    prepare(arrays).save(path)
    return path
