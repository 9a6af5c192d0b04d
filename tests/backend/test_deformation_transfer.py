import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from backend.face_models.deformation_transfer import TransferSource, transfer_keys, vertex_gradients
from backend.face_models.morphable_model import SurfacePoints


def sheet(side: int, bulge: float = 0.01) -> tuple[np.ndarray, np.ndarray]:
    """A bulging square of `side` by `side` vertices, 10 cm wide: vertices and triangles."""
    x, y = np.meshgrid(np.linspace(-0.05, 0.05, side), np.linspace(-0.05, 0.05, side), indexing="ij")
    vertices = np.stack([x, y, bulge * np.cos(30 * x) * np.cos(30 * y)], axis=-1).reshape(-1, 3)
    a = (np.arange(side - 1)[:, None] * side + np.arange(side - 1)).reshape(-1)
    quads = np.stack([a, a + side, a + side + 1, a + 1], axis=1)
    return vertices, np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])


def same_place(count: int) -> SurfacePoints:
    return SurfacePoints(np.repeat(np.arange(count)[:, None], 3, axis=1), np.tile([1.0, 0.0, 0.0], (count, 1)))


def bump(vertices: np.ndarray, height: float = 0.004) -> np.ndarray:
    away = np.linalg.norm(vertices[:, :2] - [0.01, 0.0], axis=1)
    return np.stack([0 * away, 0 * away, height * np.exp(-((away / 0.012) ** 2))], axis=1)


def gradient_by_hand(rest, posed, triangles, vertex):
    """The mean by area of the triangles' deformation gradients round one vertex, less the identity."""
    total, result = 0.0, np.zeros((3, 3))
    for a, b, c in triangles:
        if vertex not in (a, b, c):
            continue
        frames = []
        for points in (rest, posed):
            first, second = points[b] - points[a], points[c] - points[a]
            normal = np.cross(first, second)
            frames.append(np.column_stack([first, second, normal / np.linalg.norm(normal)]))
        area = np.linalg.norm(np.cross(rest[b] - rest[a], rest[c] - rest[a]))
        result += area * (frames[1] @ np.linalg.inv(frames[0]) - np.eye(3))
        total += area
    return result / total


def test_gradients_of_vertices_equal_the_definition():
    vertices, triangles = sheet(7)
    posed = vertices + bump(vertices) + 0.1 * vertices[:, [1, 0, 2]]
    found = vertex_gradients(vertices, posed, triangles)
    for vertex in (0, 10, 24, 48):
        np.testing.assert_allclose(found[vertex], gradient_by_hand(vertices, posed, triangles, vertex), atol=1e-9)


def test_a_mesh_gets_its_own_keys_back_the_closer_the_finer_it_is():
    missed = []
    for side in (25, 49):  # gradients are smoothed onto the vertices, over a ring of neighbours
        vertices, triangles = sheet(side)
        source = TransferSource(vertices, triangles, same_place(len(vertices)), np.ones(len(vertices)), np.eye(3), 1.0)
        keys = np.stack([bump(vertices), 0.5 * bump(vertices)])
        got = transfer_keys(source, keys, vertices, triangles)
        missed.append(np.abs(got - keys).max() / np.abs(keys).max())
        np.testing.assert_allclose(got[1], 0.5 * got[0], atol=1e-4)
    assert missed[0] < 0.12 and missed[1] < 0.4 * missed[0]


def test_a_turned_and_larger_copy_gets_turned_and_larger_keys():
    vertices, triangles = sheet(25)
    turn = Rotation.from_euler("xyz", [0.3, -0.2, 0.4]).as_matrix()
    source = TransferSource(vertices, triangles, same_place(len(vertices)), np.ones(len(vertices)), turn, 1.2)
    own = TransferSource(vertices, triangles, same_place(len(vertices)), np.ones(len(vertices)), np.eye(3), 1.0)
    keys = bump(vertices)[None]
    got = transfer_keys(source, keys, 1.2 * vertices @ turn.T, triangles)
    want = 1.2 * transfer_keys(own, keys, vertices, triangles) @ turn.T
    assert np.abs(got - want).max() < 3e-4  # the pull has a length of its own
    assert np.linalg.norm(got) == pytest.approx(np.linalg.norm(want), rel=0.03)


def test_what_is_not_trusted_stays_at_rest_but_hangs_on_to_its_neighbours():
    vertices, triangles = sheet(25)
    trust = (vertices[:, 0] < 0.01).astype(float)
    source = TransferSource(vertices, triangles, same_place(len(vertices)), trust, np.eye(3), 1.0)
    shift = np.tile([0.0, 0.0, 0.003], (1, len(vertices), 1))
    got = transfer_keys(source, shift, vertices, triangles)[0, :, 2]
    assert got[vertices[:, 0] < -0.03].mean() > 0.0027
    beyond = got[np.argsort(vertices[:, 0])]
    assert got[vertices[:, 0] > 0.045].mean() < 0.0021 and beyond[-1] < beyond[len(beyond) * 2 // 3]


def test_vertices_without_a_triangle_do_not_move():
    vertices, triangles = sheet(9)
    vertices = np.concatenate([vertices, [[1.0, 1.0, 1.0]]])
    place = same_place(len(vertices))
    source = TransferSource(vertices, triangles, place, np.ones(len(vertices)), np.eye(3), 1.0)
    assert (transfer_keys(source, bump(vertices)[None], vertices, triangles)[0, -1] == 0).all()
