"""Networks that recognise people, read from files: our own weights or a state dict with insightface's names."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from backend.errors import UsageError
from backend.networks.iresnet import INPUT_SIZE, SHRINKING, IResNet
from backend.weights import load_weights

METHOD = "identity-embedding"
STATE_DICT_ENDINGS = (".pth", ".pt")


def read_embedding(name_or_path: str | Path) -> nn.Module:
    """A network from faces (B, 3, 112, 112) in [-1, 1], ArcFace's crop, to embeddings (B, E).

    Args:
        name_or_path: of weights of ours, shipped or exported, or a `.pth` state dict of an insightface IResNet.

    Raises:
        UsageError: there is no such file, or it holds something else.
    """
    path = Path(name_or_path)
    if path.suffix not in STATE_DICT_ENDINGS:
        loaded = load_weights(name_or_path, METHOD)
        network = IResNet(**loaded.facts["network"])
        loaded.load_into(network)
        return network
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        network = IResNet(**shape_of(state))
        network.load_state_dict(state)
    except Exception as error:  # torch.load raises whatever a file makes it stumble over
        raise UsageError(
            "embedding-file",
            f"{path} is no state dict of an ArcFace IResNet with insightface's names ({error}). Give another file as "
            "network.embedding, or weights that `fit identity-embedding` and `export identity-embedding` made.",
        ) from error
    return network


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
