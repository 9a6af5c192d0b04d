"""Batches of eye crops, spoilt anew every time they are seen, and of whole faces for the paper's own detector."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from backend.errors import UsageError
from backend.eye_crops import CROP_HEIGHT, CROP_WIDTH
from training.data.eye_crop_files import CropRecipe, load_crops, make_missing
from training.data.eye_crops import STORED_SHARE, EyeCrops

HELD_OUT_OF = 8
"""One person in so many is held out of training."""
APERTURE_NOISE = 0.06
APERTURE_UNKNOWN_SHARE = 0.15
"""Of the eyes, whose apertures are replaced by chance: so the network learns to look."""


def is_held_out(person: str) -> bool:
    """Whether pictures of this person are for validation; decided by the name alone."""
    return zlib.crc32(person.encode()) % HELD_OUT_OF == 0


class EyeCropData(LightningDataModule):
    """Eye crops in memory; makes those of its recipe that are missing. Without a recipe `more_crops` are all there is.

    Batches: image (B, 3, 48, 64) float sRGB in [0, 1], apertures (B, 2), closure (B,), person and kind as lists.

    Args:
        recipe: what to learn from.
        batch_size: eyes. processes: that make missing crops.
        more_crops: files of `EyeCrops`, or folders of them.

    Raises:
        UsageError: "no-crops", one of them is not there.
    """

    def __init__(
        self, recipe: CropRecipe | None, batch_size: int, processes: int = 1, more_crops: Sequence[Path] = ()
    ) -> None:
        super().__init__()
        self.recipe, self.batch_size, self.processes = recipe, batch_size, processes
        self.more_crops = [file for path in more_crops for file in _crop_files(path)]
        self.training: EyeCrops | None = None
        self.held_out: EyeCrops | None = None

    def prepare_data(self) -> None:
        if self.recipe is not None:
            make_missing(self.recipe, self.processes)

    def setup(self, stage: str) -> None:
        if self.training is not None:
            return
        found = [load_crops(self.recipe)] if self.recipe is not None else []
        crops = EyeCrops.joined([EyeCrops.empty(), *found, *map(EyeCrops.load, self.more_crops)])
        held_out = np.array([is_held_out(str(person)) for person in crops.person])
        self.training, self.held_out = crops.where(~held_out), crops.where(held_out)

    def train_dataloader(self) -> DataLoader:
        return DataLoader(
            EyeCropDataset(self.training),
            self.batch_size,
            shuffle=True,
            drop_last=len(self.training) >= self.batch_size,
            collate_fn=collate_spoilt,
        )

    def val_dataloader(self) -> DataLoader:
        return DataLoader(EyeCropDataset(self.held_out), self.batch_size, collate_fn=collate_plain)


class EyeCropDataset(Dataset):
    """Single eyes: (image (80, 80, 3) uint8, apertures (2,), closure, kind)."""

    def __init__(self, crops: EyeCrops):
        self.crops = crops

    def __len__(self) -> int:
        return len(self.crops)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray, float, str]:
        crops = self.crops
        return crops.images[index], crops.apertures[index], float(crops.closure[index]), str(crops.kind[index])


def collate_plain(eyes: list[tuple]) -> dict[str, Tensor | list[str]]:
    """The eyes as the detector sees them."""
    images, apertures, closure, kinds = zip(*eyes, strict=True)
    image = torch.as_tensor(np.stack(images)).permute(0, 3, 1, 2).float() / 255
    image = resample(image, _placements(len(eyes)))
    return {
        "image": image,
        "apertures": torch.as_tensor(np.stack(apertures)),
        "closure": torch.tensor(closure, dtype=torch.float32),
        "kind": list(kinds),
    }


def collate_spoilt(eyes: list[tuple]) -> dict[str, Tensor | list[str]]:
    """The eyes shifted, turned, lit, blurred and noisy by chance (torch's global generator)."""
    images, apertures, closure, kinds = zip(*eyes, strict=True)
    image = torch.as_tensor(np.stack(images)).permute(0, 3, 1, 2).float() / 255
    image = spoil_colours(resample(image, _placements(len(eyes), chance=1.0)))
    apertures = torch.as_tensor(np.stack(apertures))
    apertures = apertures + APERTURE_NOISE * torch.randn_like(apertures)
    unknown = torch.rand(len(eyes), 1) < APERTURE_UNKNOWN_SHARE
    apertures = torch.where(unknown, 0.1 + 1.1 * torch.rand_like(apertures), apertures)
    closure = torch.tensor(closure, dtype=torch.float32)
    return {"image": image, "apertures": apertures, "closure": closure, "kind": list(kinds)}


def _crop_files(path: Path) -> list[Path]:
    found = sorted(path.glob("*.npz")) if path.is_dir() else [path]
    if not found or not found[0].is_file():
        raise UsageError("no-crops", f"There are no eye crops in {path}. Give files that EyeCrops.save wrote.")
    return found


def _placements(count: int, chance: float = 0.0) -> Tensor:
    """(B, 2, 3) affine maps from the crop wanted to the crop stored, both from -1 to 1; by chance moved and turned."""

    def normal(deviation: float) -> Tensor:
        return chance * deviation * torch.randn(count)

    turn, size, aspect = normal(0.09), torch.exp(normal(0.07)), torch.exp(normal(0.05))
    shear = normal(0.06)
    cosine, sine = torch.cos(turn), torch.sin(turn)
    half = torch.tensor([1.0, CROP_HEIGHT / CROP_WIDTH]) / STORED_SHARE
    x = torch.stack([cosine * size * aspect, (shear * cosine - sine) * size], dim=1) * half
    y = torch.stack([sine * size * aspect, (shear * sine + cosine) * size], dim=1) * half
    shift = torch.stack([normal(0.05), normal(0.04)], dim=1)
    return torch.cat([torch.stack([x, y], dim=1), shift[:, :, None]], dim=2)


def resample(image: Tensor, placement: Tensor) -> Tensor:
    """(B, 3, S, S) pictures through affine maps (B, 2, 3) -> (B, 3, 48, 64)."""
    grid = functional.affine_grid(placement, [len(image), 3, CROP_HEIGHT, CROP_WIDTH], align_corners=False)
    return functional.grid_sample(image, grid, padding_mode="border", align_corners=False)


def spoil_colours(image: Tensor) -> Tensor:
    """(B, 3, H, W) in [0, 1], each picture with its own chance of everything a camera and the web do to it."""
    count = len(image)

    def some(share: float) -> Tensor:
        return torch.rand(count, 1, 1, 1) < share

    gamma = torch.exp(0.25 * torch.randn(count, 1, 1, 1))
    image = image.clamp(1e-3, 1) ** gamma
    image = image * torch.exp(0.08 * torch.randn(count, 3, 1, 1)) * torch.exp(0.15 * torch.randn(count, 1, 1, 1))
    image = torch.where(some(0.15), image.mean(dim=1, keepdim=True).expand_as(image), image)
    across = torch.linspace(-1, 1, image.shape[3]) * torch.randn(count, 1, 1, 1)
    down = torch.linspace(-1, 1, image.shape[2])[:, None] * torch.randn(count, 1, 1, 1)
    image = torch.where(some(0.4), image * torch.exp(0.2 * (across + down)), image)
    smaller = int(torch.randint(18, 48, ()))
    coarse = functional.interpolate(image, (smaller * 3 // 4, smaller), mode="bilinear", antialias=True)
    coarse = functional.interpolate(coarse, image.shape[2:], mode="bilinear")
    image = torch.where(some(0.3), coarse, image)
    image = torch.where(some(0.2), functional.avg_pool2d(image, 3, 1, 1, count_include_pad=False), image)
    image = torch.where(some(0.5), image + 0.03 * torch.rand(count, 1, 1, 1) * torch.randn_like(image), image)
    return _covered(image).clamp(0, 1)


def _covered(image: Tensor) -> Tensor:
    """One in eight gets a plain bar across a corner, as hair and the frames of glasses are."""
    count, _, height, width = image.shape
    x = torch.linspace(-1, 1, width)[None, None, None, :]
    y = torch.linspace(-1, 1, height)[None, None, :, None]
    angle = 2 * torch.pi * torch.rand(count, 1, 1, 1)
    away = x * torch.cos(angle) + y * torch.sin(angle) - (0.5 + 0.6 * torch.rand(count, 1, 1, 1))
    bar = (away.abs() < 0.03 + 0.25 * torch.rand(count, 1, 1, 1)) & (torch.rand(count, 1, 1, 1) < 0.12)
    return torch.where(bar, torch.rand(count, 3, 1, 1).expand_as(image), image)
