"""Weights of the methods' networks: files that say what they are, and are refused where they do not belong.

A file is safetensors with parameters in half precision (vectors, and what half precision cannot hold, in single). Its
header's metadata say the method, the face model, the facts that are needed to use the weights, and a checksum.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from .errors import UsageError

FOLDER = Path(__file__).parent / "assets" / "weights"
"""The weights that ship, `NAME.safetensors`, each with its model card `NAME.md`."""
FORMAT = "1"
KEYS = ("lifemask_weights", "method", "face_model", "facts", "checksum")


@dataclass(frozen=True)
class Weights:
    """What a file of weights holds.

    Attributes:
        state: parameters by name, float32 (integers as they were), for `Module.load_state_dict`.
        facts: what was written beside them: sizes of the network, class names, settings, figures.
        method, face_model: what they were trained for.
        name: of the file, without its ending; a result names it.
    """

    state: dict[str, Tensor]
    facts: dict[str, Any]
    method: str
    face_model: str
    name: str

    def load_into(self, network: nn.Module) -> None:
        """Gives a network these parameters. Raises UsageError where they do not fit it."""
        try:
            network.load_state_dict(self.state)
        except RuntimeError as error:
            lines = [line.strip() for line in str(error).splitlines()]
            raise UsageError(
                "weights-do-not-fit",
                f"The weights {self.name} do not fit the network of {self.method}: {lines[min(1, len(lines) - 1)]}",
            ) from error


def shipped() -> list[str]:
    """The names of the weights in the repository."""
    return sorted(path.stem for path in FOLDER.glob("*.safetensors"))


def load_weights(name_or_path: str | Path, method: str, face_model: str | None = None) -> Weights:
    """Reads weights.

    Args:
        name_or_path: one of `shipped()`, or a file that `python3 -m training export` wrote.
        method: that they must be of.
        face_model: that they must have been trained with; None takes any.

    Raises:
        UsageError: they are missing, damaged, no weights of ours, or of another method or face model.
    """
    path = _find(name_or_path)
    state, metadata = _read(path)
    if any(key not in metadata for key in KEYS):
        raise UsageError(
            "weights-foreign",
            f"{path} was not written by `python3 -m training export`: it does not say what it is for.",
        )
    if metadata["lifemask_weights"] != FORMAT:
        raise UsageError(
            "weights-of-another-version",
            f"{path} has the format {metadata['lifemask_weights']}; this Lifemask reads {FORMAT}. Export it again.",
        )
    if metadata["method"] != method:
        raise UsageError(
            "weights-of-another-method", f"The weights {path} are of {metadata['method']}, not of {method}."
        )
    if face_model is not None and metadata["face_model"] != face_model:
        raise UsageError(
            "weights-of-another-face-model",
            f"The weights {path} were trained with the face model {metadata['face_model']}, not with {face_model}.",
        )
    if _checksum(state) != metadata["checksum"]:
        raise _damaged(path, "the checksum differs")
    return Weights(
        {name: value.float() if value.is_floating_point() else value for name, value in state.items()},
        json.loads(metadata["facts"]),
        metadata["method"],
        metadata["face_model"],
        path.stem,
    )


def save_weights(
    path: Path, state: Mapping[str, Tensor], method: str, face_model: str, facts: Mapping[str, Any]
) -> None:
    """Writes weights in the form that `load_weights` reads; the file appears when it is whole.

    Args:
        path: of the file, "….safetensors".
        state: parameters by name.
        method, face_model: what they are for.
        facts: JSON values that are needed to use them.

    Raises:
        ValueError: a parameter is not finite.
    """
    stored = {name: _compact(name, value.detach().cpu()) for name, value in state.items()}
    metadata = {
        "lifemask_weights": FORMAT,
        "method": method,
        "face_model": face_model,
        "facts": json.dumps(facts, ensure_ascii=False),
        "checksum": _checksum(stored),
    }
    partial = path.with_name(path.name + ".partial")
    try:
        save_file(stored, partial, metadata)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _find(name_or_path: str | Path) -> Path:
    given = Path(name_or_path)
    if given.suffix != ".safetensors" and given.name == str(name_or_path):
        given = FOLDER / f"{name_or_path}.safetensors"
    if not given.is_file():
        known = f" Shipped are: {', '.join(shipped())}." if shipped() else ""
        raise UsageError(
            "no-weights",
            f"There are no weights '{name_or_path}': {given} is missing.{known} `python3 -m training fit` and `export` "
            "make them.",
        )
    return given


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        with safe_open(path, "pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise _damaged(path, str(error)) from error


def _damaged(path: Path, why: str) -> UsageError:
    return UsageError(
        "weights-damaged", f"The weights {path} are damaged ({why}). Get the file again or export it from its run."
    )


def _compact(name: str, value: Tensor) -> Tensor:
    if not value.is_floating_point():
        return value.contiguous()
    if not torch.isfinite(value).all():
        raise ValueError(f"the parameter {name} is not finite")
    is_small = value.ndim < 2  # biases and the statistics of normalisations: little to save, much to lose
    too_large = value.numel() and value.abs().max() > torch.finfo(torch.float16).max
    return value.to(torch.float32 if is_small or too_large else torch.float16).contiguous()


def _checksum(state: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(state):
        digest.update(name.encode())
        digest.update(state[name].contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
