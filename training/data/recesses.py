"""How much light gets to eyes and into the mouth, as lids and lips leave it, and the lashes at the lids."""

from __future__ import annotations

import numpy as np

from backend.face_models.morphable_model import MorphableModel
from backend.face_models.open_head import EYE_SIDES
from training.data.scene import Veil

UPPER_LID_SHADE_M = 0.0065
LOWER_LID_SHADE_M = 0.0022
"""How far from the margin of a lid the eyeball lies in its shade."""
DARKEST_EYE = 0.30
MOUTH_DEPTH_M = 0.016
"""Light in the mouth falls to 1/e over this depth behind the lips."""
WIDE_MOUTH_M = 0.012
HAIR_SPACING_M = 0.0009
IN_THE_MOUTH = ("mouth_inside", "teeth", "tongue", "gums")
"""How the names of the parts behind the lips begin."""
INNER_UPPER_LIP, INNER_LOWER_LIP = 62, 66
"""Of the 68 landmarks."""


class Recesses:
    """What of a head lies behind lids and lips.

    Args:
        model: the head.
        openness: (V,) of the mean head's vertices, see `illumination.openness_of`.
    """

    def __init__(self, model: MorphableModel, openness: np.ndarray) -> None:
        self._model = model
        self._openness = openness
        topology = model.topology
        names = [name for name in topology.part_names if name.startswith(IN_THE_MOUTH)]
        self._mouth = np.concatenate([topology.part_vertices(name) for name in names] or [np.zeros(0, np.int64)])
        self._lashes, of_lashes = np.zeros(0, np.int64), np.zeros(len(topology.faces), bool)
        if "lashes" in topology.part_names:
            self._lashes = topology.part_vertices("lashes")
            of_lashes[topology.part("lashes")] = True
        self.lash_triangles = topology.triangles[of_lashes[topology.triangle_face]]
        """(T, 3) int64; none of models without lashes."""
        self._out, self._strand, self._upper = self._lash_coordinates()

    def openness(self, vertices: np.ndarray) -> np.ndarray:
        """(V,) float32 of a posed head (V, 3) in metres."""
        result = self._openness.copy()
        for side in EYE_SIDES:
            eye, ball = self._model.rig.eye(side), self._model.eyeballs[side]
            upper = _distance(vertices[ball], _denser(vertices[eye.upper]))
            lower = _distance(vertices[ball], _denser(vertices[eye.lower]))
            shade = (0.2 + 0.8 * _smooth(upper / UPPER_LID_SHADE_M)) * (
                0.55 + 0.45 * _smooth(lower / LOWER_LID_SHADE_M)
            )
            result[ball] = DARKEST_EYE + (1.0 - DARKEST_EYE) * shade
        lips = self._model.landmarks68(vertices)[[INNER_UPPER_LIP, INNER_LOWER_LIP]]
        gap = np.clip((lips[0, 1] - lips[1, 1]) / WIDE_MOUTH_M, 0.0, 1.0)
        behind = np.maximum(lips[:, 2].mean() - 0.004 - vertices[self._mouth, 2], 0.0)
        result[self._mouth] = np.exp(-behind / MOUTH_DEPTH_M) * (0.3 + 0.6 * gap)
        return result

    def lashes(
        self, vertices: np.ndarray, colour: np.ndarray, length_m: float, density: float, spacing: float = 1.0
    ) -> Veil:
        """The lashes of a posed head.

        Args:
            vertices: (V, 3) metres.
            colour: (3,) linear, light included.
            length_m: of the upper lashes.
            density: of the upper lashes at their roots: 1 hides the lid there, more hides it farther out.
            spacing: of the hairs, times `HAIR_SPACING_M`.
        """
        length = np.where(self._upper, length_m, 0.6 * length_m)
        root = np.where(self._upper, density, 0.35 * density)
        coverage = np.zeros(len(vertices), np.float32)
        strand = np.zeros(len(vertices), np.float32)
        coverage[self._lashes] = root * np.clip(1.0 - self._out / length, 0.0, 1.0)
        strand[self._lashes] = self._strand / spacing
        return Veil(vertices, self.lash_triangles, colour.astype(np.float32), coverage, strand)

    def _lash_coordinates(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of every lash vertex (L,): metres out from the margin, hairs along it, and whether it is of an upper lid."""
        place = self._model.mean[self._lashes]
        nearest = np.full(len(place), np.inf)
        strand, is_upper = np.zeros(len(place)), np.zeros(len(place), bool)
        for side in EYE_SIDES:
            eye = self._model.rig.eye(side)
            for margin, upper in ((eye.upper, True), (eye.lower, False)):
                points = _denser(self._model.mean[margin])
                along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
                distance = np.linalg.norm(place[:, None] - points[None], axis=-1)
                row, found = distance.argmin(axis=1), distance.min(axis=1)
                nearer = found < nearest
                nearest[nearer], is_upper[nearer] = found[nearer], upper
                strand[nearer] = along[row[nearer]] / HAIR_SPACING_M
        return nearest, strand, is_upper


def _denser(points: np.ndarray, times: int = 6) -> np.ndarray:
    """A line (N, 3) with more points on it."""
    at = np.linspace(0, len(points) - 1, (len(points) - 1) * times + 1)
    return np.stack([np.interp(at, np.arange(len(points)), points[:, axis]) for axis in range(3)], axis=1)


def _distance(points: np.ndarray, line: np.ndarray) -> np.ndarray:
    """(N,) from points (N, 3) to the nearest of (M, 3)."""
    square = (points**2).sum(1)[:, None] + (line**2).sum(1)[None] - 2 * points @ line.T
    return np.sqrt(np.maximum(square.min(axis=1), 0.0))


def _smooth(share: np.ndarray) -> np.ndarray:
    share = np.clip(share, 0.0, 1.0)
    return share * share * (3.0 - 2.0 * share)
