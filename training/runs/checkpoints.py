"""Writing and reading the checkpoint of a run: whole or not at all, and refused where it does not belong."""

import contextlib
import errno
import os
import pickle
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from backend.errors import Fix, UsageError
from training.methods.base import MARK
from training.runs.endless_batches import EndlessBatches

POSITION = "lifemask_position"


class Checkpoints(Callback):
    """Saves the run every few minutes, when it is asked to stop and at its last step, and lets it go on exactly.

    Beside Lightning's state (parameters, optimiser, schedule, loop) it holds the position in the data.

    Args:
        path: of the file, replaced each time.
        every_minutes: between two.

    Attributes:
        batches: what the run reads; to be set before it begins.
        before: batches that the run had before it began to read these.
    """

    def __init__(self, path: Path, every_minutes: float):
        self.path = path
        self.every_seconds = 60 * every_minutes
        self.batches: EndlessBatches | None = None
        self.before = 0
        self._saved_at = time.monotonic()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if (batch_idx + 1) % trainer.accumulate_grad_batches:
            return  # in the middle of a step, whose gradients a checkpoint does not hold
        is_last = trainer.should_stop or trainer.global_step == trainer.max_steps
        is_due = time.monotonic() - self._saved_at > self.every_seconds
        if trainer.world_size > 1:
            is_due = trainer.strategy.reduce_boolean_decision(is_due, all=False)
        if is_last or is_due:
            with disk_full_in_words(self.path):
                trainer.save_checkpoint(self.path, weights_only=False)
            self._saved_at = time.monotonic()

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        checkpoint[POSITION] = {
            # ready, not completed: Lightning counts the batch as completed after this hook
            "batches": trainer.fit_loop.epoch_loop.batch_progress.current.ready - self.before,
            "before": self.before,
            "lengths": list(self.batches.lengths) if self.batches is not None else [],
        }


def renew_state(path: Path, module: LightningModule) -> None:
    """Puts a module's state as it is now into its checkpoint, and changes nothing else.

    What a validation after the last step has written down belongs to the parameters of that step.

    Raises OSError.
    """
    checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    checkpoint["state_dict"] = module.state_dict()
    unfinished = path.with_name(f".{path.name}.part")
    torch.save(checkpoint, unfinished)
    os.replace(unfinished, path)


def read_checkpoint(path: Path, method: str, face_model: str | None = None) -> dict[str, Any]:
    """A checkpoint that `Checkpoints` wrote, on the CPU.

    Args:
        path: of the file.
        method: that it must be of.
        face_model: that it must be for; None takes any.

    Raises:
        UsageError: it is missing, damaged, not one of ours, or of another method or face model.
    """
    if not path.is_file():
        raise UsageError("no-checkpoint", f"There is no checkpoint {path}. `python3 -m training fit` writes one.")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, EOFError, RuntimeError, KeyError, ValueError, AttributeError, pickle.UnpicklingError) as error:
        raise UsageError(
            "checkpoint-damaged",
            f"The checkpoint {path} is damaged or no checkpoint ({_first_line(error)}). Remove it and train again.",
        ) from error
    mark = checkpoint.get(MARK) if isinstance(checkpoint, dict) else None
    if mark is None:
        raise UsageError("checkpoint-foreign", f"{path} is no checkpoint of Lifemask's training.")
    if mark["method"] != method:
        raise UsageError("checkpoint-of-another-method", f"{path} is a checkpoint of {mark['method']}, not {method}.")
    if face_model is not None and mark["face_model"] != face_model:
        raise UsageError(
            "checkpoint-of-another-face-model",
            f"{path} was trained with the face model {mark['face_model']}, not with {face_model}. "
            f"Set face_model={mark['face_model']} or train anew in another folder.",
        )
    return checkpoint


def load_state(module: LightningModule, state: dict[str, Any], path: Path) -> None:
    """Gives a network the parameters of a checkpoint; UsageError where they do not fit it."""
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        raise UsageError(
            "checkpoint-does-not-fit",
            f"The parameters in {path} do not fit the network of these settings: {_first_difference(error)}",
        ) from error


@contextlib.contextmanager
def disk_full_in_words(path: Path) -> Iterator[None]:
    """Turns the error of a full disk into a sentence."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        kept = "The checkpoint before is untouched. " if os.path.exists(path) else ""
        raise UsageError(
            "disk-full",
            f"The disk of {path} is full. {kept}Free some space; `fit --resume` goes on.",
            Fix("free-space", "Free some space"),
        ) from error


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


def _first_difference(error: RuntimeError) -> str:
    lines = [line.strip() for line in str(error).splitlines()]
    return (lines[1] if len(lines) > 1 else lines[0])[:300]
