"""The list of photographs in a scene: what may be in it, and how it changes."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import bpy

from .thumbnails import thumbnails

PICTURE_SUFFIXES = (
    ".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".avif", ".heic", ".heif"
)  # fmt: skip
"""As the backend reads them."""


def is_picture(path: Path) -> bool:
    """Whether a file has the name of a picture."""
    return path.suffix.lower() in PICTURE_SUFFIXES


def add(scene: bpy.types.Scene, paths: Iterable[Path]) -> list[Path]:
    """Append photographs, each once, and choose the first new one. Returns the files that are no pictures."""
    lines = scene.lifemask.photographs
    there = {bpy.path.abspath(line.filepath) for line in lines}
    refused, first = [], len(lines)
    for path in paths:
        if not is_picture(path):
            refused.append(path)
        elif str(path) not in there:
            there.add(str(path))
            lines.add().filepath = str(path)
            thumbnails.forget(path)
            thumbnails.begin(path)
    if len(lines) > first:
        scene.lifemask.active_photograph = first
    return refused


def remove(scene: bpy.types.Scene) -> None:
    """Take the chosen photograph out of the list; the one after it is chosen."""
    settings = scene.lifemask
    settings.photographs.remove(settings.active_photograph)
    settings.active_photograph = max(0, min(settings.active_photograph, len(settings.photographs) - 1))


def move(scene: bpy.types.Scene, step: int) -> None:
    """Move the chosen photograph up (-1) or down (1); at the ends nothing happens."""
    settings = scene.lifemask
    wanted = settings.active_photograph + step
    if 0 <= wanted < len(settings.photographs):
        settings.photographs.move(settings.active_photograph, wanted)
        settings.active_photograph = wanted


def clear(scene: bpy.types.Scene) -> None:
    """Empty the list."""
    scene.lifemask.photographs.clear()
    scene.lifemask.active_photograph = 0


def active(scene: bpy.types.Scene):
    """The chosen line, or None."""
    settings = scene.lifemask
    if 0 <= settings.active_photograph < len(settings.photographs):
        return settings.photographs[settings.active_photograph]
    return None
