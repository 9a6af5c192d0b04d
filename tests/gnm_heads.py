"""Writes heads in GNM Head's exact published format: files for a whole reconstruction, where `gnm_files` writes sheets.

A person of the open head who is not its mean, every quad cut into four at places of their own, with shoulders, vertices
in another order. Eyes are made like GNM's: a ball in which the iris lies sunk like a bowl, a hole for a pupil, and a
clear shell with a cornea round both. Teeth and gums of a jaw are one piece. Identity and expression modes are the open
head's movements at the same places, so a fit can succeed.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.sparse import csr_matrix
from scipy.spatial import cKDTree

from backend.lid_rig import boundary_loops
from tests.gnm_files import COMPONENTS, JOINTS, PARENTS, write_gnm
from tests.stand_in_heads import Person, random_person, waves

MODES = (253, 383)
EYE_MODES, TEETH_SHARE = 3, 0.3
ORIGIN = np.array([0.0, 0.315, 0.09])  # metres: the middle between the eyes in GNM's axes
JOINT_PLACES = {"neck": (0.0, -0.16, -0.09), "head": (0.0, -0.08, -0.07)}  # metres from between the eyes
SHOULDER_RINGS, SHOULDER_DROP, SHOULDER_SPREAD = 12, 0.11, 0.13

EYE_SECTORS, EYEBALL_RINGS, SHELL_RINGS = 24, 16, 14
IRIS_DEGREES, PUPIL_DEGREES = 29.0, 10.0
IRIS_SINK, PUPIL_DEPTH = 0.0006, 0.0016
SHELL_GAP, CORNEA_BULGE = 0.0002, 0.0010

ARCH_STEPS, ARCH_HALF_WIDTH, ARCH_BACK, ARCH_FRONT = 36, 0.031, -0.028, 0.0135
TOOTH_PROFILE = (
    (-0.004, 9.0),
    (-0.0032, 5.0),
    (-0.0028, 2.5),
    (-0.002, 0.0),
    (0.002, 0.0),
    (0.0028, 2.5),
    (0.0035, 9.0),
)
"""Metres outwards from the arch and millimetres away from the edges of the teeth, from behind to the front."""
GUM_FROM_MM = 5.0


@dataclass(frozen=True)
class _Piece:
    """A component or a half of one; N vertices.

    Attributes:
        points: (N, 3) metres from between the eyes; quads: (Q, 4); uv: (Q, 4, 2).
        carried: from offsets of the open head's vertices (V, 3) to the piece's (N, 3).
        groups: vertex group -> (N,) weight.
    """

    points: np.ndarray
    quads: np.ndarray
    uv: np.ndarray
    carried: Callable[[np.ndarray], np.ndarray]
    groups: dict[str, np.ndarray]


def gnm_head_content(seed: int = 11, modes: tuple[int, int] = MODES) -> dict[str, np.ndarray]:
    """The arrays of a GNM Head file by their names there; see `write_gnm_head`."""
    generator = np.random.default_rng([seed, 3])
    person = random_person(seed)
    pieces = [_skin(person, generator), *_eyes(person), *_jaws(person), _tongue(person, generator)]
    starts = np.cumsum([0, *(len(piece.points) for piece in pieces)])
    size = starts[-1]
    order = generator.permutation(size)
    place = np.argsort(order)  # where each vertex went
    whole = np.concatenate([piece.points for piece in pieces])
    quads = np.concatenate([piece.quads + start for piece, start in zip(pieces, starts[:-1], strict=True)])
    names = list(dict.fromkeys(name for piece in pieces for name in piece.groups))
    groups = {
        name: np.concatenate([piece.groups.get(name, 0 * piece.points[:, 0]) for piece in pieces]) for name in names
    }
    groups |= {"left": (whole[:, 0] > 0).astype(float), "right": (whole[:, 0] < 0).astype(float)}

    def carried(offset: np.ndarray) -> np.ndarray:
        return np.concatenate([piece.carried(offset) for piece in pieces])

    identity, identity_names = _identity(person, whole, groups, carried, modes[0], generator)
    expression, expression_names = _expression(person, whole, groups, carried, modes[1], generator)
    regressor, joints = _joint_regressor(person, whole, groups)
    weights = _skinning_weights(whole, groups, joints)
    shuffled, uvs = place[quads].astype(np.int32), np.concatenate([piece.uv for piece in pieces]).astype(np.float32)
    return {
        "version": np.array("3.0"),
        "variant": np.array("head"),
        "template_vertex_positions": (whole[order] + ORIGIN).astype(np.float32),
        "template_joint_positions": (joints + ORIGIN).astype(np.float32),
        "vertex_identity_basis": identity[:, order],
        "joint_identity_basis": np.einsum("jv,kvc->kjc", regressor, identity).astype(np.float32),
        "expression_basis": expression[:, order],
        "identity_names": np.array(identity_names),
        "joint_names": np.array(list(JOINTS)),
        "expression_names": np.array(expression_names),
        "joint_parent_indices": np.array(PARENTS, np.int32),
        "skinning_weights": weights[:, order].astype(np.float32),
        "quads": shuffled,
        "triangles": np.concatenate([shuffled[:, [0, 1, 2]], shuffled[:, [2, 3, 0]]]),
        "quad_uvs": uvs,
        "triangle_uvs": np.concatenate([uvs[:, [0, 1, 2]], uvs[:, [2, 3, 0]]]),
        "mesh_component_names": np.array(COMPONENTS),
        "mirror_indices": place[_mirror(whole, groups)][order].astype(np.int32),
        "joint_regressor": regressor[:, order].astype(np.float32),
        "pose_correctives_regressor": np.zeros((9 * len(JOINTS), 3 * size), np.float32),
        "bone_aligned_template_joint_orientations": np.tile(np.eye(3, dtype=np.float32), (len(JOINTS), 1, 1)),
        "vertex_groups": np.stack(list(groups.values()))[:, order].astype(np.float32),
        "vertex_group_names": np.array(list(groups)),
    }


def write_gnm_head(path: Path, seed: int = 11, modes: tuple[int, int] = MODES) -> Path:
    """A `gnm_head.npz` with the head of a person: 21,357 vertices, where the published one has 17,821.

    Args:
        path: of the file; into a folder with the published name where it is a folder.
        seed: another person, other vertices, another order.
        modes: how many of identity and expression; the published numbers by default.
    """
    return write_gnm(path / "gnm_head.npz" if path.is_dir() else path, gnm_head_content(seed, modes))


def _mirror(whole: np.ndarray, groups: dict[str, np.ndarray]) -> np.ndarray:
    """(N,) the vertex nearest to each one's mirror image, in the component of the other side."""
    result = np.zeros(len(whole), np.int64)
    for name in COMPONENTS:
        own = np.flatnonzero(groups[name])
        other = {"left_eye": "right_eye", "right_eye": "left_eye"}.get(name, name)
        wanted = np.flatnonzero(groups[other])
        result[own] = wanted[cKDTree(whole[wanted]).query(whole[own] * [-1, 1, 1])[1]]
    return result


# Pieces ---------------------------------------------------------------------------------------------------------------


def _skin(person: Person, generator: np.random.Generator) -> _Piece:
    """Skin, eye sockets and the sock of the mouth in one piece, and shoulders under the neck."""
    topology = person.head.topology
    rows = np.concatenate([np.arange(*topology.part(name).indices(10**9)) for name in ("skin", "mouth_inside")])
    quads, carry, uv = _cut_in_four(person, rows, generator)
    points = carry @ person.neutral
    sock = np.zeros(len(person.neutral))
    sock[topology.part_vertices("mouth_inside")] = 1
    sock = carry @ sock
    loops = boundary_loops(quads)
    if len(loops) != 1:
        raise ValueError(f"The open head's skin has {len(loops)} rims, where the neck's alone was expected.")
    rim = loops[0]
    if _area(points[rim][:, [2, 0]]) < 0:  # from above counter-clockwise, +X to the right and +Z down
        rim = rim[::-1]
    share = np.linspace(0, 1, SHOULDER_RINGS + 1)[1:]
    middle = points[rim].mean(axis=0)
    wide = 1 + np.outer(share**2, [SHOULDER_SPREAD / np.ptp(points[rim][:, 0]) * 2, 0.5])
    rings = np.stack(
        [
            middle[0] + (points[rim, 0] - middle[0]) * wide[:, :1],
            points[rim, 1] * (1 - share[:, None]) + middle[1] * share[:, None] - SHOULDER_DROP * share[:, None],
            middle[2] + (points[rim, 2] - middle[2]) * wide[:, 1:],
        ],
        axis=-1,
    )
    grid = np.concatenate([rim[None], len(points) + np.arange(rings.shape[0] * len(rim)).reshape(rings.shape[:2])])
    after = np.roll(grid, -1, axis=1)
    strip = np.stack([grid[:-1], grid[1:], after[1:], after[:-1]], axis=-1).reshape(-1, 4)
    across = np.linspace(0.01, 0.99, len(rim) + 1)
    down = np.linspace(0.14, 0.01, len(grid))
    corner_u = np.stack([across[:-1], across[:-1], across[1:], across[1:]], axis=-1)
    corner_v = np.stack([down[:-1], down[1:], down[1:], down[:-1]], axis=-1)
    strip_uv = np.stack(np.broadcast_arrays(corner_u[None], corner_v[:, None]), axis=-1).reshape(-1, 4, 2)
    uv = _into(uv, (0.01, 0.16), (0.99, 0.99))
    everything = np.concatenate([points, rings.reshape(-1, 3)])
    below = np.tile(rim, SHOULDER_RINGS)
    fade = np.repeat(1 - 0.7 * share, len(rim))[:, None]

    def carried(offset: np.ndarray) -> np.ndarray:
        moved = carry @ offset
        return np.concatenate([moved, moved[below] * fade])

    inside = np.concatenate([sock, np.zeros(len(below))])
    groups = {
        "skin": np.ones(len(everything)),
        "mouth_sock": np.where(inside > 0.6, np.clip(inside, 0.01, 1), 0),
        "skin_exterior": (inside < 0.4).astype(float),
    }
    return _Piece(everything, np.concatenate([quads, strip]), np.concatenate([uv, strip_uv]), carried, groups)


def _tongue(person: Person, generator: np.random.Generator) -> _Piece:
    part = person.head.topology.part("tongue")
    quads, carry, uv = _cut_in_four(person, np.arange(part.start, part.stop), generator)
    points = carry @ person.neutral
    uv = _into(uv, (0.02, 0.02), (0.98, 0.98))
    return _Piece(points, quads, uv, lambda offset: carry @ offset, {"tongue": np.ones(len(points))})


def _cut_in_four(
    person: Person, rows: np.ndarray, generator: np.random.Generator
) -> tuple[np.ndarray, csr_matrix, np.ndarray]:
    """Quads of the open head cut into four, not in their middles: (4 N, 4), (M, V of the open head), (4 N, 4, 2)."""
    topology = person.head.topology
    quads = topology.faces[rows].astype(np.int64)
    corner_uv = topology.uv[topology.face_uv[rows]].astype(np.float64)
    used, corner = np.unique(quads, return_inverse=True)
    corner = corner.reshape(quads.shape)
    sides = np.stack([corner, np.roll(corner, -1, axis=1)], axis=-1)
    edges, edge = np.unique(np.sort(sides, axis=-1).reshape(-1, 2), axis=0, return_inverse=True)
    edge = edge.reshape(quads.shape)
    along = generator.uniform(0.42, 0.58, len(edges))  # from the first to the second end
    count = len(used)
    middle = count + len(edges) + np.arange(len(quads))
    number = np.arange(len(edges))
    carry = csr_matrix(
        (
            np.concatenate([np.ones(count), 1 - along, along, np.full(4 * len(quads), 0.25)]),
            (
                np.concatenate([np.arange(count), *[count + number] * 2, np.repeat(middle, 4)]),
                np.concatenate([used, *used[edges.T], quads.ravel()]),
            ),
        ),
        (count + len(edges) + len(quads), len(person.neutral)),
    )
    share = np.where(sides[..., 0] == edges[edge][..., 0], along[edge], 1 - along[edge])[..., None]
    edge_uv = corner_uv * (1 - share) + np.roll(corner_uv, -1, axis=1) * share
    middle_uv = corner_uv.mean(axis=1)
    small, small_uv = [], []
    for number in range(4):
        before = (number - 1) % 4
        small.append(np.stack([corner[:, number], count + edge[:, number], middle, count + edge[:, before]], axis=1))
        small_uv.append(np.stack([corner_uv[:, number], edge_uv[:, number], middle_uv, edge_uv[:, before]], axis=1))
    return np.concatenate(small), carry, np.concatenate(small_uv)


def _eyes(person: Person) -> list[_Piece]:
    """Ball and shell of the left eye, then of the right."""
    head = person.head
    centres = head.eye_centres(person.neutral)
    ball = head.mean[head.eyeballs["left"]]
    radius = float(np.ptp(ball[:, 1]) / 2)
    iris, pupil = np.radians([IRIS_DEGREES, PUPIL_DEGREES])
    rim = radius * np.cos(iris)
    # ball, from behind to the middle of the pupil: distance from the axis, and along it
    white = np.linspace(np.pi, iris, EYEBALL_RINGS)[1:]
    bowl = np.linspace(iris, pupil, 5)[1:]
    sink = IRIS_SINK * np.sin(np.pi / 2 * (iris - bowl) / (iris - pupil))
    off_axis = np.concatenate(
        [radius * np.sin(white), radius * np.sin(bowl), radius * np.sin(pupil) * np.array([0.98, 0.5])]
    )
    ahead = np.concatenate([radius * np.cos(white), rim - sink, rim - IRIS_SINK - PUPIL_DEPTH * np.array([0.8, 1.0])])
    points, quads, uv = _turned(off_axis, ahead, -radius, rim - IRIS_SINK - PUPIL_DEPTH)
    ring = np.concatenate([[0], 1 + np.repeat(np.arange(len(off_axis)), EYE_SECTORS), [len(off_axis) + 1]])
    whites = (ring <= len(white)).astype(float)
    holes = (ring > len(white) + len(bowl) - 1).astype(float)
    # shell
    angle = np.linspace(np.pi, 0, SHELL_RINGS + 2)[1:-1]
    over = radius + SHELL_GAP + CORNEA_BULGE * np.clip(np.cos(angle / 0.6 * np.pi / 2), 0, 1) * (angle < 0.6)
    shell, shell_quads, shell_uv = _turned(
        over * np.sin(angle), over * np.cos(angle), -radius - SHELL_GAP, radius + SHELL_GAP + CORNEA_BULGE
    )
    pieces = []
    for side, centre in enumerate(centres):

        def carried(offset: np.ndarray, side: int = side, count: int = 0) -> np.ndarray:
            move = head.eye_centres(person.neutral + offset)[side] - centres[side]
            return np.tile(move, (count, 1))

        eye = {("left_eye", "right_eye")[side]: np.ones(len(points)), "eyes": np.ones(len(points))}
        inner = eye | {
            "eye_interiors": np.ones(len(points)),
            "scleras": whites,
            "irises": 1 - whites,
            "pupils": holes,
        }
        outer = {name: np.ones(len(shell)) for name in (*eye, "eye_exteriors")}
        for own, own_quads, own_uv, groups in ((points, quads, uv, inner), (shell, shell_quads, shell_uv, outer)):
            size = len(own)
            pieces.append(_Piece(own + centre, own_quads, own_uv, lambda o, c=carried, n=size: c(o, count=n), groups))
    return pieces


def _turned(
    off_axis: np.ndarray, ahead: np.ndarray, first: float, last: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rings (R,) turned about the gaze axis, closed by quads that meet in the poles: points, quads, texture."""
    turn = 2 * np.pi * np.arange(EYE_SECTORS) / EYE_SECTORS
    rings = np.stack(
        [off_axis[:, None] * np.cos(turn), off_axis[:, None] * np.sin(turn), ahead[:, None] + 0 * turn], axis=-1
    )
    points = np.concatenate([[[0, 0, first]], rings.reshape(-1, 3), [[0, 0, last]]])
    grid = 1 + np.arange(rings.shape[0] * EYE_SECTORS).reshape(-1, EYE_SECTORS)
    after = np.roll(grid, -1, axis=1)
    quads = [np.stack([grid[:-1], after[:-1], after[1:], grid[1:]], axis=-1).reshape(-1, 4)]
    for ring, pole, way in ((grid[0], 0, -1), (grid[-1], len(points) - 1, 1)):
        three = np.stack([ring[::2], ring[1::2], np.roll(ring, -2)[::2]], axis=1)[:, ::way]
        quads.append(np.column_stack([np.full(len(three), pole), three]))
    reach = np.concatenate([[0.99], np.linspace(0.97, 0.02, len(off_axis)), [0.0]]) / 2  # the back outermost
    across = np.concatenate([[0], np.tile(turn, len(off_axis)), [0]])
    radii = np.concatenate([reach[:1], np.repeat(reach[1:-1], EYE_SECTORS), reach[-1:]])
    flat = 0.5 + radii[:, None] * np.stack([np.cos(across), np.sin(across)], axis=1)
    whole = np.concatenate(quads)
    uv = flat[whole]
    back = whole[:, 0] == 0  # every quad at the pole behind has a corner of its own on the rim of the texture
    middle = flat[whole[back][:, 2]] - 0.5
    uv[back, 0] = 0.5 + middle / np.linalg.norm(middle, axis=1, keepdims=True) * reach[0]
    return points, whole, uv


def _jaws(person: Person) -> list[_Piece]:
    """Teeth with their gums, the upper ones first: an arch that follows the open head's rows as one."""
    head = person.head
    turn = np.linspace(-np.pi / 2, np.pi / 2, ARCH_STEPS)
    profile = np.array(TOOTH_PROFILE)
    pieces = []
    for part, name, up in (("teeth_upper", "upper_teeth_and_gums", 1), ("teeth_lower", "lower_teeth_and_gums", -1)):
        row = head.topology.part_vertices(part)
        front = head.mean[row[head.mean[row, 2] > head.mean[row, 2].max() - 0.006], 1]
        edge = front.min() if up > 0 else front.max()
        narrower = 1.0 if up > 0 else 0.95
        outwards = np.stack([np.sin(turn), np.cos(turn)], axis=1)
        half = np.array([ARCH_HALF_WIDTH, ARCH_FRONT - ARCH_BACK]) * narrower - [0.002, 0.0025]
        flat = (outwards * half)[:, None] + outwards[:, None] * profile[:, :1]  # (A, P, 2)
        height = np.broadcast_to(edge + up * profile[:, 1] / 1000, flat.shape[:2])
        points = np.stack([flat[..., 0], height, flat[..., 1] + ARCH_BACK], axis=-1).reshape(-1, 3)
        grid = np.arange(len(points)).reshape(flat.shape[:2])
        quads = np.stack([grid[:-1, :-1], grid[:-1, 1:], grid[1:, 1:], grid[1:, :-1]], axis=-1).reshape(-1, 4)
        u, v = np.meshgrid(np.linspace(0.02, 0.98, ARCH_STEPS), np.linspace(0.02, 0.48, len(profile)), indexing="ij")
        flat_uv = np.stack([u, v + (0.5 if up > 0 else 0.0)], axis=-1).reshape(-1, 2)
        if up > 0:
            quads = quads[:, ::-1]
        from_edge = np.tile(profile[:, 1], ARCH_STEPS)
        groups = {
            name: np.ones(len(points)),
            "teeth": (from_edge <= GUM_FROM_MM).astype(float),
            "gums": (from_edge >= GUM_FROM_MM).astype(float),
        }

        def carried(offset: np.ndarray, row: np.ndarray = row, count: int = len(points)) -> np.ndarray:
            return np.tile(offset[row].mean(axis=0), (count, 1))

        pieces.append(_Piece(points + carried(person.neutral - head.mean), quads, flat_uv[quads], carried, groups))
    return pieces


def _into(uv: np.ndarray, low: tuple[float, float], high: tuple[float, float]) -> np.ndarray:
    """Texture places (..., 2) spread over a rectangle."""
    flat = uv.reshape(-1, 2)
    start, reach = flat.min(axis=0), np.ptp(flat, axis=0)
    return np.array(low) + (uv - start) / reach * (np.array(high) - low)


def _area(outline: np.ndarray) -> float:
    following = np.roll(outline, -1, axis=0)
    return float((outline[:, 0] * following[:, 1] - outline[:, 1] * following[:, 0]).sum() / 2)


# What moves -----------------------------------------------------------------------------------------------------------


def _identity(
    person: Person,
    whole: np.ndarray,
    groups: dict[str, np.ndarray],
    carried: Callable[[np.ndarray], np.ndarray],
    count: int,
    generator: np.random.Generator,
) -> tuple[np.ndarray, list[str]]:
    """(count, N, 3) float32 and their names: the head's, those of the eyes' size and place, those of the teeth."""
    teeth_count = int(TEETH_SHARE * count)
    head_count = count - EYE_MODES - teeth_count
    basis = np.zeros((count, len(whole), 3), np.float32)
    known = min(len(person.identity), head_count)
    basis[:known] = [carried(offset) for offset in person.identity[:known]]
    skin = groups["skin"] > 0
    basis[known:head_count, skin] = waves(whole[skin], head_count - known, 2e-5, generator)
    for side, name in enumerate(("left_eye", "right_eye")):
        eye = groups[name] > 0
        arm = whole[eye] - person.head.eye_centres(person.neutral)[side]
        basis[head_count, eye] = 0.02 * arm
        basis[head_count + 1, eye] = [0, 0.0002, 0]
        basis[head_count + 2, eye] = [0, 0, 0.0002]
    teeth = (groups["upper_teeth_and_gums"] + groups["lower_teeth_and_gums"]) > 0
    basis[head_count + EYE_MODES :, teeth] = waves(whole[teeth], teeth_count, 5e-5, generator)
    names = [f"head_{n:03d}" for n in range(head_count)] + [f"eyes_{n:03d}" for n in range(EYE_MODES)]
    return basis, names + [f"teeth_{n:03d}" for n in range(teeth_count)]


def _expression(
    person: Person,
    whole: np.ndarray,
    groups: dict[str, np.ndarray],
    carried: Callable[[np.ndarray], np.ndarray],
    count: int,
    generator: np.random.Generator,
) -> tuple[np.ndarray, list[str]]:
    """(count, N, 3) float32 and their names: mixes of shape keys by region, the tongue's, the pupils' width."""
    keys = {name: carried(key).astype(np.float32) for name, key in person.keys.items()}
    eyes = (groups["left_eye"] + groups["right_eye"]) > 0
    regions = {
        "left_eye_region": [
            name for name in keys if name.endswith("Left") and name.startswith(("brow", "eye", "cheek"))
        ],
        "right_eye_region": [
            name for name in keys if name.endswith("Right") and name.startswith(("brow", "eye", "cheek"))
        ],
        "lower_face_region": [name for name in keys if name.startswith(("mouth", "jaw", "nose"))],
        "tongue": ["tongueOut"],
    }
    shares = np.array([100, 100, 150, 32]) / 382
    numbers = np.floor(shares * (count - 1)).astype(int)
    numbers[2] += count - 1 - numbers.sum()
    basis, names = [], []
    for (region, own), number in zip(regions.items(), numbers, strict=True):
        mix = generator.normal(size=(number, len(own))) * 0.3 / np.sqrt(len(own))
        stack = np.stack([keys[name] for name in own])
        stack[:, eyes] = 0
        mixed = np.tensordot(mix.astype(np.float32), stack, 1)
        if region == "tongue":
            tongue = groups["tongue"] > 0
            mixed[1:, tongue] += waves(whole[tongue], number - 1, 0.001, generator).astype(np.float32)
        basis.append(mixed)
        names += [f"{region}_{n:03d}" for n in range(number)]
    wider = np.zeros((1, len(whole), 3), np.float32)
    for side, name in enumerate(("left_eye", "right_eye")):
        pupil = (groups[name] > 0) & (groups["pupils"] > 0)
        wider[0, pupil] = 0.1 * (whole[pupil] - person.head.eye_centres(person.neutral)[side]) * [1, 1, 0]
    return np.concatenate([*basis, wider]), [*names, "pupils_000"]


def _joint_regressor(person: Person, whole: np.ndarray, groups: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """(4, N) and (4, 3): neck and head hang on the skin round them, an eye's joint on its shell and its ball."""
    skin = np.flatnonzero(groups["skin"] > 0)
    regressor = np.zeros((len(JOINTS), len(whole)))
    for row, place in enumerate(JOINT_PLACES.values()):
        near = skin[np.argsort(np.abs(whole[skin, 1] - place[1]))[:200]]
        regressor[row, near] = _shares(whole[near], np.array(place))
    for row, name in enumerate(("left_eye", "right_eye")):
        eye = np.flatnonzero(groups[name] > 0)
        regressor[2 + row, eye] = _shares(whole[eye], person.head.eye_centres(person.neutral)[row])
    return regressor, regressor @ whole


def _shares(points: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """(N,) summing to 1, near to each other, whose mean of points (N, 3) is the wanted place."""
    rows = np.column_stack([points - wanted, np.ones(len(points))]).T
    even = np.full(len(points), 1 / len(points))
    return even + np.linalg.lstsq(rows, np.array([0, 0, 0, 1]) - rows @ even, rcond=None)[0]


def _skinning_weights(whole: np.ndarray, groups: dict[str, np.ndarray], joints: np.ndarray) -> np.ndarray:
    rise = ((whole[:, 1] - joints[0, 1]) / (joints[1, 1] - joints[0, 1])).clip(0, 1)
    turned = rise**2 * (3 - 2 * rise)
    weights = np.stack([1 - turned, turned, 0 * turned, 0 * turned])
    for row, name in enumerate(("left_eye", "right_eye")):
        eye = groups[name] > 0
        weights[:, eye] = np.eye(4)[[2 + row]].T
    return weights
