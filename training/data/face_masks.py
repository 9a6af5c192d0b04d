"""The ten parsing classes drawn from landmarks, for photographs whose pixels nobody has labelled.

They follow the outlines of the landmarks: hair, hands and glasses in front of the face are not left out.
"""

from __future__ import annotations

import cv2
import numpy as np

from training.data.labels import LEFT_BROW, RIGHT_BROW
from training.data.sample import PARSING_CLASSES

FOREHEAD_SHARE = 0.75
"""How far the face goes on above the brows, over the length of the nose, where no landmark says it."""
BROW_WIDTH_SHARE = 0.045
"""Of a brow that is only a line, over the distance of the outer eye corners, half its width."""
NOSE = (168, 122, 174, 198, 48, 64, 98, 97, 2, 326, 327, 294, 278, 420, 399, 351)
FACE_POINTS = 468
"""The first of the 478; the others are the irises."""
UPPER_LIP = (48, 49, 50, 51, 52, 53, 54, 64, 63, 62, 61, 60)
LOWER_LIP = (48, 60, 67, 66, 65, 64, 54, 55, 56, 57, 58, 59)
SUBDIVISION = 4
"""Bits of a pixel's fraction that OpenCV is told."""


def parsing_of_landmarks(points68: np.ndarray, points478: np.ndarray | None, size: int) -> np.ndarray:
    """(size, size) uint8, index in `PARSING_CLASSES`.

    Args:
        points68: (68, 2) pixels, iBUG order.
        points478: (478, 2) pixels, MediaPipe's order; without them forehead and brows are guessed.
    """
    label = {name: number for number, name in enumerate(PARSING_CLASSES)}
    drawn = np.zeros((size, size), np.uint8)
    if points478 is not None:
        _fill(drawn, cv2.convexHull(points478[:FACE_POINTS].astype(np.float32))[:, 0], label["skin"])
        _fill(drawn, points478[list(NOSE)], label["nose"])
        _fill(drawn, points478[list(LEFT_BROW)], label["left_brow"])
        _fill(drawn, points478[list(RIGHT_BROW)], label["right_brow"])
    else:
        _fill(drawn, cv2.convexHull(_with_forehead(points68).astype(np.float32))[:, 0], label["skin"])
        _fill(drawn, points68[[27, 31, 32, 33, 34, 35]], label["nose"])
        width = max(1, round(2 * BROW_WIDTH_SHARE * float(np.linalg.norm(points68[45] - points68[36]))))
        for brow, name in ((points68[22:27], "left_brow"), (points68[17:22], "right_brow")):
            cv2.polylines(drawn, [np.round(brow).astype(np.int32)], False, label[name], width)
    _fill(drawn, points68[42:48], label["left_eye"])
    _fill(drawn, points68[36:42], label["right_eye"])
    _fill(drawn, points68[60:68], label["mouth"])
    _fill(drawn, points68[list(UPPER_LIP)], label["upper_lip"])
    _fill(drawn, points68[list(LOWER_LIP)], label["lower_lip"])
    return drawn


def _with_forehead(points68: np.ndarray) -> np.ndarray:
    up = (points68[27] - points68[33]) * FOREHEAD_SHARE
    return np.concatenate([points68, points68[17:27] + up])


def _fill(drawn: np.ndarray, outline: np.ndarray, value: int) -> None:
    scaled = np.round((np.asarray(outline) - 0.5) * 2**SUBDIVISION).astype(np.int32)
    cv2.fillPoly(drawn, [scaled], value, shift=SUBDIVISION)
