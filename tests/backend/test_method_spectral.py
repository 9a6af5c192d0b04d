"""Codes of a photograph by the spectral method: who it is by its own network, everything else by Eye Motion."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch

import backend
from backend.code_measurement import CodeMeasurement
from backend.detection import find_face
from backend.errors import UsageError
from backend.identity_crop import identity_crop, network_input
from backend.landmarks68 import landmarks68_from_478
from backend.methods.method import Codes
from backend.methods.spectral import IdentitySureness, Spectral, coded_identity
from backend.methods.spectral_network import SpectralNetwork, SpectralSplit
from backend.networks.iresnet import IResNet
from backend.weights import save_weights

DEMO = Path(backend.__file__).parent / "assets/demo/astronaut.png"
SPLIT = SpectralSplit(identity=96, pose=0, expression=0, albedo=0, camera=0, light=0)
KEYS = {"eyeBlinkLeft": (0.9, 0.1)}


@pytest.fixture(scope="module")
def astronaut():
    return cv2.cvtColor(cv2.imread(str(DEMO)), cv2.COLOR_BGR2RGB)


@pytest.fixture(scope="module")
def face(astronaut):
    return find_face(astronaut, "astronaut.png", 1)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    recogniser = IResNet((1, 1, 1, 1), width=4, embedding=16)
    network = SpectralNetwork(SPLIT, recogniser, width=12).eval()
    torch.nn.init.normal_(network.identity_encoder.mapping.output.weight)
    return network


@pytest.fixture
def method(network):
    """Its Eye Motion answers with the detector's points and always the same."""
    measured = CodeMeasurement(np.full(96, 9.0), np.full(96, 0.5), KEYS)
    eye_motion = SimpleNamespace(
        codes=lambda image, face: Codes(measured, np.zeros(40), None, np.zeros((9, 3)), {}, face.points),
        weights={"eye-motion": "random"},
    )
    sureness = IdentitySureness(torch.linspace(0, 1, 96), torch.linspace(0, 2, 96))
    return Spectral(network, sureness, eye_motion, {"spectral": "random"})


def test_the_identity_is_the_networks_and_all_else_eye_motions(method, astronaut, face):
    codes = method.codes(astronaut, face)
    assert codes.measurement.keys == KEYS and codes.albedo.shape == (40,)
    with torch.no_grad():
        crop = identity_crop(astronaut, landmarks68_from_478(face.points))
        own = method.network.identity_encoder(network_input(crop[None]))[0]
    assert np.allclose(codes.measurement.identity, (own * torch.linspace(0, 1, 96)).numpy(), atol=1e-5)
    assert own.std() > 0.1


def test_it_is_never_surer_than_it_should_nor_less_sure_than_the_population(method):
    deviation = method.measurement(torch.zeros(96), {}).identity_deviation
    assert deviation.min() == 0.05 and deviation.max() == 1.0


def test_a_turned_and_smaller_photograph_shows_the_same_person(method, astronaut, face):
    height, width = astronaut.shape[:2]
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), 20, 0.8)
    points = face.points @ turn[:, :2].T + turn[:, 2]
    turned = cv2.warpAffine(astronaut, turn, (width, height), flags=cv2.INTER_AREA)
    first = method.codes(astronaut, face).measurement.identity
    again = method.codes(turned, replace(face, points=points)).measurement.identity
    assert np.abs(first - again).max() < 0.2 * np.abs(first).max()


def test_of_a_network_with_one_encoder_the_identity_is_taken(astronaut, face):
    torch.manual_seed(0)
    recogniser = IResNet((1, 1, 1, 1), width=4, embedding=16)
    network = SpectralNetwork(SpectralSplit(identity=7), recogniser, width=12).eval()
    assert coded_identity(network, astronaut, face.points).shape == (7,)


def test_weights_of_another_method_are_refused(network, tmp_path):
    save_weights(tmp_path / "w.safetensors", network.state_dict(), "eye-motion", "open_head", {})
    with pytest.raises(UsageError):
        Spectral.load(tmp_path / "w.safetensors")


def test_saved_weights_say_the_same(network, tmp_path, astronaut, face):
    sureness = IdentitySureness(torch.ones(96), torch.ones(96))
    facts = {"network": network.facts(), "key_names": []}
    save_weights(tmp_path / "w.safetensors", network.state_dict() | sureness.state(), "spectral", "open_head", facts)
    loaded = Spectral.load(tmp_path / "w.safetensors")
    codes = loaded.codes(astronaut, face)
    own = Spectral(network, sureness, loaded.eye_motion, {}).codes(astronaut, face)
    assert np.allclose(codes.measurement.identity, own.measurement.identity, atol=0.02)
    assert set(loaded.weights) == {"spectral", "eye-motion", "eye-state"}
    assert codes.closure and set(codes.measurement.keys)


@pytest.mark.parametrize(("encoders", "landmarks"), [(1, "none"), (1, "all"), (2, "none"), (2, "second"), (2, "all")])
def test_what_says_the_identity_is_kept_and_nothing_else(encoders, landmarks):
    torch.manual_seed(0)
    split = SpectralSplit(identity=6, pose=3, expression=5, albedo=2, camera=3, light=27)
    recogniser = IResNet((1, 1, 1, 1), width=4, embedding=16)
    network = SpectralNetwork(split, recogniser, encoders, width=12, second_width=4, landmarks=landmarks).eval()
    if landmarks != "none":
        network.landmark_encoder.whiten_as(torch.rand(300, 478, 2))
        torch.nn.init.normal_(network.landmark_encoder.layers[-1].weight)
    face, image, points = torch.rand(2, 3, 112, 112), torch.rand(2, 3, 64, 64), torch.rand(2, 478, 2)
    state, facts = network.identity_alone()
    again = SpectralNetwork.from_facts(facts)
    again.load_state_dict(state)
    with torch.no_grad():
        whole, identity = network(face, image, points), network.identity(face, points)
        assert torch.equal(whole[:, :6], identity)
        assert torch.allclose(again.eval().identity(face, points), identity, atol=1e-6)
        moved = network(face, image, points + 0.1 * torch.rand(2, 478, 2))
    assert not any(name.startswith("second.") for name in state)
    assert torch.equal(moved[:, :6], identity) == (landmarks != "all")
    assert torch.equal(moved[:, 6:], whole[:, 6:]) == (landmarks == "none")
