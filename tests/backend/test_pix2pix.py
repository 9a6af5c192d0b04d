"""Generators and discriminator of pix2pix: their published sizes, what they see, what they refuse."""

import pytest
import torch

from backend.networks.patch_discriminator import PatchDiscriminator
from backend.networks.pix2pix import ResNetGenerator, UNetGenerator, enlargement, normalisation


@pytest.fixture(autouse=True)
def the_same_numbers_each_time():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def parameters(network: torch.nn.Module) -> int:
    return sum(value.numel() for value in network.parameters())


def assert_gradients_reach_weights(network: torch.nn.Module) -> None:
    """Not those biases that an instance normalisation takes away again."""
    for name, value in network.named_parameters():
        assert name.endswith("bias") or value.grad.abs().sum() > 0, name


def test_networks_have_the_published_parameters():
    with torch.device("meta"):
        assert parameters(UNetGenerator(3, 3)) == 54_413_955  # 54.414 M, as the authors' code prints
        assert parameters(ResNetGenerator(3, 3)) == 11_378_179  # 11.378 M
        assert parameters(PatchDiscriminator(6)) == 2_768_705  # 2.769 M, of two pictures


def generators(**options):
    return [UNetGenerator(2, 3, levels=3, width=4, **options), ResNetGenerator(2, 3, blocks=1, width=4, **options)]


@pytest.mark.parametrize("upsample", ["transposed", "resize"])
@pytest.mark.parametrize("number", [0, 1], ids=["unet", "resnet"])
def test_a_picture_keeps_its_size_and_gradients_reach_all_weights(number, upsample):
    network = generators(upsample=upsample)[number]
    image = torch.randn(2, 2, 16, 24, requires_grad=True)
    made = network(image)
    assert made.shape == (2, 3, 16, 24)
    (made * torch.randn_like(made)).sum().backward()
    assert image.grad.abs().sum() > 0
    assert_gradients_reach_weights(network)


@pytest.mark.parametrize("number", [0, 1], ids=["unet", "resnet"])
def test_tanh_is_all_that_tells_the_outputs_apart(number):
    network, other = generators(output="linear")[number], generators(output="tanh")[number]
    with torch.no_grad():
        network.get_parameter([name for name, _ in network.named_parameters() if name.endswith("weight")][0]).mul_(50)
    other.load_state_dict(network.state_dict())
    image = torch.randn(2, 2, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(other(image), network(image).tanh())


def test_the_coarsest_level_of_a_unet_sees_the_whole_picture():
    network = UNetGenerator(1, 1, levels=4, width=8, norm="none").eval()
    seen = []
    for features in (network.down[0], network):
        image = torch.randn(1, 1, 16, 16, requires_grad=True)
        features(image)[0, 0, 0, 0].backward()
        seen.append(int((image.grad != 0).sum()))
    assert seen == [9, 256]  # a corner's window of 4 x 4 lies 3 x 3 in the picture


def test_fine_detail_passes_a_unet_beside_its_coarser_levels():
    network = UNetGenerator(1, 1, levels=3, width=4).eval()
    with torch.no_grad():
        network.up[1][1].weight.zero_()
        image = torch.randn(1, 1, 8, 8)
        other = image.clone()
        other[..., 3, 3] += 1
        assert (network(image) != network(other)).any()


@pytest.mark.parametrize(("number", "multiple"), [(0, 8), (1, 4)], ids=["unet", "resnet"])
def test_sides_that_cannot_be_halved_are_refused(number, multiple):
    network = generators()[number]
    with pytest.raises(ValueError, match=f"multiples of {multiple}, got 24 x 18 pixels"):
        network(torch.zeros(1, 2, 18, 24))


@pytest.mark.parametrize("norm", ["instance", "group", "none"])
def test_a_picture_is_made_the_same_alone_and_in_a_batch(norm):
    network, images = UNetGenerator(2, 3, levels=3, width=4, norm=norm), torch.randn(3, 2, 8, 8)
    torch.testing.assert_close(network(images)[1:2], network(images[1:2]))


def test_groups_of_channels_are_normalised_together():
    features = torch.randn(1, 32, 3, 3) * torch.linspace(1, 9, 32)[:, None, None] + 5
    found = normalisation("group", 32)(features).detach()
    groups = found.unflatten(1, (2, 16)).transpose(0, 1).flatten(1)
    torch.testing.assert_close(groups.mean(1), torch.zeros(2), atol=1e-5, rtol=0)
    torch.testing.assert_close(groups.std(1, correction=0), torch.ones(2), atol=1e-3, rtol=0)
    assert found[0, 0].std() < found[0, 15].std() / 2  # where "instance" makes them equal
    assert normalisation("group", 24).num_groups == 3


def test_resizing_leaves_no_checkerboard():
    ripples = {}
    for upsample in ("transposed", "resize"):
        flat = enlargement(4, 1, 4, upsample)(torch.ones(1, 4, 6, 6))[0, 0, 2:-2, 2:-2].detach()
        assert flat.shape == (8, 8)
        ripples[upsample] = (flat.max() - flat.min()).item()
    assert ripples["resize"] < 1e-6 < 0.01 < ripples["transposed"]


@pytest.mark.parametrize("options", [{"norm": "layer"}, {"output": "sigmoid"}, {"upsample": "bicubic"}, {"levels": 1}])
def test_what_a_unet_does_not_know_is_refused(options):
    with pytest.raises(ValueError, match=str(next(iter(options.values())))):
        UNetGenerator(3, 3, width=2, **{"levels": 2, **options})


# The discriminator.


@pytest.mark.parametrize(("layers", "field"), [(1, 16), (2, 34), (3, 70)])
def test_a_number_of_the_discriminator_sees_its_patch_and_no_more(layers, field):
    network = PatchDiscriminator(2, width=2, layers=layers, norm="none").double()
    image = torch.randn(1, 2, 160, 160, dtype=torch.float64, requires_grad=True)
    made = network(image)
    assert made.shape == (1, 1, 160 // 2**layers - 2, 160 // 2**layers - 2)
    made[0, 0, made.shape[2] // 2, made.shape[3] // 2].backward()
    rows, columns = image.grad.abs().sum((0, 1)).nonzero().unbind(1)
    assert rows.max() - rows.min() + 1 == columns.max() - columns.min() + 1 == field


@pytest.mark.parametrize("norm", ["batch", "instance", "group", "none"])
def test_gradients_reach_all_of_a_discriminator_and_its_picture(norm):
    network, image = PatchDiscriminator(2, width=4, layers=2, norm=norm), torch.randn(2, 2, 32, 24, requires_grad=True)
    made = network(image)
    (made * torch.randn_like(made)).sum().backward()
    assert image.grad.abs().sum() > 0
    assert_gradients_reach_weights(network)


def test_a_discriminator_says_numbers_of_either_sign_and_any_size():
    network, image = PatchDiscriminator(2, width=4, layers=1, norm="none"), torch.randn(1, 2, 16, 16)
    with torch.no_grad():
        made = network(image)
        network.layers[-1].weight.mul_(-1000)
        torch.testing.assert_close(network(image), -1000 * made)  # a sigmoid would not follow


def test_a_picture_smaller_than_a_patch_is_refused():
    network = PatchDiscriminator(1, width=2, layers=3)
    assert network(torch.zeros(1, 1, 24, 31)).shape == (1, 1, 1, 1)
    with pytest.raises(ValueError, match="at least 24 pixels, got 40 x 23"):
        network(torch.zeros(1, 1, 23, 40))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no graphics card")
def test_a_graphics_card_makes_the_same_pictures():
    image = torch.randn(2, 2, 32, 32)
    for network in (*generators(), PatchDiscriminator(2, width=4)):
        with torch.no_grad():
            on_processor = network.eval()(image)
            on_card = network.cuda()(image.cuda()).cpu()
        torch.testing.assert_close(on_card, on_processor, rtol=1e-3, atol=1e-3)
