"""Model space to Blender space, in this one place.

Model space: metres, +Y up, +Z out of the face, +X to the subject's left. Blender: metres, +Z up, the face towards -Y,
+X to the subject's left. So (x, y, z) becomes (x, -z, y).
"""

from __future__ import annotations

import numpy as np

BLENDER_FROM_MODEL = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])
"""(3, 3) rotation: column vectors of model space to Blender space."""


def blender_from_model(points: np.ndarray) -> np.ndarray:
    """(..., 3) points or offsets of model space in Blender space; the dtype is kept."""
    converted = np.empty_like(points)
    converted[..., 0] = points[..., 0]
    converted[..., 1] = -points[..., 2]
    converted[..., 2] = points[..., 1]
    return converted


def camera_matrix(rotation: np.ndarray, translation: np.ndarray) -> np.ndarray:
    """(4, 4) float64 `matrix_world` of a Blender camera (looks along -Z, +Y up) for an OpenCV pose in model space.

    Args:
        rotation: (3, 3) world to camera, camera axes x right, y down, z forward.
        translation: (3,) metres, x_camera = rotation @ x_model + translation.
    """
    matrix = np.eye(4)
    matrix[:3, :3] = BLENDER_FROM_MODEL @ rotation.T @ np.diag([1.0, -1.0, -1.0])
    matrix[:3, 3] = BLENDER_FROM_MODEL @ (-rotation.T @ translation)
    return matrix
