"""Which processor the renderer runs on, and what happens when its memory is not enough."""

import logging
from collections.abc import Callable
from typing import TypeVar

from backend.errors import Fix, UsageError

logger = logging.getLogger(__name__)

Made = TypeVar("Made")

GPU_LACKS_MEMORY = ("out of memory", "STATUS_ALLOC_FAILED")
GPU_TOO_SMALL = "The memory of the GPU was not enough; the head was made on the processor instead."


def choose_device(wanted: str) -> str:
    """The torch device for one of `options.DEVICES`; "auto" takes a GPU where there is one.

    Raises:
        UsageError: the processor asked for is not there.
    """
    import torch

    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if wanted == "auto":
        return next(name for name, found in there.items() if found)
    if not there[wanted]:
        names = {"cuda": "CUDA GPU that PyTorch can use", "mps": "Apple GPU"}
        raise UsageError(
            "no-such-device",
            f"There is no {names[wanted]} on this machine. Use --device auto or --device cpu.",
            Fix("use-cpu", "Use the processor", "--device cpu"),
        )
    return wanted


def with_cpu_fallback(device: str, work: Callable[[str, list[str]], Made]) -> Made:
    """Do something on a device, and once more on the processor where the GPU's memory is not enough.

    Args:
        device: the torch device to begin with.
        work: is given the device and a list of sentences that a person should be told.

    Returns:
        What `work` returns.
    """
    import torch

    try:
        return work(device, [])
    except RuntimeError as error:
        # Apple's GPUs and CUDA's libraries have no class of their own for this.
        is_memory = isinstance(error, torch.OutOfMemoryError) or any(words in str(error) for words in GPU_LACKS_MEMORY)
        if device == "cpu" or not is_memory:
            raise
        logger.warning("out of memory on %s, going on with the CPU: %s", device, error)
    # Outside the handler: the exception holds the tensors that filled the memory.
    if device == "cuda" and torch.cuda.is_available():
        torch.cuda.empty_cache()
    return work("cpu", [GPU_TOO_SMALL])
