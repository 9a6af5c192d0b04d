"""Batches seen in a mirror: every picture is also one of another person, who is as likely as the first.

The open head's mirrored identities are identities again, exactly, so all labels can be mirrored. Left and right of
everything change: eyes, keys, landmarks, parsing classes.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist
from torch import Tensor, nn

from backend.face_models.albedo import load_albedo_basis
from backend.face_models.lid_keys import BLINK_CORRECTIVES
from backend.face_models.open_head import OpenHead
from training.data.sample import PARSING_CLASSES

ODD_HARMONICS = (3, 4, 7)
"""Of `harmonic_basis`: those that change their sign with x."""


class Mirror(nn.Module):
    """Mirrors pictures of a batch of `training.data.batches` with all their labels.

    Args:
        model: the open head.
    """

    def __init__(self, model: OpenHead):
        super().__init__()
        basis = load_albedo_basis().basis
        self._keep("identity", coefficient_mirror(model.identity_basis, model.mirror, (-1.0, 1.0, 1.0)))
        self._keep("albedo", coefficient_mirror(basis, model.mirror, (1.0, 1.0, 1.0)))
        correctives = set(BLINK_CORRECTIVES.values())
        names = [name for name in model.key_names if name not in correctives]
        self._keep("keys", np.array([names.index(other_side(name)) for name in names]))
        neutral = model.neutral(np.zeros(model.identity_size, np.float32))
        self._keep("points68", mirrored_points(model.landmarks68(neutral)))
        self._keep("points478", mirrored_points(model.landmarks478(neutral)))
        classes = [PARSING_CLASSES.index(other_side(name)) for name in PARSING_CLASSES]
        self._keep("classes", np.array(classes, np.uint8))
        self._keep("sides", np.array([-1.0, 1.0, 1.0], np.float32))
        light = np.ones((9, 1), np.float32)
        light[list(ODD_HARMONICS)] = -1
        self._keep("light", light)

    def _keep(self, name: str, values: np.ndarray) -> None:
        self.register_buffer(f"_{name}", torch.from_numpy(values), persistent=False)

    def forward(self, batch: dict[str, Tensor], chosen: Tensor) -> dict[str, Tensor]:
        """The batch with the pictures `chosen` (B,) bool mirrored, left and right swapped in their labels."""
        mirrored = self.mirrored(batch)
        return {
            name: torch.where(chosen.view(-1, *[1] * (values.ndim - 1)), mirrored[name], values)
            for name, values in batch.items()
        }

    def mirrored(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """All pictures mirrored."""
        width = batch["image"].shape[-1]
        sides = self._sides
        changed = {
            "image": batch["image"].flip(-1),
            "parsing": self._classes[batch["parsing"].flip(-1).long()],
            "identity": batch["identity"] @ self._identity.T,
            "albedo": batch["albedo"] @ self._albedo.T,
            "key_weights": batch["key_weights"][:, self._keys],
            "rotation": batch["rotation"] * sides[:, None] * sides,
            "translation": batch["translation"] * sides,
            "light": batch["light"] * self._light,
            "closure": batch["closure"].flip(1),
            "gaze": batch["gaze"].flip(1) * sides[:2],
            "yaw": -batch["yaw"],
        }
        intrinsics = batch["intrinsics"].clone()
        intrinsics[:, 2] = width - intrinsics[:, 2]
        changed["intrinsics"] = intrinsics
        for count in ("68", "478"):
            order = getattr(self, f"_points{count}")
            points = batch[f"landmarks{count}"][:, order].clone()
            points[..., 0] = width - points[..., 0]
            changed |= {f"landmarks{count}": points, f"visible{count}": batch[f"visible{count}"][:, order]}
        return {**batch, **changed}


def coefficient_mirror(basis: np.ndarray, mirror: np.ndarray, signs: tuple[float, float, float]) -> np.ndarray:
    """(K, K) float32: what takes coefficients to those of the mirrored head, by least squares.

    Args:
        basis: (K, V, 3).
        mirror: (V,) the vertex on the other side.
        signs: of the three components in the mirror.
    """
    flat = basis.reshape(len(basis), -1).astype(np.float64)
    other = (basis[:, mirror] * np.array(signs)).reshape(len(basis), -1)
    # Coefficients c give c @ basis, mirrored c @ other = c @ (other in the basis).
    return np.linalg.solve(flat @ flat.T, flat @ other.T).astype(np.float32)


def mirrored_points(points: np.ndarray) -> np.ndarray:
    """(L,) int64: for each of L points (L, 3) of a symmetric head, which one lies where it is seen in a mirror."""
    return linear_sum_assignment(cdist(points, points * [-1.0, 1.0, 1.0], "sqeuclidean"))[1].astype(np.int64)


def other_side(name: str) -> str:
    """The name of the same on the other side: "jawLeft" and "jawRight", "left_eye" and "right_eye"."""
    for one, other in (("Left", "Right"), ("left_", "right_")):
        if one in name:
            return name.replace(one, other)
        if other in name:
            return name.replace(other, one)
    return name
