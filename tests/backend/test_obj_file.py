"""OBJ and MTL without Blender."""

import numpy as np
import trimesh

from backend.obj_file import vertex_normals


def test_normals_are_those_of_the_triangulated_mesh_and_point_outwards():
    ball = trimesh.creation.icosphere(subdivisions=2)
    faces = np.column_stack([ball.faces, np.full(len(ball.faces), -1)])
    normals = vertex_normals(ball.vertices * [1, 2, 3], faces)
    by_hand = np.zeros_like(normals)
    for a, b, c in ball.faces:
        corner = ball.vertices * [1, 2, 3]
        by_hand[[a, b, c]] += np.cross(corner[b] - corner[a], corner[c] - corner[a])
    by_hand /= np.linalg.norm(by_hand, axis=1, keepdims=True)
    assert np.abs(normals - by_hand).max() < 1e-12
    assert (np.sum(normals * ball.vertices, axis=1) > 0).all()


def test_a_quads_normal_is_that_of_its_plane():
    square = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0], [9, 9, 9]], float)
    normals = vertex_normals(square, np.array([[0, 1, 2, 3]]))
    assert np.allclose(normals, [0, 0, 1])
