"""What a landmark detector would find on heads whose shape and pose are known: its own places, with its own errors.

A detector's points slide over the skin as the head turns and miss in ways that they share; `backend.calibration` has
learnt both from rendered heads. So a network can learn from synthetic people what to make of a detector's landmarks
without running the detector.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from backend.calibration import FILES, LandmarkCalibration, load_calibration
from backend.face_mesh_points import LEFT_EYE_OUTER_CORNER, RIGHT_EYE_OUTER_CORNER
from backend.methods.eye_motion import project


class DetectedLandmarks(nn.Module):
    """A detector's landmarks on heads. Holds nothing that is trained or saved.

    Args:
        calibration: of the detector.
    """

    def __init__(self, calibration: LandmarkCalibration):
        super().__init__()
        cells = calibration.vertex.shape[:2]
        tables = {
            "corners": calibration.vertex.reshape(-1, *calibration.vertex.shape[2:]),
            "weights": calibration.weight.reshape(-1, *calibration.weight.shape[2:]).astype(np.float32),
            "deviation": calibration.deviation.reshape(-1, calibration.deviation.shape[2]).astype(np.float32),
            "factor": calibration.factor.astype(np.float32),
            "own": np.sqrt(calibration.own_variance.clip(0)).astype(np.float32),
            "yaw": calibration.yaw.astype(np.float32),
            "pitch": calibration.pitch.astype(np.float32),
        }
        self.columns = cells[1]
        for name, table in tables.items():
            self.register_buffer(name, torch.from_numpy(np.ascontiguousarray(table)), persistent=False)

    @classmethod
    def of_all_detectors(cls) -> nn.ModuleList:
        """One for each detector that photographs may be looked at with."""
        return nn.ModuleList(cls(load_calibration(path)) for path in FILES.values())

    def forward(self, vertices: Tensor, rotation: Tensor, translation: Tensor, intrinsics: Tensor) -> Tensor:
        """Landmarks with errors drawn from torch's global generator.

        Args:
            vertices: (B, V, 3) float32 metres, posed heads of the open head.
            rotation: (B, 3, 3), translation: (B, 3) metres: model space to camera.
            intrinsics: (B, 4): fx, fy, cx, cy in pixels.

        Returns:
            (B, 478, 2) float32 pixels.
        """
        cells, shares = self._cells(rotation, translation)
        batch = torch.arange(len(vertices), device=vertices.device)[:, None, None]
        points = vertices.new_zeros(len(vertices), self.corners.shape[1], 3)
        deviation = vertices.new_zeros(points.shape[:2])
        for cell, share in zip(cells.T, shares.T, strict=True):
            corners = vertices[batch, self.corners[cell]]
            points += share[:, None, None] * (corners * self.weights[cell][..., None]).sum(2)
            deviation += share[:, None] * self.deviation[cell]
        landmarks = project(points, rotation, translation, intrinsics)
        pixels = deviation * (intrinsics[:, :1] / translation[:, 2:])
        return landmarks + self._errors(landmarks) * pixels[..., None]

    def _cells(self, rotation: Tensor, translation: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 4) cells of the table round each view, and (B, 4) how much each counts."""
        x, y, z = (-rotation.transpose(1, 2) @ translation[..., None]).squeeze(-1).unbind(1)
        view = torch.rad2deg(torch.atan2(x, z)), torch.rad2deg(torch.atan2(y, torch.hypot(x, z)))
        cells, shares = [], []
        for grid, value in zip((self.yaw, self.pitch), view, strict=True):
            value = value.clamp(float(grid[0]), float(grid[-1]))
            upper = torch.searchsorted(grid, value).clamp(1, len(grid) - 1)
            share = (value - grid[upper - 1]) / (grid[upper] - grid[upper - 1])
            cells.append(torch.stack([upper - 1, upper], 1))
            shares.append(torch.stack([1 - share, share], 1))
        both = (shares[0][:, :, None] * shares[1][:, None]).flatten(1)
        return (cells[0][:, :, None] * self.columns + cells[1][:, None]).flatten(1), both

    def _errors(self, landmarks: Tensor) -> Tensor:
        """(B, 478, 2) in deviations, correlated as the detector's, turned with the line of the eyes."""
        shared = torch.randn(len(landmarks), self.factor.shape[1], device=landmarks.device)
        alone = torch.randn(len(landmarks), len(self.own), device=landmarks.device)
        errors = (shared @ self.factor.T + alone * self.own).unflatten(1, (-1, 2))
        across = landmarks[:, LEFT_EYE_OUTER_CORNER] - landmarks[:, RIGHT_EYE_OUTER_CORNER]
        right = torch.nn.functional.normalize(across, dim=1)
        down = torch.stack([-right[:, 1], right[:, 0]], 1)
        return errors[..., :1] * right[:, None] + errors[..., 1:] * down[:, None]
