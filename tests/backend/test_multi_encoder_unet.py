"""MulEn-Unet: its size, what its gates do, and which view goes where."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from backend.networks.multi_encoder_unet import AttentionGate, DoubleConvolution, MultiEncoderUnet

PAPER_PARAMETERS = 80_078_532
"""FACTS has about 80.1 million; the layer that the published code makes and never calls would add 184,704."""


def parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def tiny(**options) -> MultiEncoderUnet:
    torch.manual_seed(0)
    return MultiEncoderUnet(width=2, **options).eval()


def views(count: int = 3, size: int = 32) -> torch.Tensor:
    return torch.rand(2, count, 4, size, size, generator=torch.Generator().manual_seed(1))


def test_the_papers_has_80_1_million_parameters_twelve_gates_and_256_features_as_large_as_the_picture():
    with torch.device("meta"):
        network = MultiEncoderUnet()
        fused = network(torch.empty(1, 3, 4, 224, 224))
    assert parameters(network) == PAPER_PARAMETERS
    assert len([module for module in network.modules() if isinstance(module, AttentionGate)]) == 12
    assert fused.shape == (1, 256, 224, 224) and network.outputs == 256


def test_the_papers_levels_have_the_published_channels():
    with torch.device("meta"):
        network = MultiEncoderUnet()
    for encoder in network.encoders:
        assert [(level[0].in_channels, level[3].out_channels) for level in encoder.levels] == [
            (4, 64), (64, 128), (128, 256), (256, 512), (512, 1024),
        ]  # fmt: skip
    ups = [(layer.in_channels, layer.out_channels) for layer in network.enlargements]
    assert ups == [(3072, 512), (512, 256), (256, 128), (128, 64)]
    assert [(layer[0].in_channels, layer[3].out_channels) for layer in network.convolutions] == [
        (2048, 512), (1024, 256), (512, 128),
    ]  # fmt: skip


def fused_by_hand(network: MultiEncoderUnet, given: torch.Tensor) -> torch.Tensor:
    """As section 3.3 tells it, for three unshared encoders with gates."""
    encoded = []
    for number in range(3):
        level = network.encoders[number].levels
        maps = [level[0](given[:, number])]
        for deeper in level[1:]:
            maps.append(deeper(functional.max_pool2d(maps[-1], 2)))
        encoded.append(maps)
    decoded = torch.cat([maps[4] for maps in encoded], 1)
    for step, level in enumerate((3, 2, 1, 0)):
        up = network.enlargements[step](decoded)
        taken = [network.gates[step][number](up, encoded[number][level]) for number in range(3)]
        decoded = torch.cat([up, *taken], 1)
        if level > 0:
            decoded = network.convolutions[step](decoded)
    return decoded


def test_views_are_encoded_gated_and_decoded_as_the_paper_tells():
    network = tiny()
    with torch.no_grad():
        torch.testing.assert_close(network(views()), fused_by_hand(network, views()))


def test_a_gate_is_its_equations():
    gate = AttentionGate(4).eval()
    decoded, encoded = torch.randn(2, 4, 3, 3), torch.randn(2, 4, 3, 3)
    scale = 1 / (1 + 1e-5) ** 0.5  # a fresh normalisation that is not training

    def at_each_place(layer, features):
        of_place = torch.einsum("oc,bchw->bohw", layer.weight[:, :, 0, 0], features)
        return (of_place + layer.bias[:, None, None]) * scale

    with torch.no_grad():
        wanted = at_each_place(gate.of_decoder[0], decoded) + at_each_place(gate.of_encoder[0], encoded)
        by_hand = encoded * torch.sigmoid(at_each_place(gate.weight[0], wanted.clamp(min=0)))
        torch.testing.assert_close(gate(decoded, encoded), by_hand)


def test_shut_gates_let_nothing_of_a_view_through():
    network, given = tiny(), views()
    for module in network.modules():
        if isinstance(module, AttentionGate):
            nn.init.constant_(module.weight[1].bias, -1e4)
    with torch.no_grad():
        fused = network(given)
    assert fused[:, :2].abs().sum() > 0 and (fused[:, 2:] == 0).all()


def test_without_gates_the_decoder_takes_all_of_the_encoders():
    network = tiny(gates=False)
    with torch.no_grad():
        fused = network(views())
        first = [encoder.levels[0](view) for encoder, view in zip(network.encoders, views().unbind(1), strict=True)]
    torch.testing.assert_close(fused[:, 2:], torch.cat(first, 1))
    assert not [module for module in network.modules() if isinstance(module, AttentionGate)]


def test_each_view_has_an_encoder_of_its_own_unless_it_is_shared():
    for shared, encoders in ((False, 3), (True, 1)):
        network = tiny(shared_encoder=shared, gates=False)
        assert len(network.encoders) == encoders
        alike = views()[:, :1].expand(2, 3, 4, 32, 32)
        with torch.no_grad():
            left, front, right = network(alike)[:, 2:].split(2, dim=1)
        assert torch.equal(left, front) == shared and torch.equal(left, right) == shared


def test_every_view_reaches_the_result():
    given = views().requires_grad_()
    tiny()(given).square().sum().backward()
    assert (given.grad.abs().sum(dim=(0, 2, 3, 4)) > 0).all()


def test_with_one_view_and_no_gates_it_is_a_u_net():
    network = tiny(views=1, gates=False)
    assert network(views(1)).shape == (2, 4, 32, 32)
    assert network.convolutions[0][0].in_channels == 2 * 16  # half decoded, half skipped


@pytest.mark.parametrize("shape", [(1, 2, 4, 32, 32), (1, 3, 4, 24, 32), (1, 3, 4, 32, 40)])
def test_other_views_and_sides_that_cannot_be_halved_are_refused(shape):
    with pytest.raises(ValueError, match="3 views whose sides are multiples of 16"):
        tiny()(torch.zeros(shape))


def test_a_double_convolution_normalises_after_each():
    names = [type(layer).__name__ for layer in DoubleConvolution(3, 5)]
    assert names == ["Conv2d", "BatchNorm2d", "ReLU"] * 2
