"""Small changes of a picture that change nothing of its labels: another camera might have made them."""

from __future__ import annotations

import cv2
import numpy as np

GAIN_SPREAD = 0.15
COLOUR_SPREAD = 0.05
GAMMA_SPREAD = 0.15
GREY_SHARE = 0.05
SATURATION_SPREAD = 0.2
COARSE_SHARE = 0.12
COARSEST = 0.35
NOISE_SHARE = 0.15
LARGEST_NOISE = 8.0
JPEG_SHARE = 0.1


def varied(image: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """The picture in another brightness, contrast and colour; seldom grey, coarse, noisy or overcompressed.

    Args:
        image: (H, W, 3) uint8 sRGB.

    Returns:
        (H, W, 3) uint8, the same picture.
    """
    image = _toned(image, generator)
    choice = generator.random(4)
    if choice[0] < GREY_SHARE:
        image = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    if choice[1] < COARSE_SHARE:
        height, width = image.shape[:2]
        share = generator.uniform(COARSEST, 0.8)
        coarse = (max(8, round(width * share)), max(8, round(height * share)))
        small = cv2.resize(image, coarse, interpolation=cv2.INTER_AREA)
        image = cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)
    if choice[2] < NOISE_SHARE:
        noise = generator.normal(0, generator.uniform(1, LARGEST_NOISE), image.shape)
        image = np.clip(image + noise, 0, 255).astype(np.uint8)
    if choice[3] < JPEG_SHARE:
        quality = int(generator.integers(25, 80))
        image = cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_COLOR)
    return image


def _toned(image: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    gain = np.exp(generator.normal(0, GAIN_SPREAD)) * np.exp(generator.normal(0, COLOUR_SPREAD, 3))
    gamma = np.exp(generator.normal(0, GAMMA_SPREAD))
    curve = np.clip(255 * gain * (np.arange(256)[:, None] / 255) ** gamma + 0.5, 0, 255).astype(np.uint8)
    toned = cv2.LUT(np.ascontiguousarray(image), curve[None])
    saturation = 1 + np.clip(generator.normal(0, SATURATION_SPREAD), -0.6, 0.6)
    mix = saturation * np.eye(3) + (1 - saturation) / 3
    return cv2.transform(toned, mix.astype(np.float32))
