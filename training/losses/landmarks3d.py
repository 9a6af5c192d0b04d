"""Distance of points of a face in space from a scan's, wherever, however turned and however large both are.

Zhao et al., "From 2D Images to 3D Model: Weakly Supervised Multi-View Face Reconstruction with Deep Fusion", ICME 2025,
equations 5 and 6. Which points: `training/data/landmarks101.py`.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from training.losses.supervised import mean_over_known

LEAST_SQUARE = 1e-12
"""Of a distance, before its root is taken, in squared units of the points."""
LEAST_ANCHORS = 3
"""Fewer points do not say how a face is turned."""


def aligned_landmark_loss(
    predicted: Tensor, wanted: Tensor, anchors: Sequence[int], known: Tensor | None = None
) -> Tensor:
    """The mean distance of points after a similarity has laid a few of the predicted ones on the wanted ones.

    Args:
        predicted: (B, P, 3) float, in any unit and place.
        wanted: (B, P, 3) float, millimetres.
        anchors: the points that choose the similarity, see `landmarks101.SEVEN` and `landmarks101.SEVEN_OF_68`.
        known: (B, P) bool, which of the wanted points are known; None for all. A face with fewer than three known
            anchors does not count.

    Returns:
        () float, millimetres: the mean over a face's known points, then over the faces; 0 where there is none.
        Gradients go through the similarity.
    """
    known = torch.ones_like(wanted[..., 0], dtype=torch.bool) if known is None else known
    with torch.autocast(predicted.device.type, enabled=False):
        dtype = torch.promote_types(predicted.dtype, torch.float32)
        distance, usable = _distances(predicted.to(dtype), wanted.to(dtype), list(anchors), known)
        return mean_over_known((distance * known).sum(1) / known.sum(1).clamp(min=1), usable)


def similarity(points: Tensor, onto: Tensor, weights: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Scale, rotation and shift that bring points closest to others (equation 5); without reflection.

    Umeyama, "Least-squares estimation of transformation parameters between two point patterns", 1991. The gradient of
    the rotation is that of a polar decomposition, which is finite where that of the singular vectors is not: two
    singular values of a face's points are easily alike.

    Args:
        points, onto: (B, P, 3) float.
        weights: (B, P) float, at least three of each row above 0.

    Returns:
        scale (B,), rotation (B, 3, 3), shift (B, 3): `scale * rotation @ point + shift`.
    """
    share = (weights / weights.sum(1, keepdim=True))[..., None]
    centre, centre_onto = (points * share).sum(1), (onto * share).sum(1)
    points, onto = points - centre[:, None], onto - centre_onto[:, None]
    covariance = (onto * share).mT @ points
    rotation = _nearest_rotation(covariance)
    spread = (points.square() * share).sum((1, 2))
    scale = (rotation * covariance).sum((1, 2)) / spread
    return scale, rotation, centre_onto - scale[:, None] * (rotation @ centre[..., None])[..., 0]


def _distances(predicted: Tensor, wanted: Tensor, anchors: list[int], known: Tensor) -> tuple[Tensor, Tensor]:
    """Of the aligned points, (B, P) millimetres, and which faces count, (B,) bool."""
    usable = known[:, anchors].sum(1) >= LEAST_ANCHORS
    # Faces that do not count are compared with themselves: an alignment by two points has no gradient.
    wanted = torch.where((known & usable[:, None])[..., None], wanted, predicted.detach())
    weights = torch.where(usable[:, None], known[:, anchors].to(wanted), 1.0)
    scale, rotation, shift = similarity(predicted[:, anchors], wanted[:, anchors], weights)
    aligned = scale[:, None, None] * predicted @ rotation.mT + shift[:, None]
    return (aligned - wanted).square().sum(-1).clamp(min=LEAST_SQUARE).sqrt(), usable


def _nearest_rotation(matrix: Tensor) -> Tensor:
    """The rotations R with the largest trace of R^T M, of (B, 3, 3).

    R^T M = S is symmetric. A change dM turns R by w with (tr(S) I - S) w = the axial vector of R^T dM - dM^T R.
    """
    with torch.no_grad():
        left, _, right = torch.linalg.svd(matrix)
        signs = torch.ones_like(matrix[:, 0])
        signs[:, 2] = torch.linalg.det(left @ right).sign()
        rotation = (left * signs[:, None]) @ right
        symmetric = rotation.mT @ matrix
        identity = torch.eye(3).to(matrix)
        stiffness = symmetric.diagonal(dim1=1, dim2=2).sum(1)[:, None, None] * identity - symmetric
    turned = rotation.mT @ matrix
    skew = turned - turned.mT  # 0, but for its gradient
    axial = torch.stack([skew[:, 2, 1], skew[:, 0, 2], skew[:, 1, 0]], dim=1)
    x, y, z = torch.linalg.solve(stiffness, axial).unbind(1)
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=1).unflatten(1, (3, 3))
    return rotation @ (identity + cross)
