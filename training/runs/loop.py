"""A method, its data and a folder put into Lightning's loop."""

import logging
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningDataModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities.model_helpers import is_overridden

from backend.errors import Cancelled
from training.methods.base import TrainingMethod
from training.runs import randomness
from training.runs.checkpoints import POSITION, Checkpoints, disk_full_in_words, renew_state
from training.runs.endless_batches import EndlessBatches
from training.runs.folder import RunFolder, write_json
from training.runs.metrics_file import MetricsFile
from training.runs.picture_log import PictureLog
from training.runs.step_bar import StepBar
from training.runs.step_randomness import StepRandomness
from training.runs.stopping import Stopping
from training.settings import RunSettings

logger = logging.getLogger(__name__)

NEVER = 2**31


def train(
    method: TrainingMethod,
    folder: RunFolder,
    checkpoint: dict[str, Any] | None = None,
    data_changed: bool = False,
) -> dict[str, float]:
    """Trains until the settings' limit, writes everything down, and validates.

    Args:
        method: with fresh parameters. Make it after `prepare_machine`.
        folder: of the run, begun.
        checkpoint: what was read from `folder.checkpoint`, to go on from it; None to begin.
        data_changed: the data are others than before the checkpoint and are read from their beginning.

    Returns:
        What the validation at the end measured, by name; also in `metrics.json`. {} without validation data.

    Raises:
        TrainingError: a loss is no number.
        UsageError: the disk is full.
        Cancelled: Ctrl-C; the run is saved.
    """
    settings = method.settings.training
    stopping = Stopping(settings.max_minutes)
    checkpoints = Checkpoints(folder.checkpoint, settings.checkpoint_every_minutes)
    position = checkpoint[POSITION] if checkpoint else {"batches": 0, "before": 0, "lengths": ()}
    if data_changed:
        position = {"batches": 0, "before": position["before"] + position["batches"], "lengths": ()}
    checkpoints.before = position["before"]
    first_step = checkpoint["global_step"] if checkpoint else 0

    def endless(loader: Iterable[Any]) -> EndlessBatches:
        checkpoints.batches = EndlessBatches(loader, settings.seed, position["batches"], tuple(position["lengths"]))
        return checkpoints.batches

    data = _with_train_loader(method.data(method.settings), endless)
    has_validation = is_overridden("val_dataloader", data)
    with stopping.listening(), disk_full_in_words(folder.checkpoint), quiet_lightning():
        trainer = make_trainer(
            method.settings,
            folder.path,
            callbacks=[StepRandomness(), stopping, PictureLog(folder.pictures), checkpoints],
            loggers=[
                MetricsFile(folder.metrics_table, first_step),
                TensorBoardLogger(folder.path, name="tensorboard", version="", purge_step=first_step),
            ],
            validates=has_validation,
        )
        resume = str(folder.checkpoint) if checkpoint else None
        try:
            trainer.fit(method, datamodule=data, ckpt_path=resume, weights_only=True if resume else None)
        except SystemExit:  # Lightning's answer to KeyboardInterrupt
            if not stopping.at_once:
                raise
            raise Cancelled("Stopped at once. --resume goes on from the last checkpoint.") from None
        figures = {"step": trainer.global_step, "minutes": round(method.minutes, 3), "train": _last_values(trainer)}
        measured = {}
        if has_validation and not stopping.interrupted:
            trainer.limit_val_batches = settings.validation_batches
            measured = validate(trainer, method, data)
            if trainer.is_global_zero and folder.checkpoint.exists():
                renew_state(folder.checkpoint, method)
            figures["validation"] = measured
    if trainer.is_global_zero:
        write_json(folder.figures_file, figures)
    if stopping.interrupted:
        raise Cancelled(
            f"Stopped after step {figures['step']}, which is saved. The same command with --resume goes on."
        )
    return measured


def validate(trainer: Trainer, method: TrainingMethod, data: LightningDataModule) -> dict[str, float]:
    """The means of all losses and measures over the validation data, by name without "validation/"."""
    results = trainer.validate(method, datamodule=data, verbose=False)
    return {name.removeprefix("validation/"): float(value) for name, value in results[0].items()} if results else {}


def make_trainer(
    settings: RunSettings,
    folder: Path | None,
    callbacks: list[Callback] | None = None,
    loggers: list[Any] | None = None,
    validates: bool = True,
) -> Trainer:
    """Lightning's Trainer as the settings want it. Without a folder nothing is written."""
    chosen = settings.training
    return Trainer(
        accelerator=chosen.accelerator,
        devices=chosen.devices,
        num_nodes=chosen.nodes,
        precision=chosen.precision,
        max_steps=chosen.max_steps,
        max_epochs=-1,
        accumulate_grad_batches=chosen.accumulate,
        gradient_clip_val=settings.optimiser.gradient_limit or None,
        log_every_n_steps=min(chosen.log_every, chosen.max_steps) if chosen.max_steps > 0 else chosen.log_every,
        val_check_interval=chosen.validate_every * chosen.accumulate or NEVER,
        check_val_every_n_epoch=None,
        limit_val_batches=chosen.validation_batches if validates else 0,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,  # data modules give every process its share
        enable_checkpointing=False,
        enable_model_summary=False,
        default_root_dir=folder,
        logger=loggers or False,
        callbacks=[*(callbacks or []), StepBar()],
    )


def prepare_machine(settings: RunSettings) -> None:
    """Seeds everything and limits threads. Before the method is made: its initial weights come from the seed."""
    if settings.training.threads:
        torch.set_num_threads(settings.training.threads)
    randomness.seed(settings.training.seed)


class quiet_lightning(warnings.catch_warnings):
    """Inside, Lightning does not advise on what is as it is on purpose (workers, cards, intervals)."""

    def __enter__(self) -> Any:
        entered = super().__enter__()
        warnings.filterwarnings("ignore", module="lightning", message=".*")
        self._level = logging.getLogger("lightning.pytorch").level
        logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
        return entered

    def __exit__(self, *error: object) -> None:
        logging.getLogger("lightning.pytorch").setLevel(self._level)
        super().__exit__(*error)


def _with_train_loader(
    data: LightningDataModule, wrapped: Callable[[Iterable[Any]], EndlessBatches]
) -> LightningDataModule:
    # On the instance: all other hooks of the data module stay as its author wrote them.
    original = data.train_dataloader
    data.train_dataloader = lambda: wrapped(original())
    return data


def _last_values(trainer: Trainer) -> dict[str, float]:
    return {
        name.removeprefix("train/"): float(value)
        for name, value in trainer.logged_metrics.items()
        if name.startswith("train/")
    }
