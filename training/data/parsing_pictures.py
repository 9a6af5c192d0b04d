"""How the ten classes look in pictures for people."""

import numpy as np

PARSING_COLOURS = np.array(
    [
        (0, 0, 0), (224, 172, 136), (255, 96, 0), (0, 128, 255), (255, 255, 0),
        (0, 255, 255), (120, 220, 120), (150, 0, 60), (255, 0, 160), (255, 120, 220),
    ],
    np.uint8,
)  # fmt: skip
"""(10, 3) sRGB by `PARSING_CLASSES`."""
PICTURE_SHARE = 0.35


def coloured_by_class(image: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """A picture with the colours of its classes over it.

    Args:
        image: (..., H, W, 3) uint8 sRGB.
        labels: (..., H, W) integers, index in `PARSING_CLASSES`.

    Returns:
        (..., H, W, 3) uint8.
    """
    return (image * PICTURE_SHARE + PARSING_COLOURS[labels] * (1 - PICTURE_SHARE)).astype(np.uint8)
