"""GNM Head, Google's model of the head with eyes, teeth and tongue: reads `gnm_head.npz` of version 3.

Ploumpis et al., "GNM Head: A Generative aNthropometric Model of the human head", arXiv 2607.23687, 2026. What the file
holds is stated in the public repository google/GNM, folder gnm/shape: README.md (sizes, regions of the texture, which
vertex groups they are), gnm_xnp.py (every array, its shape and meaning), gnm_common.py (how they are applied),
gnm_numpy_test.py (what holds of them), visualization/gnm_mitsuba.py (v of the texture runs up).

Its space is model space: metres, +Y up, +Z out of the face, +X to the subject's left; quads are counter-clockwise from
outside. Lifemask differs from Google's code in two things. Google lays the regions of the texture over each other, or
side by side as UDIM tiles; here they lie beside each other in one square (`PLACES`). And joints follow the shaped head,
so a little of the expression too, where Google's follow the identity alone.
"""

import zipfile
import zlib
from pathlib import Path

import numpy as np

from backend.errors import UsageError
from backend.face_models.model_arrays import ModelArrays, Skinning
from backend.face_models.morphable_model import Licence
from backend.gnm_file import GNM_FILE, PAGE

LICENCE = Licence(
    "Apache-2.0",
    "GNM Head, copyright 2026 Google LLC: free for any use; who passes it on adds the licence's text.",
    commercial=True,
)
NAME, LABEL, SOURCE = "gnm", "GNM Head 3", PAGE
METRES_PER_UNIT = 1.0
MAJOR_VERSION, VARIANT = "3", "head"
MEMBER = 1e-4
"""Weight in a vertex group above which a vertex belongs to it, as in Google's code."""
LARGEST_BYTES = 1 << 30
"""More than the arrays of any version can take (they take 0.15 GB)."""
SHAPES = {  # what the letters stand for is found in the file
    "template_vertex_positions": "V3",
    "template_joint_positions": "J3",
    "vertex_identity_basis": "IV3",
    "joint_identity_basis": "IJ3",
    "expression_basis": "EV3",
    "joint_parent_indices": "J",
    "skinning_weights": "JV",
    "joint_regressor": "JV",
    "pose_correctives_regressor": "PX",  # P = 9 J, X = 3 V
    "quads": "Q4",
    "quad_uvs": "Q42",
    "vertex_groups": "GV",
}
NAMES = ("joint_names", "mesh_component_names", "vertex_group_names")
COMPONENTS = ("skin", "left_eye", "right_eye", "upper_teeth_and_gums", "lower_teeth_and_gums", "tongue")
"""Vertex groups that share no vertex and together are the head."""
CELL = 1 / 8
MARGIN = 1 / 256
PLACES = {  # part -> corner and side of its square in the texture
    "skin": (0.0, CELL, 1 - CELL),
    "eyeball_left": (0 * CELL, 0.0, CELL),
    "cornea_left": (1 * CELL, 0.0, CELL),
    "eyeball_right": (2 * CELL, 0.0, CELL),
    "cornea_right": (3 * CELL, 0.0, CELL),
    "teeth": (4 * CELL, 0.0, CELL),
    "tongue": (5 * CELL, 0.0, CELL),
}
SAME_PLACE = {"mouth_inside": "skin", "teeth_upper": "teeth", "teeth_lower": "teeth", "gums": "teeth"}
JOINT_ERROR, LARGEST_JOINT_ERROR = 1e-5, 1e-3
"""Metres by which joints from a regressor may miss those that the file states: the file's own, and a changed one."""


def recognises(path: Path) -> bool:
    """Whether a file is GNM Head's, or is called like it; never raises."""
    path = Path(path)
    if not path.is_file():
        return False
    if path.name == GNM_FILE.name:  # also when it is damaged: then reading it says so
        return True
    try:
        with zipfile.ZipFile(path) as archive:
            members = set(archive.namelist())
    except Exception:  # damaged files fail in every way there is
        return False
    return {"template_vertex_positions.npy", "vertex_identity_basis.npy", "mesh_component_names.npy"} <= members


def gnm_arrays(path: Path) -> ModelArrays:
    """Reads the file; nothing in it is run.

    Args:
        path: of `gnm_head.npz`: 17,821 vertices, 253 identity and 383 expression modes in version 3.0. Files with the
            same arrays and other counts are read too.

    Returns:
        One standard deviation is a coefficient of 1. Parts: skin, mouth_inside, eyeball_left and _right (sclera, iris
        and pupil), cornea_left and _right (the clear shell round them, which Google's renderer leaves out),
        teeth_upper, teeth_lower, gums, tongue. Joints: neck, head, left_eye, right_eye; there is none of the jaw. The
        file has no albedo and no landmarks.

    Raises:
        UsageError: the file is missing ("no-face-model-file"), damaged or something else ("bad-face-model-file"), or
            holds pickled objects ("unsafe-file").
    """
    path = Path(path)
    data = _read(path)
    version, variant = str(data["version"]), str(data["variant"])
    if version.split(".")[0] != MAJOR_VERSION or variant != VARIANT:
        raise _wrong(path, f"it is version {version} of the variant '{variant}'")
    _check(path, data)
    quads = data["quads"].astype(np.int64)
    parts = _parts(path, data, quads)
    uv, face_uv = _texture(quads, data["quad_uvs"], parts)
    return ModelArrays(
        name=NAME,
        label=LABEL,
        licence=LICENCE,
        source=SOURCE,
        mean=data["template_vertex_positions"].astype(np.float32),
        faces=quads.astype(np.int32),
        identity_basis=data["vertex_identity_basis"].astype(np.float32, copy=False),
        expression_basis=data["expression_basis"].astype(np.float32, copy=False),
        metres_per_unit=METRES_PER_UNIT,
        skinning=_skinning(path, data),
        uv=uv,
        face_uv=face_uv,
        part_faces=parts,
    )


def _read(path: Path) -> dict[str, np.ndarray]:
    if not path.is_file():
        raise UsageError(
            "no-face-model-file",
            f"There is no GNM Head file at {path}. Get {GNM_FILE.name} from {SOURCE}, or let "
            "'python3 -m backend assets fetch gnm' fetch it.",
        )
    wanted = ("version", "variant", *NAMES, *SHAPES)
    try:
        with zipfile.ZipFile(path) as archive:
            there = {member.filename: member.file_size for member in archive.infolist()}
        missing = [key for key in wanted if f"{key}.npy" not in there]
        if missing:
            raise _wrong(path, f"it has no {', '.join(missing)}")
        if sum(there[f"{key}.npy"] for key in wanted) > LARGEST_BYTES:
            raise _wrong(path, "its arrays are larger than any version's")
        with np.load(path, allow_pickle=False) as data:
            return {key: data[key] for key in wanted}
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error, ValueError, NotImplementedError) as error:
        if "allow_pickle" in str(error):
            raise UsageError(
                "unsafe-file",
                f"{path} holds pickled objects, which could run code; GNM Head's file holds numbers and names only. "
                f"Nothing of it was run. Get {GNM_FILE.name} from {SOURCE}.",
            ) from error
        raise _wrong(path, "it cannot be read as an .npz archive, and may be damaged") from error


def _check(path: Path, data: dict[str, np.ndarray]) -> None:
    """Every array has the shape that its neighbours call for, and numbers that are finite."""
    for key in NAMES:
        if data[key].ndim != 1 or data[key].dtype.kind not in "US":
            raise _wrong(path, f"its {key} is no list of names")
    sides = {"V": "template_vertex_positions", "I": "vertex_identity_basis", "E": "expression_basis", "Q": "quads"}
    size = {letter: len(np.atleast_1d(data[key])) for letter, key in sides.items()}
    size |= {"J": len(data["joint_names"]), "G": len(data["vertex_group_names"]), "2": 2, "3": 3, "4": 4}
    size |= {"P": 9 * size["J"], "X": 3 * size["V"]}
    for key, letters in SHAPES.items():
        values, shape = data[key], tuple(size[letter] for letter in letters)
        if values.dtype.kind not in "fiu":
            raise _wrong(path, f"its {key} holds no numbers")
        if values.shape != shape or 0 in shape:
            raise _wrong(path, f"its {key} is {_sides(values.shape)}, where {_sides(shape)} was expected")
        if not np.isfinite(values).all():
            raise _wrong(path, f"its {key} holds numbers that are not finite")
    quads, uv = data["quads"], data["quad_uvs"]
    if quads.dtype.kind not in "iu" or quads.min() < 0 or quads.max() >= size["V"]:
        raise _wrong(path, f"its quads do not count from 0 to {size['V'] - 1}")
    if uv.min() < 0 or uv.max() > 1:
        raise _wrong(path, "its quad_uvs leave the unit square")


def _parts(path: Path, data: dict[str, np.ndarray], quads: np.ndarray) -> dict[str, np.ndarray]:
    """Part -> (N,) int64 rows of the quads (Q, 4); every row is in one part."""
    names = data["vertex_group_names"].astype(str).tolist()
    components = data["mesh_component_names"].astype(str).tolist()
    missing = [name for name in (*COMPONENTS, "mouth_sock", "eye_exteriors", "teeth") if name not in names]
    if missing:
        raise _wrong(path, f"it has no vertex group {', '.join(missing)}")
    if set(components) != set(COMPONENTS):
        raise _wrong(path, f"its parts are {', '.join(components)}, where {', '.join(COMPONENTS)} were expected")

    def inside(group: str) -> np.ndarray:
        """(Q,) bool: quads with all four corners in a vertex group."""
        return (data["vertex_groups"][names.index(group)] > MEMBER)[quads].all(axis=1)

    of = {name: inside(name) for name in COMPONENTS}
    if not (np.sum(list(of.values()), axis=0) == 1).all():
        raise _wrong(path, "some of its quads belong to no part, or to several")
    mouth, shell, tooth = inside("mouth_sock"), inside("eye_exteriors"), inside("teeth")
    upper, lower = of["upper_teeth_and_gums"], of["lower_teeth_and_gums"]
    parts = {
        "skin": of["skin"] & ~mouth,
        "mouth_inside": of["skin"] & mouth,
        "eyeball_left": of["left_eye"] & ~shell,
        "eyeball_right": of["right_eye"] & ~shell,
        "cornea_left": of["left_eye"] & shell,
        "cornea_right": of["right_eye"] & shell,
        "teeth_upper": upper & tooth,
        "teeth_lower": lower & tooth,
        "gums": (upper | lower) & ~tooth,
        "tongue": of["tongue"],
    }
    rows = {name: np.flatnonzero(mask) for name, mask in parts.items()}
    empty = [name for name in ("skin", "eyeball_left", "eyeball_right") if not len(rows[name])]
    if empty:
        raise _wrong(path, f"it has no faces of {', '.join(empty)}")
    return {name: faces for name, faces in rows.items() if len(faces)}


def _texture(quads: np.ndarray, quad_uv: np.ndarray, parts: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """(T, 2) float32 and (Q, 4) int32: the file's corners (Q, 4, 2), every region moved to its place."""
    places = list(PLACES)
    place = np.zeros(len(quads), np.int64)
    for name, rows in parts.items():
        place[rows] = places.index(SAME_PLACE.get(name, name))
    squares = np.array(list(PLACES.values()))[place]  # (Q, 3)
    corner, side = squares[:, None, :2] + MARGIN, squares[:, None, 2:] - 2 * MARGIN
    uv = quad_uv * side + corner
    # one row for a vertex and its place, so that a seam is where the file has one
    rows = np.concatenate([quads[..., None], uv], axis=2).reshape(-1, 3)
    different, index = np.unique(rows, axis=0, return_inverse=True)
    return different[:, 1:].astype(np.float32), index.reshape(quads.shape).astype(np.int32)


def _skinning(path: Path, data: dict[str, np.ndarray]) -> Skinning:
    names = tuple(data["joint_names"].astype(str).tolist())
    parents = data["joint_parent_indices"].astype(np.int64)
    if parents[0] == 0:  # the root may name itself
        parents[0] = -1
    if parents[0] >= 0 or (parents[1:] < 0).any() or (parents >= np.arange(len(parents))).any():
        raise _wrong(path, "its joint_parent_indices do not name the root first and every parent before its children")
    weights = data["skinning_weights"].T.astype(np.float64)
    total = weights.sum(axis=1, keepdims=True)
    if np.abs(total - 1).max() > 1e-3:
        raise _wrong(path, "its skinning_weights do not sum to 1")
    correctives = data["pose_correctives_regressor"].reshape(len(names), 9, -1, 3)
    if correctives[0].any():
        raise _wrong(path, "its pose_correctives_regressor bends the head when the whole head turns")
    basis = correctives[1:].reshape(9 * len(names) - 9, -1, 3).astype(np.float32)
    return Skinning(
        names,
        parents,
        (weights / total).astype(np.float32),
        _joint_regressor(path, data),
        basis if basis.any() else None,  # all zero in version 3.0
    )


def _joint_regressor(path: Path, data: dict[str, np.ndarray]) -> np.ndarray:
    """(J, V) float32: the file's, changed as little as makes it give the joints that the file states.

    Google places joints by `template_joint_positions` and `joint_identity_basis` and says no more of its regressor than
    that it maps vertices to joints. Here joints come from a regressor alone, and heads are moved about, so its rows
    must sum to 1 too.
    """
    shapes = np.concatenate([data["template_vertex_positions"][None], data["vertex_identity_basis"]])
    joints = np.concatenate([data["template_joint_positions"][None], data["joint_identity_basis"]])
    wanted = np.concatenate([joints.transpose(0, 2, 1).reshape(-1, joints.shape[1]), np.ones((1, joints.shape[1]))])
    regressor = data["joint_regressor"].astype(np.float64)

    def missing(regressor: np.ndarray) -> np.ndarray:
        """(3 (1 + I) + 1, J) by how much it misses."""
        given = np.einsum("kvc,jv->kcj", shapes, regressor, optimize=True).reshape(-1, len(regressor))
        return wanted - np.concatenate([given, regressor.sum(axis=1)[None]])

    miss = missing(regressor)
    if np.abs(miss).max() > JOINT_ERROR:
        rows = np.concatenate([shapes.transpose(0, 2, 1).reshape(len(wanted) - 1, -1), np.ones((1, shapes.shape[1]))])
        rows = rows.astype(np.float64)
        scale = np.linalg.norm(rows, axis=1, keepdims=True).clip(1e-9)
        rows /= scale
        solution = np.linalg.lstsq(rows @ rows.T, miss / scale, rcond=1e-10)[0]
        regressor += (rows.T @ solution).T
        if np.abs(missing(regressor)).max() > LARGEST_JOINT_ERROR:
            raise _wrong(path, "its joints do not follow from its vertices")
    return regressor.astype(np.float32)


def _sides(shape: tuple[int, ...]) -> str:
    return " x ".join(str(side) for side in shape) or "one number"


def _wrong(path: Path, what: str) -> UsageError:
    return UsageError(
        "bad-face-model-file",
        f"{path} is no GNM Head file: {what}. {GNM_FILE.name} of version {MAJOR_VERSION} was expected, from {SOURCE}.",
    )
