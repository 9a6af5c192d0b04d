"""The small residual network that tells from a crop of one eye whether it is shut, and how far."""

import torch
from torch import Tensor, nn

from backend.networks.resnet import resnet50

APERTURES = 2
"""What the landmarks say of the lids, beside the crop: aperture of this eye and of the other one."""


class EyeStateNetwork(nn.Module):
    """A crop of one eye, and if wanted the apertures of the landmarks, to its state.

    The crop is standardised first, each by its own mean and contrast, so that exposure does not matter.

    Args:
        width: channels of the first stage; later ones have two, three and four times as many.
        blocks: residual blocks a stage.
        uses_apertures: whether `apertures` is looked at.
        dropout: share of the pooled features left out in training.
    """

    def __init__(self, width: int = 16, blocks: int = 2, uses_apertures: bool = True, dropout: float = 0.2):
        super().__init__()
        self.uses_apertures = uses_apertures
        self.stem = nn.Sequential(nn.Conv2d(3, width, 3, 2, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
        stages, channels = [], width
        for number in range(4):
            wanted = width * (number + 1)
            for block in range(blocks):
                stride = 2 if block == 0 and number > 0 else 1
                stages.append(_Residual(channels, wanted, stride))
                channels = wanted
        self.stages = nn.Sequential(*stages)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Sequential(
            nn.Linear(channels + (APERTURES if uses_apertures else 0), 64), nn.ReLU(), nn.Linear(64, 3)
        )

    def forward(self, image: Tensor, apertures: Tensor | None = None) -> Tensor:
        """The state of B eyes.

        Args:
            image: (B, 3, H, W) float sRGB in [0, 1]; the subject's left eye, or the right one mirrored.
            apertures: (B, 2) float, of this eye and of the other one, over that of the detector's typical open eye.

        Returns:
            (B, 3) float: logits of open and of shut (their softmax is P), and the logit of the degree of closure.
        """
        mean = image.mean(dim=(1, 2, 3), keepdim=True)
        deviation = image.std(dim=(1, 2, 3), keepdim=True)
        features = self.stages(self.stem((image - mean) / (deviation + 0.02)))
        features = self.dropout(features.mean(dim=(2, 3)))
        if self.uses_apertures:
            features = torch.cat([features, apertures.to(features) - 0.5], dim=1)
        return self.head(features)


class _Residual(nn.Module):
    """Two 3 x 3 convolutions and a way round them (He et al., CVPR 2016)."""

    def __init__(self, channels: int, wanted: int, stride: int):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, wanted, 3, stride, 1, bias=False),
            nn.BatchNorm2d(wanted),
            nn.ReLU(),
            nn.Conv2d(wanted, wanted, 3, 1, 1, bias=False),
            nn.BatchNorm2d(wanted),
        )
        if stride == 1 and channels == wanted:
            self.way_round = nn.Identity()
        else:
            self.way_round = nn.Sequential(nn.Conv2d(channels, wanted, 1, stride, bias=False), nn.BatchNorm2d(wanted))

    def forward(self, features: Tensor) -> Tensor:
        return torch.relu(self.body(features) + self.way_round(features))


class WholeFaceNetwork(nn.Module):
    """The paper's detector: ResNet-50, two outputs, [0, 1] pictures as they are."""

    def __init__(self, width: int = 64):
        super().__init__()
        self.backbone = resnet50(width=width, outputs=2)

    def forward(self, image: Tensor, apertures: Tensor | None = None) -> Tensor:
        """(B, 3, S, S) float in [0, 1] -> (B, 2) logits of open and shut. `apertures` are not looked at."""
        return self.backbone(image)
