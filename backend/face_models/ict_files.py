"""ICT-FaceKit as it is given out: a folder of OBJ files, or the same packed into one .npz.

Li et al., "Learning Formation of Physically-Based Face Attributes", CVPR 2020; the repository's README lists the parts
by their ranges of vertices and faces, the names and the 68 landmarks. The folder is `FaceXModel`: a neutral head, the
same head with each of 100 identity modes at one standard deviation, and with each of 53 expressions at 1, every file
with all 26,719 vertices in the same order. Centimetres; +Y up, +Z out of the face, +X to the subject's left.

ARKit has one shape where the files have one for each side: inner brows raised, cheeks puffed; here both are added up.
Its textures are tiles beside each other or over each other; here they lie in one square (`PLACES`).
"""

import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from backend.errors import UsageError
from backend.face_models.ict import LICENCE, METRES_PER_UNIT
from backend.face_models.model_arrays import ModelArrays
from backend.face_models.morphable_model import SurfacePoints

NAME, LABEL, SOURCE = "ict", "ICT-FaceKit", "https://github.com/USC-ICT/ICT-FaceKit"
PACKED, FOLDER, NEUTRAL = "ict_facekit.npz", "FaceXModel", "generic_neutral_mesh.obj"
NUMBERS, WHOLE_NUMBERS, NAMES = ("fiu", "numbers"), ("iu", "whole numbers"), ("U", "names")
PACKED_KEYS = {  # what each holds
    "neutral": NUMBERS, "uv": NUMBERS, "faces": WHOLE_NUMBERS, "faces_uv": WHOLE_NUMBERS, "identity_q": NUMBERS,
    "expression_q": NUMBERS, "expression_names": NAMES, "delta_step": NUMBERS,
}  # fmt: skip
VERTICES, FACES, IDENTITIES = 26719, 26384, 100
LARGEST_BYTES = 1 << 28
"""More than the packed arrays take (they take 0.03 GB); an archive can claim any size."""
SIDED = (
    "browDown", "browInnerUp", "browOuterUp", "cheekPuff", "cheekSquint", "eyeBlink", "eyeLookDown", "eyeLookIn",
    "eyeLookOut", "eyeLookUp", "eyeSquint", "eyeWide", "mouthDimple", "mouthFrown", "mouthLowerDown", "mouthPress",
    "mouthSmile", "mouthStretch", "mouthUpperUp", "noseSneer",
)  # fmt: skip
UNSIDED = (
    "jawForward", "jawLeft", "jawOpen", "jawRight", "mouthClose", "mouthFunnel", "mouthLeft", "mouthPucker",
    "mouthRight", "mouthRollLower", "mouthRollUpper", "mouthShrugLower", "mouthShrugUpper",
)  # fmt: skip
EXPRESSIONS = tuple(sorted([f"{name}_{side}" for name in SIDED for side in "LR"] + list(UNSIDED)))
"""The 53, in the order of the files' names."""
MODES = tuple(f"identity{number:03d}.obj" for number in range(IDENTITIES))
PUBLISHED = (NEUTRAL, *MODES, *(f"{name}.obj" for name in EXPRESSIONS))
ONE_FOR_BOTH_SIDES = ("browInnerUp", "cheekPuff")
PARTS = {  # theirs: ours, half-open ranges of vertices and faces
    "face": ("skin", 0, 9409, 0, 9230),
    "head_neck": ("skin", 9409, 11248, 9230, 11144),
    "mouth_socket": ("mouth_inside", 11248, 13294, 11144, 13226),
    "eye_socket_left": ("eye_socket_left", 13294, 13678, 13226, 13630),
    "eye_socket_right": ("eye_socket_right", 13678, 14062, 13630, 14034),
    "gums_tongue": ("gums_tongue", 14062, 17039, 14034, 17006),
    "teeth": ("teeth", 17039, 21451, 17006, 21496),
    "sclera_left": ("eyeball_left", 21451, 22221, 21496, 22296),
    "iris_left": ("iris_shell_left", 22221, 23021, 22296, 23094),
    "sclera_right": ("eyeball_right", 23021, 23791, 23094, 23894),
    "iris_right": ("iris_shell_right", 23791, 24591, 23894, 24692),
    "lacrimal_left": ("lacrimal_left", 24591, 24795, 24692, 24855),
    "lacrimal_right": ("lacrimal_right", 24795, 24999, 24855, 25018),
    "eye_blend_left": ("eye_blend_left", 24999, 25023, 25018, 25033),
    "eye_blend_right": ("eye_blend_right", 25023, 25047, 25033, 25048),
    "eye_occlusion_left": ("eye_occlusion_left", 25047, 25199, 25048, 25176),
    "eye_occlusion_right": ("eye_occlusion_right", 25199, 25351, 25176, 25304),
    "eyelashes_left": ("lashes", 25351, 26035, 25304, 25844),
    "eyelashes_right": ("lashes", 26035, 26719, 25844, 26384),
}
LANDMARKS68 = (
    1225, 1888, 1052, 367, 1719, 1722, 2199, 1447, 966, 3661, 4390, 3927, 3924, 2608, 3272, 4088, 3443, 268, 493, 1914,
    2044, 1401, 3615, 4240, 4114, 2734, 2509, 978, 4527, 4942, 4857, 1140, 2075, 1147, 4269, 3360, 1507, 1542, 1537,
    1528, 1518, 1511, 3742, 3751, 3756, 3721, 3725, 3732, 5708, 5695, 2081, 0, 4275, 6200, 6213, 6346, 6461, 5518, 5957,
    5841, 5702, 5711, 5533, 6216, 6207, 6470, 5517, 5966,
)  # fmt: skip
CELL, MARGIN = 1 / 4, 1 / 256
PLACES = {  # part of theirs -> corner and side of its square in the texture; the rest share what is left
    "face": (0.0, CELL, 1 - CELL),
    "head_neck": (1 - CELL, 3 * CELL, CELL),
    "gums_tongue": (1 - CELL, 2 * CELL, CELL),
    "teeth": (1 - CELL, CELL, CELL),
    "sclera_left": (0.0, 0.0, CELL),
    "sclera_right": (CELL, 0.0, CELL),
    "eyelashes_left": (2 * CELL, 0.0, CELL),
}
SAME_PLACE = {
    "mouth_socket": "head_neck",
    "eye_socket_left": "head_neck",
    "eye_socket_right": "head_neck",
    "eyelashes_right": "eyelashes_left",
}
REST = (3 * CELL, 0.0, CELL)


def recognises(path: Path) -> bool:
    """Whether a file is the packed one, or a folder the published one or the repository; never raises."""
    path = Path(path)
    if path.is_dir():
        return any((folder / NEUTRAL).is_file() for folder in (path, path / FOLDER))
    if not path.is_file() or path.name == NEUTRAL:
        return path.is_file()
    try:
        with zipfile.ZipFile(path) as archive:
            return {"neutral.npy", "identity_q.npy", "expression_q.npy"} <= set(archive.namelist())
    except Exception:  # damaged files fail in every way there is
        return path.name == PACKED  # reading it says so


def ict_arrays(path: Path) -> ModelArrays:
    """Reads all 26,719 vertices.

    Args:
        path: of the packed `.npz`, of the folder `FaceXModel`, of the repository that holds it, or of the neutral head
            in it.

    Returns:
        One standard deviation is a coefficient of 1; the expression basis is the 53 shapes of the files, in the order
        of their names. Parts, besides skin, mouth_inside, eye_socket_left and _right, teeth, lashes: gums_tongue, one
        mesh; eyeball_left and _right, of which the files' glassy shell is taken; and what only makes sense with
        transparency: iris_shell_left and _right (the ball within), lacrimal_…, eye_blend_…, eye_occlusion_…. `keys`
        holds 51 of ARKit's 52, without tongueOut. No albedo, no joints.

    Raises:
        UsageError: "no-face-model-file": something is missing; "bad-face-model-file": something is damaged or belongs
            to another model.
    """
    path = Path(path)
    content = _packed(path) if _is_packed(path) else _published(_folder(path))
    _check_order(path, content.faces)
    basis = np.stack([content.expression(name) for name in EXPRESSIONS])
    uv, face_uv = _in_one_square(content.uv, content.face_uv)
    landmarks = np.array(LANDMARKS68)
    return ModelArrays(
        name=NAME,
        label=LABEL,
        licence=LICENCE,
        source=SOURCE,
        mean=(content.neutral * METRES_PER_UNIT).astype(np.float32),
        faces=content.faces.astype(np.int32),
        identity_basis=content.identity,
        expression_basis=basis,
        metres_per_unit=METRES_PER_UNIT,
        landmarks68=SurfacePoints(
            np.repeat(landmarks[:, None], 3, axis=1).astype(np.int32), np.tile(np.float32([1, 0, 0]), (68, 1))
        ),
        uv=uv,
        face_uv=face_uv,
        part_faces=_part_faces(),
        keys=arkit_keys(basis),
    )


def files(path: Path) -> list[Path]:
    """What `ict_arrays` reads, as far as it is there."""
    path = Path(path)
    if _is_packed(path):
        return [path]
    folder = _folder(path)
    return [folder / name for name in PUBLISHED if (folder / name).is_file()]


def _is_packed(path: Path) -> bool:
    return path.is_file() and path.name != NEUTRAL


def _folder(path: Path) -> Path:
    """Of the published files."""
    folder = path.parent if path.name == NEUTRAL else path
    return folder if (folder / NEUTRAL).is_file() else folder / FOLDER


def arkit_keys(basis: np.ndarray) -> dict[str, np.ndarray]:
    """The 53 expressions (53, V, 3) as 51 of ARKit's 52, by ARKit's names, in the order of the alphabet."""
    keys: dict[str, np.ndarray] = {}
    for name, offset in zip(EXPRESSIONS, basis, strict=True):
        stem, _, side = name.partition("_")
        ours = stem if stem in ONE_FOR_BOTH_SIDES else stem + {"L": "Left", "R": "Right", "": ""}[side]
        keys[ours] = keys[ours] + offset if ours in keys else offset
    return dict(sorted(keys.items()))


def _part_faces() -> dict[str, np.ndarray]:
    parts: dict[str, list[np.ndarray]] = {}
    for ours, _, _, first, end in PARTS.values():
        parts.setdefault(ours, []).append(np.arange(first, end))
    return {name: np.concatenate(rows) for name, rows in parts.items()}


def _check_order(path: Path, faces: np.ndarray) -> None:
    """Earlier states of the repository had other vertices, in another order: the parts tell."""
    for theirs, (_, start, end, first, last) in PARTS.items():
        used = np.unique(faces[first:last])
        used = used[used >= 0]
        if used.max(initial=-1) != end - 1 or not np.isin(np.arange(start, end), used).all():
            raise _wrong(path, f"its faces {first} to {last - 1} are not the part {theirs}; get the newest state of it")


def _in_one_square(uv: np.ndarray, face_uv: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The tiles beside each other in one square; a place that several tiles share becomes several."""
    tile = np.zeros(len(face_uv), np.int64)
    places = [*PLACES.values(), REST]
    names = list(PLACES)
    for theirs, (_, _, _, first, last) in PARTS.items():
        name = SAME_PLACE.get(theirs, theirs)
        tile[first:last] = names.index(name) if name in names else len(names)
    corner = face_uv >= 0
    pairs = np.stack([np.broadcast_to(tile[:, None], face_uv.shape)[corner], face_uv[corner]], axis=1)
    rows, place_of = np.unique(pairs, axis=0, return_inverse=True)
    corners, sides = np.array([place[:2] for place in places]), np.array([place[2] for place in places])
    inside = np.clip(uv[rows[:, 1]] - np.floor(uv[rows[:, 1]]), 0, 1)  # no tile's edge is used
    made = corners[rows[:, 0]] + sides[rows[:, 0], None] * (MARGIN + (1 - 2 * MARGIN) * inside)
    result = np.full(face_uv.shape, -1, np.int32)
    result[corner] = place_of.reshape(-1)
    return made.astype(np.float32), result


@dataclass(frozen=True)
class _Files:
    """What either kind of file holds.

    Attributes:
        neutral: (V, 3) centimetres. faces, face_uv: (F, 4), -1 in the last column of a triangle. uv: (T, 2).
        identity: (100, V, 3) float32 metres. expression: by name, (V, 3) float32 metres.
    """

    neutral: np.ndarray
    faces: np.ndarray
    uv: np.ndarray
    face_uv: np.ndarray
    identity: np.ndarray
    expression: Callable[[str], np.ndarray]


def _packed(path: Path) -> _Files:
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(member.file_size for member in archive.infolist()) > LARGEST_BYTES:
                raise _wrong(path, "its arrays are larger than those of the model")
        with np.load(path, allow_pickle=False) as data:
            missing = [key for key in PACKED_KEYS if key not in data.files]
            if missing:
                raise _wrong(path, f"it has no {', '.join(missing)}")
            content = {key: data[key] for key in PACKED_KEYS}
    except UsageError:
        raise
    except Exception as error:  # damaged files fail in every way there is
        raise _wrong(path, "it cannot be read as an .npz file, and may be damaged") from error
    expected = {
        "neutral": (VERTICES, 3),
        "uv": (content["uv"].size // 2, 2),
        "faces": (FACES, 4),
        "faces_uv": (FACES, 4),
        "identity_q": (IDENTITIES, VERTICES, 3),
        "expression_q": (content["expression_names"].size, VERTICES, 3),
        "expression_names": (content["expression_names"].size,),
        "delta_step": (),
    }
    for key, (kinds, what) in PACKED_KEYS.items():
        values, shape = content[key], expected[key]
        if values.dtype.kind not in kinds:
            raise _wrong(path, f"its {key} holds no {what}")
        if values.shape != shape:
            raise _wrong(path, f"its {key} is {_sides(values.shape)}, where {_sides(shape)} was expected")
        if what != NAMES[1] and not np.isfinite(values).all():
            raise _wrong(path, f"its {key} holds numbers that are not finite")
    faces, face_uv = (content[key].astype(np.int64) for key in ("faces", "faces_uv"))
    _check_corners(path, faces, face_uv, len(content["uv"]))
    names = content["expression_names"].tolist()
    if missing := [name for name in EXPRESSIONS if name not in names]:
        raise _wrong(path, f"it has no expression {', '.join(missing)}")
    step = np.float32(float(content["delta_step"]) * METRES_PER_UNIT)

    def expression(name: str) -> np.ndarray:
        return content["expression_q"][names.index(name)].astype(np.float32) * step

    identity = content["identity_q"].astype(np.float32) * step
    return _Files(content["neutral"], faces, content["uv"], face_uv, identity, expression)


def _published(folder: Path) -> _Files:
    """An identity mode or expression is what its file's vertices differ by from the neutral's."""
    missing = [name for name in PUBLISHED if not (folder / name).is_file()]
    if missing:
        shown = ", ".join(missing[:4]) + (f" and {len(missing) - 4} more" if len(missing) > 4 else "")
        raise UsageError(
            "no-face-model-file",
            f"{folder} is no complete ICT-FaceKit: {shown} of its {len(PUBLISHED)} OBJ files are missing. Get the "
            f"folder {FOLDER} from {SOURCE}.",
        )
    lines = _lines(folder / NEUTRAL)
    neutral, uv = _numbers(folder / NEUTRAL, lines, b"v ", 3), _numbers(folder / NEUTRAL, lines, b"vt ", 2)
    faces, face_uv = _faces(folder / NEUTRAL, lines, len(uv))

    def offset(file: str) -> np.ndarray:
        vertices = _numbers(folder / file, _lines(folder / file), b"v ", 3)
        return ((vertices - neutral) * METRES_PER_UNIT).astype(np.float32)

    identity = np.stack([offset(name) for name in MODES])
    return _Files(neutral, faces, uv, face_uv, identity, lambda name: offset(f"{name}.obj"))


def _lines(path: Path) -> list[bytes]:
    try:
        return path.read_bytes().splitlines()
    except OSError as error:
        raise _wrong(path, f"it cannot be read ({error.strerror or error})") from error


def _numbers(path: Path, lines: list[bytes], begin: bytes, columns: int) -> np.ndarray:
    """(N, columns) float64 of the lines that begin so."""
    rows = [line[len(begin) :] for line in lines if line.startswith(begin)]
    try:
        values = np.loadtxt(rows, usecols=range(columns), comments=None, ndmin=2) if rows else np.empty((0, columns))
    except ValueError as error:
        raise _wrong(
            path, f"a line that begins with '{begin.decode().strip()}' does not hold {columns} numbers"
        ) from error
    if begin == b"v " and len(values) != VERTICES:
        raise _wrong(path, f"it has {len(values)} vertices, where {VERTICES} were expected")
    if not np.isfinite(values).all():
        raise _wrong(path, "it holds numbers that are not finite")
    return values


def _faces(path: Path, lines: list[bytes], places: int) -> tuple[np.ndarray, np.ndarray]:
    """(F, 4) vertices and places in the texture, counted from 0, -1 in the last column of a triangle."""
    rows = [line[2:].split() for line in lines if line.startswith(b"f ")]
    faces, face_uv = (np.full((len(rows), 4), -1, np.int64) for _ in range(2))
    try:
        for number, row in enumerate(rows):
            for corner, text in enumerate(row):
                parts = text.split(b"/")
                faces[number, corner], face_uv[number, corner] = int(parts[0]) - 1, int(parts[1]) - 1
                if min(faces[number, corner], face_uv[number, corner]) < 0:
                    raise ValueError("counted from the end, or from 0")
    except (ValueError, IndexError, OverflowError) as error:
        what = "a face is no triangle or quad of vertices and places in the texture that are counted from 1"
        raise _wrong(path, what) from error
    if len(faces) != FACES:
        raise _wrong(path, f"it does not have {FACES} faces over its vertices")
    _check_corners(path, faces, face_uv, places)
    return faces, face_uv


def _check_corners(path: Path, faces: np.ndarray, face_uv: np.ndarray, places: int) -> None:
    """Raises UsageError unless every face has three or four corners, and each has its vertex and its place."""
    for corners, count, what in ((faces, VERTICES, "vertices"), (face_uv, places, "places in the texture")):
        if corners.min() < -1 or corners[:, :3].min() < 0 or corners.max() >= count:
            raise _wrong(path, f"its faces name {what} that are not among its {count}")
    if not np.array_equal(faces[:, 3] < 0, face_uv[:, 3] < 0):
        raise _wrong(path, "some of its faces have three vertices and four places in the texture, or the reverse")


def _sides(shape: tuple[int, ...]) -> str:
    return " x ".join(str(side) for side in shape) or "one number"


def _wrong(path: Path, what: str) -> UsageError:
    return UsageError(
        "bad-face-model-file",
        f"{path} cannot be used as ICT-FaceKit: {what}. Expected: the folder {FOLDER} from {SOURCE}, or {PACKED}.",
    )
