"""What tests of all packages share: where the data and the Blender interpreters are."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

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
def prepared_flame(shared_folder) -> Path:
    """A head in FLAME's format, prepared: eyeballs of their own, joints, no texture coordinates."""
    from backend.face_models.flame import flame_arrays
    from tests.stand_in_heads import write_flame_head

    return _prepared(
        shared_folder / "flame", lambda folder: flame_arrays(write_flame_head(folder / "generic_model.pkl"))
    )


@pytest.fixture(scope="session")
def prepared_bfm(shared_folder) -> Path:
    """A face in the Basel Face Model's format, prepared: one surface, lids and eyes grown together."""
    from backend.face_models.bfm import bfm_arrays
    from tests.stand_in_heads import write_bfm_head

    return _prepared(shared_folder / "bfm", lambda folder: bfm_arrays(write_bfm_head(folder / "BFM_model_front.mat")))


@pytest.fixture(scope="session")
def prepared_gnm(shared_folder) -> Path:
    """A head in GNM Head's format, prepared: sunk irises under clear shells, teeth grown together with their gums."""
    from backend.face_models.gnm import gnm_arrays
    from tests.gnm_heads import write_gnm_head

    return _prepared(
        shared_folder / "gnm", lambda folder: gnm_arrays(write_gnm_head(folder / "gnm_head.npz", modes=GNM_MODES))
    )


@pytest.fixture(scope="session")
def prepared_ict(shared_folder, data_folder) -> Path:
    """ICT-FaceKit, the real one, prepared: shape keys of its own, eyeballs that are no balls."""
    from backend.face_models.ict_files import ict_arrays

    return _prepared(shared_folder / "ict", lambda _: ict_arrays(data_folder / "face_models/ict_facekit.npz"))


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory) -> Path:
    """A folder that all processes of this run of the tests have in common."""
    own = tmp_path_factory.getbasetemp()
    folder = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "shared"
    folder.mkdir(exist_ok=True)
    return folder


def _prepared(folder: Path, arrays_in: Callable) -> Path:
    """The file of a prepared model, made once for all processes; `arrays_in` takes a folder to write the model into."""
    from backend.face_models.preparation import prepare

    path = folder / "prepared.npz"
    with FileLock(folder.with_suffix(".lock")):
        if not path.exists():
            folder.mkdir(exist_ok=True)
            prepare(arrays_in(folder)).save(path)
    return path
