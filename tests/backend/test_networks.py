"""Residual networks: what they compute, and that they take the state dicts of the families they belong to."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from backend.networks.iresnet import BLOCKS, IResNet, PreNormalisedBlock, iresnet
from backend.networks.resnet import BasicBlock, Bottleneck, ResNet, resnet18, resnet50

TORCHVISION_PARAMETERS = {18: 11_689_512, 50: 25_557_032}
"""Of ResNets with 1000 outputs; `test_bisenet.py` has the names in a file of ResNet-18."""
INSIGHTFACE_PARAMETERS = {18: 24_025_600, 34: 34_139_328, 50: 43_590_848, 100: 65_156_160}


def normalisation(name: str, channels: int) -> dict[str, tuple[int, ...]]:
    vectors = {f"{name}.{part}": (channels,) for part in ("weight", "bias", "running_mean", "running_var")}
    return {**vectors, f"{name}.num_batches_tracked": ()}


def torchvision_resnet50() -> dict[str, tuple[int, ...]]:
    """Names and shapes in a torchvision file of ResNet-50, as its documentation lists them."""
    shapes = {"conv1.weight": (64, 3, 7, 7), **normalisation("bn1", 64)}
    inputs = 64
    for stage, blocks in enumerate((3, 4, 6, 3), start=1):
        channels = 32 * 2**stage
        for block in range(blocks):
            name = f"layer{stage}.{block}"
            shapes[f"{name}.conv1.weight"] = (channels, inputs, 1, 1)
            shapes[f"{name}.conv2.weight"] = (channels, channels, 3, 3)
            shapes[f"{name}.conv3.weight"] = (4 * channels, channels, 1, 1)
            for number, size in ((1, channels), (2, channels), (3, 4 * channels)):
                shapes |= normalisation(f"{name}.bn{number}", size)
            if block == 0:
                shapes[f"{name}.downsample.0.weight"] = (4 * channels, inputs, 1, 1)
                shapes |= normalisation(f"{name}.downsample.1", 4 * channels)
            inputs = 4 * channels
    return {**shapes, "fc.weight": (1000, 2048), "fc.bias": (1000,)}


def insightface_iresnet50() -> dict[str, tuple[int, ...]]:
    """Names and shapes in an insightface file of IResNet-50."""
    shapes = {"conv1.weight": (64, 3, 3, 3), **normalisation("bn1", 64), "prelu.weight": (64,)}
    inputs = 64
    for stage, blocks in enumerate((3, 4, 14, 3), start=1):
        channels = 32 * 2**stage
        for block in range(blocks):
            name = f"layer{stage}.{block}"
            shapes |= normalisation(f"{name}.bn1", inputs)
            shapes[f"{name}.conv1.weight"] = (channels, inputs, 3, 3)
            shapes |= normalisation(f"{name}.bn2", channels)
            shapes[f"{name}.prelu.weight"] = (channels,)
            shapes[f"{name}.conv2.weight"] = (channels, channels, 3, 3)
            shapes |= normalisation(f"{name}.bn3", channels)
            if block == 0:
                shapes[f"{name}.downsample.0.weight"] = (channels, inputs, 1, 1)
                shapes |= normalisation(f"{name}.downsample.1", channels)
            inputs = channels
    last = {**normalisation("bn2", 512), "fc.weight": (512, 25088), "fc.bias": (512,)}
    return {**shapes, **last, **normalisation("features", 512)}


def parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def loads_whole(network: nn.Module, shapes: dict[str, tuple[int, ...]]) -> bool:
    """Whether a state dict of random content in these shapes loads, nothing missing and nothing left over."""
    state = {}
    for name, shape in shapes.items():
        counter = name.endswith("num_batches_tracked")
        state[name] = torch.tensor(3) if counter else torch.randn(shape, generator=torch.Generator().manual_seed(0))
    network.load_state_dict(state, strict=True)
    return all(torch.equal(network.state_dict()[name], value) for name, value in state.items())


def test_resnet50_takes_the_state_dict_of_torchvision():
    assert loads_whole(resnet50(), torchvision_resnet50())


@pytest.mark.parametrize(("network", "depth"), [(resnet18, 18), (resnet50, 50)])
def test_resnets_have_the_parameters_of_torchvision(network, depth: int):
    with torch.device("meta"):
        assert parameters(network()) == TORCHVISION_PARAMETERS[depth]


def test_half_the_width_has_a_quarter_of_the_parameters():
    assert parameters(resnet50(width=32, outputs=221)) == pytest.approx(6.15e6, rel=0.02)


def test_the_iresnet_takes_the_state_dict_of_insightface():
    assert loads_whole(iresnet(50), insightface_iresnet50())


@pytest.mark.parametrize("depth", BLOCKS)
def test_iresnets_have_the_parameters_of_insightface(depth: int):
    assert parameters(iresnet(depth)) == INSIGHTFACE_PARAMETERS[depth]


def test_a_bottleneck_computes_its_definition_with_the_stride_in_the_middle():
    torch.manual_seed(0)
    block = Bottleneck(6, 4, stride=2).eval()
    for norm in (block.bn1, block.bn2, block.bn3, block.downsample[1]):
        nn.init.normal_(norm.running_mean)
        nn.init.uniform_(norm.running_var, 0.5, 2.0)
    image = torch.randn(2, 6, 9, 9)

    def normalised(features, norm):
        shift = (features - norm.running_mean[:, None, None]) / (norm.running_var[:, None, None] + norm.eps).sqrt()
        return shift * norm.weight[:, None, None] + norm.bias[:, None, None]

    by_hand = functional.relu(normalised(functional.conv2d(image, block.conv1.weight), block.bn1))
    by_hand = functional.relu(
        normalised(functional.conv2d(by_hand, block.conv2.weight, stride=2, padding=1), block.bn2)
    )
    by_hand = normalised(functional.conv2d(by_hand, block.conv3.weight), block.bn3)
    way_round = normalised(functional.conv2d(image, block.downsample[0].weight, stride=2), block.downsample[1])
    torch.testing.assert_close(block(image.clone()), functional.relu(by_hand + way_round), atol=1e-5, rtol=1e-4)


def test_a_basic_block_computes_its_definition_with_the_stride_at_the_start():
    torch.manual_seed(0)
    block, image = BasicBlock(4, 6, stride=2).eval(), torch.randn(2, 4, 9, 9)
    scale = 1 / (1 + block.bn1.eps) ** 0.5  # a fresh normalisation that is not training
    features = functional.relu(functional.conv2d(image, block.conv1.weight, stride=2, padding=1) * scale)
    by_hand = functional.conv2d(features, block.conv2.weight, padding=1) * scale
    way_round = functional.conv2d(image, block.downsample[0].weight, stride=2) * scale
    torch.testing.assert_close(block(image), functional.relu(by_hand + way_round), atol=1e-5, rtol=1e-4)


def test_another_stem_takes_the_place_of_the_first_convolution():
    network = ResNet((1, 1), 4, 3, inputs=2, stem=lambda inputs, width: nn.Conv2d(inputs, width, 2, 2)).eval()
    assert {name for name in network.state_dict() if "layer" not in name and "fc" not in name} == {
        "stem.weight",
        "stem.bias",
    }
    image = torch.randn(1, 2, 16, 16)
    with torch.no_grad():
        pooled = functional.max_pool2d(network.stem(image), 3, 2, 1)
        torch.testing.assert_close(network.feature_maps(image)[0], network.layer1(pooled))


@pytest.mark.parametrize("block", [BasicBlock, Bottleneck])
def test_blocks_that_start_as_identities_pass_on_what_they_get(block):
    network, features = ResNet((2,), 4, None, block=block).eval(), torch.rand(1, 4 * block.expansion, 5, 5)
    network.start_as_identities()
    with torch.no_grad():
        assert torch.equal(network.layer1[1](features), features)


@pytest.mark.parametrize("size", [32, 100, 128, 244])
def test_stages_halve_the_picture_rounding_up(size: int):
    network = ResNet(layers=(1, 1, 1, 1), width=4, outputs=5).eval()
    sides = [maps.shape[-1] for maps in network.feature_maps(torch.rand(1, 3, size, size))]
    expected = [math.ceil(math.ceil(size / 2) / 2)]  # after the stem and its pooling
    for _ in range(3):
        expected.append(math.ceil(expected[-1] / 2))
    assert sides == expected


def test_without_a_last_layer_the_pooled_features_come_out():
    network = ResNet(layers=(1, 1, 1, 1), width=4, outputs=None).eval()
    image = torch.rand(2, 3, 64, 64)
    features = network(image)
    assert features.shape == (2, network.feature_size) == (2, 128)
    torch.testing.assert_close(features, network.feature_maps(image)[-1].mean(dim=(2, 3)))


def test_another_operator_takes_the_place_of_every_3_x_3_convolution():
    made = []

    class Shift(nn.Module):
        """No weights: every channel looks at the pixel to its left."""

        def __init__(self, channels: int, stride: int):
            super().__init__()
            self.stride = stride
            made.append((channels, stride))

        def forward(self, features):
            return torch.roll(features, 1, dims=3)[..., :: self.stride, :: self.stride]

    network = resnet50(width=8, outputs=3, operator=Shift)
    first_strides = {0: 1, 1: 2, 2: 2, 3: 2}
    expected = []
    for stage, blocks in enumerate((3, 4, 6, 3)):
        expected += [(8 * 2**stage, first_strides[stage])] + [(8 * 2**stage, 1)] * (blocks - 1)
    assert made == expected
    assert not [name for name in network.state_dict() if "layer" in name and "conv2" in name]
    assert network(torch.rand(2, 3, 64, 64)).shape == (2, 3)


def test_gradients_reach_the_first_layer_of_a_resnet():
    network = ResNet(layers=(1, 1, 1, 1), width=8, outputs=2)
    network(torch.rand(4, 3, 64, 64)).square().sum().backward()
    assert network.conv1.weight.grad.abs().sum() > 0


def test_a_block_of_the_iresnet_normalises_first_and_strides_last():
    torch.manual_seed(0)
    block = PreNormalisedBlock(4, 6, stride=2).eval()
    image = torch.randn(2, 4, 8, 8)
    scale = 1 / (1 + block.bn1.eps) ** 0.5  # a fresh normalisation that is not training
    features = functional.conv2d(image * scale, block.conv1.weight, padding=1) * scale
    features = torch.where(features > 0, features, 0.25 * features)
    by_hand = functional.conv2d(features, block.conv2.weight, stride=2, padding=1) * scale
    way_round = functional.conv2d(image, block.downsample[0].weight, stride=2) * scale
    torch.testing.assert_close(block(image), by_hand + way_round, atol=1e-5, rtol=1e-4)


def test_an_iresnet_of_another_width_and_size_embeds_faces():
    network = IResNet(BLOCKS[18], width=16, embedding=128, size=64)
    assert network.fc.in_features == 128 * 4 * 4
    embedding = network(torch.rand(3, 3, 64, 64) * 2 - 1)
    assert embedding.shape == (3, 128)
    embedding.square().sum().backward()
    assert network.conv1.weight.grad.abs().sum() > 0


def test_the_scale_of_the_last_normalisation_is_not_learnt():
    network = IResNet(BLOCKS[18], width=8)
    assert not network.features.weight.requires_grad
    assert (network.features.weight == 1).all()


def test_sizes_and_depths_that_do_not_exist_are_refused():
    with pytest.raises(ValueError, match="multiple of 8"):
        IResNet(size=100)
    with pytest.raises(ValueError, match="no IResNet-49; there are 18, 34, 50, 100"):
        iresnet(49)
