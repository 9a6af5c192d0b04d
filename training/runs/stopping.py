"""When a run ends: its time is over, or somebody pressed Ctrl-C. Both end it after a whole step."""

import contextlib
import logging
import signal
import threading
import time
from collections.abc import Iterator
from types import FrameType
from typing import Any

from lightning.pytorch import Callback, Trainer

from training.methods.base import TrainingMethod

logger = logging.getLogger(__name__)


class Stopping(Callback):
    """Counts the minutes of a run into its method and stops it after a step.

    Args:
        max_minutes: over all parts of the run; None for no limit.

    Attributes:
        interrupted: somebody asked to stop.
        at_once: and asked again.
    """

    def __init__(self, max_minutes: float | None):
        self.max_minutes = max_minutes
        self.interrupted = False
        self.at_once = False

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Inside, the first Ctrl-C lets the step end and the run be saved; the second stops at once."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.signal(signal.SIGINT, self._interrupt)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    def on_train_start(self, trainer: Trainer, pl_module: TrainingMethod) -> None:
        self._begun = time.monotonic() - 60 * pl_module.minutes

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: TrainingMethod, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        pl_module.minutes = (time.monotonic() - self._begun) / 60
        is_over = self.max_minutes is not None and pl_module.minutes >= self.max_minutes
        stop = is_over or self.interrupted
        if trainer.world_size > 1:
            stop = trainer.strategy.reduce_boolean_decision(stop, all=False)
        # Steps are whole: with accumulated gradients the next batches still belong to this one.
        if stop and (batch_idx + 1) % trainer.accumulate_grad_batches == 0:
            trainer.should_stop = True
            trainer.limit_val_batches = 0  # else Lightning validates once more before it stops

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        if self.interrupted:
            self.at_once = True
            raise KeyboardInterrupt
        self.interrupted = True
        logger.info("\nStopping after this step. Ctrl-C once more stops at once.")
