"""What a disk refuses, in sentences."""

import errno
from pathlib import Path

from backend.errors import Fix, UsageError


def in_words(error: OSError, folder: Path) -> UsageError | OSError:
    """A sentence for an error while writing into a folder where whole files are kept; other errors as they are."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return UsageError(
            "disk-full",
            f"The disk of {folder} is full. What is whole is kept; free some space and run the same command again.",
            Fix("free-space", "Free some space"),
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.ENAMETOOLONG):
        return UsageError("output-not-writable", f"{folder} cannot be written: {error.strerror}. Name another folder.")
    return error
