"""The front of the Basel Face Model 2009 with expressions, as Deep3D and its kin use it: reads `BFM_model_front.mat`.

Paysan et al., AVSS 2009; expressions by Guo et al. (FaceWarehouse); the cut and the file by Deng et al., "Accurate 3D
Face Reconstruction with Weakly-Supervised Learning", CVPRW 2019. A person gets the model from the University of Basel
and makes the file from it; nothing of it comes with the project.

The file counts from 1, is in decimetres about the mean of the vertices, x, y and z of a vertex side by side; colours
are sRGB bytes. Its axes are those of model space: +Y up, +Z out of the face, +X to the subject's left.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.io import loadmat, whosmat

from backend.errors import UsageError
from backend.face_models.albedo import AlbedoBasis
from backend.face_models.model_arrays import ModelArrays
from backend.face_models.morphable_model import Licence, SurfacePoints

LICENCE = Licence(
    "BFM",
    "Basel Face Model, University of Basel: for research that is not commercial; neither the model nor what is made "
    "from it may be passed on without its licence.",
    commercial=False,
)
NAME, LABEL, SOURCE = "bfm2009", "Basel Face Model 2009", "https://faces.dmi.unibas.ch/bfm"
METRES_PER_UNIT = 0.1
IDENTITY_SIZE, EXPRESSION_SIZE, ALBEDO_SIZE = 80, 64, 80
LANDMARKS = 68
TRIANGLES_AROUND = 8  # columns of point_buf
KEYS = (
    "meanshape", "meantex", "idBase", "exBase", "texBase", "tri", "point_buf", "tri_mask2", "keypoints",
    "frontmask2_idx", "skinmask",
)  # fmt: skip


@dataclass(frozen=True)
class BfmFront:
    """The model, counted from 0 and in metres. V is 35,709 in the file that is in use.

    Attributes:
        mean: (V, 3) float32 metres; the origin is the mean of the vertices.
        identity_basis: (80, V, 3), expression_basis: (64, V, 3) float32 metres for one standard deviation.
        mean_albedo: (V, 3) float32 sRGB, 0 to 255; albedo_basis: (80, V, 3) the same for one standard deviation.
        faces: (F, 3) int64, counter-clockwise from outside.
        faces_of_vertex: (V, 8) int64 rows of `faces` round each vertex, F where there are fewer.
        front_faces: (F,) bool, the part of the face that pixels are compared on (`tri_mask2`).
        front_vertices: (N,) int64, `frontmask2_idx`.
        skin: (V,) bool, where the albedo should be even.
        landmarks68: (68,) int64 vertices in the order of iBUG 300-W; the contour's are fixed, so wrong in profile.
    """

    mean: np.ndarray
    identity_basis: np.ndarray
    expression_basis: np.ndarray
    mean_albedo: np.ndarray
    albedo_basis: np.ndarray
    faces: np.ndarray
    faces_of_vertex: np.ndarray
    front_faces: np.ndarray
    front_vertices: np.ndarray
    skin: np.ndarray
    landmarks68: np.ndarray
    licence: Licence = LICENCE


def read_bfm_front(path: Path) -> BfmFront:
    """Reads the file.

    Raises:
        UsageError: it is missing, no MATLAB file of version 5, or something in it has another shape or range.
    """
    data = _read_matrices(path)
    size = data["meanshape"].size // 3
    expected = {
        "meanshape": (1, 3 * size),
        "meantex": (1, 3 * size),
        "idBase": (3 * size, IDENTITY_SIZE),
        "exBase": (3 * size, EXPRESSION_SIZE),
        "texBase": (3 * size, ALBEDO_SIZE),
        "tri": (len(data["tri"]), 3),
        "point_buf": (size, TRIANGLES_AROUND),
        "tri_mask2": (len(data["tri_mask2"]), 3),
        "keypoints": (1, LANDMARKS),
        "frontmask2_idx": (data["frontmask2_idx"].size, 1),
        "skinmask": (1, size),
    }
    for key, shape in expected.items():
        if data[key].shape != shape:
            raise _wrong(path, f"its {key} is {_sides(data[key].shape)}, where {_sides(shape)} was expected")
        if not np.isfinite(data[key]).all():
            raise _wrong(path, f"its {key} holds numbers that are not finite")

    def basis(key: str, unit: float) -> np.ndarray:
        return np.ascontiguousarray(data[key].T, np.float32).reshape(-1, size, 3) * np.float32(unit)

    def counted_from_zero(key: str, count: int) -> np.ndarray:
        values = data[key].astype(np.int64) - 1
        if not np.array_equal(values + 1, data[key]) or values.min(initial=0) < 0 or values.max(initial=0) >= count:
            raise _wrong(path, f"its {key} does not count from 1 to {count}")
        return values

    mean = data["meanshape"].reshape(-1, 3).astype(np.float64)
    faces, front = counted_from_zero("tri", size), counted_from_zero("tri_mask2", size)
    return BfmFront(
        mean=((mean - mean.mean(axis=0)) * METRES_PER_UNIT).astype(np.float32),
        identity_basis=basis("idBase", METRES_PER_UNIT),
        expression_basis=basis("exBase", METRES_PER_UNIT),
        mean_albedo=data["meantex"].reshape(-1, 3).astype(np.float32),
        albedo_basis=basis("texBase", 1.0),
        faces=faces,
        faces_of_vertex=counted_from_zero("point_buf", len(faces) + 1),
        front_faces=np.isin(_numbers(faces, size), _numbers(front, size)),
        front_vertices=counted_from_zero("frontmask2_idx", size)[:, 0],
        skin=data["skinmask"][0] > 0.5,
        landmarks68=counted_from_zero("keypoints", size)[0],
    )


def bfm_arrays(path: Path) -> ModelArrays:
    """Reads the file.

    Its colours are sRGB bytes and vary by adding bytes; here they are linear. The mean is the linear colour of the
    file's mean; a basis is the file's times the slope of the way from bytes to linear colour at that mean, so that a
    small coefficient changes a colour as it does in the file, and a large one less exactly.

    Args:
        path: of `BFM_model_front.mat`.

    Returns:
        One standard deviation is a coefficient of 1. One part, "skin": lids and eyeballs are one surface. The 68
        landmarks are vertices, and those of the jaw's line do not slide. No joints, no UVs, no shapes of ARKit.

    Raises:
        UsageError: as `read_bfm_front`.
    """
    model = read_bfm_front(path)
    mean, slope = linear_of_bytes(model.mean_albedo)
    triangles = np.concatenate([model.faces, np.full((len(model.faces), 1), -1)], axis=1)
    return ModelArrays(
        name=NAME,
        label=LABEL,
        licence=LICENCE,
        source=SOURCE,
        mean=model.mean,
        faces=triangles.astype(np.int32),
        identity_basis=model.identity_basis,
        expression_basis=model.expression_basis,
        metres_per_unit=METRES_PER_UNIT,
        albedo=AlbedoBasis(mean, model.albedo_basis * slope),
        landmarks68=SurfacePoints(
            np.repeat(model.landmarks68[:, None], 3, axis=1).astype(np.int32),
            np.tile(np.float32([1, 0, 0]), (LANDMARKS, 1)),
        ),
        part_faces={"skin": np.arange(len(model.faces))},
    )


def linear_of_bytes(colour: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """sRGB bytes (...) as linear light, and how much a byte more adds there; what is beyond 0 to 255 is cut off."""
    share = np.clip(np.asarray(colour, np.float64) / 255, 0, 1)
    base = (share + 0.055) / 1.055
    linear = np.where(share <= 0.04045, share / 12.92, base**2.4)
    slope = np.where(share <= 0.04045, 1 / 12.92, 2.4 / 1.055 * base**1.4) / 255
    return linear.astype(np.float32), slope.astype(np.float32)


def _read_matrices(path: Path) -> dict[str, np.ndarray]:
    if not path.is_file():
        raise UsageError(
            "no-face-model-file",
            f"There is no Basel Face Model at {path}. Get the model of 2009 from the University of Basel ({SOURCE}) "
            "and give the folder of its 01_MorphableModel.mat, with the files that belong to it, or a "
            "BFM_model_front.mat that was made of them.",
        )
    try:
        data = loadmat(path, variable_names=KEYS)
    except NotImplementedError as error:  # scipy's answer to MATLAB 7.3, which is HDF5
        raise _wrong(path, "it is a MATLAB file of version 7.3; save it with the option -v7") from error
    except Exception as error:  # damaged files fail in every way there is
        raise _wrong(path, "it cannot be read as a MATLAB file, and may be damaged") from error
    missing = [key for key in KEYS if key not in data]
    if missing:
        hint = ""
        if "shapePC" in _names(path):
            hint = " (it is the full model: give the folder it lies in, and the front is made of it)"
        raise _wrong(path, f"it has no {', '.join(missing)}{hint}")
    for key in KEYS:
        if data[key].dtype.kind not in "fiub":
            raise _wrong(path, f"its {key} holds no numbers")
    return data


def _names(path: Path) -> list[str]:
    """What the file holds, without reading it: the full model's matrices take a gigabyte."""
    return [name for name, _, _ in whosmat(path)]


def _numbers(faces: np.ndarray, size: int) -> np.ndarray:
    """(F,) one number for each set of three vertices, whichever of them comes first."""
    ordered = np.sort(faces, axis=1)
    return (ordered[:, 0] * size + ordered[:, 1]) * size + ordered[:, 2]


def _sides(shape: tuple[int, ...]) -> str:
    return " x ".join(str(side) for side in shape)


def _wrong(path: Path, what: str) -> UsageError:
    return UsageError(
        "bad-face-model-file",
        f"{path} is no BFM_model_front.mat: {what}. It is made of the University of Basel's model of 2009 ({SOURCE}).",
    )
