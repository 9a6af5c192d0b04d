"""Who is in a batch: people, their photographs and the names of their result folders. Standard library only."""

from __future__ import annotations

import csv
import io
import os
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from .errors import UsageError

PHOTOGRAPH_SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".jfif", ".mpo", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".avif", ".heic", ".heif")
)  # fmt: skip
NAME_COLUMN = "name"
PHOTOGRAPH_COLUMNS = ("photograph", "photographs")
FACE_COLUMN = "face"
BETWEEN_PHOTOGRAPHS = "|"
CSV_FORM = "Its first line is name,photograph; then comes one line a photograph, or several photographs with | between"
LONGEST_NAME_BYTES = 120
"""Half of what file systems allow, so that there is room for what the output folder adds while it is made."""

FORBIDDEN_IN_NAMES = re.compile(r'[<>:"/\\|?*\x00-\x1f\x7f]')  # Windows; other systems forbid fewer
RESERVED_NAMES = re.compile(r"(?i)^(con|prn|aux|nul|com[0-9]|lpt[0-9])(\.|$)")


@dataclass(frozen=True)
class Person:
    """One head to make.

    Attributes:
        name: of the result folder; safe on every file system, and no other person of the batch has it.
        photographs: files, which need not exist; empty where none were found.
        faces: which face of each photograph, 1 the largest; None for the largest.
    """

    name: str
    photographs: tuple[Path, ...]
    faces: tuple[int | None, ...]


@dataclass(frozen=True)
class Plan:
    """Everybody in a batch, in the order of their names or of the CSV file.

    Attributes:
        source: the folder or CSV file.
        people: at least one.
        notes: sentences on what was passed over.
    """

    source: Path
    people: tuple[Person, ...]
    notes: tuple[str, ...] = ()


def read_plan(source: Path, per_person: bool = False, output: Path | None = None) -> Plan:
    """The people of a folder or a CSV file.

    Args:
        source: a folder whose photographs are a person each, or a CSV file (see docs/batch.md).
        per_person: each sub-folder is a person instead.
        output: where the results go; passed over where it lies in the source.

    Raises:
        UsageError: the source is missing, is neither, or holds nobody.
    """
    if os.path.isdir(source):
        return _of_sub_folders(source, output) if per_person else _of_photographs(source)
    if not os.path.exists(source):
        raise UsageError("no-such-file", f"There is no folder or CSV file {source}.")
    if per_person:
        raise UsageError("not-a-folder", f"--per-person needs a folder of folders; {source} is a file.")
    if source.suffix.lower() in PHOTOGRAPH_SUFFIXES:
        raise UsageError(
            "input-is-a-photograph", f"{source} is one photograph. Name its folder, or use the command reconstruct."
        )
    return _of_csv(source)


def safe_name(text: str) -> str:
    """A folder name for every file system, as near to `text` as that allows."""
    text = text.encode("utf-8", errors="replace").decode()  # a file name may hold bytes that are no text
    name = FORBIDDEN_IN_NAMES.sub("_", unicodedata.normalize("NFC", text)).strip()
    name = re.sub(r"^\.+", "_", name).rstrip(". ")
    if RESERVED_NAMES.match(name):
        name = f"_{name}"
    name = name.encode()[:LONGEST_NAME_BYTES].decode("utf-8", errors="ignore").rstrip(". ")
    return name or "person"


def _of_photographs(folder: Path) -> Plan:
    photographs, others, folders = _look_into(folder)
    if not photographs:
        inside = next((path for path in folders if _look_into(path)[0]), None)
        hint = f" There are some in {inside.name}: add --per-person to make each sub-folder a person." if inside else ""
        raise UsageError("no-photographs", f"There is no photograph in {folder}.{hint}")
    names = _unique_names(path.stem for path in photographs)
    people = tuple(Person(name, (path,), (None,)) for name, path in zip(names, photographs, strict=True))
    return Plan(folder, people, _notes(folder, others))


def _of_sub_folders(source: Path, output: Path | None) -> Plan:
    loose, others, folders = _look_into(source)
    if output is not None:
        folders = [folder for folder in folders if folder.resolve() != output.resolve()]
    if not folders:
        raise UsageError("no-sub-folders", f"There is no sub-folder in {source}. With --per-person each is a person.")
    people, notes = [], list(_notes(source, others))
    if loose:
        notes.append(f"Passed over, as they lie beside the folders of people in {source}: {_some_names(loose)}")
    for name, folder in zip(_unique_names(folder.name for folder in folders), folders, strict=True):
        try:
            photographs, others, _ = _look_into(folder)
        except UsageError as error:  # one person's folder never stops the rest
            photographs, others = [], []
            notes.append(error.sentence)
        notes += _notes(folder, others)
        people.append(Person(name, tuple(photographs), (None,) * len(photographs)))
    return Plan(source, tuple(people), tuple(notes))


def _of_csv(source: Path) -> Plan:
    rows = _csv_rows(source)
    photographs: dict[str, list[tuple[Path, int | None]]] = {}
    for line, row in rows:
        name = (row.get(NAME_COLUMN) or "").strip()
        if not name:
            raise _wrong_csv(source, f"line {line} has no name")
        of_person = photographs.setdefault(name, [])
        column = next(column for column in PHOTOGRAPH_COLUMNS if column in row)
        face = _face((row.get(FACE_COLUMN) or "").strip(), source, line)
        for entry in (row.get(column) or "").split(BETWEEN_PHOTOGRAPHS):
            if entry.strip():
                of_person.append((source.parent / _in_home(entry.strip()), face))
    if not photographs:
        raise _wrong_csv(source, "it names nobody")
    people = [
        Person(name, tuple(path for path, _ in chosen), tuple(face for _, face in chosen))
        for name, chosen in zip(_unique_names(photographs), photographs.values(), strict=True)
    ]
    return Plan(source, tuple(people))


def _in_home(entry: str) -> Path:
    """A path with ~/ at its start made whole; ~ may also begin the name of a file."""
    return Path(entry).expanduser() if entry.startswith("~/") else Path(entry)


def _csv_rows(source: Path) -> list[tuple[int, dict[str, str]]]:
    """Line numbers and fields by column, in lower case. The separator is a comma, a semicolon or a tab."""
    try:
        text = source.read_text("utf-8-sig")
    except (UnicodeDecodeError, IsADirectoryError):
        raise UsageError(
            "not-a-csv", f"{source} is not a text file in UTF-8. A batch takes a folder or a CSV file. {CSV_FORM}."
        ) from None
    except OSError as error:
        raise UsageError("no-permission", f"{source} cannot be read: {error.strerror}.") from error
    header = text.splitlines()[0] if text.strip() else ""
    separator = max(",;\t", key=header.count)
    try:
        reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
        reader.fieldnames = [(column or "").strip().lower() for column in reader.fieldnames or ()]
        if NAME_COLUMN not in reader.fieldnames or not set(PHOTOGRAPH_COLUMNS) & set(reader.fieldnames):
            columns = ", ".join(reader.fieldnames) or "none"
            raise _wrong_csv(source, f"there should be columns name and photograph, and there are: {columns}")
        ours = [column for column in reader.fieldnames if column in (NAME_COLUMN, FACE_COLUMN, *PHOTOGRAPH_COLUMNS)]
        if len(set(ours) - {NAME_COLUMN, FACE_COLUMN}) > 1 or len(set(ours)) < len(ours):
            raise _wrong_csv(source, f"a column is there twice: {', '.join(ours)}")
        rows = []
        for row in reader:
            if None in row:
                raise _wrong_csv(source, f"line {reader.line_num} has more fields than the first line")
            if any((value or "").strip() for value in row.values()):
                rows.append((reader.line_num, row))
        return rows
    except csv.Error as error:
        raise _wrong_csv(source, f"it cannot be read as a table: {error}") from None


def _wrong_csv(source: Path, what: str) -> UsageError:
    return UsageError("wrong-csv", f"{source} is not as a batch needs it: {what}. {CSV_FORM}.")


def _face(text: str, source: Path, line: int) -> int | None:
    if not text:
        return None
    if not text.isdecimal() or int(text) < 1:
        raise _wrong_csv(source, f"line {line} asks for face {text}; faces count from 1, the largest")
    return int(text)


def _look_into(folder: Path) -> tuple[list[Path], list[Path], list[Path]]:
    """Photographs, other files and folders in a folder, by name; hidden ones are passed over."""
    try:
        found = sorted(folder.iterdir(), key=lambda path: (path.name.casefold(), path.name))
    except OSError as error:
        raise UsageError("no-permission", f"The folder {folder} cannot be read: {error.strerror}.") from error
    found = [path for path in found if not path.name.startswith(".")]
    photographs, others, folders = [], [], []
    for path in found:
        is_photograph = path.suffix.lower() in PHOTOGRAPH_SUFFIXES
        (folders if os.path.isdir(path) else photographs if is_photograph else others).append(path)
    return photographs, others, folders


def _notes(folder: Path, others: list[Path]) -> tuple[str, ...]:
    if not others:
        return ()
    return (f"Passed over in {folder}, as no photographs by their names: {_some_names(others)}",)


def _some_names(paths: list[Path]) -> str:
    more = f" and {len(paths) - 3} more" if paths[3:] else ""
    return ", ".join(path.name for path in paths[:3]) + more


def _unique_names(texts: Iterable[str]) -> list[str]:
    """Safe names; those that differ in nothing, or only in case, are numbered from the second on."""
    taken: set[str] = set()
    names = []
    for text in texts:
        base = name = safe_name(text)
        number = 2
        while name.casefold() in taken:
            name, number = f"{base}-{number}", number + 1
        taken.add(name.casefold())
        names.append(name)
    return names
