"""The state of all global random generators as one value that a checkpoint can hold."""

import contextlib
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

State = dict[str, Any]
"""Plain numbers and tensors, so that `torch.load(weights_only=True)` reads it."""


def capture() -> State:
    """The states of Python's, numpy's and torch's generators, those of the GPUs included."""
    kind, keys, position, has_gauss, cached = np.random.get_state()
    state = {
        "python": random.getstate(),
        "numpy": (kind, torch.from_numpy(keys.astype(np.int64)), position, has_gauss, cached),
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        state["cuda"] = torch.cuda.get_rng_state_all()
    return state


def restore(state: State) -> None:
    """Puts all generators where `capture` found them. GPUs that are not there any more are left out."""
    version, inner, gauss = state["python"]
    random.setstate((version, tuple(inner), gauss))
    kind, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), position, has_gauss, cached))
    torch.set_rng_state(state["torch"])
    if "cuda" in state and torch.cuda.is_available() and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])


def seed(*numbers: int) -> None:
    """Seeds all generators with values drawn from several numbers, such as a run's seed and an epoch."""
    words = np.random.SeedSequence(numbers).generate_state(3)
    random.seed(int(words[0]))
    np.random.seed(int(words[1]))
    torch.manual_seed(int(words[2]))


@contextlib.contextmanager
def untouched() -> Iterator[None]:
    """Whatever happens inside, the generators are afterwards where they were."""
    before = capture()
    try:
        yield
    finally:
        restore(before)


class Stream:
    """Random states of its own: inside `with stream`, the global generators go on from where this stream was."""

    def __init__(self, *numbers: int):
        with untouched():
            seed(*numbers)
            self._state = capture()

    def __enter__(self) -> None:
        self._outside = capture()
        restore(self._state)

    def __exit__(self, *error: object) -> None:
        self._state = capture()
        restore(self._outside)
