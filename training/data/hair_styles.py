"""What hair styles are: measures that `training.data.hair` combs into meshes, and chance over them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

STYLES = {
    "bald": 0.05,
    "hat": 0.05,
    "cropped": 0.12,
    "short": 0.21,
    "swept back": 0.10,
    "tied back": 0.12,
    "parted": 0.13,
    "long": 0.14,
    "curls": 0.08,
}
"""Name -> how often."""
HAIRLINE_DEGREES = np.array(
    [
        [0, 74], [14, 75], [27, 75], [38, 73], [50, 73], [61, 76], [69, 81], [75, 88], [79, 91], [83, 80], [87, 75],
        [101, 75], [110, 84], [117, 108], [127, 119], [140, 117], [155, 109], [168, 106], [180, 105],
    ],
    float,
)  # fmt: skip
"""Degrees round the crown from the forehead, and degrees from the crown to the hairline of the average head."""

BRIM_DEGREES = np.array([[0, 77], [40, 79], [70, 85], [95, 93], [140, 102], [180, 104]], float)
"""The same for the border of a hat."""


@dataclass(frozen=True)
class HairStyle:
    """Measures of a style, in metres and radians.

    Attributes:
        name: one of `STYLES`.
        thickness: how far the hair stands off the skull; front_thickness: times that, at the front.
        edge: how fast it thins out at the hairline.
        uneven: of the thickness, as a share, over lumps of a few centimetres; rough: in metres, from point to point.
        hairline: radians that the hairline lies farther from the crown (lower) at the front, at the temples, at the
            nape; ragged: of its course.
        parting: None, or radians round the crown where it starts at the forehead; temple: where its hair falls to
            the side.
        fringe: how far hair hangs from the front of the hairline, 0 for none; fringe_half_width: radians round the
            crown; fringe_sheet: whether it is closed or single locks; fringe_side: where it is combed to, -1..1.
        length: how far hair hangs below the hairline at the sides and the back; over_ears: hair lies over the ears.
        locks: how many lie on top; lock_width; lift: how far they stand off; mess: of their course; curl: amplitude of
            their waves; edge_hairs: how many short ones break the hairline.
        bun: radius of a knot at the back of the head, 0 for none.
        gloss: strength of the specular lobe.
    """

    name: str
    thickness: float
    front_thickness: float = 1.0
    edge: float = 0.02
    uneven: float = 0.12
    rough: float = 0.0
    hairline: tuple[float, float, float] = (0.0, 0.0, 0.0)
    ragged: float = 0.02
    parting: float | None = None
    temple: float = 1.0
    fringe: float = 0.0
    fringe_half_width: float = 0.7
    fringe_sheet: bool = False
    fringe_side: float = 0.0
    length: float = 0.0
    over_ears: bool = False
    locks: int = 200
    lock_width: float = 0.006
    lift: float = 0.002
    mess: float = 0.1
    curl: float = 0.0
    edge_hairs: int = 260
    bun: float = 0.0
    gloss: float = 0.3

    @classmethod
    def random(cls, generator: np.random.Generator) -> HairStyle:
        """A style by chance."""
        name = str(generator.choice(list(STYLES), p=list(STYLES.values())))
        uniform, chance = generator.uniform, generator.random
        front, temples, nape = generator.normal([0.0, -0.04, 0.0], [0.05, 0.06, 0.05])
        if name in ("cropped", "short") and chance() < 0.25:  # receding
            front, temples = front - uniform(0.0, 0.25), temples - uniform(0.1, 0.35)
        style = cls(
            name=name,
            thickness=uniform(0.008, 0.02),
            uneven=uniform(0.05, 0.2),
            hairline=(front, temples, nape),
            ragged=uniform(0.01, 0.035),
            gloss=uniform(0.12, 0.4),
            mess=uniform(0.03, 0.25),
        )
        if name == "cropped":
            short = uniform(0.0015, 0.005)
            return replace(
                style, thickness=short, edge=0.012, rough=0.0004, locks=80, lock_width=0.003, lift=short / 3,
                gloss=0.08, edge_hairs=1600,
            )  # fmt: skip
        if name == "short":
            style = replace(
                style, thickness=uniform(0.008, 0.025), front_thickness=uniform(0.8, 1.6), rough=uniform(0, 0.002),
                lock_width=uniform(0.004, 0.009), lift=uniform(0.001, 0.006), mess=uniform(0.1, 0.5),
                length=uniform(0.0, 0.02) if chance() < 0.4 else 0.0,
            )  # fmt: skip
            return _with_fringe(style, generator, 0.55, 0.07)
        if name == "swept back":
            return replace(
                style,
                front_thickness=uniform(1.2, 2.2),
                edge=0.008,
                lift=uniform(0.001, 0.003),
                gloss=uniform(0.3, 0.6),
            )
        if name == "tied back":
            style = replace(
                style, thickness=uniform(0.004, 0.010), lift=0.001, lock_width=0.004, gloss=uniform(0.3, 0.6),
                mess=uniform(0.02, 0.1), bun=uniform(0.022, 0.045) if chance() < 0.6 else 0.0,
            )  # fmt: skip
            return _with_fringe(style, generator, 0.2, 0.07)
        if name in ("parted", "long"):
            style = replace(
                style, thickness=uniform(0.008, 0.018), edge=0.012, over_ears=True,
                parting=float(generator.normal(0.0, 0.08) if chance() < 0.5 else uniform(-0.5, 0.5)),
                temple=uniform(0.85, 1.2), length=uniform(0.05, 0.13) if name == "parted" else uniform(0.13, 0.28),
                lock_width=uniform(0.005, 0.011), lift=uniform(0.001, 0.005), mess=uniform(0.05, 0.25),
                curl=uniform(0.002, 0.010) if chance() < 0.4 else 0.0,
            )  # fmt: skip
            if chance() < 0.35:  # a closed fringe instead of the parting
                style = replace(style, parting=None)
                return replace(_with_fringe(style, generator, 1.0, 0.085), fringe_sheet=True, fringe_half_width=0.85)
            return style
        if name == "hat":  # knitted, down to the forehead and the ears; or a scarf, down to the neck
            low = uniform(-0.06, 0.18)
            scarf = chance() < 0.3
            return replace(
                style, thickness=uniform(0.004, 0.02), edge=uniform(0.004, 0.01), uneven=uniform(0.1, 0.3),
                ragged=0.004, hairline=(low, low, low), locks=0, edge_hairs=0, gloss=uniform(0.0, 0.15), over_ears=True,
                length=uniform(0.06, 0.15) if scarf else 0.0,
            )  # fmt: skip
        if name == "curls":
            thick = uniform(0.02, 0.055)
            return replace(
                style, thickness=thick, edge=uniform(0.012, 0.03), uneven=0.2, rough=uniform(0.001, 0.003),
                locks=170, lock_width=0.008, lift=0.004, mess=1.2, curl=0.004, gloss=0.08, over_ears=thick > 0.03,
                length=uniform(0.0, 0.06),
            )  # fmt: skip
        return style


def _with_fringe(style: HairStyle, generator: np.random.Generator, share: float, longest: float) -> HairStyle:
    """A share of people gets a fringe of up to some length."""
    if generator.random() > share:
        return style
    return replace(
        style,
        fringe=generator.uniform(0.25, 1.0) * longest,
        fringe_half_width=generator.uniform(0.4, 0.95),
        fringe_sheet=bool(generator.random() < 0.5),
        fringe_side=float(generator.normal(0.0, 0.5)),
    )


def hairline_at(style: HairStyle, round_: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Radians from the crown to the hairline at radians round it (N,), in order, with its raggedness."""
    at = np.abs(np.degrees((round_ + np.pi) % (2 * np.pi) - np.pi))
    front, temples, nape = style.hairline
    if style.name == "hat":
        return np.radians(np.interp(at, *BRIM_DEGREES.T)) + front + generator.normal(0, style.ragged, len(at))
    down = np.radians(np.interp(at, *HAIRLINE_DEGREES.T))
    down += front * np.exp(-((at / 25) ** 2)) + temples * np.exp(-(((at - 42) / 14) ** 2))
    down += nape * np.clip((at - 125) / 20, 0, 1)
    few = np.interp(np.linspace(0, 1, len(at)), np.linspace(0, 1, 25), generator.normal(0, style.ragged, 25))
    return down + few + generator.normal(0, 0.35 * style.ragged, len(at))
