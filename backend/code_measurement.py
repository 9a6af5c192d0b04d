"""What a network says of the codes of one photograph, and how sure it is: Gaussian measurements for the fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

SHARED_ERROR = 0.6
"""How much the errors of two photographs of one person correlate: what a network cannot see, it cannot see on both."""
AGREEMENT = 0.78
"""Correlation of what Eye Motion says of two photographs of one person: between yaws of -30, 0 and 30 degrees it is
0.81, 0.81 and 0.73 (24 people of ICT-FaceKit that are not those of the tables)."""


@dataclass(frozen=True)
class CodeMeasurement:
    """Codes and their standard deviations. A deviation of 1 of an identity coefficient says nothing: people differ so.

    Attributes:
        identity: (K,) float64, standard deviations of the population; None where the identity is said with another
            photograph of the person, of all of them together.
        identity_deviation: (K,) float64, of `identity`, above 0 and at most 1; None where there is none.
        keys: name of a shape key -> (weight, its standard deviation).
    """

    identity: np.ndarray | None
    identity_deviation: np.ndarray | None
    keys: dict[str, tuple[float, float]] = field(default_factory=dict)


def identity_prior(measurements: Sequence[CodeMeasurement], size: int) -> tuple[np.ndarray, np.ndarray]:
    """Where the identity of a person is expected before any landmark is looked at.

    A network that was trained on squared errors answers with the mean of what is possible, the population's own prior
    included, so a measurement stands in the prior's place instead of beside it. Several photographs are averaged by
    their precision, see `strengthened`; their errors are partly the same.

    Args:
        measurements: of the photographs that have one, perhaps none; those without an identity are passed over.
        size: K, coefficients of the face model.

    Returns:
        Mean (K,) and standard deviation (K,), float64: 0 and 1 without a measurement.
    """
    measurements = [measured for measured in measurements if measured.identity is not None]
    if not measurements:
        return np.zeros(size), np.ones(size)
    precision = np.stack([1.0 / measured.identity_deviation**2 for measured in measurements])
    share = precision / precision.sum(axis=0)
    mean = (share * np.stack([measured.identity for measured in measurements])).sum(axis=0)
    mean = strengthened(mean, share, AGREEMENT)
    independent = np.sqrt((share**2 / precision).sum(axis=0))
    together = (share / np.sqrt(precision)).sum(axis=0)
    deviation = np.sqrt((1 - SHARED_ERROR) * independent**2 + SHARED_ERROR * together**2)
    return mean, deviation


def strengthened(mean: np.ndarray, share: np.ndarray, agreement: float) -> np.ndarray:
    """A mean of several answers, each the mean of what is possible, as far from the population's mean as it ought.

    Each answer has been drawn to the population's mean for what it does not know. What the answers have not in common
    cancels in their mean, which is therefore too near to it: with answers of equal variance v whose covariance is v
    with the truth and r v with each other, the truth is expected at the mean over (q + r (1 - q)), q the sum of the
    squared shares; of N equal shares at N / (1 + (N - 1) r) times the mean.

    Args:
        mean: (K,) of the answers.
        share: (N, K) or (N, 1), how much each counts, 1 in all.
        agreement: r.
    """
    square = np.square(share).sum(axis=0)
    return mean / (square + agreement * (1 - square))
