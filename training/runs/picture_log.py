"""The grids of a run, in its folder and in TensorBoard."""

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from PIL import Image

from training.methods.base import Outputs, TrainingMethod
from training.runs import randomness


class PictureLog(Callback):
    """Writes what `TrainingMethod.pictures` draws of a batch, and leaves the run's randomness as it was.

    Args:
        folder: for `train_<step>.png` and `validation_<step>.png`; TensorBoard gets the same.
        step: that pictures are called after where nothing is trained; None takes the trainer's.
    """

    def __init__(self, folder: Path, step: int | None = None):
        self.folder = folder
        self.step = step

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: TrainingMethod, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if pl_module.shown is not None:
            self._write(trainer, pl_module, "train")

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: TrainingMethod,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if pl_module.shown is not None:
            self._write(trainer, pl_module, "validation")

    def _write(self, trainer: Trainer, method: TrainingMethod, stage: str) -> None:
        (step, batch, outputs), method.shown = method.shown, None
        step = step if self.step is None else self.step
        if not trainer.is_global_zero:
            return
        with randomness.untouched(), torch.no_grad():
            grid = method.pictures(batch, _detached(outputs))
        if grid is None:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(grid).save(self.folder / f"{stage}_{step:07}.png")
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                logger.experiment.add_image(stage, grid, step, dataformats="HWC")


def _detached(outputs: Outputs) -> Outputs:
    return {name: value.detach() if isinstance(value, torch.Tensor) else value for name, value in outputs.items()}
