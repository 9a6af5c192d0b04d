"""Joints that turn parts of a head: linear blend skinning with pose correctives, in numpy and in torch.

Li et al., "Learning a model of facial shape and expression from 4D scans", SIGGRAPH Asia 2017, section 4, for the heads
of `backend.face_models.model_arrays.Skinning`. In words: the joints are found on the person's shaped head, each joint
turns what hangs on it, correctives mend what turning alone would squeeze, and every vertex mixes the motions of its
joints by its weights.

Two things are decided here. Joints follow identity and the model's own expression, as in the public code of FLAME (the
paper's J depends on identity alone; its code gives the regressor the whole shaped head). Offsets of lids and of other
shape keys move the vertices before any joint turns, and do not move the joints: so a lid shuts over its eyeball
whichever way the head is turned. Trackers that are in use add them after skinning, along the axes of the unturned head.

Lengths are metres in model space, rotations are axis-angle in radians.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from backend.face_models.model_arrays import Skinning

SMALLEST_ANGLE = 1e-8
"""Radians, below which a rotation is its first order: no division by the angle."""


def rotations(axis_angle: np.ndarray) -> np.ndarray:
    """(..., 3) radians to (..., 3, 3) float64, by Rodrigues' formula."""
    axis_angle = np.asarray(axis_angle, np.float64)
    angle = np.linalg.norm(axis_angle, axis=-1)[..., None, None]
    x, y, z = np.moveaxis(axis_angle, -1, 0)
    zero = np.zeros_like(x)
    cross = np.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).reshape(*x.shape, 3, 3)
    # sin(a) / a and (1 - cos(a)) / a^2, which np.sinc knows at 0 too
    first, second = np.sinc(angle / np.pi), 0.5 * np.sinc(angle / (2 * np.pi)) ** 2
    return np.eye(3) + first * cross + second * (cross @ cross)


def skinned(skinning: Skinning, vertices: np.ndarray, joints: np.ndarray, pose: np.ndarray) -> np.ndarray:
    """A head with its joints turned.

    Args:
        skinning: of the model; V vertices, J joints.
        vertices: (V, 3) metres, the shaped head with its lids and keys, no joint turned.
        joints: (J, 3) metres: `skinning.regressor` times the shaped head without lids and keys.
        pose: (J, 3) axis-angle of each joint against its parent, radians, the root first.

    Returns:
        (V, 3) float64 metres.
    """
    turns = rotations(pose)
    vertices, joints = np.asarray(vertices, np.float64), np.asarray(joints, np.float64)
    if skinning.pose_basis is not None:
        feature = (turns[1:] - np.eye(3)).reshape(-1)
        vertices = vertices + np.tensordot(feature, skinning.pose_basis, axes=1)
    motions = np.zeros((len(turns), 3, 4))  # x -> motion[:, :3] x + motion[:, 3]
    for joint, parent in enumerate(skinning.parents):
        own = np.concatenate([turns[joint], (joints[joint] - turns[joint] @ joints[joint])[:, None]], axis=1)
        if parent >= 0:  # turned in place first, then carried by the parent
            above = motions[parent]
            own = np.concatenate([above[:, :3] @ own[:, :3], above[:, :3] @ own[:, 3:] + above[:, 3:]], axis=1)
        motions[joint] = own
    mixed = np.tensordot(skinning.weights, motions, axes=1)  # (V, 3, 4)
    return np.einsum("vab,vb->va", mixed[..., :3], vertices) + mixed[..., 3]


class JointRig(nn.Module):
    """Some vertices of a head turned by its joints, for B heads at once; gradients reach everything.

    Its buffers belong to the face model: no state dict holds them. Lengths are computed in single precision, under
    autocast too.

    Args:
        skinning: of the model.
        index: (N,) vertices that are turned, in the order in which they will be given; None for all.

    Attributes:
        size: J, how many joints there are.
    """

    def __init__(self, skinning: Skinning, index: np.ndarray | None = None):
        super().__init__()
        rows = slice(None) if index is None else np.asarray(index, np.int64)
        self.size = len(skinning.parents)
        self._parents = tuple(int(parent) for parent in skinning.parents)
        self._keep("weights", skinning.weights[rows])
        basis = skinning.pose_basis
        self._keep("pose_basis", None if basis is None else basis[:, rows].reshape(len(basis), -1))

    def _keep(self, name: str, values: np.ndarray | None) -> None:
        kept = None if values is None else torch.from_numpy(np.array(values, np.float32, order="C"))
        self.register_buffer(name, kept, persistent=False)

    def forward(self, vertices: Tensor, joints: Tensor, pose: Tensor) -> Tensor:
        """The turned vertices.

        Args:
            vertices: (B, N, 3) metres, shaped, with lids and keys.
            joints: (B, J, 3) metres, of the shaped head without lids and keys.
            pose: (B, J, 3) axis-angle against the parent, radians, the root first.

        Returns:
            (B, N, 3) float32 (float64 where the module and its arguments are).
        """
        with torch.autocast(vertices.device.type, enabled=False):
            kind = self.weights.dtype
            vertices, joints, turns = vertices.to(kind), joints.to(kind), rotation_matrices(pose.to(kind))
            if self.pose_basis is not None:
                feature = (turns[:, 1:] - torch.eye(3).to(turns)).flatten(1)
                vertices = vertices + (feature @ self.pose_basis).view_as(vertices)
            turned, shifts = self._motions(turns, joints)
            # (B, N, 9 + 3): how each vertex is turned and shifted
            motion = self.weights @ torch.cat([turned.flatten(2), shifts], dim=2)
            return (motion[..., :9].unflatten(-1, (3, 3)) @ vertices[..., None])[..., 0] + motion[..., 9:]

    def _motions(self, turns: Tensor, joints: Tensor) -> tuple[Tensor, Tensor]:
        """(B, J, 3, 3) and (B, J, 3): what each joint with all above it does to a point."""
        shifts = joints - (turns @ joints[..., None])[..., 0]
        turned, shifted = [], []
        for joint, parent in enumerate(self._parents):
            turn, shift = turns[:, joint], shifts[:, joint]
            if parent >= 0:
                shift = (turned[parent] @ shift[..., None])[..., 0] + shifted[parent]
                turn = turned[parent] @ turn
            turned.append(turn)
            shifted.append(shift)
        return torch.stack(turned, dim=1), torch.stack(shifted, dim=1)


def rotation_matrices(axis_angle: Tensor) -> Tensor:
    """(..., 3) radians to (..., 3, 3), by Rodrigues' formula; its gradient is right at 0 too."""
    square = axis_angle.square().sum(-1, keepdim=True)[..., None]
    small = square < SMALLEST_ANGLE**2
    angle = torch.where(small, torch.ones_like(square), square).sqrt()
    first = torch.where(small, torch.ones_like(square), torch.sin(angle) / angle)
    second = torch.where(small, torch.full_like(square, 0.5), 0.5 * (torch.sin(angle / 2) / (angle / 2)).square())
    x, y, z = axis_angle.unbind(-1)
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).unflatten(-1, (3, 3))
    return torch.eye(3).to(axis_angle) + first * cross + second * (cross @ cross)
