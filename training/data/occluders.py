"""Things in front of a face, drawn into a finished picture: hands, cups, telephones, scarves, masks, plain shapes."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from training.data.clouds import clouds
from training.data.shaded_shapes import ShadedCanvas

SHADOW_STRENGTH = 0.4
FINGER_RADIUS = 0.052
"""Of a middle finger at its root, as a share of the height of a face; hands are drawn by the same measure."""
FINGERS = (
    # Across the palm from its middle, length, radius against the middle finger's.
    (-0.145, 0.28, 0.95),
    (-0.048, 0.33, 1.0),
    (0.048, 0.31, 0.97),
    (0.14, 0.24, 0.85),
)


def random_occluder(
    image: np.ndarray, face_box: np.ndarray, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, str]:
    """Puts something in front of a face.

    Args:
        image: (H, W, 3) float32 linear light.
        face_box: (4,) left, top, width, height of the face in pixels, from the hairline to the chin.
        generator: the only source of chance.

    Returns:
        A new picture of the same shape, (H, W) bool where the thing hides what was there, and its name.
    """
    names = list(KINDS)
    shares = np.array([share for _, share in KINDS.values()])
    name = names[generator.choice(len(names), p=shares / shares.sum())]
    light = np.array([generator.uniform(-0.8, 0.8), generator.uniform(-0.9, 0.1), 1.0])
    canvas = ShadedCanvas(*image.shape[:2], light, generator.uniform(0.25, 0.6))
    box = np.asarray(face_box, float)
    KINDS[name][0](canvas, _Face(box, _skin_of(image, box)), generator)
    return *_composed(image, canvas, box[3], light, generator), name


class _Face:
    """Where the face lies: `at` turns shares of the box into pixels; `size` is its height; `skin` (3,) linear."""

    def __init__(self, box: np.ndarray, skin: np.ndarray) -> None:
        self.box, self.size, self.skin = box, box[3], skin

    def at(self, across: float, down: float) -> np.ndarray:
        """(2,) pixels; 0, 0 is the upper left corner of the box and 1, 1 the lower right one."""
        return self.box[:2] + self.box[2:] * [across, down]


def _skin_of(image: np.ndarray, box: np.ndarray) -> np.ndarray:
    """The colour of the face, so that a hand fits to it: the median of its middle, as brightly lit."""
    height, width = image.shape[:2]
    left, top = (box[:2] + 0.25 * box[2:]).astype(int).clip(0, [width - 2, height - 2])
    right, bottom = (box[:2] + 0.75 * box[2:]).astype(int).clip([left + 2, top + 2], None)
    return np.median(image[top:bottom:2, left:right:2].reshape(-1, 3), axis=0) * 1.15


def _composed(
    image: np.ndarray, canvas: ShadedCanvas, size: float, light: np.ndarray, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """The picture with the drawing over it, its shadow below, and where it hides the picture."""
    cover, colour = canvas.cover, canvas.colour * canvas.cover[..., None]
    blur = generator.uniform(0.0, 0.012) * size
    if blur > 0.4:
        cover, colour = cv2.GaussianBlur(cover, (0, 0), blur), cv2.GaussianBlur(colour, (0, 0), blur)
    # The shadow falls away from the lamp; drawn at half size, since it is soft.
    half = cv2.resize(cover, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    apart = -light[:2] * generator.uniform(0.02, 0.08) * size / 2
    moved = cv2.warpAffine(half, np.array([[1, 0, apart[0]], [0, 1, apart[1]]]), half.shape[::-1])
    moved = cv2.GaussianBlur(moved, (0, 0), max(generator.uniform(0.01, 0.04) * size / 2, 0.5))
    shadow = cv2.resize(moved, cover.shape[::-1], interpolation=cv2.INTER_LINEAR)
    strength = np.float32(SHADOW_STRENGTH * generator.uniform(0.3, 1.0))
    result = image * ((1 - strength * shadow) * (1 - cover))[..., None] + colour
    return result.astype(np.float32), cover > 0.5


def _colour(generator: np.random.Generator, low: float = 0.01, high: float = 0.6) -> np.ndarray:
    """(3,) linear, from nearly grey to saturated."""
    level = np.exp(generator.uniform(np.log(low), np.log(high)))
    hue = generator.uniform(0.2, 1.0, 3) ** generator.uniform(0.0, 2.0)
    return level * hue / hue.mean()


def _hand(canvas: ShadedCanvas, face: _Face, generator: np.random.Generator) -> None:
    """A hand on the cheek, the chin, the mouth, the forehead, over an eye, or waving before the face."""
    target, angle, mirrored = (
        ((0.02, 0.7), 0.25, False), ((0.98, 0.7), -0.25, True), ((0.5, 1.02), 0.9, False), ((0.5, 0.82), 1.1, True),
        ((0.45, 0.05), 0.8, False), ((0.15, 0.4), 0.4, False), ((0.85, 0.4), -0.4, True),
    )[generator.integers(7)]  # fmt: skip
    size = face.size * generator.uniform(0.85, 1.1)
    palm = face.at(*(np.array(target) + generator.normal(0, 0.07, 2))) + [0, 0.22 * size]
    _draw_hand(canvas, palm, angle + generator.normal(0, 0.35), size, mirrored, face.skin, generator)


def _draw_hand(
    canvas: ShadedCanvas,
    palm: np.ndarray,
    angle: float,
    size: float,
    mirrored: bool,
    skin: np.ndarray,
    generator: np.random.Generator,
) -> None:
    """A hand seen from its back: `palm` is its middle, fingers point up turned by `angle` (radians, clockwise)."""
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    sign = -1.0 if mirrored else 1.0

    def place(across: float, up: float) -> np.ndarray:
        return palm + turn @ np.array([sign * across, -up]) * size

    skin = skin * np.exp(generator.normal(0, 0.08))
    radius = FINGER_RADIUS * size
    deep = 0.1 * size
    canvas.capsule(place(0.1, -2.4), place(0, -0.2), 0.2 * size, 0.11 * size, skin, flatness=0.7)  # the arm
    canvas.capsule(place(-0.075, -0.12), place(-0.085, 0.12), 0.10 * size, 0.10 * size, skin, base=deep, flatness=0.4)
    canvas.capsule(place(0.06, -0.12), place(0.075, 0.10), 0.11 * size, 0.10 * size, skin, base=deep, flatness=0.4)
    spread = generator.uniform(0.0, 0.35)
    bend = generator.uniform(0.0, 0.5)
    for across, length, thick in FINGERS:
        lean = spread * across / 0.145 + generator.normal(0, 0.03)
        root = np.array([across, 0.15 - 0.6 * across**2])
        joint = root + 0.5 * length * np.array([np.sin(lean), np.cos(lean)])
        curl = 1 - bend * generator.uniform(0.5, 1.0)
        tip = joint + 0.5 * length * curl * np.array([np.sin(lean), np.cos(lean)])
        own = radius * thick
        tone = skin * np.exp(generator.normal(0, 0.03))
        canvas.capsule(place(*root), place(*joint), own, 0.9 * own, tone, base=deep)
        canvas.capsule(place(*joint), place(*tip), 0.9 * own, 0.72 * own, tone * [1.03, 0.98, 0.97], base=deep)
        if generator.random() < 0.8:  # the nail
            nail = place(*(tip + 0.012 * np.array([np.sin(lean), np.cos(lean)])))
            canvas.capsule(
                nail, nail, 0.42 * own, 0.42 * own, tone * [1.12, 1.02, 1.0], base=deep + 0.7 * own, gloss=0.05
            )
    lean = generator.uniform(0.5, 1.0)
    first = np.array([-0.13, -0.06])
    second = first + 0.15 * np.array([-np.sin(lean), np.cos(lean)])
    third = second + 0.13 * np.array([-np.sin(lean * 0.5), np.cos(lean * 0.5)])
    canvas.capsule(place(*first), place(*second), 1.2 * radius, radius, skin, base=deep)
    canvas.capsule(place(*second), place(*third), radius, 0.8 * radius, skin, base=deep)


def _cup(canvas: ShadedCanvas, face: _Face, generator: np.random.Generator) -> None:
    """A mug, a glass or a paper cup at the mouth, and the fingers that hold it."""
    middle = face.at(generator.normal(0.5, 0.08), generator.uniform(0.85, 1.0))
    wide, tall = generator.uniform(0.2, 0.26) * face.size, generator.uniform(0.3, 0.5) * face.size
    lower = wide * generator.uniform(0.7, 1.0)
    tilt = generator.normal(0, 0.25)
    _vessel(canvas, middle, wide, lower, tall, tilt, _colour(generator, 0.02, 0.8))
    side = 1.0 if generator.random() < 0.5 else -1.0
    radius = FINGER_RADIUS * face.size
    for finger in range(4):
        place = middle + [side * wide * 1.05, (finger - 1.2) * 1.7 * radius]
        canvas.capsule(place + [side * 1.5 * radius, radius], place - [side * wide * 1.1, 0], radius, 0.8 * radius,
                       face.skin, base=0.9 * face.size)  # fmt: skip
    wrist = middle + [side * wide * 1.5, 0.1 * face.size]
    canvas.capsule(wrist, wrist + [side * 0.4 * face.size, 0.9 * face.size], 0.12 * face.size, 0.16 * face.size,
                   face.skin, base=0.5 * face.size, flatness=0.8)  # fmt: skip


def _vessel(
    canvas: ShadedCanvas, middle: np.ndarray, upper: float, lower: float, tall: float, tilt: float, colour: np.ndarray
) -> None:
    """A cylinder or a cone seen a little from below: half widths at its rim and its foot, in pixels."""
    height, width = canvas.cover.shape
    x = np.arange(width, dtype=np.float32)[None] + np.float32(0.5 - middle[0])
    y = np.arange(height, dtype=np.float32)[:, None] + np.float32(0.5 - middle[1])
    cosine, sine = np.float32(np.cos(tilt)), np.float32(np.sin(tilt))
    across, down = x * cosine + y * sine, -x * sine + y * cosine
    half = lower + (upper - lower) * np.clip(0.5 - down / tall, 0, 1)
    sideways = np.clip(across / half, -1, 1)
    bow = 0.12 * upper * np.sqrt(1 - sideways**2)  # rim and foot are arcs
    below_rim = down + 0.5 * tall + bow
    cover = np.clip(half - np.abs(across), 0, 1) * np.clip(below_rim, 0, 1) * np.clip(0.5 * tall - bow - down, 0, 1)
    shade = canvas.light_on(0.97 * sideways) * np.where(below_rim < 0.05 * tall, 1.15, 1.0)
    canvas.paint(cover, shade[..., None].astype(np.float32) * colour.astype(np.float32), 0.5 * upper)


def _telephone(canvas: ShadedCanvas, face: _Face, generator: np.random.Generator) -> None:
    """Held before the face as for a picture in a mirror, or at the ear."""
    at_ear = generator.random() < 0.5
    side = 1.0 if generator.random() < 0.5 else -1.0
    tall = generator.uniform(0.6, 0.75) * face.size
    wide = tall * generator.uniform(0.46, 0.52) * (0.45 if at_ear else 1.0)
    across = 0.5 + side * (generator.uniform(0.42, 0.55) if at_ear else generator.normal(0.2, 0.2))
    middle = face.at(across, generator.uniform(0.5, 0.9))
    tilt = side * generator.uniform(-0.1, 0.5) if at_ear else generator.normal(0, 0.3)
    colour = _colour(generator, 0.004, 0.08) if generator.random() < 0.7 else _colour(generator, 0.1, 0.7)
    cover = _slab(canvas, middle, wide, tall, tilt, 0.12 * wide)
    ramp = np.linspace(0.7, 1.3, cover.shape[1], dtype=np.float32)[None, :, None]
    canvas.paint(cover, ramp * colour.astype(np.float32), 0.3 * face.size)
    down, right = np.array([-np.sin(tilt), np.cos(tilt)]), np.array([np.cos(tilt), np.sin(tilt)])
    if not at_ear:
        for number in range(generator.integers(1, 4)):
            lens = middle - down * (0.4 - 0.1 * number) * tall - right * 0.3 * wide
            canvas.capsule(lens, lens, 0.06 * wide, 0.06 * wide, np.full(3, 0.01), base=0.5 * face.size, gloss=0.6)
    radius = FINGER_RADIUS * face.size
    for finger in range(4):
        place = middle + down * (finger * 1.9 * radius) + side * right * wide * 0.5
        canvas.capsule(place + side * right * radius, place - side * right * wide * generator.uniform(0.15, 0.4),
                       radius, 0.8 * radius, face.skin, base=0.6 * face.size)  # fmt: skip
    palm = middle + side * right * (0.5 * wide + radius) + down * 3 * radius
    canvas.capsule(palm, palm + np.array([side * 0.2, 1.0]) * face.size, 0.13 * face.size, 0.14 * face.size, face.skin,
                   base=0.15 * face.size, flatness=0.6)  # fmt: skip


def _slab(canvas: ShadedCanvas, middle: np.ndarray, wide: float, tall: float, tilt: float, corner: float) -> np.ndarray:
    """(H, W) float32 cover of a rectangle with round corners, turned clockwise by `tilt` radians."""
    height, width = canvas.cover.shape
    x = np.arange(width, dtype=np.float32)[None] + np.float32(0.5 - middle[0])
    y = np.arange(height, dtype=np.float32)[:, None] + np.float32(0.5 - middle[1])
    across = np.abs(x * np.float32(np.cos(tilt)) + y * np.float32(np.sin(tilt))) - (wide / 2 - corner)
    along = np.abs(-x * np.float32(np.sin(tilt)) + y * np.float32(np.cos(tilt))) - (tall / 2 - corner)
    outside = np.sqrt(np.maximum(across, 0) ** 2 + np.maximum(along, 0) ** 2)
    return np.clip(corner - outside - np.minimum(np.maximum(across, along), 0) + 0.5, 0, 1).astype(np.float32)


def _scarf(canvas: ShadedCanvas, face: _Face, generator: np.random.Generator) -> None:
    """Cloth wound round the neck and pulled up over the chin, the mouth or the nose: a few rolls over each other."""
    colour = _colour(generator, 0.01, 0.6)
    other = _colour(generator, 0.01, 0.6) if generator.random() < 0.3 else colour
    top = generator.uniform(0.55, 0.95)
    lean = generator.normal(0, 0.08)
    rolls = generator.integers(4, 6)
    for roll in range(rolls):  # from the shoulders up, each in front of the one below
        share = 1 - roll / (rolls - 1)
        half = 0.48 + 0.3 * share
        down = top + 0.15 + 0.1 * (rolls - 1) * share
        radius = face.size * generator.uniform(0.13, 0.17)
        sag = 0.08 + generator.normal(0, 0.03)
        slant = lean + generator.normal(0, 0.04)
        knots = [face.at(0.5 + half * at, down + sag * (1 - at**2) + slant * at) for at in np.linspace(-1, 1, 7)]
        tone = (colour if roll % 2 else other) * np.exp(generator.normal(0, 0.08))
        for start, end in zip(knots[:-1], knots[1:], strict=True):
            canvas.capsule(start, end, radius, radius, tone, base=(0.1 + 0.05 * roll) * face.size,
                           flatness=0.6)  # fmt: skip
    folds = 1 + 0.12 * clouds(generator, *canvas.cover.shape, generator.integers(14, 60), 2)
    canvas.colour *= np.clip(folds, 0.3, 1.7)[..., None]


def _mask(canvas: ShadedCanvas, face: _Face, generator: np.random.Generator) -> None:
    """A mask over nose and mouth, with its pleats and the loops to the ears."""
    colour = np.array([(0.35, 0.55, 0.7), (0.75, 0.75, 0.75), (0.02, 0.02, 0.02), (0.3, 0.6, 0.55)])[
        generator.choice(4, p=[0.4, 0.25, 0.25, 0.1])
    ]
    upper = generator.uniform(0.42, 0.55)
    for side in (0.02, 0.98):
        ear = face.at(side + 0.06 * np.sign(side - 0.5), 0.4)
        thin = max(0.006 * face.size, 0.6)
        canvas.capsule(ear, face.at(0.5 + 0.85 * (side - 0.5), upper + 0.12), thin, thin, colour)
        canvas.capsule(ear, face.at(0.5 + 0.8 * (side - 0.5), 0.92), thin, thin, colour)
    _cloth(canvas, face, generator, upper, colour)


def _cloth(canvas: ShadedCanvas, face: _Face, generator: np.random.Generator, upper: float, colour: np.ndarray) -> None:
    """Cloth from `upper` of the face's height to its chin, bulged over the nose, round as the head is."""
    height, width = canvas.cover.shape
    lower, half = 1.03, 0.42 * face.box[2]
    across = (np.arange(width, dtype=np.float32)[None] + 0.5 - face.at(0.5, 0.5)[0]) / half
    down = (np.arange(height, dtype=np.float32)[:, None] + 0.5 - face.box[1]) / face.size
    bump = 0.07 * np.exp(-((across / 0.35) ** 2))
    inside = np.clip((down - (upper - bump + 0.08 * across**2)) * face.size, 0, 1)
    inside = inside * np.clip((lower + 0.08 - 0.12 * across**2 - down) * face.size, 0, 1)
    share = np.clip((down - upper) / (lower - upper), 0, 1)
    inside = inside * np.clip((1 - 0.28 * share**2 - np.abs(across)) * half, 0, 1)
    pleats = np.sin(2 * np.pi * (share * generator.uniform(2, 4) + 0.02 * np.sin(4 * across)))
    shade = canvas.light_on(across.clip(-1, 1) * 0.85) * (1 + 0.12 * pleats)
    shade = shade * (1 + 0.06 * clouds(generator, height, width, 12, 2))
    canvas.paint(inside.astype(np.float32), shade[..., None].astype(np.float32) * colour.astype(np.float32), 0.05)


def _microphone(canvas: ShadedCanvas, face: _Face, generator: np.random.Generator) -> None:
    """Held below the mouth, or on a stand."""
    head = face.at(generator.normal(0.5, 0.12), generator.uniform(0.82, 1.0))
    radius = generator.uniform(0.11, 0.16) * face.size
    lean = generator.normal(0, 0.5)
    tail = head + np.array([np.sin(lean), np.cos(lean)]) * face.size * 1.2
    dark = _colour(generator, 0.004, 0.03)
    canvas.capsule(head, tail, 0.6 * radius, 0.45 * radius, dark, base=0.1 * face.size, gloss=0.1)
    silver = np.full(3, generator.uniform(0.01, 0.35))
    canvas.capsule(head, head, radius, radius, silver, base=0.4 * face.size, gloss=0.15)
    if generator.random() < 0.6:
        fist = head + 0.45 * (tail - head)
        for finger in range(4):
            place = fist + (tail - head) * 0.07 * (finger - 1.5)
            width = FINGER_RADIUS * face.size
            canvas.capsule(place - [1.6 * width, 0], place + [1.6 * width, 0], width, width, face.skin,
                           base=0.6 * face.size)  # fmt: skip
        canvas.capsule(fist + [0.05 * face.size, 0.1 * face.size], fist + [0.2 * face.size, face.size],
                       0.13 * face.size, 0.16 * face.size, face.skin, base=0.1 * face.size)  # fmt: skip


def _shape(canvas: ShadedCanvas, face: _Face, generator: np.random.Generator) -> None:
    """A plain thing of no meaning: a slab, a disc or a bar, flat or with a pattern, over some of the face."""
    height, width = canvas.cover.shape
    middle = face.at(*generator.uniform(-0.1, 1.1, 2))
    if generator.random() < 0.3:  # a post or a bar
        wide, tall = generator.uniform(0.04, 0.18) * face.size, 4 * face.size
    else:
        wide, tall = generator.uniform(0.15, 0.6, 2) * face.size
    corner = 0.5 * min(wide, tall) * generator.uniform(0.0, 1.0)
    cover = _slab(canvas, middle, wide, tall, generator.uniform(0, np.pi), corner)
    colour = np.broadcast_to(_colour(generator), (height, width, 3))
    if generator.random() < 0.6:
        share = np.clip(0.5 + 0.7 * clouds(generator, height, width, generator.integers(3, 30), 2), 0, 1)[..., None]
        colour = colour * (1 - share) + _colour(generator) * share
    canvas.paint(cover, colour, 0.1 * face.size)


def _shoulder(canvas: ShadedCanvas, face: _Face, generator: np.random.Generator) -> None:
    """The head or the shoulder of somebody nearer to the camera, at the picture's edge."""
    side = 1.0 if generator.random() < 0.5 else -1.0
    middle = face.at(0.5 + side * generator.uniform(0.75, 1.1), generator.uniform(0.7, 1.3))
    radius = generator.uniform(0.45, 0.75) * face.size
    dark = _colour(generator, 0.005, 0.1)
    canvas.capsule(middle, middle + [0, 0.3 * face.size], radius, radius, dark, flatness=0.8)
    canvas.capsule(middle + [0, 1.3 * face.size], middle + [side * face.size, 1.6 * face.size], face.size, face.size,
                   _colour(generator), flatness=0.7)  # fmt: skip


KINDS: dict[str, tuple[Callable[[ShadedCanvas, _Face, np.random.Generator], None], float]] = {
    "hand": (_hand, 0.38),
    "cup": (_cup, 0.08),
    "telephone": (_telephone, 0.1),
    "scarf": (_scarf, 0.08),
    "mask": (_mask, 0.08),
    "microphone": (_microphone, 0.08),
    "shape": (_shape, 0.13),
    "shoulder": (_shoulder, 0.07),
}
"""Name -> how it is drawn, and how often."""
