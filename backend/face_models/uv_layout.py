"""Texture coordinates for heads that come without: FLAME's and the Basel Face Model's files have none.

The skin becomes one disc that fills most of the square: a whole head is cut open from the neck's edge up the back of
the head to the crown, a face with an edge all round is not cut. Its eyes and mouth are closed for the time being, and
`flattening` lays it down. The face becomes large, the rest of the head and what hides in pockets (mouth, eye sockets,
nostrils) small. Every other piece gets an island of its own in a strip below; eyeballs show their front.
"""

from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse as sparse
from scipy.sparse.csgraph import connected_components, dijkstra
from scipy.spatial import cKDTree

from backend.face_models.flattening import Curve, Disc, corner_triangles, flatten, triangle_area

SKIN = "skin"
MARGIN = 0.005
"""Free space between two charts, of the square's side; half of it along the border. 10 texels of 2048."""
STRIPS = (0.11, 0.16, 0.22)
"""Heights of the strip of islands, of the square's side: the first in which they find room."""
LEAST_ISLAND = 0.008
"""Width of the smallest island, of the square's side."""
EYEBALL_WIDTH, REAR_WIDTH, WIDEST_ISLAND = 0.1, 0.03, 0.2
ITERATIONS, ISLAND_ITERATIONS, REWEIGHTINGS, STAGES, ENOUGH = 400, 80, 12, 15, 2e-5
NO_PAIRS = np.zeros((0, 2), np.int64)
SKIN_POWER, ISLAND_POWER = 8.0, 3.0
REAR_SIZE = 0.12
"""Size of the back of the head in the map, relative to the face."""
FACE_CENTRE = (0.0, -0.022, 0.0)
FACE_REACH = (0.085, 0.105, 0.085)
"""The face without seed points: an ellipsoid about this point, metres; only the part behind the centre counts in z."""
SEED_REACH_METRES = 0.035
FADE = (0.9, 1.4)
"""Where the face's size begins to fall and has fallen to that of the rear, in units of the reach."""
HIDDEN_SIZE = 0.15
OPEN_SHARE = 0.2
"""A vertex that is seen from this share of all directions is not hidden at all; on a convex head it is about half."""
DIRECTIONS = 40
SIZE_SMOOTHING = 8
MIDDLE_METRES = 0.004
"""The cut up the back of the head strays this far from the middle at twice the cost."""
FRONT_CAP_DEGREES = 120.0
EYEBALL_REACH = ((0.0, 45.0, 90.0, 180.0), (0.0, 0.55, 0.84, 1.3))
"""Degrees off the gaze axis and distance from the middle of an eyeball's disc."""


@dataclass(frozen=True)
class _Piece:
    """A connected, manifold surface.

    Attributes:
        part: whose it is.
        rows: (F,) int64 rows of the head's faces.
        corners: (F, 4) int64 rows of `vertices`, -1 as in the faces.
        vertices: (N,) int64 rows of the head's vertices; one may occur more than once, where the surface is cut.
        loops: its open edges, each walked with the surface on the left: rows of `vertices`.
    """

    part: str
    rows: np.ndarray
    corners: np.ndarray
    vertices: np.ndarray
    loops: list[np.ndarray]

    @property
    def euler(self) -> int:
        """The Euler characteristic with all loops closed: 2 for a sphere with holes."""
        edges = len(np.unique(np.sort(_half_edges(self.corners)[:, :2], axis=1), axis=0))
        return len(self.vertices) - edges + len(self.corners) + len(self.loops)

    def area(self, mean: np.ndarray) -> float:
        """Square metres."""
        triangles, share = corner_triangles(self.corners)
        a, b, c = (mean[self.vertices[triangles[:, k]]] for k in range(3))
        return float((share * np.linalg.norm(np.cross(b - a, c - a), axis=1)).sum() / 2)


@dataclass(frozen=True)
class _Chart:
    """A piece laid flat: places (N, 2) of its vertices in any unit, and how wide it should be in the square."""

    piece: _Piece
    places: np.ndarray
    width: float


def make_uv(
    mean: np.ndarray, faces: np.ndarray, part_faces: dict[str, np.ndarray], seed_points: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Texture coordinates for a head: upright, one-to-one, the face large.

    Args:
        mean: (V, 3) metres in model space, origin between the eyes.
        faces: (F, 4) int, counter-clockwise from outside, -1 in the last column marks a triangle.
        part_faces: part name -> rows of `faces`. The largest piece of "skin" fills the square (without such a part the
            largest of all); eyeballs are told by names that begin with "eyeball". Rows that no part names are laid
            out too.
        seed_points: (N, 3) metres, points of the face (68 landmarks, for instance), to say where it should be large;
            without them it is taken to lie round the origin as faces do.

    Returns:
        uv (T, 2) float32 in [0, 1], v up, and face_uv (F, 4) int32, rows of `uv`, -1 as in `faces`.

    Raises:
        ValueError: the mesh is none (indices out of range, faces with a corner twice, coordinates that are no
            numbers), a row is in two parts, a piece has a handle like a cup's, or there are too many pieces.
    """
    mean, faces = np.asarray(mean, np.float64), np.asarray(faces, np.int64)
    _check(mean, faces)
    pieces = [
        piece for part, rows in _parts(len(faces), part_faces).items() for piece in _pieces(part, rows, faces[rows])
    ]
    if len(pieces) * (LEAST_ISLAND + MARGIN) ** 2 > STRIPS[-1]:
        raise ValueError(f"The head has too many loose pieces for one texture: {len(pieces)}.")
    for piece in pieces:
        if piece.euler != 2:
            raise ValueError(f"A piece of the part '{piece.part or 'without a name'}' has a handle: it is no disc.")
    of_skin = [piece for piece in pieces if piece.part == SKIN] or pieces
    skin = max(of_skin, key=lambda piece: piece.area(mean))
    charts = [chart for piece in pieces if piece is not skin for chart in _island(piece, mean, skin.area(mean))]
    boxes, strip = _pack(charts)
    box = (MARGIN / 2, strip + MARGIN / 2, 1 - MARGIN / 2, 1 - MARGIN / 2)
    cut, pairs = _cut_open(skin, mean)
    size = _sizes(mean, cut, seed_points)
    curve = Curve((0.0, 0.0), ((box[2] - box[0]) / (box[3] - box[1]), 1.0), SKIN_POWER)
    places = _lay(cut, mean, size, curve, ITERATIONS, pairs)

    uv, count = [], 0
    face_uv = np.full(faces.shape, -1, np.int64)
    islands = [(chart.piece, _fitted(chart.places, room)) for chart, room in zip(charts, boxes, strict=True)]
    for piece, chart_places in [(cut, _stretched(places, box)), *islands]:
        face_uv[piece.rows] = np.where(piece.corners >= 0, piece.corners + count, -1)
        uv.append(chart_places)
        count += len(chart_places)
    uv = np.concatenate(uv).astype(np.float32)
    _check_unfolded(uv, face_uv)
    return uv, face_uv.astype(np.int32)


def _check(mean: np.ndarray, faces: np.ndarray) -> None:
    """Raises ValueError for what is no mesh."""
    if mean.ndim != 2 or mean.shape[1] != 3 or faces.ndim != 2 or faces.shape[1] != 4 or len(faces) == 0:
        raise ValueError(f"Expected vertices (V, 3) and faces (F, 4), not {mean.shape} and {faces.shape}.")
    if not np.isfinite(mean).all():
        raise ValueError("Some vertices have coordinates that are no numbers.")
    if faces[:, :3].min() < 0 or faces.min() < -1 or faces.max() >= len(mean):
        raise ValueError(f"Some faces have corners that are no vertices: there are {len(mean)}.")
    edges = _half_edges(faces)
    diagonal = faces[faces[:, 3] >= 0]
    twice = (edges[:, 0] == edges[:, 1]).any() or (diagonal[:, 0] == diagonal[:, 2]).any()
    if twice or (diagonal[:, 1] == diagonal[:, 3]).any():
        raise ValueError("Some faces have the same vertex at two corners.")


def _parts(count: int, part_faces: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Rows by part, those that no part names under ""; parts without rows are left out."""
    owner = np.zeros(count, np.int64)
    parts = {name: np.asarray(rows, np.int64).ravel() for name, rows in part_faces.items()}
    for name, rows in parts.items():
        if len(rows) and (rows.min() < 0 or rows.max() >= count):
            raise ValueError(f"The part '{name}' has rows that are no faces: there are {count}.")
        np.add.at(owner, rows, 1)
    if owner.max() > 1:
        raise ValueError(f"{(owner > 1).sum()} faces are in more than one part.")
    parts[""] = np.flatnonzero(owner == 0)
    return {name: rows for name, rows in parts.items() if len(rows)}


def _half_edges(faces: np.ndarray) -> np.ndarray:
    """(H, 4) int64: from, to, face, corner of every edge of every face, in the order of the faces."""
    sides = np.where(faces[:, 3] < 0, 3, 4)
    face = np.repeat(np.arange(len(faces)), sides)
    corner = np.arange(len(face)) - np.repeat(np.cumsum(sides) - sides, sides)
    after = (corner + 1) % sides[face]
    return np.stack([faces[face, corner], faces[face, after], face, corner], axis=1)


def _pieces(part: str, rows: np.ndarray, faces: np.ndarray, cut: np.ndarray | None = None) -> list[_Piece]:
    """The connected pieces of a surface, glued only along edges with one face on each side.

    So edges with three faces, faces turned the other way and corners that merely touch come apart, and every piece is
    manifold.

    Args:
        rows: (F,) rows of the head's faces; faces: (F, 4) their corners by any labels.
        cut: (C, 2) edges, pairs of labels, that are not to be glued.
    """
    edges = _half_edges(faces)
    key = np.sort(edges[:, :2], axis=1)
    cut = np.zeros((0, 2), np.int64) if cut is None else np.sort(cut, axis=1)
    names, which = np.unique(np.concatenate([key, cut]), axis=0, return_inverse=True)
    which = which.ravel()
    times = np.bincount(which[: len(key)], minlength=len(names))
    rising = np.bincount(which[: len(key)], weights=edges[:, 0] < edges[:, 1], minlength=len(names))
    times[which[len(key) :]] = 0
    glued = np.flatnonzero(((times == 2) & (rising == 1))[which[: len(key)]])
    one, other = glued[np.argsort(which[glued], kind="stable")].reshape(-1, 2).T

    sides = np.where(faces[:, 3] < 0, 3, 4)
    slot = edges[:, 2] * 4 + edges[:, 3]  # the half edge's first corner
    after = edges[:, 2] * 4 + (edges[:, 3] + 1) % sides[edges[:, 2]]
    same = np.stack([np.concatenate([slot[one], after[one]]), np.concatenate([after[other], slot[other]])])
    graph = sparse.coo_matrix((np.ones(same.shape[1]), same), (4 * len(faces), 4 * len(faces)))
    label = connected_components(graph, directed=False)[1]
    link = sparse.coo_matrix((np.ones(len(one)), (edges[one, 2], edges[other, 2])), (len(faces), len(faces)))
    count, piece_of = connected_components(link, directed=False)

    open_edge = np.ones(len(edges), bool)
    open_edge[glued] = False
    result = []
    for number in range(count):
        chosen = np.flatnonzero(piece_of == number)
        corner_slots = (4 * chosen[:, None] + np.arange(4))[faces[chosen] >= 0]
        used, first = np.unique(label[corner_slots], return_index=True)
        corners = np.where(faces[chosen] >= 0, np.searchsorted(used, label.reshape(-1, 4)[chosen]), -1)
        vertices = faces.ravel()[corner_slots[first]]
        border = np.flatnonzero(open_edge & (piece_of[edges[:, 2]] == number))
        ends = np.searchsorted(used, np.stack([label[slot[border]], label[after[border]]], axis=1))
        result.append(_Piece(part, rows[chosen], corners, vertices, _loops(ends)))
    return result


def _loops(edges: np.ndarray) -> list[np.ndarray]:
    """Closed walks along edges (B, 2) of which one leaves every vertex."""
    onward = dict(edges.tolist())
    loops = []
    while onward:
        here = min(onward)
        loop = []
        while here in onward:
            loop.append(here)
            here = onward.pop(here)
        loops.append(np.array(loop))
    return loops


def _length(points: np.ndarray) -> float:
    return float(np.linalg.norm(points - np.roll(points, 1, axis=0), axis=1).sum())


def _graph(piece: _Piece, points: np.ndarray, cost: np.ndarray) -> sparse.csr_matrix:
    """The edges of a piece, as long as they are times the mean cost (N,) of their ends."""
    ends = np.unique(np.sort(_half_edges(piece.corners)[:, :2], axis=1), axis=0)
    length = np.linalg.norm(points[ends[:, 0]] - points[ends[:, 1]], axis=1) * cost[ends].mean(axis=1)
    length = np.maximum(length, 1e-9)
    return sparse.coo_matrix((length, ends.T), (len(points), len(points))).tocsr()


def _cut_open(skin: _Piece, mean: np.ndarray) -> tuple[_Piece, np.ndarray]:
    """The skin as a disc with holes: its first loop is the rim, from the front's middle (the lowest, if not cut).

    A whole head, whose longest open edge lies below the eyes, is cut from there up the back to the crown. A head
    without an open edge is cut from below.

    Returns:
        the disc, and (P, 2) places in its rim that are to be mirror images of each other.
    """
    points = mean[skin.vertices]
    off = np.abs(points[:, 0])
    loops = sorted(skin.loops, key=lambda loop: -_length(points[loop]))
    if loops and points[loops[0], 1].max() > 0:
        rim = loops[0]
        rim = np.roll(rim, -(points[rim, 1] + off[rim]).argmin())
        top = (points[rim, 1] - off[rim]).argmax()
        return replace(skin, loops=[rim, *loops[1:]]), np.array([[top, top]])
    forbidden = np.zeros(len(points), bool)
    for loop in loops:
        forbidden[loop] = True
    crown = np.where(forbidden, -np.inf, points[:, 1] - 2 * off - 0.5 * points[:, 2]).argmax()
    if loops:
        rim = loops[0]
        behind = rim[points[rim, 2] <= points[rim, 2].mean()]
        before = rim[points[rim, 2] >= points[rim, 2].mean()]
        nape, front = behind[off[behind].argmin()], before[off[before].argmin()]
    else:
        nape = front = (points[:, 1] + off).argmin()
    forbidden[nape] = False
    centre = (points[:, 2].min() + points[:, 2].max()) / 2
    cost = 1 + (off / MIDDLE_METRES) ** 2 + (np.maximum(points[:, 2] - centre, 0) / 0.02) ** 2
    path = _path(_graph(skin, points, cost + 1e6 * forbidden), nape, crown)
    cut = _opened(skin, path, int(skin.vertices[front]))
    rim = cut.vertices[cut.loops[0]]
    ends = [np.flatnonzero(rim == skin.vertices[end])[[0, -1]] for end in ((nape, crown) if loops else (crown,))]
    return cut, np.array(ends)


def _path(graph: sparse.csr_matrix, start: int, end: int) -> np.ndarray:
    """The cheapest way along edges: rows of vertices from start to end."""
    _, before = dijkstra(graph, directed=False, indices=start, return_predecessors=True)
    path = [end]
    while path[-1] != start:
        path.append(int(before[path[-1]]))
    return np.array(path[::-1])


def _opened(piece: _Piece, path: np.ndarray, front: int) -> _Piece:
    """The piece cut along a path; its rim begins at the head's vertex `front`."""
    cut, *rest = _pieces(piece.part, piece.rows, piece.corners, np.stack([path[:-1], path[1:]], axis=1))
    if rest or cut.euler != 2:
        raise ValueError(f"A piece of the part '{piece.part or 'without a name'}' cannot be cut open into one disc.")
    vertices = piece.vertices[cut.vertices]
    loops = sorted(cut.loops, key=lambda loop: not np.isin(cut.vertices[loop], path).any())
    start = np.flatnonzero(vertices[loops[0]] == front)[0]
    return replace(cut, vertices=vertices, loops=[np.roll(loops[0], -start), *loops[1:]])


def _sizes(mean: np.ndarray, skin: _Piece, seed_points: np.ndarray | None) -> np.ndarray:
    """(N,) relative size of the skin's vertices in the map, changing smoothly."""
    points = mean[skin.vertices]
    if seed_points is None:
        away = (points - FACE_CENTRE) / FACE_REACH
        away[:, 2] = np.minimum(away[:, 2], 0)
        reach = np.linalg.norm(away, axis=1)
    else:
        reach = cKDTree(np.asarray(seed_points, np.float64)).query(points)[0] / SEED_REACH_METRES
    fall = np.clip((reach - FADE[0]) / (FADE[1] - FADE[0]), 0, 1)
    size = 1 - (1 - REAR_SIZE) * fall**2 * (3 - 2 * fall)
    mirrored = mean * [-1.0, 1.0, 1.0]
    seen = ((_openness(mean) + _openness(mirrored)) / 2)[skin.vertices]  # symmetric where the mesh is
    size *= HIDDEN_SIZE + (1 - HIDDEN_SIZE) * np.clip(seen / OPEN_SHARE, 0, 1)
    ends = np.unique(np.sort(_half_edges(skin.corners)[:, :2], axis=1), axis=0)
    ones = np.ones(2 * len(ends))
    graph = sparse.csr_matrix((ones, np.concatenate([ends, ends[:, ::-1]]).T), (len(points), len(points)))
    degree = np.asarray(graph.sum(axis=1)).ravel()
    for _ in range(SIZE_SMOOTHING):
        size = (size + (graph @ size) / degree) / 2
    return size


def _openness(mean: np.ndarray) -> np.ndarray:
    """(V,) from which share of all directions a vertex is seen, as far as a grid of the nearest vertices tells."""
    step = np.arange(DIRECTIONS) + 0.5
    height, turn = 1 - 2 * step / DIRECTIONS, np.pi * (1 + 5**0.5) * step  # Fibonacci's sphere
    level = np.sqrt(1 - height**2)
    seen = np.zeros(len(mean))
    spread = np.ptp(mean, axis=0).max()
    cell = max(3 * spread / np.sqrt(len(mean)), 1e-6)
    for view in np.stack([level * np.cos(turn), height, level * np.sin(turn)], axis=1):
        right = np.cross([0.0, 1.0, 0.0], view)
        right /= np.linalg.norm(right)
        flat = mean @ np.stack([right, np.cross(view, right)], axis=1)
        place = ((flat - flat.min(axis=0)) / cell).astype(np.int64)
        place = place[:, 0] * (place[:, 1].max() + 1) + place[:, 1]
        depth = mean @ view
        nearest = np.full(place.max() + 1, -np.inf)
        np.maximum.at(nearest, place, depth)
        seen += depth > nearest[place] - cell
    return seen / DIRECTIONS


def _lay(
    piece: _Piece, mean: np.ndarray, size: np.ndarray, curve: Curve, iterations: int, pairs: np.ndarray = NO_PAIRS
) -> np.ndarray:
    """A disc with holes, whose rim is its first loop, laid flat inside a curve: places (N, 2).

    A band of extra triangles lies between its edge and the curve, so that faces all whose corners are on the edge keep
    an area, and the edge some of its own shape.
    """
    points = mean[piece.vertices]
    rim, *holes = piece.loops
    count, outer = len(points), len(points) + np.arange(len(rim))
    after, outer_after = np.roll(rim, -1), np.roll(outer, -1)
    rising = (np.arange(len(rim)) < len(rim) / 2)[:, None]  # diagonals that are mirror images, too
    one = np.where(rising, np.stack([rim, outer, outer_after], 1), np.stack([rim, outer, after], 1))
    other = np.where(rising, np.stack([rim, outer_after, after], 1), np.stack([after, outer, outer_after], 1))
    band = np.concatenate([one, other])
    vertices, sizes = np.concatenate([points, points[rim]]), np.concatenate([size, size[rim]])
    for faces in (piece.corners, _split(piece.corners)):
        disc = Disc(faces, vertices, sizes, outer, np.zeros(0, np.int64), holes, band, pairs)
        try:
            return flatten(disc, curve, iterations, REWEIGHTINGS, STAGES, ENOUGH)[:count]
        except ValueError as error:
            # quads may start folded along one diagonal: then only the one they are split along counts
            folded = error
    raise folded


def _split(faces: np.ndarray) -> np.ndarray:
    """(F, 4) faces to (T, 4) triangles with -1 last."""
    both = np.stack([faces[:, [0, 1, 2]], faces[:, [0, 2, 3]]], axis=1).reshape(-1, 3)
    both = both[both[:, 2] >= 0]
    return np.concatenate([both, np.full((len(both), 1), -1)], axis=1)


def _island(piece: _Piece, mean: np.ndarray, skin_area: float) -> list[_Chart]:
    """A small piece laid flat; a ball as two."""
    if piece.part.startswith("eyeball"):
        charts = _eyeball(piece, mean)
        if charts:
            return charts
    points = mean[piece.vertices]
    loops = sorted(piece.loops, key=lambda loop: -_length(points[loop]))
    if not loops:
        graph = _graph(piece, points, np.ones(len(points)))
        one = int(dijkstra(graph, directed=False, indices=0).argmax())
        other = int(dijkstra(graph, directed=False, indices=one).argmax())
        piece = _opened(piece, _path(graph, one, other), int(piece.vertices[one]))
        points, loops = mean[piece.vertices], piece.loops
    centred = points - points.mean(axis=0)
    spread, axes = np.linalg.eigh(centred.T @ centred)
    # eigenvectors come with either sign: the axis's largest entry is positive
    axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), range(3)])
    aspect = float(np.clip(np.sqrt(spread[2] / max(spread[1], 1e-20)), 1.0, 4.0))
    rim = loops[0]
    start = (centred[rim] @ axes[:, 1] + 0.5 * np.abs(centred[rim] @ axes[:, 2])).argmin()
    piece = replace(piece, loops=[np.roll(rim, -start), *loops[1:]])
    places = _lay(piece, mean, np.ones(len(points)), Curve((0.0, 0.0), (aspect, 1.0), ISLAND_POWER), ISLAND_ITERATIONS)
    width = np.sqrt(piece.area(mean) / skin_area * aspect)
    return [_Chart(piece, places, float(np.clip(width, LEAST_ISLAND, WIDEST_ISLAND)))]


def _eyeball(piece: _Piece, mean: np.ndarray) -> list[_Chart]:
    """The front as a disc about +Z, the rear as a small one; none where that would fold."""
    points = mean[piece.vertices]
    centre = (points.min(axis=0) + points.max(axis=0)) / 2
    triangles = piece.corners[:, :3]
    facing = points[triangles].mean(axis=1) - centre
    front = facing[:, 2] > np.cos(np.radians(FRONT_CAP_DEGREES)) * np.linalg.norm(facing, axis=1)
    charts = []
    for chosen, side, width in ((front, 1.0, EYEBALL_WIDTH), (~front, -1.0, REAR_WIDTH)):
        if not chosen.any():
            continue
        parts = _pieces(piece.part, piece.rows[chosen], piece.corners[chosen])
        if len(parts) != 1 or len(parts[0].loops) not in (1, 2) or parts[0].euler != 2:
            return []
        (cap,) = parts
        arm = (points[cap.vertices] - centre) * [side, 1, side]
        level = np.hypot(arm[:, 0], arm[:, 1])
        angle = np.degrees(np.arctan2(level, arm[:, 2]))
        reach = np.interp(angle, *EYEBALL_REACH) if side > 0 else angle
        places = arm[:, :2] / np.maximum(level, 1e-12)[:, None] * reach[:, None]
        area = triangle_area(places[corner_triangles(cap.corners)[0]])
        if area.min() <= 1e-6 * np.median(area):
            return []
        vertices = piece.vertices[cap.vertices]
        charts.append(_Chart(replace(cap, vertices=vertices), places, width))
    return charts


def _pack(charts: list[_Chart]) -> tuple[list[tuple[float, float, float, float]], float]:
    """Boxes (left, bottom, right, top) for the charts, and the height of the strip they take.

    Raises:
        ValueError: there are too many.
    """
    if not charts:
        return [], 0.0
    extent = np.stack([np.ptp(chart.places, axis=0) for chart in charts])
    wanted = extent / extent[:, :1] * np.array([chart.width for chart in charts])[:, None]
    for strip in STRIPS:
        for scale in 0.97 ** np.arange(60):
            sizes = np.maximum(wanted * scale, LEAST_ISLAND) + MARGIN
            boxes = _in_columns(sizes, strip)
            if boxes is not None and (scale > 0.5 or strip == STRIPS[-1]):
                return boxes, strip
    raise ValueError(f"The head has too many loose pieces for one texture: {len(charts)} beside its skin.")


def _in_columns(sizes: np.ndarray, height: float) -> list[tuple[float, float, float, float]] | None:
    """Boxes of these sizes (N, 2), margins included, in columns of this height, wide ones first, or None."""
    places: dict[int, tuple[float, float, float, float]] = {}
    left, right, low = 0.0, 0.0, 0.0
    for index in np.argsort(-sizes[:, 0], kind="stable").tolist():
        wide, tall = sizes[index].tolist()
        if low < tall:
            left, right, low = right, right + wide, height
        if tall > height or right > 1:
            return None
        places[index] = (left + MARGIN / 2, low - tall + MARGIN / 2, left + wide - MARGIN / 2, low - MARGIN / 2)
        low -= tall
    return [places[index] for index in range(len(sizes))]


def _fitted(places: np.ndarray, box: tuple[float, float, float, float]) -> np.ndarray:
    """Places moved and scaled alike in both directions into the middle of a box."""
    low, high = places.min(axis=0), places.max(axis=0)
    corner, far = np.array(box[:2]), np.array(box[2:])
    scale = ((far - corner) / np.maximum(high - low, 1e-12)).min()
    return (corner + far) / 2 + (places - (low + high) / 2) * scale


def _stretched(places: np.ndarray, box: tuple[float, float, float, float]) -> np.ndarray:
    """Places scaled to fill a box."""
    low, high = places.min(axis=0), places.max(axis=0)
    corner, far = np.array(box[:2]), np.array(box[2:])
    return corner + (places - low) / (high - low) * (far - corner)


def _check_unfolded(uv: np.ndarray, face_uv: np.ndarray) -> None:
    """Raises ValueError if a triangle has no area or lies on its back in float32."""
    triangles = _split(face_uv)[:, :3]
    folded = triangle_area(uv.astype(np.float64)[triangles]) <= 0
    if folded.any():
        raise ValueError(f"{folded.sum()} triangles could not be laid flat: the mesh is too strangely shaped.")
