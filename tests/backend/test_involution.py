"""Involution: the sum of its definition, its gradients, and the residual network that is made of it."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from backend.networks.involution import Involution, involution
from backend.networks.rednet import rednet50
from backend.networks.resnet import Bottleneck


def random(seed: int, *shape: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def involution_by_hand(features: torch.Tensor, kernels: torch.Tensor, stride: int) -> torch.Tensor:
    """One number at a time, as in equation 3 of the paper."""
    _, channels, height, width = features.shape
    batch, groups, places, rows, columns = kernels.shape
    side = math.isqrt(places)
    result = torch.zeros(batch, channels, rows, columns, dtype=features.dtype)
    for b, c, i, j in torch.cartesian_prod(*(torch.arange(n) for n in result.shape)).tolist():
        for u in range(side):
            for v in range(side):
                row, column = i * stride + u - side // 2, j * stride + v - side // 2
                if 0 <= row < height and 0 <= column < width:
                    weight = kernels[b, c * groups // channels, u * side + v, i, j]
                    result[b, c, i, j] += weight * features[b, c, row, column]
    return result


@settings(max_examples=12, deadline=None)
@given(
    side=st.sampled_from([1, 3, 5, 7]),
    stride=st.integers(1, 3),
    groups=st.integers(1, 2),
    height=st.integers(1, 5),
    width=st.integers(1, 5),
)
def test_involution_equals_the_definition(side, stride, groups, height, width):
    features = random(0, 1, 2 * groups, height, width)
    kernels = random(1, 1, groups, side**2, -(-height // stride), -(-width // stride))
    by_hand = involution_by_hand(features, kernels, stride)
    torch.testing.assert_close(involution(features, kernels, stride), by_hand)


@pytest.mark.parametrize(("side", "stride"), [(3, 1), (3, 2), (5, 3)])
def test_gradients_equal_finite_differences(side, stride):
    features = random(0, 1, 4, 4, 5).requires_grad_()
    kernels = random(1, 1, 2, side**2, -(-4 // stride), -(-5 // stride)).requires_grad_()
    assert torch.autograd.gradcheck(lambda *given: involution(*given, stride), (features, kernels))


def test_the_module_makes_its_kernels_of_averaged_features():
    layer = Involution(8, 3, stride=2, group_channels=4, reduction=2).double().eval()
    nn.init.normal_(layer.span.bias)
    features = random(0, 2, 8, 5, 4)
    kernels = torch.empty(2, 2, 9, 3, 2, dtype=torch.float64)
    for i in range(3):
        for j in range(2):
            mean = features[:, :, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].mean(dim=(2, 3))  # the last row has one
            between = mean @ layer.reduce[0].weight[:, :, 0, 0].T / (1 + layer.reduce[1].eps) ** 0.5
            spanned = between.clamp(min=0) @ layer.span.weight[:, :, 0, 0].T + layer.span.bias
            kernels[:, :, :, i, j] = spanned.unflatten(1, (2, 9))
    with torch.no_grad():
        torch.testing.assert_close(layer(features), involution_by_hand(features, kernels, 2))


def test_gradients_reach_what_makes_the_kernels():
    layer = Involution(8, 7, group_channels=4)
    layer(random(0, 2, 8, 6, 6, dtype=torch.float32)).square().sum().backward()
    assert all(value.grad.abs().sum() > 0 for value in layer.parameters())


def test_no_step_makes_more_than_the_padded_picture_and_its_kernels():
    class Sizes(TorchDispatchMode):
        largest = 0

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            result = function(*args, **(kwargs or {}))
            for tensor in tree_leaves(result):
                if isinstance(tensor, torch.Tensor):
                    self.largest = max(self.largest, tensor.untyped_storage().nbytes() // tensor.element_size())
            return result

    features, kernels = torch.zeros(1, 32, 10, 10), torch.zeros(1, 1, 49, 10, 10)
    with Sizes() as sizes:
        involution(features.requires_grad_(), kernels.requires_grad_()).sum().backward()
    assert sizes.largest == 32 * 16 * 16  # the unfolded picture has 156,800


def test_half_precision_is_summed_in_single():
    features, kernels = random(0, 1, 4, 6, 6, dtype=torch.bfloat16), random(1, 1, 1, 49, 6, 6, dtype=torch.bfloat16)
    exact = involution(features.float(), kernels.float())
    assert torch.equal(involution(features, kernels), exact.to(torch.bfloat16))


@pytest.mark.parametrize(("channels", "side"), [(24, 3), (32, 4)])
def test_parts_of_groups_and_even_kernels_are_refused(channels, side):
    with pytest.raises(ValueError, match="odd kernel and whole groups"):
        Involution(channels, side)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no graphics card")
def test_a_graphics_card_gives_the_same_features_and_gradients():
    results = []
    for device in ("cpu", "cuda"):
        features = random(0, 2, 8, 9, 9, dtype=torch.float32).to(device).requires_grad_()
        kernels = random(1, 2, 2, 49, 5, 5, dtype=torch.float32).to(device).requires_grad_()
        found = involution(features, kernels, 2)
        found.square().sum().backward()
        results.append([value.detach().cpu() for value in (found, features.grad, kernels.grad)])
    for first, second in zip(*results, strict=True):
        torch.testing.assert_close(first, second, rtol=1e-4, atol=1e-4)


# RedNet.


def test_rednet50_has_the_published_parameters():
    with torch.device("meta"):
        network = rednet50()
    assert sum(value.numel() for value in network.parameters()) == 15_540_806  # the paper's 15.5 million
    made = [module for module in network.modules() if isinstance(module, Involution)]
    assert [module.kernel_size for module in made] == [3] + [7] * 16
    assert [module.groups for module in made] == [2] + 3 * [4] + 4 * [8] + 6 * [16] + 3 * [32]
    assert [number for number, module in enumerate(made) if module.stride == 2] == [4, 8, 14]


def test_rednet_starts_as_its_ways_round():
    network = rednet50(width=4, outputs=None).eval()
    block, features = network.layer1[1], random(0, 1, 16, 5, 5, dtype=torch.float32).clamp(min=0)
    with torch.no_grad():
        assert torch.equal(block(features), features)
    assert all((module.bn3.weight == 0).all() for module in network.modules() if isinstance(module, Bottleneck))


@pytest.mark.parametrize("size", [32, 65])
def test_stem_pooling_and_stages_halve_the_picture_rounding_up(size):
    network = rednet50(width=4, outputs=5, inputs=6).eval()
    image = torch.rand(1, 6, size, size)
    with torch.no_grad():
        sides = [network.stem(image).shape[-1], *(maps.shape[-1] for maps in network.feature_maps(image))]
    expected = [math.ceil(size / 2)]
    for _ in range(2):
        expected.append(math.ceil(expected[-1] / 2))
    assert sides == expected[:2] + [math.ceil(expected[1] / 2**stage) for stage in range(1, 4)]


def test_gradients_reach_the_stem_of_a_rednet():
    network = rednet50(width=4, outputs=2)
    network(torch.rand(2, 3, 64, 64)).square().sum().backward()
    assert network.stem[0].weight.grad.abs().sum() > 0
