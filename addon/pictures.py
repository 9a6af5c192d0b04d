"""Pictures of a head in a Blender file: loaded, packed into the file, replaced where they stand."""

from __future__ import annotations

from pathlib import Path

import bpy


def load(path: Path, present: bpy.types.Image | None = None) -> bpy.types.Image:
    """A picture from a file; where `present` is given, that image shows the file from now on, for all who use it.

    Raises RuntimeError when the file cannot be read.
    """
    if present is None or present.library is not None:
        return bpy.data.images.load(str(path))
    if present.packed_file is not None:
        present.unpack(method="REMOVE")
    present.source = "FILE"
    present.filepath = str(path)
    present.reload()
    return present


def pack(image: bpy.types.Image | None) -> None:
    """Put a picture into the Blender file, so that it does not need its own file any more."""
    if image is None or image.packed_file is not None or image.library is not None:
        return
    name = bpy.path.basename(image.filepath)
    image.pack()
    image.filepath_raw = f"//{name}"  # where Blender would unpack it


def unpacked_copy(image: bpy.types.Image | None, folder: Path, stem: str) -> Path | None:
    """Write a packed picture to a folder as it is; None where there is none.

    Raises OSError when the folder cannot be written.
    """
    if image is None or image.packed_file is None:
        return None
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{stem}{Path(image.filepath).suffix or '.jpg'}"
    path.write_bytes(image.packed_file.data)
    return path
