"""Which processor the renderer runs on."""

from backend.errors import Fix, UsageError


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
