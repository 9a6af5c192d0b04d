"""Networks that recognise people, read from files: our own weights or a state dict with insightface's names."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from backend.errors import UsageError
from backend.networks.iresnet import INPUT_SIZE, SHRINKING, IResNet
from backend.weights import load_weights

METHOD = "identity-embedding"
SHIPPED = "identity-embedding-open-small"
TORCH_ENDINGS = (".pth", ".pt")


def read_embedding(name_or_path: str | Path = SHIPPED) -> IResNet:
    """A network from faces (B, 3, 112, 112) in [-1, 1], ArcFace's crop, to embeddings (B, E).

    Args:
        name_or_path: of weights of ours, shipped or exported, or a state dict of an insightface IResNet: `.pth` as
            torch writes it (only tensors are read: a file cannot run code), or `.safetensors`.

    Raises:
        UsageError: there is no such file, or it holds something else.
    """
    path = Path(name_or_path)
    if path.suffix not in TORCH_ENDINGS and not is_foreign_safetensors(path):
        loaded = load_weights(name_or_path, METHOD)
        network = IResNet(**loaded.facts["network"])
        loaded.load_into(network)
        return network
    try:
        foreign = path.suffix not in TORCH_ENDINGS
        state = load_file(path) if foreign else torch.load(path, map_location="cpu", weights_only=True)
        network = IResNet(**shape_of(state))
        network.load_state_dict(state)
    except Exception as error:  # torch.load raises whatever a file makes it stumble over
        raise UsageError(
            "embedding-file",
            f"{path} is no state dict of an ArcFace IResNet with insightface's names ({error}). Give another file, "
            "such as insightface's backbone.pth, or weights that `fit identity-embedding` and `export "
            "identity-embedding` made.",
        ) from error
    return network


def is_foreign_safetensors(path: Path) -> bool:
    """Whether a file holds tensors, but was not written by our `export`. False where it cannot be read."""
    if path.suffix != ".safetensors" or not path.is_file():
        return False
    try:
        with safe_open(path, "pt") as file:
            return "lifemask_weights" not in (file.metadata() or {})
    except (SafetensorError, OSError):
        return False


def shape_of(state: dict[str, Tensor]) -> dict[str, object]:
    """The keywords of `IResNet` for a state dict. Raises KeyError where it is none of an IResNet."""
    blocks = []
    while f"layer{len(blocks) + 1}.0.bn1.weight" in state:
        stage = f"layer{len(blocks) + 1}."
        blocks.append(len({name.split(".")[1] for name in state if name.startswith(stage)}))
    embedding, inputs = state["fc.weight"].shape
    side = round((inputs / state["bn2.weight"].shape[0]) ** 0.5) * SHRINKING
    return {
        "blocks": tuple(blocks),
        "width": state["conv1.weight"].shape[0],
        "embedding": embedding,
        "size": side or INPUT_SIZE,
    }
