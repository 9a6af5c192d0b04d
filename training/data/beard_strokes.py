"""Beards of synthetic people on the texture, from the shadow after shaving to short full beards."""

from __future__ import annotations

import cv2
import numpy as np

from training.data.clouds import clouds
from training.data.skin_fields import SkinFields, Window, smooth

STYLES = {"full": 0.5, "goatee": 0.2, "moustache": 0.08, "without cheeks": 0.22}
"""Name -> how often."""
SHEETS = 4
STROKES = 9000


class BeardPainter:
    """Draws beards.

    Args:
        fields: the layout.
        region: (S, S) float32 in [0, 1], where a beard may grow.
    """

    def __init__(self, fields: SkinFields, region: np.ndarray) -> None:
        constant = np.random.default_rng(1)
        self._window = Window.around(region, least=0.01)
        place = self._window.of(fields.mirrored)
        x, y, z = np.moveaxis(place, -1, 0)
        chin = smooth(0.036, 0.026, x) * (z > -0.03)
        moustache = smooth(0.034, 0.028, x) * smooth(-0.068, -0.064, y)
        below_jaw = smooth(-0.103, -0.118, y - 0.15 * x)
        cheeks = smooth(0.030, 0.042, x)
        self._regions = {
            "full": np.ones_like(x),
            "goatee": np.maximum(chin * (1 - 0.8 * below_jaw), moustache),
            "moustache": moustache * smooth(-0.070, -0.066, y),
            "without cheeks": 1 - 0.75 * cheeks,
        }
        self._below_jaw = below_jaw
        shape = self._window.share.shape
        self._grain = [clouds(constant, *shape, max(shape) // 2) for _ in range(SHEETS)]
        self._lumps = [clouds(constant, *shape, 14, octaves=2) for _ in range(SHEETS)]
        self._strokes = [self._sheet(fields, constant) for _ in range(SHEETS)]

    def cover(self, growth: float, generator: np.random.Generator) -> Window:
        """The share of the skin that a beard covers.

        Args:
            growth: from 0, shaved, over 0.4, stubble, to 1, a short beard.
            generator: the only source of chance.
        """
        names = list(STYLES)
        style = names[generator.choice(len(names), p=list(STYLES.values()))] if growth > 0.25 else "full"
        grain, lumps, strokes = (
            sheets[generator.integers(SHEETS)] for sheets in (self._grain, self._lumps, self._strokes)
        )
        # Lumps make the outline irregular; in the middle of the beard they hardly count.
        edge = generator.uniform(0.2, 0.5)
        extent = self._window.share * self._regions[style]
        if style != "full":
            extent = extent + 0.25 * growth * (self._window.share - extent) * (generator.random() < 0.5)
        where = smooth(edge - 0.25, edge + 0.35, extent + 0.13 * lumps) * extent
        where = where * (1 - generator.uniform(0.1, 0.6) * self._below_jaw)
        shadow = 0.42 * growth**0.6 * (1 + 0.25 * grain)
        hairs = smooth(0.2, 0.75, growth) * strokes * generator.uniform(0.5, 0.9)
        cover = where * (shadow * (1 - hairs) + hairs)
        return Window(self._window.rows, self._window.columns, np.clip(cover, 0, 0.93).astype(np.float32))

    def _sheet(self, fields: SkinFields, generator: np.random.Generator) -> np.ndarray:
        """(rows, columns) in [0, 1]: short hairs that point down and a little outwards."""
        shape = self._window.share.shape
        scale = fields.size / 512
        sheet = np.zeros(shape, np.float32)
        count = int(STROKES * scale**2)
        roots = generator.uniform([0, 0], [shape[1], shape[0]], (count, 2))
        outwards = (roots[:, 0] / shape[1] - 0.5) * 0.8
        direction = np.stack([outwards + generator.normal(0, 0.35, count), np.ones(count)], axis=1)
        ends = roots + direction * scale * generator.uniform(2.0, 5.0, (count, 1))
        lines = np.round(np.stack([roots, ends], axis=1) * 16).astype(np.int32)
        layer = np.zeros(shape, np.uint8)
        for brightness in (90, 150, 255):
            layer[:] = 0
            cv2.polylines(layer, list(lines[brightness % 3 :: 3]), False, brightness, 1, cv2.LINE_AA, 4)
            sheet = np.maximum(sheet, layer / np.float32(255))
        return 0.8 * sheet + 0.35 * cv2.GaussianBlur(sheet, (0, 0), 1.5 * scale)
