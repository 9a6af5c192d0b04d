"""The generators of pix2pix and CycleGAN: a picture to a picture of the same size.

Isola et al., "Image-to-Image Translation with Conditional Adversarial Networks", CVPR 2017 (U-Net); Zhu et al.,
"Unpaired Image-to-Image Translation using Cycle-Consistent Adversarial Networks", ICCV 2017 (residual blocks, after
Johnson et al. 2016). As the authors published them, without dropout: what is wanted has no chance in it.
"""

from __future__ import annotations

from math import gcd
from typing import Literal

import torch
from torch import Tensor, nn

Normalisation = Literal["batch", "instance", "group", "none"]
Output = Literal["tanh", "linear"]
Upsampling = Literal["transposed", "resize"]

WIDEST = 8
"""Times the width of the first level."""
NORMALISED_GROUP = 16
"""Channels that a group normalisation takes together: also a level of 2 x 2 pixels has 64 numbers then."""
START_DEVIATION = 0.02


class UNetGenerator(nn.Module):
    """A U-Net whose last level is 2^levels times smaller than the picture.

    Level by level down: LeakyReLU 0.2, a 4 x 4 convolution of stride 2, normalisation; up: ReLU, enlargement,
    normalisation, and what the level was on the way down beside it.

    Args:
        in_channels, out_channels: of the pictures.
        levels: how many, at least 2. The published network has 8.
        width: of the first level; 2, 4, 8, 8, … times that below.
        norm: "batch" is the published one; "group" does not depend on the batch, nor, unlike "instance", does it
            take each channel's mean away.
        output: "tanh", within -1 and 1, or "linear".
        upsample: "transposed", 4 x 4 of stride 2, or "resize", see `enlargement`.

    Raises:
        ValueError: fewer than two levels.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        levels: int = 8,
        width: int = 64,
        norm: Normalisation = "batch",
        output: Output = "tanh",
        upsample: Upsampling = "transposed",
    ):
        super().__init__()
        if levels < 2:
            raise ValueError(f"A U-Net needs at least 2 levels, not {levels}.")
        widths = [width * min(2**level, WIDEST) for level in range(levels)]
        bias = bias_before(norm)  # as published, also of the first and the last convolution down, which none follows
        self.down = nn.ModuleList([nn.Conv2d(in_channels, width, 4, 2, 1, bias=bias)])
        self.up = nn.ModuleList([nn.Sequential(nn.ReLU(True), enlargement(2 * width, out_channels, 4, upsample))])
        for level, (finer, coarser) in enumerate(zip(widths, widths[1:], strict=False), start=1):
            last = level == levels - 1
            smaller = nn.Conv2d(finer, coarser, 4, 2, 1, bias=bias)
            self.down.append(
                nn.Sequential(nn.LeakyReLU(0.2), smaller, *([] if last else [normalisation(norm, coarser)]))
            )
            larger = enlargement(coarser if last else 2 * coarser, finer, 4, upsample, bias)
            self.up.append(nn.Sequential(nn.ReLU(True), larger, normalisation(norm, finer)))
        self.output = output_layer(output)
        self.sizes_multiple = 2**levels
        start_small(self)

    def forward(self, image: Tensor) -> Tensor:
        """(B, in_channels, H, W) float -> (B, out_channels, H, W).

        Raises:
            ValueError: sides that cannot be halved once a level.
        """
        check_sides(image, self.sizes_multiple)
        maps = [image]
        for smaller in self.down:
            maps.append(smaller(maps[-1]))
        features = self.up[-1](maps[-1])
        for level in reversed(range(len(self.up) - 1)):
            features = self.up[level](torch.cat([maps[level + 1], features], dim=1))
        return self.output(features)


class ResNetGenerator(nn.Module):
    """Residual blocks at a quarter of the size, normalised instance by instance.

    Args:
        in_channels, out_channels: of the pictures.
        blocks: how many; the published network has 9.
        width: of the first layer; the blocks have 4 times that.
        output: "tanh", within -1 and 1, or "linear".
        upsample: "transposed", 3 x 3 of stride 2, or "resize", see `enlargement`.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        blocks: int = 9,
        width: int = 64,
        output: Output = "tanh",
        upsample: Upsampling = "transposed",
    ):
        super().__init__()
        layers = [nn.Conv2d(in_channels, width, 7, padding=3, padding_mode="reflect"), *_normalised(width)]
        for wider in (2 * width, 4 * width):
            layers += [nn.Conv2d(wider // 2, wider, 3, 2, 1), *_normalised(wider)]
        layers += [ResidualBlock(4 * width) for _ in range(blocks)]
        for narrower in (2 * width, width):
            layers += [enlargement(2 * narrower, narrower, 3, upsample), *_normalised(narrower)]
        layers += [nn.Conv2d(width, out_channels, 7, padding=3, padding_mode="reflect"), output_layer(output)]
        self.layers = nn.Sequential(*layers)
        start_small(self)

    def forward(self, image: Tensor) -> Tensor:
        """(B, in_channels, H, W) float -> (B, out_channels, H, W).

        Raises:
            ValueError: sides that are no multiples of 4.
        """
        check_sides(image, 4)
        return self.layers(image)


class ResidualBlock(nn.Module):
    """x + two 3 x 3 convolutions of it, with ReLU between: (B, channels, H, W) to the same."""

    def __init__(self, channels: int):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, padding_mode="reflect"),
            *_normalised(channels),
            nn.Conv2d(channels, channels, 3, padding=1, padding_mode="reflect"),
            nn.InstanceNorm2d(channels),
        )

    def forward(self, features: Tensor) -> Tensor:
        return features + self.layers(features)


def normalisation(norm: Normalisation, channels: int) -> nn.Module:
    """(B, channels, H, W) to the same."""
    match norm:
        case "batch":
            return nn.BatchNorm2d(channels)
        case "instance":
            return nn.InstanceNorm2d(channels)
        case "group":
            return nn.GroupNorm(channels // gcd(channels, NORMALISED_GROUP), channels)
        case "none":
            return nn.Identity()
    raise ValueError(f'The normalisation is "batch", "instance", "group" or "none", not "{norm}".')


def bias_before(norm: Normalisation) -> bool:
    """Whether a convolution before this normalisation has a bias, as the authors have it: where the other has none."""
    return norm in ("instance", "none")


def enlargement(inputs: int, outputs: int, kernel: int, upsample: Upsampling, bias: bool = True) -> nn.Module:
    """(B, inputs, H, W) -> (B, outputs, 2 H, 2 W).

    "transposed" is a convolution whose pixels of odd and even rows come from different weights, which shows as a
    checkerboard; "resize" repeats pixels and convolves 3 x 3 (Odena et al., "Deconvolution and Checkerboard
    Artifacts", Distill 2016), at 2.25 times the work of a 4 x 4 "transposed".

    Args:
        inputs, outputs: channels.
        kernel: of the transposed convolution, 3 or 4.
        upsample: which of both.
        bias: whether there is one.
    """
    match upsample:
        case "transposed":
            return nn.ConvTranspose2d(inputs, outputs, kernel, 2, 1, output_padding=kernel % 2, bias=bias)
        case "resize":
            return nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(inputs, outputs, 3, padding=1, bias=bias))
    raise ValueError(f'Maps are enlarged by "transposed" or by "resize", not "{upsample}".')


def output_layer(output: Output) -> nn.Module:
    """What stands at a generator's end."""
    if output not in ("tanh", "linear"):
        raise ValueError(f'The output is "tanh" or "linear", not "{output}".')
    return nn.Tanh() if output == "tanh" else nn.Identity()


def check_sides(image: Tensor, multiple: int) -> None:
    """Raises a ValueError where (B, C, H, W) has a side that is no multiple."""
    height, width = image.shape[-2:]
    if height % multiple or width % multiple:
        raise ValueError(f"Expected sides that are multiples of {multiple}, got {width} x {height} pixels.")


def start_small(network: nn.Module) -> None:
    """Weights of convolutions at random with a deviation of 0.02 about 0, those of normalisations about 1."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(module.weight, 0.0, START_DEVIATION)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d | nn.GroupNorm):
            nn.init.normal_(module.weight, 1.0, START_DEVIATION)


def _normalised(channels: int) -> list[nn.Module]:
    return [nn.InstanceNorm2d(channels), nn.ReLU(inplace=True)]
