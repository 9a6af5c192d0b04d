"""Wrinkles, folds and pores of synthetic people as displacement maps that follow the expression."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np

from backend.face_models.open_head import EYE_SIDES, OpenHead
from training.data.clouds import clouds
from training.data.skin_fields import SkinFields, Window, along, smooth
from training.data.wrinkle_lines import WRINKLES, WrinkleGroup

SHEETS = 3
POINTS_PER_LINE = 12
PORE_DEPTH_M = 0.00007
UNEVEN_M = 0.00009
LIP_LINE_DEPTH_M = 0.00008
CHIN_PUCKER_M = 0.0004
CREASE_DEPTH_M = 0.0011
FRONT_FROM_M, FRONT_TO_M, FRONT_CELL_M = (-0.075, -0.165), (0.075, 0.1), 0.0005
"""Lower left and upper right corner of the front view, and the side of its cells, metres."""
CREASE_REST = 0.12
"""What is left of a lid's crease when the lid is shut."""
NO_CREASE_SHARE = 0.1
YOUNG_SHARE = 0.45
"""Depth of a driven wrinkle of a child, over that of an old person."""


@dataclass(frozen=True)
class _Relief:
    """A part of the map: `window.share` is its displacement in metres when it is all there.

    Attributes:
        rest: how much of it is there without expression; drivers: key -> what it adds at weight 1 (or takes away).
    """

    window: Window
    rest: float
    drivers: dict[str, float]


@dataclass(frozen=True)
class Wrinkles:
    """What one person's skin does.

    Attributes:
        constant: (S, S) float32 metres outwards: pores, unevenness, lines of the lips.
        reliefs: what comes and goes.
    """

    constant: np.ndarray
    reliefs: tuple[_Relief, ...]

    def displacement(self, key_weights: Mapping[str, float]) -> np.ndarray:
        """The map of an expression.

        Args:
            key_weights: by the names of the model's keys; those left out are 0.

        Returns:
            (S, S) float32 metres outwards along the normal, in the UV layout, first row at v = 1.
        """
        result = self.constant.copy()
        for relief in self.reliefs:
            amount = relief.rest
            for key, by in relief.drivers.items():
                amount += by * key_weights.get(key, 0.0)
            amount = min(max(amount, 0.0), 1.0)
            if amount > 0.01:
                part = relief.window.of(result)
                part += np.float32(amount) * relief.window.share
        return result


class WrinkleMaker:
    """Makes wrinkles of random people.

    Args:
        model: the head.
        size: S, side of the maps.
        fields: the layout, where it was made already, of the same size.
    """

    def __init__(self, model: OpenHead, size: int = 512, fields: SkinFields | None = None) -> None:
        self._fields = fields if fields is not None else SkinFields(model, size)
        fields, self._size = self._fields, size
        constant = np.random.default_rng(2)
        porous = fields.mask("face", 0.004) * (1 - fields.lips) * (1 - 0.7 * fields.mask("lids", 0.002))
        rough = 0.5 + fields.blob("cheek") + fields.blob("nose tip") + 0.6 * fields.blob("forehead")
        pits = [clouds(constant, size, size, 300 * size // 512) for _ in range(SHEETS)]
        self._pores = [-PORE_DEPTH_M * porous * rough * np.maximum(sheet - 0.4, 0) for sheet in pits]
        lumps = [clouds(constant, size, size, 60 * size // 512, octaves=2) for _ in range(SHEETS)]
        self._uneven = [UNEVEN_M * porous * sheet for sheet in lumps]
        self._lip_lines = [self._lines_on_lips(constant) for _ in range(SHEETS)]
        self._chin = Window.around(fields.blob("chin"), least=0.02)
        self._puckers = [
            (-CHIN_PUCKER_M * self._chin.share * np.abs(self._chin.of(clouds(constant, size, size, 95 * size // 512))))
            for _ in range(SHEETS)
        ]
        self._front = self._front_view()
        self._lines = {name: self._lines_of(group) for name, group in WRINKLES.items()}
        self._lids = {side: self._lid(side) for side in EYE_SIDES}

    def random(self, generator: np.random.Generator, age: float) -> Wrinkles:
        """Wrinkles of a person.

        Args:
            generator: the only source of chance.
            age: 0 a child, 1 very old.
        """
        lined = float(np.clip(age + generator.normal(0, 0.1), 0, 1))  # some look younger than they are
        uneven = self._sheet(self._uneven, generator) * np.float32(generator.uniform(0.3, 0.6) + 0.9 * lined**1.5)
        pores = self._sheet(self._pores, generator) * np.float32(generator.uniform(0.3, 1.2))
        lips = self._sheet(self._lip_lines, generator) * np.float32(generator.uniform(0.4, 1.0))
        reliefs = []
        for name, group in WRINKLES.items():
            deep = float(np.exp(generator.normal(0, 0.3)))  # people have wrinkles of their own
            for number, side in enumerate(EYE_SIDES):
                reliefs.append(self._wrinkle(self._lines[name][number], group, side, lined, deep, generator))
        reliefs += self._creases(generator, lined)
        chin = Window(self._chin.rows, self._chin.columns, self._sheet(self._puckers, generator))
        reliefs.append(_Relief(chin, 0.0, {"mouthShrugLower": 0.9, "mouthPressLeft": 0.15, "mouthPressRight": 0.15}))
        return Wrinkles(uneven + pores + lips, tuple(reliefs))

    def _wrinkle(
        self, lines: list[np.ndarray], group: WrinkleGroup, side: str, lined: float, deep: float, generator
    ) -> _Relief:
        """Draws the lines of one side, each a little elsewhere than in other people."""
        scale = self._fields.texels_per_metre / 1000
        shift = generator.normal(0, 1.0 * scale, 2)
        bent = []
        for line in lines:
            wave = np.cumsum(generator.normal(0, 0.22 * scale, line.shape), axis=0)
            bent.append(line + shift + wave - wave.mean(axis=0) + generator.normal(0, 0.7 * scale, 2))
        width = group.width * scale * generator.uniform(0.85, 1.2)
        window = self._grooves(bent, width, group.rim, generator)
        window.share[:] *= group.depth / 1000 * deep
        rest = group.rest * float(smooth(0.25, 1.0, np.float64(lined)))
        young = YOUNG_SHARE + (1 - YOUNG_SHARE) * lined
        title = side.title()
        drivers = {key.format(side=title): by * young * (1 - 0.5 * rest) for key, by in group.drivers.items()}
        return _Relief(window, rest, drivers)

    def _grooves(self, lines: list[np.ndarray], width: float, rim: float, generator) -> Window:
        """Lines (K, 2) in texels as grooves of depth 1 that taper off, with folds beside them."""
        everything = np.concatenate(lines)
        reach = 4.5 * width + 2
        left, top = np.maximum(np.floor(everything.min(axis=0) - reach), 0).astype(int)
        right, bottom = np.minimum(np.ceil(everything.max(axis=0) + reach), self._size - 1).astype(int)
        sheet = np.zeros((bottom - top, right - left), np.float32)
        for line in lines:
            fixed = np.round((line - [left, top]) * 16).astype(np.int32)
            share = (np.arange(len(line) - 1) + 0.5) / (len(line) - 1)
            strength = generator.uniform(0.5, 1.0) * np.sin(np.pi * np.clip(share, 0, 1)) ** 0.6
            for start, end, value in zip(fixed, fixed[1:], strength.tolist(), strict=False):
                cv2.line(sheet, start.tolist(), end.tolist(), value, 1, cv2.LINE_AA, 4)
        # A blurred line of one texel is this high in its middle.
        high = width * np.sqrt(2 * np.pi)
        groove = cv2.GaussianBlur(sheet, (0, 0), width) * np.float32(high)
        folds = cv2.GaussianBlur(sheet, (0, 0), 2.2 * width) * np.float32(2.2 * high)
        return Window(slice(top, bottom), slice(left, right), np.float32(rim) * folds - np.float32(1 + rim) * groove)

    def _creases(self, generator: np.random.Generator, lined: float) -> list[_Relief]:
        """The fold of each upper lid, which the blink unfolds; fine lines on the lid itself."""
        if generator.random() < NO_CREASE_SHARE:
            return []
        height = generator.uniform(0.0035, 0.0075)
        width = generator.uniform(0.0006, 0.0010)
        depth = CREASE_DEPTH_M * generator.uniform(0.5, 1.1)
        double = generator.random() < 0.15 + 0.35 * lined
        reliefs = []
        for side in EYE_SIDES:
            window, away, share = self._lids[side]
            own = height * (0.72 + 0.4 * np.sin(np.pi * np.clip(share * 0.9 + 0.05, 0, 1)))
            fold = np.exp(-(((away - own) / width) ** 2))
            if double:
                fold += 0.5 * np.exp(-(((away - 1.5 * own) / width) ** 2))
            above = np.exp(-(((away - own - 2.5 * width) / (2.5 * width)) ** 2))
            ends = smooth(-0.02, 0.12, share) * smooth(1.12, 0.95, share)
            relief = (depth * (0.55 * above - fold) * ends * window.share).astype(np.float32)
            title = side.title()
            drivers = {f"eyeBlink{title}": CREASE_REST - 1, f"eyeLookUp{title}": 0.15, f"eyeWide{title}": 0.1}
            reliefs.append(_Relief(Window(window.rows, window.columns, relief), 0.9, drivers))
        return reliefs

    def _lid(self, side: str) -> tuple[Window, np.ndarray, np.ndarray]:
        """The skin above an eye: its window, metres from the upper margin, and the way from the inner corner to the
        outer one as a share."""
        fields = self._fields
        margin = fields.model.mean[fields.model.rig.eye(side).upper]
        line = along(margin, np.linspace(0, 1, 60)).astype(np.float32)
        away = fields.place - line.mean(axis=0)
        near = fields.skin & (np.abs(away[..., 0]) < 0.02) & (np.abs(away[..., 1]) < 0.02) & (fields.place[..., 2] > 0)
        window = Window.around(near.astype(np.float32), border=0)
        place = window.of(fields.place)
        distance = np.linalg.norm(place[:, :, None] - line, axis=-1)
        nearest = distance.argmin(axis=-1)
        above = smooth(-0.0005, 0.001, place[..., 1] - line[nearest][..., 1])
        window.share[:] *= above
        return window, distance.min(axis=-1), (nearest / 59.0).astype(np.float32)

    def _lines_on_lips(self, generator: np.random.Generator) -> np.ndarray:
        """(S, S) metres: fine lines across both lips."""
        size = self._size
        across = generator.standard_normal((max(size // 40, 4), 230 * size // 512), dtype=np.float32)
        stripes = cv2.resize(across, (size, size), interpolation=cv2.INTER_CUBIC)
        return -LIP_LINE_DEPTH_M * self._fields.lips * np.abs(stripes)

    def _lines_of(self, group: WrinkleGroup) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """The lines in texels (POINTS_PER_LINE, 2), of the left and of the right side."""
        result = []
        for sign in (1.0, -1.0):
            lines = []
            for points in group.lines:
                dense = along(np.array(points) * [sign / 1000, 1 / 1000], np.linspace(0, 1, POINTS_PER_LINE))
                lines.append(self._seen_from_front(dense))
            result.append(lines)
        return tuple(result)

    def _seen_from_front(self, points: np.ndarray) -> np.ndarray:
        """Texels (N, 2) of points (N, 2) in metres on the average head seen from in front."""
        column, row = ((points - FRONT_FROM_M) / FRONT_CELL_M).T.astype(np.float32)
        return cv2.remap(self._front, column, row, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE).reshape(-1, 2)

    def _front_view(self) -> np.ndarray:
        """(rows, columns, 2) float32: the texel that the average head shows in each cell of its front view."""
        fields = self._fields
        outer = fields.spread(fields.model.masks["outer_skin"][:, None].astype(np.float32))[..., 0] > 0.9
        rows, columns = np.nonzero(fields.skin & outer & (fields.place[..., 2] > -0.06))
        places = fields.place[rows, columns]
        order = np.argsort(places[:, 2])  # what is nearer comes later and stays
        cells = np.round((places[order, :2] - FRONT_FROM_M) / FRONT_CELL_M).astype(int)
        width, height = ((np.array(FRONT_TO_M) - FRONT_FROM_M) / FRONT_CELL_M).astype(int) + 1
        order, cells = (kept[((cells >= 0) & (cells < [width, height])).all(axis=1)] for kept in (order, cells))
        result = np.zeros((height, width, 2), np.float32)
        filled = np.zeros((height, width, 1), np.float32)
        result[cells[:, 1], cells[:, 0]] = np.stack([columns, rows], axis=1)[order]
        filled[cells[:, 1], cells[:, 0]] = 1.0
        for blur in (0.7, 2.0, 8.0):  # cells between the texels
            near = cv2.GaussianBlur(filled, (0, 0), blur)[..., None]
            mean = cv2.GaussianBlur(result * filled, (0, 0), blur) / np.maximum(near, 1e-6)
            empty = (filled[..., 0] < 0.5) & (near[..., 0] > 1e-3)
            result[empty], filled[empty] = mean[empty], 1.0
        return result

    @staticmethod
    def _sheet(sheets: list[np.ndarray], generator: np.random.Generator) -> np.ndarray:
        return sheets[generator.integers(len(sheets))]
