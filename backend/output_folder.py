"""An output folder that is there completely or not at all."""

import contextlib
import errno
import fnmatch
import glob
import os
import shutil
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from .errors import Fix, LifemaskError, UsageError

RESULT_MARK = "head.json"
RESULT_FILES = ("head.*", "head_*", "albedo.png", "displacement", "overlay.png", "render.png", "photo_*")
NEARLY_NO_BYTES = 1_000_000


def check_output(output: Path, overwrite: bool) -> None:
    """Raises UsageError where a result could not go to `output`. Changes nothing."""
    if os.path.lexists(output) and not output.is_dir():
        raise UsageError("output-is-a-file", f"{output} is a file. Name a folder for the result.")
    if os.path.isdir(output) and (names := os.listdir(output)):
        if RESULT_MARK not in names:
            raise UsageError(
                "output-not-empty",
                f"The folder {output} holds other things than a result, and is left alone. Name another folder.",
            )
        if not overwrite:
            raise UsageError(
                "output-exists",
                f"The folder {output} holds a result already. Add --overwrite to replace it, or name another folder.",
                Fix("overwrite", "Replace the result", "--overwrite"),
            )
    check_folder_above(output)


def check_folder_above(output: Path) -> None:
    """Raises UsageError where the folder that `output` lies in cannot be written to, or made. Changes nothing."""
    parent = output.absolute().parent
    while not os.path.lexists(parent):
        parent = parent.parent
    if not parent.is_dir():
        raise UsageError("output-below-a-file", f"{output} cannot be made: {parent} is not a folder.")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise UsageError(
            "output-not-writable", f"{output} cannot be made: there is no permission to write to {parent}."
        )


def is_ours(name: str) -> bool:
    """Whether a file or folder of this name in a result folder is Lifemask's."""
    return any(fnmatch.fnmatch(name, pattern) for pattern in RESULT_FILES)


@contextlib.contextmanager
def output_folder(output: Path, overwrite: bool = False) -> Iterator[Path]:
    """Yields an empty folder beside `output` that takes its place when the block ends without an error.

    Whatever ends the block otherwise (an error, Ctrl-C, a full disk), the new folder is removed and an older result
    stays as it was. When an older result is replaced, files in it that are not Lifemask's are kept.

    Raises:
        UsageError: `output` cannot be written or is in the way (see `check_output`), or the disk is full.
    """
    check_output(output, overwrite)
    output = output.absolute()
    made: list[Path] = []
    working = output.with_name(f".{output.name}.partial-{os.getpid()}")
    try:
        try:
            remove_stale(output)
            made = _make_parents(output.parent)
            working.mkdir()
            yield working
            _put_in_place(working, output)
        except OSError as error:
            raise _in_words(error, output) from error
        except LifemaskError:
            raise
        except Exception as error:
            if _is_full(output.parent):  # libraries hide the reason: "12345 requested and 0 written"
                raise _in_words(OSError(errno.ENOSPC, "No space left on device"), output) from error
            raise
    except BaseException:
        with _uninterrupted():
            shutil.rmtree(working, ignore_errors=True)
            for folder in reversed(made):
                with contextlib.suppress(OSError):
                    folder.rmdir()
        raise


def remove_stale(output: Path) -> None:
    """Removes what a killed process left beside the output, and brings an old result back that it had put aside."""
    for stale in output.parent.glob(f".{glob.escape(output.name)}.*-*") if output.parent.is_dir() else ():
        kind, _, process = stale.name.removeprefix(f".{output.name}.").partition("-")
        if kind not in ("partial", "old") or not process.isdigit() or _is_running(int(process)):
            continue
        if kind == "old" and not output.exists():
            stale.rename(output)
        else:
            shutil.rmtree(stale, ignore_errors=True)


def _put_in_place(working: Path, output: Path) -> None:
    with _uninterrupted():
        if not output.exists():
            working.rename(output)
            return
        old = output.with_name(f".{output.name}.old-{os.getpid()}")
        output.rename(old)
        try:
            working.rename(output)
        except OSError:
            old.rename(output)
            raise
        for entry in list(old.iterdir()):
            if not is_ours(entry.name) and not (output / entry.name).exists():
                entry.rename(output / entry.name)
        shutil.rmtree(old, ignore_errors=True)


def _make_parents(folder: Path) -> list[Path]:
    """Makes the folder; returns those that were not there, outermost first."""
    missing = []
    while not folder.exists():
        missing.insert(0, folder)
        folder = folder.parent
    for folder in missing:
        folder.mkdir(exist_ok=True)
    return missing


def _is_running(process: int) -> bool:
    if process == os.getpid():
        return False
    if sys.platform == "win32":
        return True  # cannot be asked without ending it; what is left is removed by hand
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _is_full(folder: Path) -> bool:
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free < NEARLY_NO_BYTES


def _in_words(error: OSError, output: Path) -> LifemaskError | OSError:
    """A sentence for an error of the output's disk; any other error comes back as it is."""
    # shutil.Error, of several files at once, has no number
    if error.errno in (errno.ENOSPC, errno.EDQUOT) or (error.errno is None and _is_full(output.parent)):
        return UsageError(
            "disk-full",
            f"The disk of {output} is full. Nothing half-written was left. Free some space or name another folder.",
            Fix("free-space", "Free some space"),
        )
    name = str(error.filename or "")
    is_about_output = name.startswith(str(output.parent)) or str(output.parent).startswith(name or "?")
    if is_about_output and error.errno in (
        errno.EACCES,
        errno.EPERM,
        errno.EROFS,
        errno.ENOTDIR,
        errno.ENOENT,
        errno.ENAMETOOLONG,
        errno.EINVAL,
    ):
        return UsageError("output-not-writable", f"{output} cannot be written: {error.strerror}. Name another folder.")
    return error


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """Ctrl-C waits until the block has ended."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came = []
    before = signal.signal(signal.SIGINT, lambda *_: came.append(True))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if came and sys.exc_info()[0] is None:
            raise KeyboardInterrupt
