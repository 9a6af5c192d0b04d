"""Meshes of made-up heads: patches put together as a result folder has them, and the shapes of the patches."""

from collections.abc import Mapping

import numpy as np

Patch = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
"""Points (V, 3), corners (T, 2) in 0..1, and (F, 4) indices into each, -1 in triangles."""


def assembled(patches: Mapping[str, Patch], random: np.random.Generator) -> dict:
    """The arrays of a `HeadResult` that describe its mesh: one part a patch, each on a strip of the UVs of its own."""
    vertices, uv, faces, face_uv, part_faces = [], [], [], [], []
    side = 1.0 / len(patches)
    for number, (points, corners, of_points, of_corners) in enumerate(patches.values()):
        offset, uv_offset = sum(map(len, vertices)), sum(map(len, uv))
        start = sum(map(len, faces))
        vertices.append(points + random.normal(scale=2e-4, size=points.shape))
        uv.append(corners * [side * 0.95, 0.95] + [number * side, 0.02])
        faces.append(np.where(of_points < 0, -1, of_points + offset))
        face_uv.append(np.where(of_corners < 0, -1, of_corners + uv_offset))
        part_faces.append((start, start + len(of_points)))
    return {
        "vertices": np.concatenate(vertices).astype(np.float32),
        "faces": np.concatenate(faces).astype(np.int32),
        "uv": np.concatenate(uv).astype(np.float32),
        "face_uv": np.concatenate(face_uv).astype(np.int32),
        "part_names": tuple(patches),
        "part_faces": np.array(part_faces, np.int32),
    }


def random_offsets(keys: int, vertices: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Key and vertex (N, 2) int32, and offsets (N, 3) float32 metres: 40 vertices move with each key."""
    key_index, key_offset = [], []
    for key in range(keys):
        moved = np.sort(random.choice(vertices, size=40, replace=False))
        key_index.append(np.stack([np.full(40, key), moved], axis=1))
        key_offset.append(random.normal(scale=0.004, size=(40, 3)))
    return np.concatenate(key_index).astype(np.int32), np.concatenate(key_offset).astype(np.float32)


def triangles(patch: Patch) -> Patch:
    """The same patch in triangles alone."""
    points, corners, of_points, of_corners = patch

    def split(index: np.ndarray) -> np.ndarray:
        quads = index[index[:, 3] >= 0]
        halves = np.concatenate([index[index[:, 3] < 0][:, :3], quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])
        return np.concatenate([halves, np.full((len(halves), 1), -1)], axis=1)

    return points, corners, split(of_points), split(of_corners)


def ball(centre, radii, rings: int, columns: int):
    """An ellipsoid of quads with triangles at the poles and a seam in its UVs.

    Returns points (V, 3), corners (T, 2) in 0..1, and (F, 4) indices into each, -1 in triangles.
    """
    points, corners, of_points, of_corners = [(0.0, 1.0, 0.0)], [], [], []
    for ring in range(1, rings):
        for column in range(columns):
            polar, turn = np.pi * ring / rings, 2 * np.pi * column / columns
            points.append((np.sin(polar) * np.sin(turn), np.cos(polar), np.sin(polar) * np.cos(turn)))
    points.append((0.0, -1.0, 0.0))
    corners = [(column / columns, ring / rings) for ring in range(rings + 1) for column in range(columns + 1)]

    def point(ring: int, column: int) -> int:
        if ring in (0, rings):
            return 0 if ring == 0 else len(points) - 1
        return 1 + (ring - 1) * columns + column % columns

    def corner(ring: int, column: int) -> int:
        return ring * (columns + 1) + column

    for ring in range(rings):
        for column in range(columns):
            around = [(ring, column), (ring + 1, column), (ring + 1, column + 1), (ring, column + 1)]
            if ring == 0:
                around = around[:3]
            elif ring == rings - 1:
                around = [around[0], around[1], around[3]]
            of_points.append([point(*where) for where in around] + [-1] * (4 - len(around)))
            of_corners.append([corner(*where) for where in around] + [-1] * (4 - len(around)))
    return np.array(points) * radii + centre, np.array(corners), np.array(of_points), np.array(of_corners)


def strip(start, columns: int, rows: int):
    """A grid of quads that stands out of the face, as lashes do. Returns as `ball`."""
    grid = [(column, row) for row in range(rows + 1) for column in range(columns + 1)]
    points = np.array([(0.004 * column, 0.002 * np.sin(column), 0.003 * row) for column, row in grid]) + start
    corners = np.array([(column / columns, row / rows) for column, row in grid])
    faces = []
    for row in range(rows):
        for column in range(columns):
            first = row * (columns + 1) + column
            faces.append([first, first + 1, first + columns + 2, first + columns + 1])
    return points, corners, np.array(faces), np.array(faces)
