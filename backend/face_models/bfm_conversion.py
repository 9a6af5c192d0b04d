"""Makes `BFM_model_front.mat` of the Basel Face Model of 2009 as the University of Basel gives it out.

The file holds the front of the face, as Deng et al. cut it ("Accurate 3D Face Reconstruction with Weakly-Supervised
Learning", CVPRW 2019), with the expressions of Guo et al. Six files are needed; who gives out which: `FILES`. Nothing
of them comes with the project.

Vertices are chosen in two steps, all numbers counted from 1: `idx` names 35,709 of the 53,215 vertices that have
expressions, and `trimIndex` says which of Basel's 53,490 each of those is. Basel's lengths are micrometres; so are
those of the expressions, whose own mean is left out.
"""

import os
import tempfile
from pathlib import Path

import numpy as np
from scipy.io import loadmat, savemat

from backend.errors import SetupError, UsageError
from backend.face_models.bfm import ALBEDO_SIZE, EXPRESSION_SIZE, IDENTITY_SIZE, SOURCE

BASEL = "01_MorphableModel.mat"
EXPRESSIONS, SPREAD = "Exp_Pca.bin", "std_exp.txt"
FRONT, TRIMMED, ABOUT = "BFM_front_idx.mat", "BFM_exp_idx.mat", "facemodel_info.mat"
DEEP3D = "folder BFM of https://github.com/microsoft/Deep3DFaceReconstruction"
FILES = {  # who gives it out
    BASEL: f"the University of Basel, {SOURCE}, the model of 2009",
    EXPRESSIONS: "Guo et al., https://github.com/Juyong/3DFace, for research only",
    SPREAD: DEEP3D,
    FRONT: DEEP3D,
    TRIMMED: DEEP3D,
    ABOUT: DEEP3D,
}
DECIMETRES_PER_UNIT = 1e-5
ABOUT_KEYS = ("tri", "point_buf", "tri_mask2", "keypoints", "frontmask2_idx", "skinmask")


def can_convert(folder: Path) -> bool:
    """Whether a folder holds the file that a conversion starts from."""
    return (folder / BASEL).is_file()


def convert_bfm(folder: Path, target: Path) -> Path:
    """Makes the file; the largest of Basel's matrices, 0.26 GB as doubles, is held one at a time.

    Args:
        folder: that holds `FILES`.
        target: file to write; it appears when it is whole.

    Returns:
        The target.

    Raises:
        UsageError: "no-face-model-file": some of the files are missing; "bad-face-model-file": one is damaged, or they
            do not belong together.
        SetupError: the target cannot be written.
    """
    missing = [name for name in FILES if not (folder / name).is_file()]
    if missing:
        givers: dict[str, list[str]] = {}
        for name in missing:
            givers.setdefault(FILES[name], []).append(name)
        places = "; ".join(f"{' and '.join(names)} (from {giver})" for giver, names in givers.items())
        raise UsageError(
            "no-face-model-file", f"To make the Basel Face Model's front, {folder} lacks {places}. Put them there."
        )
    front = _counted_from_zero(folder / FRONT, "idx")
    trimmed = _counted_from_zero(folder / TRIMMED, "trimIndex")
    mean = _matrix(folder / BASEL, "shapeMU").reshape(-1)
    _check(folder / TRIMMED, "trimIndex", trimmed, len(mean) // 3)
    _check(folder / FRONT, "idx", front, len(trimmed))
    chosen = _rows_of(trimmed[front])
    content = {
        "meanshape": (mean[chosen] * DECIMETRES_PER_UNIT)[None],
        "meantex": _matrix(folder / BASEL, "texMU").reshape(-1)[chosen][None],
        "idBase": _basis(folder / BASEL, "shape", chosen, IDENTITY_SIZE) * DECIMETRES_PER_UNIT,
        "texBase": _basis(folder / BASEL, "tex", chosen, ALBEDO_SIZE),
        "exBase": _expressions(folder, _rows_of(front), len(trimmed)) * DECIMETRES_PER_UNIT,
        **{name: _matrix(folder / ABOUT, name) for name in ABOUT_KEYS},
    }
    if content["tri"].max(initial=1) > len(front):
        raise _wrong(folder / ABOUT, f"its tri names vertices that are not among the {len(front)} of {FRONT}")
    content = {name: values.astype(np.float32) for name, values in content.items()}
    _write(target, content)
    return target


def _rows_of(vertices: np.ndarray) -> np.ndarray:
    """(3 N,) rows of x, y and z of these vertices, where they lie side by side."""
    return (3 * vertices[:, None] + np.arange(3)).reshape(-1)


def _matrix(path: Path, name: str) -> np.ndarray:
    try:
        data = loadmat(path, variable_names=[name])
    except NotImplementedError as error:  # scipy's answer to MATLAB 7.3, which is HDF5
        raise _wrong(path, "it is a MATLAB file of version 7.3; save it with the option -v7") from error
    except Exception as error:  # damaged files fail in every way there is
        raise _wrong(path, "it cannot be read as a MATLAB file, and may be damaged") from error
    if name not in data:
        raise _wrong(path, f"it has no {name}")
    if data[name].dtype.kind not in "fiub" or not np.isfinite(data[name]).all():
        raise _wrong(path, f"its {name} does not hold numbers only")
    return data[name]


def _counted_from_zero(path: Path, name: str) -> np.ndarray:
    values = _matrix(path, name).reshape(-1)
    counted = values.astype(np.int64)
    if not np.array_equal(counted, values):
        raise _wrong(path, f"its {name} does not hold whole numbers")
    return counted - 1


def _check(path: Path, name: str, rows: np.ndarray, count: int) -> None:
    if not len(rows) or rows.min() < 0 or rows.max() >= count:
        raise _wrong(path, f"its {name} does not count from 1 to {count}")


def _basis(path: Path, kind: str, rows: np.ndarray, size: int) -> np.ndarray:
    """(3 N, size) the first components, in Basel's unit for one standard deviation."""
    spread = _matrix(path, f"{kind}EV").reshape(-1)
    components = _matrix(path, f"{kind}PC")
    if components.ndim != 2 or components.shape[1] != len(spread) or components.shape[1] < size:
        raise _wrong(path, f"its {kind}PC and {kind}EV do not hold {size} components or more")
    if len(components) <= rows.max():
        raise _wrong(path, f"its {kind}PC has fewer vertices than its shapeMU")
    return components[rows, :size] * spread[:size]


def _expressions(folder: Path, rows: np.ndarray, vertices: int) -> np.ndarray:
    """(3 N, 64): after the count of components, their mean and the components, each a row of 3 * 53,215 float32."""
    path, length = folder / EXPRESSIONS, 3 * vertices
    try:
        spread = np.loadtxt(folder / SPREAD).reshape(-1)
    except ValueError as error:
        raise _wrong(folder / SPREAD, "it does not hold numbers only") from error
    with path.open("rb") as stream:
        count = int.from_bytes(stream.read(4), "little", signed=True)
    if path.stat().st_size != 4 + 4 * length * (count + 1):
        raise _wrong(path, f"its size does not fit {count} expressions of the {vertices} vertices in {TRIMMED}")
    for file, held in ((path, count), (folder / SPREAD, len(spread))):
        if held < EXPRESSION_SIZE:
            raise _wrong(file, f"it holds {held} expressions, and {EXPRESSION_SIZE} are needed")
    stored = np.memmap(path, "<f4", "r", 4, (count + 1, length))
    result = np.empty((len(rows), EXPRESSION_SIZE))
    for number in range(EXPRESSION_SIZE):
        result[:, number] = stored[number + 1, rows] * spread[number]
    if not np.isfinite(result).all():
        raise _wrong(path, "it holds numbers that are not finite")
    return result


def _write(target: Path, content: dict[str, np.ndarray]) -> None:
    try:
        handle, name = tempfile.mkstemp(".part", target.name, target.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                savemat(file, content)
            os.replace(name, target)
        finally:
            Path(name).unlink(missing_ok=True)
    except OSError as error:
        reason = error.strerror or str(error)
        raise SetupError("no-permission", f"{target} cannot be written: {reason}.") from error


def _wrong(path: Path, what: str) -> UsageError:
    return UsageError(
        "bad-face-model-file",
        f"{path} cannot be used for the Basel Face Model: {what}. Get it from {FILES[path.name]}.",
    )
