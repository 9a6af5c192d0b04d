"""What a camera and the web make of linear light: exposure, tone, blur, grain, few pixels, JPEG. Nothing moves.

Every blur is centred and every change of size keeps the picture's edges, so that labels stay right.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import cv2
import numpy as np

QUALITIES = ("any", "good", "web")
QUALITY_SHARES = {"good": 0.48, "fair": 0.3, "web": 0.22}
"""How often "any" is what: a sharp portrait, an everyday photograph, a small face cut from the web."""
GREY_SHARE = 0.10
LUMINANCE = np.array([0.2126, 0.7152, 0.0722], np.float32)
CURVE_STEPS = 2048
BRIGHTEST = 4.0
"""Linear light above this is cut off before the tone curve, whose shoulder has long ended there."""


@dataclass(frozen=True)
class SensorSettings:
    """How one picture is taken and stored.

    Attributes:
        exposure: (3,) float32 gains of red, green and blue, white balance included.
        contrast: slope of the tone curve at mid grey against that of sRGB; shoulder: linear light that turns white.
        lift: what black becomes, of 1; saturation: 1 leaves colours alone; grey: no colours at all.
        vignette: share of the light lost in the corners.
        blur: standard deviation in pixels where the picture has 224; motion: length of the smear in the same unit, and
            its direction in radians.
        resolution: side of the picture as it was stored, over its side now, at most 1.
        grain: standard deviation of the noise at mid grey, linear light; coarseness: its blur in stored pixels.
        sharpening: of the camera's own, 0 for none.
        jpeg_quality: 1..100, or 0 for none.
    """

    exposure: np.ndarray
    contrast: float
    shoulder: float
    lift: float
    saturation: float
    grey: bool
    vignette: float
    blur: float
    motion: tuple[float, float]
    resolution: float
    grain: float
    coarseness: float
    sharpening: float
    jpeg_quality: int

    @classmethod
    def random(cls, generator: np.random.Generator, quality: str = "any") -> SensorSettings:
        """Settings by chance.

        Args:
            generator: the only source of chance.
            quality: "good", "web", or "any" of these and what lies between.

        Raises:
            ValueError: another quality.
        """
        if quality not in QUALITIES:
            raise ValueError(f"The quality must be one of {', '.join(QUALITIES)}, not '{quality}'.")
        if quality == "any":
            quality = str(generator.choice(list(QUALITY_SHARES), p=list(QUALITY_SHARES.values())))
        uniform, chance = generator.uniform, generator.random
        warmth, tint = generator.normal(0, [0.06, 0.02])
        gains = np.exp(generator.normal(0.06, 0.16) + np.array([warmth, tint, -warmth]))
        good = cls(
            exposure=gains.astype(np.float32),
            contrast=uniform(0.9, 1.25),
            shoulder=uniform(0.8, 1.8),
            lift=uniform(0.0, 0.03) if chance() < 0.3 else 0.0,
            saturation=float(np.clip(generator.normal(1.0, 0.12), 0.6, 1.4)),
            grey=bool(chance() < GREY_SHARE),
            vignette=uniform(0.0, 0.35) if chance() < 0.4 else 0.0,
            blur=uniform(0.0, 0.5),
            motion=(0.0, 0.0),
            resolution=1.0,
            grain=uniform(0.0, 0.006),
            coarseness=uniform(0.0, 0.5),
            sharpening=uniform(0.0, 0.5),
            jpeg_quality=int(generator.integers(80, 97)) if chance() < 0.8 else 0,
        )
        if quality == "good":
            return good
        if quality == "fair":
            return replace(
                good,
                blur=uniform(0.2, 1.3),
                motion=(uniform(1.5, 4.5), uniform(0, np.pi)) if chance() < 0.25 else (0.0, 0.0),
                resolution=uniform(0.6, 1.0),
                grain=0.001 + 0.010 * uniform() ** 1.5,
                coarseness=uniform(0.3, 1.0),
                sharpening=uniform(0.0, 0.9),
                jpeg_quality=int(generator.integers(50, 93)),
            )
        return replace(
            good,
            exposure=good.exposure * np.float32(np.exp(generator.normal(0, 0.2))),
            contrast=uniform(0.9, 1.4),
            lift=uniform(0.0, 0.05) if chance() < 0.5 else 0.0,
            grey=good.grey or bool(chance() < 0.1),
            blur=uniform(0.3, 1.5),
            motion=(uniform(2.0, 6.0), uniform(0, np.pi)) if chance() < 0.2 else (0.0, 0.0),
            resolution=uniform(0.45, 0.8),
            grain=0.012 * uniform() ** 1.5,
            coarseness=uniform(0.2, 1.0),
            sharpening=uniform(0.0, 0.8),
            jpeg_quality=int(generator.integers(25, 85)),
        )


def photograph(linear: np.ndarray, generator: np.random.Generator, quality: str = "any") -> np.ndarray:
    """A picture as a camera takes it and the web stores it.

    Args:
        linear: (H, W, 3) float32 linear light, 0.18 a face in good light, 1 white paper.
        generator: the only source of chance.
        quality: "good": sharp and clean; "web": small, blurred, squeezed; "any": all of these and what lies between.

    Returns:
        (H, W, 3) uint8 sRGB.

    Raises:
        ValueError: another quality.
    """
    return develop(linear, SensorSettings.random(generator, quality), generator)


def develop(linear: np.ndarray, settings: SensorSettings, generator: np.random.Generator) -> np.ndarray:
    """`photograph` with given settings; chance makes the grain alone. (H, W, 3) float32 to (H, W, 3) uint8."""
    height, width = linear.shape[:2]
    gain = settings.exposure.reshape(1, 1, 3)
    if settings.vignette > 0:
        gain = gain * (1.0 - np.float32(settings.vignette) * _corner_distance(height, width))
    light = linear * gain
    np.clip(light, 0.0, BRIGHTEST, out=light)
    light = _smeared(light, settings)
    stored = (max(round(width * settings.resolution), 16), max(round(height * settings.resolution), 16))
    if settings.resolution < 1:
        light = cv2.resize(light, stored, interpolation=cv2.INTER_AREA)
    if settings.grain > 0:
        light = _grainy(light, settings, generator)
    if settings.grey:
        light = np.repeat((light @ LUMINANCE)[..., None], 3, axis=-1)
    elif settings.saturation != 1:
        grey = (light @ LUMINANCE)[..., None]
        light = np.maximum(grey + np.float32(settings.saturation) * (light - grey), 0.0)
    picture = _tone_curve(settings.contrast, settings.shoulder, settings.lift)[_curve_row(light)]
    if settings.sharpening > 0:
        picture = cv2.addWeighted(
            picture, 1 + settings.sharpening, cv2.GaussianBlur(picture, (0, 0), 1.0), -settings.sharpening, 0
        )
    if settings.jpeg_quality:
        flags = [cv2.IMWRITE_JPEG_QUALITY, settings.jpeg_quality]
        coded = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), flags)[1]
        picture = cv2.cvtColor(cv2.imdecode(coded, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    if settings.resolution < 1:
        picture = cv2.resize(picture, (width, height), interpolation=cv2.INTER_CUBIC)
    return picture


def _smeared(light: np.ndarray, settings: SensorSettings) -> np.ndarray:
    """Light (H, W, 3) after the lens and the shake of the hand."""
    unit = min(light.shape[:2]) / 224
    if settings.blur * unit > 0.15:
        light = cv2.GaussianBlur(light, (0, 0), settings.blur * unit)
    length, direction = settings.motion
    if length * unit > 1:
        light = cv2.filter2D(light, -1, _smear_kernel(length * unit, direction), borderType=cv2.BORDER_REPLICATE)
    return light


def _smear_kernel(length: float, direction: float) -> np.ndarray:
    """(K, K) float32 that sums to 1, the same from both ends: an even line of so many pixels."""
    radius = int(np.ceil(length / 2))
    row, column = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    along = column * np.cos(direction) + row * np.sin(direction)
    across = -column * np.sin(direction) + row * np.cos(direction)
    kernel = np.clip(1 - np.abs(across), 0, 1) * np.clip(length / 2 + 0.5 - np.abs(along), 0, 1)
    return (kernel / kernel.sum()).astype(np.float32)


def _grainy(light: np.ndarray, settings: SensorSettings, generator: np.random.Generator) -> np.ndarray:
    """Light (H, W, 3) with the noise of photons, which grows with the root of the light, and of the sensor."""
    height, width = light.shape[:2]
    noise = generator.standard_normal((height, width), dtype=np.float32)
    if settings.coarseness > 0.3:
        noise = cv2.GaussianBlur(noise, (0, 0), settings.coarseness)
        noise /= max(float(noise.std()), 1e-6)
    # Cameras filter the noise of colours harder than that of brightness: coarser and weaker.
    coloured = generator.standard_normal((height // 2 + 1, width // 2 + 1, 3), dtype=np.float32)
    coloured = cv2.resize(coloured, (width, height), interpolation=cv2.INTER_LINEAR)
    coloured *= np.float32(0.5)
    coloured += noise[..., None]
    strength = np.sqrt(light * np.float32(0.8 / 0.18) + np.float32(0.2))
    strength *= np.float32(settings.grain)
    return np.maximum(light + strength * coloured, 0.0)


def _curve_row(light: np.ndarray) -> np.ndarray:
    """Where linear light lies in the tone curve's table: its root, since dark tones need finer steps."""
    root = np.sqrt(light * np.float32(1 / BRIGHTEST))
    return np.minimum((root * np.float32(CURVE_STEPS - 1) + np.float32(0.5)).astype(np.int32), CURVE_STEPS - 1)


def _tone_curve(contrast: float, shoulder: float, lift: float) -> np.ndarray:
    """(CURVE_STEPS,) uint8 sRGB by the root of linear light: film-like shoulder, contrast about mid grey."""
    light = np.linspace(0, 1, CURVE_STEPS) ** 2 * BRIGHTEST
    # Reinhard's extended curve ends at white where light equals `shoulder`; the factor keeps mid grey where it was.
    light = light * 1.13
    light = light * (1 + light / shoulder**2 * 0.6) / (1 + 0.6 * light)
    encoded = np.where(light <= 0.0031308, 12.92 * light, 1.055 * np.maximum(light, 1e-9) ** (1 / 2.4) - 0.055)
    encoded = np.clip(encoded, 0, 1)
    # A power about mid grey on either side: steeper there for a contrast above 1, black and white stay.
    middle = 0.46
    low, high = np.minimum(encoded / middle, 1), np.minimum((1 - encoded) / (1 - middle), 1)
    encoded = np.where(encoded < middle, middle * low**contrast, 1 - (1 - middle) * high**contrast)
    return np.round((lift + (1 - lift) * encoded) * 255).astype(np.uint8)


@lru_cache(maxsize=16)
def _corner_distance(height: int, width: int) -> np.ndarray:
    """(H, W, 1) float32: 0 in the middle, 1 in the corners, as the square of the distance."""
    row = (np.arange(height) + 0.5) / height * 2 - 1
    column = (np.arange(width) + 0.5) / width * 2 - 1
    return ((row[:, None] ** 2 + column[None] ** 2) / 2).astype(np.float32)[..., None]
