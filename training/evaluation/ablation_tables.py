"""What tables of ablations have in common: whether all was trained, and how figures of several seeds are written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from backend.errors import UsageError

Results = Mapping[str, Sequence[dict[str, Any]]]
"""By the name of the ablation, one dictionary a seed, as `training.ablate.read_results` gives them."""


def check_complete(results: Results, method: str, names: Iterable[str]) -> None:
    """Says what to train if an ablation of a method has no result.

    Raises:
        UsageError: "ablation-missing".
    """
    if missing := [name for name in names if name not in results]:
        raise UsageError(
            "ablation-missing",
            f"There is no result of the ablation {missing[0]}. Train it with: python3 -m training ablate {method} "
            f"--only {missing[0]} data.shards=FOLDER",
        )


def mean_figures(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The mean of every figure, over the rows that have it."""
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: float(np.mean([row[name] for row in rows if name in row])) for name in names}


def spread(values: Sequence[float], digits: int = 3) -> str:
    """Mean and, in brackets, standard deviation of the seeds; the value alone of one."""
    mean = f"{np.mean(values):.{digits}f}"
    return mean if len(values) < 2 else f"{mean} ({np.std(values, ddof=1):.{digits}f})"
