"""Which class pixels have and which they were taken for, and what follows: intersection over union, accuracy."""

from __future__ import annotations

import torch
from torch import Tensor


class ClassConfusion:
    """Counts of pixels, added up over as many pictures as there are.

    Intersection and union are those of all pixels together; a mean over pictures or batches would be another figure.

    Args:
        classes: how many.
        device: where it is counted.

    Attributes:
        counts: (C, C) int64: pixels of the class of the row that were taken for the class of the column.
    """

    def __init__(self, classes: int, device: torch.device | str = "cpu") -> None:
        self.counts = torch.zeros(classes, classes, dtype=torch.int64, device=device)

    def add(self, truth: Tensor, answer: Tensor) -> None:
        """Counts pixels: integers of one shape, below C."""
        classes = len(self.counts)
        pairs = truth.long().flatten() * classes + answer.long().flatten()
        self.counts += torch.bincount(pairs, minlength=classes**2).view(classes, classes)

    @property
    def intersection_over_union(self) -> Tensor:
        """(C,) float64; nan for a class that no pixel has nor was taken for."""
        right = self.counts.diagonal().double()
        return right / (self.counts.sum(0) + self.counts.sum(1) - right)

    @property
    def mean_intersection_over_union(self) -> float:
        """Over the classes that occur."""
        return float(self.intersection_over_union.nanmean())

    @property
    def pixel_accuracy(self) -> float:
        """The share of the pixels that were taken for what they are."""
        return float(self.counts.diagonal().sum() / self.counts.sum())
