"""The 101 points in space that DF-MVR's 3D landmark loss compares, and which of iBUG's 68 they are.

Zhao et al., "From 2D Images to 3D Model: Weakly Supervised Multi-View Face Reconstruction with Deep Fusion", ICME 2025,
section 4.3. The order is that of Pixel-Face's 106 points without five of them; the published code names a vertex of the
Basel face model for each.
"""

import numpy as np

PIXEL_FACE_POINTS = 106
NOT_COMPARED = (3, 15, 17, 25, 27)
"""Rows of Pixel-Face's 106 points that have no vertex in the published table."""
COUNT = PIXEL_FACE_POINTS - len(NOT_COMPARED)
SEVEN = (47, 50, 53, 56, 41, 79, 85)
"""Of the 101 those that align two faces: eye corners from the subject's right, tip of the nose, mouth corners."""
SEVEN_OF_68 = (36, 39, 42, 45, 30, 48, 54)
"""The same places among the 68 landmarks. NoW's seven have the nose's base, 33, in place of its tip."""
BFM_VERTICES = (
    16644, 16758, 16888, 16467, 16357, 16264, 16275, 32244, 32634, 32939, 33169, 33375, 33526, 33654, 33838, 34022,
    34175, 34312, 34559, 34766, 35075, 35472, 27816, 27608, 27338, 27208, 27329, 27440, 28111, 28787, 29177, 29382,
    29549, 30288, 30454, 30662, 31056, 31716, 8161, 8177, 8187, 8192, 6515, 7243, 8204, 9163, 9883, 2215, 3500, 5181,
    5828, 4932, 3382, 10455, 11225, 12771, 14065, 12911, 11365, 2838, 4515, 5547, 6318, 9931, 10690, 11852, 13399, 4404,
    4157, 4280, 11997, 12138, 12132, 7202, 9241, 6248, 9987, 5357, 10887, 5522, 6025, 7495, 8215, 8935, 10395, 10795,
    9555, 8836, 8236, 7636, 6915, 5909, 7384, 8223, 9064, 10537, 8829, 8229, 7629, 4280, 11745,
)  # fmt: skip
"""Vertices of the Basel face model's front (35,709 vertices, `BFM_model_front.mat`), counted from 0. 4280 is there
twice, as in the published table."""
ROWS_OF_68 = {
    **dict(zip(range(17), (0, 2, 3, 5, 7, 9, 11, 13, 14, 15, 17, 19, 21, 22, 23, 25, 27), strict=True)),
    **dict(zip(range(17, 36), (*range(28, 33), *range(33, 47)), strict=True)),
    **{36: 47, 39: 50, 42: 53, 45: 56},
    **dict(zip(range(48, 68), range(79, 99), strict=True)),
}
"""Landmark of the 68 to row of the 101 that is the same vertex: all but the eight of the lids. Landmark 45 is the
neighbouring vertex (14066)."""


def landmarks68_of_101(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The 68 landmarks as far as the 101 points say them: what a face model without those vertices is compared with.

    Args:
        points: (..., 101, 3) float.

    Returns:
        (..., 68, 3) of the same dtype, 0 where unknown, and (68,) bool, which are known.

    Raises:
        ValueError: not 101 points.
    """
    points = np.asarray(points)
    if points.shape[-2:] != (COUNT, 3):
        raise ValueError(f"Expected (..., {COUNT}, 3) points, got {points.shape}.")
    known = np.zeros(68, bool)
    known[list(ROWS_OF_68)] = True
    found = np.zeros((*points.shape[:-2], 68, 3), points.dtype)
    found[..., list(ROWS_OF_68), :] = points[..., list(ROWS_OF_68.values()), :]
    return found, known
