"""Triangle meshes from OBJ, PLY and STL files, vertices in the order of the file.

OBJ is read here: general readers split vertices where texture coordinates meet, fetch materials and pictures that the
file names, or stumble over colours behind the coordinates, and then vertex 17 of a registered head is no longer
vertex 17. PLY and STL go through trimesh with `process=False`.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from backend.errors import UsageError

LARGEST_FILE_BYTES = 2_000_000_000
MOST_VERTICES = 20_000_000
BLOCK_BYTES = 8_000_000
ENDINGS = (".obj", ".ply", ".stl")
OPENING = {"obj": "lines such as 'v 1 2 3'", "ply": "the word ply", "stl": "the number of its triangles"}


@dataclass(frozen=True)
class MeshFile:
    """A mesh as its file has it.

    Attributes:
        path: of the file.
        vertices: (V, 3) float64, in the file's unit.
        triangles: (T, 3) int64; faces of more corners are cut into fans. (0, 3) for a cloud of points.
    """

    path: Path
    vertices: np.ndarray
    triangles: np.ndarray


def read_mesh(path: Path, *, needs_triangles: bool = True) -> MeshFile:
    """A mesh of a file.

    Args:
        path: ending in .obj, .ply or .stl, in any case. OBJ may have colours (four, six or seven numbers a vertex),
            texture coordinates, normals, negative indices and faces of any number of corners. The corners of an STL
            file that lie in the same place are one vertex, in the order in which they come first.
        needs_triangles: False takes clouds of points too.

    Raises:
        UsageError: "no-such-mesh", "mesh-too-large", "bad-mesh": it cannot be read, is no such file, has no vertices,
            no faces where they are needed, faces of vertices that are not there, or coordinates that are no numbers.
    """
    path = Path(path)
    ending = path.suffix.lower()
    if not path.is_file():
        raise UsageError("no-such-mesh", f"There is no mesh {path}.")
    if ending not in ENDINGS:
        raise _bad(path, f"meshes end in {', '.join(ENDINGS)}")
    if (size := path.stat().st_size) > LARGEST_FILE_BYTES:
        raise UsageError(
            "mesh-too-large",
            f"The mesh {path} has {size / 1e9:.1f} GB; at most {LARGEST_FILE_BYTES / 1e9:.0f} are read.",
        )
    try:
        vertices, triangles = _read_obj(path) if ending == ".obj" else _read_by_trimesh(path, ending[1:])
    except OSError as error:
        raise UsageError("no-such-mesh", f"The mesh {path} cannot be read: {error.strerror}.") from error
    if not len(vertices):
        raise _bad(path, f"it has no vertices. Such a file holds {OPENING[ending[1:]]}")
    if not np.isfinite(vertices).all():
        row = int(np.flatnonzero(~np.isfinite(vertices).all(1))[0])
        raise _bad(path, f"vertex {row} has a coordinate that is no number")
    if needs_triangles and not len(triangles):
        raise _bad(path, f"it has {len(vertices)} vertices but no faces")
    if len(triangles) and (triangles.min() < 0 or triangles.max() >= len(vertices)):
        raise _bad(path, f"a face names a vertex that is not there; there are {len(vertices)}")
    return MeshFile(path, vertices, triangles)


def write_obj(path: Path, vertices: np.ndarray, triangles: np.ndarray) -> None:
    """A plain OBJ file, vertices and triangles alone, seven digits behind the point. OSError where it cannot be."""
    with Path(path).open("w", encoding="ascii", newline="\n") as file:
        file.writelines(f"v {x:.7f} {y:.7f} {z:.7f}\n" for x, y, z in np.asarray(vertices).tolist())
        file.writelines(f"f {a} {b} {c}\n" for a, b, c in (np.asarray(triangles) + 1).tolist())


def _read_obj(path: Path) -> tuple[np.ndarray, np.ndarray]:
    vertices, triangles, count = [], [], 0
    with path.open("rb") as file:
        for block in _blocks(file, path):
            lines = block.split(b"\n")
            points = [line[2:] for line in lines if line[:2] in (b"v ", b"v\t")]
            faces = [line[2:] for line in lines if line[:2] in (b"f ", b"f\t")]
            negative = any(b"-" in face for face in faces)
            if negative:
                triangles.append(_relative_faces(path, lines, count))
            elif faces:
                triangles.append(_faces(path, faces))
            if points:
                vertices.append(_points(path, points))
                count += len(points)
            if count > MOST_VERTICES:
                raise UsageError("mesh-too-large", f"The mesh {path} has more than {MOST_VERTICES:,} vertices.")
    nothing = np.zeros((0, 3))
    return np.concatenate([nothing, *vertices]), np.concatenate([nothing.astype(np.int64), *triangles])


def _blocks(file: BinaryIO, path: Path) -> Iterator[bytes]:
    """The file in pieces that end where a line ends."""
    left = b""
    while piece := file.read(BLOCK_BYTES):
        if b"\0" in piece:
            raise _bad(path, "it is not text, which OBJ files are")
        piece = left + piece.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        end = piece.rfind(b"\n") + 1
        if len(piece) - end > BLOCK_BYTES:
            raise _bad(path, "a line of it is longer than any line of an OBJ file")
        left = piece[end:]
        yield piece[:end]
    yield left


def _points(path: Path, lines: list[bytes]) -> np.ndarray:
    columns = len(lines[0].split())
    if columns not in (3, 4, 6, 7):
        raise _bad(
            path, f"a vertex has {columns} numbers ('v {_shown(lines[0])}'); it should have 3, or 6 with a colour"
        )
    numbers = _numbers(b" ".join(lines))
    if numbers is None or len(numbers) != columns * len(lines):
        rows = [line.split() for line in lines]  # lines of different lengths, or no numbers: line by line
        wrong = next(
            (line for line, row in zip(lines, rows, strict=True) if len(row) < 3 or _floats(row) is None), None
        )
        if wrong is not None:
            raise _bad(path, f"'v {_shown(wrong)}' is no vertex")
        return np.array([_floats(row)[:3] for row in rows])
    return numbers.reshape(-1, columns)[:, :3]


def _faces(path: Path, lines: list[bytes]) -> np.ndarray:
    """Triangles (T, 3) of face lines with positive indices."""
    text = b"\n".join(lines)
    if b"/" in text:
        text = re.sub(rb"/[0-9/]*", b"", text)
        lines = text.split(b"\n")
    corners = len(lines[0].split())
    numbers = _numbers(text.replace(b"\n", b" "))
    same = numbers is not None and len(numbers) == corners * len(lines) and corners >= 3
    if same and corners == 3 and all(len(line.split()) == 3 for line in lines):
        return numbers.reshape(-1, 3).astype(np.int64) - 1
    polygons = [line.split() for line in lines]
    triangles = []
    for line, polygon in zip(lines, polygons, strict=True):
        if len(polygon) < 3 or not all(corner.isdigit() for corner in polygon):
            raise _bad(path, f"'f {_shown(line)}' is no face")
        triangles += _fan([int(corner) for corner in polygon])
    return np.array(triangles, np.int64) - 1


def _relative_faces(path: Path, lines: list[bytes], count: int) -> np.ndarray:
    """Triangles of lines whose indices may count backwards from the vertices before them (`count` before the lines)."""
    triangles = []
    for line in lines:
        if line[:2] in (b"v ", b"v\t"):
            count += 1
        elif line[:2] in (b"f ", b"f\t"):
            try:
                polygon = [int(corner.split(b"/")[0]) for corner in line[2:].split()]
            except ValueError:
                raise _bad(path, f"'{_shown(line)}' is no face") from None
            if len(polygon) < 3:
                raise _bad(path, f"'{_shown(line)}' is no face")
            triangles += _fan([corner if corner >= 0 else count + corner + 1 for corner in polygon])
    return np.array(triangles, np.int64).reshape(-1, 3) - 1


def _fan(polygon: list[int]) -> list[tuple[int, int, int]]:
    return [(polygon[0], second, third) for second, third in zip(polygon[1:], polygon[2:], strict=False)]


def _read_by_trimesh(path: Path, kind: str) -> tuple[np.ndarray, np.ndarray]:
    import trimesh

    try:
        with path.open("rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            mesh = trimesh.load(file, file_type=kind, process=False, maintain_order=True)
    except OSError:
        raise
    except Exception as error:
        raise _bad(path, f"{type(error).__name__}: {error}") from error
    if isinstance(mesh, trimesh.Scene):
        parts = list(mesh.geometry.values())
        if len(parts) != 1:
            raise _bad(path, f"it has {len(parts)} meshes instead of one")
        mesh = parts[0]
    vertices = np.array(mesh.vertices, np.float64).reshape(-1, 3)
    triangles = np.array(getattr(mesh, "faces", np.zeros((0, 3))), np.int64).reshape(-1, 3)
    if len(vertices) > MOST_VERTICES:
        raise UsageError("mesh-too-large", f"The mesh {path} has more than {MOST_VERTICES:,} vertices.")
    if kind == "stl":
        _, first, same = np.unique(vertices, axis=0, return_index=True, return_inverse=True)
        order = np.argsort(first)
        place = np.empty(len(order), np.int64)
        place[order] = np.arange(len(order))
        vertices, triangles = vertices[first[order]], place[same.reshape(-1)][triangles]
    return vertices, triangles


def _numbers(text: bytes) -> np.ndarray | None:
    """Numbers apart by white space, or None where something else is among them."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", DeprecationWarning)
        try:
            return np.fromstring(text, sep=" ")
        except (DeprecationWarning, ValueError):
            return None


def _floats(row: list[bytes]) -> list[float] | None:
    try:
        return [float(word) for word in row]
    except ValueError:
        return None


def _shown(line: bytes) -> str:
    return line[:60].decode("utf-8", "replace").strip()


def _bad(path: Path, why: str) -> UsageError:
    return UsageError("bad-mesh", f"The mesh {path} cannot be used: {why}.")
