"""Dynamic region-aware convolution: each picture gets its own regions and, in each region, its own filters.

Chen et al., "Dynamic Region-Aware Convolution", CVPR 2021. Yang et al., "Detailed 3D Face Reconstruction from Single
Images via Self-supervised Attribute Learning", SIGGRAPH Asia 2020 posters, section 2.2, read regions and filters from
the photograph and convolve them over another map, that of the expression: what the filters know of a person holds for
expressions that the photograph does not show. Hence guide and convolved maps are two tensors here. In plain torch, on
every device; the published operator runs on CUDA only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional
from torch.nn.grad import conv2d_weight

FiltersFrom = Literal["banks", "pooled"]


@dataclass(frozen=True)
class RegionAttributes:
    """What a guide says of B people: where the regions are and what is convolved there.

    Args:
        mask: (B, M, H, W) float, one-hot over the M regions; or weights of regions that sum to 1.
        filters: (B, M, O, I, k, k) float.
    """

    mask: Tensor
    filters: Tensor


class DynamicRegionConvolution(nn.Module):
    """A convolution whose regions and filters come from a guide; linear in what it convolves, without a bias.

    With one region it is a dynamic convolution: filters from the guide, the same everywhere.

    Args:
        guide_channels: G.
        in_channels: I, of the convolved maps.
        out_channels: O.
        regions: M.
        kernel: k, odd; outside the map is 0.
        how: where filters come from, see `RegionFilters`.
        soft: whether a pixel's filter is the mean of all regions' weighted by their softmax, instead of its region's.
        banks, gain: see `RegionFilters`.
    """

    def __init__(
        self,
        guide_channels: int,
        in_channels: int,
        out_channels: int,
        regions: int = 8,
        kernel: int = 3,
        how: FiltersFrom = "banks",
        soft: bool = False,
        banks: int = 8,
        gain: float = 1.0,
    ):
        super().__init__()
        self.soft = soft
        self.logits = nn.Conv2d(guide_channels, regions, 1) if regions > 1 else None
        self.filters = RegionFilters(guide_channels, in_channels, out_channels, regions, kernel, how, banks, gain)

    def forward(self, guide: Tensor, convolved: Tensor) -> Tensor:
        """`apply_to` of `regions_and_filters`.

        Args:
            guide: (B, G, H, W) float.
            convolved: (B, I, H, W) or (B, N, I, H, W) float.

        Returns:
            (B, O, H, W) or (B, N, O, H, W).
        """
        return self.apply_to(self.regions_and_filters(guide), convolved)

    def regions_and_filters(self, guide: Tensor) -> RegionAttributes:
        """Of guides (B, G, H, W) float, to be applied to any number of maps."""
        if self.logits is None:
            mask = guide.new_ones(len(guide), 1, *guide.shape[-2:])
        else:
            logits = self.logits(guide)
            mask = logits.softmax(1) if self.soft else hard_regions(logits)
        return RegionAttributes(mask, self.filters(guide))

    def apply_to(self, attributes: RegionAttributes, convolved: Tensor) -> Tensor:
        """Each person's filters over maps of theirs.

        Args:
            attributes: of B people, for maps of H x W.
            convolved: (B, I, H, W) float, a map each; or (B, N, I, H, W), N maps each.

        Returns:
            (B, O, H, W), or (B, N, O, H, W).

        Raises:
            ValueError: as many people, channels or pixels as the attributes do not have.
        """
        return region_convolution(attributes.mask, attributes.filters, convolved)


class RegionFilters(nn.Module):
    """Filters of M regions from a guide; in one of two ways.

    "banks", as published by Chen et al.: the guide's mean over the picture chooses by a linear layer how much each
    region takes of weights that all share, by 2 sigmoid / banks. There all regions start with almost the same
    mixture, so that nothing tells them apart; here each starts with another.

    "pooled", as in shallowtoil/DRConv-PyTorch: the guide averaged to k x k, M numbers a region at each of its places by
    a 1 x 1 convolution and a sigmoid, and from these by one more, each region for itself, the weights of that place.

    Args:
        guide_channels, in_channels, out_channels, regions, kernel: G, I, O, M and k.
        how: "banks" or "pooled".
        banks: how many sets of weights are mixed; of no use to "pooled".
        gain: the filters' standard deviation at the start, in units of the root of 2 / (I k^2) (He et al. 2015).

    Raises:
        ValueError: an even kernel, or another way.
    """

    def __init__(
        self,
        guide_channels: int,
        in_channels: int,
        out_channels: int,
        regions: int = 8,
        kernel: int = 3,
        how: FiltersFrom = "banks",
        banks: int = 8,
        gain: float = 1.0,
    ):
        super().__init__()
        if kernel % 2 == 0:
            raise ValueError(f"A region's filters need an odd kernel, not {kernel}.")
        self.regions, self.shape = regions, (out_channels, in_channels, kernel, kernel)
        deviation = gain * math.sqrt(2 / (in_channels * kernel**2))
        if how == "banks":
            self.mixing = nn.Linear(guide_channels, regions * banks)
            nn.init.kaiming_normal_(self.mixing.weight, nonlinearity="linear")
            nn.init.normal_(self.mixing.bias)
            self.banks = nn.Parameter(torch.randn(banks, *self.shape) * deviation * math.sqrt(banks))
        elif how == "pooled":
            self.places = nn.Sequential(
                nn.AdaptiveAvgPool2d(kernel), nn.Conv2d(guide_channels, regions**2, 1), nn.Sigmoid()
            )
            self.span = nn.Conv2d(regions**2, regions * out_channels * in_channels, 1, groups=regions)
            nn.init.normal_(self.span.weight, std=2 * deviation / math.sqrt(regions))  # of sigmoids about 1 / 2
            nn.init.zeros_(self.span.bias)
        else:
            raise ValueError(f'Filters come from "banks" or are "pooled", not "{how}".')
        self.how = how

    def forward(self, guide: Tensor) -> Tensor:
        """(B, G, H, W) float -> (B, M, O, I, k, k)."""
        if self.how == "pooled":
            return self.span(self.places(guide)).unflatten(1, (self.regions, *self.shape[:2]))
        mixing = 2 * torch.sigmoid(self.mixing(guide.mean((2, 3)))) / len(self.banks)
        return torch.einsum("bmn,noikl->bmoikl", mixing.unflatten(1, (self.regions, -1)), self.banks)


def hard_regions(logits: Tensor) -> Tensor:
    """One region a pixel, the gradient that of softmax, as if its weights had been used (section 3.3 of Chen et al.).

    Args:
        logits: (B, M, H, W) float.

    Returns:
        (B, M, H, W), one-hot over the second dimension; of equal logits the first wins. Differentiable once.
    """
    return _HardRegions.apply(logits)


class _HardRegions(torch.autograd.Function):
    """argmax forward, softmax backward."""

    @staticmethod
    def forward(context, logits: Tensor) -> Tensor:
        context.save_for_backward(logits)
        return torch.zeros_like(logits).scatter_(1, logits.argmax(1, keepdim=True), 1.0)

    @staticmethod
    @once_differentiable
    def backward(context, gradient: Tensor) -> Tensor:
        (logits,) = context.saved_tensors
        weights = logits.softmax(1)
        return weights * (gradient - (weights * gradient).sum(1, keepdim=True))


def region_convolution(mask: Tensor, filters: Tensor, convolved: Tensor) -> Tensor:
    """Sum over regions of mask times the map convolved with the region's filters; outside the map is 0.

    Where the mask is one-hot, only a pixel's own filter is evaluated. Backward passes evaluate the regions one after
    the other, and nothing of theirs is kept from the forward pass.

    Args:
        mask: (B, M, H, W) float.
        filters: (B, M, O, I, k, k) float, k odd.
        convolved: (B, I, H, W) or (B, N, I, H, W) float.

    Returns:
        (B, O, H, W) or (B, N, O, H, W) in the type of `convolved`. Sums are taken in float32 at least. Differentiable
        once, also by the mask: by a one-hot one as if it were any.

    Raises:
        ValueError: shapes that do not fit.
    """
    expected = (mask.shape[0], filters.shape[3], *mask.shape[-2:])
    if convolved.ndim not in (4, 5) or (convolved.shape[0], *convolved.shape[-3:]) != expected:
        raise ValueError(
            f"Expected maps of {expected} to convolve, or of that with their number in second place, got "
            f"{tuple(convolved.shape)}."
        )
    exact = torch.promote_types(convolved.dtype, torch.float32)
    maps = convolved if convolved.ndim == 5 else convolved.unsqueeze(1)
    result = _RegionConvolution.apply(mask.to(exact), filters.to(exact), maps.to(exact)).to(convolved.dtype)
    return result if convolved.ndim == 5 else result.squeeze(1)


class _RegionConvolution(torch.autograd.Function):
    """Map by map and region by region: on a CPU faster than all at once, whose results leave the cache."""

    @staticmethod
    def forward(context, mask: Tensor, filters: Tensor, maps: Tensor) -> Tensor:
        context.save_for_backward(mask, filters, maps)
        result = maps.new_zeros(*maps.shape[:2], filters.shape[2], *maps.shape[-2:])
        for person in range(len(maps)):
            if mask.shape[1] > 1 and _one_hot(mask[person]):
                _convolve_each_pixel_once(mask[person], filters[person], maps[person], result[person])
                continue
            for convolved, total in zip(maps[person], result[person], strict=True):
                for weights, region in zip(mask[person], filters[person], strict=True):
                    total.addcmul_(_convolution(convolved, region), weights)
        return result

    @staticmethod
    @once_differentiable
    def backward(context, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        saved = context.saved_tensors
        of_mask, of_filters, of_maps = (
            torch.zeros_like(tensor) if needed else None
            for tensor, needed in zip(saved, context.needs_input_grad, strict=True)
        )
        mask, filters, maps = saved
        padding = filters.shape[-1] // 2
        for person, number, region in torch.cartesian_prod(
            *(torch.arange(count) for count in (*maps.shape[:2], mask.shape[1]))
        ).tolist():
            convolved, weights, come = maps[person, number], filters[person, region], gradient[person, number]
            if of_mask is not None:
                of_mask[person, region] += (come * _convolution(convolved, weights)).sum(0)
            come = (come * mask[person, region])[None]
            if of_filters is not None:
                of_filters[person, region] += conv2d_weight(convolved[None], weights.shape, come, padding=padding)
            if of_maps is not None:
                of_maps[person, number] += functional.conv_transpose2d(come, weights, padding=padding)[0]
        return of_mask, of_filters, of_maps


def _one_hot(mask: Tensor) -> bool:
    """Whether each pixel of (M, H, W) is in one region and no other."""
    return bool((mask == mask.square()).all()) and bool((mask.sum(0) == 1).all())


def _convolution(convolved: Tensor, filters: Tensor) -> Tensor:
    """(I, H, W) by (O, I, k, k) -> (O, H, W)."""
    return functional.conv2d(convolved[None], filters, padding=filters.shape[-1] // 2)[0]


def _convolve_each_pixel_once(mask: Tensor, filters: Tensor, maps: Tensor, result: Tensor) -> None:
    """Writes (N, O, H, W): of each region of a one-hot (M, H, W), the windows in (N, I, H, W), times its filters."""
    side, (height, width) = filters.shape[-1], maps.shape[-2:]
    region = mask.argmax(0).flatten()
    order = region.argsort(stable=True)  # pixels, region by region
    place = order.argsort()
    padded = functional.pad(maps, (side // 2,) * 4)
    across = padded.shape[-1]
    steps = (torch.arange(side)[:, None] * across + torch.arange(side)).reshape(-1, 1).to(order)
    corners = order // width * across + order % width
    pixels = corners.split(region.bincount(minlength=len(mask)).tolist())
    windows = [(steps + corner).flatten() for corner in pixels]
    flat = padded.flatten(2)
    for number in range(len(maps)):
        parts = [
            weights.flatten(1) @ flat[number].index_select(1, where).view(weights[0].numel(), -1)
            for weights, where in zip(filters, windows, strict=True)
        ]
        result[number] = torch.cat(parts, dim=1).index_select(1, place).unflatten(1, (height, width))
