"""Displacement maps as OpenEXR files: one channel of 32-bit floats, ZIP-compressed scan lines.

Written here because OpenCV's own writer is shut unless an environment variable is set before the process reads its
first picture. The format: OpenEXR's "File Layout" and "Technical Introduction". numpy and the standard library only.
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np

MAGIC, VERSION = 20000630, 2
ZIP, LINES_IN_A_BLOCK = 3, 16
COMPRESSION_LEVEL = 3
CHANNEL = b"Y"
FLOAT = 2


def write_displacement(path: Path, displacement: np.ndarray) -> None:
    """Writes a map.

    Args:
        path: of the file.
        displacement: (H, W) float32, first row at the top.

    Raises OSError where it cannot be written.
    """
    height, width = displacement.shape
    window = struct.pack("<4i", 0, 0, width - 1, height - 1)
    header = struct.pack("<2i", MAGIC, VERSION)
    header += _attribute(
        b"channels", b"chlist", CHANNEL + b"\0" + struct.pack("<i4B2i", FLOAT, 0, 0, 0, 0, 1, 1) + b"\0"
    )
    header += _attribute(b"compression", b"compression", bytes([ZIP]))
    header += _attribute(b"dataWindow", b"box2i", window) + _attribute(b"displayWindow", b"box2i", window)
    header += _attribute(b"lineOrder", b"lineOrder", b"\0")
    header += _attribute(b"pixelAspectRatio", b"float", struct.pack("<f", 1.0))
    header += _attribute(b"screenWindowCenter", b"v2f", struct.pack("<2f", 0.0, 0.0))
    header += _attribute(b"screenWindowWidth", b"float", struct.pack("<f", 1.0)) + b"\0"
    blocks = []
    for start in range(0, height, LINES_IN_A_BLOCK):
        raw = np.ascontiguousarray(displacement[start : start + LINES_IN_A_BLOCK], "<f4").tobytes()
        packed = _packed(raw)
        blocks.append(struct.pack("<2i", start, len(packed)) + packed)
    first = len(header) + 8 * len(blocks)
    offsets = first + np.concatenate([[0], np.cumsum([len(block) for block in blocks])[:-1]])
    path.write_bytes(header + offsets.astype("<u8").tobytes() + b"".join(blocks))


def read_displacement(path: Path) -> np.ndarray:
    """A map that `write_displacement` wrote: (H, W) float32.

    Raises:
        ValueError: it is none, or damaged.
        OSError: it cannot be read.
    """
    data = path.read_bytes()
    try:
        if struct.unpack_from("<2i", data) != (MAGIC, VERSION):
            raise ValueError("it is no OpenEXR file")
        place, attributes = 8, {}
        while data[place] != 0:
            name_end = data.index(b"\0", place)
            kind_end = data.index(b"\0", name_end + 1)
            (size,) = struct.unpack_from("<i", data, kind_end + 1)
            attributes[data[place:name_end]] = data[kind_end + 5 : kind_end + 5 + size]
            place = kind_end + 5 + size
        if attributes[b"compression"] != bytes([ZIP]) or not attributes[b"channels"].startswith(CHANNEL + b"\0"):
            raise ValueError("it holds something else than one channel of heights")
        left, top, right, bottom = struct.unpack("<4i", attributes[b"dataWindow"])
        height, width = bottom - top + 1, right - left + 1
        count = -(-height // LINES_IN_A_BLOCK)
        lines = []
        for offset in np.frombuffer(data, "<u8", count, place + 1).tolist():
            start, size = struct.unpack_from("<2i", data, offset)
            rows = min(LINES_IN_A_BLOCK, height - start)
            lines.append(_unpacked(data[offset + 8 : offset + 8 + size], 4 * width * rows))
        return np.frombuffer(b"".join(lines), "<f4").reshape(height, width).astype(np.float32)
    except (struct.error, IndexError, KeyError, ValueError, zlib.error) as error:
        raise ValueError(f"{path} is no displacement map, or it is damaged: {error}.") from error


def _attribute(name: bytes, kind: bytes, value: bytes) -> bytes:
    return name + b"\0" + kind + b"\0" + struct.pack("<i", len(value)) + value


def _packed(raw: bytes) -> bytes:
    """Even bytes, then odd ones, each as its difference from the one before, deflated; raw if that is longer."""
    values = np.frombuffer(raw, np.uint8)
    apart = np.concatenate([values[0::2], values[1::2]])
    steps = apart.copy()
    steps[1:] = apart[1:] - apart[:-1] + np.uint8(128)
    packed = zlib.compress(steps.tobytes(), COMPRESSION_LEVEL)
    return packed if len(packed) < len(raw) else raw


def _unpacked(packed: bytes, size: int) -> bytes:
    if len(packed) == size:
        return packed
    steps = np.frombuffer(zlib.decompress(packed), np.uint8).copy()
    steps[1:] -= np.uint8(128)
    apart = np.cumsum(steps, dtype=np.uint8)
    values = np.empty(size, np.uint8)
    half = (size + 1) // 2
    values[0::2], values[1::2] = apart[:half], apart[half:]
    return values.tobytes()
