"""Lets the mouth's inside, the teeth and the tongue follow the skin around them from person to person.

MakeHuman's identity sliders move the skin and forget most of what lies behind it, so that the walls of the mouth come
out through thin lips and flat chins. Here every wall vertex moves with the skin in front of it, and each row of teeth
and the tongue move as the affine map that fits the movement of the face around them best.
"""

import numpy as np
import scipy.sparse as sparse

NEIGHBOURS = 24
UPPER_JAW, LOWER_JAW = ("teeth_upper",), ("teeth_lower", "tongue")
FACE_REACH = 0.05
"""Metres: skin this far from the middle of a row of teeth still says how it moves."""
STIFFNESS = 0.3
"""How much the affine maps are held back from stretching, relative to the spread of the skin around."""


def follow_the_skin(vertices: np.ndarray, faces: dict[str, np.ndarray]) -> sparse.csr_matrix:
    """(V, V) sparse: every vertex's own offsets -> offsets with the mouth following the skin.

    Args:
        vertices: (V, 3) metres, MakeHuman's average.
        faces: part name -> (F, 4).
    """
    count = len(vertices)
    skin = np.unique(faces["skin"])
    inside = np.setdiff1d(faces["mouth_inside"], skin)
    face = skin[vertices[skin, 2] > vertices[inside, 2].min()]
    matrix = sparse.identity(count, format="lil")
    distance = np.linalg.norm(vertices[inside][:, None] - vertices[face], axis=2)
    for vertex, row in zip(inside, distance, strict=True):
        nearest = np.argsort(row)[:NEIGHBOURS]
        weight = np.exp(-((row[nearest] / (0.5 * row[nearest[0]] + 0.004)) ** 2))
        matrix.rows[vertex] = []
        matrix.data[vertex] = []
        matrix[vertex, face[nearest]] = weight / weight.sum()
    inner_lip = np.intersect1d(skin, faces["mouth_inside"])
    lip_height = vertices[inner_lip, 1].mean()
    for names, above in ((UPPER_JAW, True), (LOWER_JAW, False)):
        for name in names:
            members = np.unique(faces[name])
            teeth = np.unique(faces[names[0]])
            middle = vertices[teeth].mean(axis=0)
            side = (vertices[face, 1] > lip_height) == above
            around = face[side & (np.linalg.norm(vertices[face] - middle, axis=1) < FACE_REACH)]
            weights = _affine_weights(vertices[around], vertices[members])
            for vertex, row in zip(members, weights, strict=True):
                matrix.rows[vertex] = []
                matrix.data[vertex] = []
                matrix[vertex, around] = row
    return matrix.tocsr()


def _affine_weights(sources: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """(M, N) weights, rows summing to one: the best affine map of N moved sources, at M targets; stretching costs."""
    centre = sources.mean(axis=0)
    arms = sources - centre
    inertia = arms.T @ arms + STIFFNESS * np.trace(arms.T @ arms) / 3 * np.eye(3)
    return 1 / len(sources) + (targets - centre) @ np.linalg.solve(inertia, arms.T)
