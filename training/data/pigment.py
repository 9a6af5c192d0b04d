"""Colours of skin, lips and hair from the pigments in them.

Skin sends back what its melanin and its blood let through twice, and a little from its surface:

    colour = SURFACE + SCATTER * exp(-melanin * MELANIN - haemoglobin * HAEMOGLOBIN)

The five constants were chosen so that the ends and the middle of the range come near to what spectrophotometers say of
foreheads and cheeks: about L* 70 for the palest, 25 for the darkest people, with b* highest between.
"""

from __future__ import annotations

import cv2
import numpy as np

SURFACE = np.array([0.016, 0.020, 0.021], np.float32)
SCATTER = np.array([0.66, 0.56, 0.44], np.float32)
"""Linear red, green and blue of skin without pigment."""
MELANIN = np.array([0.47, 0.65, 0.81], np.float32)
HAEMOGLOBIN = np.array([0.07, 0.55, 0.42], np.float32)
"""What a unit of pigment absorbs, as exponents."""
COMPLEXIONS = ((0.42, (0.06, 0.75)), (0.34, (0.65, 1.9)), (0.24, (1.8, 4.3)))
"""How often, and the melanin from to."""
MELANIN_RANGE = (COMPLEXIONS[0][1][0], COMPLEXIONS[-1][1][1])
HAIRS = {
    "black": (0.012, 0.010, 0.009),
    "dark brown": (0.030, 0.020, 0.014),
    "brown": (0.085, 0.050, 0.030),
    "light brown": (0.17, 0.11, 0.065),
    "blond": (0.36, 0.25, 0.14),
    "red": (0.27, 0.09, 0.03),
}
"""Linear."""
GREY = np.array([0.30, 0.29, 0.27], np.float32)


def skin_colour(melanin: np.ndarray, haemoglobin: np.ndarray) -> np.ndarray:
    """Linear colours.

    Args:
        melanin, haemoglobin: (H, W) float32, amounts; 0.06 to 4.3 and 0.2 to 0.9 on bare skin.

    Returns:
        (H, W, 3) float32.
    """
    channels = [
        cv2.exp(cv2.addWeighted(melanin, -float(brown), haemoglobin, -float(red), 0.0)) * scatter + surface
        for brown, red, scatter, surface in zip(MELANIN, HAEMOGLOBIN, SCATTER, SURFACE, strict=True)
    ]
    return cv2.merge(channels)


def random_melanin(generator: np.random.Generator) -> float:
    """Of a person, over the whole range of people."""
    shares, ranges = zip(*COMPLEXIONS, strict=True)
    return float(generator.uniform(*ranges[generator.choice(len(ranges), p=shares)]))


def random_hair_colour(generator: np.random.Generator, melanin: float, age: float) -> tuple[str, np.ndarray]:
    """The colour's name and its linear (3,) float32; dark people's hair is dark, old people's often grey."""
    names = list(HAIRS)
    shares = [0.75, 0.25, 0, 0, 0, 0] if melanin > 1.4 else [0.16, 0.26, 0.24, 0.13, 0.14, 0.07]
    name = names[generator.choice(len(names), p=shares)]
    colour = np.array(HAIRS[name], np.float32) * np.float32(generator.uniform(0.75, 1.3))
    grey = float(np.clip((age - generator.uniform(0.5, 1.1)) / 0.35, 0, 1))
    if grey > 0:
        colour = colour + (GREY * np.float32(generator.uniform(0.7, 1.4)) - colour) * np.float32(grey)
        name = "grey" if grey > 0.5 else name
    return name, colour.astype(np.float32)
