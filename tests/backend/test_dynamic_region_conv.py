"""Dynamic region-aware convolution: the sum of its definition, its gradients, where regions and filters come from."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from backend.networks.dynamic_region_conv import (
    DynamicRegionConvolution,
    RegionAttributes,
    RegionFilters,
    hard_regions,
    region_convolution,
)


def random(seed: int, *shape: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def mask_of(kind: str, *shape: int) -> torch.Tensor:
    """(B, M, H, W): one region a pixel, softmax weights, or one region a pixel and none in the first row."""
    logits = random(7, *shape)
    if kind == "soft":
        return logits.softmax(1)
    mask = hard_regions(logits)
    if kind == "none in the first row":
        mask[:, :, 0] = 0
    return mask


def layer_of(*args, seed: int = 0, **options) -> DynamicRegionConvolution:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return DynamicRegionConvolution(*args, **options).double()


def region_convolution_by_hand(mask: torch.Tensor, filters: torch.Tensor, maps: torch.Tensor) -> torch.Tensor:
    """One number at a time: equation 3 of Chen et al., and of (B, N, I, H, W) maps."""
    batch, regions, out_channels, in_channels, side, _ = filters.shape
    height, width = mask.shape[-2:]
    result = torch.zeros(batch, maps.shape[1], out_channels, height, width, dtype=maps.dtype)
    for b, n, o, row, column in torch.cartesian_prod(*(torch.arange(count) for count in result.shape)).tolist():
        for m in range(regions):
            for i, u, v in torch.cartesian_prod(*(torch.arange(c) for c in (in_channels, side, side))).tolist():
                y, x = row + u - side // 2, column + v - side // 2
                if 0 <= y < height and 0 <= x < width:
                    weight = mask[b, m, row, column] * filters[b, m, o, i, u, v]
                    result[b, n, o, row, column] += weight * maps[b, n, i, y, x]
    return result


@settings(max_examples=12, deadline=None)
@given(
    kind=st.sampled_from(["hard", "soft", "none in the first row"]),
    side=st.sampled_from([1, 3, 5]),
    regions=st.integers(1, 3),
    height=st.integers(1, 4),
    width=st.integers(1, 4),
)
def test_region_convolution_equals_the_definition(kind, side, regions, height, width):
    mask = mask_of(kind, 2, regions, height, width)
    filters, maps = random(0, 2, regions, 2, 1, side, side), random(1, 2, 2, 1, height, width)
    expected = region_convolution_by_hand(mask, filters, maps)
    torch.testing.assert_close(region_convolution(mask, filters, maps), expected)


@pytest.mark.parametrize("kind", ["hard", "soft"])
def test_gradients_of_filters_and_maps_equal_finite_differences(kind):
    mask = mask_of(kind, 2, 3, 3, 4)
    filters = random(0, 2, 3, 2, 2, 3, 3).requires_grad_()
    maps = random(1, 2, 2, 2, 3, 4).requires_grad_()
    assert torch.autograd.gradcheck(lambda *given: region_convolution(mask, *given), (filters, maps))


def test_the_gradient_of_a_soft_mask_equals_finite_differences():
    mask, filters = mask_of("soft", 1, 3, 3, 4).requires_grad_(), random(0, 1, 3, 2, 2, 3, 3)
    assert torch.autograd.gradcheck(lambda mask: region_convolution(mask, filters, random(1, 1, 2, 3, 4)), (mask,))


def test_a_one_hot_mask_has_the_gradient_of_the_sum_over_regions():
    mask, filters, maps = mask_of("hard", 2, 3, 4, 5), random(0, 2, 3, 2, 2, 3, 3), random(1, 2, 2, 2, 4, 5)
    gradients = []
    for convolve in (region_convolution, region_convolution_by_hand):
        leaf = mask.clone().requires_grad_()
        convolve(leaf, filters, maps).square().sum().backward()
        gradients.append(leaf.grad)
    torch.testing.assert_close(*gradients)


def test_hard_regions_choose_the_greatest_and_the_first_of_equals():
    logits = torch.tensor([[0.0, 1.0, 1.0], [3.0, 2.0, 2.5], [-1.0, -1.0, -1.0]]).T[None, :, :, None]
    assert torch.equal(hard_regions(logits)[0, :, :, 0].T, torch.eye(3)[[1, 0, 0]])


def test_hard_regions_have_the_gradient_of_softmax():
    logits, pull = random(0, 2, 4, 3, 3), random(1, 2, 4, 3, 3)
    gradients = []
    for regions in (hard_regions, lambda logits: logits.softmax(1)):
        leaf = logits.clone().requires_grad_()
        (regions(leaf) * pull).sum().backward()
        gradients.append(leaf.grad)
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("how", ["banks", "pooled"])
@pytest.mark.parametrize(("regions", "soft"), [(3, False), (3, True), (1, False)])
def test_the_layer_is_linear_in_what_it_convolves(how, regions, soft):
    layer = layer_of(5, 2, 3, regions=regions, how=how, soft=soft)
    attributes = layer.regions_and_filters(random(0, 2, 5, 4, 6))
    f, g = random(1, 2, 2, 4, 6), random(2, 2, 2, 4, 6)
    both = layer.apply_to(attributes, 2.5 * f - 3 * g)
    assert both.shape == (2, 3, 4, 6)
    torch.testing.assert_close(both, 2.5 * layer.apply_to(attributes, f) - 3 * layer.apply_to(attributes, g))


def test_many_maps_of_a_person_go_through_that_persons_filters():
    layer, guide, maps = layer_of(5, 2, 3, regions=4), random(0, 2, 5, 4, 6), random(1, 2, 3, 2, 4, 6)
    together = layer(guide, maps)
    for person in range(2):
        for number in range(3):
            alone = layer(guide[person : person + 1], maps[person : person + 1, number])
            torch.testing.assert_close(together[person, number], alone[0])
    assert not torch.allclose(layer(guide, maps[:1].expand(2, -1, -1, -1, -1))[0], together[1])


def test_one_region_is_a_convolution_with_the_guides_filters():
    layer, guide, maps = layer_of(5, 2, 3, regions=1), random(0, 2, 5, 4, 6), random(1, 2, 2, 4, 6)
    attributes = layer.regions_and_filters(guide)
    assert torch.equal(attributes.mask, torch.ones(2, 1, 4, 6, dtype=torch.float64))
    for person in range(2):
        expected = torch.nn.functional.conv2d(maps[person], attributes.filters[person, 0], padding=1)
        torch.testing.assert_close(layer(guide, maps)[person], expected)
    assert not torch.allclose(*attributes.filters)


def test_soft_regions_are_the_softmax_of_which_hard_ones_are_the_greatest():
    guide = random(0, 2, 5, 4, 6)
    soft, hard = (layer_of(5, 2, 3, soft=soft).regions_and_filters(guide) for soft in (True, False))
    assert torch.equal(hard_regions(soft.mask), hard.mask)
    assert torch.equal(soft.filters, hard.filters)
    torch.testing.assert_close(soft.mask.sum(1), torch.ones(2, 4, 6, dtype=torch.float64))
    assert 0 < soft.mask.min() and soft.mask.max() < 1


@pytest.mark.parametrize("how", ["banks", "pooled"])
def test_gradients_reach_the_guide_and_all_weights(how):
    layer, guide = layer_of(5, 2, 3, how=how), random(0, 2, 5, 6, 6).requires_grad_()
    layer(guide, random(1, 2, 2, 6, 6)).square().sum().backward()
    assert guide.grad.abs().sum() > 0
    assert all(value.grad.abs().sum() > 0 for value in layer.parameters())


def test_banks_are_mixed_as_the_guides_mean_says():
    filters, guide = RegionFilters(5, 2, 3, regions=4, banks=6).double(), random(0, 2, 5, 3, 7)
    found = filters(guide)
    for person in range(2):
        mean = guide[person].flatten(1).mean(1)
        for region in range(4):
            rows = slice(6 * region, 6 * region + 6)
            chosen = filters.mixing.weight[rows] @ mean + filters.mixing.bias[rows]
            shares = [2 / (1 + math.exp(-number)) / 6 for number in chosen.tolist()]
            by_hand = sum(share * bank for share, bank in zip(shares, filters.banks, strict=True))
            torch.testing.assert_close(found[person, region], by_hand)


def test_pooled_filters_come_from_the_place_they_weigh():
    filters, guide = RegionFilters(5, 2, 3, regions=4, kernel=3, how="pooled").double(), random(0, 1, 5, 9, 6)
    before, there = filters(guide), filters.places[1]
    elsewhere = guide.clone()
    elsewhere[:, :, 3:6, 4:] += 1  # of 3 x 3 places, the middle row's last
    changed = (filters(elsewhere) - before).abs().amax((0, 1, 2, 3)) > 0
    assert changed.nonzero().tolist() == [[1, 2]]
    mean = guide[0, :, 3:6, 4:].mean((1, 2))
    between = torch.sigmoid(there.weight[:, :, 0, 0] @ mean + there.bias).unflatten(0, (4, 4))
    for region in range(4):
        rows = slice(6 * region, 6 * region + 6)
        by_hand = filters.span.weight[rows, :, 0, 0] @ between[region] + filters.span.bias[rows]
        torch.testing.assert_close(before[0, region, :, :, 1, 2].flatten(), by_hand)


@pytest.mark.parametrize("how", ["banks", "pooled"])
@pytest.mark.parametrize("gain", [1.0, 0.02])
def test_filters_start_as_large_as_said_and_apart(how, gain):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        filters = RegionFilters(32, 16, 16, how=how, gain=gain)
    found = filters(random(0, 4, 32, 6, 6, dtype=torch.float32).relu())
    assert found.std().item() == pytest.approx(gain * math.sqrt(2 / (16 * 9)), rel=0.25)
    apart = (found[:, 0] - found[:, 1]).std() / found.std()
    assert apart > 0.2  # else nothing tells regions apart, and the mask learns nothing


def test_a_training_step_never_holds_all_regions_results():
    class Sizes(TorchDispatchMode):
        largest = 0

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            result = function(*args, **(kwargs or {}))
            for tensor in tree_leaves(result):
                if isinstance(tensor, torch.Tensor):
                    self.largest = max(self.largest, tensor.untyped_storage().nbytes() // tensor.element_size())
            return result

    layer, guide, maps = DynamicRegionConvolution(4, 4, 16), torch.randn(1, 4, 20, 20), torch.randn(1, 4, 20, 20)
    with Sizes() as sizes:
        layer(guide, maps).square().sum().backward()
    assert sizes.largest <= 36 * 400  # 128 x 400 with all


@pytest.mark.parametrize(("kind", "evaluated"), [("hard", 1), ("soft", 3)])
def test_only_a_soft_mask_has_all_filters_evaluated_at_each_pixel(kind, evaluated):
    with FlopCounterMode(display=False) as counter:
        region_convolution(mask_of(kind, 1, 3, 8, 8), random(0, 1, 3, 5, 2, 3, 3), random(1, 1, 2, 8, 8))
    assert counter.get_total_flops() == evaluated * 2 * 64 * 5 * 2 * 9


def test_half_precision_is_summed_in_single():
    mask, filters, maps = (
        tensor.to(torch.bfloat16)
        for tensor in (mask_of("hard", 1, 2, 4, 4), random(0, 1, 2, 3, 8, 3, 3), random(1, 1, 8, 4, 4))
    )
    exact = region_convolution(mask.float(), filters.float(), maps.float())
    assert torch.equal(region_convolution(mask, filters, maps), exact.to(torch.bfloat16))


@pytest.mark.parametrize("shape", [(1, 2, 4, 6), (2, 3, 4, 6), (2, 2, 6, 4), (2, 4, 6), (3, 2, 2, 4, 6)])
def test_maps_that_do_not_fit_are_refused(shape):
    layer = layer_of(5, 2, 3)
    with pytest.raises(ValueError, match=r"Expected maps of \(2, 2, 4, 6\)"):
        layer(random(0, 2, 5, 4, 6), random(1, *shape))


def test_even_kernels_and_unknown_ways_are_refused():
    with pytest.raises(ValueError, match="odd kernel"):
        DynamicRegionConvolution(5, 2, 3, kernel=4)
    with pytest.raises(ValueError, match='not "mean"'):
        DynamicRegionConvolution(5, 2, 3, how="mean")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no graphics card")
@pytest.mark.parametrize("kind", ["hard", "soft"])
def test_a_graphics_card_gives_the_same_maps_and_gradients(kind):
    results = []
    for device in ("cpu", "cuda"):
        given = (mask_of(kind, 2, 4, 9, 8), random(0, 2, 4, 3, 2, 3, 3), random(1, 2, 2, 2, 9, 8))
        leaves = [tensor.to(device).requires_grad_() for tensor in given]
        found = DynamicRegionConvolution(5, 2, 3).apply_to(RegionAttributes(*leaves[:2]), leaves[2])
        found.square().sum().backward()
        results.append([value.detach().cpu() for value in (found, *(leaf.grad for leaf in leaves))])
    for first, second in zip(*results, strict=True):
        torch.testing.assert_close(first, second)
