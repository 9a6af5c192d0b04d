"""What a batch writes into a finished result folder, so that a later run can tell that nothing is to be done there.

Standard library only. The file is written last: a folder without it is half done.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from . import asset_store
from .batch_plan import Person
from .batch_report import replace_file
from .options import DEFAULT_DETAIL_SIZE, DEFAULT_FACE_MODEL, ReconstructOptions
from .output_folder import is_ours

RECORD_FILE = "head.batch.json"
SCHEMA_VERSION = 1
UNNAMED_METHOD = "fit"
"""Of the heads of batches that were made when there was no other."""


def fingerprint(person: Person, options: ReconstructOptions) -> str:
    """SHA-256 of what decides how the head turns out: photographs' bytes, faces, options, face model's file.

    The formats are not in it, nor device and Blender: more formats in a folder than are asked for do no harm. A
    photograph that cannot be read counts as such: once it can be, the head is another one.
    """
    digest = hashlib.sha256()
    export_options = json.dumps(json.loads(options.export_options or "{}"), sort_keys=True)
    told = [options.focal_length_mm, options.texture_size, options.texture, export_options, *person.faces]
    told += [] if options.detail else ["no detail"]
    told += [] if options.detail_size == DEFAULT_DETAIL_SIZE else [options.detail_size]
    if options.method != UNNAMED_METHOD:
        told.append(options.method)
    if options.face_model != DEFAULT_FACE_MODEL:
        model = asset_store.find(options.face_model)
        told += [options.face_model, *((model.sha256, model.preparation) if model else ())]
    digest.update(json.dumps(told).encode())
    for photograph in person.photographs:
        try:
            with photograph.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        except (OSError, ValueError):  # ValueError: a zero byte in its name
            digest.update(b"not readable")
    return digest.hexdigest()


def write_record(folder: Path, of: str, formats: Sequence[str], row: dict[str, object]) -> None:
    """Marks a result folder as complete.

    Args:
        folder: of the result, with every file in it. Files that are not Lifemask's do not count.
        of: `fingerprint` of what it was made from.
        formats: those of the formats that are there.
        row: what the reports of later runs should say.

    Raises OSError.
    """
    sizes = {
        path.relative_to(folder).as_posix(): path.stat().st_size
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != RECORD_FILE and is_ours(path.relative_to(folder).parts[0])
    }
    record = {
        "schema_version": SCHEMA_VERSION,
        "fingerprint": of,
        "formats": list(formats),
        "row": row,
        "files": sizes,
    }
    replace_file(folder / RECORD_FILE, json.dumps(record, indent=2, ensure_ascii=False) + "\n")


def complete_record(folder: Path, of: str, formats: Sequence[str]) -> dict | None:
    """The record of a folder in which nothing is left to do, or None.

    Args:
        folder: of the result; need not exist.
        of: `fingerprint` of what it should have been made from.
        formats: that must all be there.
    """
    try:
        record = json.loads((folder / RECORD_FILE).read_text("utf-8"))
        is_ours = record["schema_version"] == SCHEMA_VERSION and record["fingerprint"] == of
        if not is_ours or not set(formats) <= set(record["formats"]):
            return None
        whole = all((folder / name).stat().st_size == size for name, size in record["files"].items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return record if whole and record["files"] else None
