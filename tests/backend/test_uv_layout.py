"""Texture coordinates for heads that come without: one-to-one, with margins, the face large and hardly bent."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pytest
import torch
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from backend.face_models import load_face_model
from backend.face_models.flattening import corner_triangles, triangle_area
from backend.face_models.morphable_model import split_quads
from backend.face_models.uv_layout import make_uv
from backend.rendering.rasterizer import rasterize_screen
from tests.stand_in_heads import FLAME_ORIGIN, FLAME_SKIN, bfm_content, flame_content

SIZE = 2048
MARGIN_TEXELS = 8
KINDS = ("quads", "quads and triangles", "flame", "basel")


@dataclass
class Laid:
    """A head and the texture coordinates it was given."""

    mean: np.ndarray
    faces: np.ndarray
    parts: dict[str, np.ndarray]
    uv: np.ndarray
    face_uv: np.ndarray

    @property
    def triangles(self) -> np.ndarray:
        return split_quads(self.face_uv)

    @property
    def owner(self) -> np.ndarray:
        """(T,) the row of `faces` of every triangle."""
        return np.repeat(np.arange(len(self.faces)), np.where(self.faces[:, 3] < 0, 1, 2))

    @property
    def of_skin(self) -> np.ndarray:
        return np.isin(self.owner, self.parts["skin"])

    @property
    def charts(self) -> np.ndarray:
        """(T,) the number of the chart that a triangle is in: those that hang together by rows of `uv`."""
        triangles, count = self.triangles, len(self.uv)
        ends = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]]])
        graph = coo_matrix((np.ones(len(ends)), ends.T), (count, count))
        return connected_components(graph, directed=False)[1][triangles[:, 0]]

    def stretch(self) -> tuple[np.ndarray, np.ndarray]:
        """Of every triangle its singular values (T, 2) from metres to the square's side, and its area (T,)."""
        corners = self.mean.astype(np.float64)[split_quads(self.faces)]
        first, second = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
        length = np.maximum(np.linalg.norm(first, axis=1), 1e-9)
        along = (first * second).sum(axis=1) / length
        across = np.maximum(np.linalg.norm(np.cross(first, second), axis=1) / length, 1e-9)
        flat = np.stack([np.stack([length, 0 * length], 1), np.stack([along, across], 1)], axis=2)
        uv = self.uv.astype(np.float64)[self.triangles]
        there = np.stack([uv[:, 1] - uv[:, 0], uv[:, 2] - uv[:, 0]], axis=2)
        return np.linalg.svd(there @ np.linalg.inv(flat), compute_uv=False), length * across / 2

    def of_face(self) -> np.ndarray:
        """(T,) bool: skin in front, between chin and brow, that looks forward or sideways."""
        corners = self.mean[split_quads(self.faces)]
        normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        forward = normal[:, 2] > 0.2 * np.linalg.norm(normal, axis=1)
        x, y, z = corners.mean(axis=1).T
        return self.of_skin & forward & (np.abs(x) < 0.06) & (y > -0.1) & (y < 0.05) & (z > -0.03)


def open_head(triangulated: float = 0.0) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """The open head without its own texture coordinates, a share of its quads split in two."""
    model = load_face_model("open_head")
    faces = model.topology.faces
    split = np.random.default_rng(5).uniform(size=len(faces)) < triangulated
    rows, result = [], []
    for number, (a, b, c, d) in enumerate(faces.tolist()):
        new = [(a, b, c, -1), (a, c, d, -1)] if split[number] else [(a, b, c, d)]
        result += new
        rows += [number] * len(new)
    ranges = dict(zip(model.topology.part_names, model.topology.part_faces.tolist(), strict=True))
    parts = {
        name: np.flatnonzero((np.array(rows) >= first) & (np.array(rows) < end))
        for name, (first, end) in ranges.items()
    }
    return model.mean, np.array(result, np.int32), parts


def with_minus_one(triangles: np.ndarray) -> np.ndarray:
    return np.concatenate([triangles, np.full((len(triangles), 1), -1)], axis=1).astype(np.int32)


def flame_head() -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    content = flame_content()
    faces = content["f"].astype(np.int64)
    piece = np.clip((faces[:, 0] - FLAME_SKIN) // 546 + 1, 0, 2)
    parts = {name: np.flatnonzero(piece == k) for k, name in enumerate(("skin", "eyeball_left", "eyeball_right"))}
    return content["v_template"] - FLAME_ORIGIN, with_minus_one(faces), parts


def basel_head() -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    content = bfm_content(6000)
    mean = content["meanshape"].reshape(-1, 3) / 10
    eyes = mean[content["keypoints"].ravel().astype(int)[36:48] - 1].mean(axis=0)
    faces = with_minus_one(content["tri"].astype(np.int64) - 1)
    return mean - eyes + [0, 0, 0.02], faces, {"skin": np.arange(len(faces))}


@lru_cache
def laid_head(kind: str) -> Laid:
    make = {"quads": open_head, "quads and triangles": lambda: open_head(0.5), "flame": flame_head, "basel": basel_head}
    head = make[kind]()
    return Laid(*head, *make_uv(*head))


@pytest.fixture(params=KINDS)
def laid(request) -> Laid:
    return laid_head(request.param)


def egg(rows: int = 30, columns: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """A closed surface as large as a head, its poles above and below, triangles there and quads else."""
    polar = np.pi * (np.arange(rows) + 1) / (rows + 1)
    turn = 2 * np.pi * (np.arange(columns) + 0.5) / columns
    level = np.sin(polar)[:, None]
    ring = np.stack([level * np.sin(turn), np.cos(polar)[:, None] + 0 * turn, level * np.cos(turn)], axis=-1)
    points = np.concatenate([[[0, 1, 0]], ring.reshape(-1, 3), [[0, -1, 0]]]) * [0.075, 0.11, 0.1] - [0, 0.02, 0.08]
    grid = 1 + np.arange(rows * columns).reshape(rows, columns)
    after, none = np.roll(grid, -1, axis=1), np.full(columns, -1)
    top = np.stack([np.zeros(columns, int), grid[0], after[0], none], axis=1)
    bottom = np.stack([np.full(columns, len(points) - 1), after[-1], grid[-1], none], axis=1)
    quads = np.stack([grid[:-1], grid[1:], after[1:], after[:-1]], axis=-1).reshape(-1, 4)
    return points, np.concatenate([top, quads, bottom]).astype(np.int32)


def texels_covered_twice(uv: np.ndarray, triangles: np.ndarray, size: int) -> int:
    """Texels whose centre is in more than one triangle: the front-most must be the rear-most."""
    screen = torch.as_tensor(uv.astype(np.float64) * size)[torch.as_tensor(triangles)].reshape(1, -1, 2)
    own = torch.arange(3 * len(triangles)).reshape(-1, 3)
    seen = []
    for sign in (1.0, -1.0):
        depth = sign * torch.arange(len(triangles), dtype=torch.float64).repeat_interleave(3)[None] + 1e6
        seen.append(rasterize_screen(screen, depth, own, (size, size), perspective=False).face_index[0])
    return int((seen[0] != seen[1]).sum())


def test_the_corners_are_those_of_the_faces_and_lie_in_the_square(laid):
    assert laid.uv.dtype == np.float32 and laid.face_uv.dtype == np.int32
    assert laid.uv.min() >= 0 and laid.uv.max() <= 1
    assert ((laid.face_uv < 0) == (laid.faces < 0)).all()
    used = laid.face_uv >= 0
    assert (np.unique(laid.face_uv[used]) == np.arange(len(laid.uv))).all()
    vertex_of_row = np.full(len(laid.uv), -1)
    vertex_of_row[laid.face_uv[used]] = laid.faces[used]
    assert (vertex_of_row[laid.face_uv[used]] == laid.faces[used]).all()  # a row of uv belongs to one vertex


def test_no_triangle_is_folded_however_the_quads_are_split(laid):
    corners, _ = corner_triangles(laid.face_uv.astype(np.int64))
    assert triangle_area(laid.uv.astype(np.float64)[corners]).min() > 0


def test_no_texel_belongs_to_two_triangles(laid):
    assert texels_covered_twice(laid.uv, laid.triangles, 512) == 0


def test_charts_keep_their_distance(laid):
    """Their bounding boxes do, so the charts do."""
    charts = [laid.uv[laid.triangles[laid.charts == chart]].reshape(-1, 2) for chart in np.unique(laid.charts)]
    boxes = [(points.min(axis=0), points.max(axis=0)) for points in charts]
    for number, (low, high) in enumerate(boxes):
        for other_low, other_high in boxes[:number]:
            gap = np.maximum(low - other_high, other_low - high).max()
            assert gap * SIZE >= MARGIN_TEXELS


def test_the_skin_fills_most_of_the_square_and_the_face_much_of_it(laid):
    area = triangle_area(laid.uv.astype(np.float64)[laid.triangles]) / 2
    assert area[laid.of_skin].sum() > 0.7
    assert area[laid.of_face()].sum() > 0.2
    (singular, true_area), face = laid.stretch(), laid.of_face()
    scale = np.sqrt(singular.prod(axis=1))
    rear = laid.of_skin & (laid.mean[split_quads(laid.faces)][:, :, 2].max(axis=1) < -0.08)
    if true_area[rear].sum() > 0.01:
        assert np.average(scale[face], weights=true_area[face]) > 1.7 * np.average(scale[rear], weights=true_area[rear])


def test_the_face_is_hardly_bent(laid):
    singular, area = laid.stretch()
    face = laid.of_face()
    bent = singular[:, 0] > 3 * singular[:, 1]
    assert area[face & bent].sum() < 0.05 * area[face].sum()


def test_the_face_is_upright(laid):
    """A fit of uv to the face's places says which way is up, and that nothing is mirrored."""
    corners = laid.mean[split_quads(laid.faces)].mean(axis=1)[laid.of_face()]
    uv = laid.uv[laid.triangles].mean(axis=1)[laid.of_face()]
    (right, up), *_ = np.linalg.lstsq(corners[:, :2] - corners[:, :2].mean(axis=0), uv - uv.mean(axis=0), rcond=None)
    assert right[0] > 0 and up[1] > 0
    assert abs(np.degrees(np.arctan2(right[1], right[0]))) < 4
    assert abs(np.degrees(np.arctan2(up[0], up[1]))) < 4


def test_a_symmetric_head_has_a_symmetric_layout():
    head = laid_head("quads")
    mirror, face = load_face_model("open_head").mirror, load_face_model("open_head").masks["face"]
    place = np.full((len(head.mean), 2), np.nan)
    place[head.faces[head.parts["skin"]]] = head.uv[head.face_uv[head.parts["skin"]]]
    here, there = place[face], place[mirror[face]] * [-1, 1] + [1, 0]
    away = np.linalg.norm(here - there, axis=1)
    assert np.nanmean(away) < 0.005


def test_the_front_of_an_eyeball_is_large_and_lies_as_one_sees_it():
    head = laid_head("flame")
    for part in ("eyeball_left", "eyeball_right"):
        rows = head.parts[part]
        corners, there = head.mean[head.faces[rows, :3]], head.uv[head.face_uv[rows, :3]].astype(np.float64)
        area = triangle_area(there)
        centre = (corners.min(axis=(0, 1)) + corners.max(axis=(0, 1))) / 2
        arm = corners.mean(axis=1) - centre
        assert area[arm[:, 2] > 0].sum() > 1.5 * area[arm[:, 2] < 0].sum()
        front = arm[:, 2] > 0.3 * np.linalg.norm(arm, axis=1)
        spread = there[front].mean(axis=1) - there[front].mean(axis=(0, 1))
        assert np.corrcoef(arm[front, 0], spread[:, 0])[0, 1] > 0.95
        assert np.corrcoef(arm[front, 1], spread[:, 1])[0, 1] > 0.95


def test_the_same_head_gets_the_same_coordinates():
    points, faces = egg()
    first, second = (make_uv(points, faces, {"skin": np.arange(len(faces))}) for _ in range(2))
    assert (first[0] == second[0]).all() and (first[1] == second[1]).all()


def test_a_closed_head_is_cut_open():
    points, faces = egg()
    uv, face_uv = make_uv(points, faces, {})
    assert triangle_area(uv.astype(np.float64)[split_quads(face_uv)]).min() > 0
    assert texels_covered_twice(uv, split_quads(face_uv), 300) == 0
    assert len(uv) > len(points)


def test_seed_points_say_where_it_is_large():
    points, faces = egg()
    crown = points[points[:, 1].argsort()[-30:]]
    at_crown, at_face = make_uv(points, faces, {}, seed_points=crown), make_uv(points, faces, {})
    high = points[np.where(faces < 0, faces[:, [0]], faces)][:, :, 1].min(axis=1) > 0.07
    sizes = [
        triangle_area(uv.astype(np.float64)[split_quads(face_uv[high])]).sum() for uv, face_uv in (at_crown, at_face)
    ]
    assert sizes[0] > 2 * sizes[1]


def test_loose_pieces_fins_and_touching_corners_get_charts_of_their_own():
    """A fin on an edge that has two faces already, two faces that touch in a corner, and a vertex without a face."""
    points, faces = egg()
    far = np.array([[0.2, 0, 0], [0.22, 0, 0], [0.21, 0.02, 0], [0.23, 0.02, 0], [0.24, 0, 0], [0.5, 0.5, 0.5]])
    extra = len(points) + np.arange(6)
    edge = faces[100, :2]
    more = [[edge[0], edge[1], extra[0], -1], [extra[2], extra[4], extra[3], -1], [extra[0], extra[1], extra[4], -1]]
    everything = np.concatenate([points, far]), np.concatenate([faces, np.array(more, np.int32)])
    uv, face_uv = make_uv(*everything, {"skin": np.arange(len(faces)), "lashes": len(faces) + np.array([0, 1])})
    assert triangle_area(uv.astype(np.float64)[split_quads(face_uv)]).min() > 0
    assert texels_covered_twice(uv, split_quads(face_uv), 500) == 0
    fin, one, other = face_uv[-3:, :3]
    assert not set(one) & set(other) and not set(fin) & set(face_uv[: len(faces)].ravel())


def torus() -> tuple[np.ndarray, np.ndarray]:
    turn = 2 * np.pi * np.arange(12) / 12
    round_, across = (part.ravel() for part in np.meshgrid(turn, turn, indexing="ij"))
    reach = 0.1 + 0.03 * np.cos(across)
    points = np.stack([reach * np.cos(round_), reach * np.sin(round_), 0.03 * np.sin(across)], axis=1)
    grid = np.arange(144).reshape(12, 12)
    quads = np.stack([grid, np.roll(grid, -1, 0), np.roll(np.roll(grid, -1, 0), -1, 1), np.roll(grid, -1, 1)], axis=-1)
    return points, quads.reshape(-1, 4)


def test_a_surface_with_a_handle_is_refused():
    with pytest.raises(ValueError, match="handle"):
        make_uv(*torus(), {})


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda points, faces, parts: faces.__setitem__((5, 0), len(points)), "no vertices"),
        (lambda points, faces, parts: faces.__setitem__((5, 0), faces[5, 1]), "same vertex"),
        (lambda points, faces, parts: points.__setitem__((5, 0), np.nan), "no numbers"),
        (lambda points, faces, parts: parts.update(lips=np.array([3])), "more than one part"),
        (lambda points, faces, parts: parts.update(skin=np.array([len(faces)])), "no faces"),
    ],
)
def test_what_is_no_mesh_is_refused(spoil, sentence):
    points, faces = egg()
    parts = {"skin": np.arange(len(faces))}
    spoil(points, faces, parts)
    with pytest.raises(ValueError, match=sentence):
        make_uv(points, faces, parts)


def test_too_many_loose_pieces_are_refused():
    points, faces = egg()
    shift = np.arange(6000)[:, None, None] * [1e-4, 0, 0]
    scraps = (np.array([[0.2, 0, 0], [0.21, 0, 0], [0.2, 0.01, 0]]) + shift).reshape(-1, 3)
    rows = len(points) + np.arange(len(scraps)).reshape(-1, 3)
    with pytest.raises(ValueError, match="too many"):
        make_uv(np.concatenate([points, scraps]), np.concatenate([faces, with_minus_one(rows)]), {})
