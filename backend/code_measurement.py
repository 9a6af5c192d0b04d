"""What a network says of the codes of one photograph, and how sure it is: Gaussian measurements for the fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

SHARED_ERROR = 0.6
"""How much the errors of two photographs of one person correlate: what a network cannot see, it cannot see on both."""


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
    their precision; their errors are partly the same.

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
    independent = np.sqrt((share**2 / precision).sum(axis=0))
    together = (share / np.sqrt(precision)).sum(axis=0)
    deviation = np.sqrt((1 - SHARED_ERROR) * independent**2 + SHARED_ERROR * together**2)
    return mean, deviation
