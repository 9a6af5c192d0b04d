"""What a face does in a picture: each eye's state, where it looks, brows, mouth and cheeks, as weights of the keys."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from backend.face_models.eyes import GAZE_KEY_DEGREES
from backend.face_models.lid_keys import BLINK_CORRECTIVES

SIDES = ("left", "right")
PAIRS_OF_STATES = (
    (("open", "open"), 0.54),
    (("shut", "shut"), 0.12),
    (("half", "half"), 0.08),
    (("squint", "squint"), 0.06),
    (("wide", "wide"), 0.05),
    (("shut", "open"), 0.06),  # a wink, one of the sides by chance
    (("shut", "squint"), 0.04),
    (("half", "open"), 0.03),
    (("shut", "half"), 0.02),
)
"""What the two eyes do together, and how often; the sides are swapped by chance."""
CLOSURE_RANGES = {
    "open": (0.0, 0.25),
    "half": (0.3, 0.75),
    "shut": (0.97, 1.0),
    "squint": (0.25, 0.7),
    "wide": (0.0, 0.0),
}
"""What `backend.lids.closure` may be in each state; an open eye that looks down may shut farther."""
SYMMETRY_DEVIATION = 0.06
LARGEST_GAZE_DEGREES = GAZE_KEY_DEGREES

# Weights at full strength, one line for each way to hold the face; the sides get the same and then their own noise.
MOUTHS: dict[str, dict[str, tuple[float, float]]] = {
    "neutral": {},
    "smile": {
        "mouthSmile": (0.3, 1.0),
        "cheekSquint": (0.0, 0.6),
        "mouthDimple": (0.0, 0.4),
        "mouthUpperUp": (0.0, 0.25),
    },
    "open smile": {
        "mouthSmile": (0.5, 1.0),
        "jawOpen": (0.08, 0.35),
        "mouthUpperUp": (0.1, 0.5),
        "mouthLowerDown": (0.0, 0.4),
        "cheekSquint": (0.1, 0.8),
    },
    "laugh": {
        "mouthSmile": (0.6, 1.0),
        "jawOpen": (0.3, 0.7),
        "mouthUpperUp": (0.2, 0.6),
        "mouthLowerDown": (0.2, 0.6),
        "cheekSquint": (0.4, 1.0),
        "noseSneer": (0.0, 0.3),
    },
    "open vowel": {"jawOpen": (0.15, 0.8), "mouthLowerDown": (0.0, 0.4), "mouthUpperUp": (0.0, 0.3)},
    "round vowel": {"mouthFunnel": (0.2, 0.9), "jawOpen": (0.05, 0.4), "mouthPucker": (0.0, 0.5)},
    "wide vowel": {"mouthStretch": (0.2, 0.8), "jawOpen": (0.05, 0.3), "mouthLowerDown": (0.1, 0.5)},
    "pucker": {"mouthPucker": (0.3, 1.0), "mouthFunnel": (0.0, 0.3)},
    "pressed": {"mouthPress": (0.2, 0.9), "mouthRollLower": (0.0, 0.6), "mouthRollUpper": (0.0, 0.6)},
    "bitten lip": {"mouthRollLower": (0.3, 1.0), "jawOpen": (0.0, 0.15), "mouthUpperUp": (0.0, 0.3)},
    "sad": {"mouthFrown": (0.3, 1.0), "mouthShrugLower": (0.0, 0.7), "mouthPress": (0.0, 0.3)},
    "disgust": {"noseSneer": (0.3, 1.0), "mouthUpperUp": (0.2, 0.8), "mouthFrown": (0.0, 0.5)},
    "surprise": {"jawOpen": (0.25, 0.8), "mouthFunnel": (0.0, 0.4)},
    "aside": {"mouthPress": (0.0, 0.4), "mouthSmile": (0.0, 0.5)},
}
MOUTH_SHARES = np.array([24, 14, 12, 6, 9, 7, 6, 4, 4, 2, 4, 2, 3, 3], float)
BROWS: dict[str, dict[str, tuple[float, float]]] = {
    "neutral": {},
    "raised": {"browInnerUp": (0.2, 0.9), "browOuterUp": (0.2, 0.9)},
    "worried": {"browInnerUp": (0.3, 1.0), "browDown": (0.0, 0.3)},
    "frown": {"browDown": (0.3, 1.0), "eyeSquint": (0.0, 0.2)},
    "one raised": {"browOuterUp": (0.3, 1.0)},
}
BROW_SHARES = np.array([50, 17, 10, 15, 8], float)


@dataclass(frozen=True)
class Expression:
    """A held face.

    Attributes:
        weights: (keys,) float32 in [0, 1], in the order of the names that were given.
        eye_state: left then right (the subject's), out of `sample.EYE_STATES`.
        gaze: (2, 2) float32 degrees, left and right eye: towards the subject's left, and up.
        mouth, brows: the kind, a key of `MOUTHS` and of `BROWS`.
    """

    weights: np.ndarray
    eye_state: tuple[str, str]
    gaze: np.ndarray
    mouth: str
    brows: str

    def by_name(self, names: Sequence[str]) -> dict[str, float]:
        """Weights by key name, for the `names` that the expression was made for."""
        return dict(zip(names, self.weights.tolist(), strict=True))


def random_expression(names: Sequence[str], generator: np.random.Generator) -> Expression:
    """A face as people hold it in photographs.

    Two eyes open as usual in 54 % of the pictures, one shut and the other not in 12 %. Smiles and speech are commoner
    than grimaces; the sides of the face mostly agree.

    Args:
        names: of the face model's keys, ARKit's own spelling and the correctives of the blinks.
        generator: the only source of chance.
    """
    value = dict.fromkeys(names, 0.0)
    brows = _hold(value, BROWS, BROW_SHARES, generator)
    mouth = _hold(value, MOUTHS, MOUTH_SHARES, generator)
    _stray(value, generator)
    value["mouthClose"] = min(value["mouthClose"], value["jawOpen"])
    states = _random_states(generator)
    gaze = _random_gaze(generator)
    for row, (side, state) in enumerate(zip(SIDES, states, strict=True)):
        _set_lids(value, side.title(), state, gaze[row], generator)
    for side, corrective in BLINK_CORRECTIVES.items():
        blink = value[f"eyeBlink{side.title()}"]
        value[corrective] = 4.0 * blink * (1.0 - blink)
    weights = np.clip([value[name] for name in names], 0.0, 1.0).astype(np.float32)
    return Expression(weights, states, gaze, mouth, brows)


def with_settled_lids(
    expression: Expression,
    names: Sequence[str],
    closures: Callable[[np.ndarray], np.ndarray],
    generator: np.random.Generator,
) -> Expression:
    """The expression with its blinks set so that each eye shuts as far as its state says.

    Smiles, frowns and the gaze move the lids too, by another amount in every face.

    Args:
        expression: as `random_expression` makes it.
        names: of the keys.
        closures: weights (keys,) to the closure of both eyes (2,), left then right.
        generator: of where in its range each eye ends.
    """
    weights = expression.weights.copy()
    names = list(names)
    for row, (side, state) in enumerate(zip(SIDES, expression.eye_state, strict=True)):
        blink = names.index(f"eyeBlink{side.title()}")
        corrective, squint = names.index(BLINK_CORRECTIVES[side]), names.index(f"eyeSquint{side.title()}")
        low, high = CLOSURE_RANGES[state]
        if state == "open":
            high = min(0.6, high + max(0.0, -float(expression.gaze[row, 1])) * 0.012)
        wanted = generator.uniform(low, high)
        for _ in range(4):
            found = float(closures(weights)[row])
            if low <= found <= high:
                break
            if found > wanted and weights[blink] <= 0.0:
                weights[squint] *= 0.6  # nothing else that shuts this eye could give way
                continue
            step = (wanted - found) / max(0.15, 1.0 - found if wanted > found else found) if state != "shut" else 1.0
            room = 1.0 - weights[blink] if step > 0 else weights[blink]
            weights[blink] = np.clip(weights[blink] + step * room, 0.0, 1.0)
            weights[corrective] = 4.0 * weights[blink] * (1.0 - weights[blink])
    return replace(expression, weights=weights)


def _hold(value: dict[str, float], kinds: dict, shares: np.ndarray, generator: np.random.Generator) -> str:
    """Sets one of `kinds` in `value`, at its own strength, and says which."""
    kind = list(kinds)[generator.choice(len(shares), p=shares / shares.sum())]
    one_sided = generator.random() < 0.12 or kind == "one raised"
    weak_side = ("Left", "Right")[generator.integers(2)]
    side_share = generator.uniform(0.0, 0.5) if one_sided else 1.0
    for stem, (low, high) in kinds[kind].items():
        strength = generator.uniform(low, high)
        if stem in value:
            value[stem] = max(value[stem], strength)
            continue
        for side in ("Left", "Right"):
            own = strength * (side_share if side == weak_side else 1.0)
            own += generator.normal(0.0, SYMMETRY_DEVIATION) * min(1.0, 4 * own)
            value[stem + side] = float(np.clip(max(value[stem + side], own), 0.0, 1.0))
    return kind


def _stray(value: dict[str, float], generator: np.random.Generator) -> None:
    """Small weights of keys that the named kinds leave at rest."""
    for name in value:
        if name.startswith("eye") or name == "tongueOut":
            continue
        if generator.random() < 0.06:
            value[name] = max(value[name], float(generator.beta(1.2, 6.0)))
    if generator.random() < 0.015 and value["jawOpen"] > 0.15:
        value["tongueOut"] = float(generator.uniform(0.3, 1.0))
    for one, other in (("jawLeft", "jawRight"), ("mouthLeft", "mouthRight")):
        if value[one] > 0 and value[other] > 0:
            value[other] = 0.0


def _random_states(generator: np.random.Generator) -> tuple[str, str]:
    shares = np.array([share for _, share in PAIRS_OF_STATES])
    first, second = PAIRS_OF_STATES[generator.choice(len(shares), p=shares / shares.sum())][0]
    return (first, second) if generator.random() < 0.5 else (second, first)


def _random_gaze(generator: np.random.Generator) -> np.ndarray:
    """(2, 2) degrees, left and right eye: mostly at the same far or near point, sometimes a little across."""
    if generator.random() < 0.7:
        across, up = generator.normal(0.0, 7.0), generator.normal(-1.0, 5.0)
    else:
        across, up = generator.normal(0.0, 15.0), generator.normal(-2.0, 10.0)
    convergence = abs(generator.normal(0.0, 1.5))  # of each eye towards the nose
    gaze = np.array([[across - convergence, up], [across + convergence, up]])
    return np.clip(gaze, -LARGEST_GAZE_DEGREES, LARGEST_GAZE_DEGREES).astype(np.float32)


def _set_lids(value: dict[str, float], side: str, state: str, gaze: np.ndarray, generator: np.random.Generator) -> None:
    """Sets the keys of one eye in `value`; `gaze` (2,) degrees, damped in place where the lid is shut."""
    squint = value[f"eyeSquint{side}"]
    if state == "open":
        blink, wide = generator.beta(1.0, 12.0), 0.0
        squint = max(squint, generator.beta(1.0, 4.0) if generator.random() < 0.3 else 0.0)
    elif state == "half":
        blink, wide = generator.uniform(0.35, 0.75), 0.0
    elif state == "shut":
        blink, wide = 1.0, 0.0
        gaze *= 0.4  # keys of the gaze move the lids too, and would part or cross them
        squint = generator.uniform(0.2, 1.0) if generator.random() < 0.35 else 0.0  # screwed up
        value[f"cheekSquint{side}"] = max(value[f"cheekSquint{side}"], 0.8 * squint)
    elif state == "squint":
        blink, wide = generator.uniform(0.05, 0.3), 0.0
        squint = generator.uniform(0.5, 1.0)
        value[f"cheekSquint{side}"] = max(value[f"cheekSquint{side}"], generator.uniform(0.2, 1.0))
    else:
        blink, wide, squint = 0.0, generator.uniform(0.4, 1.0), 0.0
    value[f"eyeBlink{side}"] = float(blink)
    value[f"eyeWide{side}"] = float(wide)
    value[f"eyeSquint{side}"] = float(squint)
    across, up = gaze / GAZE_KEY_DEGREES
    outwards = across if side == "Left" else -across
    value[f"eyeLookOut{side}"], value[f"eyeLookIn{side}"] = max(outwards, 0.0), max(-outwards, 0.0)
    value[f"eyeLookUp{side}"], value[f"eyeLookDown{side}"] = max(up, 0.0), max(-up, 0.0)
