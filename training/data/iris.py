"""Eyes of synthetic people: pupil, iris with fibres and a dark rim, sclera with veins."""

from __future__ import annotations

import numpy as np

from backend.face_models.open_head import EYE_SIDES
from backend.texture_parts import IRIS_RADIUS_M
from training.data.skin_fields import SkinFields, smooth

IRISES = {
    "dark brown": (0.040, 0.020, 0.011),
    "brown": (0.105, 0.052, 0.024),
    "amber": (0.19, 0.105, 0.035),
    "hazel": (0.15, 0.115, 0.045),
    "green": (0.115, 0.13, 0.075),
    "grey": (0.155, 0.175, 0.18),
    "blue": (0.105, 0.150, 0.195),
    "pale blue": (0.20, 0.25, 0.29),
}
"""Linear mean colours."""
PALE_PEOPLE = (0.12, 0.22, 0.06, 0.13, 0.11, 0.11, 0.17, 0.08)
DARK_PEOPLE = (0.66, 0.30, 0.02, 0.02, 0.0, 0.0, 0.0, 0.0)
"""How often each iris is seen, below and above `DARK_MELANIN`."""
DARK_MELANIN = 1.3
SCLERA = np.array([0.63, 0.585, 0.54], np.float32)
FLESH = np.array([0.52, 0.24, 0.20], np.float32)
"""Of the eyeball's back and of the corner towards the nose."""
PUPIL = 0.006
PUPIL_SHARES = (0.24, 0.52)
"""Radius of the pupil over that of the iris."""
DIFFERENT_EYES_SHARE = 0.01


class EyePainter:
    """Paints both eyeballs.

    Args:
        fields: the layout.
    """

    def __init__(self, fields: SkinFields) -> None:
        model = fields.model
        self._eyes = []
        for side in EYE_SIDES:
            name = f"eyeball_{side}"
            rows, columns = np.nonzero(fields.part == model.topology.part_names.index(name))
            vertices = model.mean[model.topology.part_vertices(name)]
            centre = (vertices.min(axis=0) + vertices.max(axis=0)) / 2
            x, y, z = ((fields.place[rows, columns] - centre) / (np.ptp(vertices[:, 1]) / 2)).T
            inwards = -x if side == "left" else x
            radius = IRIS_RADIUS_M / (np.ptp(vertices[:, 1]) / 2)
            share = np.where(z > 0, np.hypot(x, y) / radius, 9.0)
            self._eyes.append((rows, columns, share, np.arctan2(y, x), inwards, np.arccos(np.clip(z, -1, 1))))
        self._texel_share = float(1.0 / (IRIS_RADIUS_M * fields.texels_per_metre))

    def paint(
        self, albedo: np.ndarray, gloss: np.ndarray, melanin: float, age: float, generator: np.random.Generator
    ) -> str:
        """Paints random eyes.

        Args:
            albedo: (S, S, 3) float32 linear, written to; gloss: (S, S), set to 1 on the eyes.
            melanin, age: of the person.
            generator: the only source of chance.

        Returns:
            The name of the iris in `IRISES`, of the left eye.
        """
        names = list(IRISES)
        shares = DARK_PEOPLE if melanin > DARK_MELANIN else PALE_PEOPLE
        chosen = generator.choice(len(names), p=shares)
        tint = generator.uniform(0.7, 1.35) * generator.uniform(0.93, 1.07, 3)
        pupil = generator.uniform(*PUPIL_SHARES) * (1 - 0.2 * age)
        red, yellow = generator.uniform(0.1, 0.8), generator.uniform(0, 0.5) * (0.4 + 0.6 * age) + 0.05 * melanin
        white = SCLERA * np.array([1.0, 1 - 0.05 * yellow, 1 - 0.28 * yellow]) * generator.uniform(0.85, 1.1)
        white *= 1 - 0.06 * min(melanin, 4.0)
        seed = generator.integers(1 << 31)
        for number, (rows, columns, share, angle, inwards, back) in enumerate(self._eyes):
            own = np.random.default_rng([seed, number])
            if number and generator.random() < DIFFERENT_EYES_SHARE:
                chosen_here = generator.choice(len(names), p=shares)
            else:
                chosen_here = chosen
            iris = np.array(IRISES[names[chosen_here]]) * tint
            ball = self._iris(share, angle, iris, pupil, own)
            sclera = self._sclera(angle, inwards, back, white, red, own)
            edge = smooth(0.90 - self._texel_share / 2, 1.06 + self._texel_share / 2, share)[:, None]
            albedo[rows, columns] = ball + (sclera - ball) * edge
            gloss[rows, columns] = 1.0
        return names[chosen]

    def _iris(self, share: np.ndarray, angle: np.ndarray, iris: np.ndarray, pupil: float, generator) -> np.ndarray:
        fibres = np.zeros(len(share))
        for waves in (11, 19, 31, 47):
            phase, bend = generator.uniform(0, 2 * np.pi), generator.uniform(-3, 3)
            fibres += np.sin(waves * angle + phase + bend * share + 1.5 * np.sin(5 * angle + phase)) / 4
        collarette = pupil + 0.17
        tone = 0.9 + 0.4 * fibres + generator.uniform(0.1, 0.5) * np.exp(-(((share - collarette) / 0.11) ** 2))
        tone *= 1 - generator.uniform(0.4, 0.85) * smooth(0.76, 1.0, share)
        warm = generator.uniform(0, 0.5) * np.exp(-(((share - pupil - 0.08) / 0.14) ** 2))[:, None]
        colour = iris * tone[:, None] * (1 - warm) + warm * np.array([0.14, 0.075, 0.028])
        blur = max(0.04, self._texel_share * 0.7)
        inside = smooth(pupil + blur, pupil - blur, share)[:, None]
        return np.clip(colour + (PUPIL - colour) * inside, 0.002, 0.8)

    def _sclera(self, angle, inwards, back, white: np.ndarray, red: float, generator) -> np.ndarray:
        """White, redder towards the corners and the back; a few veins run in from there."""
        flesh = np.clip(smooth(0.45, 1.25, back) * (0.25 + 0.45 * red) * np.abs(inwards) ** 0.7, 0, 1)
        flesh += 0.5 * smooth(0.62, 0.85, inwards) + 0.85 * smooth(1.3, 1.9, back)
        for _ in range(generator.integers(3, 9)):
            direction, bend = generator.choice([0.0, np.pi]) + generator.normal(0, 0.55), generator.normal(0, 0.3)
            away = np.angle(np.exp(1j * (angle - direction - bend * np.sin(6 * back))))
            flesh += 0.35 * red * np.exp(-((away / 0.05) ** 2)) * smooth(0.65, 0.95, back)
        flesh = np.clip(flesh, 0, 1)[:, None]
        return white + (FLESH - white) * flesh
