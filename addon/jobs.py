"""The folders that results come to before they are in a Blender file. No bpy."""

from __future__ import annotations

import logging
import secrets
import shutil
import time
from pathlib import Path

log = logging.getLogger(__name__)

KEPT = 20
"""The newest ones stay: what a person may still undo and redo is read from them."""


def new_folder(root: Path) -> Path:
    """A path below `root/jobs` that nobody else gets; the backend makes the folder."""
    return root / "jobs" / f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(4)}"


def forget_old(root: Path) -> None:
    """Remove all but the newest folders of jobs. What cannot be removed stays."""
    try:
        folders = [entry for entry in (root / "jobs").iterdir() if entry.is_dir() and not entry.name.startswith(".")]
        newest_first = sorted(folders, key=lambda folder: folder.stat().st_mtime, reverse=True)
    except OSError:
        return
    for folder in newest_first[KEPT:]:
        log.info("removing the old job %s", folder)
        shutil.rmtree(folder, ignore_errors=True)
