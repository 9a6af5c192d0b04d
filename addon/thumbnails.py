"""Small pictures of the photographs and of the faces in them, for the panel.

Drawing only asks (`icon_of`, `face_icon`): it gets 0 until a timer has read the file, one picture a tick, so that the
window never waits for a disk. Blender's preview reader does not turn photographs upright as their EXIF data asks:
that is done here. In background mode nothing is read.
"""

from __future__ import annotations

import logging
import struct
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import bpy

from . import ticking

if TYPE_CHECKING:
    import numpy as np

log = logging.getLogger(__name__)

SECONDS_BETWEEN_PICTURES = 0.02
FACE_MARGIN = 0.35
"""Added around the box of a face, as a share of its larger side."""

ICON_PIXELS = 32
ORIENTATION_TAG = 0x0112
HEADER_BYTES = 1 << 17
"""EXIF data are at the beginning of a JPEG file, in a segment of at most 64 kB."""

UPRIGHT: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    2: lambda picture: picture[:, ::-1],
    3: lambda picture: picture[::-1, ::-1],
    4: lambda picture: picture[::-1],
    5: lambda picture: picture.swapaxes(0, 1),
    6: lambda picture: picture.swapaxes(0, 1)[:, ::-1],
    7: lambda picture: picture.swapaxes(0, 1)[::-1, ::-1],
    8: lambda picture: picture.swapaxes(0, 1)[::-1],
}
"""How a picture (H, W, 4) with its first row at the top is turned upright, by EXIF orientation."""

Box = tuple[float, float, float, float]


class Thumbnails:
    """The icons read so far, and those that are waited for. One object a session of Blender: see `thumbnails`."""

    def __init__(self) -> None:
        self._previews = None
        self._icons: dict[str, int] = {}
        self._waiting: dict[str, tuple[Path, Box | None]] = {}

    def icon_of(self, path: Path, box: Box | None = None) -> int:
        """The icon of a picture, or of the face in `box` (x, y, width, height as shares of the upright picture).

        Returns 0 while it is not there yet, and for a file that Blender cannot read.
        """
        name = _name(path, box)
        if name not in self._icons and name not in self._waiting and not bpy.app.background:
            self._waiting[name] = (path, box)
            if not bpy.app.timers.is_registered(_load_next):
                bpy.app.timers.register(_load_next, first_interval=SECONDS_BETWEEN_PICTURES, persistent=True)
        return self._icons.get(name, 0)

    def load_next(self) -> bool:
        """Read one picture that is waited for. Returns whether there are more."""
        if self._waiting:
            name = next(iter(self._waiting))
            self._icons[name] = self._load(name, *self._waiting.pop(name))
        return bool(self._waiting)

    def begin(self, path: Path) -> None:
        """Read the very first picture at once: it takes 0.2 s, which nobody should wait for while a job runs."""
        if self._previews is None and not bpy.app.background:
            self._icons[_name(path, None)] = self._load(_name(path, None), path, None)

    def forget(self, path: Path) -> None:
        """Read a picture again when it is next asked for: the file may have changed."""
        for name in [name for name in self._icons if name.startswith(f"{path}\n")]:
            del self._icons[name]
            for kept in (name, f"{name}\nfile"):
                if self._previews is not None and kept in self._previews:
                    del self._previews[kept]

    def clear(self) -> None:
        """Give all pictures back."""
        import bpy.utils.previews

        if self._previews is not None:
            bpy.utils.previews.remove(self._previews)
        self._previews = None
        self._icons.clear()
        self._waiting.clear()

    def _load(self, name: str, path: Path, box: Box | None) -> int:
        import bpy.utils.previews

        if self._previews is None:
            self._previews = bpy.utils.previews.new()
        try:
            stored = self._previews.load(f"{name}\nfile", str(path), "IMAGE")
            picture = pixels_of(stored)
            turned = UPRIGHT.get(orientation(path), lambda same: same)(picture)
            square = cut_square(turned, box)
            preview = self._previews.new(name)
            preview.image_size = (square.shape[1], square.shape[0])
            preview.image_pixels_float.foreach_set(square[::-1].ravel())
            small = shrunk(square, ICON_PIXELS)  # what Blender 4.3 draws in a line of text
            preview.icon_size = (ICON_PIXELS, ICON_PIXELS)
            preview.icon_pixels_float.foreach_set(small[::-1].ravel())
        except (OSError, KeyError, ValueError, RuntimeError) as error:
            log.warning("No thumbnail of %s: %s", path, error)
            return 0
        return preview.icon_id


thumbnails = Thumbnails()


def pixels_of(preview: bpy.types.ImagePreview) -> np.ndarray:
    """(H, W, 4) float32 sRGB in 0..1, first row at the top. Raises ValueError for a file that could not be read."""
    import numpy as np

    width, height = preview.image_size
    if not width or not height:
        raise ValueError("Blender cannot read this picture")
    flat = np.empty(width * height * 4, dtype=np.float32)
    preview.image_pixels_float.foreach_get(flat)
    return flat.reshape(height, width, 4)[::-1]


def cut_square(picture: np.ndarray, box: Box | None) -> np.ndarray:
    """The middle of a picture (H, W, 4), or the face in `box` with a margin, as a square that lies inside it."""
    height, width = picture.shape[:2]
    x, y, box_width, box_height = box or (0.0, 0.0, 1.0, 1.0)
    middle_x, middle_y = (x + box_width / 2) * width, (y + box_height / 2) * height
    if box:
        wanted = max(box_width * width, box_height * height) * (1 + 2 * FACE_MARGIN)
    else:
        wanted = min(width, height)
    side = max(1, min(round(wanted), width, height))
    left = min(max(round(middle_x - side / 2), 0), width - side)
    top = min(max(round(middle_y - side / 2), 0), height - side)
    return picture[top : top + side, left : left + side]


def shrunk(square: np.ndarray, side: int) -> np.ndarray:
    """A square picture (S, S, 4) as (side, side, 4): the mean of what falls into each pixel, or the nearest one."""
    whole = len(square) // side
    if not whole:
        nearest = [row * len(square) // side for row in range(side)]
        return square[nearest][:, nearest]
    margin = (len(square) - whole * side) // 2
    inner = square[margin : margin + whole * side, margin : margin + whole * side]
    return inner.reshape(side, whole, side, whole, -1).mean(axis=(1, 3))


def orientation(path: Path) -> int:
    """EXIF orientation of a JPEG file, 1..8; 1 where it says nothing or is another kind of file."""
    with Path(path).open("rb") as file:
        data = file.read(HEADER_BYTES)
    start = data.find(b"Exif\0\0", 0, HEADER_BYTES)
    if not data.startswith(b"\xff\xd8") or start < 0:
        return 1
    exif = data[start + 6 :]
    order = {b"II": "<", b"MM": ">"}.get(exif[:2])
    try:
        (offset,) = struct.unpack_from(f"{order}I", exif, 4)
        (count,) = struct.unpack_from(f"{order}H", exif, offset)
        for entry in range(count):
            tag, _, _, value = struct.unpack_from(f"{order}HHIH", exif, offset + 2 + 12 * entry)
            if tag == ORIENTATION_TAG:
                return value if 1 <= value <= 8 else 1
    except struct.error:
        pass
    return 1


def _name(path: Path, box: Box | None) -> str:
    return f"{path}\n{box}"


def _load_next() -> float | None:
    """Blender's timer: one picture a call, then the sidebars are drawn again."""
    more = thumbnails.load_next()
    ticking.redraw_sidebars()
    return SECONDS_BETWEEN_PICTURES if more else None


def register() -> None:
    """Nothing is read before the panel asks."""


def unregister() -> None:
    if bpy.app.timers.is_registered(_load_next):
        bpy.app.timers.unregister(_load_next)
    thumbnails.clear()
