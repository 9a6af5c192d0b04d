"""Landmarks of several views of one face to a regressor's outputs: what they say together, and each view's own."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from backend.networks.landmark_encoder import LandmarkEncoder


class ViewLandmarks(nn.Module):
    """To be added to what a regressor makes of the pictures.

    One `LandmarkEncoder` looks at every view. What it says of the views there are is put together by two more layers,
    which know which views these are: depth is in views from aside, width in the one from the front.

    Args:
        shared: outputs of all views together.
        own: outputs of each view.
        views: how many there are.
        features: of each view.
        hidden: width of the layer that puts views together.
    """

    def __init__(self, shared: int, own: int, views: int, features: int = 256, hidden: int = 384):
        super().__init__()
        self.encoder = LandmarkEncoder(features)
        self.together = nn.Sequential(nn.Linear(views * (features + 1), hidden), nn.SiLU(), nn.Linear(hidden, shared))
        self.own = nn.Linear(features, own)

    @property
    def last_layers(self) -> tuple[nn.Linear, nn.Linear]:
        """Those whose sums are the outputs."""
        return self.together[-1], self.own

    def forward(self, landmarks: Tensor, present: Tensor) -> Tensor:
        """What landmarks say.

        Args:
            landmarks: (B, views, points, 2) float, from 0 to 1 across each view's crop.
            present: (B, views) bool; of a view that is missing the landmarks say nothing of the face, and what they say
                of the view itself is of no use.

        Returns:
            (B, shared + views * own) float32: what is shared, then each view's own.
        """
        with torch.autocast(landmarks.device.type, enabled=False):
            seen = nn.functional.silu(self.encoder(landmarks.flatten(0, 1)))
            own = self.own(seen).unflatten(0, present.shape).flatten(1)
            there = present.to(seen).unsqueeze(-1)
            seen = torch.cat([seen.unflatten(0, present.shape) * there, there], dim=-1)
            return torch.cat([self.together(seen.flatten(1)), own], dim=1)
