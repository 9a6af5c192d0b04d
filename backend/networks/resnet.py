"""Residual networks whose 3 x 3 operator, stem and blocks are parameters.

He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, in the form that is in use: the stride of a block
is in its 3 x 3 operator. Parameters carry the names `conv1`, `bn1`, `layer1.0.conv1` … `fc`, so that state dicts of the
torchvision family load as they are.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

SpatialOperator = Callable[[int, int], nn.Module]
"""Makes the operator in the middle of a block from (channels, stride): (B, C, H, W) -> (B, C, H / stride, W / stride),
odd sides rounded up."""
Stem = Callable[[int, int], nn.Module]
"""Makes what stands before the stages from (inputs, width): (B, inputs, H, W) -> (B, width, H / 2, W / 2), odd sides
rounded up; a pooling that halves the sides again follows it."""


def convolution(channels: int, stride: int) -> nn.Module:
    """The 3 x 3 convolution of the original."""
    return nn.Conv2d(channels, channels, 3, stride, 1, bias=False)


class BasicBlock(nn.Module):
    """A 3 x 3 convolution, the spatial operator, and a way round: the block of ResNet-18 and ResNet-34.

    Args:
        inputs: channels that come in; channels: that go out.
        stride: of the first convolution.
        operator: makes the second.
    """

    expansion = 1

    def __init__(self, inputs: int, channels: int, stride: int = 1, operator: SpatialOperator = convolution):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = operator(channels, 1)
        self.bn2 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _way_round(inputs, channels, stride)

    @property
    def last_normalisation(self) -> nn.BatchNorm2d:
        """Whose scale says how much the block adds to its way round."""
        return self.bn2

    def forward(self, features: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, channels, H / stride, W / stride)."""
        way_round = features if self.downsample is None else self.downsample(features)
        features = self.relu(self.bn1(self.conv1(features)))
        return self.relu(self.bn2(self.conv2(features)) + way_round)


class Bottleneck(nn.Module):
    """1 x 1 to fewer channels, the spatial operator, 1 x 1 to `expansion` times as many, and a way round.

    Args:
        inputs: channels that come in.
        channels: channels of the spatial operator; `expansion * channels` come out.
        stride: of the spatial operator.
        operator: makes the spatial operator.
    """

    expansion = 4

    def __init__(self, inputs: int, channels: int, stride: int = 1, operator: SpatialOperator = convolution):
        super().__init__()
        outputs = self.expansion * channels
        self.conv1 = nn.Conv2d(inputs, channels, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = operator(channels, stride)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = nn.Conv2d(channels, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _way_round(inputs, outputs, stride)

    @property
    def last_normalisation(self) -> nn.BatchNorm2d:
        """Whose scale says how much the block adds to its way round."""
        return self.bn3

    def forward(self, features: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, expansion * channels, H / stride, W / stride)."""
        way_round = features if self.downsample is None else self.downsample(features)
        features = self.relu(self.bn1(self.conv1(features)))
        features = self.relu(self.bn2(self.conv2(features)))
        return self.relu(self.bn3(self.conv3(features)) + way_round)


def _way_round(inputs: int, outputs: int, stride: int) -> nn.Module | None:
    """What brings a block's input to the size of its output; None where they are alike."""
    if stride == 1 and inputs == outputs:
        return None
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))


class ResNet(nn.Module):
    """A residual network.

    Convolutions start as He et al. (ICCV 2015) say; normalisations as identities.

    Args:
        layers: blocks in each of the four stages.
        width: channels of the stem and of the first stage's 3 x 3 operator, 64 in the paper; doubled at each stage.
        outputs: of the last, fully connected layer; None leaves it out, so that `forward` gives the pooled features.
        operator: makes the 3 x 3 operator of a block; see `SpatialOperator`.
        inputs: channels of the image.
        stem: makes another one than the paper's 7 x 7 convolution; see `Stem`.
        block: of all stages.
    """

    def __init__(
        self,
        layers: Sequence[int] = (3, 4, 6, 3),
        width: int = 64,
        outputs: int | None = 1000,
        operator: SpatialOperator = convolution,
        inputs: int = 3,
        stem: Stem | None = None,
        block: type[BasicBlock] | type[Bottleneck] = Bottleneck,
    ):
        super().__init__()
        if stem is None:
            self.conv1 = nn.Conv2d(inputs, width, 7, 2, 3, bias=False)
            self.bn1 = nn.BatchNorm2d(width)
            self.stem = None
        else:
            self.stem = stem(inputs, width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        channels = width
        for stage, blocks in enumerate(layers):
            inner = width * 2**stage
            made = []
            for number in range(blocks):
                stride = 2 if number == 0 and stage > 0 else 1
                made.append(block(channels, inner, stride, operator))
                channels = block.expansion * inner
            setattr(self, f"layer{stage + 1}", nn.Sequential(*made))
        self.stages = len(layers)
        self.feature_size = channels
        self.fc = None if outputs is None else nn.Linear(channels, outputs)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def start_as_identities(self) -> None:
        """Sets the last normalisation of every block to 0, so that it starts as its way round and trains sooner.

        Goyal et al., "Accurate, Large Minibatch SGD", 2017, section 5.1.
        """
        for module in self.modules():
            if isinstance(module, BasicBlock | Bottleneck):
                nn.init.zeros_(module.last_normalisation.weight)

    def feature_maps(self, image: Tensor) -> list[Tensor]:
        """What each stage puts out: (B, E width, H / 4, W / 4), (B, 2 E width, H / 8, W / 8), …

        E is the blocks' expansion: 4 of bottlenecks, 1 of basic blocks.

        Args:
            image: (B, inputs, H, W) float; any size of at least 32 pixels.
        """
        seen = self.relu(self.bn1(self.conv1(image))) if self.stem is None else self.stem(image)
        features = self.maxpool(seen)
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


def resnet50(
    width: int = 64, outputs: int | None = 1000, operator: SpatialOperator = convolution, inputs: int = 3
) -> ResNet:
    """ResNet-50: 25.6 million parameters at width 64, 1000 outputs and 3 inputs."""
    return ResNet((3, 4, 6, 3), width, outputs, operator, inputs)


def resnet18(width: int = 64, outputs: int | None = 1000) -> ResNet:
    """ResNet-18: 11.7 million parameters at width 64 and 1000 outputs."""
    return ResNet((2, 2, 2, 2), width, outputs, block=BasicBlock)
