"""What the landmarks of a detector say of a face's codes, beside what a network sees in the picture."""

import torch
from torch import Tensor, nn

MEDIAPIPE_POINTS = 478


class LandmarkEncoder(nn.Module):
    """Landmarks of a crop to as many outputs as a regressor has, to be added to them.

    Nearly all that landmarks do together is moving and turning; a person's shape is in what is small beside that. So
    they are first whitened: principal components, each divided by its deviation.

    Args:
        outputs: how many.
        points: landmarks of a face.
        components: principal components that are looked at.
        hidden: width of the two hidden layers.
    """

    def __init__(self, outputs: int, points: int = MEDIAPIPE_POINTS, components: int = 128, hidden: int = 384):
        super().__init__()
        self.register_buffer("mean", torch.zeros(2 * points))
        self.register_buffer("whitening", torch.zeros(2 * points, components))
        self.layers = nn.Sequential(
            nn.Linear(components, hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU(), nn.Linear(hidden, outputs)
        )

    def whiten_as(self, landmarks: Tensor) -> None:
        """Takes mean and principal components from examples (N, points, 2), N well above the components."""
        flat = landmarks.flatten(1).double()
        mean = flat.mean(0)
        _, deviations, directions = torch.linalg.svd((flat - mean) / len(flat) ** 0.5, full_matrices=False)
        components = self.whitening.shape[1]
        self.mean.copy_(mean)
        self.whitening.copy_((directions[:components] / deviations[:components, None]).T)

    def forward(self, landmarks: Tensor) -> Tensor:
        """(B, points, 2) float32, from 0 to 1 across the crop, to (B, outputs) float32."""
        with torch.autocast(landmarks.device.type, enabled=False):  # half a pixel is lost in half precision
            return self.layers((landmarks.float().flatten(1) - self.mean) @ self.whitening)
