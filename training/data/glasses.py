"""Glasses that rest on the nose and the ears of a synthetic person."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from backend.face_models.open_head import OpenHead
from training.data.attachment import Attachment, sheet_triangles, tube

RIM_POINTS = 36
CORNEA_TO_LENS_M = 0.012
"""From the eyeball's front to the back of the lens, as opticians fit them."""
CLEARANCE_M = 0.0015
"""Between the frame and the face."""
BRIDGE_POINTS = (27, 28)
"""Of the 68 landmarks: the root of the nose and the next one down."""
WIDTH_SHARES = (0.84, 0.98)
"""Of a face, from ear to ear, that frames are wide."""
GLARE_SHARE = 0.3
FRAME_COLOURS = (
    (0.006, 0.006, 0.007), (0.012, 0.011, 0.011), (0.05, 0.02, 0.01), (0.10, 0.05, 0.02), (0.02, 0.03, 0.07),
    (0.25, 0.02, 0.03), (0.45, 0.42, 0.36), (0.35, 0.35, 0.36), (0.42, 0.30, 0.12), (0.55, 0.52, 0.50),
)  # fmt: skip
"""Linear: black, brown, tortoise, blue, red, horn, steel, gold, clear."""


@dataclass(frozen=True)
class FrameShape:
    """Measures of a frame in metres.

    Attributes:
        width, height: of a lens; squareness: exponent of its superellipse, 2 an ellipse, 6 nearly a rectangle.
        taper: how much narrower the lower half is, as a share; lift: how much higher the outer corners are.
        bridge: between the lenses; rim, brow: half thickness of the rim, below and above; arm: half height of the arms.
        tilt, wrap: radians that the lenses lean in below, and bend round the face.
    """

    width: float
    height: float
    squareness: float
    taper: float
    lift: float
    bridge: float
    rim: float
    brow: float
    arm: float
    tilt: float
    wrap: float

    @classmethod
    def random(cls, generator: np.random.Generator) -> FrameShape:
        """Round, oval, square, cat's eyes, aviators; thin and thick."""
        uniform = generator.uniform
        round_ones = generator.random() < 0.25
        width = uniform(0.042, 0.057)
        height = width * (uniform(0.88, 1.0) if round_ones else uniform(0.58, 0.88))
        rim = uniform(0.0005, 0.001) if generator.random() < 0.45 else uniform(0.001, 0.0026)
        return cls(
            width=width,
            height=height,
            squareness=uniform(2.0, 2.3) if round_ones else uniform(2.4, 5.0),
            taper=uniform(0.0, 0.05) if round_ones else uniform(0.0, 0.25),
            lift=0.0 if generator.random() < 0.7 else uniform(0.0, 0.006),
            bridge=uniform(0.014, 0.020),
            rim=rim,
            brow=rim * (1.0 if generator.random() < 0.6 else uniform(1.0, 2.0)),
            arm=max(rim * uniform(0.8, 1.6), 0.0007),
            tilt=np.radians(uniform(3, 12)),
            wrap=np.radians(uniform(0, 8)),
        )

    def lens(self, points: int = RIM_POINTS) -> np.ndarray:
        """The outline of the subject's left lens about its middle: (points, 3) metres, the nose at negative x."""
        angle = 2 * np.pi * np.arange(points) / points
        cosine, sine = np.cos(angle), np.sin(angle)
        radius = (np.abs(cosine) ** self.squareness + np.abs(sine) ** self.squareness) ** (-1 / self.squareness)
        x, y = radius * cosine, radius * sine
        x = x * (1 - self.taper * np.clip(-y, 0, 1))
        y = y * self.height / 2 + self.lift * np.clip(x, 0, 1) * np.clip(y + 0.4, 0, 1)
        return np.stack([x * self.width / 2, y, np.zeros(points)], axis=1)


def random_glasses(model: OpenHead, neutral: np.ndarray, generator: np.random.Generator) -> list[Attachment]:
    """Glasses of a random shape, fitted to a head.

    Args:
        model: the face model.
        neutral: (V, 3) float32 metres, the person's neutral head.
        generator: the only source of chance.

    Returns:
        "glasses", then "lenses", whose opacity is small but for sunglasses; sometimes "lenses" once more: what they
        mirror.
    """
    shape = _sized(FrameShape.random(generator), model, neutral, generator)
    colour = np.array(FRAME_COLOURS[generator.integers(len(FRAME_COLOURS))]) * generator.uniform(0.7, 1.3, 3)
    rimless = generator.random() < 0.12
    rims, arms, bridge = _fitted(model, neutral.astype(float), shape, generator)
    vertices, triangles, colours = [], [], []

    def add(line: np.ndarray, radius: np.ndarray, of: np.ndarray, *, closed: bool = False) -> None:
        points, corners = tube(line, radius, closed=closed)
        triangles.append(corners + sum(len(part) for part in vertices))
        vertices.append(points)
        colours.append(np.broadcast_to(of, (len(points), 3)))

    thin = 0.0004
    for rim in rims.values():
        above = np.clip((rim[:, 1] - rim[:, 1].mean()) / (shape.height / 2) + 0.5, 0, 1)[:, None]
        half = np.full((len(rim), 1), thin) if rimless else shape.rim + (shape.brow - shape.rim) * above
        add(rim, np.concatenate([half, np.maximum(half, 0.0009)], axis=1), colour * (3 if rimless else 1), closed=True)
    half = max(shape.rim, 0.0008)
    add(bridge, np.full((len(bridge), 2), half * 1.1), colour)
    arm_colour = colour if generator.random() < 0.75 else np.full(3, generator.uniform(0.005, 0.4))
    for arm in arms.values():
        add(arm, np.broadcast_to([shape.arm, 0.0007], (len(arm), 2)), arm_colour)
    joined = np.concatenate(vertices), np.concatenate(triangles), np.concatenate(colours).astype(np.float32)
    frame = Attachment(*joined, gloss=float(generator.uniform(0.4, 0.9)), name="glasses")
    worn = [frame, _lenses(rims, generator)]
    if generator.random() < GLARE_SHARE:
        worn.append(_glare(rims, generator))
    return worn


def _sized(shape: FrameShape, model: OpenHead, neutral: np.ndarray, generator: np.random.Generator) -> FrameShape:
    """The shape as wide as the face needs it."""
    contour = model.landmarks68(neutral)
    wanted = generator.uniform(*WIDTH_SHARES) * (contour[16, 0] - contour[0, 0])
    factor = float(np.clip(wanted / (2 * shape.width + shape.bridge), 0.9, 1.35))
    return replace(shape, width=factor * shape.width, height=factor * shape.height)


def _glare(rims: dict[str, np.ndarray], generator: np.random.Generator) -> Attachment:
    """A window or a lamp that both lenses mirror at the same place."""
    left, lower = generator.uniform([-0.6, -0.6], [0.1, 0.2])
    wide, tall, slant = generator.uniform([0.12, 0.2, -0.3], [0.5, 0.6, 0.3])
    across, up = np.meshgrid(np.linspace(left, left + wide, 3), np.linspace(lower, lower + tall, 3))
    across = across + slant * (up - lower)
    # No farther out than the lens: the corners of a wide window are cut off.
    inside = np.minimum(1.0, 0.8 / np.maximum(np.hypot(across, up), 1e-6))
    across, up = across * inside, up * inside
    vertices = []
    for rim, sign in zip(rims.values(), (1.0, -1.0), strict=True):
        middle = rim.mean(axis=0)
        right, above = sign * (rim[0] - middle), rim[RIM_POINTS // 4] - middle
        bulge = np.array([0.0, 0.0, 0.0016])
        vertices.append((middle + across[..., None] * right + up[..., None] * above + bulge).reshape(-1, 3))
    sheet = sheet_triangles(3, 3)
    vertices = np.concatenate(vertices).astype(np.float32)
    colours = np.full(vertices.shape, generator.uniform(0.4, 1.0), np.float32)
    opacity = float(generator.uniform(0.06, 0.45))
    return Attachment(vertices, np.concatenate([sheet, sheet + 9]), colours, 0.0, "lenses", opacity)


def _lenses(rims: dict[str, np.ndarray], generator: np.random.Generator) -> Attachment:
    """Both lenses, slightly bulged: clear, tinted, or dark."""
    vertices, triangles = [], []
    for rim in rims.values():
        start = sum(len(part) for part in vertices)
        middle = rim.mean(axis=0)
        inner = middle + 0.55 * (rim - middle) + [0.0, 0.0, 0.0009]
        count = len(rim)
        ring = np.arange(count)
        following = (ring + 1) % count
        fan = np.stack([np.full(count, 2 * count), count + ring, count + following], axis=1)
        border = [np.stack([count + ring, ring, following], axis=1)]
        border.append(np.stack([count + ring, following, count + following], axis=1))
        triangles.append(np.concatenate([*border, fan]) + start)
        vertices.append(np.concatenate([rim, inner, middle[None] + [0.0, 0.0, 0.0013]]))
    tinted = generator.random()
    if tinted < 0.88:
        opacity, colour = generator.uniform(0.02, 0.08), generator.uniform(0.15, 0.6, 3)
    elif tinted < 0.95:
        opacity, colour = generator.uniform(0.2, 0.6), generator.uniform(0.005, 0.2, 3)
    else:
        opacity, colour = generator.uniform(0.75, 0.97), np.full(3, generator.uniform(0.002, 0.02))
    vertices = np.concatenate(vertices).astype(np.float32)
    colours = np.broadcast_to(colour.astype(np.float32), vertices.shape).copy()
    return Attachment(vertices, np.concatenate(triangles).astype(np.int64), colours, 0.9, "lenses", float(opacity))


def _fitted(
    model: OpenHead, neutral: np.ndarray, shape: FrameShape, generator: np.random.Generator
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], np.ndarray]:
    """Lines in model space: rims and arms by side, and the bridge, each (N, 3)."""
    eyes = model.eye_centres(neutral)
    root = model.landmarks68(neutral)[list(BRIDGE_POINTS)]
    radius = np.ptp(neutral[model.eyeballs["left"]][:, 0]) / 2
    height = eyes[:, 1].mean() - generator.uniform(0.001, 0.006)
    apart = max(shape.width + shape.bridge, 0.88 * (eyes[0, 0] - eyes[1, 0]))
    middle_x = root[:, 0].mean()
    front = eyes[:, 2].max() + radius + CORNEA_TO_LENS_M
    cosine, sine = np.cos(shape.tilt), np.sin(shape.tilt)
    tilt = np.array([[1, 0, 0], [0, cosine, -sine], [0, sine, cosine]])  # the lower edge comes towards the cheek
    rims = {}
    for side, sign in (("left", 1.0), ("right", -1.0)):
        rim = shape.lens() @ tilt.T
        rim[:, 2] -= np.sin(shape.wrap) * (rim[:, 0] + shape.width / 2)
        rims[side] = rim * [sign, 1, 1] + [middle_x + sign * apart / 2, height, front]
    skin = neutral[model.masks["outer_skin"]]
    skin = skin[skin[:, 2] > eyes[0, 2] - 0.03]
    forward = max(_overlap(rim, skin) for rim in rims.values())
    for rim in rims.values():
        rim[:, 2] += forward
    arms = {}
    for side, sign in (("left", 1.0), ("right", -1.0)):
        rim = rims[side]
        hinge = rim[np.argmax(sign * rim[:, 0] + 0.8 * rim[:, 1])]
        arms[side] = _arm(model, neutral, hinge, sign)
    inner = [
        rim[np.argmin(sign * rim[:, 0] - 0.35 * rim[:, 1])] for rim, sign in zip(rims.values(), (1, -1), strict=True)
    ]
    share = np.linspace(0, 1, 9)[:, None]
    bridge = inner[1] + share * (inner[0] - inner[1])
    bow = 4 * share[:, 0] * (1 - share[:, 0])
    bridge[:, 1] += 0.003 * bow
    near = np.abs(skin[:, 0] - middle_x) < 0.008
    level = np.abs(skin[:, 1] - bridge[:, 1].mean()) < 0.006
    nose = skin[near & level, 2].max(initial=root[0, 2])
    bridge[:, 2] += np.maximum(0.002, nose + CLEARANCE_M + shape.rim - bridge[4, 2]) * bow
    return rims, arms, bridge


def _overlap(rim: np.ndarray, skin: np.ndarray) -> float:
    """How far a rim (N, 3) must come forward to clear the skin's vertices (M, 3), at most 12 mm."""
    apart = np.linalg.norm(rim[:, None, :2] - skin[None, :, :2], axis=-1)
    behind = np.where(apart < 0.005, skin[None, :, 2] + CLEARANCE_M - rim[:, None, 2], -np.inf)
    return float(np.clip(behind.max(), 0.0, 0.012))


def _arm(model: OpenHead, neutral: np.ndarray, hinge: np.ndarray, sign: float) -> np.ndarray:
    """From the hinge over the root of the ear and down behind it: (N, 3)."""
    ear = neutral[model.masks["ears"] & (sign * neutral[:, 0] > 0)]
    top = ear[:, 1].max()
    high = ear[ear[:, 1] > top - 0.012]
    # The arm lies where the ear leaves the head: the innermost of the ear's upper rim.
    root = np.array([sign * (sign * high[:, 0]).min() + sign * 0.001, top - 0.004, high[:, 2].mean()])
    temple = neutral[model.masks["outer_skin"] & ~model.masks["ears"]]
    temple = temple[(np.abs(temple[:, 1] - root[1]) < 0.012) & (temple[:, 2] > root[2]) & (temple[:, 2] < hinge[2])]
    share = np.linspace(0, 1, 9)[:, None]
    outside = hinge + [sign * 0.002, 0.0, -0.003]
    line = outside + share * (root - outside)
    # A straight arm must not cut through the temple.
    for point in line:
        beside = temple[np.abs(temple[:, 2] - point[2]) < 0.012]
        if len(beside):
            point[0] = sign * max(sign * point[0], (sign * beside[:, 0]).max() + CLEARANCE_M)
    end = root + np.array([[0, -0.006, -0.010], [0, -0.018, -0.017], [0, -0.034, -0.021]])
    return np.concatenate([hinge[None], line, end])
