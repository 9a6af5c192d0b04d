"""Face models that a person has added, and the files that can be downloaded: where they lie, how they come and go.

An added face model is a folder `face_models/<name>/` in Lifemask's folder with two files: `model.npz`, the model
prepared for use, and `asset.json`, where it came from and under which licence. The folder appears when both are whole.

Standard library only until a model is read: a bare Python can list, remove and download.
"""

import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from . import environment
from .asset_catalogue import (
    ADD,
    CATALOGUE,
    DETECTOR,
    FACE_MODEL,
    OPEN_HEAD,
    KnownAsset,
    known,
    no_such_asset,
)
from .downloads import KnownFile, download, sha256_of
from .environment import CancelCallback, hold_lock
from .errors import Cancelled, Fix, LifemaskError, SetupError, UsageError
from .face_landmarker import VARIABLE, face_landmarker_path

MODEL_FILE, RECORD_FILE = "model.npz", "asset.json"
SCHEMA_VERSION = 1
PREPARATION = 2
"""Version of the preparation, and of what `RegisteredHead.save` writes. Models of another are prepared anew from their
owner's file. addon/face_models.py has it too; a test holds the two equal."""
OPEN_HEAD_FILE = Path(__file__).parent / "assets" / "open_head.npz"
NAME = re.compile(r"[a-z0-9][a-z0-9_]*")
NEARLY_NO_BYTES = 1_000_000
MOST_NAMED = 3
SHARE_READ, SHARE_PREPARED = 0.05, 0.95
"""How much of adding a model is done when its file is read, and when it is prepared."""

Progress = Callable[[str, float, str], None]
"""Called with a stage in words, how much of the whole is done, 0 to 1, and a detail such as "1.2 of 3.8 MB" or ""."""


@dataclass(frozen=True)
class Asset:
    """A face model or a detector's file, here or not.

    Attributes:
        name: as on the command line: "flame2020".
        label: for people: "FLAME 2020".
        kind: "face_model" or "detector".
        licence: SPDX identifier or the licence's own name.
        sentence: what the licence means for a person.
        commercial: whether results may be sold.
        source: where its owner gives it out.
        installed: whether it can be used.
        fetchable: whether Lifemask can download it.
        size: bytes of the original file or files; None where that is not known.
        sha256: of the original file, or of the list of several as `sha256sum` writes it, sorted; "" where not known.
        file: name of the original file or folder, and of what was read besides.
        added: when, UTC, ISO 8601; "" for what was not added.
        preparation: version of the preparation that made `model.npz`; 0 for what was not prepared.
    """

    name: str
    label: str
    kind: str
    licence: str
    sentence: str
    commercial: bool
    source: str
    installed: bool
    fetchable: bool = False
    size: int | None = None
    sha256: str = ""
    file: str = ""
    added: str = ""
    preparation: int = 0

    def as_json(self) -> dict:
        """As the protocol and `assets list --json` have it."""
        return {**asdict(self), "outdated": self.outdated}

    @property
    def outdated(self) -> bool:
        """Whether it is here, and no head can be made from it: another Lifemask prepared it."""
        was_added = self.installed and self.kind == FACE_MODEL and self.name != OPEN_HEAD
        return was_added and self.preparation != PREPARATION


def face_models_folder() -> Path:
    """Where added face models lie, whether there are any or not."""
    return environment.home() / "face_models"


def model_path(name: str) -> Path | None:
    """The prepared file of an added face model; None where there is none of that name, or an outdated one."""
    asset = _record(name)
    return face_models_folder() / name / MODEL_FILE if asset and not asset.outdated else None


def installed() -> list[Asset]:
    """The face models that were added, outdated ones too, by name. Reads their small records and nothing else."""
    folder = face_models_folder()
    names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    return [asset for name in names if (asset := _record(name))]


def find(name: str) -> Asset | None:
    """The built-in or an added face model of that name, without size and checksum where it is built in; or None."""
    return _built_in() if name == OPEN_HEAD else _record(name)


def assets() -> list[Asset]:
    """Everything that is here or could be: the open head, what was added, what is known and not here, the detector.

    Reads the built-in head and the detector's file for their checksums.
    """
    added = installed()
    names = {asset.name for asset in added}
    absent = [
        _absent(entry) for entry in CATALOGUE if entry.kind == FACE_MODEL and entry.name not in {OPEN_HEAD} | names
    ]
    built_in = replace(_built_in(), size=OPEN_HEAD_FILE.stat().st_size, sha256=sha256_of(OPEN_HEAD_FILE))
    return [built_in, *added, *absent, *(_detector(entry) for entry in CATALOGUE if entry.kind == DETECTOR)]


def add(path: Path, progress: Progress | None = None, cancelled: CancelCallback | None = None) -> Asset:
    """Adds a face model from its owner's file or folder: reads it, prepares it and keeps what was prepared.

    A model of the same name that is there is replaced when the new one is complete. An interruption leaves nothing,
    and what a killed process left is removed the next time.

    Args:
        path: file or folder.
        progress: told of every stage.
        cancelled: asked while another process adds the same model.

    Raises:
        UsageError: "no-face-model-file", "bad-face-model-file", "unsafe-file".
        SetupError: "disk-full", "no-permission".
        Cancelled: `cancelled` said so.
    """
    tell = progress or (lambda stage, share, detail: None)
    path = Path(path)
    check_file(path)
    from .face_models import formats

    tell("looking at the file", 0.0, path.name)
    found = formats.identify(path)
    with _place_of(found.name, tell, cancelled or (lambda: False)) as working:
        tell("reading the face model", 0.01, found.label)
        files = found.files(path)
        size, sha256 = size_and_sha256(files)
        before = _states(files)
        arrays = found.read(path)
        if _states(found.files(path)) != before:
            raise UsageError("bad-face-model-file", f"{path} changed while it was read. Add it again.")
        from .face_models import preparation

        span = SHARE_PREPARED - SHARE_READ
        prepared = preparation.prepare(arrays, lambda stage, share: tell(stage, SHARE_READ + span * share, found.label))
        tell("keeping the face model", SHARE_PREPARED, found.label)
        prepared.save(working / MODEL_FILE)
        asset = Asset(
            name=found.name,
            label=arrays.label,
            kind=FACE_MODEL,
            licence=arrays.licence.name,
            sentence=arrays.licence.sentence,
            commercial=arrays.licence.commercial,
            source=arrays.source,
            installed=True,
            fetchable=_fetchable(found.name),
            size=size,
            sha256=sha256,
            file=_called(path, files),
            added=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            preparation=PREPARATION,
        )
        record = {"schema_version": SCHEMA_VERSION, **asdict(asset)}
        (working / RECORD_FILE).write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", "utf-8")
    return asset


def check_file(path: Path) -> None:
    """Raises UsageError("no-face-model-file") where there is no file or folder that can be read."""
    if not os.path.exists(path):
        raise UsageError("no-face-model-file", f"There is no file or folder {path}. Name the face model's file.")
    if not os.access(path, os.R_OK):
        raise UsageError("no-face-model-file", f"{path} may not be read. Change its permissions.")


def to_fetch(name: str) -> KnownFile:
    """What `fetch` would download.

    Raises:
        UsageError: "no-such-face-model"; "built-in"; "not-fetchable", with the place where its owner gives it out.
    """
    entry = known(name)
    if entry is None:
        names = [other.name for other in CATALOGUE if other.download]
        raise no_such_asset(name, names, f"Nothing that can be downloaded is called {name}")
    if name == OPEN_HEAD:
        raise UsageError("built-in", f"{entry.label} comes with Lifemask. There is nothing to download.")
    if entry.download is None:
        raise UsageError(
            "not-fetchable",
            f"Lifemask does not download {entry.label}. {entry.how_to_get}",
            replace(ADD, label="Add a file"),
        )
    return entry.download


def fetch(name: str, agreed: bool, progress: Progress | None = None, cancelled: CancelCallback | None = None) -> Asset:
    """Downloads a file that anyone may download; a face model is then added. An interrupted download goes on.

    Nothing is downloaded of what is here already.

    Args:
        name: of the asset.
        agreed: whether a person has agreed to this very download.
        progress: told of every stage.
        cancelled: asked several times a second; True stops. What has arrived is kept.

    Raises:
        UsageError: see `to_fetch`; "consent-needed": nobody has agreed.
        SetupError, Cancelled: see `downloads.download` and `add`.
    """
    wanted, entry = to_fetch(name), known(name)
    if not agreed:
        raise nobody_agreed(entry)
    tell = progress or (lambda stage, share, detail: None)
    part = 1.0 if entry.kind == DETECTOR else 0.3

    def arrived(done: int, total: int) -> None:
        tell(f"downloading {wanted.title}", part * done / total, f"{done / 1e6:.1f} of {total / 1e6:.1f} MB")

    if entry.kind == DETECTOR:
        download(wanted, _detector_folder() / wanted.name, arrived, cancelled)
        return _detector(entry)
    with _locked(f"{name}.download", tell, cancelled or (lambda: False)):
        there = _record(name)
        if there is not None and there.sha256 == wanted.sha256 and not there.outdated:
            return there
        original = download(wanted, environment.home() / "downloads" / wanted.name, arrived, cancelled)
        asset = add(original, lambda stage, share, detail: tell(stage, part + (1 - part) * share, detail), cancelled)
        original.unlink(missing_ok=True)
    return asset


def consent(entry: KnownAsset) -> str:
    """What a person agrees to: name, licence, size and address."""
    size = f"{entry.download.size / 1e6:.1f} MB"
    return f"{entry.label} is {size} from {entry.download.source}, licence {entry.licence}. {entry.sentence}"


def nobody_agreed(entry: KnownAsset) -> UsageError:
    """The error that nobody has agreed to a download; it says what that would be."""
    return UsageError(
        "consent-needed",
        f"Nothing was downloaded: nobody has agreed to it. {consent(entry)}",
        Fix("fetch-asset", "Download it", f"python3 -m backend assets fetch {entry.name} --yes"),
    )


def is_outdated(asset: Asset) -> UsageError:
    """The error that another Lifemask prepared a face model; it says how it becomes usable."""
    when = "an older" if asset.preparation < PREPARATION else "a newer"
    fix = entry.fix if (entry := known(asset.name)) else ADD
    again = "download it again" if asset.fetchable else "add its file again"
    return UsageError(
        "outdated-face-model", f"{asset.label} was prepared by {when} Lifemask; {again}: {fix.command}.", fix
    )


def remove(name: str, cancelled: CancelCallback | None = None) -> None:
    """Removes an added face model, whole or damaged, or the detector's file that was downloaded.

    Raises:
        UsageError: "built-in"; "no-such-face-model": there is none of that name.
        SetupError("no-permission"): it cannot be removed.
        Cancelled: `cancelled` said so.
    """
    entry = known(name)
    if name == OPEN_HEAD:
        raise UsageError("built-in", f"{entry.label} is built in and stays: Lifemask needs it.")
    if entry is not None and entry.kind == DETECTOR:
        _remove_detector(entry)
        return
    label = entry.label if entry else name
    target = face_models_folder() / name
    if not NAME.fullmatch(name) or not target.is_dir():
        there = ", ".join(asset.name for asset in installed()) or "none"
        raise UsageError("no-such-face-model", f"{label} is not among the face models that were added: {there}.")
    with _locked(name, lambda stage, share, detail: None, cancelled or (lambda: False)):
        _clean(target)
        if target.is_dir():  # no other process has removed it meanwhile
            gone = _beside(target, "gone")
            target.rename(gone)
            shutil.rmtree(gone, ignore_errors=True)


def size_and_sha256(files: Sequence[Path]) -> tuple[int, str]:
    """Bytes and SHA-256 of one file, or of several in one folder.

    Of several it is that of the lines "SHA-256  name", sorted by name, each with a line feed: what `sha256sum` prints.

    Raises:
        UsageError: "no-face-model-file": one of them cannot be read.
    """
    sizes, checksums = [], {}
    for file in files:
        try:
            checksums[file.name] = sha256_of(file)
            sizes.append(file.stat().st_size)
        except OSError as error:
            raise UsageError(
                "no-face-model-file", f"{file} cannot be read: {error.strerror or error}. Change its permissions."
            ) from error
    if len(files) == 1:
        return sizes[0], checksums[files[0].name]
    lines = "".join(f"{checksums[name]}  {name}\n" for name in sorted(checksums))
    return sum(sizes), hashlib.sha256(lines.encode()).hexdigest()


def _called(path: Path, files: Sequence[Path]) -> str:
    """The name of what was added, and of what was read beside it: "generic_model.pkl with landmark_embedding.npy"."""
    name = path.absolute().name
    others = [file.name for file in files if file.name != name]
    if path.is_dir() or not others:
        return name
    return f"{name} with {' and '.join(others) if len(others) <= MOST_NAMED else f'{len(others)} more'}"


def _states(files: Sequence[Path]) -> list[tuple]:
    """What changes when one of the files does."""
    told = [(file, file.stat()) for file in files if file.exists()]
    return [(file, state.st_ino, state.st_size, state.st_mtime_ns) for file, state in told]


# What is listed


def _record(name: str) -> Asset | None:
    """What `asset.json` says of an added face model; None where there is none that is whole."""
    folder = face_models_folder() / name
    if not NAME.fullmatch(name) or name == OPEN_HEAD or not (folder / MODEL_FILE).is_file():
        return None
    try:
        told = json.loads((folder / RECORD_FILE).read_text("utf-8"))
        if told["schema_version"] != SCHEMA_VERSION:
            return None
        asset = Asset(**{field: told[field] for field in Asset.__dataclass_fields__})
    except (OSError, ValueError, KeyError, TypeError):
        return None
    sold = asset.commercial is True
    return replace(asset, name=name, kind=FACE_MODEL, installed=True, fetchable=_fetchable(name), commercial=sold)


def _built_in() -> Asset:
    return replace(_absent(known(OPEN_HEAD)), installed=True, file=OPEN_HEAD_FILE.name)


def _absent(entry: KnownAsset) -> Asset:
    told = {name: getattr(entry, name) for name in ("name", "label", "kind", "licence", "sentence", "commercial")}
    asset = Asset(**told, source=entry.source, installed=False, fetchable=entry.download is not None)
    if entry.download is None:
        return asset
    return replace(asset, size=entry.download.size, sha256=entry.download.sha256, file=entry.download.name)


def _detector(entry: KnownAsset) -> Asset:
    try:
        there = entry.download.is_in(face_landmarker_path())
    except OSError:
        there = False
    return replace(_absent(entry), installed=there)


def _fetchable(name: str) -> bool:
    entry = known(name)
    return entry is not None and entry.download is not None


# How it comes and goes


@contextlib.contextmanager
def _place_of(name: str, tell: Progress, cancelled: CancelCallback) -> Iterator[Path]:
    """Yields an empty folder that takes the place of the model when the block ends without an error."""
    target = face_models_folder() / name
    working, old = _beside(target, "new"), _beside(target, "old")
    with _locked(name, tell, cancelled):
        _clean(target)
        try:
            working.mkdir()
            yield working
            for path in working.iterdir():
                with path.open("rb+") as file:
                    os.fsync(file.fileno())
            if target.exists():
                target.rename(old)
            working.rename(target)
        finally:
            _clean(target)


@contextlib.contextmanager
def _locked(name: str, tell: Progress, cancelled: CancelCallback) -> Iterator[None]:
    """Keeps other processes from changing the face model of that name. Errors of the disk become sentences."""
    folder = face_models_folder()

    def wait() -> None:
        if cancelled():
            raise Cancelled("Stopped. No face model was changed.")
        tell("waiting for another Lifemask that is busy with this face model", 0.0, name)

    try:
        folder.mkdir(parents=True, exist_ok=True)
        with hold_lock(folder / f".{name}.lock", wait):
            yield
    except OSError as error:
        raise _in_words(error, folder) from error


def _clean(target: Path) -> None:
    """Removes what is half made of a model; one that was put aside comes back unless another has taken its place."""
    old = _beside(target, "old")
    if old.is_dir() and not target.exists():
        old.rename(target)
    for kind in ("new", "old", "gone"):
        shutil.rmtree(_beside(target, kind), ignore_errors=True)


def _beside(target: Path, kind: str) -> Path:
    return target.with_name(f".{target.name}.{kind}")


def _in_words(error: OSError, folder: Path) -> LifemaskError | OSError:
    """A sentence for an error of the store's disk; any other error comes back as it is."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT) or getattr(error, "winerror", None) == 112
    # numpy hides the reason: "12345 requested and 0 written"
    if full or (error.errno is None and shutil.disk_usage(_existing(folder)).free < NEARLY_NO_BYTES):
        return SetupError(
            "disk-full",
            f"There is not enough space on the disk of {folder}. Nothing half-made was left. Free some space.",
            Fix("free-space", "Free some space"),
        )
    name = str(error.filename or "")
    if name and (name.startswith(str(folder)) or str(folder).startswith(name)):
        return SetupError(
            "no-permission",
            f"{folder} cannot be changed ({error.strerror or error}). Close other programs that use the face model, or "
            "set LIFEMASK_HOME to a folder that you can write to.",
            Fix("choose-folder", "Choose another folder"),
        )
    return error


def _existing(folder: Path) -> Path:
    return next(path for path in (folder, *folder.parents) if path.exists())


def _detector_folder() -> Path:
    return environment.home() / "assets"


def _remove_detector(entry: KnownAsset) -> None:
    named, path = os.environ.get(VARIABLE), _detector_folder() / entry.download.name
    if not path.is_file():
        whose = f" The one that {VARIABLE} names, {named}, is not Lifemask's to remove." if named else ""
        raise UsageError("no-such-face-model", f"There is no {entry.download.name} at {path.parent} to remove.{whose}")
    try:
        path.unlink()
        for suffix in (".part", ".lock"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
    except OSError as error:
        raise _in_words(error, path.parent) from error
