"""A bar on stderr that counts the steps of the whole run."""

import sys
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import TQDMProgressBar
from lightning.pytorch.callbacks.progress.tqdm_progress import Tqdm

from training.methods.base import TrainingMethod

EVERY_IN_FILES = 50
"""Batches between two lines where stderr is a file."""


class StepBar(TQDMProgressBar):
    """Lightning's bar without epochs (a run is one long reading of its data), and away from the results on stdout."""

    def __init__(self) -> None:
        super().__init__(refresh_rate=1 if sys.stderr.isatty() else EVERY_IN_FILES)

    def init_train_tqdm(self) -> Tqdm:
        return self._bar("Training", position=0, leave=True)

    def init_validation_tqdm(self) -> Tqdm:
        alone = self.trainer.state.fn == "validate"
        return self._bar("Validation", position=0 if alone else 1, leave=alone)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_train_start(trainer, pl_module)
        if trainer.max_steps > 0:  # Lightning knows no total where a run is resumed
            self.train_progress_bar.reset(trainer.max_steps * trainer.accumulate_grad_batches)

    def on_train_epoch_start(self, trainer: Trainer, *_: Any) -> None:
        """Nothing: the one epoch has no number."""

    def get_metrics(self, trainer: Trainer, pl_module: TrainingMethod) -> dict[str, Any]:
        shown = super().get_metrics(trainer, pl_module)
        shown.pop("v_num", None)
        limit = pl_module.settings.training.max_minutes
        if limit is not None:
            shown["minutes"] = f"{pl_module.minutes:.1f}/{limit:g}"
        return shown

    def _bar(self, words: str, position: int, leave: bool) -> Tqdm:
        return Tqdm(
            desc=words,
            position=position,
            disable=self.is_disabled,
            leave=leave,
            dynamic_ncols=True,
            file=sys.stderr,
            smoothing=0,
            bar_format=self.BAR_FORMAT,
        )
