"""The result folder: what a reconstruction leaves behind, written and read in one place.

A folder holds `head.npz` (arrays, never pickled), `head.json` (everything with a name), `albedo.png`, `overlay.png`
and the photographs. docs/result-folder.md describes every field; the add-on has a reader of its own for the same
contract (addon/result.py), because it shares no code with the backend.

numpy and the standard library only: whatever writes or reads a result must not have to load torch.
"""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from backend.errors import LifemaskError
from backend.licences import Credit
from backend.rendering.camera import Camera

SCHEMA_VERSION = 1
ARRAYS_FILE = "head.npz"
FACTS_FILE = "head.json"
ALBEDO_FILE = "albedo.png"
OVERLAY_FILE = "overlay.png"
DISPLACEMENT_FOLDER = "displacement"

# A head and neck is some 0.3 m tall: far outside this the units are wrong.
SMALLEST_HEAD_METRES, LARGEST_HEAD_METRES = 0.05, 1.0
LARGEST_OFFSET_METRES = 0.1
POSED_TOLERANCE_METRES = 1e-5


class ResultFolderError(LifemaskError):
    """A result folder that is missing, broken, or of another version."""

    exit_code = 2

    def __init__(self, sentence: str):
        super().__init__("result-folder", sentence)


@dataclass(frozen=True)
class FaceModelCredit:
    """The face model that a head was made with, and what may be done with the head.

    `licence` is an SPDX name where there is one, `sentence` says it in words, `commercial` whether it may be sold.
    """

    name: str
    licence: str
    sentence: str
    commercial: bool


@dataclass(frozen=True)
class PhotographResult:
    """One photograph of the person and what was found in it.

    Attributes:
        file: its name inside the folder. The picture is stored upright, in a format that Blender reads.
        camera: the matched camera, model space to that picture (docs/result-folder.md).
        detector: which landmark detector and calibration, e.g. "mediapipe-0.10.9-face-mesh".
        landmark_error: median distance of the mesh's landmarks from the detected ones, as a fraction of the distance
            between the outer corners of the eyes.
        closure: "left" and "right" (the subject's own), 0 open as in the neutral, 1 shut.
    """

    file: str
    camera: Camera
    detector: str
    landmark_error: float
    closure: Mapping[str, float]


@dataclass(frozen=True)
class Corrective:
    """A shape key that follows another one: its value is `formula`, with w the value of the key `driver`."""

    driver: str
    formula: str = "4*w*(1-w)"


@dataclass(frozen=True)
class DisplacementFacts:
    """The displacement maps beside a head, `displacement/NAME.exr`: metres outwards, in the head's UV layout.

    Attributes:
        size: width and height, texels.
        groups: by the name of a map, the keys that bring its wrinkles on the subject's "left" and on its "right" half.
    """

    size: int
    groups: Mapping[str, Mapping[str, Sequence[str]]]

    def as_json(self) -> dict:
        """As head.json has it."""
        groups = {
            name: {"file": displacement_file(name), "left": list(sides["left"]), "right": list(sides["right"])}
            for name, sides in self.groups.items()
        }
        whole = {name: displacement_file(name) for name in ("photo", "neutral")}
        return {"size": self.size, **whole, "groups": groups, "left_is": "greater_u"}

    @classmethod
    def from_json(cls, facts: dict) -> DisplacementFacts:
        """Raises KeyError, TypeError or ValueError where something is missing or wrong."""
        if facts["left_is"] != "greater_u":
            raise ValueError(f"displacement lies otherwise than we know: left_is {facts['left_is']}")
        groups = {
            name: {side: tuple(entry[side]) for side in ("left", "right")} for name, entry in facts["groups"].items()
        }
        return cls(int(facts["size"]), groups)


def displacement_file(name: str) -> str:
    """Where in the folder the map of that name lies, with forward slashes."""
    return f"{DISPLACEMENT_FOLDER}/{name}.exr"


@dataclass(frozen=True)
class HeadResult:
    """A person's head in model space: metres, +Y up, +Z out of the face, +X to the subject's left.

    The origin lies midway between the eyeball centres of the neutral. `vertices` is the neutral with open eyes; what
    the photographs show is in `key_weights`.

    Attributes:
        vertices: (V, 3) float32, metres.
        faces: (F, 4) int32 vertex indices, counter-clockwise from outside, -1 in the last column of a triangle.
        uv: (T, 2) float32 in [0, 1], v upwards.
        face_uv: (F, 4) int32 indices into uv, -1 where `faces` has -1.
        part_names: P names; part_faces: (P, 2) int32, half-open ranges that together hold every face once.
        key_names: K names of shape keys: ARKit's, then the correctives.
        key_index: (N, 2) int32, key and vertex; key_offset: (N, 3) float32 metres at value 1.
        key_weights: (photographs, K) float32 in [0, 1].
        landmarks68: (68, 3) float32 metres, on the neutral.
        licences: of everything that took part: face model, weights, detector.
        correctives: by the name of the corrective key.
        displacement: which displacement maps lie beside the head; None where there are none.
        software, weights: names and versions; timings: seconds a stage; warnings: sentences.
    """

    vertices: np.ndarray
    faces: np.ndarray
    uv: np.ndarray
    face_uv: np.ndarray
    part_names: tuple[str, ...]
    part_faces: np.ndarray
    key_names: tuple[str, ...]
    key_index: np.ndarray
    key_offset: np.ndarray
    key_weights: np.ndarray
    landmarks68: np.ndarray
    face_model: FaceModelCredit
    licences: tuple[Credit, ...] = ()
    photographs: tuple[PhotographResult, ...] = ()
    correctives: Mapping[str, Corrective] = field(default_factory=dict)
    displacement: DisplacementFacts | None = None
    software: Mapping[str, str] = field(default_factory=dict)
    weights: Mapping[str, str] = field(default_factory=dict)
    timings: Mapping[str, float] = field(default_factory=dict)
    warnings: Sequence[str] = ()

    def posed_vertices(self, photograph: int = 0) -> np.ndarray:
        """(V, 3) float32 metres: the neutral with the shape-key values of one photograph; no rigid pose."""
        posed = self.vertices.astype(np.float64)
        if len(self.key_weights):
            key, vertex = self.key_index[:, 0], self.key_index[:, 1]
            weight = self.key_weights[photograph, key].astype(np.float64)
            for axis in range(3):
                posed[:, axis] += np.bincount(vertex, weight * self.key_offset[:, axis], minlength=len(posed))
        return posed.astype(np.float32)


def write_result(folder: Path, result: HeadResult) -> None:
    """Write head.npz and head.json into an existing folder. The pictures are the caller's to put beside them.

    Raises ResultFolderError when the result breaks the contract, OSError when the folder cannot be written.
    """
    check(result)
    np.savez_compressed(
        folder / ARRAYS_FILE,
        vertices=result.vertices,
        posed_vertices=result.posed_vertices(),
        faces=result.faces,
        uv=result.uv,
        face_uv=result.face_uv,
        part_names=np.array(result.part_names, dtype=np.str_),
        part_faces=result.part_faces,
        key_names=np.array(result.key_names, dtype=np.str_),
        key_index=result.key_index,
        key_offset=result.key_offset,
        key_weights=result.key_weights,
        landmarks68=result.landmarks68,
    )
    facts = {
        "schema_version": SCHEMA_VERSION,
        "face_model": {
            "name": result.face_model.name,
            "licence": result.face_model.licence,
            "sentence": result.face_model.sentence,
            "commercial": result.face_model.commercial,
        },
        "licences": [credit.as_json() for credit in result.licences],
        "photos": [
            {
                "file": photograph.file,
                "camera": photograph.camera.to_json(),
                "detector": photograph.detector,
                "landmark_error": float(photograph.landmark_error),
                "eyes": {side: {"closure": float(photograph.closure[side])} for side in ("left", "right")},
            }
            for photograph in result.photographs
        ],
        "correctives": {
            name: {"driver": corrective.driver, "formula": corrective.formula}
            for name, corrective in result.correctives.items()
        },
        **({} if result.displacement is None else {"displacement": result.displacement.as_json()}),
        "software": dict(result.software),
        "weights": dict(result.weights),
        "timings": {stage: float(seconds) for stage, seconds in result.timings.items()},
        "warnings": list(result.warnings),
    }
    text = json.dumps(facts, indent=2, ensure_ascii=False, allow_nan=False)
    # Bytes of a photograph's name that are no text are written as JSON escapes them.
    (folder / FACTS_FILE).write_text(text + "\n", encoding="utf-8", errors="backslashreplace")


def read_result(folder: Path) -> HeadResult:
    """Read and check a result folder.

    Raises ResultFolderError, with a sentence naming the file and what is wrong with it, for anything missing, torn,
    pickled, of a wrong shape or of another schema version.
    """
    facts = _read_facts(folder)
    arrays = _read_arrays(folder / ARRAYS_FILE)
    try:
        photographs = tuple(
            PhotographResult(
                file=str(entry["file"]),
                camera=Camera.from_json(entry["camera"]),
                detector=str(entry["detector"]),
                landmark_error=float(entry["landmark_error"]),
                closure={side: float(entry["eyes"][side]["closure"]) for side in ("left", "right")},
            )
            for entry in facts["photos"]
        )
        face_model = FaceModelCredit(**facts["face_model"])
        credits = tuple(Credit(**entry) for entry in facts.get("licences", ()))
        correctives = {name: Corrective(**entry) for name, entry in facts.get("correctives", {}).items()}
        displacement = DisplacementFacts.from_json(facts["displacement"]) if "displacement" in facts else None
        described = {
            "software": dict(facts["software"]),
            "weights": dict(facts["weights"]),
            "timings": dict(facts["timings"]),
            "warnings": tuple(facts["warnings"]),
        }
    except (KeyError, TypeError, ValueError) as error:
        raise ResultFolderError(f"{folder / FACTS_FILE} lacks or misspells a field: {error}.") from error
    posed = arrays.pop("posed_vertices")
    result = HeadResult(
        part_names=tuple(arrays.pop("part_names").tolist()),
        key_names=tuple(arrays.pop("key_names").tolist()),
        photographs=photographs,
        face_model=face_model,
        licences=credits,
        correctives=correctives,
        displacement=displacement,
        **arrays,
        **described,
    )
    check(result)
    for name in ("photo", "neutral", *displacement.groups) if displacement else ():
        if not (folder / displacement_file(name)).is_file():
            raise ResultFolderError(f"{folder} lacks {displacement_file(name)}, which {FACTS_FILE} names.")
    if posed.shape != result.vertices.shape or np.abs(posed - result.posed_vertices()).max() > POSED_TOLERANCE_METRES:
        raise ResultFolderError(
            f"posed_vertices in {folder / ARRAYS_FILE} is not the neutral with the first photograph's key values."
        )
    return result


def check(result: HeadResult) -> None:
    """Raise ResultFolderError, with what was expected and what came, where a result breaks the contract."""
    vertex_count, face_count = len(result.vertices), len(result.faces)
    key_count = len(result.key_names)
    _expect_array("vertices", result.vertices, np.float32, (None, 3))
    _expect_array("faces", result.faces, np.int32, (None, 4))
    _expect_array("uv", result.uv, np.float32, (None, 2))
    _expect_array("face_uv", result.face_uv, np.int32, (face_count, 4))
    _expect_array("part_faces", result.part_faces, np.int32, (len(result.part_names), 2))
    _expect_array("key_index", result.key_index, np.int32, (None, 2))
    _expect_array("key_offset", result.key_offset, np.float32, (len(result.key_index), 3))
    _expect_array("key_weights", result.key_weights, np.float32, (len(result.photographs), key_count))
    _expect_array("landmarks68", result.landmarks68, np.float32, (68, 3))

    extent = float(np.ptp(result.vertices, axis=0).max()) if vertex_count else 0.0
    if not SMALLEST_HEAD_METRES <= extent <= LARGEST_HEAD_METRES:
        raise ResultFolderError(f"vertices span {extent:.4g} m: a head in metres was expected.")
    _expect_range("uv", result.uv, 0.0, 1.0)
    _expect_range("key_weights", result.key_weights, 0.0, 1.0)
    _expect_range("key_offset", result.key_offset, -LARGEST_OFFSET_METRES, LARGEST_OFFSET_METRES)
    _expect_faces("faces", result.faces, vertex_count)
    _expect_faces("face_uv", result.face_uv, len(result.uv))
    if not np.array_equal(result.faces[:, 3] < 0, result.face_uv[:, 3] < 0):
        raise ResultFolderError("faces and face_uv do not mark the same faces as triangles.")
    for column, (name, size) in enumerate((("key", key_count), ("vertex", vertex_count))):
        index = result.key_index[:, column]
        if len(index) and (index.min() < 0 or index.max() >= size):
            raise ResultFolderError(f"key_index names a {name} outside 0..{size - 1}.")
    for name, names in (("key_names", result.key_names), ("part_names", result.part_names)):
        if len(set(names)) != len(names):
            raise ResultFolderError(f"{name} holds a name twice.")
    _expect_partition(result.part_faces, face_count)
    for name, corrective in result.correctives.items():
        if name not in result.key_names or corrective.driver not in result.key_names:
            raise ResultFolderError(f"The corrective {name} or its driver {corrective.driver} is not in key_names.")
    for name, sides in result.displacement.groups.items() if result.displacement else ():
        if absent := [key for keys in sides.values() for key in keys if key not in result.key_names]:
            raise ResultFolderError(f"The displacement map {name} follows {absent[0]}, which is not in key_names.")
    for photograph in result.photographs:
        if Path(photograph.file).name != photograph.file:
            raise ResultFolderError(f"The photograph {photograph.file!r} is not a plain file name.")
        for side in ("left", "right"):
            if side not in photograph.closure or not 0.0 <= photograph.closure[side] <= 1.0:
                raise ResultFolderError(f"The closure of the {side} eye in {photograph.file} is not within 0..1.")


def _read_facts(folder: Path) -> dict:
    path = folder / FACTS_FILE
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ResultFolderError(f"{folder} is not a result folder: it has no {FACTS_FILE}.") from None
    except (OSError, ValueError) as error:
        raise ResultFolderError(f"{path} cannot be read: {error}.") from error
    version = facts.get("schema_version") if isinstance(facts, dict) else None
    if version != SCHEMA_VERSION:
        raise ResultFolderError(f"{path} has schema version {version}; this program reads version {SCHEMA_VERSION}.")
    return facts


def _read_arrays(path: Path) -> dict[str, np.ndarray]:
    names = (
        "vertices", "posed_vertices", "faces", "uv", "face_uv", "part_names", "part_faces",
        "key_names", "key_index", "key_offset", "key_weights", "landmarks68",
    )  # fmt: skip
    try:
        with np.load(path, allow_pickle=False) as file:
            missing = [name for name in names if name not in file]
            if missing:
                raise ResultFolderError(f"{path} lacks {', '.join(missing)}.")
            return {name: file[name] for name in names}
    except FileNotFoundError:
        raise ResultFolderError(f"{path.parent} is not a result folder: it has no {ARRAYS_FILE}.") from None
    except (OSError, ValueError, EOFError, AttributeError, zipfile.BadZipFile, zlib.error) as error:
        raise ResultFolderError(f"{path} is damaged or holds pickled data: {error}.") from error


def _expect_array(name: str, array: np.ndarray, dtype: type, shape: tuple[int | None, ...]) -> None:
    fits = array.ndim == len(shape) and all(
        size is None or size == found for size, found in zip(shape, array.shape, strict=False)
    )
    if array.dtype != dtype or not fits:
        wanted = "(" + ", ".join("any" if size is None else str(size) for size in shape) + ")"
        raise ResultFolderError(
            f"{name} should be {np.dtype(dtype).name} of shape {wanted}, but is {array.dtype} of shape {array.shape}."
        )
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ResultFolderError(f"{name} holds values that are not numbers.")


def _expect_range(name: str, array: np.ndarray, low: float, high: float) -> None:
    tolerance = 1e-5
    if array.size and (array.min() < low - tolerance or array.max() > high + tolerance):
        raise ResultFolderError(
            f"{name} should lie within {low}..{high}, but spans {array.min():.4g}..{array.max():.4g}."
        )


def _expect_faces(name: str, faces: np.ndarray, count: int) -> None:
    if not len(faces):
        raise ResultFolderError(f"{name} is empty.")
    if faces[:, :3].min() < 0 or faces[:, 3].min() < -1 or faces.max() >= count:
        raise ResultFolderError(f"{name} points outside 0..{count - 1} (-1 is allowed in the last column only).")


def _expect_partition(ranges: np.ndarray, count: int) -> None:
    ordered = ranges[np.argsort(ranges[:, 0])]
    starts, ends = ordered[:, 0], ordered[:, 1]
    if not len(ordered) or starts[0] != 0 or ends[-1] != count or not np.array_equal(starts[1:], ends[:-1]):
        raise ResultFolderError("part_faces should hold every face in exactly one part.")
