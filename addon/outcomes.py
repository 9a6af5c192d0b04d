"""What came of a job, in the words that the panel shows. No bpy."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from .session_types import Done, Request

if TYPE_CHECKING:
    from ..backend.protocol import Failure

log = logging.getLogger(__name__)

UNREADABLE_PHOTOGRAPH = ("no-such-file", "photograph-is-a-folder", "no-permission", "file-not-readable", "empty-file")
"""Codes of errors that another photograph mends."""


def failure_of(error: Exception) -> Failure:
    """What the panel shows for an error."""
    from ..backend import protocol

    if isinstance(error, protocol.LifemaskError):
        return protocol.failure_of(error)
    if isinstance(error, OSError):
        what = f"{error.strerror or error}: {error.filename}" if error.filename else str(error)
        return protocol.Failure("file-error", f"A file could not be read or written. {what}", kind="usage")
    log.error("this should not have happened", exc_info=error)
    return protocol.Failure(
        "internal", f"Something went wrong that should not have: {type(error).__name__}: {error}", kind="internal"
    )


def done_with_batch(value: Mapping[str, object], seconds: float) -> Done:
    """What the panel shows after a batch."""
    warnings = () if value.get("complete", True) else (f"What is missing, and why, is in {value['report']}.",)
    return Done(
        sentence=str(value["sentence"]),
        warnings=warnings,
        seconds=seconds,
        folder=Path(str(value["folder"])),
        kind="batch",
    )


def sentence_about(request: Request) -> str:
    count = len(request.photographs)
    photographs = "one photograph" if count == 1 else f"{count} photographs"
    return f"Head updated from {photographs}" if request.head else f"Head made from {photographs}"


def with_mend(failure: Failure) -> Failure:
    """The same with a button, where it has none and another photograph mends it."""
    from ..backend.protocol import Fix

    if failure.fix is None and failure.code in UNREADABLE_PHOTOGRAPH:
        return replace(failure, fix=Fix("choose-another-photo", "Choose another photograph"))
    return failure
