"""What a head knows of itself: which photographs it came from, with which options, and under which licence.

It is JSON in the object's ID property `lifemask`, so that it is saved with the file, copied with the object and taken
back by undo.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

import bpy

if TYPE_CHECKING:
    from .result import Result

PROPERTY = "lifemask"
IMAGE_SIZE = "lifemask_image_size"
"""ID property of a camera that was matched to a photograph."""

SCHEMA = 1


@dataclass(frozen=True)
class RecordedPhotograph:
    """One photograph of a head.

    Attributes:
        path: where the file was; empty where that is not known. A copy is packed into the Blender file.
        face: which face in it, 1 the largest; None for the largest.
        closure: how far the eyes are shut, "left" and "right" of the person, 0 open to 1 shut.
        landmark_error: a share of the distance of the outer eye corners, or None.
        values: the shape key values that show its expression; keys that are not named are at 0.
    """

    path: str = ""
    face: int | None = None
    closure: Mapping[str, float] = field(default_factory=dict)
    landmark_error: float | None = None
    values: Mapping[str, float] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The file's name, for people."""
        return Path(self.path.replace("\\", "/")).name


@dataclass(frozen=True)
class HeadRecord:
    """Everything that is known of a head.

    Attributes:
        id: of this head, the same after renaming and saving.
        photographs: in the order in which they were given.
        options: as the backend was asked: texture_size, texture, device, focal_length_mm.
        face_model, licence, licence_sentence, commercial: where the shape comes from, what its licence allows.
        face_model_label: what the face model is called for people; empty in older files.
        licences: {"what", "name", "sentence", "commercial"} of everything that took part, the face model included;
            empty in older files.
        warnings: sentences.
        keys: the shape keys that were built; those that are missing now were removed by the person.
    """

    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    photographs: tuple[RecordedPhotograph, ...] = ()
    options: Mapping[str, object] = field(default_factory=dict)
    face_model: str = ""
    licence: str = ""
    licence_sentence: str = ""
    commercial: bool | None = None
    warnings: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    face_model_label: str = ""
    licences: tuple[Mapping[str, object], ...] = ()

    @property
    def may_be_sold(self) -> bool | None:
        """Whether the head may be sold, as all licences together have it; None where nobody said."""
        said = [self.commercial, *(licence.get("commercial") for licence in self.licences)]
        if any(each is False for each in said):
            return False
        return True if any(said) else None


def describe(
    result: Result,
    photographs: Sequence[tuple[Path, int | None]] = (),
    options: Mapping[str, object] | None = None,
    head_id: str = "",
) -> HeadRecord:
    """The record of a head that is built from a result.

    Args:
        result: what was read from the result folder.
        photographs: file and face as they were given; without them the copies in the result folder are named.
        options: as the backend was asked.
        head_id: of a head that is there already; a new one gets a new id.
    """
    sources = photographs or [(photograph.path, None) for photograph in result.photographs]
    free = [(index, name) for index, name in enumerate(result.key_names) if name not in result.correctives]
    recorded = []
    for (path, face), photograph, weights in zip(sources, result.photographs, result.key_weights, strict=False):
        values = {name: round(float(weights[index]), 6) for index, name in free if abs(weights[index]) > 1e-6}
        recorded.append(RecordedPhotograph(str(path), face, photograph.closure, photograph.landmark_error, values))
    credit = result.face_model
    return HeadRecord(
        id=head_id or uuid.uuid4().hex,
        photographs=tuple(recorded),
        options=dict(options or {}),
        face_model=str(credit.get("name", "")),
        licence=str(credit.get("licence", "")),
        licence_sentence=str(credit.get("sentence", "")),
        commercial=credit.get("commercial"),
        warnings=result.warnings,
        keys=result.key_names,
        face_model_label=_label_of(credit, result),
        licences=tuple(asdict(licence) for licence in result.licences),
    )


def _label_of(credit: Mapping[str, object], result: Result) -> str:
    """What the face model is called: as the result says it, or in the name of its licence's entry."""
    if credit.get("label"):
        return str(credit["label"])
    prefix = "face model "
    named = (licence.what for licence in result.licences if licence.what.startswith(prefix))
    return next(named, "").removeprefix(prefix)


def with_new_id(record: HeadRecord) -> HeadRecord:
    """The same record for another head."""
    return replace(record, id=uuid.uuid4().hex)


def write_record(head: bpy.types.Object, record: HeadRecord) -> None:
    """Store the record on the head."""
    head[PROPERTY] = json.dumps({"schema": SCHEMA, **asdict(record)}, ensure_ascii=False)


def record_of(head: bpy.types.Object | None) -> HeadRecord | None:
    """The record of a head; None for any other object, and for a record that cannot be read."""
    text = head.get(PROPERTY) if head is not None and head.type == "MESH" else None
    if not isinstance(text, str):
        return None
    try:
        facts = json.loads(text)
        if facts.pop("schema") != SCHEMA:
            return None
        photographs = tuple(RecordedPhotograph(**entry) for entry in facts.pop("photographs"))
        tuples = {name: tuple(facts.pop(name, ())) for name in ("warnings", "keys", "licences")}
        known = {each.name for each in fields(HeadRecord)}  # a newer Lifemask may have written more
        return HeadRecord(
            photographs=photographs, **tuples, **{name: value for name, value in facts.items() if name in known}
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        return None


def heads() -> Iterator[tuple[bpy.types.Object, HeadRecord]]:
    """All heads of the file with their records."""
    for thing in bpy.data.objects:
        if record := record_of(thing):
            yield thing, record


def find_head(head_id: str) -> bpy.types.Object | None:
    """The head of that id, whatever it is called now; None where it is not in the file."""
    return next((head for head, record in heads() if head_id and record.id == head_id), None)


def active_head(context: bpy.types.Context) -> bpy.types.Object | None:
    """The active object where it is a head, else the head whose camera is active; None otherwise."""
    active = getattr(context, "active_object", None)
    if active is not None and active.type == "CAMERA" and IMAGE_SIZE in active.data:
        active = active.parent
    return active if record_of(active) else None


def values_of_photographs(head: bpy.types.Object) -> list[Mapping[str, float]]:
    """The key values of each photograph; empty for an object that is no head."""
    record = record_of(head)
    return [photograph.values for photograph in record.photographs] if record else []
