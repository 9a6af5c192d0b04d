"""Residual networks of bottleneck blocks whose 3 x 3 operator is a parameter.

He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, in the form that is in use: the stride of a block
is in its 3 x 3 operator. Parameters carry the names `conv1`, `bn1`, `layer1.0.conv1` … `fc`, so that state dicts of the
torchvision family load as they are.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

EXPANSION = 4
"""A block puts out this many times the channels that its 3 x 3 operator works on."""

SpatialOperator = Callable[[int, int], nn.Module]
"""Makes the operator in the middle of a block from (channels, stride): (B, C, H, W) -> (B, C, H / stride, W / stride),
odd sides rounded up."""


def convolution(channels: int, stride: int) -> nn.Module:
    """The 3 x 3 convolution of the original."""
    return nn.Conv2d(channels, channels, 3, stride, 1, bias=False)


class Bottleneck(nn.Module):
    """1 x 1 to fewer channels, the spatial operator, 1 x 1 to `EXPANSION` times as many, and a way round.

    Args:
        inputs: channels that come in.
        channels: channels of the spatial operator; `EXPANSION * channels` come out.
        stride: of the spatial operator.
        operator: makes the spatial operator.
    """

    def __init__(self, inputs: int, channels: int, stride: int = 1, operator: SpatialOperator = convolution):
        super().__init__()
        outputs = EXPANSION * channels
        self.conv1 = nn.Conv2d(inputs, channels, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = operator(channels, stride)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = nn.Conv2d(channels, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, features: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, EXPANSION * channels, H / stride, W / stride)."""
        way_round = features if self.downsample is None else self.downsample(features)
        features = self.relu(self.bn1(self.conv1(features)))
        features = self.relu(self.bn2(self.conv2(features)))
        return self.relu(self.bn3(self.conv3(features)) + way_round)


class ResNet(nn.Module):
    """A residual network.

    Convolutions start as He et al. (ICCV 2015) say; normalisations as identities.

    Args:
        layers: blocks in each of the four stages.
        width: channels of the stem and of the first stage's 3 x 3 operator, 64 in the paper; doubled at each stage.
        outputs: of the last, fully connected layer; None leaves it out, so that `forward` gives the pooled features.
        operator: makes the 3 x 3 operator of a block; see `SpatialOperator`.
        inputs: channels of the image.
    """

    def __init__(
        self,
        layers: Sequence[int] = (3, 4, 6, 3),
        width: int = 64,
        outputs: int | None = 1000,
        operator: SpatialOperator = convolution,
        inputs: int = 3,
    ):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        channels = width
        for stage, blocks in enumerate(layers):
            inner = width * 2**stage
            made = []
            for block in range(blocks):
                stride = 2 if block == 0 and stage > 0 else 1
                made.append(Bottleneck(channels, inner, stride, operator))
                channels = EXPANSION * inner
            setattr(self, f"layer{stage + 1}", nn.Sequential(*made))
        self.stages = len(layers)
        self.feature_size = channels
        self.fc = None if outputs is None else nn.Linear(channels, outputs)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def feature_maps(self, image: Tensor) -> list[Tensor]:
        """What each stage puts out: (B, 4 width, H / 4, W / 4), (B, 8 width, H / 8, W / 8), …

        Args:
            image: (B, inputs, H, W) float; any size of at least 32 pixels.
        """
        features = self.maxpool(self.relu(self.bn1(self.conv1(image))))
        maps = []
        for stage in range(self.stages):
            features = getattr(self, f"layer{stage + 1}")(features)
            maps.append(features)
        return maps

    def features(self, image: Tensor) -> Tensor:
        """(B, feature_size): the last stage's maps, averaged over the image (B, inputs, H, W)."""
        return torch.flatten(nn.functional.adaptive_avg_pool2d(self.feature_maps(image)[-1], 1), 1)

    def forward(self, image: Tensor) -> Tensor:
        """(B, inputs, H, W) float -> (B, outputs), or (B, feature_size) without a last layer."""
        features = self.features(image)
        return features if self.fc is None else self.fc(features)


def resnet50(width: int = 64, outputs: int | None = 1000, operator: SpatialOperator = convolution) -> ResNet:
    """ResNet-50: 25.6 million parameters at width 64 and 1000 outputs."""
    return ResNet((3, 4, 6, 3), width, outputs, operator)
