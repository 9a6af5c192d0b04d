"""What moves with a face model's lids: the margin loop of each eye and the vertices that follow it.

`build_eye_rig` makes it from a mesh, the loop where skin ends and socket lining begins, and the eyeball; the open head
stores the result as index arrays (`LidRig.to_arrays`). `backend.lids` moves the lids. Lengths are metres in model space
(+Y up, +Z out of the face, +X to the subject's left).
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components

SIDES = ("left", "right")
EYEBALL_RADIUS = 0.012  # adult human eyes: 12 mm, 5 % about it
RIG_REACH = 0.021  # skin further than this from the margin is no follower
LASH_SMOOTHING = 2  # passes of a 1 2 1 filter along the roots, so that neighbouring hairs turn alike
SKIN, LINING, LASH, EYE = 0, 1, 2, 3
"""What a follower is. EYE: the surface of the eye itself, where a model has it in one piece with the lids."""


@dataclass(frozen=True)
class Eyeball:
    """The shape of a ball, round about its gaze axis (+Z).

    Attributes:
        radius: metres.
        angles: (A,) radians off the gaze axis, ascending, and bulge: (A,) metres over `radius` there (a cornea);
            empty for a sphere.
    """

    radius: float = EYEBALL_RADIUS
    angles: tuple[float, ...] = ()
    bulge: tuple[float, ...] = ()

    def surface(self, direction: np.ndarray) -> np.ndarray:
        """Distance of the surface from the centre along unit vectors (..., 3): (...) metres."""
        if not self.angles:
            return np.full(direction.shape[:-1], self.radius)
        return self.radius + np.interp(np.arccos(np.clip(direction[..., 2], -1.0, 1.0)), self.angles, self.bulge)


@dataclass(frozen=True)
class EyeRig:
    """What moves with the lids of one eye.

    Attributes:
        loop: (M,) int64, the margin: inner canthus, along the upper lid to the outer canthus, back along the lower.
        outer: position of the outer canthus in `loop`.
        followers: (N,) int64, vertices that move with the margin, the loop itself left out.
        kind: (N,) uint8, SKIN, LINING, LASH or EYE.
        share: (N, M) float32, rows sum to one: how much of each margin vertex a follower copies.
        distance: (N,) float32, metres along the surface from the margin on the average face.
        centre: (2,) where the ball's centre lies: fraction of the way from inner to outer canthus, and height over the
            middle of the opening as a fraction of the opening's height.
    """

    loop: np.ndarray
    outer: int
    followers: np.ndarray
    kind: np.ndarray
    share: np.ndarray
    distance: np.ndarray
    centre: np.ndarray

    @property
    def upper(self) -> np.ndarray:
        """(U,) vertices of the upper margin, canthi included, from inner to outer."""
        return self.loop[: self.outer + 1]

    @property
    def lower(self) -> np.ndarray:
        """(L,) vertices of the lower margin, canthi included, from inner to outer."""
        return np.concatenate([self.loop[:1], self.loop[: self.outer - 1 : -1]])

    @property
    def vertices(self) -> np.ndarray:
        """(M + N,) every vertex the lids move: the margin, then the followers."""
        return np.concatenate([self.loop, self.followers])

    @property
    def lid_vertices(self) -> np.ndarray:
        """Margin and outer skin within the lids' reach: what must not enter the ball."""
        return np.concatenate([self.loop, self.followers[self.kind == SKIN]])


@dataclass(frozen=True)
class LidRig:
    """Both eyes of one face model and the ball behind its lids."""

    left: EyeRig
    right: EyeRig
    eyeball: Eyeball = Eyeball()

    def eye(self, side: str) -> EyeRig:
        """The rig of "left" or "right", the subject's own."""
        if side not in SIDES:
            raise ValueError(f"An eye is 'left' or 'right', not {side!r}.")
        return getattr(self, side)

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Arrays for an .npz: `lid_<side>_{loop,outer,followers,kind,share,distance,centre}` and `lid_eyeball`.

        `lid_eyeball` is (3, A + 1): column 0 holds the radius, the others angle and bulge in rows 1 and 2.
        `share` is float16.
        """
        ball = self.eyeball
        result = {
            "lid_eyeball": np.array([[ball.radius, *[0.0] * len(ball.angles)], [0, *ball.angles], [0, *ball.bulge]])
        }
        for side in SIDES:
            eye = self.eye(side)
            result[f"lid_{side}_loop"] = eye.loop.astype(np.int32)
            result[f"lid_{side}_outer"] = np.array([eye.outer], np.int32)
            result[f"lid_{side}_followers"] = eye.followers.astype(np.int32)
            result[f"lid_{side}_kind"] = eye.kind.astype(np.uint8)
            result[f"lid_{side}_share"] = eye.share.astype(np.float16)
            result[f"lid_{side}_distance"] = eye.distance.astype(np.float32)
            result[f"lid_{side}_centre"] = eye.centre.astype(np.float32)
        return result

    @classmethod
    def from_arrays(cls, arrays) -> "LidRig":
        """The rig from `to_arrays` or an opened .npz that holds these names among others.

        Raises:
            KeyError: if one of the names is missing.
        """
        eyes = {}
        for side in SIDES:
            share = np.asarray(arrays[f"lid_{side}_share"], np.float32)
            eyes[side] = EyeRig(
                loop=np.asarray(arrays[f"lid_{side}_loop"], np.int64),
                outer=int(np.ravel(arrays[f"lid_{side}_outer"])[0]),
                followers=np.asarray(arrays[f"lid_{side}_followers"], np.int64),
                kind=np.asarray(arrays[f"lid_{side}_kind"], np.uint8),
                share=share / share.sum(1, keepdims=True),
                distance=np.asarray(arrays[f"lid_{side}_distance"], np.float32),
                centre=np.asarray(arrays[f"lid_{side}_centre"], np.float32),
            )
        ball = np.asarray(arrays["lid_eyeball"], float)
        return cls(eyes["left"], eyes["right"], Eyeball(ball[0, 0], tuple(ball[1, 1:]), tuple(ball[2, 1:])))

    def renumbered(self, base_index: np.ndarray) -> "LidRig":
        """The same rig over a cut mesh whose vertex i was vertex `base_index[i]` (-1: none); followers cut away drop.

        Raises:
            ValueError: if a margin vertex was cut away.
        """
        new_number = np.full(max(int(base_index.max()), *(int(self.eye(s).vertices.max()) for s in SIDES)) + 1, -1)
        known = np.flatnonzero(base_index >= 0)
        new_number[base_index[known]] = known
        eyes = {}
        for side in SIDES:
            eye = self.eye(side)
            loop, followers = new_number[eye.loop], new_number[eye.followers]
            if (loop < 0).any():
                raise ValueError(f"The cut mesh lacks margin vertices of the {side} eye.")
            kept = followers >= 0
            eyes[side] = replace(
                eye,
                loop=loop,
                followers=followers[kept],
                kind=eye.kind[kept],
                share=eye.share[kept],
                distance=eye.distance[kept],
            )
        return replace(self, **eyes)


def build_eye_rig(
    vertices: np.ndarray,
    faces: np.ndarray,
    loop: np.ndarray,
    centre: np.ndarray,
    lashes: np.ndarray | None = None,
    fused: bool = False,
) -> EyeRig:
    """The rig of one eye from a face model's average mesh.

    Args:
        vertices: (V, 3) metres.
        faces: (F, 3 or 4) int, -1 for the missing corner of a triangle; skin and lining only.
        loop: (M,) the margin as a closed chain of edges, any start and direction.
        centre: (3,) of the model's own eyeball; the lining is the side of the loop that lies about it.
        lashes: the lashes of this eye: (F, 4) faces of cards of quads, or (N,) vertices that each hang on the margin
            nearest to them.
        fused: what lies inside the loop is the eye itself, which the lids are grown together with.

    Raises:
        ValueError: if the margin is no loop from canthus to canthus, or parts nothing and is no border of the mesh.
    """
    vertices = np.asarray(vertices, float)
    loop, outer = _oriented_loop(vertices, np.asarray(loop, np.int64))
    edges = mesh_edges(faces)
    inside = _inside(edges, loop, len(vertices))
    if not len(inside) and not any(set(rim) == set(loop) for rim in boundary_loops(faces)):
        raise ValueError("The margin loop does not part the skin from the socket lining.")
    near = np.linalg.norm(vertices - vertices[loop].mean(0), axis=1) < RIG_REACH + np.ptp(vertices[loop], axis=0).max()
    edges = edges[near[edges].all(1)]
    lining = inside[near[inside]]
    distance = _distances(vertices, edges, loop)
    used = np.unique(edges)
    used = used[~np.isin(used, loop)]
    skin = used[~np.isin(used, lining) & (distance[used] < RIG_REACH)]
    groups = [
        (skin, SKIN, _harmonic_shares(vertices, edges, loop, skin)),
        (lining, EYE if fused else LINING, _harmonic_shares(vertices, edges, loop, lining)),
    ]
    if lashes is not None and len(lashes):
        share = _card_shares if np.ndim(lashes) == 2 else _nearest_shares
        groups.append((np.unique(lashes), LASH, share(vertices, loop, outer, np.asarray(lashes, np.int64))))
        distance[lashes] = 0.0
    followers = np.concatenate([members for members, _, _ in groups])
    eye = EyeRig(
        loop=loop,
        outer=outer,
        followers=followers,
        kind=np.concatenate([np.full(len(members), kind, np.uint8) for members, kind, _ in groups]),
        share=np.concatenate([share for _, _, share in groups]).astype(np.float32),
        distance=distance[followers].astype(np.float32),
        centre=np.zeros(2, np.float32),
    )
    inner, outer_corner = canthi(eye, vertices)
    middle, height = opening(eye, vertices)
    across = (centre[0] - inner[0]) / (outer_corner[0] - inner[0])
    return replace(eye, centre=np.array([across, (centre[1] - middle) / height], np.float32))


def opening(eye: EyeRig, vertices: np.ndarray) -> tuple[float, float]:
    """Height (y) of the middle of an eye's opening, and how high the opening is there; metres."""
    middles = []
    for margin in (eye.upper, eye.lower):
        quarter = len(margin) // 4
        middles.append(float(vertices[margin[quarter:-quarter], 1].mean()))
    return (middles[0] + middles[1]) / 2, middles[0] - middles[1]


def canthi(eye: EyeRig, vertices):
    """Inner and outer corner of the opening: means of the three loop vertices about each, (3,) float64."""
    around = np.arange(-1, 2)
    corners = [vertices[eye.loop[(at + around) % len(eye.loop)]].astype(float).mean(0) for at in (0, eye.outer)]
    return corners[0], corners[1]


def mesh_edges(faces: np.ndarray) -> np.ndarray:
    """Every edge once, (E, 2) int64 with the lower vertex first; -1 corners are skipped."""
    faces = np.asarray(faces, np.int64)
    triangles, quads = faces[faces.min(1) < 0][:, :3], faces[faces.min(1) >= 0]
    pairs = [np.stack([kind, np.roll(kind, -1, axis=1)], -1).reshape(-1, 2) for kind in (triangles, quads) if len(kind)]
    return np.unique(np.sort(np.concatenate(pairs), axis=1), axis=0)


def boundary_loops(faces: np.ndarray) -> list[np.ndarray]:
    """The closed chains of edges that have a face on one side only, longest first: a list of (M,) int64.

    Raises:
        ValueError: where such chains touch, so that a vertex lies on two of them.
    """
    faces = np.asarray(faces, np.int64)
    triangles, quads = faces[faces.min(1) < 0][:, :3], faces[faces.min(1) >= 0]
    pairs = [np.stack([kind, np.roll(kind, -1, axis=1)], -1).reshape(-1, 2) for kind in (triangles, quads) if len(kind)]
    edges, count = np.unique(np.sort(np.concatenate(pairs), axis=1), axis=0, return_counts=True)
    neighbours: dict[int, list[int]] = {}
    for first, second in edges[count == 1].tolist():
        neighbours.setdefault(first, []).append(second)
        neighbours.setdefault(second, []).append(first)
    if any(len(two) != 2 for two in neighbours.values()):
        raise ValueError("The mesh's boundary touches itself; its loops cannot be told apart.")
    loops = []
    while neighbours:
        start = next(iter(neighbours))
        chain, ahead = [start], neighbours[start][0]
        while ahead != start:
            behind = chain[-1]
            chain.append(ahead)
            ahead = next(n for n in neighbours[ahead] if n != behind)
        for vertex in chain:
            del neighbours[vertex]
        loops.append(np.array(chain, np.int64))
    return sorted(loops, key=len, reverse=True)


def _oriented_loop(vertices, loop):
    """The loop from the inner canthus over the upper lid, and the place of the outer canthus in it."""
    along = np.abs(vertices[loop, 0])
    loop = np.roll(loop, -int(along.argmin()))
    outer = int(np.abs(vertices[loop, 0]).argmax())
    if len(loop) < 6 or not 1 < outer < len(loop) - 2:
        raise ValueError("The margin is no loop from canthus to canthus and back.")
    if vertices[loop[1:outer], 1].mean() < vertices[loop[outer + 1 :], 1].mean():
        loop = np.concatenate([loop[:1], loop[:0:-1]])
        outer = len(loop) - outer
    return loop, outer


def _inside(edges, loop, count):
    """Vertices (N,) that the loop parts from the greater rest of the mesh: the lining, or the eye; perhaps none."""
    on_loop = np.isin(edges, loop)
    free = edges[~on_loop.any(1)]
    graph = sparse.coo_matrix((np.ones(len(free)), free.T), (count, count))
    label = connected_components(graph, directed=False)[1]
    touching, used = np.setdiff1d(edges[on_loop.any(1)], loop), np.setdiff1d(edges, loop)
    pieces = np.unique(label[touching])
    greatest = max(pieces, key=lambda piece: np.count_nonzero(label[used] == piece))
    return used[np.isin(label[used], pieces[pieces != greatest])]


def _distances(vertices, edges, loop):
    """Length of the shortest way along edges from the loop to every vertex (V,), infinite where there is none."""
    length = np.linalg.norm(vertices[edges[:, 0]] - vertices[edges[:, 1]], axis=1)
    distance = np.full(len(vertices), np.inf)
    distance[loop] = 0.0
    while True:
        before = distance.copy()
        np.minimum.at(distance, edges[:, 0], before[edges[:, 1]] + length)
        np.minimum.at(distance, edges[:, 1], before[edges[:, 0]] + length)
        if (distance == before).all():
            return distance


def _harmonic_shares(vertices, edges, loop, members):
    """How much of each loop vertex every member copies (N, M): the harmonic continuation of the loop's values."""
    place = np.full(len(vertices), -1)
    place[loop] = np.arange(len(loop))
    place[members] = len(loop) + np.arange(len(members))
    inside = edges[(place[edges] >= 0).all(1)]
    stiffness = 1.0 / np.maximum(np.linalg.norm(vertices[inside[:, 0]] - vertices[inside[:, 1]], axis=1), 1e-5)
    first, second = place[inside].T
    size = len(loop) + len(members)
    laplacian = np.zeros((size, size))
    np.add.at(laplacian, (first, second), -stiffness)
    np.add.at(laplacian, (second, first), -stiffness)
    laplacian[np.arange(size), np.arange(size)] = -laplacian.sum(1)
    free, fixed = slice(len(loop), None), slice(None, len(loop))
    share = np.linalg.solve(laplacian[free, free], -laplacian[free, fixed])
    return share / share.sum(1, keepdims=True)


def _nearest_shares(vertices, loop, outer, members):
    """How much of each loop vertex every vertex, in ascending order, copies (N, M): the nearest point of the margin."""
    return _shares_on(vertices, loop, np.append(np.arange(len(loop)), 0), np.unique(members))


def _shares_on(vertices, loop, chain, members):
    """Shares (N, M) of the points of a part of the loop, positions `chain` (C,), that lie nearest to some vertices."""
    start, step = vertices[loop[chain[:-1]]], np.diff(vertices[loop[chain]], axis=0)
    arm = vertices[members][:, None] - start
    along = np.clip((arm * step).sum(-1) / (step**2).sum(-1), 0.0, 1.0)
    nearest = np.linalg.norm(arm - along[..., None] * step, axis=-1).argmin(1)
    rows = np.arange(len(members))
    share = np.zeros((len(members), len(loop)))
    share[rows, chain[nearest]] = 1.0 - along[rows, nearest]
    share[rows, chain[nearest + 1]] += along[rows, nearest]
    return share


def _card_shares(vertices, loop, outer, faces):
    """How much of each loop vertex every lash vertex, in ascending order, copies (N, M).

    Lashes are cards: grids of quads. The long side of a card that lies nearest to the margin is its root, each root
    vertex hangs on the nearest point of its own lid's margin, the canthi left out, and the hairs copy their root.
    """
    middle = vertices[loop, 1].mean()
    share = np.zeros((len(vertices), len(loop)))
    for card in _components(faces):
        members = np.unique(card)
        root = _card_root(vertices, card, loop)
        upper = vertices[root, 1].mean() > middle
        chain = np.arange(1, outer) if upper else np.arange(outer + 1, len(loop))
        of_root = _shares_on(vertices, loop, chain, root)
        for _ in range(LASH_SMOOTHING):
            padded = np.concatenate([of_root[:1], of_root, of_root[-1:]])
            of_root = (padded[:-2] + 2 * padded[1:-1] + padded[2:]) / 4
        share[root] = of_root
        edges = mesh_edges(card)
        done = np.isin(np.arange(len(vertices)), root)
        while not done[members].all():
            first, second = np.concatenate([edges, edges[:, ::-1]]).T
            onward = done[first] & ~done[second]
            share[second[onward]] = share[first[onward]]
            done[second[onward]] = True
    return share[np.unique(faces)]


def _components(faces):
    """The faces (F, 4) of each connected piece of a mesh."""
    label = np.arange(faces.max() + 1)
    while True:
        lowest = label[faces].min(1)
        before = label.copy()
        np.minimum.at(label, faces.ravel(), np.repeat(lowest, faces.shape[1]))
        if (label == before).all():
            break
    of_face = label[faces[:, 0]]
    return [faces[of_face == value] for value in np.unique(of_face)]


def _card_root(vertices, card, loop):
    """The side of a grid of quads that lies nearest to the loop, of its two longer ones: (N,) vertices."""
    (rim,) = boundary_loops(card)
    used, count = np.unique(card, return_counts=True)
    corners = np.flatnonzero(np.isin(rim, used[count == 1]))
    if len(corners) != 4:
        raise ValueError("A lash card is not a grid of quads.")
    rim = np.roll(rim, -corners[0])
    corners = np.append(corners - corners[0], len(rim))
    rim = np.append(rim, rim[0])
    sides = [rim[start : end + 1] for start, end in zip(corners[:-1], corners[1:], strict=True)]
    long_sides = sorted(sides, key=len)[-2:]
    return min(
        long_sides, key=lambda side: np.linalg.norm(vertices[side][:, None] - vertices[loop], axis=-1).min(1).mean()
    )
