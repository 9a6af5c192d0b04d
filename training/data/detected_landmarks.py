"""What a landmark detector would find on heads whose shape and pose are known: its own places, with its own errors.

A detector's points slide over the skin as the head turns and miss in ways that they share; `backend.calibration` has
learnt both from rendered heads. Of what makes a person unlike the mean it reports only a part, see
`training.landmark_response`. So a network can learn from synthetic people what to make of a detector's landmarks
without running the detector.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from backend.calibration import FILES, LandmarkCalibration, load_calibration
from backend.face_mesh_points import LEFT_EYE_OUTER_CORNER, RIGHT_EYE_OUTER_CORNER
from backend.methods.eye_motion import project
from training.landmark_response import LandmarkResponse, load_response


class DetectedLandmarks(nn.Module):
    """A detector's landmarks on heads. Holds nothing that is trained or saved.

    Args:
        calibration, response: of the detector.
    """

    def __init__(self, calibration: LandmarkCalibration, response: LandmarkResponse):
        super().__init__()
        cells = calibration.vertex.shape[:2]
        deviation = calibration.deviation * response.deviation_ratio
        own = 1 - np.square(response.factor).sum(1)
        tables = {
            "corners": calibration.vertex.reshape(-1, *calibration.vertex.shape[2:]),
            "weights": calibration.weight.reshape(-1, *calibration.weight.shape[2:]).astype(np.float32),
            "deviation": deviation.reshape(-1, deviation.shape[2]).astype(np.float32),
            "factor": response.factor.astype(np.float32),
            "own": np.sqrt(own.clip(0)).astype(np.float32),
            "response": response.response.astype(np.float32),
            "yaw": calibration.yaw.astype(np.float32),
            "pitch": calibration.pitch.astype(np.float32),
        }
        self.columns = cells[1]
        for name, table in tables.items():
            self.register_buffer(name, torch.from_numpy(np.ascontiguousarray(table)), persistent=False)

    @classmethod
    def of_all_detectors(cls) -> nn.ModuleList:
        """One for each detector that photographs may be looked at with."""
        return nn.ModuleList(cls(load_calibration(path), load_response(name)) for name, path in FILES.items())

    def forward(
        self, vertices: Tensor, of_mean_person: Tensor, rotation: Tensor, translation: Tensor, intrinsics: Tensor
    ) -> Tensor:
        """Landmarks with errors drawn from torch's global generator.

        Args:
            vertices: (B, V, 3) float32 metres, posed heads of the open head.
            of_mean_person: (B, V, 3) float32 metres, the mean person with their expressions.
            rotation: (B, 3, 3), translation: (B, 3) metres: model space to camera.
            intrinsics: (B, 4): fx, fy, cx, cy in pixels.

        Returns:
            (B, 478, 2) float32 pixels.
        """
        cells, shares = self._cells(rotation, translation)
        true = project(self._points(vertices, cells, shares), rotation, translation, intrinsics)
        usual = project(self._points(of_mean_person, cells, shares), rotation, translation, intrinsics)
        axes = level_axes(usual)
        landmarks = usual + self._reported((true - usual) @ axes.transpose(1, 2), usual @ axes.transpose(1, 2)) @ axes
        deviation = sum(share[:, None] * self.deviation[cell] for cell, share in zip(cells.T, shares.T, strict=True))
        pixels = deviation * (intrinsics[:, :1] / translation[:, 2:])
        return landmarks + self._errors(len(landmarks)) @ level_axes(landmarks) * pixels[..., None]

    def _points(self, vertices: Tensor, cells: Tensor, shares: Tensor) -> Tensor:
        """(B, 478, 3) metres: the calibrated places."""
        batch = torch.arange(len(vertices), device=vertices.device)[:, None, None]
        points = vertices.new_zeros(len(vertices), self.corners.shape[1], 3)
        for cell, share in zip(cells.T, shares.T, strict=True):
            corners = vertices[batch, self.corners[cell]]
            points += share[:, None, None] * (corners * self.weights[cell][..., None]).sum(2)
        return points

    def _reported(self, displacement: Tensor, places: Tensor) -> Tensor:
        """What is reported of displacements (B, 478, 2) from places (B, 478, 2), both along level axes.

        Of what shifts, scales or turns the landmarks as a whole it is all.
        """
        x, y = (places - places.mean(1, keepdim=True)).unbind(-1)
        one, none = torch.ones_like(x), torch.zeros_like(x)
        moves = [torch.stack(move, -1).flatten(1) for move in ((one, none), (none, one), (x, y), (-y, x))]
        basis, _ = torch.linalg.qr(torch.stack(moves, -1))
        whole = (basis @ (basis.transpose(1, 2) @ displacement.flatten(1).unsqueeze(-1))).view_as(displacement)
        return whole + self.response * (displacement - whole)

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

    def _errors(self, count: int) -> Tensor:
        """(count, 478, 2) in deviations, along level axes, correlated as the detector's."""
        shared = torch.randn(count, self.factor.shape[1], device=self.factor.device)
        alone = torch.randn(count, len(self.own), device=self.factor.device)
        return (shared @ self.factor.T + alone * self.own).unflatten(1, (-1, 2))


def level_axes(landmarks: Tensor) -> Tensor:
    """(B, 2, 2) of landmarks (B, 478, 2): unit vectors along the line of the eyes, and down from it."""
    across = landmarks[:, LEFT_EYE_OUTER_CORNER] - landmarks[:, RIGHT_EYE_OUTER_CORNER]
    right = torch.nn.functional.normalize(across, dim=1)
    return torch.stack([right, torch.stack([-right[:, 1], right[:, 0]], 1)], 1)
