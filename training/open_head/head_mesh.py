"""Cuts the head out of MakeHuman's base mesh and puts it together with eyeballs, teeth, tongue and lashes."""

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sparse
from scipy.sparse.csgraph import connected_components

from training.open_head.eyeball import Eyeball, make_eyeball
from training.open_head.lip_seal import lip_seal
from training.open_head.makehuman import BaseMesh, MakeHumanData
from training.open_head.mouth_binding import follow_the_skin

NECK_LOOP_START = (858, 1496)
"""Nothing but a place to start: the vertex on the neck's rear middle line through which the cut runs, and the next one
down on the same line."""
TOP_OF_HEAD = 5399
SETBACK_METRES = {"teeth_upper": 0.0005, "teeth_lower": 0.0018, "tongue": 0.0018}
"""MakeHuman's teeth touch the lips; so far back they stay behind them on all but odd people."""
PART_NAMES = (
    "skin",
    "mouth_inside",
    "eyeball_left",
    "eyeball_right",
    "teeth_upper",
    "teeth_lower",
    "tongue",
    "lashes",
)


@dataclass(frozen=True)
class HeadMesh:
    """The head's faces, and how every vertex hangs on the base mesh.

    Attributes:
        base_index: (V,) int32, vertex of the base mesh, -1 for own geometry.
        mean: (V, 3) float64, metres, MakeHuman's average adult, not recentred.
        binding: (V, 19158) sparse; face units of the base mesh times this are face units of the head.
        identity_binding: the same for identity sliders, sideways and in depth, and in height. Sliders part the lips
            and leave the mouth's inside behind: here the lips stay shut (`training/open_head/lip_seal.py`) and the
            inside follows the skin around it (`training/open_head/mouth_binding.py`).
        faces: (F, 4) int64; part_faces: (P, 2) int64, half open, in the order of `PART_NAMES`.
        mirror: (V,) int64.
        eyeballs: left and right, (N,) int64 vertices in the order of `eyeball`.
        eyeball: the shape both were made from.
        socket_faces: rows of `faces`, lining of the eye sockets (a part of the skin).
        neck_loop: (42,) int64, vertices of the open edge, in order.
        own_uv: (T, 2) float64 and own_face_uv: (F, 4) int64, MakeHuman's texture coordinates; -1 for own geometry.
    """

    base_index: np.ndarray
    mean: np.ndarray
    binding: sparse.csr_matrix
    identity_binding: tuple[sparse.csr_matrix, sparse.csr_matrix]
    faces: np.ndarray
    part_faces: np.ndarray
    mirror: np.ndarray
    eyeballs: tuple[np.ndarray, np.ndarray]
    eyeball: Eyeball
    socket_faces: np.ndarray
    neck_loop: np.ndarray
    own_uv: np.ndarray
    own_face_uv: np.ndarray

    def part(self, name: str) -> np.ndarray:
        """(N, 4) faces of one part."""
        start, end = self.part_faces[PART_NAMES.index(name)]
        return self.faces[start:end]

    def slider_offsets(self, offsets: np.ndarray) -> np.ndarray:
        """What an identity slider of the base mesh (19158, 3) does to the head: (V, 3)."""
        level, upright = self.identity_binding
        return np.stack([level @ offsets[:, 0], upright @ offsets[:, 1], level @ offsets[:, 2]], axis=1)

    @property
    def outer_skin(self) -> np.ndarray:
        """(N, 4) faces of the skin without the lining of the eye sockets."""
        rows = np.arange(*self.part_faces[PART_NAMES.index("skin")])
        return self.faces[np.setdiff1d(rows, self.socket_faces)]


def quad_edges(faces: np.ndarray) -> np.ndarray:
    """(4F, 2) directed edges of (F, 4) quads, corner by corner."""
    return np.concatenate([faces[:, [corner, (corner + 1) % 4]] for corner in range(4)])


def edge_loop(faces: np.ndarray, first: int, second: int) -> np.ndarray:
    """Vertices of the closed loop that goes straight on from `first` over `second`.

    Raises:
        ValueError: the way meets a vertex where four quads do not meet, so that straight on means nothing.
    """
    around = defaultdict(set)
    neighbours = defaultdict(set)
    for face in faces.tolist():
        for corner in range(4):
            a, b = face[corner], face[(corner + 1) % 4]
            neighbours[a].add(b)
            neighbours[b].add(a)
            around[frozenset((a, b))].update(face)
    path = [first, second]
    while True:
        previous, here = path[-2:]
        onward = neighbours[here] - around[frozenset((previous, here))]
        if len(neighbours[here]) != 4 or len(onward) != 1:
            raise ValueError(f"The loop from {first} over {second} ends at vertex {here}.")
        step = onward.pop()
        if step == first:
            return np.array(path)
        path.append(step)


def _neck_loop(body: np.ndarray, start: int, below: int) -> np.ndarray:
    """The closed edge loop round the neck through `start`."""
    beside = {b for a, b in quad_edges(body).tolist() if a == start} | {
        a for a, b in quad_edges(body).tolist() if b == start
    }
    for second in sorted(beside - {below}):
        try:
            loop = edge_loop(body, start, second)
        except ValueError:
            continue
        if len(loop) < 100:
            return loop
    raise ValueError(f"No closed loop runs through vertex {start}.")


def cut_head(base: BaseMesh) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The rows of `base.faces` above the neck loop.

    Returns:
        rows (N,) int64; their region (N,) int64: 0 outer skin, 1 mouth cavity, 2 eye socket lining; the loop (42,).
    """
    rows = base.group_faces("body")
    body = base.faces[rows]
    loop = _neck_loop(body, *NECK_LOOP_START)
    on_loop = {frozenset(pair) for pair in zip(loop.tolist(), np.roll(loop, -1).tolist(), strict=True)}
    sides = defaultdict(list)
    for row, face in enumerate(body.tolist()):
        for corner in range(4):
            sides[frozenset((face[corner], face[(corner + 1) % 4]))].append(row)
    links = np.array([pair for edge, pair in sides.items() if len(pair) == 2 and edge not in on_loop])
    graph = sparse.coo_matrix((np.ones(len(links)), links.T), (len(body),) * 2)
    _, label = connected_components(graph, directed=False)
    keep = label == label[np.flatnonzero((body == TOP_OF_HEAD).any(axis=1))[0]]
    rows, body = rows[keep], body[keep]

    chart_count, chart = connected_components(
        sparse.coo_matrix((np.ones(4 * len(rows)), quad_edges(base.face_uv[rows]).T), (len(base.uv),) * 2),
        directed=False,
    )
    chart = chart[base.face_uv[rows, 0]]
    region = np.zeros(len(rows), np.int64)
    for value in np.unique(chart):
        inside = chart == value
        corners = base.vertices[np.unique(body[inside])]
        if inside.sum() == 398:
            region[inside] = 1
        elif inside.sum() == 293 and np.abs(corners[:, 0].mean()) > 0.02:
            region[inside] = 2
    return rows, region, loop


def base_mirror(data: MakeHumanData) -> np.ndarray:
    """(19158,) int64, the vertex of the base mesh on the other side."""
    mirror = np.arange(len(data.base.vertices))
    for line in (data.folder / "mpfb2/mesh_metadata/hm08.mirror").read_text().splitlines():
        here, there = line.split()[:2]
        mirror[int(here)] = int(there)
    return mirror


def build_head_mesh(data: MakeHumanData) -> HeadMesh:
    """The head of MakeHuman's average adult with all its parts."""
    base = data.base
    rows, region, loop = cut_head(base)
    rows_of_part = {
        "skin": np.concatenate([rows[region == 0], rows[region == 2]]),
        "mouth_inside": rows[region == 1],
        "teeth_upper": base.group_faces("helper-upper-teeth"),
        "teeth_lower": base.group_faces("helper-lower-teeth"),
        "tongue": base.group_faces("helper-tongue"),
        "lashes": np.concatenate([base.group_faces("helper-l-eyelashes"), base.group_faces("helper-r-eyelashes")]),
    }
    parts = {name: base.faces[rows] for name, rows in rows_of_part.items()}
    taken, mirror_of_base = [], base_mirror(data)
    for name in ("skin", "mouth_inside", "teeth_upper", "teeth_lower", "tongue", "lashes"):
        taken.append(np.setdiff1d(parts[name], np.concatenate(taken) if taken else []).astype(np.int64))
    base_index = np.concatenate(taken)
    position = np.full(len(base.vertices), -1)
    position[base_index] = np.arange(len(base_index))

    ball = make_eyeball()
    count = len(base_index)
    left = count + np.arange(len(ball.vertices))
    right = left + len(ball.vertices)
    weights = [sparse.csr_matrix((np.ones(count), (np.arange(count), base_index)), (count, len(base.vertices)))]
    mean = [data.mean[base_index]]
    for side in ("l", "r"):
        helper = np.unique(base.faces[base.face_group == f"helper-{side}-eye"])
        extent = data.mean[helper]
        centre = (extent.min(axis=0) + extent.max(axis=0)) / 2
        centre[2] = extent[:, 2].max() - ball.vertices[:, 2].max()
        mean.append(centre + ball.vertices)
        rows_of = np.full(len(ball.vertices), len(helper))
        weights.append(
            sparse.csr_matrix(
                (
                    np.full(rows_of.sum(), 1 / len(helper)),
                    (np.repeat(np.arange(len(rows_of)), rows_of), np.tile(helper, len(rows_of))),
                ),
                (len(rows_of), len(base.vertices)),
            )
        )
    faces = {name: position[face] for name, face in parts.items()}
    faces["eyeball_left"], faces["eyeball_right"] = left[ball.faces], right[ball.faces]
    ordered = [faces[name] for name in PART_NAMES]
    own_face_uv = np.full((sum(len(face) for face in ordered), 4), -1)
    ends = np.cumsum([len(face) for face in ordered])
    for name, end in zip(PART_NAMES, ends, strict=True):
        if name in rows_of_part:
            own_face_uv[end - len(faces[name]) : end] = base.face_uv[rows_of_part[name]]
    outer = int((region == 0).sum())
    vertices, binding = np.concatenate(mean), sparse.vstack(weights).tocsr()
    for name, depth in SETBACK_METRES.items():
        vertices[np.unique(faces[name]), 2] -= depth
    seal, follow = lip_seal(vertices, faces["skin"], faces["mouth_inside"]), follow_the_skin(vertices, faces)
    return HeadMesh(
        base_index=np.concatenate([base_index, np.full(2 * len(ball.vertices), -1)]).astype(np.int32),
        mean=vertices + follow @ seal.shut(vertices),
        binding=binding,
        identity_binding=(follow @ binding, follow @ seal.matrix() @ binding),
        faces=np.concatenate(ordered),
        part_faces=np.stack([ends - [len(face) for face in ordered], ends], axis=1),
        mirror=np.concatenate([position[mirror_of_base[base_index]], right[ball.mirror], left[ball.mirror]]),
        eyeballs=(left, right),
        eyeball=ball,
        socket_faces=np.arange(outer, outer + int((region == 2).sum())),
        neck_loop=position[loop],
        own_uv=base.uv,
        own_face_uv=own_face_uv,
    )
