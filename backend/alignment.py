"""The similarity that brings points closest to others."""

import numpy as np


def similarity(
    points: np.ndarray, onto: np.ndarray, weight: np.ndarray | None = None
) -> tuple[float, np.ndarray, np.ndarray]:
    """Scale, rotation and shift with `scale * rotation @ point + shift` closest to `onto`; without reflection.

    Umeyama, "Least-squares estimation of transformation parameters between two point patterns", 1991.

    Args:
        points, onto: (N, 3).
        weight: (N,), all alike without it.

    Returns:
        scale, rotation (3, 3), shift (3,).
    """
    share = np.full(len(points), 1 / len(points)) if weight is None else weight / weight.sum()
    centre, centre_onto = share @ points, share @ onto
    covariance = (onto - centre_onto).T @ ((points - centre) * share[:, None])
    left, values, right = np.linalg.svd(covariance)
    sign = np.array([1.0, 1.0, np.sign(np.linalg.det(left @ right))])
    rotation = left @ (sign[:, None] * right)
    spread = (share[:, None] * (points - centre) ** 2).sum()
    scale = float((values * sign).sum() / spread)
    return scale, rotation, centre_onto - scale * rotation @ centre
