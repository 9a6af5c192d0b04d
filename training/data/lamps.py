"""The light of a synthetic picture: a sky of low frequency and one to three lamps."""

from dataclasses import dataclass

import numpy as np
import torch

from backend.rendering.shading import HARMONIC_CONSTANTS, harmonic_basis

LAMP_LOBE = (np.pi * np.array([1.0] + [2.0 / 3.0] * 3 + [0.25] * 5)).astype(np.float32)
"""What a matte surface makes of each order of a lamp: the cosine lobe's factors."""
COOLEST, WARMEST = np.array([0.78, 0.93, 1.25]), np.array([1.30, 0.98, 0.62])


@dataclass(frozen=True)
class Lamp:
    """A distant lamp.

    Attributes:
        direction: (3,) float32 unit, from the head towards the lamp, model axes.
        colour: (3,) float32, what a white matte surface that faces it sends back.
        width: radians, half the angle that the lamp fills: 0.005 the sun, 0.3 a window.
    """

    direction: np.ndarray
    colour: np.ndarray
    width: float


@dataclass(frozen=True)
class Lighting:
    """All light of a picture.

    Attributes:
        sky: (9, 3) float32, light from everywhere as `HarmonicLight.coefficients`, model axes.
        lamps: the strongest first; only this one casts a shadow.
        kind: what was imitated.
    """

    sky: np.ndarray
    lamps: tuple[Lamp, ...]
    kind: str

    def scaled(self, factor: float) -> "Lighting":
        """The same light, so many times as strong."""
        lamps = tuple(Lamp(lamp.direction, lamp.colour * np.float32(factor), lamp.width) for lamp in self.lamps)
        return Lighting(self.sky * np.float32(factor), lamps, self.kind)

    def harmonic(self) -> np.ndarray:
        """(9, 3) float32: sky and lamps together to order 2, shadows left out, model axes."""
        total = self.sky.copy()
        for lamp in self.lamps:
            total += _lobe(lamp.direction)[:, None] * lamp.colour
        return total


def random_lighting(generator: np.random.Generator, rotation: np.ndarray) -> Lighting:
    """Light as in photographs: by a window, in a room, under the open sky, in a studio, with a flash, in the dark.

    Args:
        rotation: (3, 3) of the camera, world to camera; above is above in the picture, and a flash sits on the camera.
    """
    upright = np.asarray(rotation).T @ np.diag([1.0, -1.0, -1.0])  # x right, y up, z to the camera -> model axes
    kind = ("window", "room", "overcast", "sun", "studio", "flash", "night")[
        generator.choice(7, p=[0.22, 0.26, 0.16, 0.10, 0.12, 0.08, 0.06])
    ]
    warmth = generator.normal(0.0, 0.35)
    # share of the sky, lamps as (side spread, height, towards the camera, strength, width)
    side = generator.choice([-1.0, 1.0])
    if kind == "window":
        ambient = generator.uniform(0.12, 0.4)
        lamps = [
            ((side * generator.uniform(0.4, 2.0), generator.uniform(0.0, 0.8), generator.uniform(0.1, 1.0)), 1.0, 0.3)
        ]
    elif kind == "room":
        ambient = generator.uniform(0.4, 0.9)
        lamps = [
            ((generator.normal(0, 0.7), generator.uniform(0.4, 1.5), generator.uniform(0.2, 1.2)), 0.6, 0.22),
            ((generator.normal(0, 1.0), generator.uniform(0.0, 1.0), generator.uniform(-0.3, 1.0)), 0.35, 0.2),
        ]
    elif kind == "overcast":
        ambient = generator.uniform(0.7, 1.1)
        lamps = [((generator.normal(0, 0.5), generator.uniform(0.8, 1.6), generator.uniform(0.2, 0.9)), 0.35, 0.5)]
    elif kind == "sun":
        ambient = generator.uniform(0.15, 0.45)
        lamps = [((generator.normal(0, 0.9), generator.uniform(0.3, 1.3), generator.uniform(0.0, 1.0)), 1.0, 0.04)]
    elif kind == "studio":
        ambient = generator.uniform(0.15, 0.4)
        lamps = [
            ((side * generator.uniform(0.3, 0.9), generator.uniform(0.2, 0.8), 1.0), 0.8, 0.2),
            (
                (-side * generator.uniform(0.4, 1.2), generator.uniform(0.0, 0.5), 0.8),
                generator.uniform(0.1, 0.45),
                0.3,
            ),
            ((-side * 0.8, 0.5, -0.8), generator.uniform(0.0, 0.9), 0.1),
        ]
    elif kind == "flash":
        ambient = generator.uniform(0.1, 0.35)
        lamps = [((generator.normal(0, 0.05), generator.uniform(0.02, 0.15), 1.0), 1.0, 0.02)]
    else:
        ambient = generator.uniform(0.08, 0.2)
        lamps = [
            ((generator.normal(0, 1.0), generator.uniform(-0.3, 1.2), generator.uniform(0.0, 1.0)), 0.7, 0.12),
            ((generator.normal(0, 1.2), generator.uniform(-0.3, 0.8), generator.uniform(-0.5, 0.8)), 0.4, 0.12),
        ]
    spread = 0.45 if kind == "night" else 0.12  # of the lamps' colours among each other
    made = []
    for direction, strength, width in lamps:
        colour = strength * _tint(warmth + generator.normal(0, spread)) * generator.uniform(0.9, 1.1)
        unit = upright @ np.asarray(direction)
        made.append(Lamp((unit / np.linalg.norm(unit)).astype(np.float32), colour.astype(np.float32), width))
    made.sort(key=lambda lamp: -float(lamp.colour.sum()))
    return Lighting(_random_sky(generator, upright, ambient, warmth), tuple(made), kind)


def _random_sky(generator: np.random.Generator, upright: np.ndarray, level: float, warmth: float) -> np.ndarray:
    """(9, 3): brighter above than below, and a little brighter on one side."""
    sky = np.zeros((9, 3), np.float32)
    colour = _tint(-0.6 * warmth + generator.normal(0, 0.15)) * level
    sky[0] = colour / HARMONIC_CONSTANTS[0]
    above = upright @ np.array([generator.normal(0, 0.4), 1.0, generator.normal(0.2, 0.4)])
    sky += _lobe(above / np.linalg.norm(above))[:, None] * (colour * generator.uniform(0.1, 0.5))
    ground = upright @ np.array([0.0, -1.0, 0.3])
    bounce = np.array([1.0, generator.uniform(0.75, 1.0), generator.uniform(0.6, 1.0)])
    return (
        sky + _lobe(ground / np.linalg.norm(ground))[:, None] * (colour * bounce * generator.uniform(0, 0.35))
    ).astype(np.float32)


def _lobe(direction: np.ndarray) -> np.ndarray:
    """(9,) float32: `HarmonicLight.directional` of a lamp of strength 1 from the unit (3,), without ambient light."""
    return harmonic_basis(torch.from_numpy(np.asarray(direction, np.float32))).numpy() * LAMP_LOBE


def _tint(warmth: float) -> np.ndarray:
    """(3,) colour of mean 1: cool at -1, white at 0, warm at 1."""
    share = np.clip(abs(warmth), 0.0, 1.0)
    colour = (1 - share) + share * (WARMEST if warmth > 0 else COOLEST)
    return colour / colour.mean()


def nearest_harmonic(normals: np.ndarray, light: np.ndarray, prior: np.ndarray, ridge: float = 0.02) -> np.ndarray:
    """The light of order 2 that comes nearest to what fell on a surface.

    Args:
        normals: (N, 3) unit, model axes.
        light: (N, 3), what a white matte surface there sends back, shadows included.
        prior: (9, 3), kept where the normals do not say.
        ridge: weight of the prior, as a share of the N equations.

    Returns:
        (9, 3) float32 coefficients in the basis of `harmonic_basis`.
    """
    basis = harmonic_basis(torch.as_tensor(normals, dtype=torch.float32)).numpy()
    left = basis.T @ basis / len(basis) + ridge * np.eye(9, dtype=np.float32)
    right = basis.T @ (light - basis @ prior) / len(basis)
    return (prior + np.linalg.solve(left, right)).astype(np.float32)
