"""Which of a person's photographs show the left side, the front and the right side of the face, by measured yaw.

DF-MVR (Zhao et al., "From 2D Images to 3D Model: Weakly Supervised Multi-View Face Reconstruction with Deep Fusion",
ICME 2025, section 3.3) has an encoder for each of these three views. Sides are the subject's own, and yaw is positive
where the left side shows.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product

BEST_ASIDE = 45.0
"""Degrees that a view from aside is best turned by, as in the paper's comparisons."""
LEAST_ASIDE = 15.0
"""A face that is turned less shows no side."""
FARTHEST_FRONT = 30.0
"""A face that is turned more is no view from the front."""
FARTHEST = 90.0
"""A face that is turned more shows the back of the head."""
SLOTS = ("left", "front", "right")
BEST = {"left": BEST_ASIDE, "front": 0.0, "right": -BEST_ASIDE}
FITTING = {
    "left": (LEAST_ASIDE, FARTHEST),
    "front": (-FARTHEST_FRONT, FARTHEST_FRONT),
    "right": (-FARTHEST, -LEAST_ASIDE),
}
"""Degrees from and to which a photograph may stand in each slot."""


@dataclass(frozen=True)
class ViewRemark:
    """What is wrong with the views, and what to do.

    Attributes:
        code: "only-front", "same-side", "no-left", "no-front", "no-right" or "no-face-shown", for programs.
        sentence: for a person.
    """

    code: str
    sentence: str


@dataclass(frozen=True)
class ViewOrder:
    """Which photograph stands where, as indices.

    Attributes:
        left, front, right: the photograph of each slot, None where there is none.
        rest: the others, in their order; they still serve the fit.
        warnings: what makes the head less sure than it could be.
        refusal: why no photograph fits any slot; None where one does.
    """

    left: int | None
    front: int | None
    right: int | None
    rest: tuple[int, ...]
    warnings: tuple[ViewRemark, ...] = ()
    refusal: ViewRemark | None = None

    @property
    def slots(self) -> tuple[int | None, int | None, int | None]:
        """Left, front, right."""
        return self.left, self.front, self.right


def order_views(yaw: Sequence[float], names: Sequence[str] | None = None) -> ViewOrder:
    """Puts photographs into the three slots: as many slots as can be filled, each as near to its best yaw as can be.

    Args:
        yaw: degrees of each photograph, positive where the left side of the face shows, in any order.
        names: what they are called in sentences; "photograph 1" and so on without.

    Raises:
        ValueError: no photograph, a yaw that is no number, or not as many names.
    """
    yaw = [float(value) for value in yaw]
    names = [f"photograph {number + 1}" for number in range(len(yaw))] if names is None else list(names)
    if not yaw or not all(math.isfinite(value) for value in yaw) or len(names) != len(yaw):
        raise ValueError(f"Expected the yaw of at least one photograph and a name for each, got {yaw} and {names}.")
    chosen = _assignment(yaw)
    rest = tuple(number for number in range(len(yaw)) if number not in chosen)
    if len(rest) < len(yaw):
        return ViewOrder(*chosen, rest, tuple(_warnings(yaw, names, chosen)))
    turned = _listed(str(round(value)) for value in yaw)
    refusal = ViewRemark(
        "no-face-shown",
        f"{_listed(names)} {'is' if len(yaw) == 1 else 'are'} turned away from the camera (yaw {turned} degrees). "
        "Choose photographs that show the face from the front or up to the profile.",
    )
    return ViewOrder(None, None, None, rest, (), refusal)


def _assignment(yaw: list[float]) -> tuple[int | None, int | None, int | None]:
    """Left, front and right: most slots first, then the least sum of degrees from what is best; ties to the first."""
    fitting = [
        [None, *(number for number, value in enumerate(yaw) if FITTING[slot][0] <= value <= FITTING[slot][1])]
        for slot in SLOTS
    ]

    def cost(chosen: tuple[int | None, ...]) -> tuple[int, float]:
        filled = [(number, slot) for number, slot in zip(chosen, SLOTS, strict=True) if number is not None]
        if len({number for number, _ in filled}) < len(filled):
            return (1, math.inf)
        return (-len(filled), sum(abs(yaw[number] - BEST[slot]) for number, slot in filled))

    return min(product(*fitting), key=cost)


def _warnings(yaw: list[float], names: list[str], chosen: tuple[int | None, ...]) -> Iterable[ViewRemark]:
    if len(yaw) == 1:
        return
    aside = [number for number, value in enumerate(yaw) if LEAST_ASIDE <= abs(value) <= FARTHEST]
    missing = [slot for slot, number in zip(SLOTS, chosen, strict=True) if number is None]
    if not aside:
        turned = _listed(str(round(value)) for value in yaw)
        yield ViewRemark(
            "only-front",
            f"{'Both' if len(yaw) == 2 else f'All {len(yaw)}'} photographs show the face from the front (yaw {turned} "
            "degrees), so its depth is a guess. Add one of each side, with the face turned by about "
            f"{BEST_ASIDE:.0f} degrees.",
        )
        return
    aside = [number for number in aside if number != chosen[1]]
    for slot in missing:
        other = {"left": "right", "right": "left"}.get(slot, "")
        if slot == "front":
            yield ViewRemark("no-front", "No photograph shows the face from the front. Add one.")
        elif len(aside) > 1:
            several = "both" if len(aside) == 2 else "all"
            yield ViewRemark(
                "same-side",
                f"{_listed(names[number] for number in aside)} {several} show the {other} side of the face, and none "
                f"the {slot} side. If one of them was mirrored, as selfie cameras do, mirror it back; else add a "
                f"photograph of the {slot} side.",
            )
        else:
            yield ViewRemark(
                f"no-{slot}",
                f"No photograph shows the {slot} side of the face. Add one, with the face turned by about "
                f"{BEST_ASIDE:.0f} degrees.",
            )


def _listed(words: Iterable[str]) -> str:
    *others, last = words
    return f"{', '.join(others)} and {last}" if others else last
