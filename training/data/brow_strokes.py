"""Brows of synthetic people, drawn hair by hair on the texture."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from training.data.skin_fields import SkinFields, Window, along

SUBTEXEL_BITS = 4
BORDER_TEXELS = 14


@dataclass(frozen=True)
class BrowStyle:
    """How both brows look.

    Attributes:
        hairs: how many on each side; thickness: over that of the average brow; length: of a hair, metres.
        strength: opacity of a hair; ground: of the even shade below them (make-up, dense brows).
        lift: metres upwards; arch: metres that two thirds of the way out lie higher; inner, outer: where it begins and
            ends, shares of the average brow's length; joined: opacity of hair above the nose.
    """

    hairs: int
    thickness: float
    length: float
    strength: float
    ground: float
    lift: float
    arch: float
    inner: float
    outer: float
    joined: float

    @classmethod
    def random(cls, generator: np.random.Generator, groomed: bool) -> BrowStyle:
        """A style by chance; groomed brows are thin, arched and even."""
        faint = generator.random() < 0.07
        return cls(
            hairs=int(generator.uniform(60, 120) if faint else generator.uniform(190, 360)),
            thickness=generator.uniform(0.65, 1.05) if groomed else generator.uniform(0.85, 1.5),
            length=generator.uniform(0.004, 0.008),
            strength=generator.uniform(0.3, 0.55) if faint else generator.uniform(0.6, 1.0),
            ground=generator.uniform(0.3, 0.75) if groomed else generator.uniform(0.15, 0.55) * (not faint),
            lift=generator.normal(0.0, 0.0012) + 0.001 * groomed,
            arch=generator.normal(0.0012 if groomed else 0.0, 0.0012),
            inner=generator.uniform(-0.06, 0.1),
            outer=generator.uniform(0.9, 1.05),
            joined=generator.uniform(0.1, 0.5) if not groomed and generator.random() < 0.12 else 0.0,
        )


class BrowPainter:
    """Draws brows.

    Args:
        fields: the layout.
    """

    def __init__(self, fields: SkinFields) -> None:
        self._fields = fields
        self._lines = [fields.brow(side) for side in ("left", "right")]
        points = np.concatenate([line for lines in self._lines for line in lines])
        # Room for thick, high brows.
        self._left, self._top = (points.min(axis=0) - BORDER_TEXELS * fields.size / 512).astype(int)
        self._right, self._bottom = (points.max(axis=0) + BORDER_TEXELS * fields.size / 512).astype(int)

    def cover(self, style: BrowStyle, generator: np.random.Generator) -> Window:
        """The share of the skin that brows cover."""
        scale = self._fields.texels_per_metre
        size = (self._bottom - self._top, self._right - self._left)
        hairs, ground = np.zeros(size, np.float32), np.zeros(size, np.float32)
        origin = np.array([self._left, self._top])
        for lower, upper in self._lines:
            lower, upper = lower - origin, upper - origin
            # From inside outwards from here on.
            lower, upper = lower[::-1], upper[::-1]
            share = generator.beta(1.25, 1.25, style.hairs)
            height = np.clip(generator.normal(0, 0.5, style.hairs), -1, 1)
            roots = self._at(style, lower, upper, share, height)
            # Inner hairs stand up, outer ones lie along the brow, those of the upper edge lean down.
            ahead = self._at(style, lower, upper, share + 0.1, 0.75 * height)
            lying = ahead - roots
            lying /= np.maximum(np.linalg.norm(lying, axis=1, keepdims=True), 1e-6)
            upright = np.exp(-share / 0.16)[:, None]
            direction = lying * (1 - 0.75 * upright) + [0.0, -1.0] * upright * (1 - 0.4 * height[:, None])
            direction += generator.normal(0, 0.14, direction.shape) + [0, -0.25] * (0.2 - height[:, None]).clip(0, 1)
            length = style.length * scale * generator.uniform(0.55, 1.0, style.hairs) * (1 - 0.35 * share)
            ends = np.stack([roots, roots + direction * length[:, None]], axis=1)
            ends = np.round(ends * (1 << SUBTEXEL_BITS)).astype(np.int32)
            for line, strength in zip(ends, generator.uniform(0.35, 1.0, style.hairs).tolist(), strict=True):
                cv2.line(hairs, line[0].tolist(), line[1].tolist(), strength, 1, cv2.LINE_AA, SUBTEXEL_BITS)
            self._fill(style, ground, lower, upper)
        if style.joined:
            middle = np.array([size[1] / 2, size[0] / 2 + 2])
            cells = np.indices(size)[::-1].transpose(1, 2, 0) - middle
            patch = np.exp(-0.5 * ((cells / [0.012 * scale / 2, 0.004 * scale]) ** 2).sum(axis=-1))
            ground += style.joined / max(style.ground, 0.2) * patch.astype(np.float32)
        spread = cv2.GaussianBlur(hairs, (0, 0), 0.0011 * scale)
        cover = style.strength * (0.75 * hairs + 0.55 * spread)
        cover += style.ground * cv2.GaussianBlur(ground, (0, 0), 0.0016 * scale)
        columns = slice(self._left, self._right)
        return Window(slice(self._top, self._bottom), columns, np.clip(cover, 0, 0.97))

    def _at(self, style: BrowStyle, lower, upper, share: np.ndarray, height: np.ndarray) -> np.ndarray:
        """Texels (N, 2) of places in a brow: `share` 0 inside to 1 outside, `height` -1 at its lower edge to 1."""
        scale = self._fields.texels_per_metre
        where = style.inner + (style.outer - style.inner) * share
        low, high = along(lower, where), along(upper, where)
        taper = np.interp(share, [0.0, 0.12, 0.5, 1.0], [0.6, 1.0, 0.95, 0.3])
        middle = (low + high) / 2 + 0.5 * np.clip(where[:, None] - 1, 0, 1) * (lower[-1] - lower[-2])
        result = middle + (high - low) / 2 * (height * style.thickness * taper)[:, None]
        rise = style.lift + style.arch * np.exp(-0.5 * ((share - 0.62) / 0.2) ** 2)
        result[:, 1] -= rise * scale
        return result

    def _fill(self, style: BrowStyle, ground: np.ndarray, lower: np.ndarray, upper: np.ndarray) -> None:
        share = np.linspace(0.04, 0.97, 12)
        edges = [self._at(style, lower, upper, share, np.full(12, side)) for side in (-0.6, 0.6)]
        outline = np.concatenate([edges[0], edges[1][::-1]])
        cv2.fillPoly(ground, [np.round(outline * 16).astype(np.int32)], 1.0, cv2.LINE_AA, SUBTEXEL_BITS)
