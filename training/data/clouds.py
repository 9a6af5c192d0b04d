"""Smooth noise of a few octaves: unevenness of walls, leaves, hair and cloth."""

import cv2
import numpy as np


def clouds(generator: np.random.Generator, height: int, width: int, cells: int, octaves: int = 1) -> np.ndarray:
    """Random values that change smoothly.

    Args:
        generator: the only source of chance.
        height, width: of the result.
        cells: how many lumps go along the longer side; doubled for every octave, whose height is halved.
        octaves: how many layers are added up.

    Returns:
        (H, W) float32, mean about 0, standard deviation about 0.8 to 1.
    """
    result = np.zeros((height, width), np.float32)
    for octave in range(octaves):
        scale = int(cells) * 2**octave / max(height, width)
        shape = (max(round(height * scale), 1) + 2, max(round(width * scale), 1) + 2)
        lumps = generator.standard_normal(shape, dtype=np.float32)
        result += 0.5**octave * cv2.resize(lumps, (width, height), interpolation=cv2.INTER_CUBIC)
    return result
