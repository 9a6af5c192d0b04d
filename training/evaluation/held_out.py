"""What a trained regressor says of the people that its run held out."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from training.methods.base import Batch, Outputs, TrainingMethod

Heads = dict[int, tuple[np.ndarray, np.ndarray]]
"""Number of a person -> the identity found in the first picture of that person, and the true one, (I,) float32."""


def look_at_held_out(method: TrainingMethod, batches: int, look: Callable[[Batch, Outputs], None]) -> Heads:
    """Goes through the validation data of a method's run, without gradients, as the network is used.

    Args:
        method: whose outputs have "codes" with an `identity`.
        batches: how many to look at, at most.
        look: is shown each prepared batch and what the network makes of it.
    """
    data = method.data(method.settings)
    data.setup()
    heads: Heads = {}
    was_training = method.training
    method.eval()
    with torch.no_grad():
        for number, batch in enumerate(data.val_dataloader()):
            if number == batches:
                break
            batch = method.prepared({name: values.to(method.device) for name, values in batch.items()})
            outputs = method.outputs(batch)
            look(batch, outputs)
            for person, said, known in zip(
                batch["person"].tolist(), outputs["codes"].identity, batch["identity"], strict=True
            ):
                heads.setdefault(person, (said.cpu().numpy(), known.cpu().numpy()))
    method.train(was_training)
    return heads
