"""The shape keys that one person's lids and eyeballs need, made from those of the average head."""

from collections.abc import Iterable

import numpy as np

from backend.lid_rig import SIDES, LidRig
from backend.lids import blink_offsets, rest_on_eyeballs

BLINK_CORRECTIVES = {side: f"eyeBlink{side.title()}Corrective" for side in SIDES}
"""Keys driven by the blink w of their side: their weight is 4 w (1 - w)."""
LEAST_MOVEMENT_M = 1e-5


def keys_of_lids(stored: dict[str, np.ndarray], rig: LidRig) -> tuple[str, ...]:
    """Keys, name -> (V, 3) metres, besides the blinks that move a lid's margin."""
    margins = np.concatenate([rig.left.loop, rig.right.loop])
    return tuple(
        name
        for name, offset in stored.items()
        if np.abs(offset[margins]).max() > LEAST_MOVEMENT_M and not name.startswith("eyeBlink")
    )


def with_own_lids(
    stored: dict[str, np.ndarray],
    neutral: np.ndarray,
    centres: np.ndarray,
    rig: LidRig,
    of_lids: Iterable[str] | None = None,
) -> dict[str, np.ndarray]:
    """The keys with the lids of one person: blinks solved, others that move the margins laid back on the eyeballs.

    Args:
        stored: name -> (V, 3) metres, the keys of the average head; blinks may be among them.
        neutral: (V, 3), the person's neutral head; centres: (2, 3) of the eyeballs, left first; rig: the person's.
        of_lids: what `keys_of_lids` says, where that is known already.

    Returns:
        All keys of `stored`, both blinks and their correctives, which go with `BLINK_CORRECTIVES`.
    """
    result = dict(stored)
    for name in keys_of_lids(stored, rig) if of_lids is None else of_lids:
        result[name] = (rest_on_eyeballs(neutral + stored[name], neutral, centres, rig) - neutral).astype(np.float32)
    for side in SIDES:
        motion = blink_offsets(neutral, centres, rig, side)
        for name, moved in ((f"eyeBlink{side.title()}", motion.offset), (BLINK_CORRECTIVES[side], motion.corrective)):
            result[name] = np.zeros(neutral.shape, np.float32)
            result[name][motion.index] = moved
    return result
