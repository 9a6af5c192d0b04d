"""RedNet: the residual network with involutions in the place of its 3 x 3 convolutions.

Li et al., "Involution", CVPR 2021, section 4: 7 x 7 involutions in the bottlenecks, and a stem of a convolution, a
3 x 3 involution and a convolution. The skeleton is that of `backend/networks/resnet.py`.
"""

from math import gcd

from torch import nn

from backend.networks.involution import GROUP_CHANNELS, Involution
from backend.networks.resnet import ResNet

STEM_KERNEL, BLOCK_KERNEL = 3, 7


def rednet50(width: int = 64, outputs: int | None = 1000, inputs: int = 3) -> ResNet:
    """RedNet-50: 15.5 million parameters at width 64, 1000 outputs and 3 inputs.

    Args:
        width: of the stem and of the first stage's involutions, even. Where it makes no whole groups of 16 channels,
            groups are as large as their greatest common divisor.
        outputs: of the last layer; None leaves it out.
        inputs: channels of the image.
    """
    network = ResNet((3, 4, 6, 3), width, outputs, block_operator, inputs, stem)
    network.start_as_identities()
    return network


def block_operator(channels: int, stride: int) -> Involution:
    """What a bottleneck looks about with."""
    return Involution(channels, BLOCK_KERNEL, stride, gcd(GROUP_CHANNELS, channels))


def stem(inputs: int, width: int) -> nn.Module:
    """(B, inputs, H, W) -> (B, width, H / 2, W / 2), at half the width until its last convolution."""
    half = width // 2
    return nn.Sequential(
        nn.Conv2d(inputs, half, 3, 2, 1, bias=False),
        nn.BatchNorm2d(half),
        nn.ReLU(inplace=True),
        Involution(half, STEM_KERNEL, group_channels=gcd(GROUP_CHANNELS, half)),
        nn.BatchNorm2d(half),
        nn.ReLU(inplace=True),
        nn.Conv2d(half, width, 3, 1, 1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(inplace=True),
    )
