"""Writes heads in the exact published formats of FLAME and the Basel Face Model: files for a whole reconstruction.

Their makers let nobody pass the models on, so the heads are ours: a person of the open head who is not its mean, cut
as the published mesh is cut (FLAME: a skin with a neck, open behind the lids and in the mouth, and two balls; Basel:
one surface as a depth camera sees it, lids and eyeballs one, a slit between the lips), with other triangles, other
vertices and another order than the open head's. Identity and expression directions are the open head's at the same
places, so a fit can succeed. `face_model_files` writes small files with random content.
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from scipy.interpolate import CubicSpline
from scipy.io import savemat
from scipy.sparse import csr_matrix
from scipy.spatial import Delaunay, cKDTree

from backend.face_models import OpenHead, load_face_model
from backend.face_models.albedo import load_albedo_basis
from backend.lid_rig import boundary_loops, mesh_edges
from backend.rendering.rasterizer import rasterize_screen
from backend.rendering.shading import linear_to_srgb
from tests.face_model_files import (
    faces_of_vertices,
    write_flame_content,
    write_landmark_embedding,
    write_open_flame_content,
)

FLAME_SKIN, EYEBALL_RINGS, EYEBALL_SECTORS = 3931, 17, 32  # 3,931 + 2 * 546 = 5,023
FLAME_NAMES = {"2020": "generic_model.pkl", "2023": "flame2023.pkl", "2023_open": "flame2023_Open.pkl"}
EYE_LINING, MOUTH_LINING = 3, 4  # rings of vertices kept behind the lids' margins and the lips
COLLAPSED_SHARE = 0.07
FLAME_ORIGIN = np.array([0.0, 0.026, -0.012])  # metres: the middle between the eyes in FLAME's axes
NOT_LINEAR = ("eyeBlink", "eyeLook", "tongue")  # keys that the published expressions do not hold
IDENTITY_SPREAD = 0.6  # standard deviations, of the person who is the mean of a stand-in

BFM_CENTRE = np.array([0.0, -0.02, -0.07])  # metres from between the eyes: where the depth camera's rays meet
BFM_ORIGIN_DM = np.array([0.02, 0.3, 0.55])
LIP_GAP_RADIANS = 0.004
SCAN_SIZE, SCAN_RADIANS = 1400, 1.75


@dataclass(frozen=True)
class Person:
    """Someone of the open head, and what changes about them; V is the open head's, metres.

    Attributes:
        neutral: (V, 3) float64; identity: (96, V, 3); keys: name -> (V, 3).
    """

    head: OpenHead
    neutral: np.ndarray
    identity: np.ndarray
    keys: dict[str, np.ndarray]


def random_person(seed: int) -> Person:
    """Someone who is not the mean, the same for a seed."""
    head = load_face_model("open_head")
    code = np.random.default_rng(seed).normal(scale=IDENTITY_SPREAD, size=head.identity_size)
    neutral = head.neutral(code)
    steps = np.eye(head.identity_size)
    identity = np.stack([head.neutral(code + step) - neutral for step in steps])
    offsets = head.key_offsets(neutral)
    keys = dict(zip(offsets.names, offsets.dense(len(neutral)), strict=True))
    return Person(head, neutral.astype(np.float64), identity, keys)


def flame_content(kind: str = "2020", seed: int = 11) -> dict[str, np.ndarray | str]:
    """The arrays of a FLAME file by their names there, all plain, not to be changed; see `write_flame_head`."""
    return dict(_flame_content(kind, seed))


@lru_cache(maxsize=1)
def _flame_content(kind: str, seed: int) -> dict[str, np.ndarray | str]:
    generator = np.random.default_rng([seed, 1])
    person = random_person(seed)
    triangles = _flame_skin(person.head, person.neutral, generator)
    triangles, carry = _split_edges(triangles, len(person.neutral), FLAME_SKIN, generator)
    ball, ball_triangles = _sphere()
    radius = float(np.linalg.norm(person.head.mean[person.head.eyeballs["left"]][0] - _centres(person.head.mean)[0]))
    centres = _centres(person.neutral)
    places = [carry @ person.neutral] + [centre + radius * ball for centre in centres]
    template = np.concatenate(places)
    faces = np.concatenate(
        [triangles] + [ball_triangles + FLAME_SKIN + number * len(ball) for number in range(len(centres))]
    )

    def carried(offset: np.ndarray) -> np.ndarray:
        """(V of the open head, 3) to (5,023, 3); the balls go where their centres go."""
        moves = _centres(person.neutral + offset) - centres
        return np.concatenate([carry @ offset, *(np.broadcast_to(move, ball.shape) for move in moves)])

    directions = np.zeros((400, len(template), 3))
    directions[: len(person.identity)] = [carried(offset) for offset in person.identity]
    directions[len(person.identity) : 300] = waves(template, 300 - len(person.identity), 2e-5, generator)
    keys = [key for name, key in person.keys.items() if not name.startswith((*NOT_LINEAR, "jaw"))]
    flat = np.concatenate([carry @ np.stack(keys).transpose(1, 2, 0).reshape(len(person.neutral), -1)])
    flat = flat.reshape(FLAME_SKIN, 3, len(keys))
    edition = np.random.default_rng([seed, sorted(FLAME_NAMES).index(kind)])  # each has expressions of its own
    mixes = edition.normal(size=(len(keys), 100)) * 0.05 / np.sqrt(1 + 0.1 * np.arange(100))
    directions[300:, :FLAME_SKIN] = np.moveaxis(flat @ mixes, 2, 0)

    regressor = _joint_regressor(template, centres, len(ball))
    joints = regressor @ template
    weights = _skinning_weights(template, joints, carried(person.keys["jawOpen"]), len(ball))
    posedirs = np.zeros((36, len(template), 3))
    posedirs[9:18] = waves(template, 9, 5e-5, generator) * weights[:, 2, None]
    return {
        "v_template": template + FLAME_ORIGIN,
        "f": faces.astype(np.uint32),
        "shapedirs": np.ascontiguousarray(np.moveaxis(directions, 0, 2)),
        "posedirs": np.ascontiguousarray(np.moveaxis(posedirs, 0, 2)),
        "weights": weights,
        "J_regressor": regressor,
        "J": joints + FLAME_ORIGIN,
        "kintree_table": np.array([[2**32 - 1, 0, 1, 1, 1], [0, 1, 2, 3, 4]], np.uint32),
        "bs_style": "lbs",
        "bs_type": "lrotmin",
    }


def write_flame_head(path: Path, *, kind: str = "2020", seed: int = 11) -> Path:
    """A FLAME file of the published size with the head of a person: 3,931 vertices of skin, then two balls of 546.

    Args:
        path: of the file; into a folder with the published name where it is a folder.
        kind: "2020", "2023" or "2023_open"; they differ in their expressions.
        seed: another person, other triangles, another order.
    """
    path, content = path / FLAME_NAMES[kind] if path.is_dir() else path, flame_content(kind, seed)
    if kind == "2023_open":
        return write_open_flame_content(path, content)
    return write_flame_content(path, content, **({"chumpy": ("shapedirs",)} if kind == "2023" else {}))


def write_flame_landmarks(
    folder: Path, *, layout: str = "deca", first_rows_turned: str = "right", seed: int = 11, kind: str = "2020"
) -> Path:
    """The landmarks of `write_flame_head`'s head of the same seed and kind, in either layout that is given out.

    The contour's points on the cheek that is turned away lie where that cheek ends as the camera sees it, at the height
    of the same point seen from the front.

    Args:
        folder: to write into.
        layout: "deca" or "ringnet".
        first_rows_turned: "right" or "left", the side to which the head turns in rows 0 to 39.
        seed, kind: of the head.
    """
    content, head = flame_content(kind, seed), load_face_model("open_head")
    template, faces = content["v_template"], content["f"].astype(np.int64)
    skin = faces[(faces < FLAME_SKIN).all(axis=1)]
    wanted = head.landmarks68(random_person(seed).neutral) + FLAME_ORIGIN
    middles = template[skin].mean(axis=1)
    nearest = cKDTree(middles).query(wanted)[1]
    normals = np.cross(*(template[skin[:, corner]] - template[skin[:, 0]] for corner in (1, 2)))
    before_ears = middles[:, 2] > wanted[[0, 16], 2].mean()
    rows = []
    for step in [*range(40), *range(-1, -40, -1)]:
        yaw = np.radians(step if first_rows_turned == "right" else -step)  # of the camera, to the subject's left
        across = middles @ [np.cos(yaw), 0, -np.sin(yaw)]
        away = -1 if yaw > 0 else 1  # the subject's right cheek is turned away from a camera on the left
        row = nearest[:17].copy()
        for point in (range(8) if yaw > 0 else range(9, 17)) if step else ():
            level = np.abs(middles[:, 1] - wanted[point, 1]) < 0.006
            candidates = np.flatnonzero(level & before_ears & (np.sign(normals[:, 0]) == away))
            row[point] = candidates[(away * across[candidates]).argmax()]
        rows.append(row)
    everywhere = np.flatnonzero((faces < FLAME_SKIN).all(axis=1))  # rows of skin are not rows of all faces
    contour, inner = everywhere[np.stack(rows)], everywhere[nearest[17:]]
    thirds = np.full(3, 1 / 3)
    return write_landmark_embedding(
        folder,
        (contour, np.broadcast_to(thirds, (*contour.shape, 3)).copy()),
        (inner, np.broadcast_to(thirds, (*inner.shape, 3)).copy()),
        layout,
    )


def _centres(vertices: np.ndarray) -> np.ndarray:
    """(2, 3): centres of the open head's eyeballs, the subject's left first."""
    return load_face_model("open_head").eye_centres(vertices)


def _flame_skin(head: OpenHead, neutral: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """(T, 3) of the open head's skin and the front of its mouth, cut behind the lids, the quads along their other
    diagonal, some vertices collapsed into a neighbour."""
    parts = np.concatenate([head.topology.faces[head.topology.part(name)] for name in ("skin", "mouth_inside")])
    edges = mesh_edges(parts)
    skin = np.zeros(len(neutral), bool)
    skin[head.topology.part_vertices("skin")] = True
    behind_lips = ~skin & ~_within(edges, skin, MOUTH_LINING)
    margins = np.zeros(len(neutral), bool)
    margins[np.concatenate([head.rig.left.loop, head.rig.right.loop])] = True
    behind_lids = head.masks["eye_socket"] & ~_within(edges, margins, EYE_LINING)
    quads = parts[~(behind_lips | behind_lids)[parts].any(axis=1)]
    triangles = np.stack([quads[:, [0, 1, 3]], quads[:, [1, 2, 3]]], axis=1).reshape(-1, 3).astype(np.int64)
    untouched = head.masks["lips"] | head.masks["eye_left"] | head.masks["eye_right"] | ~skin
    untouched[np.concatenate(boundary_loops(triangles))] = True
    return _collapsed(triangles, neutral, untouched, generator)


def _within(edges: np.ndarray, start: np.ndarray, steps: int) -> np.ndarray:
    """(V,) bool: at most this many edges from the start."""
    reached = start.copy()
    for _ in range(steps):
        touching = edges[reached[edges].any(axis=1)]
        reached[touching] = True
    return reached


def _collapsed(
    triangles: np.ndarray, places: np.ndarray, untouched: np.ndarray, generator: np.random.Generator
) -> np.ndarray:
    """A share of the vertices taken out, each put onto a neighbour where no triangle turns over."""
    rows = [tuple(row) for row in triangles.tolist()]
    around: dict[int, set[int]] = {}
    for number, row in enumerate(rows):
        for vertex in row:
            around.setdefault(vertex, set()).add(number)

    def neighbours(vertex: int) -> set[int]:
        return {other for number in around[vertex] for other in rows[number]} - {vertex}

    def normal(row: tuple[int, ...]) -> np.ndarray:
        first, second, third = places[list(row)]
        cross = np.cross(second - first, third - first)
        return cross / max(np.linalg.norm(cross), 1e-12)

    wanted = int(COLLAPSED_SHARE * len(around))
    for vertex in generator.permutation([vertex for vertex in around if not untouched[vertex]]).tolist():
        near = sorted(neighbours(vertex), key=lambda other: np.linalg.norm(places[other] - places[vertex]))
        target = near[0]
        if len(neighbours(vertex) & neighbours(target)) != 2:
            continue
        moved = {
            number: tuple(target if corner == vertex else corner for corner in rows[number])
            for number in around[vertex]
            if target not in rows[number]
        }
        if any(normal(row) @ normal(rows[number]) < 0.8 for number, row in moved.items()):
            continue
        for number in around.pop(vertex):
            if number in moved:
                rows[number] = moved[number]
                around[target].add(number)
            else:
                for corner in set(rows[number]) - {vertex}:
                    around[corner].discard(number)
                rows[number] = ()
        wanted -= 1
        if wanted == 0:
            break
    return np.array([row for row in rows if row], np.int64)


def _split_edges(
    triangles: np.ndarray, size: int, wanted: int, generator: np.random.Generator
) -> tuple[np.ndarray, csr_matrix]:
    """Edges split until there are `wanted` vertices, in random order: triangles and (wanted, size) where each lies."""
    used = np.unique(triangles)
    missing = wanted - len(used)
    sides: dict[tuple[int, int], list[int]] = {}
    for number, row in enumerate(triangles.tolist()):
        for first, second in zip(row, row[1:] + row[:1], strict=True):
            sides.setdefault((min(first, second), max(first, second)), []).append(number)
    inner = [edge for edge, two in sides.items() if len(two) == 2]
    free, split = np.ones(len(triangles), bool), []
    for row in generator.permutation(len(inner)).tolist():
        if len(split) == missing:
            break
        if free[sides[inner[row]]].all():
            free[sides[inner[row]]] = False
            split.append(inner[row])
    if len(split) != missing or missing < 0:
        raise ValueError(f"{len(used)} vertices cannot become {wanted} by splitting edges.")
    rows = [tuple(row) for row in triangles[free].tolist()]
    for number, edge in enumerate(split):
        for row in triangles[sides[edge]].tolist():
            while set(row[:2]) != set(edge):
                row = row[1:] + row[:1]
            rows += [(row[0], size + number, row[2]), (size + number, row[1], row[2])]
    share = generator.uniform(0.35, 0.65, missing)
    order = generator.permutation(np.concatenate([used, size + np.arange(missing)]))
    place = np.zeros(size + missing, np.int64)
    place[order] = np.arange(wanted)
    carry = csr_matrix(
        (
            np.concatenate([np.ones(len(used)), share, 1 - share]),
            (
                np.concatenate([place[used], np.tile(place[size:], 2)]),
                np.concatenate([used, *np.array(split, np.int64).reshape(-1, 2).T]),
            ),
        ),
        (wanted, size),
    )
    return place[np.array(rows)], carry


def _sphere() -> tuple[np.ndarray, np.ndarray]:
    """A unit ball with its poles before and behind: (546, 3), (T, 3) counter-clockwise from outside."""
    polar = np.pi * (np.arange(EYEBALL_RINGS) + 1) / (EYEBALL_RINGS + 1)
    turn = 2 * np.pi * np.arange(EYEBALL_SECTORS) / EYEBALL_SECTORS
    ring = np.stack(
        [
            np.sin(polar)[:, None] * np.cos(turn),
            np.sin(polar)[:, None] * np.sin(turn),
            np.cos(polar)[:, None] + 0 * turn,
        ],
        axis=-1,
    )
    points = np.concatenate([[[0.0, 0.0, 1.0]], ring.reshape(-1, 3), [[0.0, 0.0, -1.0]]])
    grid = 1 + np.arange(EYEBALL_RINGS * EYEBALL_SECTORS).reshape(EYEBALL_RINGS, EYEBALL_SECTORS)
    after = np.roll(grid, -1, axis=1)
    last = np.full(EYEBALL_SECTORS, len(points) - 1)
    faces = [np.stack([0 * grid[0], grid[0], after[0]], 1), np.stack([last, after[-1], grid[-1]], 1)]
    for ring_number in range(EYEBALL_RINGS - 1):
        near, far = grid[ring_number], grid[ring_number + 1]
        near_after, far_after = after[ring_number], after[ring_number + 1]
        faces += [np.stack([near, far, far_after], 1), np.stack([near, far_after, near_after], 1)]
    return points, np.concatenate(faces)


def waves(places: np.ndarray, count: int, size: float, generator: np.random.Generator) -> np.ndarray:
    """(count, N, 3): smooth random fields over places (N, 3) in metres, of this root mean square."""
    frequency = generator.normal(scale=30.0, size=(12, 3))
    field = np.cos(places @ frequency.T + generator.uniform(0, 2 * np.pi, 12))  # (N, 12)
    mixed = np.tensordot(generator.normal(size=(count, 3, 12)), field, axes=(2, 1))  # (count, 3, N)
    return np.moveaxis(mixed, 1, 2) * size / np.sqrt(6)


def _joint_regressor(template: np.ndarray, centres: np.ndarray, ball: int) -> np.ndarray:
    """(5, V): root low in the neck, neck under the skull, jaw between the ears, the eyes in their balls."""
    skin = template[:FLAME_SKIN]
    regressor = np.zeros((5, len(template)))
    around = {  # metres from between the eyes
        0: [(x, -0.15, z) for x in (-0.05, 0.05) for z in (-0.13, -0.06)],
        1: [(x, -0.1, z) for x in (-0.06, 0.06) for z in (-0.14, -0.05)],
        2: [(-0.07, -0.025, -0.055), (0.07, -0.025, -0.055)],
    }
    for joint, wanted in around.items():
        nearest = cKDTree(skin).query(np.array(wanted), k=4)[1].ravel()
        np.add.at(regressor[joint], nearest, 1 / len(nearest))
    for joint in (3, 4):
        start = FLAME_SKIN + (joint - 3) * ball
        regressor[joint, start : start + ball] = 1 / ball
    return regressor


def _skinning_weights(template: np.ndarray, joints: np.ndarray, jaw_open: np.ndarray, ball: int) -> np.ndarray:
    """(V, 5): the jaw's from how far `jawOpen` moves the skin, the neck's fading out below, each ball its eye's."""
    arm = np.linalg.norm(template[:, 1:] - joints[2, 1:], axis=1)
    moved = np.linalg.norm(jaw_open, axis=1)
    furthest = moved.argmax()
    jaw = (moved / np.maximum(arm, 0.01) / (moved[furthest] / arm[furthest])).clip(0, 1)
    rise = ((template[:, 1] - joints[0, 1]) / (joints[1, 1] - joints[0, 1])).clip(0, 1)
    neck = rise**2 * (3 - 2 * rise)
    weights = np.zeros((len(template), 5))
    weights[:, 0], weights[:, 1], weights[:, 2] = (1 - neck) * (1 - jaw), neck * (1 - jaw), jaw
    for joint in (3, 4):
        start = FLAME_SKIN + (joint - 3) * ball
        weights[start : start + ball] = np.eye(5)[joint]
    return weights


def bfm_content(vertices: int = 9000, seed: int = 12) -> dict[str, np.ndarray]:
    """The arrays of a `BFM_model_front.mat` by their names there; see `write_bfm_head`."""
    generator = np.random.default_rng([seed, 2])
    person = random_person(seed)
    scan = _Scan(person)
    spots = scan.spots(vertices, generator)
    faces = spots.triangulated()
    shape = scan.mixed(person.neutral, spots)
    keys = np.stack([key for name, key in person.keys.items() if not name.startswith(NOT_LINEAR)])
    mixes = generator.normal(size=(64, len(keys))) * 0.05 / np.sqrt(1 + 0.1 * np.arange(64))[:, None]
    expression = np.stack([scan.mixed(np.tensordot(mix, keys, 1), spots) for mix in mixes])
    identity = np.stack([scan.mixed(offset, spots) for offset in person.identity[:80]])
    mean_colour, colours = _byte_colours(scan, spots, generator)
    inside = faces[~np.isin(faces, spots.rim).any(axis=1)]
    front_vertices = np.unique(inside[np.isin(inside, np.flatnonzero(spots.from_axis < 1.0)).all(axis=1)])
    skin = (spots.from_axis < 0.8) & ~scan.mixed(person.head.masks["lips"].astype(float)[:, None], spots)[:, 0].astype(
        bool
    )

    def side_by_side(offsets: np.ndarray, unit: float) -> np.ndarray:
        """(K, V, 3) to (3 V, K) float32."""
        return np.ascontiguousarray(offsets.reshape(len(offsets), -1).T * unit, np.float32)

    return {
        "meanshape": (shape * 10 + BFM_ORIGIN_DM).reshape(1, -1).astype(np.float32),
        "meantex": mean_colour.reshape(1, -1).astype(np.float32),
        "idBase": side_by_side(identity, 10.0),
        "exBase": side_by_side(expression, 10.0),
        "texBase": side_by_side(colours, 1.0),
        "tri": (faces + 1).astype(np.float32),
        "point_buf": faces_of_vertices(faces, vertices) + 1,
        "tri_mask2": (inside + 1).astype(np.float32),
        "keypoints": (spots.landmarks68(shape, person.head.landmarks68(person.neutral)) + 1).astype(np.float32)[None],
        "frontmask2_idx": (front_vertices + 1).astype(np.float32)[:, None],
        "skinmask": skin.astype(np.float32)[None],
    }


def write_bfm_head(path: Path, vertices: int = 9000, seed: int = 12) -> Path:
    """A `BFM_model_front.mat` with the face of a person, as one surface seen from the front.

    Args:
        path: of the file; into a folder with the published name where it is a folder.
        vertices: how many, 3,000 to the published 35,709.
        seed: another person and other vertices.
    """
    path = path / "BFM_model_front.mat" if path.is_dir() else path
    savemat(path, bfm_content(vertices, seed))
    return path


@dataclass(frozen=True)
class _Spots:
    """N places on the scan: where its rays go, and where on the open head they end.

    Attributes:
        plane: (N, 2) radians off the axis, right and up as in a picture of the face.
        corners: (N, 3) vertices of the open head; shares: (N, 3) their weights.
        rim: in its order round the face.
        upper, lower: of the slit between the lips, from the subject's right; its ends belong to the upper lip.
        fixed: landmarks 17 to 59, which are places of their own.
    """

    plane: np.ndarray
    corners: np.ndarray
    shares: np.ndarray
    rim: np.ndarray
    upper: np.ndarray
    lower: np.ndarray
    fixed: np.ndarray

    @property
    def from_axis(self) -> np.ndarray:
        """(N,) radians."""
        return np.linalg.norm(self.plane, axis=1)

    def triangulated(self) -> np.ndarray:
        """(F, 3) int64 counter-clockwise: inside the rim, without the slit."""
        flat = self.plane.copy()
        flat[self.upper[1:-1], 1] -= LIP_GAP_RADIANS / 2  # one line first, which is then cut
        line, kept = flat[self.upper], np.setdiff1d(np.arange(len(flat)), self.lower)
        faces = kept[Delaunay(flat[kept]).simplices]
        first, second, third = (flat[faces[:, corner]] for corner in range(3))
        area = _cross(second - first, third - first)
        faces[area < 0] = faces[area < 0][:, ::-1]
        middle = (first + second + third) / 3
        below = middle[:, 1] < np.interp(middle[:, 0], line[:, 0], line[:, 1])
        copy = np.arange(len(flat))
        copy[self.upper[1:-1]] = self.lower
        faces[below] = copy[faces[below]]
        faces = faces[_inside(middle, flat[self.rim])].astype(np.int64)
        loops = {frozenset(loop.tolist()) for loop in boundary_loops(faces)}
        slit = frozenset([*self.upper.tolist(), *self.lower.tolist()])
        if loops != {frozenset(self.rim.tolist()), slit} or len(np.unique(faces)) != len(flat):
            raise ValueError("The scan's mesh is not bounded by its rim and the slit between its lips alone.")
        return faces

    def landmarks68(self, shape: np.ndarray, wanted: np.ndarray) -> np.ndarray:
        """(68,) int64 of a shape (N, 3) next to wanted places (68, 3): the jaw's uppermost ones on the rim."""
        result = cKDTree(shape).query(wanted)[1]
        result[17:60] = self.fixed
        for rows, among in (((0, 1, 15, 16), self.rim), ((60, 61, 62, 63, 64), self.upper), ((65, 66, 67), self.lower)):
            result[list(rows)] = among[cKDTree(shape[among]).query(wanted[list(rows)])[1]]
        return result


class _Scan:
    """What a depth camera between the ears sees looking outwards: skin and eyeballs, the outermost."""

    def __init__(self, person: Person):
        head = self.head = person.head
        self.shape = person.neutral - BFM_CENTRE
        self.places = _azimuthal(self.shape)
        parts = [head.topology.faces[head.topology.part(name)] for name in ("skin", "eyeball_left", "eyeball_right")]
        quads = np.concatenate(parts).astype(np.int64)
        triangles = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])
        self.triangles = triangles[(np.linalg.norm(self.places, axis=1) < SCAN_RADIANS)[triangles].all(axis=1)]
        screen = torch.from_numpy(self._pixels(self.places))[None]
        depth = torch.from_numpy(-np.linalg.norm(self.shape, axis=1))[None]
        faces = torch.from_numpy(self.triangles)
        self.seen = (
            rasterize_screen(screen, depth, faces, (SCAN_SIZE, SCAN_SIZE), perspective=False).face_index[0].numpy()
        )
        self.lowered = np.linalg.norm(person.keys["jawOpen"], axis=1)
        self.landmarks = _azimuthal(head.landmarks68(person.neutral) - BFM_CENTRE)

    def _pixels(self, plane: np.ndarray) -> np.ndarray:
        return (plane * [1, -1] / SCAN_RADIANS + 1) * SCAN_SIZE / 2

    def hit(self, plane: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What rays (N, 2) meet: (N, 3) corners and shares."""
        column, row = np.floor(self._pixels(plane)).astype(np.int64).T
        corners = self.triangles[self.seen[row, column]]
        first, second, third = (self.places[corners[:, corner]] for corner in range(3))
        whole = _cross(second - first, third - first)
        shares = np.stack(
            [
                _cross(third - second, plane - second),
                _cross(first - third, plane - third),
                _cross(second - first, plane - first),
            ],
            1,
        )
        shares = (shares / np.where(whole == 0, 1, whole)[:, None]).clip(1e-6, 1)
        return corners, shares / shares.sum(axis=1, keepdims=True)

    def mixed(self, values: np.ndarray, spots: _Spots) -> np.ndarray:
        """Values of the open head's vertices (V, C) at the spots: (N, C)."""
        return np.einsum("ncd,nc->nd", values[spots.corners], spots.shares)

    def spots(self, count: int, generator: np.random.Generator) -> _Spots:
        """This many places: the rim, the slit between the lips, the lids' margins, landmarks, and an even grid."""
        turn = np.linspace(0, 2 * np.pi, 4000, endpoint=False)
        outline = self._rim_radius(turn)[:, None] * np.stack([np.cos(turn), np.sin(turn)], axis=1)
        step = np.sqrt(_area(outline) / count * 2 / np.sqrt(3))
        rim = _along(np.concatenate([outline, outline[:1]]), step)[:-1]
        middle = self._lip_line()
        upper, lower = (_along(middle, step) for _ in range(2))
        upper[1:-1, 1] += LIP_GAP_RADIANS / 2
        lower[1:-1, 1] -= LIP_GAP_RADIANS / 2
        lower = lower[1:-1]
        margins = np.concatenate([self.head.rig.left.loop, self.head.rig.right.loop])
        marks, marks_shares = self._fixed_landmarks(margins)
        placed = np.einsum("ncd,nc->nd", self.places[marks], marks_shares)
        margins = margins[_spread(self.places[margins], placed, step * 0.4)]
        taken = np.concatenate([rim, upper, lower, placed, self.places[margins]])
        reach = np.abs(outline).max()
        finer = step * 0.93
        columns, rows = np.meshgrid(np.arange(-reach, reach, finer), np.arange(-reach, reach, finer * np.sqrt(3) / 2))
        columns[1::2] += finer / 2
        grid = np.stack([columns.ravel(), rows.ravel()], 1) + generator.normal(scale=finer / 12, size=(columns.size, 2))
        between = [(line[1:] + line[:-1]) / 2 for line in (rim, upper, lower)]  # what is near could cut these edges
        near = cKDTree(np.concatenate([taken, *between])).query(grid)[0]
        grid = grid[_inside(grid, rim) & (near > 0.6 * finer)]
        missing = count - len(taken)
        if not 0 < missing <= len(grid):
            raise ValueError(f"There are {len(grid)} places in the grid for {missing} vertices.")
        grid = generator.permutation(grid)[:missing]
        plane = np.concatenate([taken, grid])
        seen = np.concatenate(
            [rim, self._lip(upper, 1), self._lip(lower, -1), plane[len(rim) + len(upper) + len(lower) :]]
        )
        corners, shares = self.hit(seen)
        numbers = np.cumsum([0, len(rim), len(upper), len(lower), len(placed), len(margins)])
        corners[numbers[3] : numbers[4]] = marks
        shares[numbers[3] : numbers[4]] = marks_shares
        corners[numbers[4] : numbers[5]] = margins[:, None]
        shares[numbers[4] : numbers[5]] = [1, 0, 0]
        order = generator.permutation(count)
        place = np.argsort(order)
        parts = [place[start:end] for start, end in zip(numbers[:-1], numbers[1:], strict=True)]
        return _Spots(plane[order], corners[order], shares[order], *parts[:4])

    def _fixed_landmarks(self, margins: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Corners and shares of landmarks 17 to 59; those of the eyes, which lie on lashes, on the lids' margins."""
        points = self.head.points68
        corners, shares = points.vertices[17:60].astype(np.int64), points.barycentric[17:60].astype(np.float64)
        eyes = np.arange(36, 48) - 17
        nearest = cKDTree(self.shape[margins]).query(points.apply(self.shape)[36:48])[1]
        corners[eyes], shares[eyes] = margins[nearest, None], [1, 0, 0]
        return corners, shares

    def _rim_radius(self, turn: np.ndarray) -> np.ndarray:
        """Radians off the axis of the rim: in front of the ears, below the chin, at the hair line."""
        jaw = self.landmarks[:17]
        angle = np.unwrap(np.arctan2(jaw[:, 1], jaw[:, 0]) % (2 * np.pi))  # from over 180 degrees round by 270
        beyond = 1 + 0.12 * np.clip(1 - np.abs(np.arange(17) - 8) / 6, 0, 1)
        above = np.radians([45, 70, 90, 110, 135]) + 2 * np.pi
        angle = np.concatenate([angle[::2], above])
        radius = np.concatenate([(np.linalg.norm(jaw, axis=1) * beyond)[::2], [1.3, 1.12, 1.05, 1.12, 1.3]])
        angle, radius = np.append(angle, angle[0] + 2 * np.pi), np.append(radius, radius[0])
        return CubicSpline(angle, radius, bc_type="periodic")(turn)

    def _lip(self, line: np.ndarray, upwards: int) -> np.ndarray:
        """Where rays (N, 2) at the slit go to meet the upper lip (1) or the lower one (-1), not what is between."""
        step = SCAN_RADIANS / SCAN_SIZE
        result = line.copy()
        for place in result:
            around = place[1] + np.arange(-40, 41) * step
            ray = np.stack([np.full(len(around), place[0]), around], axis=1)
            corners, shares = self.hit(ray)
            lowered = np.where(self.meets(ray), (self.lowered[corners] * shares).sum(axis=1), np.nan)
            middle = (np.nanmin(lowered) + np.nanmax(lowered)) / 2
            fits = (lowered < middle) if upwards > 0 else (lowered > middle)
            beyond = np.flatnonzero(fits & (upwards * (around - place[1]) >= 0))
            place[1] = around[beyond[np.abs(around[beyond] - place[1]).argmin()]]
        return result

    def meets(self, plane: np.ndarray) -> np.ndarray:
        """(N,) bool: whether rays (N, 2) meet anything."""
        column, row = np.floor(self._pixels(plane)).astype(np.int64).T
        return self.seen[row, column] >= 0

    def _lip_line(self) -> np.ndarray:
        """(N, 2): where the lips meet, from corner to corner; an opening jaw moves what lies under it and not above."""
        first, last = self.landmarks[60], self.landmarks[64]
        inner = (self.landmarks[61:64] + self.landmarks[[67, 66, 65]]) / 2
        guess = np.concatenate([[first], inner, [last]])
        across = np.linspace(first[0], last[0], 60)
        line = np.stack([across, np.interp(across, guess[:, 0], guess[:, 1])], axis=1)
        down = np.arange(0.06, -0.06, -2 * SCAN_RADIANS / SCAN_SIZE)
        for place in line[1:-1]:
            corners, shares = self.hit(np.stack([np.full(len(down), place[0]), place[1] + down], axis=1))
            lowered = (self.lowered[corners] * shares).sum(axis=1)
            jump = int(np.diff(lowered).argmax())
            place[1] += (down[jump] + down[jump + 1]) / 2
        line[1:-1, 1] = np.convolve(np.pad(line[:, 1], 2, "edge"), np.full(5, 0.2), "valid")[1:-1]
        return line


def _azimuthal(places: np.ndarray) -> np.ndarray:
    """Places (N, 3) about the camera's centre as (N, 2) radians off +Z, in the direction in which they lie."""
    across = np.linalg.norm(places[:, :2], axis=1)
    return places[:, :2] * (np.arctan2(across, places[:, 2]) / np.maximum(across, 1e-12))[:, None]


def _cross(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return first[..., 0] * second[..., 1] - first[..., 1] * second[..., 0]


def _area(outline: np.ndarray) -> float:
    return abs(_cross(outline, np.roll(outline, -1, axis=0)).sum()) / 2


def _inside(points: np.ndarray, outline: np.ndarray) -> np.ndarray:
    """(N,) bool: within a closed outline (M, 2), by the crossings of a ray to the right."""
    result = np.zeros(len(points), bool)
    for first, second in zip(outline, np.roll(outline, -1, axis=0), strict=True):
        between = (first[1] > points[:, 1]) != (second[1] > points[:, 1])
        share = (points[:, 1] - first[1]) / (second[1] - first[1] if second[1] != first[1] else 1.0)
        result ^= between & (points[:, 0] < first[0] + share * (second[0] - first[0]))
    return result


def _along(line: np.ndarray, step: float) -> np.ndarray:
    """Even places on a line (N, 2), about `step` apart, both its ends among them."""
    length = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1))])
    wanted = np.linspace(0, length[-1], max(4, round(length[-1] / step) + 1))
    return np.stack([np.interp(wanted, length, line[:, axis]) for axis in (0, 1)], axis=1)


def _spread(places: np.ndarray, taken: np.ndarray, apart: float) -> np.ndarray:
    """(M,) rows of places (N, 2) that keep this far from what is taken and from each other, the first ones first."""
    kept: list[int] = []
    for row, place in enumerate(places):
        near = np.concatenate([taken, places[kept]])
        if np.linalg.norm(near - place, axis=1).min() > apart:
            kept.append(row)
    return np.array(kept, np.int64)


def _byte_colours(scan: _Scan, spots: _Spots, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """The open head's colours as sRGB bytes at the spots: mean (N, 3) and, for one standard deviation, (80, N, 3)."""
    albedo = load_albedo_basis()
    linear = scan.mixed(albedo.mean.clip(1e-3, 1), spots)
    mean = linear_to_srgb(torch.from_numpy(linear)).numpy()
    slope = (linear_to_srgb(torch.from_numpy(linear * 1.01)).numpy() - mean) / (0.01 * linear)
    basis = [scan.mixed(colours, spots) * slope * 255 for colours in albedo.basis[:80]]
    rest = waves(scan.mixed(scan.shape, spots), 80 - len(basis), 0.05, generator)
    return mean * 255, np.concatenate([np.stack(basis), rest])
