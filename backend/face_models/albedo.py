"""The open head's colours: the mean and the variation of people's skin at the vertices.

Made by `python3 -m training learn-albedo` from synthetic skins.
"""

from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import numpy as np

from backend.errors import SetupError

ASSET = Path(__file__).parents[1] / "assets/open_head_albedo.npz"
PRIOR_SHARE = 1e-3
"""How much a coefficient counts against the colours in `AlbedoBasis.nearest`, of their own mean square."""


@dataclass(frozen=True)
class AlbedoBasis:
    """A linear model of colours.

    Attributes:
        mean: (V, 3) float32, linear red, green, blue.
        basis: (A, V, 3) float32; a coefficient of 1 is one standard deviation.
    """

    mean: np.ndarray
    basis: np.ndarray

    @property
    def size(self) -> int:
        """A, how many coefficients there are."""
        return len(self.basis)

    def colours(self, coefficients: np.ndarray) -> np.ndarray:
        """Coefficients (..., A) as linear colours (..., V, 3) float32, not clipped."""
        return self.mean + np.tensordot(np.asarray(coefficients, np.float32), self.basis, axes=1)

    def nearest(self, vertex_albedo: np.ndarray) -> np.ndarray:
        """The coefficients whose colours come nearest, all vertices alike.

        Args:
            vertex_albedo: (..., V, 3) float, linear.

        Returns:
            (..., A) float32. Components that hardly change any colour are held near 0 by a weak prior.
        """
        away = np.asarray(vertex_albedo, np.float32) - self.mean
        right = away.reshape(*away.shape[:-2], -1) @ self._flat.T
        return (right @ self._inverse).astype(np.float32)

    @cached_property
    def _flat(self) -> np.ndarray:
        return self.basis.reshape(len(self.basis), -1)

    @cached_property
    def _inverse(self) -> np.ndarray:
        """(A, A) of the normal equations; the basis is orthogonal but for its rounding."""
        normal = self._flat.astype(np.float64) @ self._flat.T
        return np.linalg.inv(normal + PRIOR_SHARE * np.diag(normal).min() * np.eye(len(normal))).astype(np.float32)


@cache
def load_albedo_basis() -> AlbedoBasis:
    """The basis that comes with the project.

    Raises:
        SetupError: the file is missing.
    """
    return read_albedo_basis(ASSET)


def read_albedo_basis(path: Path) -> AlbedoBasis:
    """A basis from its file: `mean` (V, 3) float32, `basis_q` (A, V, 3) int8, `basis_step` (A,) float32.

    Raises:
        SetupError: the file is missing.
    """
    if not path.is_file():
        raise SetupError(
            "asset-missing", f"The head's colours, {path.name}, are missing from {path.parent}. Get the project anew."
        )
    with np.load(path, allow_pickle=False) as data:
        basis = data["basis_q"].astype(np.float32) * data["basis_step"][:, None, None]
        return AlbedoBasis(data["mean"].astype(np.float32), basis)
