"""Quadric collapse on shapes whose answer is known, and the levels of the face models."""

import math
import time

import numpy as np
import pytest

from backend.face_models import load_face_model
from backend.networks.mesh_levels import directed_edges, mesh_levels, quadric_collapse


def grid(count: int, height=lambda x, y: 0 * x) -> tuple[np.ndarray, np.ndarray]:
    """The unit square of count x count vertices."""
    y, x = np.meshgrid(*[np.linspace(0, 1, count)] * 2, indexing="ij")
    points = np.stack([x, y, height(x, y)], axis=-1).reshape(-1, 3)
    corner = (np.arange(count - 1)[:, None] * count + np.arange(count - 1)).reshape(-1)
    first = np.stack([corner, corner + 1, corner + count + 1], axis=1)
    return points, np.concatenate([first, np.stack([corner, corner + count + 1, corner + count], axis=1)])


def ball(rings: int = 20, spokes: int = 32) -> tuple[np.ndarray, np.ndarray]:
    """A closed unit sphere."""
    polar, around = np.meshgrid(
        np.linspace(0, np.pi, rings + 2)[1:-1], np.arange(spokes) * 2 * np.pi / spokes, indexing="ij"
    )
    points = np.stack([np.sin(polar) * np.cos(around), np.sin(polar) * np.sin(around), np.cos(polar)], axis=-1)
    points = np.concatenate([points.reshape(-1, 3), [[0, 0, 1], [0, 0, -1]]])
    faces, top, bottom = [], rings * spokes, rings * spokes + 1
    for spoke in range(spokes):
        after = (spoke + 1) % spokes
        faces += [[top, spoke, after], [bottom, (rings - 1) * spokes + after, (rings - 1) * spokes + spoke]]
        for ring in range(rings - 1):
            a, b = ring * spokes + spoke, ring * spokes + after
            faces += [[a, a + spokes, b + spokes], [a, b + spokes, b]]
    return points, np.array(faces)


def areas(points: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """(F, 3) half the cross product: the area times the normal."""
    a, b, c = (points[faces[:, column]] for column in range(3))
    return np.cross(b - a, c - a) / 2


def edge_counts(faces: np.ndarray) -> np.ndarray:
    edges = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1)
    return np.unique(edges, axis=0, return_counts=True)[1]


def test_a_plane_stays_the_same_plane_with_its_corners():
    points, faces = grid(15)
    kept, coarse = quadric_collapse(points, faces, 20)
    assert {0, 14, 14 * 15, 15 * 15 - 1} <= set(kept.tolist())
    normals = areas(points[kept], coarse)
    assert (normals[:, 2] > 0).all(), "a triangle has turned over"
    assert np.isclose(normals[:, 2].sum(), 1.0)


def test_detail_is_kept_where_the_surface_bends():
    points, faces = grid(21, lambda x, y: 0.5 * np.exp(-((x - 0.7) ** 2 + (y - 0.7) ** 2) / 0.01))
    kept, _ = quadric_collapse(points, faces, 60)
    near = np.linalg.norm(points[kept, :2] - 0.7, axis=1) < 0.25
    everywhere = np.linalg.norm(points[:, :2] - 0.7, axis=1) < 0.25
    assert near.mean() > 2 * everywhere.mean()


def test_the_line_of_a_boundary_is_kept():
    points, faces = grid(21)
    middle = points[faces].mean(axis=1)[:, :2]
    faces = faces[np.linalg.norm(middle - 0.5, axis=1) > 0.3]  # a hole
    used = np.unique(faces)
    points, faces = points[used], np.searchsorted(used, faces)
    kept, coarse = quadric_collapse(points, faces, 60)
    before, after = np.abs(areas(points, faces)).sum(), np.abs(areas(points[kept], coarse)).sum()
    assert abs(after - before) < 0.03 * before
    assert len(kept) - (edge_counts(coarse) > 0).sum() + len(coarse) == 0  # Euler: still a ring


@pytest.mark.parametrize("target", [200, 50, 12, 4])
def test_a_closed_surface_stays_closed_and_round(target: int):
    points, faces = ball()
    kept, coarse = quadric_collapse(points, faces, target)
    assert len(kept) == target and (np.diff(kept) > 0).all() and kept.max() < len(points)
    counts = edge_counts(coarse)
    assert (counts == 2).all() and len(kept) - len(counts) + len(coarse) == 2  # a manifold, and a sphere
    if target >= 50:
        volume = np.einsum("ij,ij->i", points[kept][coarse[:, 0]], areas(points[kept], coarse)).sum() / 3
        assert volume > 0.8 * 4 / 3 * math.pi


def test_many_small_pieces_come_down_to_any_number():
    points, faces = grid(2)
    many = np.concatenate([points + [3.0 * number, 0, 0] for number in range(12)])
    kept, coarse = quadric_collapse(many, np.concatenate([faces + 4 * number for number in range(12)]), 20)
    assert len(kept) == 20 and (len(coarse) == 0 or coarse.max() < 20)


def test_vertices_of_no_triangle_go_first():
    points, faces = grid(6)
    kept, _ = quadric_collapse(np.concatenate([points, points + 9]), faces, 36)
    assert kept.tolist() == list(range(36))


def test_edges_are_those_of_the_triangles_by_hand():
    _, faces = grid(4)
    wanted = {(a, b) for face in faces.tolist() for a in face for b in face if a != b}
    assert directed_edges(faces).tolist() == sorted(map(list, wanted))


def test_the_way_up_puts_every_vertex_on_the_coarser_surface():
    points, faces = grid(13, lambda x, y: 0.2 * np.sin(5 * x) * np.cos(4 * y))
    levels = mesh_levels(points, faces, (4, 4))
    assert levels.sizes == (169, 43, 11) and len(levels.faces) == 3
    at = levels.vertices
    for kept, corners, shares in zip(levels.selection, levels.corners, levels.shares, strict=True):
        coarse = at[kept]
        assert np.allclose(shares.sum(1), 1) and (shares >= 0).all()
        back = np.einsum("vkc,vk->vc", coarse[corners], shares)
        assert np.array_equal(back[kept], coarse)
        # never farther off than the nearest vertex
        nearest = np.linalg.norm(at[:, None] - coarse[None], axis=-1).min(1)
        assert (np.linalg.norm(back - at, axis=1) <= nearest + 1e-5).all()
        at = coarse


def test_levels_are_refused_where_there_is_nothing_to_collapse():
    with pytest.raises(ValueError, match="without triangles"):
        mesh_levels(np.zeros((5, 3)), np.zeros((0, 3), int))
    with pytest.raises(ValueError, match="fewer levels"):
        mesh_levels(*grid(3), (4, 4))


def test_the_sizes_are_those_of_the_paper_on_a_mesh_of_as_many_vertices_as_flame():
    points, faces = ball(39, 128)  # 4994 vertices
    loose = grid(6)
    points = np.concatenate([points, loose[0][:29]])
    inside = (loose[1] < 29).all(axis=1)
    levels = mesh_levels(points, np.concatenate([faces, loose[1][inside] + 4994]))
    assert levels.sizes == (5023, 1256, 314, 79, 20)


def test_the_same_mesh_has_the_same_levels_every_time():
    first, second = (mesh_levels(*ball()) for _ in range(2))
    for name in ("faces", "selection", "corners", "shares"):
        assert all(map(np.array_equal, getattr(first, name), getattr(second, name)))


def test_the_open_heads_levels_are_made_in_seconds():
    topology, mean = load_face_model("open_head").topology, load_face_model("open_head").mean
    began = time.process_time()
    levels = mesh_levels(mean, topology.triangles)
    assert time.process_time() - began < 10
    assert levels.sizes == (6158, 1540, 385, 97, 25)
