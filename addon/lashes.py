"""Lashes: strips of quads that get a second UV map and a picture of single hairs.

The strips' own UVs lie small in the head's texture. The second map runs along the lid (u) and from the root to the tip
(v), so that hairs can be repeated on it, sharp and tapering.
"""

from __future__ import annotations

import bpy
import numpy as np

UV_NAME = "Lashes"
TILE_METRES = 0.008  # length of lid that the picture covers
HAIRS_PER_TILE = 13
PICTURE_SIZE = (256, 128)
COLOUR = (0.035, 0.024, 0.018)  # sRGB
HAIR_WIDTH = 0.42  # at the root, as a share of the room each hair has


def lash_coordinates(vertices: np.ndarray, faces: np.ndarray, lid_points: np.ndarray) -> np.ndarray | None:
    """Where each vertex lies on its strip.

    Args:
        vertices: (V, 3) metres.
        faces: (F, 4) int, the quads of all strips. A strip is a grid with four corners.
        lid_points: (S, 3) metres, points of the skin: the side nearer to them is the root.

    Returns:
        (V, 2) float32: u in tiles of `TILE_METRES` along the root, v from 0 at the root to 1 at the tip; zero where
        no lash is. None where the faces are no such strips.
    """
    if not len(faces) or faces.min() < 0:
        return None
    coordinates = np.zeros((len(vertices), 2), dtype=np.float32)
    for strip in _connected(faces, len(vertices)):
        sides = _sides(strip)
        if sides is None:
            return None
        long, short = sides
        root, tip = sorted(long, key=lambda side: _distance(vertices[side], lid_points))
        rows, columns = _hops(strip, root), _hops(strip, short[0])
        height = max(rows.values())
        order = sorted(root, key=columns.__getitem__)
        steps = np.linalg.norm(np.diff(vertices[order], axis=0), axis=1)
        along = np.concatenate([[0.0], np.cumsum(steps)]) / TILE_METRES
        if set(rows) != set(columns) or max(columns.values()) >= len(along) or rows[tip[0]] != height:
            return None
        for vertex, row in rows.items():
            coordinates[vertex] = along[columns[vertex]], row / height
    return coordinates


def hair_picture() -> bpy.types.Image:
    """A packed RGBA picture of hairs that repeats sideways; root at the bottom."""
    width, height = PICTURE_SIZE
    image = bpy.data.images.new("lashes", width, height, alpha=True)
    pixels = np.empty((height, width, 4), dtype=np.float32)
    pixels[..., :3] = COLOUR
    pixels[..., 3] = hair_cover(width, height)
    image.pixels.foreach_set(pixels.ravel())
    image.pack()
    image.filepath_raw = "//lashes.png"  # where Blender would unpack it
    return image


def hair_cover(width: int, height: int) -> np.ndarray:
    """(height, width) float32: how much of each pixel hair covers; row 0 is the root. Repeats from side to side."""
    random = np.random.default_rng(7)
    across = (np.arange(width) + 0.5) / width
    upwards = ((np.arange(height) + 0.5) / height)[:, None]
    cover = np.zeros((height, width), dtype=np.float32)
    room = 1.0 / HAIRS_PER_TILE
    for number in range(HAIRS_PER_TILE):
        start = (number + 0.5 + random.uniform(-0.25, 0.25)) * room
        length = random.uniform(0.55, 0.98)
        lean = random.uniform(-1.2, 1.2) * room
        middle = start + lean * upwards**1.6
        grown = np.clip(upwards / length, 0.0, 1.0)
        half_width = 0.5 * HAIR_WIDTH * room * np.sqrt(1.0 - grown)
        distance = np.abs((across - middle + 0.5) % 1.0 - 0.5)
        cover = np.maximum(cover, np.clip((half_width - distance) * width + 0.5, 0.0, 1.0) * (upwards < length))
    return cover.astype(np.float32)


def _connected(faces: np.ndarray, vertex_count: int) -> list[np.ndarray]:
    """The faces split into pieces that share no vertex."""
    label = np.arange(vertex_count)
    while True:
        lowest = label[faces].min(axis=1)
        before = label.copy()
        np.minimum.at(label, faces.ravel(), np.repeat(lowest, faces.shape[1]))
        if np.array_equal(before, label):
            break
    of_face = label[faces[:, 0]]
    return [faces[of_face == name] for name in np.unique(of_face)]


def _sides(strip: np.ndarray) -> tuple[list[list[int]], list[list[int]]] | None:
    """The border of a grid of quads as its two long and its two short sides, or None if it is no grid."""
    edges: dict[tuple[int, int], int] = {}
    for face in strip.tolist():
        for a, b in zip(face, face[1:] + face[:1], strict=True):
            edges[min(a, b), max(a, b)] = edges.get((min(a, b), max(a, b)), 0) + 1
    neighbours: dict[int, list[int]] = {}
    for (a, b), count in edges.items():
        if count == 1:
            neighbours.setdefault(a, []).append(b)
            neighbours.setdefault(b, []).append(a)
    vertex, count = np.unique(strip, return_counts=True)
    corners = vertex[count == 1].tolist()
    if len(corners) != 4 or any(len(near) != 2 for near in neighbours.values()):
        return None
    sides, previous, here = [], None, corners[0]
    side = [here]
    while len(sides) < 4:
        following = next(near for near in neighbours[here] if near != previous)
        previous, here = here, following
        side.append(here)
        if here in corners:
            sides.append(side)
            side = [here]
    if len(sides[0]) != len(sides[2]) or len(sides[1]) != len(sides[3]):
        return None
    pairs = [sides[0], sides[2]], [sides[1], sides[3]]
    return pairs if len(sides[0]) >= len(sides[1]) else (pairs[1], pairs[0])


def _hops(strip: np.ndarray, start: list[int]) -> dict[int, int]:
    """Number of edges from the nearest of the start vertices, for every vertex of the strip."""
    near: dict[int, set[int]] = {}
    for face in strip.tolist():
        for a, b in zip(face, face[1:] + face[:1], strict=True):
            near.setdefault(a, set()).add(b)
            near.setdefault(b, set()).add(a)
    hops = dict.fromkeys(start, 0)
    front = list(start)
    while front:
        reached = {other for vertex in front for other in near[vertex]} - hops.keys()
        step = hops[front[0]] + 1
        hops.update(dict.fromkeys(reached, step))
        front = list(reached)
    return hops


def _distance(points: np.ndarray, others: np.ndarray) -> float:
    """Mean distance of the points from the nearest of the others."""
    return float(np.mean([np.sqrt(((others - point) ** 2).sum(axis=1).min()) for point in points]))
