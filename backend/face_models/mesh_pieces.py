"""The connected pieces of a mesh, what its faces use, and which of its vertices mirror each other."""

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from backend.surface import mesh_normals

TURN_LENGTH_M = 0.005


def used_vertices(faces: np.ndarray) -> np.ndarray:
    """(N,) ascending: the vertices of faces (F, 4), -1 for the missing corner of a triangle."""
    used = np.unique(faces)
    return used[used >= 0]


def connected_pieces(faces: np.ndarray) -> list[np.ndarray]:
    """Rows (N,) of the faces (F, 4) of each connected piece."""
    triangles = faces[:, :3]
    pairs = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], faces[faces[:, 3] >= 0][:, [0, 3]]])
    count = faces.max() + 1
    label = connected_components(sparse.coo_matrix((np.ones(len(pairs)), pairs.T), (count, count)), directed=False)[1]
    of_face = label[faces[:, 0]]
    return [np.flatnonzero(of_face == value) for value in np.unique(of_face)]


def mirror_images(vertices: np.ndarray, triangles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The vertex nearest to each one's mirror image that faces the mirrored way (lips touch), and how far off it is.

    Args:
        vertices: (V, 3) metres, the middle plane at x = 0; triangles: (T, 3).

    Returns:
        (V,) int64 and (V,) metres.
    """
    across = np.array([-1.0, 1.0, 1.0])
    normals = TURN_LENGTH_M * mesh_normals(vertices, triangles)
    tree = cKDTree(np.concatenate([vertices, normals], axis=1))
    mirror = tree.query(np.concatenate([vertices * across, normals * across], axis=1))[1]
    return mirror, np.linalg.norm(vertices[mirror] - vertices * across, axis=1)
