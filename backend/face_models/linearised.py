"""Face models made linear in their codes about the mean head, for torch: what `LinearShape` is made of."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from backend.face_models import load_face_model
from backend.face_models.albedo import AlbedoBasis, load_albedo_basis
from backend.face_models.correspondence import carried_albedo, is_registered
from backend.face_models.lid_keys import BLINK_CORRECTIVES
from backend.face_models.linear_shape import BlinkBasis
from backend.lid_rig import SIDES
from backend.lids import LidMotion, blink_offsets

if TYPE_CHECKING:
    from backend.face_models.morphable_model import MorphableModel

Expression = Literal["keys", "own"]
"""What the expression codes are: weights of the ARKit keys in [0, 1], or the model's own coefficients."""
IDENTITY_STEP = 1.0
"""Standard deviations to either side between which a head's dependence on a coefficient is taken as straight."""
LID_KEYS = tuple(f"eyeBlink{side.title()}" for side in SIDES)


@dataclass(frozen=True)
class Bases:
    """The arguments of `LinearShape`, and what the rows of the expression are.

    Attributes:
        base: (V, 3) float32 metres, the mean person's neutral head.
        identity: (I, V, 3), expression: (E, V, 3) float32 metres for a coefficient of 1.
        blinks: of the eyes, where the model has lids that shut.
        names: of the rows of `expression`; empty where it is the model's own.
        lid_columns: of the expression, left and right: where the weights of the blinks are; None without lids.
        expression_size: how many of the rows are codes; the lids of an expression of the model's own come after them.
    """

    base: np.ndarray
    identity: np.ndarray
    expression: np.ndarray
    blinks: tuple[BlinkBasis, ...]
    names: tuple[str, ...]
    lid_columns: tuple[int, int] | None
    expression_size: int


def names_a_file(source: str | Path) -> bool:
    """Whether a face model is given by a path instead of a name: names have neither folders nor endings."""
    path = Path(source)
    return bool(path.suffix) or len(path.parts) > 1


@lru_cache(maxsize=2)
def linearised_by_name(name: str, expression: Expression = "keys") -> tuple[MorphableModel, Bases]:
    """`linearised` of `load_face_model(name)`; made once in a process. Raises UsageError: there is no such model."""
    model = load_face_model(name)
    return model, linearised(model, expression)


def linearised(model: MorphableModel, expression: Expression = "keys") -> Bases:
    """A model's shape, linear about the mean head.

    A person's eyeballs and lids are solved, not summed, but they depend so smoothly on the identity that central
    differences of the solution come within hundredths of a millimetre of it.
    """
    count, size = len(model.mean), model.identity_size
    neutral = model.neutral(np.zeros(size, np.float32))
    keys = model.key_offsets(neutral)
    shuts = all(name in keys.names for name in (*LID_KEYS, *BLINK_CORRECTIVES.values()))
    if expression == "keys":
        names = tuple(name for name in keys.names if name not in BLINK_CORRECTIVES.values())
        rows = keys.dense(count)[[keys.names.index(name) for name in names]]
        columns = tuple(names.index(name) for name in LID_KEYS) if shuts else None
        if columns:
            rows[list(columns)] = 0.0  # they depend on the person
    else:
        names, rows = (), np.asarray(model.expression_basis, np.float32)
        columns = (len(rows), len(rows) + 1) if shuts else None
    expression_size = len(rows)
    if columns and not names:
        rows = np.concatenate([rows, np.zeros((len(columns), count, 3), np.float32)])

    identity = np.zeros((size, count, 3), np.float32)
    at_mean = [_blink(model, neutral, side) for side in SIDES] if columns else []
    offsets = [np.zeros((1 + size, len(blink.index), 3), np.float32) for blink in at_mean]
    correctives = [np.zeros_like(offset) for offset in offsets]
    for number, blink in enumerate(at_mean):
        offsets[number][0], correctives[number][0] = blink.offset, blink.corrective
    for row in range(size):
        step = np.zeros(size, np.float32)
        step[row] = IDENTITY_STEP
        above, below = model.neutral(step), model.neutral(-step)
        identity[row] = (above - below) / (2 * IDENTITY_STEP)
        for number, side in enumerate(SIDES[: len(at_mean)]):
            high, low = _blink(model, above, side), _blink(model, below, side)
            offsets[number][1 + row] = (high.offset - low.offset) / (2 * IDENTITY_STEP)
            correctives[number][1 + row] = (high.corrective - low.corrective) / (2 * IDENTITY_STEP)
    blinks = tuple(
        BlinkBasis(columns[number], blink.index, offsets[number], correctives[number])
        for number, blink in enumerate(at_mean)
    )
    return Bases(neutral, identity, rows, blinks, names, columns, expression_size)


def albedo_of(model: MorphableModel) -> AlbedoBasis | None:
    """The colours of a model's vertices; where it has none of its own, the open head's at the same places.

    None for a model whose vertices nobody has found on the open head. What is not skin has no meaning then.
    """
    if model.name == "open_head":
        return load_albedo_basis()
    own = getattr(model, "albedo", None)
    if own is not None or not is_registered(model):
        return own
    return carried_albedo(model, load_face_model("open_head"))


def _blink(model: MorphableModel, neutral: np.ndarray, side: str) -> LidMotion:
    return blink_offsets(neutral, model.eye_centres(neutral), model.rig_of(neutral), side)
