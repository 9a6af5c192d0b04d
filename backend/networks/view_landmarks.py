"""Landmarks of several views of one face to a regressor's outputs: what they say together, and each view's own."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from backend.networks.landmark_encoder import LandmarkEncoder


class ViewLandmarks(nn.Module):
    """To be added to what a regressor makes of the pictures: a `LandmarkEncoder` for each view.

    What is shared is the mean of what the views that there are say of it. Two layers that put the views' features
    together learn much more slowly.

    Args:
        shared: outputs of all views together.
        own: outputs of each view.
        views: how many there are.
    """

    def __init__(self, shared: int, own: int, views: int):
        super().__init__()
        self.shared = shared
        self.encoders = nn.ModuleList(LandmarkEncoder(shared + own) for _ in range(views))

    @property
    def last_layers(self) -> tuple[nn.Linear, ...]:
        """Those whose mean, or whose answer, the outputs are."""
        return tuple(encoder.layers[-1] for encoder in self.encoders)

    @property
    def mean(self) -> Tensor:
        """(2 * points,) from 0 to 1 across the crop: the mean of the examples."""
        return self.encoders[0].mean

    def whiten_as(self, landmarks: Tensor) -> None:
        """All encoders, as `LandmarkEncoder.whiten_as`."""
        first, *others = self.encoders
        first.whiten_as(landmarks)
        for encoder in others:
            encoder.mean.copy_(first.mean)
            encoder.whitening.copy_(first.whitening)

    def forward(self, landmarks: Tensor, present: Tensor) -> Tensor:
        """What landmarks say.

        Args:
            landmarks: (B, views, points, 2) float, from 0 to 1 across each view's crop.
            present: (B, views) bool, at least one a row; of a view that is missing the landmarks say nothing of the
                face, and what they say of the view itself is of no use.

        Returns:
            (B, shared + views * own) float32: what is shared, then each view's own.
        """
        said = torch.stack([encoder(landmarks[:, view]) for view, encoder in enumerate(self.encoders)], dim=1)
        there = present.to(said).unsqueeze(-1)
        shared = (said[..., : self.shared] * there).sum(1) / there.sum(1)
        return torch.cat([shared, said[..., self.shared :].flatten(1)], dim=1)
