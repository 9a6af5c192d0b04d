"""Batches of people seen from three sides: what a network that looks at several views learns from.

The tensors are those of `training.data.batches` with a dimension for the views behind that of the batch: `image` is
(B, 3, 3, H, W), `identity` (B, 3, I), the same three times. The views are `backend.view_order.SLOTS`. Only `person`
stays (B,), and there is `present`; of photographs (`photographed_triples.py`) there are the last two, too:

===============  ====================  =====================================================================
present          (B, 3) bool           which views there are; of these, all three
points101        (B, 101, 3) float32   millimetres, measured in space, see `landmarks101.py`; 0 where unknown
points101_known  (B,) bool             of whom they were measured
===============  ====================  =====================================================================
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from backend.errors import UsageError
from backend.view_order import SLOTS
from training.data.batches import Batches, BatchLoader, SyntheticBatches
from training.data.pictures import FreshPictures, Item, Pictures, ShardPictures

VIEWS = len(SLOTS)
MEASURED = ("points101", "points101_known")


class TripleBatches(Batches):
    """As `Batches`, of triples.

    Args:
        pictures: left, front and right view of a person, then of the next one.
        batch_size: people on each rank.
        shuffled, vary: see `Batches`.
    """

    def __init__(self, pictures: Pictures, batch_size: int, *, shuffled: bool, vary: bool) -> None:
        super().__init__(pictures, VIEWS * batch_size, shuffled=shuffled, vary=vary)

    def batch(self, number: int, order: np.ndarray) -> dict[str, Tensor]:
        """See the module."""
        flat = super().batch(number, order)
        views = {name: values.unflatten(0, (-1, VIEWS)) for name, values in flat.items()}
        check_order(views["yaw"], views["person"])
        once = {name: views[name][:, 0] for name in ("person", *MEASURED) if name in views}
        return views | once | {"present": torch.ones_like(views["has_truth"])}

    def collated(self, items: Sequence[Item]) -> dict[str, Tensor]:
        measured = [name for name in MEASURED if name in items[0]]
        return super().collated(items) | {
            name: torch.from_numpy(np.stack([item[name] for item in items])) for name in measured
        }

    def _order(self) -> np.ndarray:
        wanted = len(self) * self.reading.ranks * self.batch_size
        count = len(self.pictures) // VIEWS
        people = np.random.default_rng(self.reading.seed).permutation(count) if self.shuffled else np.arange(count)
        return np.resize(VIEWS * people[:, None] + np.arange(VIEWS), wanted)


class ViewTriples(SyntheticBatches):
    """As `SyntheticBatches`, of triples; its batch size counts people.

    Raises:
        UsageError: from `setup`: the shards are no triples, or photographs without truth are to be mixed in.
    """

    views = "triples"

    def setup(self, stage: str | None = None) -> None:
        super().setup(stage)
        if self.real:
            raise UsageError(
                "no-triples",
                "Prepared photographs are single ones, and this method learns from three views of each person. Set "
                "data.real_folders=[], and name a set of triples, such as data.pixel_face=FOLDER.",
            )
        for pictures in (self.training, self.validation):
            if isinstance(pictures, ShardPictures):
                check_triples(pictures)

    def train_dataloader(self) -> BatchLoader:
        shuffled = not isinstance(self.training, FreshPictures)
        batches = TripleBatches(self.training, self.batch_size, shuffled=shuffled, vary=self.vary)
        return BatchLoader(batches, self.workers)

    def val_dataloader(self) -> BatchLoader:
        return BatchLoader(TripleBatches(self.validation, self.batch_size, shuffled=False, vary=False), self.workers)


def check_order(yaw: Tensor, person: Tensor) -> None:
    """Refuses triples whose views do not stand in the order of `SLOTS`.

    Args:
        yaw: (B, 3) degrees, positive where the left side of the face shows.
        person: (B, 3) int64, who is in each view.

    Raises:
        UsageError: "views-swapped": the views of someone, who is named, stand in another order.
    """
    wrong = (yaw.diff(dim=1) >= 0).any(1)
    if wrong.any():
        row = int(wrong.nonzero()[0])
        turned = ", ".join(f"{value:.0f}" for value in yaw[row].tolist())
        raise UsageError(
            "views-swapped",
            f"The views of person {int(person[row, 0])} are turned by {turned} degrees, and should show the left side "
            "(positive), the front and the right side of the face, in this order. Make the shards anew: python3 -m "
            "training synthesise --views triples.",
        )


def check_triples(pictures: ShardPictures) -> None:
    """Refuses pictures that are not left, front and right views, person by person. Raises UsageError."""
    persons = np.asarray(pictures.folder.persons[pictures.positions])
    there = pictures.folder.settings.views == ViewTriples.views
    whole = len(persons) % VIEWS == 0 and (persons.reshape(-1, VIEWS) == persons[::VIEWS, None]).all()
    if not there or not whole:
        what = "hold triples that are cut in two" if there else "show people from one side at a time"
        raise UsageError(
            "no-triples",
            f"The shards in {pictures.folder.folder} {what}, and this method learns from a left, a front and a right "
            "view of each person. Make others: python3 -m training synthesise --views triples --framing aligned "
            "--count 18000 --output FOLDER.",
        )
