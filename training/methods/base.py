"""What every method's training is: one small contract, on which all commands of the training package stand.

A method is a file with one class. It says what its network answers (`outputs`), what is wrong with the answer
(`losses`, by the names of its `Settings.losses`), how good it is (`metrics`), how that looks (`pictures`), what it
learns from (`data`) and what of it is shipped (`exported`). Everything else is here or in `training/runs/`.
"""

import math
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path, PurePath
from typing import Any, ClassVar

import numpy as np
import torch
from lightning.pytorch import LightningDataModule, LightningModule
from torch import Tensor

from backend.face_models.formats import identify
from backend.face_models.linearised import names_a_file
from training.errors import TrainingError
from training.settings import OptimiserSettings, RunSettings

Batch = dict[str, Any]
"""Tensors by name, batch first; see `training.data.batches`."""
Outputs = dict[str, Any]
PEOPLE_NAMED = 8
MARK = "lifemask"
"""Under this word a checkpoint says which method and face model it is of."""


class TrainingMethod(LightningModule):
    """A network with its losses, trained by `python3 -m training fit NAME`.

    Attributes:
        name: as on the command line and in the registry.
        Settings: subclass of `RunSettings` whose `losses` has one field a loss.
        learns_from: what the shipped weights are trained on, and under which licences, for their model card.
        settings: of this run.
        minutes: of training so far, resumed parts included; set by the run's clock, 0 before.
        shown: step, prepared batch and outputs of the batch that is to be drawn next, or None.
    """

    name: ClassVar[str]
    Settings: ClassVar[type[RunSettings]] = RunSettings
    learns_from: ClassVar[str] = ""

    def __init__(self, settings: RunSettings):
        super().__init__()
        self.settings = settings
        self.minutes = 0.0
        self.shown: tuple[int, Batch, Outputs] | None = None
        self._schedule: torch.optim.lr_scheduler.LambdaLR | None = None

    # What a method implements.

    def prepared(self, batch: Batch) -> Batch:
        """What a batch becomes before anything else, on the network's device; `self.training` says what it is for.

        Here is the place for chance. Lightning's hooks at the transfer of a batch are not: what they draw comes again
        in every step, since they run before the step's own random state is there.
        """
        return batch

    def outputs(self, batch: Batch) -> Outputs:
        """What the network makes of a batch, as `losses`, `metrics` and `pictures` need it."""
        raise NotImplementedError

    def losses(self, batch: Batch, outputs: Outputs) -> dict[str, Tensor]:
        """Scalars by the names of `settings.losses`, without their weights. Those not `wanted` should be left out."""
        raise NotImplementedError

    def metrics(self, batch: Batch, outputs: Outputs) -> dict[str, Tensor]:
        """Scalars that a person understands, with the unit in the name ("closure_error", "scan_error_mm")."""
        return {}

    def pictures(self, batch: Batch, outputs: Outputs) -> np.ndarray | None:
        """(H, W, 3) uint8: a grid to look at (photograph, render, error, lids), or None."""
        return None

    def data(self, settings: RunSettings) -> LightningDataModule:
        """What is trained on and validated on.

        Its loaders must give the same batches whenever they are iterated from the same state of Python's, numpy's and
        torch's global random generators (which the run sets by seed and epoch), on every rank its own share.
        """
        raise NotImplementedError

    def exported(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """The state of what inference needs, and what must be known to use it (JSON values: sizes, class names …)."""
        raise NotImplementedError

    def ablation_figures(self) -> dict[str, float]:
        """What `ablate` writes down of a trained method: measured on held-out data of its own."""
        raise NotImplementedError(f"{self.name} has no ablations")

    # What a method uses.

    def wants(self, loss: str) -> bool:
        """Whether a loss has a weight above 0 in this run."""
        return self.settings.losses.weight(loss) > 0

    @cached_property
    def face_model_name(self) -> str:
        """Of the face model; of a file, which model it is by what is in it, since licences hang on that.

        A file that is gone has its own name, which no licence is taken from that lets anything be sold.
        """
        path = Path(self.settings.face_model)
        if names_a_file(self.settings.face_model) and path.exists():
            return identify(path).name
        return PurePath(self.settings.face_model.replace("\\", "/")).name

    # What Lightning calls.

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        batch = self.prepared(batch)
        outputs = self.outputs(batch)
        losses = self._wanted(self.losses(batch, outputs))
        total = self.weighted_total(losses)
        if not math.isfinite(total.item()):
            self._refuse(losses, batch, batch_index)
        self._write_down("train", {"total": total, **losses, "learning_rate": self._learning_rate()}, batch)
        self._last_batch = batch, batch_index
        every = self.settings.training.log_pictures_every
        # a step that is made of several batches is drawn once, of its first
        if every and self.global_step % every == 0 and batch_index % self.settings.training.accumulate == 0:
            self.shown = (self.global_step, batch, outputs)
        return total

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        batch = self.prepared(batch)
        outputs = self.outputs(batch)
        losses = self._wanted(self.losses(batch, outputs))
        measured = {"total": self.weighted_total(losses), **losses, **self.metrics(batch, outputs)}
        self._write_down("validation", measured, batch)
        if batch_index == 0:
            self.shown = (self.global_step, batch, outputs)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint[MARK] = {"method": self.name, "face_model": self.face_model_name, "minutes": self.minutes}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.minutes = checkpoint[MARK]["minutes"]

    def on_train_start(self) -> None:
        """Lets changed settings of the optimiser count in a resumed run; its checkpoint would bring the old ones."""
        if self._schedule is None:
            return
        chosen, schedule = self.settings.optimiser, self._schedule
        schedule.base_lrs = [chosen.learning_rate] * len(schedule.base_lrs)
        for group in schedule.optimizer.param_groups:
            group["initial_lr"] = chosen.learning_rate
            group["lr"] = chosen.learning_rate * self.share_of_rate(schedule.last_epoch)
            group["weight_decay"] = chosen.weight_decay
            if chosen.name == "sgd":
                group["momentum"] = chosen.momentum

    def weighted_total(self, losses: dict[str, Tensor]) -> Tensor:
        """The sum of losses times their weights; TrainingError where there is none to sum."""
        if not losses:
            raise TrainingError(
                "no-loss", f"No loss of {self.name} has a weight above 0. Set one, such as losses.NAME=1."
            )
        return torch.stack([self.settings.losses.weight(name) * value for name, value in losses.items()]).sum()

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Stops where a finite loss has a gradient that is none; such a step would destroy the network.

        With 16-bit floats that happens now and then, and torch's gradient scaler leaves the step out.
        """
        if self.settings.training.precision == "16-mixed":
            return
        gradients = [parameter.grad for parameter in self.parameters() if parameter.grad is not None]
        if not math.isfinite(torch.nn.utils.get_total_norm(gradients).item()):
            self._refuse_gradient()

    def configure_optimizers(self) -> dict[str, Any]:
        """The optimiser and the schedule of the settings; a method may override it."""
        optimiser = make_optimiser(self.settings.optimiser, self.parameters())
        self._schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, self.share_of_rate)
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": self._schedule, "interval": "step"}}

    def share_of_rate(self, step: int) -> float:
        """The part of `learning_rate` that a step takes."""
        chosen = self.settings.optimiser
        share = scheduled_share(chosen, self.progress(step))
        return share * min((step + 1) / (chosen.warm_up_steps + 1), 1.0)

    def progress(self, step: int) -> float:
        """How much of the run is done, 0 to 1, in what its schedule counts; 0 where nothing limits it."""
        run, over = self.settings.training, self.settings.optimiser.schedule_over
        if over != "steps" and run.max_minutes is not None:
            return min(self.minutes / run.max_minutes, 1.0)
        return min(step / run.max_steps, 1.0) if run.max_steps > 0 and over != "minutes" else 0.0

    def _wanted(self, losses: dict[str, Tensor]) -> dict[str, Tensor]:
        try:
            return {name: value for name, value in losses.items() if self.wants(name)}
        except KeyError as error:
            raise TrainingError(
                "loss-without-weight", f"{self.name} computes a loss {error} that its settings have no weight for."
            ) from error

    def _write_down(self, stage: str, values: dict[str, Tensor], batch: Batch) -> None:
        size = next(value.shape[0] for value in batch.values() if isinstance(value, Tensor))
        many = stage == "validation"
        self.log_dict(
            {f"{stage}/{name}": torch.as_tensor(value).detach().float() for name, value in values.items()},
            batch_size=size,
            on_step=not many,
            on_epoch=many,
            sync_dist=many,
        )
        if not many:
            self.log("loss", values["total"].detach(), prog_bar=True, logger=False)

    def _learning_rate(self) -> Tensor:
        return torch.tensor(self.trainer.optimizers[0].param_groups[0]["lr"])

    def _refuse(self, losses: dict[str, Tensor], batch: Batch, batch_index: int) -> None:
        bad = {name: value.item() for name, value in losses.items() if not torch.isfinite(value).all()}
        words = " and ".join(f"'{name}' is {value}" for name, value in bad.items())
        raise TrainingError(
            "loss-not-finite",
            f"The loss {words or 'as a whole is too large'} in step {self.global_step}, {_called(batch, batch_index)}. "
            "The last checkpoint is untouched: go on from it with a lower "
            "optimiser.learning_rate or with optimiser.gradient_limit=1.",
        )

    def _refuse_gradient(self) -> None:
        """Names the losses whose gradients are not finite, by differentiating each for itself."""
        (batch, batch_index), names = self._last_batch, []
        parameters = [parameter for parameter in self.parameters() if parameter.requires_grad]
        for name, value in self._wanted(self.losses(batch, self.outputs(batch))).items():
            if not value.requires_grad:
                continue
            gradients = torch.autograd.grad(value, parameters, retain_graph=True, allow_unused=True)
            if not all(torch.isfinite(gradient).all() for gradient in gradients if gradient is not None):
                names.append(f"'{name}'")
        raise TrainingError(
            "gradient-not-finite",
            f"The gradient of the loss {' and '.join(names) or 'as a whole'} is not finite in step {self.global_step}, "
            f"{_called(batch, batch_index)}. The last checkpoint is untouched.",
        )


def _called(batch: Batch, index: int) -> str:
    """A batch in words: its number in the run and, where that is known, who is in it."""
    people = batch.get("person")
    if people is None:
        return f"batch {index}"
    numbers = sorted({int(number) for number in people})
    more = " ..." if len(numbers) > PEOPLE_NAMED else ""
    return f"batch {index} (people {', '.join(map(str, numbers[:PEOPLE_NAMED]))}{more})"


def make_optimiser(settings: OptimiserSettings, parameters: Iterable[Tensor]) -> torch.optim.Optimizer:
    """Adam, AdamW or SGD over the parameters that can be trained."""
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    common = {"lr": settings.learning_rate, "weight_decay": settings.weight_decay}
    if settings.name == "sgd":
        return torch.optim.SGD(trained, momentum=settings.momentum, **common)
    return {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[settings.name](trained, **common)


def scheduled_share(settings: OptimiserSettings, progress: float) -> float:
    """The part of the learning rate at a progress of 0 to 1 through the run."""
    falls = {
        "constant": 0.0,
        "linear": progress,
        "cosine": (1 - math.cos(math.pi * progress)) / 2,
        "polynomial": 1 - (1 - progress) ** settings.power,
    }
    return 1 - (1 - settings.final_share) * falls[settings.schedule]
