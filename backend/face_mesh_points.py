"""Which of the face mesh's 478 points is what. Right and left are the subject's own.

Middle points and pairs were measured: on 136 photographs, the points of each picture and of its mirror image that lie
on each other. They turned out to be numbered in order: the right half, then the left, in the same sequence.
"""

import numpy as np

POINT_COUNT = 478

MIDDLE = (
    0,
    1,
    2,
    4,
    5,
    6,
    8,
    9,
    10,
    11,
    12,
    13,
    14,
    15,
    16,
    17,
    18,
    19,
    94,
    151,
    152,
    164,
    168,
    175,
    195,
    197,
    199,
    200,
)
"""Points on the face's middle line."""

FIRST_LEFT = 248
FIRST_IRIS = 468


def _mirror() -> np.ndarray:
    right = [index for index in range(FIRST_LEFT) if index not in MIDDLE]
    mirror = np.arange(POINT_COUNT)
    mirror[right] = np.arange(FIRST_LEFT, FIRST_IRIS)
    mirror[FIRST_LEFT:FIRST_IRIS] = right
    mirror[FIRST_IRIS:] = (473, 476, 475, 474, 477, 468, 471, 470, 469, 472)
    return mirror


MIRROR = _mirror()
"""(478,) int: in a mirrored picture, the point that has taken each point's place."""

RIGHT_EYE_OUTER_CORNER, RIGHT_EYE_INNER_CORNER = 33, 133
LEFT_EYE_OUTER_CORNER, LEFT_EYE_INNER_CORNER = 263, 362

RIGHT_UPPER_LID = (246, 161, 160, 159, 158, 157, 173)
RIGHT_LOWER_LID = (7, 163, 144, 145, 153, 154, 155)
"""Lid margins from the outer to the inner corner, corners left out; the two lists are pairs that meet when it shuts."""
LEFT_UPPER_LID = tuple(int(index) for index in MIRROR[list(RIGHT_UPPER_LID)])
LEFT_LOWER_LID = tuple(int(index) for index in MIRROR[list(RIGHT_LOWER_LID)])

RIGHT_IRIS_CENTRE, LEFT_IRIS_CENTRE = 468, 473
RIGHT_IRIS_RIM = (469, 470, 471, 472)
LEFT_IRIS_RIM = (474, 475, 476, 477)

UPPER_INNER_LIP = (191, 80, 81, 82, 13, 312, 311, 310, 415)
LOWER_INNER_LIP = (95, 88, 178, 87, 14, 317, 402, 318, 324)
"""Where the lips meet, from the right corner to the left, corners left out; pairs that part when the mouth opens."""
