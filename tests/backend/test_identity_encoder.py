"""The identity encoder: the published sizes and split, what stays frozen, what its face is, which files it reads."""

import math

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

from backend.embedding_files import SHIPPED, read_embedding
from backend.errors import UsageError
from backend.identity_crop import FACE_SIZE, TEMPLATE, face_crop, identity_crop, identity_region, network_input
from backend.networks.identity_encoder import IdentityEncoder
from backend.networks.iresnet import IResNet, iresnet
from backend.networks.mapping import MappingNetwork


def parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def tiny(**options) -> IdentityEncoder:
    torch.manual_seed(0)
    return IdentityEncoder(IResNet((1, 1, 1, 1), width=4, embedding=16, size=32), outputs=7, width=12, **options)


def faces(count: int = 4, size: int = 32) -> torch.Tensor:
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(1)) * 2 - 1


def landmarks_of(five: np.ndarray) -> np.ndarray:
    """(68, 2) with these five points; the others are far away."""
    landmarks = np.full((68, 2), 1e4)
    for places, point in zip(((36, 39), (42, 45), (30,), (48,), (54,)), five, strict=True):
        landmarks[list(places)] = point
    return landmarks


# The mapping network.


@pytest.mark.parametrize(("outputs", "count"), [(300, 515_100), (486, 571_086)])
def test_the_mapping_network_has_the_published_parameters(outputs, count):
    assert parameters(MappingNetwork(512, outputs, 300)) == count


def test_the_mapping_network_is_layers_with_leaks_and_a_bare_last_one():
    network, given = MappingNetwork(5, 4, 6, hidden=2), torch.randn(3, 5)
    wanted = given
    for layer in network.layers:
        wanted = wanted @ layer.weight.T + layer.bias
        wanted = torch.where(wanted > 0, wanted, 0.2 * wanted)
    assert len(network.layers) == 3
    assert torch.allclose(network(given), wanted @ network.output.weight.T + network.output.bias, atol=1e-6)


def test_the_mapping_network_starts_with_kaimings_spread_and_a_quarter_of_it_at_the_end():
    torch.manual_seed(0)
    network = MappingNetwork()
    for layer, share in [(network.layers[0], 1), (network.layers[3], 1), (network.output, 0.25)]:
        spread = share * math.sqrt(2 / (1 + 0.2**2) / layer.in_features)
        assert layer.weight.std().item() == pytest.approx(spread, rel=0.02)


def test_a_mapping_network_without_width_is_refused():
    with pytest.raises(ValueError, match="no mapping network"):
        MappingNetwork(512, 486, 0)


# The encoder.


def test_the_published_split_learns_the_last_stage_and_what_follows_it():
    with torch.device("meta"):
        encoder = IdentityEncoder()
    learning = {name.split(".")[1] for name, value in encoder.recogniser.named_parameters() if value.requires_grad}
    names = {name.split(".")[0] for name, value in encoder.recogniser.named_parameters() if value.requires_grad}
    assert names == {"layer4", "bn2", "fc", "features"} and learning
    assert len(encoder.recogniser.layer4) == 3  # "the last three ResNet blocks"
    assert parameters(encoder.recogniser) == parameters(iresnet_on_meta()) == 65_156_160
    assert parameters(encoder.mapping) == 571_086


def iresnet_on_meta() -> IResNet:
    with torch.device("meta"):
        return iresnet(100)


def test_the_frozen_part_keeps_its_statistics_in_training():
    encoder = tiny().train()
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    encoder(faces()).sum().backward()
    torch.optim.SGD([value for value in encoder.parameters() if value.requires_grad], 0.1).step()
    changed = {name for name, value in encoder.state_dict().items() if not torch.equal(value, before[name])}
    frozen = ("conv1.", "bn1.", "prelu.", "layer1.", "layer2.", "layer3.")
    assert not [name for name in changed if name.removeprefix("recogniser.").startswith(frozen)]
    for moved in ("layer4.0.bn1.running_mean", "bn2.running_var", "fc.weight", "features.running_mean"):
        assert f"recogniser.{moved}" in changed
    assert not encoder.recogniser.layer2.training and encoder.recogniser.layer4.training


def test_the_frozen_part_passes_no_gradient_and_builds_no_graph():
    encoder, seen = tiny().train(), faces().requires_grad_(True)
    encoder(seen).sum().backward()
    assert seen.grad is None
    assert all(value.grad is None for name, value in encoder.recogniser.layer1.named_parameters())
    assert all(value.grad is not None for value in encoder.recogniser.layer4.parameters())


def test_with_nothing_frozen_everything_learns():
    encoder, seen = tiny(frozen_stages=-1).train(), faces().requires_grad_(True)
    encoder(seen).sum().backward()
    assert seen.grad is not None and encoder.recogniser.conv1.weight.grad.any() and encoder.recogniser.layer1.training


def test_features_are_the_recognisers_at_unit_length():
    encoder = tiny().eval()
    with torch.no_grad():
        features, wanted = encoder.features(faces()), encoder.recogniser(faces())
        assert torch.allclose(features, wanted / wanted.norm(dim=1, keepdim=True), atol=1e-6)
        assert torch.allclose(encoder(faces()), encoder.mapping(features))


def test_an_encoder_of_fewer_stages_than_are_to_be_frozen_is_refused():
    with pytest.raises(ValueError, match="5 cannot be frozen"):
        tiny(frozen_stages=5)


def test_a_recogniser_that_looks_at_less_reads_the_same_crops():
    network = IResNet((1, 1, 1, 1), width=4, embedding=16, size=56).eval()
    with torch.no_grad():
        assert torch.allclose(network(faces(2, 112)), network(network.seen(faces(2, 112))))
        flat = network.seen(torch.full((1, 3, 112, 112), 0.3))
    assert flat.shape == (1, 3, 56, 56) and torch.allclose(flat, torch.tensor(0.3))


# Files.


def test_the_shipped_recogniser_serves_as_the_small_encoder():
    encoder = IdentityEncoder(read_embedding(SHIPPED), outputs=150).eval()
    with torch.no_grad():
        codes, features = encoder(faces(2, FACE_SIZE)), encoder.features(faces(2, FACE_SIZE))
    assert codes.shape == (2, 150) and torch.allclose(features.norm(dim=1), torch.ones(2), atol=1e-5)


def test_state_dicts_are_read_as_torch_and_as_safetensors_files(tmp_path):
    network = IResNet((1, 1, 1, 1), width=4, embedding=16).eval()
    torch.save(network.state_dict(), tmp_path / "backbone.pth")
    save_file(network.state_dict(), tmp_path / "backbone.safetensors")
    for name in ("backbone.pth", "backbone.safetensors"):
        with torch.no_grad():
            assert torch.allclose(read_embedding(tmp_path / name).eval()(faces(2, 112)), network(faces(2, 112)))


def write_no_state_dict(path):
    save_file({"weight": torch.zeros(3)}, path)


def write_another_depth(path):
    state = IResNet((1, 1, 1, 1), width=4, embedding=16).state_dict()
    del state["layer2.0.prelu.weight"]
    torch.save(state, path)


def write_code(path):
    torch.save({"network": IResNet((1, 1, 1, 1), width=4, embedding=16)}, path)  # a pickled class


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("other.safetensors", write_no_state_dict),
        ("incomplete.pth", write_another_depth),
        ("class.pth", write_code),
        ("text.pth", lambda path: path.write_text("not a network")),
        ("empty.pt", lambda path: path.write_bytes(b"")),
    ],
)
def test_what_is_no_state_dict_is_refused_in_a_sentence(tmp_path, name, write):
    write(tmp_path / name)
    with pytest.raises(UsageError, match="no state dict of an ArcFace IResNet"):
        read_embedding(tmp_path / name)


def test_weights_that_are_not_there_are_named(tmp_path):
    with pytest.raises(UsageError, match="There are no weights"):
        read_embedding(tmp_path / "none.safetensors")


# The face.


@settings(max_examples=20, deadline=None)
@given(st.floats(-0.8, 0.8), st.floats(1.0, 4.0), st.floats(-30, 30), st.floats(-30, 30))
def test_the_crop_of_a_photograph_brings_the_five_points_to_the_template(roll, scale, right, down):
    template = np.array(TEMPLATE)
    turn = scale * np.array([[np.cos(roll), -np.sin(roll)], [np.sin(roll), np.cos(roll)]])
    five = (template - 56) @ turn.T + [400 + right, 400 + down]
    region = identity_region(landmarks_of(five))
    assert np.allclose(region.to_region(five) * FACE_SIZE, template, atol=1e-6)
    assert region.size == pytest.approx(scale * FACE_SIZE) and not region.mirrored


def test_the_crop_of_a_photograph_is_that_of_training_pictures():
    rng = np.random.default_rng(0)
    picture = cv2.GaussianBlur(rng.integers(0, 256, (140, 140, 3), np.uint8), (0, 0), 3)
    angle = 0.2
    turn = 1.05 * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    landmarks = landmarks_of((np.array(TEMPLATE) - 56) @ turn.T + [70, 72])
    ours = network_input(identity_crop(picture, landmarks)[None])
    image = torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 255
    training = face_crop(image, torch.from_numpy(landmarks)[None].float())
    inside = (slice(None), slice(None), slice(20, -20), slice(20, -20))
    assert ours.shape == training.shape == (1, 3, FACE_SIZE, FACE_SIZE)
    assert (ours[inside] - training[inside]).abs().max() < 0.05


def test_the_network_sees_red_first_from_minus_one_to_one():
    faces = np.zeros((1, FACE_SIZE, FACE_SIZE, 3), np.uint8)
    faces[..., 0] = 255
    found = network_input(faces)
    assert found.dtype == torch.float32 and found[0, :, 5, 5].tolist() == [1.0, -1.0, -1.0]


@pytest.mark.parametrize("bad", [np.zeros((5, 2)), np.full((68, 2), np.nan), np.ones((68, 2))])
def test_landmarks_that_make_no_face_are_refused(bad):
    with pytest.raises(ValueError, match="landmarks"):
        identity_region(bad)
