"""Where the 68 landmarks lie on FLAME: reads the embeddings that RingNet, DECA and their kin come with.

Two layouts are in use. `landmark_embedding.npy` (DECA, MICA, SMIRK): an array that holds one dictionary, some of its
values tensors of torch. `flame_static_embedding.pkl` with `flame_dynamic_embedding.npy` (RingNet, FLAME_PyTorch): the
51 points inside the face, and the contour. A point is a face of FLAME's mesh and three barycentric coordinates.

The contour is a table of 79 rows, each the 17 points of the jaw's line for a head turned by so many degrees. All public
code takes row n for n degrees, 0 to 39, and row 39 + n for n degrees the other way; but which way is the first differs
(smplx and FLAME_PyTorch take it for a head turned to its right, DECA for one turned to its left). So it is
told by the points: on the cheek that is turned away the line runs further forward.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from backend.errors import UsageError
from backend.face_models.model_arrays import ContourLandmarks
from backend.face_models.morphable_model import SurfacePoints
from backend.face_models.safe_pickle import read_npy, read_pickle

EMBEDDING = "landmark_embedding.npy"
STATIC, DYNAMIC = "flame_static_embedding.pkl", "flame_dynamic_embedding.npy"
CONTOUR_POINTS, INNER_POINTS = 17, 51
LARGEST_YAW = 39
ROWS = 2 * LARGEST_YAW + 1
CHIN = 8  # of the contour's points: before it the subject's right, after it the left


@dataclass(frozen=True)
class FlameLandmarks:
    """The model's own landmarks.

    Attributes:
        landmarks68: as seen from the front.
        contour: the first 17 for a head that is turned.
    """

    landmarks68: SurfacePoints
    contour: ContourLandmarks


def find_landmarks(folder: Path) -> Path | None:
    """The embedding in a folder, `landmark_embedding.npy` first; None where there is none that is complete."""
    if (folder / EMBEDDING).is_file():
        return folder / EMBEDDING
    if (folder / STATIC).is_file() and (folder / DYNAMIC).is_file():
        return folder / STATIC
    return None


def landmark_files(folder: Path) -> list[Path]:
    """The files of the embedding that `find_landmarks` finds; none without one."""
    found = find_landmarks(folder)
    if found is None:
        return []
    return [found] if found.name == EMBEDDING else [folder / STATIC, folder / DYNAMIC]


def read_landmarks(path: Path, faces: np.ndarray, template: np.ndarray) -> FlameLandmarks:
    """Reads an embedding; nothing in it is run (see `safe_pickle`).

    Args:
        path: `landmark_embedding.npy`, or either file of the pair, the other beside it.
        faces: (F, 3) of the model; template: (V, 3) its mean head.

    Raises:
        UsageError: "no-face-model-file", "bad-face-model-file", "unsafe-file".
    """
    if path.name in (STATIC, DYNAMIC):
        inner = read_pickle(path.with_name(STATIC))
        contour = read_npy(path.with_name(DYNAMIC))
        inner_names, contour_names = (("lmk_face_idx", "lmk_b_coords"),) * 2
        full = None
    else:
        inner = contour = full = read_npy(path)
        inner_names = ("static_lmk_faces_idx", "static_lmk_bary_coords")
        contour_names = ("dynamic_lmk_faces_idx", "dynamic_lmk_bary_coords")
    reader = _Reader(path, faces)
    rows = reader.points(contour, contour_names, (ROWS, CONTOUR_POINTS))
    table = _by_yaw([SurfacePoints(*row) for row in zip(rows.vertices, rows.barycentric, strict=True)], template)
    if full is not None and "full_lmk_faces_idx" in full:
        all_points = reader.points(full, ("full_lmk_faces_idx", "full_lmk_bary_coords"), (1, 68))
        return FlameLandmarks(SurfacePoints(all_points.vertices[0], all_points.barycentric[0]), table)
    inside, line = reader.points(inner, inner_names, (INNER_POINTS,)), table.at(0.0)
    both = (np.concatenate(pair) for pair in ((line.vertices, inside.vertices), (line.barycentric, inside.barycentric)))
    return FlameLandmarks(SurfacePoints(*both), table)


def _by_yaw(rows: list[SurfacePoints], template: np.ndarray) -> ContourLandmarks:
    """The table in the order of yaw; row n is for n degrees and row 39 + n for -n, or the other way round.

    With a positive yaw the camera is on the subject's left and the right cheek is turned away.
    """
    yaw = np.concatenate([np.arange(LARGEST_YAW + 1), -np.arange(1, LARGEST_YAW + 1)]).astype(np.float64)

    def right_before_left(row: SurfacePoints) -> float:
        forward = row.apply(template)[:, 2]
        return float(forward[:CHIN].mean() - forward[CHIN + 1 :].mean())

    if right_before_left(rows[LARGEST_YAW]) < right_before_left(rows[-1]):
        yaw = -yaw
    order = np.argsort(yaw)
    return ContourLandmarks(yaw[order], tuple(rows[number] for number in order))


@dataclass(frozen=True)
class _Reader:
    path: Path
    faces: np.ndarray

    def points(self, data: Any, names: tuple[str, str], shape: tuple[int, ...]) -> SurfacePoints:
        """(*shape, 3) vertices and weights of the points under two names of a dictionary."""
        if not isinstance(data, dict) or not set(names) <= set(data):
            raise self._wrong(f"it has no {' and '.join(names)}")
        rows, shares = (np.asarray(data[name]) for name in names)
        if (
            rows.dtype.kind not in "iu"
            or rows.shape != shape
            or shares.dtype.kind != "f"
            or shares.shape != (*shape, 3)
        ):
            sides = " x ".join(map(str, shape))
            raise self._wrong(f"its {names[0]} or {names[1]} does not hold {sides} points")
        if rows.min() < 0 or rows.max() >= len(self.faces):
            raise self._wrong(f"its {names[0]} names faces that are not among the model's {len(self.faces)}")
        if not np.isfinite(shares).all() or np.abs(shares.sum(axis=-1) - 1).max() > 1e-3:
            raise self._wrong(f"the weights in its {names[1]} do not sum to 1")
        return SurfacePoints(self.faces[rows].astype(np.int32), shares.astype(np.float32))

    def _wrong(self, what: str) -> UsageError:
        return UsageError(
            "bad-face-model-file",
            f"{self.path} is no embedding of landmarks in FLAME: {what}. Expected: {EMBEDDING} of DECA, or {STATIC} "
            f"and {DYNAMIC} of RingNet; without one beside the model Lifemask finds the landmarks itself.",
        )
