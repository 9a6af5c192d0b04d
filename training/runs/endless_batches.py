"""A loader's batches, pass after pass without an end, which can go on exactly where a checkpoint was written.

Lightning sees one long epoch. Its own resuming in the middle of an epoch leaves the position in the data to the loader;
here the position is a number of batches, and every pass is a function of the run's seed and the pass alone.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from backend.errors import UsageError
from training.runs.randomness import Stream


class EndlessBatches:
    """Iterates a loader again and again.

    In pass p the global random generators are those of `Stream(seed, p)`, whatever the training draws from them, and
    `set_epoch(p)` of the loader and of its data set is called where there is one. So the same batches come again as
    long as the loader has no other source of chance.

    Args:
        loader: what a data module's `train_dataloader` gave.
        seed: of the run.
        skip: batches that the run has had already.
        lengths: of the first passes, as `lengths` said when the checkpoint was written: these are skipped without being
            read. What is left to skip is read and dropped.

    Attributes:
        lengths: batches in each pass that has ended.
    """

    def __init__(self, loader: Iterable[Any], seed: int, skip: int = 0, lengths: tuple[int, ...] = ()):
        self.loader = loader
        self.seed = seed
        self.skip = skip
        self.lengths = list(lengths)

    def __iter__(self) -> Iterator[Any]:
        number, left = 0, self.skip
        while number < len(self.lengths) and left >= self.lengths[number]:
            left -= self.lengths[number]
            number += 1
        while True:
            length = 0
            for batch in self._pass(number):
                length += 1
                if length > left:
                    yield batch
            if not length:
                raise UsageError("no-training-data", "There is not one batch to train on. Look at the data settings.")
            self.lengths[number:] = [length]
            left = max(left - length, 0)
            number += 1

    def _pass(self, number: int) -> Iterator[Any]:
        for part in (self.loader, getattr(self.loader, "dataset", None)):
            if hasattr(part, "set_epoch"):
                part.set_epoch(number)
        stream = Stream(self.seed, number)
        with stream:
            batches = iter(self.loader)
        while True:
            try:
                with stream:
                    batch = next(batches)
            except StopIteration:
                return
            yield batch
