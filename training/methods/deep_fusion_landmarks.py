"""Landmarks of people of whom there are no pictures: what the part of the network that sees landmarks learns from, too.

Pictures are dear, and a step shows few people. A detector's landmarks of three views of a random head cost next to
nothing (`training.data.detected_landmarks`), and tell its shape better than a few thousand pictures teach a network.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn

from backend.face_models.differentiable import DifferentiableModel
from backend.face_models.lid_keys import BLINK_CORRECTIVES
from backend.methods.eye_motion import CAMERA_DISTANCE_M, FACING, CropCamera, rotation_matrix
from backend.view_order import SLOTS
from training.data.expressions import random_expression
from training.methods.eye_motion import EXAMPLE_SHIFTS_M, EXAMPLE_TURNS, POPULATION, with_mean_person

ASIDE_DEGREES = (15.0, 70.0)
FRONT_DEVIATION_DEGREES = 8.0


class RandomViews(nn.Module):
    """Draws people and where a detector finds their landmarks in a left, a front and a right view.

    Args:
        model: of the people.
        camera: of the crops.
        expressions: how many there are to choose from.
    """

    def __init__(self, model: DifferentiableModel, camera: CropCamera, expressions: int = POPULATION):
        super().__init__()
        self.camera, self.identity_size = camera, model.identity_size
        generator = np.random.default_rng(0)
        names = (*model.expression_names, *BLINK_CORRECTIVES.values())
        keys = np.stack([random_expression(names, generator).weights for _ in range(expressions)])
        keys = torch.from_numpy(keys[:, : model.expression_size]).float()
        self.register_buffer("keys", keys, persistent=False)

    def forward(self, count: int, model: DifferentiableModel, detectors: nn.ModuleList) -> tuple[Tensor, Tensor]:
        """Identities (count, I), and landmarks (count, 3, 478, 2) from 0 to 1 across the crops; without gradient."""
        device = self.keys.device
        with torch.no_grad():
            identity = torch.randn(count, self.identity_size, device=device)
            keys = self.keys[torch.randint(len(self.keys), (count,), device=device)]
            heads = with_mean_person(model, identity, keys)
            detector = detectors[int(torch.randint(len(detectors), ()))]
            found = []
            for slot in SLOTS:
                rotation, translation = self._pose(slot, count)
                intrinsics = identity.new_tensor(self.camera.intrinsics).expand(count, 4)
                found.append(detector(*heads, rotation, translation, intrinsics) / self.camera.size)
        return identity, torch.stack(found, dim=1)

    def _pose(self, slot: str, count: int) -> tuple[Tensor, Tensor]:
        """(count, 3, 3) and (count, 3) of random views of the crop's camera."""
        device = self.keys.device
        least, most = ASIDE_DEGREES
        aside = least + (most - least) * torch.rand(count, device=device)
        front = FRONT_DEVIATION_DEGREES * torch.randn(count, device=device)
        yaw = {"left": aside, "front": front, "right": -aside}[slot]
        turn = torch.randn(count, 3, device=device) * torch.tensor(EXAMPLE_TURNS, device=device)
        turn[:, 1] = 0
        facing = torch.tensor(FACING, device=device)
        about = torch.zeros_like(turn)
        about[:, 1] = -yaw * (math.pi / 180)
        shift = torch.randn(count, 3, device=device) * torch.tensor(EXAMPLE_SHIFTS_M, device=device)
        shift[:, 2] += CAMERA_DISTANCE_M
        return facing @ rotation_matrix(turn) @ rotation_matrix(about), shift
