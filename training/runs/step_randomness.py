"""The steps of a run draw from random generators of their own, so that nothing between two steps changes the next."""

from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from training.runs import randomness

KEY = "lifemask_random"


class StepRandomness(Callback):
    """Puts the generators at the begin of a step where they were at the end of the one before.

    Validations, pictures and loaders in between may draw as they like (Lightning's validation loop does so before any
    hook is called). Checkpoints hold the states of every process. Has to be the first callback.
    """

    def __init__(self) -> None:
        self._state: randomness.State | None = None
        self._loaded: list[randomness.State] = []

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if self._loaded:
            self._state = self._loaded[min(trainer.global_rank, len(self._loaded) - 1)]
            self._loaded = []
        if self._state is not None:
            randomness.restore(self._state)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._state = randomness.capture()

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        states = [self._state]
        if trainer.world_size > 1:
            states = [None] * trainer.world_size
            torch.distributed.all_gather_object(states, self._state)
        checkpoint[KEY] = states

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        self._loaded = checkpoint[KEY]
