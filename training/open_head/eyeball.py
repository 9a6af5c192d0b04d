"""An eyeball of quads: a sphere about the origin that looks along +Z, with rings at the rims of pupil and iris."""

from dataclasses import dataclass

import numpy as np

RADIUS = 0.012
"""Metres; the adult eye is 24 mm long (Bekerman et al., Journal of Ophthalmology 2014: 24.2 x 23.7 x 22 to 24.8 mm)."""
IRIS_RADIUS = 0.0059
"""Metres; visible iris 11.8 mm across (Rüfer et al., Cornea 2005: 11.71 mm white to white)."""
PUPIL_RADIUS = 0.0019
"""Metres, in a lit room."""
SEGMENTS = 32
"""Quads in a ring; divisible by four so that the poles can be filled with a grid."""
RING_DEGREES = (14.5, 19.5, 24.5, None, 34.0, 42.0, 52.0, 64.0, 77.0, 90.0, 103.0, 116.0, 129.0, 142.0, 156.0)
"""Polar angles of the rings between the pupil's rim and the rear grid; None stands for the rim of the iris."""
PUPIL_ANGLE, IRIS_ANGLE, REAR_RING_ANGLE = (
    float(np.arcsin(PUPIL_RADIUS / RADIUS)),
    float(np.arcsin(IRIS_RADIUS / RADIUS)),
    float(np.radians(RING_DEGREES[-1])),
)
"""Radians off the gaze axis."""


@dataclass(frozen=True)
class Eyeball:
    """A sphere of quads about the origin.

    Attributes:
        vertices: (N, 3) float64, metres.
        faces: (M, 4) int64, counter-clockwise seen from outside.
        mirror: (N,) int64, the vertex at (-x, y, z).
        pupil: (N,) bool, inside or on the pupil's rim.
        iris: (N,) bool, between the rims of pupil and iris, both included.
        polar: (N, 2) float64, direction about the gaze axis times the angle off it in radians.
        rear_faces: (M,) bool, the grid over the rear pole.
    """

    vertices: np.ndarray
    faces: np.ndarray
    mirror: np.ndarray
    pupil: np.ndarray
    iris: np.ndarray
    polar: np.ndarray
    rear_faces: np.ndarray


def _square_grid(side: int) -> tuple[np.ndarray, np.ndarray]:
    """A grid of side x side quads on the unit disc whose rim points are evenly spaced.

    Returns:
        polar coordinates (radius, angle) of the (side + 1) ** 2 points, row by row, and (side * side, 4) quads. The map
        from square to disc is Shirley and Chiu's concentric map (Journal of Graphics Tools 1997).
    """
    steps = np.linspace(-1.0, 1.0, side + 1)
    x, y = (axis.ravel() for axis in np.meshgrid(steps, steps))
    wide = np.abs(x) > np.abs(y)
    with np.errstate(divide="ignore", invalid="ignore"):
        angle = np.where(wide, np.pi / 4 * y / x, np.pi / 2 - np.pi / 4 * x / y)
    radius = np.where(wide, x, y)
    angle = np.where(radius == 0, 0.0, angle)
    corner = np.arange((side + 1) * side).reshape(side, side + 1)[:, :-1].ravel()
    quads = np.stack([corner, corner + 1, corner + side + 2, corner + side + 1], axis=1)
    return np.stack([radius, angle], axis=1), quads


def make_eyeball() -> Eyeball:
    """The eyeball: 32 segments, rims of pupil and iris as edge loops, grids over both poles."""
    side = SEGMENTS // 4
    grid, grid_quads = _square_grid(side)
    unit = grid[:, :1] * np.stack([np.cos(grid[:, 1]), np.sin(grid[:, 1])], axis=1)
    border = np.isclose(np.hypot(*unit.T), 1.0)
    pupil_angle, iris_angle = PUPIL_ANGLE, IRIS_ANGLE
    rings = np.array([iris_angle if degrees is None else np.radians(degrees) for degrees in RING_DEGREES])

    around = 2 * np.pi * np.arange(SEGMENTS) / SEGMENTS
    circle = np.stack([np.cos(around), np.sin(around)], axis=1)
    flat = [unit[~border] * pupil_angle, circle * pupil_angle]
    flat += [circle * angle for angle in rings]
    rear_rim = rings[-1]
    inner = unit[~border]
    reach = np.hypot(*inner.T)[:, None]
    direction = np.divide(inner, reach, out=np.zeros_like(inner), where=reach > 0)
    flat.append(direction * (np.pi - reach * (np.pi - rear_rim)))
    polar = np.concatenate(flat)
    inside = int((~border).sum())

    # the pole has no direction: the middle of the rear grid is set by hand below
    angle = np.hypot(*polar.T)
    heading = np.divide(polar, angle[:, None], out=np.zeros_like(polar), where=angle[:, None] > 0)
    vertices = np.concatenate([np.sin(angle)[:, None] * heading, np.cos(angle)[:, None]], axis=1)
    rear_middle = len(polar) - inside + inside // 2
    vertices[rear_middle] = (0.0, 0.0, -1.0)

    rim = _rim_order(unit, border)
    front_index = np.empty(len(unit), np.int64)
    front_index[~border] = np.arange(inside)
    front_index[rim] = inside + np.arange(SEGMENTS)
    rear_index = np.empty(len(unit), np.int64)
    rear_index[~border] = len(polar) - inside + np.arange(inside)
    rear_index[rim] = inside + SEGMENTS * len(rings) + np.arange(SEGMENTS)
    faces = [front_index[grid_quads], rear_index[grid_quads][:, ::-1]]
    for ring in range(len(rings)):
        here = inside + SEGMENTS * ring + np.arange(SEGMENTS)
        there = here + SEGMENTS
        faces.append(np.stack([here, there, np.roll(there, -1), np.roll(here, -1)], axis=1))

    mirrored = vertices * [-1.0, 1.0, 1.0]
    mirror = np.array([np.argmin(((vertices - point) ** 2).sum(axis=1)) for point in mirrored])
    iris = (angle >= pupil_angle - 1e-9) & (angle <= iris_angle + 1e-9)
    iris[rear_middle] = False
    pupil = angle <= pupil_angle + 1e-9
    pupil[rear_middle] = False
    rear = np.zeros(sum(len(group) for group in faces), bool)
    rear[len(grid_quads) : 2 * len(grid_quads)] = True
    polar[rear_middle] = (np.pi, 0.0)
    return Eyeball(vertices * RADIUS, np.concatenate(faces), mirror, pupil, iris, polar, rear)


def _rim_order(unit: np.ndarray, border: np.ndarray) -> np.ndarray:
    """The grid's border points in the order of the rings: by angle, starting at 0."""
    points = np.flatnonzero(border)
    angle = np.arctan2(unit[points, 1], unit[points, 0])
    return points[np.argsort(np.round(angle * SEGMENTS / (2 * np.pi)) % SEGMENTS, kind="stable")]
