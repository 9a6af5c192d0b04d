"""FLAME, a head model learnt from scans: reads its `generic_model.pkl`.

Li et al., "Learning a model of facial shape and expression from 4D scans", SIGGRAPH Asia 2017. A person gets the file
from its makers under one of their licences; nothing of it comes with the project. Metres; +Y up, +Z out of the face,
+X to the subject's left, as in model space.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from backend.errors import UsageError
from backend.face_models.morphable_model import Licence
from backend.face_models.safe_pickle import read_pickle

RESEARCH_LICENCE = Licence(
    "FLAME",
    "FLAME, Max Planck Society: for research that is not commercial, unless the licence in your download says more.",
    commercial=False,
)
OPEN_LICENCE = Licence(
    "CC-BY-4.0",
    "FLAME 2023 Open, Max Planck Society: free for any use that names its makers, within its terms.",
    commercial=True,
)
IDENTITY_SIZE, EXPRESSION_SIZE = 300, 100
JOINTS = ("root", "neck", "jaw", "left eye", "right eye")
POSE_FEATURES = 9 * (len(JOINTS) - 1)
KEYS = ("v_template", "f", "shapedirs", "posedirs", "weights", "J_regressor", "kintree_table")


@dataclass(frozen=True)
class FlameModel:
    """The model's arrays. V is 5,023 in all published files.

    Attributes:
        template: (V, 3) float64 metres, the mean head.
        faces: (F, 3) int64.
        identity_basis: (300, V, 3), expression_basis: (100, V, 3) float64 metres for a coefficient of 1.
        pose_basis: (36, V, 3) float64 metres, for the entries of (rotation - identity) of neck, jaw and eyes.
        skinning_weights: (V, 5) float64, rows sum to 1, in the order of `JOINTS`.
        joint_regressor: (5, V) float64: joints from the vertices of the person's neutral head.
        parents: (5,) int64, -1 for the root.
        licence: by the file's name.
    """

    template: np.ndarray
    faces: np.ndarray
    identity_basis: np.ndarray
    expression_basis: np.ndarray
    pose_basis: np.ndarray
    skinning_weights: np.ndarray
    joint_regressor: np.ndarray
    parents: np.ndarray
    licence: Licence

    def shaped(self, identity: np.ndarray, expression: np.ndarray) -> np.ndarray:
        """The head before any joint turns: (I,) and (E,), as many coefficients as are known, to (V, 3) metres."""
        identity, expression = np.asarray(identity, np.float64), np.asarray(expression, np.float64)
        shape = self.template + np.tensordot(identity, self.identity_basis[: len(identity)], 1)
        return shape + np.tensordot(expression, self.expression_basis[: len(expression)], 1)


def read_flame(path: Path) -> FlameModel:
    """Reads the file; nothing in it is run (see `safe_pickle`).

    Raises:
        UsageError: it is missing, damaged, asks for something unsafe, or holds something else than FLAME.
    """
    data = read_pickle(path)
    if not isinstance(data, dict):
        raise _wrong(path, "it holds no dictionary")
    missing = [key for key in KEYS if key not in data]
    if missing:
        raise _wrong(path, f"it has no {', '.join(missing)}")
    numbers = {key: _numbers(path, key, data[key]) for key in KEYS}
    size, joints = len(numbers["v_template"]), len(JOINTS)
    expected = {
        "v_template": (size, 3),
        "f": (len(numbers["f"]), 3),
        "shapedirs": (size, 3, IDENTITY_SIZE + EXPRESSION_SIZE),
        "posedirs": (size, 3, POSE_FEATURES),
        "weights": (size, joints),
        "J_regressor": (joints, size),
        "kintree_table": (2, joints),
    }
    for key, shape in expected.items():
        if numbers[key].shape != shape:
            found, wanted = (" x ".join(map(str, sides)) for sides in (numbers[key].shape, shape))
            raise _wrong(path, f"its {key} is {found}, where {wanted} was expected")
    faces = numbers["f"].astype(np.int64)
    if faces.min(initial=0) < 0 or faces.max(initial=0) >= size:
        raise _wrong(path, f"its f names vertices that are not among its {size}")
    parents = numbers["kintree_table"][0].astype(np.int64).copy()
    parents[0] = -1  # written as the largest unsigned number
    if not ((parents[1:] >= 0) & (parents[1:] < np.arange(1, joints))).all():
        raise _wrong(path, "its kintree_table is no tree of joints")

    def basis(key: str, columns: slice) -> np.ndarray:
        return np.ascontiguousarray(np.moveaxis(numbers[key].astype(np.float64)[..., columns], 2, 0))

    return FlameModel(
        template=numbers["v_template"].astype(np.float64),
        faces=faces,
        identity_basis=basis("shapedirs", slice(IDENTITY_SIZE)),
        expression_basis=basis("shapedirs", slice(IDENTITY_SIZE, None)),
        pose_basis=basis("posedirs", slice(None)),
        skinning_weights=numbers["weights"].astype(np.float64),
        joint_regressor=numbers["J_regressor"].astype(np.float64),
        parents=parents,
        licence=OPEN_LICENCE if "open" in path.stem.lower() else RESEARCH_LICENCE,
    )


def _numbers(path: Path, key: str, value: Any) -> np.ndarray:
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "fiu":
        raise _wrong(path, f"its {key} holds no array of numbers")
    if not np.isfinite(value).all():
        raise _wrong(path, f"its {key} holds numbers that are not finite")
    return value


def _wrong(path: Path, what: str) -> UsageError:
    return UsageError("bad-face-model-file", f"{path} is no FLAME model: {what}.")
