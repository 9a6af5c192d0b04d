"""FLAME, a head model learnt from scans: reads `generic_model.pkl`, `flame2023.pkl` and `flame2023_Open.pkl`.

Li et al., "Learning a model of facial shape and expression from 4D scans", SIGGRAPH Asia 2017. A person gets the file
from its makers under one of their licences; nothing of it comes with the project. Metres; +Y up, +Z out of the face,
+X to the subject's left, as in model space.

Editions have the same vertices, joints and sizes, so what tells them apart is: FLAME 2023 Open is what holds
`supr_expression_metadata`, whatever the file is called, since a licence to sell must not hang on a file's name; of the
others FLAME 2023 is what has 2023 in its file's name, and all else, the male and female models too, is FLAME 2020.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from backend.errors import UsageError
from backend.face_models.flame_landmarks import find_landmarks, landmark_files, read_landmarks
from backend.face_models.model_arrays import ModelArrays, Skinning
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
SOURCE = "https://flame.is.tue.mpg.de"
FLAME_2020, FLAME_2023, FLAME_2023_OPEN = "flame2020", "flame2023", "flame2023_open"
LABELS = {FLAME_2020: "FLAME 2020", FLAME_2023: "FLAME 2023", FLAME_2023_OPEN: "FLAME 2023 Open"}
LICENCES = {FLAME_2020: RESEARCH_LICENCE, FLAME_2023: RESEARCH_LICENCE, FLAME_2023_OPEN: OPEN_LICENCE}
FILES = {FLAME_2020: "generic_model.pkl", FLAME_2023: "flame2023.pkl", FLAME_2023_OPEN: "flame2023_Open.pkl"}
OPEN_MARK = "supr_expression_metadata"
"""What only the open edition's file holds: where its expressions come from and lie."""
IDENTITY_SIZE, EXPRESSION_SIZE = 300, 100
JOINTS = ("root", "neck", "jaw", "left eye", "right eye")
POSE_FEATURES = 9 * (len(JOINTS) - 1)
NO_JAW = "no_jaw"
MASKS = {"face", "neck", "scalp", "nose"}  # some names in FLAME_masks.pkl
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
        edition: "flame2020", "flame2023" or "flame2023_open"; the module says what decides.
    """

    template: np.ndarray
    faces: np.ndarray
    identity_basis: np.ndarray
    expression_basis: np.ndarray
    pose_basis: np.ndarray
    skinning_weights: np.ndarray
    joint_regressor: np.ndarray
    parents: np.ndarray
    edition: str

    @property
    def licence(self) -> Licence:
        """Of the edition."""
        return LICENCES[self.edition]

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
    if not path.is_file():
        raise UsageError(
            "no-face-model-file",
            f"There is no FLAME model at {path}. Register at {SOURCE}, get the model there and give the path of its "
            f"{' or '.join(FILES.values())}.",
        )
    data = read_pickle(path, SOURCE)
    if not isinstance(data, dict):
        raise _wrong(path, "it holds no dictionary")
    missing = [key for key in KEYS if key not in data]
    if missing:
        raise _wrong(path, f"it has no {', '.join(missing)}{_hint(set(data))}")
    if NO_JAW in path.stem.lower():
        raise _wrong(path, "in this variant the expressions open the jaw, too; give flame2023.pkl of the same download")
    _check_expressions(path, data.get(OPEN_MARK))
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
        edition=edition_of(path, OPEN_MARK in data),
    )


def edition_of(path: Path, has_open_mark: bool) -> str:
    """Which FLAME a file is: "flame2020", "flame2023" or "flame2023_open".

    Args:
        path: of the file.
        has_open_mark: whether it holds `OPEN_MARK`.
    """
    if has_open_mark:
        return FLAME_2023_OPEN
    return FLAME_2023 if "2023" in path.stem else FLAME_2020


def flame_arrays(path: Path, landmarks: Path | None = None) -> ModelArrays:
    """Reads the file, and the landmarks' embedding that lies beside it if there is one.

    Args:
        path: of the model.
        landmarks: `landmark_embedding.npy`, or `flame_static_embedding.pkl` with `flame_dynamic_embedding.npy` beside
            it; without it those beside the model, if any (see `flame_landmarks`).

    Returns:
        One standard deviation is a coefficient of 1. Parts: skin, eyeball_left, eyeball_right, by which joint moves
        them. Joints: root, neck, jaw, left eye, right eye. The file has no albedo, no UVs and no shapes of ARKit.

    Raises:
        UsageError: "no-face-model-file", "bad-face-model-file", "unsafe-file"; see `read_flame`.
    """
    model = read_flame(path)
    if landmarks is None:
        landmarks = find_landmarks(path.parent)
    points = read_landmarks(landmarks, model.faces, model.template) if landmarks is not None else None
    return ModelArrays(
        name=model.edition,
        label=LABELS[model.edition],
        licence=model.licence,
        source=SOURCE,
        mean=model.template.astype(np.float32),
        faces=np.concatenate([model.faces, np.full((len(model.faces), 1), -1)], axis=1).astype(np.int32),
        identity_basis=model.identity_basis.astype(np.float32),
        expression_basis=model.expression_basis.astype(np.float32),
        metres_per_unit=1.0,
        skinning=Skinning(
            names=JOINTS,
            parents=model.parents,
            weights=model.skinning_weights.astype(np.float32),
            regressor=model.joint_regressor.astype(np.float32),
            pose_basis=model.pose_basis.astype(np.float32),
        ),
        landmarks68=points.landmarks68 if points else None,
        contour=points.contour if points else None,
        part_faces=_parts(model),
    )


def files(path: Path) -> list[Path]:
    """What `flame_arrays` reads: the model and the landmarks' embedding beside it."""
    return [Path(path), *landmark_files(Path(path).parent)]


def _parts(model: FlameModel) -> dict[str, np.ndarray]:
    """Rows of faces by the joint that moves all their corners most: an eye's, or another's."""
    joint = model.skinning_weights.argmax(axis=1)[model.faces]
    parts = {}
    for number, name in ((JOINTS.index("left eye"), "eyeball_left"), (JOINTS.index("right eye"), "eyeball_right")):
        parts[name] = np.flatnonzero((joint == number).all(axis=1))
    parts["skin"] = np.setdiff1d(np.arange(len(model.faces)), np.concatenate(list(parts.values())))
    return {name: rows for name, rows in parts.items() if len(rows)}


def _hint(keys: set) -> str:
    """What a dictionary without a model is instead, if that is known."""
    if keys >= MASKS:
        return " (it is the list of FLAME's regions)"
    if "lmk_face_idx" in keys:
        return " (it is the landmarks' embedding: leave it beside the model, and it is found)"
    return ""


def _check_expressions(path: Path, about: Any) -> None:
    """Refuses a file whose expressions are said to lie elsewhere than in the last 100 directions."""
    if about is None:
        return
    count = about.get("n_expr", EXPRESSION_SIZE) if isinstance(about, dict) else None
    where = about.get("expr_components", "last_100") if isinstance(about, dict) else None
    if (count, where) != (EXPRESSION_SIZE, f"last_{EXPRESSION_SIZE}"):
        raise _wrong(path, f"its {OPEN_MARK} says that its expressions are not the last {EXPRESSION_SIZE} of shapedirs")


def _numbers(path: Path, key: str, value: Any) -> np.ndarray:
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "fiu":
        raise _wrong(path, f"its {key} holds no array of numbers")
    if not np.isfinite(value).all():
        raise _wrong(path, f"its {key} holds numbers that are not finite")
    return value


def _wrong(path: Path, what: str) -> UsageError:
    return UsageError(
        "bad-face-model-file",
        f"{path} is no FLAME model: {what}. Expected: {', '.join(FILES.values())}, from {SOURCE}.",
    )
