"""Downloads a file whose content is known beforehand: resumed after an interruption, shown only when it is right.

Standard library only. What has arrived lies beside the target as `<name>.part`; the target appears when the checksum
agrees, at once and whole.
"""

import contextlib
import hashlib
import http.client
import os
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .environment import CancelCallback, hold_lock
from .errors import Cancelled, Fix, SetupError

BLOCK_BYTES = 1 << 16
TIMEOUT_SECONDS = 30.0

DownloadProgress = Callable[[int, int], None]


@dataclass(frozen=True)
class KnownFile:
    """A file that can be downloaded.

    Attributes:
        title: what it is, for a person: "the face landmarker".
        name: of the file.
        source: its address.
        size: bytes.
        sha256: hexadecimal digits.
        licence: in words.
    """

    title: str
    name: str
    source: str
    size: int
    sha256: str
    licence: str

    def is_in(self, path: Path) -> bool:
        """Whether a file is this one, to the last bit. Raises OSError where it cannot be read."""
        return path.stat().st_size == self.size and sha256_of(path) == self.sha256


def sha256_of(path: Path) -> str:
    """Hexadecimal digits of a file's SHA-256. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def download(
    wanted: KnownFile,
    target: Path,
    progress: DownloadProgress | None = None,
    cancelled: CancelCallback | None = None,
) -> Path:
    """Downloads a file to `target`, whose folder is made; does nothing where it is there and right.

    Args:
        wanted: what it must be.
        target: the file to write; a wrong one that is there is replaced when the right one has arrived.
        progress: called with the bytes that are there and all bytes, after every block of 64 kB.
        cancelled: asked as often; True stops. What has arrived is kept for the next time.

    Returns:
        `target`.

    Raises:
        SetupError: "no-network", "wrong-download", "disk-full", "no-permission".
        Cancelled: `cancelled` said so.
    """
    part = target.with_name(target.name + ".part")
    cancelled = cancelled or (lambda: False)
    try:
        if target.is_file() and wanted.is_in(target):
            return target
        target.parent.mkdir(parents=True, exist_ok=True)
        with hold_lock(target.with_name(target.name + ".lock"), lambda: _stop_if(cancelled)):
            if not (target.is_file() and wanted.is_in(target)):  # another process may have fetched it meanwhile
                _fetch(wanted, target, part, progress or (lambda done, total: None), cancelled)
    except urllib.error.HTTPError as error:
        raise _not_reached(wanted, f"the server answered {error.code} {error.reason}") from error
    except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
        raise _not_reached(wanted, str(getattr(error, "reason", "") or error or type(error).__name__)) from error
    except OSError as error:
        raise _not_written(target, error) from error
    return target


def _fetch(wanted: KnownFile, target: Path, part: Path, progress: DownloadProgress, cancelled: CancelCallback) -> None:
    if part.is_file() and part.stat().st_size > wanted.size:
        part.unlink()
    with part.open("ab") as file:
        _receive(wanted, file, progress, cancelled)
        file.flush()
        os.fsync(file.fileno())
    if not wanted.is_in(part):
        part.unlink()
        raise _wrong(wanted)
    part.replace(target)


def _stop_if(cancelled: CancelCallback) -> None:
    if cancelled():
        raise Cancelled("Stopped. What has arrived is kept; the next download goes on from there.")


def _receive(wanted: KnownFile, file, progress: DownloadProgress, cancelled: CancelCallback) -> None:
    """Appends what is missing of the file."""
    done = file.tell()
    progress(done, wanted.size)
    if done == wanted.size:
        return
    request = urllib.request.Request(wanted.source, headers={"Range": f"bytes={done}-"} if done else {})
    try:
        answer = urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        if error.code != 416:  # the part does not fit the server's file: from the beginning
            raise
        file.truncate(0)
        answer = urllib.request.urlopen(wanted.source, timeout=TIMEOUT_SECONDS)
    with contextlib.closing(answer):
        if answer.status != 206 and done:  # this server sends all of it again
            file.truncate(0)
            done = 0
        if answer.length is not None and done + answer.length != wanted.size:
            raise _wrong(wanted)
        while block := answer.read(BLOCK_BYTES):
            _stop_if(cancelled)
            done += len(block)
            if done > wanted.size:
                file.truncate(0)
                raise _wrong(wanted)
            file.write(block)
            progress(done, wanted.size)
    if done < wanted.size:
        raise http.client.IncompleteRead(b"", wanted.size - done)


def _wrong(wanted: KnownFile) -> SetupError:
    return SetupError(
        "wrong-download",
        f"What {wanted.source} sent is not {wanted.title} that was expected: its checksum differs. A proxy may have "
        f"put a page of its own in its place. Try again, or get {wanted.name} in another way.",
        Fix("retry", "Try again"),
    )


def _not_reached(wanted: KnownFile, why: str) -> SetupError:
    return SetupError(
        "no-network",
        f"{wanted.title[0].upper()}{wanted.title[1:]} could not be downloaded from {wanted.source}: {why}. Check the "
        "network (and the proxy, if there is one), then start again: what has arrived is kept.",
        Fix("retry", "Try again"),
    )


def _not_written(target: Path, error: OSError) -> SetupError:
    if error.errno in (28, 122) or getattr(error, "winerror", None) == 112:
        return SetupError(
            "disk-full",
            f"There is not enough space on the disk of {target.parent}. Free some space, then start again.",
            Fix("free-space", "Free some space"),
        )
    return SetupError(
        "no-permission",
        f"{target} cannot be written ({error.strerror or error}). Set LIFEMASK_HOME to a folder that you can write to.",
        Fix("choose-folder", "Choose another folder"),
    )
