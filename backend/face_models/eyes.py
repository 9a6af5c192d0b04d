"""Eyeballs of face models: the sphere they are, how they turn, and what of them is iris and pupil."""

from collections.abc import Mapping

import numpy as np

from backend.lid_rig import SIDES

GAZE_KEY_DEGREES = 30.0
"""How far `eyeLook*` turns the eyeball at weight 1."""
GAZE_AXES = {"Up": (-1.0, 0.0), "Down": (1.0, 0.0), "ToLeft": (0.0, 1.0), "ToRight": (0.0, -1.0)}
GAZE_TURNS = {"left": {"In": "ToRight", "Out": "ToLeft"}, "right": {"In": "ToLeft", "Out": "ToRight"}}
IRIS_DEGREES, PUPIL_DEGREES = 28.0, 11.0
"""From the gaze axis to the rims, seen from the eyeball's centre: 6 and 2.4 mm."""


def fit_sphere(points: np.ndarray) -> tuple[np.ndarray, float]:
    """Centre (3,) and radius of the sphere closest to points (N, 3), algebraic least squares."""
    points = np.asarray(points, np.float64)
    middle = points.mean(axis=0)
    near = points - middle
    system = np.concatenate([2 * near, np.ones((len(near), 1))], axis=1)
    solution = np.linalg.lstsq(system, (near**2).sum(axis=1), rcond=None)[0]
    centre = solution[:3]
    return centre + middle, float(np.sqrt(solution[3] + centre @ centre))


def gaze_rotation(direction: str, degrees: float = GAZE_KEY_DEGREES) -> np.ndarray:
    """The rotation (3, 3) of an eyeball that looks "Up", "Down", "ToLeft" or "ToRight" (the subject's sides)."""
    x, y = GAZE_AXES[direction]
    cross = np.array([[0.0, 0.0, y], [0.0, 0.0, -x], [-y, x, 0.0]])
    angle = np.radians(degrees)
    return np.eye(3) + np.sin(angle) * cross + (1.0 - np.cos(angle)) * cross @ cross


def with_turning_eyeballs(
    offsets: Mapping[str, np.ndarray], neutral: np.ndarray, centres: np.ndarray, eyeballs: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Keys, name -> (V, 3) metres, whose `eyeLook*` turn the eyeballs of one person.

    Args:
        offsets: all keys; what `eyeLook*` do to the lids stays.
        neutral: (V, 3), the person's neutral head; centres: (2, 3) of the eyeballs, left first.
        eyeballs: side -> (N,) vertices; sides that have none are left.
    """
    result = dict(offsets)
    for side, centre in zip(SIDES, centres, strict=True):
        if side not in eyeballs:
            continue
        ball = eyeballs[side]
        for direction in ("Up", "Down", "In", "Out"):
            name = f"eyeLook{direction}{side.title()}"
            turn = gaze_rotation(GAZE_TURNS[side].get(direction, direction))
            result[name] = result[name].copy()
            result[name][ball] = (neutral[ball] - centre) @ (turn - np.eye(3)).T
    return result


def eye_colour_masks(vertices: np.ndarray, ball: np.ndarray, centre: np.ndarray) -> dict[str, np.ndarray]:
    """Which of an eyeball's vertices `ball` (N,) are "pupil", "iris" (the pupil included) and "sclera"."""
    arm = vertices[ball] - centre
    off_axis = np.degrees(np.arccos(arm[:, 2] / np.linalg.norm(arm, axis=1)))
    return {
        "pupil": ball[off_axis < PUPIL_DEGREES],
        "iris": ball[off_axis < IRIS_DEGREES],
        "sclera": ball[off_axis >= IRIS_DEGREES],
    }
