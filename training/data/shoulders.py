"""Neck, shoulders and clothes below the head, so that it does not float."""

from dataclasses import dataclass

import cv2
import numpy as np

from backend.face_models.open_head import OpenHead

# From the neck's rim down: metres below it, half width, half depth, how far forward the middle lies, share of the
# body's own turn that has been reached, exponent of the superellipse.
_PROFILE = np.array(
    [
        [0.010, 0.066, 0.068, 0.000, 0.05, 2.0],
        [0.025, 0.078, 0.076, 0.002, 0.15, 2.0],
        [0.040, 0.103, 0.083, 0.006, 0.35, 2.1],
        [0.056, 0.138, 0.090, 0.008, 0.60, 2.2],
        [0.076, 0.174, 0.097, 0.008, 0.85, 2.3],
        [0.102, 0.202, 0.103, 0.006, 1.00, 2.4],
        [0.150, 0.221, 0.112, 0.004, 1.00, 2.5],
        [0.230, 0.226, 0.120, 0.004, 1.00, 2.5],
        [0.450, 0.215, 0.120, 0.004, 1.00, 2.5],
    ]
)
RING_COUNT = 22
RINGS = np.stack(
    [np.interp(np.linspace(0, 1, RING_COUNT) ** 1.2 * 8, np.arange(9), column) for column in _PROFILE.T], axis=1
)
AROUND = 42
"""Points on the rim of the open head's neck."""
GARMENTS = ("shirt", "jumper", "high collar", "jacket", "bare")


@dataclass(frozen=True)
class Shoulders:
    """What a person's body looks like; `posed` hangs it on a head.

    Attributes:
        rings: (R, 6) as `_PROFILE`.
        clothed: (R + 1, AROUND) float32, 1 where there is cloth, 0 skin.
        colours: (R + 1, AROUND, 3) float32 linear, of the cloth.
        folds: (R + 1, AROUND) float32 metres outwards.
        garment: one of `GARMENTS`.
    """

    rings: np.ndarray
    clothed: np.ndarray
    colours: np.ndarray
    folds: np.ndarray
    garment: str


def random_shoulders(generator: np.random.Generator) -> Shoulders:
    """A body of some build in some garment."""
    rings = RINGS.copy()
    rings[:, 1] *= 1 + (generator.uniform(0.86, 1.1) - 1) * np.linspace(0.3, 1, len(rings))
    rings[:, 2] *= 1 + (generator.uniform(0.9, 1.2) - 1) * np.linspace(0.0, 1, len(rings))
    rings[:, 0] *= generator.uniform(0.45, 0.95)  # square or sloping
    garment = GARMENTS[generator.choice(5, p=[0.34, 0.26, 0.16, 0.16, 0.08])]
    angle = 2 * np.pi * np.arange(AROUND) / AROUND  # 0 at the back, pi at the throat
    throat = np.exp(-(((angle - np.pi) / generator.uniform(0.35, 0.9)) ** 2))
    depth = np.concatenate([[0.0], rings[:, 0]])[:, None]
    neckline = {"shirt": 0.028, "jumper": 0.018, "high collar": -0.01, "jacket": 0.02, "bare": 9.0}[garment]
    opening = generator.uniform(0.0, 0.07) if garment in ("shirt", "jacket") else generator.uniform(0.0, 0.02)
    clothed = np.clip((depth - (neckline + opening * throat)) / 0.006, 0.0, 1.0)
    cloth = generator.uniform(0.0, 1.0) ** 1.5 * generator.uniform(0.55, 1.0, 3) ** generator.uniform(0.2, 3.0)
    colours = np.broadcast_to(0.012 + 0.75 * cloth, (*clothed.shape, 3)).copy()
    if generator.random() < 0.2:  # stripes
        other = generator.uniform(0.01, 0.8, 3)
        colours[np.arange(len(colours)) % generator.integers(3, 6) < generator.integers(1, 3)] = other
    if garment == "jacket":  # a lighter shirt below
        below = np.abs(angle - np.pi) < generator.uniform(0.3, 0.6)
        colours[:, below] = generator.uniform(0.3, 0.85)
    colours *= generator.uniform(0.88, 1.12, (*clothed.shape, 1))
    rough = generator.normal(0.0, 0.006, (len(clothed) // 3 + 2, AROUND // 3))
    folds = cv2.resize(rough, (AROUND, len(clothed)), interpolation=cv2.INTER_CUBIC) + 0.005
    if garment in ("high collar", "jacket", "jumper"):
        folds[2:6] += generator.uniform(0.002, 0.008)  # the collar stands off
    return Shoulders(rings, *(v.astype(np.float32) for v in (clothed, colours, folds * clothed)), garment)


def random_turn(generator: np.random.Generator) -> np.ndarray:
    """(3, 3) how the body is turned against the head: people look over their shoulder, and lower their head."""
    across, nod, tilt = np.radians(generator.normal(0, [14.0, 6.0, 5.0]))
    cosine, sine = np.cos([across, nod, tilt]), np.sin([across, nod, tilt])
    turn_y = np.array([[cosine[0], 0, sine[0]], [0, 1, 0], [-sine[0], 0, cosine[0]]])
    turn_x = np.array([[1, 0, 0], [0, cosine[1], -sine[1]], [0, sine[1], cosine[1]]])
    turn_z = np.array([[cosine[2], -sine[2], 0], [sine[2], cosine[2], 0], [0, 0, 1]])
    return turn_y @ turn_x @ turn_z


def posed(
    shoulders: Shoulders, model: OpenHead, vertices: np.ndarray, skin: np.ndarray, turn: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The body under a head.

    Args:
        shoulders: whose.
        model: the open head, for the rim of its neck.
        vertices: (V, 3) metres, the posed head: an open head, or one that was laid on another head.
        skin: (3,) linear colour of the neck.
        turn: (3, 3) of the body against the head.

    Returns:
        (N, 3) float32 metres, (M, 3) int64 triangles counter-clockwise from outside, (N, 3) float32 linear colours, and
        (N,) float32, the share of the way from the neck to the open shoulders.
    """
    rim = vertices[model.data["neck_loop"]].astype(float)
    middle = rim.mean(axis=0)
    # The rim runs round the neck from the back; ring points take its angles.
    angle = np.arctan2(rim[:, 0] - middle[0], rim[:, 2] - middle[2])
    x, z = np.sin(angle), np.cos(angle)
    drop, half_width, half_depth, forward, turned, exponent = shoulders.rings.T[:, :, None]
    radius = (np.abs(x) ** exponent + np.abs(z) ** exponent) ** (-1 / exponent)  # (R, AROUND)
    flat = np.zeros_like(radius)
    body = np.stack([radius * x * half_width, flat - drop, radius * z * half_depth + forward - 0.01], axis=-1)
    neck = (rim - middle) * [1.02, 1.0, 1.02] - np.stack([flat, flat + drop, flat], axis=-1)  # higher at the back
    share, turned = np.clip(2.0 * turned, 0.0, 1.0)[..., None], turned[..., None]
    own = np.eye(3) * (1 - turned) + turn * turned  # (R, 3, 3)
    rings = np.einsum("rac,rdc->rad", (1 - share) * neck + share * body, own)
    points = np.concatenate([rim[None], middle + rings])
    outwards = points - points.mean(axis=1, keepdims=True)
    outwards /= np.linalg.norm(outwards, axis=-1, keepdims=True)
    points = points + outwards * shoulders.folds[..., None]
    colours = shoulders.colours * shoulders.clothed[..., None] + skin * (1 - shoulders.clothed[..., None])
    away = np.repeat(np.concatenate([[0.0], np.clip(shoulders.rings[:, 4], 0.0, 1.0)]), AROUND)
    vertices, colours, away = (v.astype(np.float32) for v in (points.reshape(-1, 3), colours.reshape(-1, 3), away))
    return vertices, _triangles(len(points)), colours, away


def _triangles(rings: int) -> np.ndarray:
    """(M, 3) int64 between rings of `AROUND` points."""
    here = np.arange(AROUND)
    following = (here + 1) % AROUND
    quads = []
    for ring in range(rings - 1):
        upper, lower = ring * AROUND, (ring + 1) * AROUND
        quads.append(np.stack([upper + here, lower + here, lower + following, upper + following], axis=1))
    quads = np.concatenate(quads)
    return np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])
