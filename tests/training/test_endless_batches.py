"""Reading pass after pass: the same batches whatever else draws at random, from any place on."""

import itertools
import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader, Dataset

from backend.errors import UsageError
from training.runs import randomness
from training.runs.endless_batches import EndlessBatches


class Drawing(Dataset):
    """Ten numbers, each with something drawn from every generator there is."""

    def __len__(self) -> int:
        return 10

    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.tensor([index, random.random(), np.random.random(), torch.rand(()).item()], dtype=torch.float64)


class Counting:
    """A loader without a length whose passes are told their number; it draws nothing."""

    def __init__(self, length: int):
        self.length = length
        self.passes: list[int] = []

    def set_epoch(self, number: int) -> None:
        self.passes.append(number)

    def __iter__(self):
        return iter([(self.passes[-1], place) for place in range(self.length)])


def loader(workers: int = 0) -> DataLoader:
    return DataLoader(Drawing(), batch_size=3, shuffle=True, num_workers=workers)


def first(batches: EndlessBatches, count: int) -> list[torch.Tensor]:
    """So many batches, with something else drawing between them, as a training does."""
    taken = []
    for batch in itertools.islice(batches, count):
        taken.append(batch)
        torch.rand(3), np.random.random(2), random.random()
    return taken


@settings(deadline=None, max_examples=30)
@given(skip=st.integers(0, 14), seed=st.integers(0, 5), other=st.integers(0, 1000))
def test_skipping_gives_what_reading_on_would(skip: int, seed: int, other: int):
    whole = EndlessBatches(loader(), seed)
    expected = first(whole, 15)
    torch.manual_seed(other)
    random.seed(other)
    for lengths in ((), tuple(whole.lengths)):
        resumed = first(EndlessBatches(loader(), seed, skip, lengths), 15 - skip)
        assert all(torch.equal(a, b) for a, b in zip(expected[skip:], resumed, strict=True))


def test_passes_are_complete_and_differ_from_each_other():
    batches = first(EndlessBatches(loader(), 1), 8)
    passes = [torch.cat(batches[:4]), torch.cat(batches[4:])]
    for one in passes:
        assert sorted(one[:, 0].tolist()) == list(range(10))
    assert passes[0][:, 0].tolist() != passes[1][:, 0].tolist()
    assert not set(passes[0][:, 1].tolist()) & set(passes[1][:, 1].tolist())


def test_another_seed_gives_another_order():
    one, other = (torch.cat(first(EndlessBatches(loader(), seed), 4)) for seed in (1, 2))
    assert one[:, 0].tolist() != other[:, 0].tolist()


def test_passes_that_are_known_are_skipped_without_being_read():
    counting = Counting(4)
    batches = EndlessBatches(counting, 0, skip=9, lengths=(4, 4))
    assert list(itertools.islice(batches, 5)) == [(2, 1), (2, 2), (2, 3), (3, 0), (3, 1)]
    assert counting.passes == [2, 3] and batches.lengths == [4, 4, 4]


def test_reading_leaves_the_generators_of_the_training_alone():
    randomness.seed(7)
    expected = (random.random(), np.random.random(), torch.rand(()).item())
    randomness.seed(7)
    list(itertools.islice(EndlessBatches(loader(), 3), 6))
    assert (random.random(), np.random.random(), torch.rand(()).item()) == expected


def test_a_loader_without_batches_is_told():
    with pytest.raises(UsageError, match="not one batch to train on"):
        next(iter(EndlessBatches([], 0)))


def test_generators_go_on_from_a_state_that_went_through_a_file(tmp_path):
    randomness.seed(3, 4)
    np.random.normal()  # leaves a second number in numpy's store
    torch.save(randomness.capture(), tmp_path / "state")
    expected = (random.random(), np.random.normal(), np.random.random(), torch.rand(()).item())
    randomness.seed(99)
    randomness.restore(torch.load(tmp_path / "state", weights_only=True))
    assert (random.random(), np.random.normal(), np.random.random(), torch.rand(()).item()) == expected
