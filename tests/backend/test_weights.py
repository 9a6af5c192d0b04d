"""Weights: they come back as they were, and are refused where they are damaged or do not belong."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from backend import weights
from backend.errors import UsageError
from backend.weights import load_weights, save_weights, shipped

FACTS = {"classes": ["open", "shut"], "width": 8, "name": "Hülle"}


@pytest.fixture
def network() -> nn.Module:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(8, 2))
    network[1].running_var *= 1e-9  # half precision would make it 0
    return network


@pytest.fixture
def file(tmp_path: Path, network: nn.Module) -> Path:
    path = tmp_path / "some-open.safetensors"
    save_weights(path, network.state_dict(), "eye-state", "open_head", FACTS)
    return path


def test_weights_come_back_in_half_precision_with_their_facts(file: Path, network: nn.Module):
    loaded = load_weights(file, "eye-state", "open_head")
    assert (loaded.facts, loaded.method, loaded.face_model, loaded.name) == (
        FACTS,
        "eye-state",
        "open_head",
        "some-open",
    )
    assert list(loaded.state) == sorted(network.state_dict())
    for name, value in network.state_dict().items():
        assert loaded.state[name].dtype == value.dtype
        if value.ndim < 2:
            assert torch.equal(loaded.state[name], value), name
        else:
            assert torch.equal(loaded.state[name], value.half().float()), name
    loaded.load_into(network)
    assert len(list(file.parent.iterdir())) == 1


def test_what_half_precision_cannot_hold_stays_single(tmp_path: Path):
    state = {"large": torch.full((2, 2), 1e6), "small": torch.ones(2, 2)}
    save_weights(tmp_path / "a.safetensors", state, "m", "open_head", {})
    assert torch.equal(load_weights(tmp_path / "a.safetensors", "m").state["large"], state["large"])


def test_weights_that_are_not_finite_are_not_written(tmp_path: Path):
    with pytest.raises(ValueError, match="parameter broken is not finite"):
        save_weights(tmp_path / "a.safetensors", {"broken": torch.tensor([[float("nan")]])}, "m", "open_head", {})
    assert not list(tmp_path.iterdir())


def test_weights_of_another_method_or_face_model_are_refused(file: Path):
    with pytest.raises(UsageError, match="are of eye-state, not of eye-motion"):
        load_weights(file, "eye-motion")
    with pytest.raises(UsageError, match="face model open_head, not with BFM_model_front.mat"):
        load_weights(file, "eye-state", "BFM_model_front.mat")
    assert load_weights(file, "eye-state").state


def test_missing_weights_are_named_with_those_there_are(file: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(weights, "FOLDER", file.parent)
    assert shipped() == ["some-open"]
    assert load_weights("some-open", "eye-state").facts == FACTS
    with pytest.raises(UsageError, match="no weights 'some-opn'.*Shipped are: some-open") as caught:
        load_weights("some-opn", "eye-state")
    assert caught.value.code == "no-weights"
    with pytest.raises(UsageError, match="missing"):
        load_weights(file.parent / "other.safetensors", "eye-state")


@pytest.mark.parametrize("damage", ["cut", "bit", "text", "empty"])
def test_damaged_weights_are_refused(file: Path, damage: str):
    content = file.read_bytes()
    flipped = content[:-3] + bytes([content[-3] ^ 4]) + content[-2:]
    contents = {"cut": content[: len(content) // 2], "bit": flipped, "text": b"not weights", "empty": b""}
    file.write_bytes(contents[damage])
    with pytest.raises(UsageError, match="some-open.safetensors are damaged") as caught:
        load_weights(file, "eye-state")
    assert caught.value.code == "weights-damaged"


def test_a_safetensors_file_of_somebody_else_is_refused(tmp_path: Path):
    save_file({"a": torch.ones(2)}, tmp_path / "a.safetensors")
    with pytest.raises(UsageError, match="does not say what it is for"):
        load_weights(tmp_path / "a.safetensors", "eye-state")


def test_weights_that_do_not_fit_a_network_say_where(file: Path):
    other = nn.Sequential(nn.Conv2d(3, 9, 3), nn.BatchNorm2d(9), nn.Flatten(), nn.Linear(9, 2))
    with pytest.raises(UsageError, match="some-open do not fit the network of eye-state: .*0.weight"):
        load_weights(file, "eye-state").load_into(other)


@pytest.mark.parametrize("name", shipped() or [None])
def test_shipped_weights_are_whole_and_have_a_card(name: str | None):
    if name is None:
        pytest.skip("no weights are shipped yet")
    with weights.safe_open(weights.FOLDER / f"{name}.safetensors", "pt") as file:
        method = file.metadata()["method"]
    loaded = load_weights(name, method)
    assert all(torch.isfinite(value).all() for value in loaded.state.values())
    card = (weights.FOLDER / f"{name}.md").read_text("utf-8")
    for told in ("Command", "Commit", "Seed", "## Data", "## Figures"):
        assert told in card, told
