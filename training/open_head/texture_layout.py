"""Where every part of the head lies in the texture: the skin fills the square, small islands share a strip below it."""

from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from backend.face_models.flattening import Curve, Disc, flatten
from training.open_head.eyeball import IRIS_ANGLE, PUPIL_ANGLE, REAR_RING_ANGLE
from training.open_head.head_mesh import PART_NAMES, HeadMesh, quad_edges

MARGIN = 0.004
STRIP = 0.11
"""Height of the strip of islands at the bottom of the square."""
SKIN_CURVE = Curve((0.5, (STRIP + 1.0) / 2), (0.5 - MARGIN, (1.0 - STRIP) / 2 - MARGIN), 8.0)
REAR_SIZE, EAR_SIZE = 0.15, 0.3
"""Sizes of neck and scalp, and of the ears, in the map relative to the face."""
LIP_AND_LID_SIZE = 1.25
SIZE_SMOOTHING = 6
SEAM_END_DEPTH = -0.075
"""The seam runs up the rear middle line to this far behind the eyes, metres: a little behind the top of the head."""
IRIS_REACH, PUPIL_REACH = 0.42, 0.14
"""Distance of the rims of iris and pupil from the middle of the eyeball's disc, of its radius: enlarged."""


@dataclass(frozen=True)
class Layout:
    """Texture coordinates of the head.

    Attributes:
        uv: (T, 2) float64, v up.
        face_uv: (F, 4) int64, rows of `uv` for the corners of the head's faces.
    """

    uv: np.ndarray
    face_uv: np.ndarray


@dataclass(frozen=True)
class Box:
    """A rectangle of the square: left, bottom, right, top."""

    left: float
    bottom: float
    right: float
    top: float

    @property
    def curve(self) -> Curve:
        """The rounded rectangle inside."""
        half = ((self.right - self.left) / 2 - MARGIN / 2, (self.top - self.bottom) / 2 - MARGIN / 2)
        return Curve(((self.left + self.right) / 2, (self.bottom + self.top) / 2), half, 4.0)

    def fit(self, points: np.ndarray) -> np.ndarray:
        """Points (N, 2) moved and scaled alike in both directions to fill the box, a margin left free."""
        low, high = points.min(axis=0), points.max(axis=0)
        room = np.array([self.right - self.left, self.top - self.bottom]) - MARGIN
        scale = (room / np.maximum(high - low, 1e-12)).min()
        centre = np.array([self.left + self.right, self.bottom + self.top]) / 2
        return centre + (points - (low + high) / 2) * scale


ROW = STRIP - MARGIN / 2
ISLANDS = {
    "eyeball_left": Box(0.000, 0.0, 0.130, ROW),
    "eyeball_right": Box(0.130, 0.0, 0.260, ROW),
    "socket_left": Box(0.260, 0.055, 0.325, ROW),
    "socket_right": Box(0.260, 0.0, 0.325, 0.055),
    "mouth_inside": Box(0.325, 0.0, 0.445, ROW),
    "teeth_upper": Box(0.445, 0.055, 0.745, ROW),
    "teeth_lower": Box(0.445, 0.0, 0.745, 0.055),
    "tongue": Box(0.745, 0.0, 0.825, ROW),
    "rear_left": Box(0.825, 0.08, 0.855, ROW),
    "rear_right": Box(0.855, 0.08, 0.885, ROW),
    "lashes": Box(0.885, 0.0, 1.0, ROW),
}


def lay_out(head: HeadMesh, mean: np.ndarray, face: np.ndarray, lids: np.ndarray, ears: np.ndarray) -> Layout:
    """All texture coordinates.

    Args:
        mean: (V, 3) metres, recentred between the eyes.
        face, lids, ears: (V,) bool; the face is to be large, lids and lips a little more so, the rest small.
    """
    mean = (mean + mean[head.mirror] * [-1.0, 1.0, 1.0]) / 2
    writer = _Writer(len(head.faces))
    skin_rows = np.arange(*head.part_faces[PART_NAMES.index("skin")])
    outer_rows = np.setdiff1d(skin_rows, head.socket_faces)
    size = _sizes(head, face, lids, ears)
    _lay_disc(writer, head, mean, size, outer_rows, SKIN_CURVE, seam=True)
    mouth_rows = np.arange(*head.part_faces[PART_NAMES.index("mouth_inside")])
    _lay_disc(writer, head, mean, np.ones(len(mean)), mouth_rows, ISLANDS["mouth_inside"].curve, seam=False)
    _lay_sockets(writer, head, mean)
    for side, name in enumerate(("eyeball_left", "eyeball_right")):
        _lay_eyeball(writer, head, side, name)
    for name in ("teeth_upper", "teeth_lower", "tongue", "lashes"):
        rows = np.arange(*head.part_faces[PART_NAMES.index(name)])
        writer.add(rows, head.own_face_uv[rows], ISLANDS[name].fit(head.own_uv[np.unique(head.own_face_uv[rows])]))
    return writer.layout()


class _Writer:
    """Collects islands."""

    def __init__(self, faces: int):
        self.uv: list[np.ndarray] = []
        self.count = 0
        self.face_uv = np.full((faces, 4), -1, np.int64)

    def add(self, rows: np.ndarray, corners: np.ndarray, places: np.ndarray) -> None:
        """Faces `rows`, their corners (N, 4) by any labels, and the places of these labels in ascending order."""
        labels = np.unique(corners)
        self.face_uv[rows] = self.count + np.searchsorted(labels, corners)
        self.uv.append(places)
        self.count += len(labels)

    def layout(self) -> Layout:
        if (self.face_uv < 0).any():
            raise ValueError("Some faces were given no place in the texture.")
        return Layout(np.concatenate(self.uv), self.face_uv)


def _sizes(head: HeadMesh, face: np.ndarray, lids: np.ndarray, ears: np.ndarray) -> np.ndarray:
    """(V,) relative size in the map, changing smoothly over the skin."""
    size = np.where(face, 1.0, np.where(ears, EAR_SIZE, REAR_SIZE))
    edges = np.unique(np.sort(quad_edges(head.outer_skin), axis=1), axis=0)
    for _ in range(SIZE_SMOOTHING):
        total, degree = np.zeros(len(size)), np.zeros(len(size))
        for a, b in (edges.T, edges.T[::-1]):
            np.add.at(total, a, size[b])
            np.add.at(degree, a, 1)
        size = np.where(degree > 0, (size + total / np.maximum(degree, 1)) / 2, size)
    return size * np.where(lids, LIP_AND_LID_SIZE, 1.0)


def _lay_disc(
    writer: _Writer, head: HeadMesh, mean: np.ndarray, size: np.ndarray, rows: np.ndarray, curve: Curve, seam: bool
) -> None:
    """One symmetric disc: its left half is laid flat, the right half is its mirror image.

    With `seam` the disc is cut open along the rear middle line and its rim is the neck and both sides of the cut;
    without, its rim is its only open edge.
    """
    faces = head.faces[rows]
    on_line = head.mirror[faces] == faces
    left_half = ((head.mean[faces, 0] > 0) | on_line).all(axis=1)
    if 2 * left_half.sum() != len(faces):
        raise ValueError("The disc is not cut into halves by its middle line.")
    half_faces = faces[left_half]
    used = np.unique(half_faces)
    local = np.full(len(mean), -1)
    local[used] = np.arange(len(used))
    loops = _open_paths(half_faces)
    middle = used[head.mirror[used] == used]
    if seam:
        outline, holes = _skin_outline(half_faces, loops, head, mean)
    else:
        outline, holes = _rim_of_half(half_faces, middle), []
    half = Disc(
        faces=local[half_faces],
        vertices=mean[used],
        size=size[used],
        rim=local[outline],
        middle=local[np.setdiff1d(middle, outline)],
        holes=[local[hole] for hole in holes],
    )
    uv = flatten(half, curve)

    # the right half: vertices off the line get a twin; those of the seam too
    single = np.setdiff1d(middle, outline[1:-1]) if seam else middle
    twin = np.arange(len(used)) + len(used)
    twin[local[single]] = local[single]
    mirrored_uv = uv * [-1, 1] + [2 * curve.centre[0], 0]
    corners = np.empty(faces.shape, np.int64)
    corners[left_half] = local[half_faces]
    right = ~left_half
    corners[right] = twin[local[head.mirror[faces[right]]]]
    everything = np.concatenate([uv, mirrored_uv])
    writer.add(rows, corners, everything[np.unique(corners)])


def _open_paths(faces: np.ndarray) -> list[np.ndarray]:
    """The closed loops of edges with a face on one side only, each walked with the faces on its left."""
    edges = quad_edges(faces)
    _, which, count = np.unique(np.sort(edges, axis=1), axis=0, return_inverse=True, return_counts=True)
    onward = defaultdict(list)
    for a, b in edges[count[which.ravel()] == 1].tolist():
        onward[a].append(b)
    if any(len(ways) != 1 for ways in onward.values()):
        raise ValueError("The open edge of the disc touches itself.")
    loops, seen = [], set()
    for start in sorted(onward):
        if start in seen:
            continue
        loop, here = [], start
        while here not in seen:
            seen.add(here)
            loop.append(here)
            here = onward[here][0]
        loops.append(np.array(loop))
    return loops


def _skin_outline(
    half_faces: np.ndarray, loops: list[np.ndarray], head: HeadMesh, mean: np.ndarray
) -> tuple[np.ndarray, list[np.ndarray]]:
    """The half's rim, from the neck's front round to the seam's upper end, and its holes: eye and half mouth."""
    outer = max(loops, key=len)
    holes = [loop for loop in loops if loop is not outer]
    on_line = head.mirror[outer] == outer
    neck = np.isin(outer, head.neck_loop)
    front = np.flatnonzero(on_line & neck & (mean[outer, 2] == mean[outer[on_line & neck], 2].max()))[0]
    outer = np.roll(outer, -front)  # counter-clockwise in the map: along the neck to the rear, up, over, down the face
    on_line = head.mirror[outer] == outer
    lip_border = ~on_line & ~np.isin(outer, head.neck_loop)
    lip = np.flatnonzero(lip_border)
    rear_end = np.flatnonzero(np.isin(outer, head.neck_loop))
    last_neck = rear_end[rear_end < lip.min()].max()
    after = np.arange(last_neck, lip.min())
    falling = after[(mean[outer[after], 2] > SEAM_END_DEPTH) & (mean[outer[after], 1] > 0)]
    rim = outer[: falling[0] + 1]
    mouth = outer[lip.min() - 1 : lip.max() + 2]
    return rim, [*holes, mouth]


def _rim_of_half(half_faces: np.ndarray, middle: np.ndarray) -> np.ndarray:
    """Of a disc without holes: the open edge of the half, from the lower to the upper end of the middle line."""
    (loop,) = _open_paths(half_faces)
    off = ~np.isin(loop, middle)
    start = np.flatnonzero(off & ~np.roll(off, 1))[0]
    loop = np.roll(loop, 1 - start)
    return loop[: np.flatnonzero(~np.isin(loop, middle))[-1] + 2]


def _lay_sockets(writer: _Writer, head: HeadMesh, mean: np.ndarray) -> None:
    """The linings of the two eye sockets, mirror images of each other."""
    faces = head.faces[head.socket_faces]
    left = mean[faces, 0].mean(axis=1) > 0
    used = np.unique(faces[left])
    local = np.full(len(mean), -1)
    local[used] = np.arange(len(used))
    (rim,) = _open_paths(faces[left])
    curve = ISLANDS["socket_left"].curve
    half = Disc(local[faces[left]], mean[used], np.ones(len(used)), local[rim], np.zeros(0, np.int64), [])
    uv = flatten(half, curve)
    writer.add(head.socket_faces[left], faces[left], uv)
    partner = head.mirror[faces[~left]]
    other = ISLANDS["socket_right"].curve.centre
    mirrored = (uv - curve.centre) * [-1, 1] + other
    writer.add(head.socket_faces[~left], partner, mirrored)


def _lay_eyeball(writer: _Writer, head: HeadMesh, side: int, name: str) -> None:
    """The front as a disc round the pupil, iris and pupil enlarged; the rear pole as a small disc of its own."""
    ball = head.eyeball
    rows = np.arange(*head.part_faces[PART_NAMES.index(name)])
    rear = ball.rear_faces
    box = ISLANDS[name]
    front_used = np.unique(ball.faces[~rear])
    angle = np.hypot(*ball.polar[front_used].T)
    reach = np.interp(
        angle, [0.0, PUPIL_ANGLE, IRIS_ANGLE, np.pi / 2, REAR_RING_ANGLE], [0, PUPIL_REACH, IRIS_REACH, 0.84, 1]
    )
    heading = ball.polar[front_used] / np.maximum(angle, 1e-12)[:, None]
    writer.add(rows[~rear], ball.faces[~rear], box.fit(heading * reach[:, None]))
    rear_used = np.unique(ball.faces[rear])
    angle = np.hypot(*ball.polar[rear_used].T)
    heading = ball.polar[rear_used] / np.maximum(angle, 1e-12)[:, None] * [-1, 1]
    disc = heading * ((np.pi - angle) / (np.pi - REAR_RING_ANGLE))[:, None]
    writer.add(rows[rear], ball.faces[rear], ISLANDS[name.replace("eyeball", "rear")].fit(disc))
