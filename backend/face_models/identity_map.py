"""Identity codes of one face model as those of another: what a network that knows the open head says to any of them."""

import numpy as np

from backend.code_measurement import CodeMeasurement
from backend.face_models.morphable_model import SurfacePoints

NOISE_M = 0.001
"""How far the same person's heads of two models are apart at a point, one standard deviation."""
INDEPENDENT_POINTS = 300
"""Neighbouring points say the same: as many as this count as separate measurements."""
LEAST_DEVIATION = 0.05


def identity_map(
    source_basis: np.ndarray,
    basis: np.ndarray,
    place: SurfacePoints,
    trust: np.ndarray,
    turn: np.ndarray,
) -> np.ndarray:
    """The matrix (K, S) that makes identity codes (S,) of the open head those (K,) of another model.

    The codes whose head is most probable, by the model's own population, for a person whose skin lies where the open
    head's does, about their mean heads.

    Args:
        source_basis: (S, N, 3) metres, of the open head; basis: (K, V, 3) metres, of the other model.
        place: for each of the N vertices of the open head the point of the model; trust: (N,).
        turn: (3, 3), rotation times scale from the open head's axes to the model's.
    """
    used = np.flatnonzero(trust > 0.5)
    corners, shares = place.vertices[used], place.barycentric[used]
    own = np.einsum("nc,kncd->knd", shares, basis[:, corners]).astype(np.float64)
    wanted = source_basis[:, used].astype(np.float64) @ turn.T
    own -= own.mean(axis=1, keepdims=True)  # heads of both models are about their own origins
    wanted -= wanted.mean(axis=1, keepdims=True)
    weight = trust[used] * INDEPENDENT_POINTS / trust[used].sum() / NOISE_M**2
    flat, target = own.reshape(len(own), -1), wanted.reshape(len(wanted), -1)
    weighted = flat * np.repeat(weight, 3)
    return np.linalg.solve(weighted @ flat.T + np.eye(len(flat)), weighted @ target.T).astype(np.float32)


def carried_measurement(measured: CodeMeasurement, matrix: np.ndarray) -> CodeMeasurement:
    """A measurement of the open head's identity as one of another model's; shape keys have the same names on both.

    Args:
        measured: its identity (S,).
        matrix: (K, S), see `identity_map`.
    """
    unknown = np.clip(1.0 - np.square(matrix).sum(axis=1), 0.0, 1.0)  # what the open head cannot tell of the model
    variance = np.square(matrix) @ np.square(measured.identity_deviation) + unknown
    deviation = np.clip(np.sqrt(variance), LEAST_DEVIATION, 1.0)
    return CodeMeasurement(matrix.astype(np.float64) @ measured.identity, deviation, measured.keys)
