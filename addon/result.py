"""Reads a result folder with Blender's own Python: numpy and the standard library, no bpy, nothing of the backend.

The contract is described in docs/result-folder.md and written by the backend; this is its reader on Blender's side.
"""

from __future__ import annotations

import json
import zipfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

SCHEMA_VERSION = 1
MAPS_FOLDER = "displacement"
EXR_START = bytes((0x76, 0x2F, 0x31, 0x01))


class ResultError(Exception):
    """A result folder that cannot be read; the text is a sentence for a person."""


@dataclass(frozen=True)
class PhotographCamera:
    """OpenCV pinhole of one photograph: pixels, origin top left; x_camera = rotation @ x_model + translation.

    `rotation` (3, 3) and `translation` (3,) metres are float64.
    """

    fx: float
    fy: float
    cx: float
    cy: float
    width: int
    height: int
    rotation: np.ndarray
    translation: np.ndarray


@dataclass(frozen=True)
class Photograph:
    """A photograph of the person.

    Attributes:
        path: the picture in the result folder.
        camera: matched to it.
        closure: how far the person's own "left" and "right" eye are shut, 0 open to 1 shut; empty where not measured.
        landmark_error: a share of the distance of the outer eye corners, or None where not measured.
    """

    path: Path
    camera: PhotographCamera
    closure: dict[str, float] = field(default_factory=dict)
    landmark_error: float | None = None


@dataclass(frozen=True)
class LicenceOfPart:
    """What the licence of one thing that took part in a head allows.

    Attributes:
        what: the face model, a network's weights, a detector, with its name.
        name: of the licence; sentence: the same in words.
        commercial: whether heads may be sold.
    """

    what: str
    name: str
    sentence: str
    commercial: bool


@dataclass(frozen=True)
class WrinkleGroup:
    """Shape keys that make skin wrinkle together.

    Attributes:
        path: its displacement map, with all of its keys at 1.
        left, right: the keys that raise it on each half of the face, the subject's own.
    """

    path: Path
    left: tuple[str, ...]
    right: tuple[str, ...]


@dataclass(frozen=True)
class Displacement:
    """Skin detail: maps of metres outwards along the normal, one float32 channel, first row at v = 1.

    Attributes:
        photo: as the first photograph shows it; neutral: with all keys at 0.
        groups: by name.
        left_is_greater_u: whether the subject's left half of the face lies at u > 0.5.
    """

    photo: Path
    neutral: Path
    groups: dict[str, WrinkleGroup]
    left_is_greater_u: bool

    @property
    def maps(self) -> dict[str, Path]:
        """Every map by its name: "photo", "neutral" and the groups."""
        return {"photo": self.photo, "neutral": self.neutral} | {name: each.path for name, each in self.groups.items()}


@dataclass(frozen=True)
class Result:
    """What a result folder says, in model space (metres, +Y up, +Z out of the face, +X to the subject's left).

    Attributes:
        vertices: (V, 3) float32, the neutral.
        faces: (F, 4) int32, -1 in the last column of a triangle; face_uv: the same into `uv`.
        uv: (T, 2) float32, v upwards.
        part_names: P names; part_faces: (P, 2) half-open ranges of faces.
        key_names: K names; key_index: (N, 2) key and vertex; key_offset: (N, 3) float32 metres.
        key_weights: (photographs, K) float32.
        correctives: corrective key -> (key it follows, formula in w).
        albedo: the texture, or None where the result has none.
        warnings: sentences for a person.
        licences: of the face model and of everything else that took part; empty in older folders.
        displacement: the skin's detail, or None where none was made.
    """

    folder: Path
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
    correctives: dict[str, tuple[str, str]]
    photographs: tuple[Photograph, ...]
    face_model: dict
    software: dict
    albedo: Path | None
    warnings: tuple[str, ...] = ()
    licences: tuple[LicenceOfPart, ...] = ()
    displacement: Displacement | None = None

    @property
    def face_part(self) -> np.ndarray:
        """(F,) int32: the part that each face belongs to."""
        part = np.zeros(len(self.faces), dtype=np.int32)
        for index, (start, end) in enumerate(self.part_faces):
            part[start:end] = index
        return part

    def part_vertices(self, name: str) -> np.ndarray:
        """Indices of the vertices of a part, ascending. Raises ValueError when there is no such part."""
        start, end = self.part_faces[self.part_names.index(name)]
        faces = self.faces[start:end]
        return np.unique(faces[faces >= 0])

    def dense_keys(self) -> np.ndarray:
        """(K, V, 3) float32 metres: the offsets of every key at value 1."""
        dense = np.zeros((len(self.key_names), len(self.vertices), 3), dtype=np.float32)
        np.add.at(dense, (self.key_index[:, 0], self.key_index[:, 1]), self.key_offset)
        return dense


def read_result(folder: Path) -> Result:
    """Read a result folder. Raises ResultError with a sentence when it is missing, broken or of another version."""
    folder = Path(folder)
    facts = _facts(folder / "head.json")
    arrays = _arrays(folder / "head.npz")
    albedo = folder / "albedo.png"
    try:
        result = Result(
            folder=folder,
            vertices=arrays["vertices"].astype(np.float32),
            faces=arrays["faces"].astype(np.int32),
            uv=arrays["uv"].astype(np.float32),
            face_uv=arrays["face_uv"].astype(np.int32),
            part_names=tuple(arrays["part_names"].tolist()),
            part_faces=arrays["part_faces"].astype(np.int32),
            key_names=tuple(arrays["key_names"].tolist()),
            key_index=arrays["key_index"].astype(np.int32),
            key_offset=arrays["key_offset"].astype(np.float32),
            key_weights=arrays["key_weights"].astype(np.float32),
            correctives={
                name: (entry["driver"], entry["formula"]) for name, entry in facts.get("correctives", {}).items()
            },
            photographs=tuple(_photograph(folder, entry) for entry in facts["photos"]),
            face_model=dict(facts["face_model"]),
            software=dict(facts.get("software", {})),
            albedo=albedo if albedo.is_file() else None,
            warnings=tuple(str(sentence) for sentence in facts.get("warnings", ())),
            licences=tuple(_licence(entry) for entry in facts.get("licences") or ()),
            displacement=_displacement(folder, facts["displacement"]) if "displacement" in facts else None,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ResultError(f"{folder} is not a complete result folder: {error}.") from error
    _check(result)
    return result


def _facts(path: Path) -> dict:
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ResultError(f"{path.parent} is not a result folder: it has no {path.name}.") from None
    except (OSError, ValueError) as error:
        raise ResultError(f"{path} cannot be read: {error}.") from error
    version = facts.get("schema_version") if isinstance(facts, dict) else None
    if version != SCHEMA_VERSION:
        raise ResultError(f"{path} has schema version {version}; this add-on reads version {SCHEMA_VERSION}.")
    return facts


def _arrays(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except FileNotFoundError:
        raise ResultError(f"{path.parent} is not a result folder: it has no {path.name}.") from None
    except (OSError, ValueError, EOFError, AttributeError, zipfile.BadZipFile, zlib.error) as error:
        raise ResultError(f"{path} is damaged or holds pickled data: {error}.") from error


def _photograph(folder: Path, entry: dict) -> Photograph:
    camera = entry["camera"]
    return Photograph(
        path=folder / Path(entry["file"]).name,
        camera=PhotographCamera(
            fx=float(camera["fx"]),
            fy=float(camera["fy"]),
            cx=float(camera["cx"]),
            cy=float(camera["cy"]),
            width=int(camera["width"]),
            height=int(camera["height"]),
            rotation=np.asarray(camera["rotation"], dtype=np.float64).reshape(3, 3),
            translation=np.asarray(camera["translation"], dtype=np.float64).reshape(3),
        ),
        closure={side: float(eye["closure"]) for side, eye in (entry.get("eyes") or {}).items() if eye},
        landmark_error=None if entry.get("landmark_error") is None else float(entry["landmark_error"]),
    )


def _licence(entry: dict) -> LicenceOfPart:
    return LicenceOfPart(
        str(entry["what"]), str(entry["name"]), str(entry.get("sentence", "")), entry.get("commercial") is True
    )


def _displacement(folder: Path, entry: dict) -> Displacement:
    """Raises ResultError with a sentence where the section does not say what is needed."""
    try:
        groups = {
            str(name): WrinkleGroup(_map(folder, group["file"]), _names(group["left"]), _names(group["right"]))
            for name, group in entry["groups"].items()
        }
        side = {"greater_u": True, "smaller_u": False}[entry["left_is"]]
        return Displacement(_map(folder, entry["photo"]), _map(folder, entry["neutral"]), groups, side)
    except (KeyError, TypeError, AttributeError) as error:
        raise ResultError(
            f'The section "displacement" in {folder / "head.json"} is not complete: {error}. Make the head again.'
        ) from error


def _map(folder: Path, file: str) -> Path:
    return folder / MAPS_FOLDER / Path(file).name


def _names(entry: list) -> tuple[str, ...]:
    if not isinstance(entry, list) or not entry or not all(isinstance(name, str) for name in entry):
        raise TypeError(f"{entry!r} is no list of shape keys")
    return tuple(entry)


def _check(result: Result) -> None:
    """What would make Blender crash or build nonsense: shapes that disagree, indices that point outside."""
    vertex_count, face_count, key_count = len(result.vertices), len(result.faces), len(result.key_names)
    wanted = {
        "vertices": (vertex_count, 3),
        "faces": (face_count, 4),
        "uv": (len(result.uv), 2),
        "face_uv": (face_count, 4),
        "part_faces": (len(result.part_names), 2),
        "key_index": (len(result.key_index), 2),
        "key_offset": (len(result.key_index), 3),
        "key_weights": (len(result.photographs), key_count),
    }
    for name, shape in wanted.items():
        if getattr(result, name).shape != shape:
            raise ResultError(f"{name} in {result.folder} has the shape {getattr(result, name).shape}, not {shape}.")
    for name in ("vertices", "uv", "key_offset", "key_weights"):
        if not np.isfinite(getattr(result, name)).all():
            raise ResultError(f"{name} in {result.folder} holds values that are not numbers.")
    for name, count in (("faces", vertex_count), ("face_uv", len(result.uv))):
        index = getattr(result, name)
        if not len(index) or index[:, :3].min() < 0 or index.max() >= count:
            raise ResultError(f"{name} in {result.folder} points outside 0..{count - 1}.")
    if not np.array_equal(result.faces[:, 3] < 0, result.face_uv[:, 3] < 0):
        raise ResultError(f"faces and face_uv in {result.folder} do not mark the same triangles.")
    for column, count in ((0, key_count), (1, vertex_count)):
        index = result.key_index[:, column]
        if len(index) and (index.min() < 0 or index.max() >= count):
            raise ResultError(f"key_index in {result.folder} points outside 0..{count - 1}.")
    for start, end in result.part_faces:
        if not 0 <= start <= end <= face_count:
            raise ResultError(f"part_faces in {result.folder} points outside 0..{face_count}.")
    for name, (driver, _) in result.correctives.items():
        if name not in result.key_names or driver not in result.key_names:
            raise ResultError(f"The corrective {name} in {result.folder} has no shape key, or its driver has none.")
    if result.displacement is not None:
        _check_displacement(result)


def _check_displacement(result: Result) -> None:
    for name, path in result.displacement.maps.items():
        try:
            with path.open("rb") as file:
                start = file.read(len(EXR_START))
        except OSError:
            raise ResultError(f"The displacement map {name} is not in {path.parent}. Make the head again.") from None
        if start != EXR_START:
            raise ResultError(f"The displacement map {path} is no OpenEXR picture. Make the head again.")
    for name, group in result.displacement.groups.items():
        if name in ("photo", "neutral"):
            raise ResultError(f"A group of the displacement maps in {result.folder} has the name {name}.")
        for key in (*group.left, *group.right):
            if key not in result.key_names:
                raise ResultError(
                    f"The displacement map {name} in {result.folder} follows {key}, which is no shape key."
                )
