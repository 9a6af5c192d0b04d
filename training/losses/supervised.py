"""What only synthetic people can teach: the distance of shape, pose, codes and light from the known truth.

None of this is in the paper, which has no truth. Each picture counts by `known`, 1 where its truth is known.
"""

import torch
from torch import Tensor

POSE_RADIUS_MM = 70.0
"""From the middle of the head to the face: what a turn moves."""


def mean_over_known(values: Tensor, known: Tensor) -> Tensor:
    """The mean of (B,) over the pictures whose truth is known, (B,) bool; 0 where there is none."""
    known = known.to(values)
    return (values * known).sum() / known.sum().clamp(min=1.0)


def shape_gram(offsets: Tensor) -> Tensor:
    """What turns a difference of codes into a distance on the surface.

    Args:
        offsets: (K, V, 3) float, metres that each of K codes moves each of V vertices by.

    Returns:
        (K, K) float: d^T G d is the mean squared movement in square millimetres of codes that differ by d (K,).
    """
    flat = (offsets * 1000.0).flatten(1)
    return flat @ flat.T / offsets.shape[1]


def shape_loss(predicted: Tensor, truth: Tensor, gram: Tensor, known: Tensor) -> Tensor:
    """Mean squared distance of vertices, of codes (B, K) that move them linearly: () in square millimetres."""
    difference = predicted - truth
    return mean_over_known(((difference @ gram) * difference).sum(1), known)


def code_loss(predicted: Tensor, truth: Tensor, known: Tensor) -> Tensor:
    """Mean squared difference of codes (B, K): ()."""
    return mean_over_known((predicted - truth).square().mean(1), known)


def rotation_loss(predicted: Tensor, truth: Tensor, known: Tensor) -> Tensor:
    """How far a wrong turn moves the face: () in square millimetres, of rotations (B, 3, 3).

    A turn by an angle a has a squared Frobenius distance of 8 sin^2(a / 2), near 2 a^2, from none.
    """
    return mean_over_known((predicted - truth).square().sum((1, 2)) / 2 * POSE_RADIUS_MM**2, known)


def light_shown_loss(predicted: Tensor, truth: Tensor, known: Tensor) -> Tensor:
    """Mean absolute difference of what lights send back, (B, N, 3) linear, at N normals: ()."""
    return mean_over_known((predicted - truth).abs().mean((1, 2)), known)


def known_pictures(batch: dict[str, Tensor]) -> Tensor:
    """(B,) bool, of a batch of `training.data.batches`."""
    return batch["has_truth"].to(torch.bool)


def crop_pose(
    rotation: Tensor, translation: Tensor, intrinsics: Tensor, crop_intrinsics: tuple[float, float, float, float]
) -> tuple[Tensor, Tensor]:
    """A pose as another camera would say it: the head where it was in the picture, as large, seen from the same side.

    Pictures are taken with lenses of all kinds, off their axes, while a regressor knows one camera. The ray to the
    head's origin is turned into that camera's ray to the same pixel, and the distance is that at which it is as large.

    Args:
        rotation: (B, 3, 3), translation: (B, 3) metres, world to camera.
        intrinsics: (B, 4) fx, fy, cx, cy of the camera that took the picture, pixels.
        crop_intrinsics: of the other camera, for the same pixels.

    Returns:
        Rotation (B, 3, 3) and translation (B, 3) for the other camera.
    """
    fx, fy, cx, cy = crop_intrinsics
    pixel = translation[:, :2] / translation[:, 2:] * intrinsics[:, :2] + intrinsics[:, 2:]
    across = (pixel - pixel.new_tensor([cx, cy])) / pixel.new_tensor([fx, fy])
    ray = torch.cat([across, torch.ones_like(across[:, :1])], dim=1)
    depth = translation[:, 2] * fx / intrinsics[:, 0]
    old = torch.nn.functional.normalize(translation, dim=1)
    new = torch.nn.functional.normalize(ray, dim=1)
    return turn_between(old, new) @ rotation, ray * depth.unsqueeze(1)


def turn_between(old: Tensor, new: Tensor) -> Tensor:
    """The least rotation (B, 3, 3) that takes unit vectors (B, 3) to others that are not their opposites."""
    x, y, z = torch.linalg.cross(old, new).unbind(1)
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], 1).unflatten(1, (3, 3))
    cosine = (old * new).sum(1)[:, None, None]
    return torch.eye(3, device=old.device) + cross + cross @ cross / (1 + cosine)
