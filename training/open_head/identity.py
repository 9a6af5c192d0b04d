"""Identity modes: the principal components of the slider space as a population uses it."""

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np

logger = logging.getLogger(__name__)

STATISTICS = Path(__file__).parent / "slider_statistics.npz"
WITHOUT_STATISTICS_DEVIATION = 0.3


@dataclass(frozen=True)
class SliderStatistics:
    """Mean and covariance of slider values in a population.

    Attributes:
        names: S slider names.
        mean: (S,) float64.
        factor: (S, R) float64; the covariance is factor @ factor.T.
    """

    names: tuple[str, ...]
    mean: np.ndarray
    factor: np.ndarray

    @classmethod
    def read(cls, path: Path = STATISTICS) -> "SliderStatistics":
        """From the file that `training/open_head/learn_statistics.py` wrote.

        Raises:
            FileNotFoundError: it is missing.
        """
        with np.load(path, allow_pickle=False) as data:
            return cls(
                tuple(data["names"].tolist()), data["mean"].astype(np.float64), data["factor"].astype(np.float64)
            )

    @classmethod
    def uninformed(cls, names: tuple[str, ...]) -> "SliderStatistics":
        """Independent sliders about MakeHuman's mean, for trying out the build alone: these are not people."""
        logger.warning("Building with an uninformed prior: these identity modes are not those of people.")
        return cls(names, np.zeros(len(names)), WITHOUT_STATISTICS_DEVIATION * np.eye(len(names)))


@dataclass(frozen=True)
class IdentityModes:
    """Orthogonal modes, most energetic first.

    Attributes:
        mean: (V, 3) float64, metres.
        modes: (K, V, 3) float64, metres for one standard deviation; largest entry of each positive.
        kept: part of the population's variance in the kept modes.
    """

    mean: np.ndarray
    modes: np.ndarray
    kept: float


def principal_modes(
    mean: np.ndarray,
    sliders: dict[str, np.ndarray],
    statistics: SliderStatistics,
    count: int,
    weight: np.ndarray,
    mirror: np.ndarray,
) -> IdentityModes:
    """The principal components of mean + sum(value * slider), every person counted with their mirror image.

    So the mean is alike on both sides, and every mode is either that or the opposite on the two sides.

    Args:
        mean: (V, 3) metres, with every slider 0.
        sliders: name -> (V, 3) metres at value 1.
        statistics: of the values; all its names must be sliders.
        count: how many modes to keep.
        weight: (V,) how much a vertex counts; 0 for what only follows. Modes are orthogonal over the weighted vertices.
        mirror: (V,) the vertex on the other side.

    Raises:
        ValueError: the statistics name a slider that does not exist.
    """
    unknown = [name for name in statistics.names if name not in sliders]
    if unknown:
        raise ValueError(f"The slider statistics name {len(unknown)} unknown sliders, {unknown[0]} first.")
    shapes = np.stack([sliders[name] for name in statistics.names]).astype(np.float64)  # (S, V, 3)
    flip = np.array([-1.0, 1.0, 1.0])
    spread = np.tensordot(statistics.factor.T, shapes, axes=1)  # (R, V, 3): shape = mean + N(0, 1) @ spread
    spread = np.concatenate([spread + spread[:, mirror] * flip, spread - spread[:, mirror] * flip]) / 2
    scaled = (spread * np.sqrt(weight)[None, :, None]).reshape(len(spread), -1)
    energy, vectors = np.linalg.eigh(scaled @ scaled.T)
    order = np.argsort(energy)[::-1][:count]
    modes = np.tensordot(vectors[:, order].T, spread, axes=1)
    flat = modes.reshape(len(modes), -1)
    sign = np.sign(flat[np.arange(len(flat)), np.abs(flat).argmax(axis=1)])
    kept = float(energy[order].sum() / energy.sum())
    centre = mean + np.tensordot(statistics.mean, shapes, axes=1)
    return IdentityModes((centre + centre[mirror] * flip) / 2, modes * sign[:, None, None], kept)
