"""A method that trains in a moment, for the tests of the training package: a line through points, with dropout."""

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from pydantic import Field
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from training.methods.base import Batch, Outputs, TrainingMethod
from training.settings import LossWeights, NetworkSettings, RunSettings, Weight

POINTS = 20


class TinyLosses(LossWeights):
    distance: Weight = 1.0
    size: Weight = 0.01
    unused: Weight = 0.0


class TinyNetwork(NetworkSettings):
    width: int = Field(4, ge=1)


class TinySettings(RunSettings):
    network: TinyNetwork = TinyNetwork()
    losses: TinyLosses = TinyLosses()


class NoisyPoints(Dataset):
    """Points on a line, each with other noise whenever it is read."""

    def __len__(self) -> int:
        return POINTS

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        x = torch.tensor([index / POINTS])
        return {"x": x, "y": 2 * x + 0.1 * torch.randn(1) + 0.1 * np.random.normal()}


class Points(LightningDataModule):
    def __init__(self, settings: RunSettings):
        super().__init__()
        self.settings = settings

    def train_dataloader(self) -> DataLoader:
        chosen = self.settings.data
        return DataLoader(NoisyPoints(), batch_size=chosen.batch_size, shuffle=True, num_workers=chosen.workers)

    def val_dataloader(self) -> DataLoader:
        return DataLoader(NoisyPoints(), batch_size=POINTS)


class TinyMethod(TrainingMethod):
    name = "tiny"
    Settings = TinySettings

    def __init__(self, settings: TinySettings):
        super().__init__(settings)
        width = settings.network.width
        self.network = nn.Sequential(nn.Linear(1, width), nn.BatchNorm1d(width), nn.Dropout(0.3), nn.Linear(width, 1))
        self.register_buffer("validated_after", torch.tensor(-1))

    def on_validation_epoch_end(self) -> None:
        self.validated_after.fill_(self.trainer.fit_loop.epoch_loop.global_step)

    def outputs(self, batch: Batch) -> Outputs:
        return {"y": self.network(batch["x"])}

    def losses(self, batch: Batch, outputs: Outputs) -> dict[str, Tensor]:
        losses = {
            "distance": (outputs["y"] - batch["y"]).square().mean(),
            "size": sum(parameter.square().sum() for parameter in self.network.parameters()),
        }
        if self.wants("unused"):
            losses["unused"] = (outputs["y"] - batch["y"]).abs().mean()
        return losses

    def metrics(self, batch: Batch, outputs: Outputs) -> dict[str, Tensor]:
        return {"largest_error": (outputs["y"] - batch["y"]).abs().max()}

    def pictures(self, batch: Batch, outputs: Outputs) -> np.ndarray:
        np.random.normal()  # a method that draws: the run must not notice
        return np.full((8, 12, 3), int(outputs["y"].mean() * 0) + 127, np.uint8)

    def data(self, settings: TinySettings) -> Points:
        return Points(settings)

    def exported(self):
        return self.network.state_dict(), {"width": self.settings.network.width}

    def ablation_figures(self) -> dict[str, float]:
        with torch.no_grad():
            self.eval()
            return {"slope": float(self.network(torch.ones(1, 1)) - self.network(torch.zeros(1, 1)))}
