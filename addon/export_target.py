"""Where an export goes: written in a folder beside the target and moved there whole, or not at all.

No bpy here. What cannot be written becomes an ExportError, whose text is a sentence for a person.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NEARLY_NO_BYTES = 65536


class ExportError(Exception):
    """An export that did not come about; the text is a sentence for a person."""


@contextmanager
def staged(target: Path) -> Iterator[Path]:
    """A folder to write `target.name` and the files that belong beside it to.

    When the block ends well they are moved beside the target, the target last, each in place of an older one of its
    name. When it does not, nothing has changed there.

    Raises:
        ExportError: the place cannot be written to, or is full.
    """
    target = Path(os.path.realpath(target))
    _check(target)
    try:
        folder = Path(tempfile.mkdtemp(prefix=".lifemask-export-", dir=target.parent))
    except OSError as error:
        raise ExportError(sentence(error, target)) from error
    try:
        yield folder
        made = sorted(folder.iterdir(), key=lambda path: path.name == target.name)
        for path in made:
            _check(target.parent / path.name)
        for path in made:
            os.replace(path, target.parent / path.name)
    except (OSError, RuntimeError) as error:  # Blender's operators tell their failures with either
        if "No space left" in str(error) or is_full(folder):
            reason = sentence(OSError(errno.ENOSPC, ""), target)
        elif isinstance(error, OSError) and error.errno:
            reason = sentence(error, target)
        else:
            reason = _last_line(error, target)
        raise ExportError(reason) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def is_full(folder: Path) -> bool:
    """Whether the disk of a folder has next to nothing left."""
    try:
        return shutil.disk_usage(folder).free < NEARLY_NO_BYTES
    except OSError:
        return False


def sentence(error: OSError, target: Path) -> str:
    """What went wrong with the file system, to what, and what to do."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{target.name} could not be written: the disk is full. Make room, or choose another folder."
    if error.errno == errno.ENAMETOOLONG:
        return f"The name {target.name[:40]}… is too long for a file. Choose a shorter one."
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"{target.parent} may not be written to. Choose another folder."
    return f"{target} could not be written: {error.strerror or error}. Choose another folder."


def _check(target: Path) -> None:
    """Raises ExportError where a file cannot be put."""
    try:
        parent = os.stat(target.parent)
    except FileNotFoundError:
        raise ExportError(f"There is no folder {target.parent}. Make it, or choose another one.") from None
    except OSError as error:
        raise ExportError(sentence(error, target)) from error
    if not stat.S_ISDIR(parent.st_mode):
        raise ExportError(f"{target.parent} is a file, not a folder. Choose another place.")
    try:
        there = os.stat(target)
    except FileNotFoundError:
        return
    except OSError as error:
        raise ExportError(sentence(error, target)) from error
    if not stat.S_ISREG(there.st_mode):
        raise ExportError(f"{target} is there already and is not a file that can be replaced. Choose another name.")


def _last_line(error: Exception, target: Path) -> str:
    lines = str(error).strip().splitlines()
    return f"Blender could not write {target.name}: {lines[-1].strip() if lines else type(error).__name__}"
