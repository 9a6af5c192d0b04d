"""The regressor of DF-MVR: its outputs, its variants, what an answer means, and slots without a view."""

import json

import pytest
import torch
from torch import nn

from backend.methods.deep_fusion_network import (
    OPEN_SPLIT,
    PAPER_SPLIT,
    VARIANTS,
    DeepFusionNetwork,
    DeepFusionSplit,
    fill_slots,
    network_input,
)
from backend.methods.eye_motion import EyeMotionNetwork
from backend.methods.method import ParameterSplit
from backend.networks.involution import Involution
from backend.networks.multi_encoder_unet import AttentionGate, MultiEncoderUnet
from backend.view_order import order_views

SMALL = DeepFusionSplit(identity=5, expression=4, albedo=3)


def tiny(split: DeepFusionSplit = SMALL, **options) -> DeepFusionNetwork:
    torch.manual_seed(0)
    return DeepFusionNetwork(split, width=2, backbone_width=4, size=32, **options).eval()


def views(people: int = 2, size: int = 32) -> torch.Tensor:
    chance = torch.Generator().manual_seed(1)
    images = torch.rand(people, 3, 3, size, size, generator=chance)
    return network_input(images, torch.randint(0, 10, (people, 3, size, size), generator=chance))


def on_meta(**options) -> DeepFusionNetwork:
    """The paper's sizes without their numbers."""
    with torch.device("meta"):
        return DeepFusionNetwork(**options)


# Outputs.


def test_the_paper_has_269_outputs_and_the_open_head_233():
    shared = ("identity", "expression", "albedo", "light")
    assert PAPER_SPLIT.total == 269 and OPEN_SPLIT.total == 233
    assert tuple(PAPER_SPLIT.sizes()) == tuple(OPEN_SPLIT.sizes()) == (*shared, "poses")
    assert [PAPER_SPLIT.sizes()[name] for name in shared] == [80, 64, 80, 27]
    assert [OPEN_SPLIT.sizes()[name] for name in shared] == [96, 52, 40, 27]
    assert PAPER_SPLIT.poses == OPEN_SPLIT.poses == 3 * 6


def test_the_papers_network_has_94_2_million_parameters():
    network = on_meta()
    assert network.backbone.fc.weight.shape == (269, 2048)
    assert sum(value.numel() for value in network.parameters()) == 94_194_383


@pytest.mark.parametrize(
    ("variant", "fused", "encoders", "gates", "has_involutions"),
    [
        ("v1", 3 * 64, 0, 0, True),
        ("v2", 3 * 128, 1, 0, True),
        ("v3", 256, 3, 12, False),
        ("v4", 256, 3, 12, True),
        ("v5", 256, 3, 12, True),
        ("v6", 256, 3, 12, True),
    ],
)
def test_the_variants_of_the_ablation_are_networks(variant, fused, encoders, gates, has_involutions):
    network = on_meta(**VARIANTS[variant])
    first = next(module for module in network.backbone.modules() if isinstance(module, nn.Conv2d))
    assert first.in_channels == fused
    kinds = [type(module) for module in network.modules()]
    unets = [module for module in network.modules() if isinstance(module, MultiEncoderUnet)]
    assert sum(len(unet.encoders) for unet in unets) == encoders
    assert kinds.count(AttentionGate) == gates and (Involution in kinds) == has_involutions
    assert network.channels == (3 if variant == "v4" else 4)


@pytest.mark.parametrize("fusion", ["unshared-encoders", "shared-encoder", "unet", "cnn", "pictures"])
def test_every_fusion_sees_every_view(fusion):
    network, given = tiny(fusion=fusion).train(), views().requires_grad_()
    network(given).square().sum().backward()
    assert (given.grad.abs().sum(dim=(0, 2, 3, 4)) > 0).all()


def test_unknown_fusions_and_backbones_and_splits_of_two_views_are_refused():
    for options in ({"fusion": "mean"}, {"backbone": "vgg"}):
        with pytest.raises(ValueError, match="There is no fusion"):
            tiny(**options)
    with pytest.raises(ValueError, match="18 numbers of poses, not 12"):
        tiny(DeepFusionSplit(poses=12))


def test_a_network_without_classes_does_not_look_at_them():
    given = views()
    other = torch.cat([given[:, :, :3], 9 - given[:, :, 3:]], dim=2)
    for sees_classes in (True, False):
        network = tiny(sees_classes=sees_classes)
        with torch.no_grad():
            assert torch.equal(network(given), network(other)) != sees_classes
    with torch.no_grad():
        assert torch.equal(network(given), network(given[:, :, :3]))


@pytest.mark.parametrize("shape", [(2, 2, 4, 32, 32), (2, 3, 3, 32, 32), (3, 4, 32, 32)])
def test_views_of_another_shape_are_refused(shape):
    with pytest.raises(ValueError, match="Expected"):
        tiny()(torch.zeros(shape))


@pytest.mark.parametrize("options", [{}, VARIANTS["v2"], {"backbone": "resnet", "gates": False, "keys": False}])
def test_a_network_comes_back_from_its_facts(options):
    network = tiny(**options)
    again = DeepFusionNetwork.from_facts(json.loads(json.dumps(network.facts()))).eval()
    again.load_state_dict(network.state_dict())
    with torch.no_grad():
        assert torch.equal(again(views()), network(views()))
    assert again.facts() == network.facts() and again.camera.size == 32


def test_it_learns_to_tell_two_people_apart():
    network, given = tiny().train(), views()
    wanted = torch.randn(2, SMALL.total, generator=torch.Generator().manual_seed(0))
    same_answer = (wanted - wanted.mean(0)).square().mean()
    optimiser = torch.optim.Adam(network.parameters(), 3e-3)
    for _ in range(11):
        loss = (network(given) - wanted).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss < 0.5 * same_answer


# What an answer means.


def test_an_answer_of_nothing_is_the_mean_face_head_on_one_metre_away_in_every_view():
    codes = tiny().decode(torch.zeros(1, SMALL.total))
    assert not codes.identity.any() and not codes.albedo.any()
    torch.testing.assert_close(codes.expression, torch.full((1, 4), 1 / (1 + torch.e**3)))
    torch.testing.assert_close(codes.rotation, torch.diag(torch.tensor([1.0, -1.0, -1.0])).expand(1, 3, 3, 3))
    torch.testing.assert_close(codes.translation, torch.tensor([0.0, 0.0, 1.0]).expand(1, 3, 3))


@pytest.mark.parametrize("keys", [True, False])
def test_each_view_is_decoded_as_eye_motion_decodes_its_one(keys):
    outputs = torch.randn(2, SMALL.total, generator=torch.Generator().manual_seed(0))
    codes = tiny(keys=keys).decode(outputs)
    single = EyeMotionNetwork(ParameterSplit(identity=5, expression=4, albedo=3), width=4, size=32, keys=keys)
    part = SMALL.split(outputs)
    for view in range(3):
        pose = part["poses"][:, 6 * view : 6 * view + 6]
        alone = torch.cat([part["identity"], part["expression"], part["albedo"], pose, part["light"]], 1)
        for name, value in vars(single.decode(alone)).items():
            torch.testing.assert_close(vars(codes.view(view))[name], value)


def test_the_pose_of_one_view_moves_this_view_alone():
    network, outputs = tiny(), torch.zeros(1, SMALL.total)
    start = SMALL.total - SMALL.poses
    for view in range(3):
        moved = outputs.clone()
        moved[0, start + 6 * view : start + 6 * view + 6] = 0.3
        codes, before = network.decode(moved), network.decode(outputs)
        for other in range(3):
            assert torch.equal(codes.translation[:, other], before.translation[:, other]) == (other != view)
            assert torch.equal(codes.rotation[:, other], before.rotation[:, other]) == (other != view)


def test_decoding_another_number_of_outputs_is_refused():
    with pytest.raises(ValueError, match=f"Expected \\(B, {SMALL.total}\\)"):
        tiny().decode(torch.zeros(1, SMALL.total + 6))


# Views.


def test_the_network_sees_colours_from_minus_one_to_one_and_class_numbers_as_they_are():
    images = torch.zeros(1, 3, 3, 2, 2)
    images[:, :, 0] = 1.0
    found = network_input(images, torch.full((1, 3, 2, 2), 9, dtype=torch.uint8))
    assert found.shape == (1, 3, 4, 2, 2) and found[0, 1, :, 0, 0].tolist() == [1.0, -1.0, -1.0, 9.0]


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("LFR", "LFR"),
        ("L--", "LLL"),
        ("-F-", "FFF"),
        ("--R", "RRR"),
        ("LF-", "LFF"),
        ("-FR", "FFR"),
        ("L-R", "LLR"),
    ],
)
def test_an_empty_slot_shows_the_nearest_view(given, shown):
    assert "".join(fill_slots([None if view == "-" else view for view in given])) == shown


def test_the_order_of_photographs_fills_the_slots():
    assert fill_slots(order_views([2.0, -40.0]).slots) == (0, 0, 1)


def test_without_any_view_slots_cannot_be_filled():
    for slots in ([None, None, None], [0, 1]):
        with pytest.raises(ValueError, match="at least one view"):
            fill_slots(slots)
