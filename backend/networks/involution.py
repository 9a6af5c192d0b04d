"""Involution: a convolution whose kernel is made anew at every place and shared by the channels of a group.

Li et al., "Involution: Inverting the Inherence of Convolution for Visual Recognition", CVPR 2021. In plain torch, on
every device. The windows are never laid out in memory: the sum runs over shifts of the picture, so that a forward pass
needs one more picture and a backward pass three, where unfolding needs K x K times as many.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

GROUP_CHANNELS = 16
"""Channels that share a kernel."""
REDUCTION = 4
"""The layer between features and kernels has this many times fewer channels than the features."""


class Involution(nn.Module):
    """A K x K involution (section 3): kernels from the features themselves by two 1 x 1 convolutions.

    With a stride the kernels are made of the features averaged over `stride` x `stride`; odd sides are rounded up.

    Args:
        channels: that come in and go out; a multiple of `group_channels`.
        kernel_size: K, odd.
        stride: of the result.
        group_channels: channels that share a kernel.
        reduction: of the layer between.

    Raises:
        ValueError: an even kernel, or channels that do not fall into groups.
    """

    def __init__(
        self,
        channels: int,
        kernel_size: int,
        stride: int = 1,
        group_channels: int = GROUP_CHANNELS,
        reduction: int = REDUCTION,
    ):
        super().__init__()
        if kernel_size % 2 == 0 or channels % group_channels:
            raise ValueError(
                f"An involution needs an odd kernel and whole groups, not {kernel_size} and {channels} channels in "
                f"groups of {group_channels}."
            )
        self.kernel_size, self.stride, self.groups = kernel_size, stride, channels // group_channels
        between = max(1, channels // reduction)
        self.reduce = nn.Sequential(
            nn.Conv2d(channels, between, 1, bias=False), nn.BatchNorm2d(between), nn.ReLU(inplace=True)
        )
        self.span = nn.Conv2d(between, kernel_size**2 * self.groups, 1)
        nn.init.zeros_(self.span.bias)

    def kernels(self, features: Tensor) -> Tensor:
        """(B, channels, H, W) -> (B, groups, K * K, H / stride, W / stride), not normalised; rows first."""
        if self.stride > 1:
            features = nn.functional.avg_pool2d(features, self.stride, self.stride, ceil_mode=True)
        return self.span(self.reduce(features)).unflatten(1, (self.groups, self.kernel_size**2))

    def forward(self, features: Tensor) -> Tensor:
        """(B, channels, H, W) -> (B, channels, H / stride, W / stride), odd sides rounded up."""
        return involution(features, self.kernels(features), self.stride)


def involution(features: Tensor, kernels: Tensor, stride: int = 1) -> Tensor:
    """Weighted sums of windows, the weights given at every place; what lies outside the picture is 0.

    Args:
        features: (B, C, H, W) float.
        kernels: (B, G, K * K, H', W') float with H' = H / stride rounded up; one kernel for C / G channels each.
        stride: between the windows' middles; the first is at the first pixel.

    Returns:
        (B, C, H', W') in the type of `features`. Sums are taken in float32 at least. Differentiable once.
    """
    exact = torch.promote_types(features.dtype, torch.float32)
    return _Involution.apply(features.to(exact), kernels.to(exact), stride).to(features.dtype)


class _Involution(torch.autograd.Function):
    """The sum over shifts; by hand backwards, where autograd would write a whole picture for every shift."""

    @staticmethod
    def forward(context, features: Tensor, kernels: Tensor, stride: int) -> Tensor:
        context.save_for_backward(features, kernels)
        context.stride = stride
        padded = _padded(features, kernels)
        result = features.new_zeros(*padded.shape[:3], *kernels.shape[-2:])
        for number, window in enumerate(_shifts(kernels, stride)):
            result.addcmul_(padded[window], kernels[:, :, number].unsqueeze(2))
        return result.flatten(1, 2)

    @staticmethod
    @once_differentiable
    def backward(context, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        features, kernels = context.saved_tensors
        padded = _padded(features, kernels)
        gradient = gradient.unflatten(1, padded.shape[1:3])
        of_padded, of_kernels = torch.zeros_like(padded), torch.empty_like(kernels)
        for number, window in enumerate(_shifts(kernels, context.stride)):
            of_padded[window].addcmul_(gradient, kernels[:, :, number].unsqueeze(2))
            of_kernels[:, :, number] = (gradient * padded[window]).sum(2)
        reach, (height, width) = _side(kernels) // 2, features.shape[-2:]
        inner = of_padded[..., reach : reach + height, reach : reach + width]
        return inner.flatten(1, 2), of_kernels, None


def _side(kernels: Tensor) -> int:
    """K of (B, G, K * K, H', W')."""
    return round(kernels.shape[2] ** 0.5)


def _padded(features: Tensor, kernels: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, G, C / G, H + K - 1, W + K - 1), zeros around."""
    around = nn.functional.pad(features, (_side(kernels) // 2,) * 4)
    return around.unflatten(1, (kernels.shape[1], -1))


def _shifts(kernels: Tensor, stride: int) -> Iterator[tuple]:
    """Of each of the K x K places in a window, the slices of the padded picture that hold it for all windows."""
    side, (height, width) = _side(kernels), kernels.shape[-2:]
    rows, columns = (height - 1) * stride + 1, (width - 1) * stride + 1
    for row in range(side):
        for column in range(side):
            yield (..., slice(row, row + rows, stride), slice(column, column + columns, stride))
