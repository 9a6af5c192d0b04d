"""What a person wears on the head, as meshes that move with the skull."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Attachment:
    """A mesh on a head, open or closed, to be seen from both sides.

    Attributes:
        vertices: (N, 3) float32 metres, model space of the person's neutral head.
        triangles: (M, 3) int64, rows of `vertices`.
        colours: (N, 3) float32 linear albedo.
        gloss: in [0, 1], strength of the specular lobe.
        name: "hair", "fringe", "hat", "glasses" or "lenses".
        opacity: below 1 for lenses alone.
    """

    vertices: np.ndarray
    triangles: np.ndarray
    colours: np.ndarray
    gloss: float
    name: str
    opacity: float = 1.0


def sheet_triangles(rows: int, columns: int, *, closed: bool = False) -> np.ndarray:
    """Triangles (M, 3) int64 of a grid of points in row order; `closed` joins the last column to the first."""
    row, column = np.mgrid[: rows - 1, : columns if closed else columns - 1]
    following = (column + 1) % columns
    here, right = row * columns + column, row * columns + following
    below, across = here + columns, right + columns
    quads = np.stack([here, below, across, right], axis=-1).reshape(-1, 4)
    return np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]]).astype(np.int64)


def tube(line: np.ndarray, radius: np.ndarray, *, closed: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """A tube of six sides round a line.

    Args:
        line: (N, 3) metres.
        radius: (N, 2) metres, half its width sideways and half its thickness; sideways is across the line and upwards
            as far as that goes.
        closed: the line returns to its start, which is not repeated.

    Returns:
        (6 N, 3) float32 vertices and (M, 3) int64 triangles.
    """
    if closed:
        along = np.roll(line, -1, axis=0) - np.roll(line, 1, axis=0)
    else:
        along = np.gradient(line, axis=0)
    along /= np.linalg.norm(along, axis=1, keepdims=True) + 1e-12
    # What is neither along the line nor in its plane: for the rim of a lens its axis, for an arm the vertical.
    flat = np.linalg.svd(line - line.mean(axis=0), full_matrices=False)[2][2]
    thick = np.broadcast_to(flat, line.shape)
    side = np.cross(along, thick)
    side /= np.linalg.norm(side, axis=1, keepdims=True) + 1e-12
    thick = np.cross(side, along)
    angle = 2 * np.pi * np.arange(6) / 6
    ring = (
        np.cos(angle)[None, :, None] * side[:, None] * radius[:, None, :1]
        + np.sin(angle)[None, :, None] * thick[:, None] * radius[:, None, 1:]
    )
    points = (line[:, None] + ring).astype(np.float32)
    triangles = sheet_triangles(len(line), 6, closed=True)
    if closed:
        first, last = np.arange(6), (len(line) - 1) * 6 + np.arange(6)
        joined = np.stack([last, first, np.roll(first, -1), np.roll(last, -1)], axis=1)
        triangles = np.concatenate([triangles, joined[:, [0, 1, 2]], joined[:, [0, 2, 3]]])
    return points.reshape(-1, 3), triangles.astype(np.int64)
