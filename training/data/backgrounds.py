"""What is behind a person: studio walls, rooms, leaves, lights at night, streets, mostly out of focus.

Drawn small, blurred, then enlarged: what is out of focus has no fine detail to lose.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from training.data.clouds import clouds

CANVAS = 96
"""Longer side of what is drawn before it is enlarged, in pixels."""


def random_background(generator: np.random.Generator, height: int, width: int) -> np.ndarray:
    """A background.

    Args:
        generator: the only source of chance.
        height, width: of the picture in pixels.

    Returns:
        (H, W, 3) float32 linear light, from 0 to about 1; lamps and windows may be brighter.
    """
    names = list(KINDS)
    shares = np.array([share for _, share in KINDS.values()])
    make, _ = KINDS[names[generator.choice(len(names), p=shares / shares.sum())]]
    scale = CANVAS / max(height, width)
    rows, columns = max(round(height * scale), 8), max(round(width * scale), 8)
    small = make(generator, rows, columns)
    small = cv2.GaussianBlur(small, (0, 0), float(np.exp(generator.uniform(np.log(0.6), np.log(3.5)))))
    large = cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)
    if scale < 1:  # the grid of the small picture must not show
        large = cv2.GaussianBlur(large, (0, 0), 0.5 / scale)
    return np.clip(large, 0.0, 3.0)


def _colour(generator: np.random.Generator, saturation: float = 0.25, low: float = 0.03, high: float = 0.75):
    """(3,) linear, of a level between `low` and `high`, evenly in stops."""
    level = np.exp(generator.uniform(np.log(low), np.log(high)))
    hue = 1 + saturation * generator.uniform(-1, 1, 3)
    return (level * hue / hue.mean()).astype(np.float32)


def _studio(generator: np.random.Generator, rows: int, columns: int) -> np.ndarray:
    """A plain wall, brighter where a lamp falls on it; most are white or grey."""
    wall = _colour(generator, generator.uniform(0.0, 0.15), 0.08, 0.9)
    if generator.random() < 0.25:
        wall = _colour(generator, 0.8, 0.03, 0.5)
    middle = generator.uniform([0.0, 0.1], [1.0, 1.0]) * [rows, columns]
    row, column = np.mgrid[:rows, :columns]
    distance = ((row - middle[0]) ** 2 + (column - middle[1]) ** 2) / max(rows, columns) ** 2
    fall = 1 - generator.uniform(0.0, 0.75) * np.minimum(distance * generator.uniform(0.5, 3.0), 1.0)
    return (wall * fall[..., None]).astype(np.float32) * (1 + 0.03 * clouds(generator, rows, columns, 4)[..., None])


def _gradient(generator: np.random.Generator, rows: int, columns: int) -> np.ndarray:
    """Two or four colours that run into each other: sky, water, a far wall."""
    low, high = _colour(generator, 0.4), _colour(generator, 0.4)
    corners = np.stack([np.stack([low, low]), np.stack([high, high])])
    corners = corners * generator.uniform(0.7, 1.3, (2, 2, 1))
    if generator.random() < 0.5:
        corners = corners[::-1]
    return cv2.resize(corners.astype(np.float32), (columns, rows), interpolation=cv2.INTER_LINEAR)


def _room(generator: np.random.Generator, rows: int, columns: int) -> np.ndarray:
    """Walls, a floor, furniture, pictures, sometimes a window or a lamp."""
    picture = np.empty((rows, columns, 3), np.float32)
    picture[:] = _colour(generator, 0.2, 0.08, 0.6)
    corner = generator.uniform(-0.3, 1.3) * columns
    if 0 < corner < columns:  # another wall, lit otherwise
        picture[:, int(corner) :] *= generator.uniform(0.5, 1.5)
    floor = int(rows * generator.uniform(0.7, 1.1))
    picture[floor:] = _colour(generator, 0.3, 0.03, 0.3)
    for _ in range(generator.integers(3, 10)):
        _block(picture, generator, _colour(generator, 0.5, 0.01, 0.7), 0.05, 0.4, 0.08, 0.6)
    if generator.random() < 0.45:
        _block(picture, generator, _colour(generator, 0.1, 0.8, 3.0), 0.12, 0.4, 0.2, 0.6)
    if generator.random() < 0.35:  # shelves of books
        top, left = (generator.uniform(0, 0.6, 2) * [rows, columns]).astype(int)
        for shelf in range(generator.integers(1, 5)):
            upper = top + shelf * rows // 7
            column = left
            while column < min(left + columns // 2, columns):
                thick = int(generator.integers(1, 5))
                picture[upper : upper + rows // 9, column : column + thick] = _colour(generator, 0.8, 0.01, 0.5)
                column += thick
    shade = 1 + generator.uniform(0.1, 0.4) * clouds(generator, rows, columns, 3)
    return picture * shade[..., None]


def _foliage(generator: np.random.Generator, rows: int, columns: int) -> np.ndarray:
    """Leaves with sun between them, above a lawn or not."""
    leaves = clouds(generator, rows, columns, generator.integers(8, 20), octaves=3)
    dark = _colour(generator, 0.1, 0.01, 0.06) * np.array([0.7, 1.3, 0.45], np.float32)
    bright = _colour(generator, 0.1, 0.1, 0.5) * np.array([0.85, 1.25, 0.4], np.float32)
    share = np.clip(0.5 + 0.5 * leaves, 0, 1)[..., None]
    picture = dark * (1 - share) + bright * share
    if generator.random() < 0.6:  # the sky shines through
        gaps = clouds(generator, rows, columns, generator.integers(6, 16), octaves=2)
        through = np.clip((gaps - generator.uniform(0.5, 1.0)) * 4, 0, 1)[..., None]
        picture = picture * (1 - through) + _colour(generator, 0.15, 0.6, 1.6) * through
    if generator.random() < 0.4:
        lawn = int(rows * generator.uniform(0.5, 0.9))
        picture[lawn:] = picture[lawn:] * 0.3 + bright * 0.6
    return picture.astype(np.float32)


def _lights(generator: np.random.Generator, rows: int, columns: int) -> np.ndarray:
    """Lamps far away in the dark, as discs."""
    picture = np.empty((rows, columns, 3), np.float32)
    picture[:] = _colour(generator, 0.4, 0.004, 0.08)
    picture *= 1 + 0.5 * clouds(generator, rows, columns, 3)[..., None]
    radius = generator.uniform(0.015, 0.06) * max(rows, columns)
    for _ in range(generator.integers(8, 40)):
        disc = np.zeros((rows, columns), np.float32)
        place = generator.uniform(0, [columns, rows])
        cv2.circle(disc, (int(place[0] * 16), int(place[1] * 16)), int(radius * generator.uniform(0.7, 1.1) * 16), 1.0,
                   -1, cv2.LINE_AA, 4)  # fmt: skip
        picture += disc[..., None] * _colour(generator, 0.7, 0.05, 0.9)
    return picture


def _street(generator: np.random.Generator, rows: int, columns: int) -> np.ndarray:
    """House fronts with rows of windows, sky above, a road below."""
    picture = np.empty((rows, columns, 3), np.float32)
    picture[:] = _colour(generator, 0.1, 0.4, 1.3) * np.array([0.85, 0.97, 1.15], np.float32)
    ground = int(rows * generator.uniform(0.65, 0.95))
    left = -int(generator.integers(0, columns // 4))
    while left < columns:
        wide = int(generator.uniform(0.15, 0.5) * columns)
        top = int(rows * generator.uniform(-0.3, 0.4))
        front = _colour(generator, 0.25, 0.05, 0.5)
        start, stop = max(left, 0), max(left + wide, 0)
        picture[max(top, 0) : ground, start:stop] = front
        storey, axis = generator.integers(5, 13, 2)
        pane = _colour(generator, 0.3, 0.01, 0.9)
        for row in range(top + 2, ground, storey):
            for column in range(left + 2, left + wide - 2, axis):
                if row >= 0 and column >= 0:
                    picture[row : row + storey // 2, column : min(column + axis // 2, stop)] = pane
        left += wide
    picture[ground:] = _colour(generator, 0.1, 0.05, 0.3)
    for _ in range(generator.integers(0, 5)):  # cars, passers-by, signs
        _block(picture, generator, _colour(generator, 0.8, 0.01, 0.6), 0.05, 0.3, 0.08, 0.35, 0.5)
    return picture


def _texture(generator: np.random.Generator, rows: int, columns: int) -> np.ndarray:
    """Bricks, tiles, curtains: a wall with a pattern."""
    base, other = _colour(generator, 0.35, 0.04, 0.5), _colour(generator, 0.35, 0.04, 0.5)
    row, column = np.mgrid[:rows, :columns]
    if generator.random() < 0.5:
        tall, wide = generator.integers(4, 12), generator.integers(8, 24)
        shift = (row // tall % 2) * wide // 2 if generator.random() < 0.6 else 0
        number = row // tall * 37 + (column + shift) // wide
        shade = generator.uniform(0.75, 1.25, 4096)[number % 4096]
        joint = ((row % tall == 0) | ((column + shift) % wide == 0)).astype(np.float32)[..., None]
        picture = base * shade[..., None] * (1 - joint) + other * joint
    else:
        fold = np.sin(column / generator.uniform(1.5, 8.0) + 0.8 * clouds(generator, rows, columns, 3))
        picture = base * (1 + generator.uniform(0.1, 0.5) * fold[..., None])
    return (picture * (1 + 0.2 * clouds(generator, rows, columns, 5)[..., None])).astype(np.float32)


def _block(
    picture: np.ndarray,
    generator: np.random.Generator,
    colour: np.ndarray,
    least_width: float,
    most_width: float,
    least_height: float,
    most_height: float,
    highest: float = 0.0,
) -> None:
    """A rectangle in place, its sides as shares of the picture's, not above `highest`."""
    rows, columns = picture.shape[:2]
    wide = generator.uniform(least_width, most_width) * columns
    tall = generator.uniform(least_height, most_height) * rows
    left, top = generator.uniform([-0.5 * wide, highest * rows], [columns - 0.5 * wide, rows - 0.5 * tall])
    picture[max(int(top), 0) : max(int(top + tall), 0), max(int(left), 0) : max(int(left + wide), 0)] = colour


KINDS: dict[str, tuple[Callable[[np.random.Generator, int, int], np.ndarray], float]] = {
    "studio": (_studio, 0.3),
    "gradient": (_gradient, 0.08),
    "room": (_room, 0.24),
    "foliage": (_foliage, 0.12),
    "lights": (_lights, 0.06),
    "street": (_street, 0.12),
    "texture": (_texture, 0.08),
}
"""Name -> how it is drawn, and how often."""
