"""The square crop round a face that Deep3D's regressors see, and the way back to the photograph.

Deng et al., "Accurate 3D Face Reconstruction with Weakly-Supervised Learning", CVPR Workshops 2019: five points of the
face are laid on a template by a least-squares affine camera; its scale and shift choose the crop, its turn is not used.
So the crop is the photograph moved and scaled, never turned, and a camera of one becomes a camera of the other by its
intrinsics alone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from backend.picture_regions import Picture, Region
from backend.rendering.camera import Camera

TEMPLATE = np.array(
    [
        [-0.3115, 0.2904, 0.1338],
        [0.3098, 0.2897, 0.1318],
        [0.0033, -0.0462, 0.5524],
        [-0.2522, -0.3813, 0.2241],
        [0.2485, -0.3813, 0.2224],
    ]
)
"""(5, 3) decimetres, y up: eye in the left of the picture, the other eye, nose, mouth's left and right corner."""

SCALE_AT_224 = 102.0
"""Pixels per decimetre of the template in a crop of 224 pixels."""

_TERMS = np.column_stack([TEMPLATE, np.ones(len(TEMPLATE))])


@dataclass(frozen=True)
class AlignedCrop:
    """Which part of a photograph a crop shows: crop = (photograph - (left, top)) * scale, pixels from the corner.

    Attributes:
        scale: crop pixels per pixel of the photograph.
        left, top: pixels of the photograph; the crop may reach beyond its border.
        size: side of the crop in its own pixels.
    """

    scale: float
    left: float
    top: float
    size: int

    def points_in(self, points: np.ndarray) -> np.ndarray:
        """(..., 2) pixels of the photograph to pixels of the crop."""
        return (np.asarray(points) - [self.left, self.top]) * self.scale

    def points_out(self, points: np.ndarray) -> np.ndarray:
        """(..., 2) pixels of the crop to pixels of the photograph."""
        return np.asarray(points) / self.scale + [self.left, self.top]

    def image(self, photograph: np.ndarray) -> np.ndarray:
        """The crop of a photograph (H, W, 3) uint8 sRGB: (size, size, 3) uint8, evenly filtered.

        Beyond the photograph its border goes on: a network that never saw a black edge is to see none.
        """
        side = self.size / self.scale
        region = Region(np.array([self.left, self.top]) + side / 2, side)
        return Picture(photograph).crop(region, self.size, cv2.BORDER_REPLICATE)

    def labels(self, labels: np.ndarray) -> np.ndarray:
        """The crop of a label image (H, W) uint8 by nearest neighbours: (size, size) uint8, 0 outside."""
        middle = 0.5 / self.scale - 0.5  # OpenCV counts pixel centres from 0
        matrix = np.array([[1 / self.scale, 0, self.left + middle], [0, 1 / self.scale, self.top + middle]])
        return cv2.warpAffine(
            np.ascontiguousarray(labels),
            matrix,
            (self.size, self.size),
            flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_CONSTANT,
        )

    def camera_in(self, camera: Camera) -> Camera:
        """The camera of the crop from that of the photograph; the pose stays."""
        (cx, cy), scale = self.points_in([camera.cx, camera.cy]), self.scale
        return replace(
            camera, fx=camera.fx * scale, fy=camera.fy * scale, cx=cx, cy=cy, width=self.size, height=self.size
        )

    def camera_out(self, camera: Camera, width: int, height: int) -> Camera:
        """The camera of the photograph, `width` x `height` pixels, from that of the crop; the pose stays."""
        (cx, cy), scale = self.points_out([camera.cx, camera.cy]), self.scale
        return replace(camera, fx=camera.fx / scale, fy=camera.fy / scale, cx=cx, cy=cy, width=width, height=height)


def five_points(landmarks68: np.ndarray) -> np.ndarray:
    """The points of the template: (68, 2) pixels in iBUG order to (5, 2)."""
    points = np.asarray(landmarks68, dtype=np.float64)
    right_eye, left_eye = points[[36, 39]].mean(0), points[[42, 45]].mean(0)
    return np.stack([right_eye, left_eye, points[30], points[48], points[54]])


def align(landmarks68: np.ndarray, size: int = 224) -> AlignedCrop:
    """The crop of a face.

    Args:
        landmarks68: (68, 2) pixels of the photograph, iBUG order.
        size: side of the crop in pixels.

    Raises:
        ValueError: the landmarks are not (68, 2) finite numbers, or lie on one another.
    """
    landmarks68 = np.asarray(landmarks68, dtype=np.float64)
    if landmarks68.shape != (68, 2) or not np.isfinite(landmarks68).all():
        raise ValueError(f"A crop needs (68, 2) finite landmarks, not {landmarks68.shape}.")
    five = five_points(landmarks68) * [1.0, -1.0]  # y up, as the template
    affine = np.linalg.lstsq(_TERMS, five, rcond=None)[0]  # (4, 2): a row per axis of the template, then the shift
    pixels_per_decimetre = float(np.linalg.norm(affine[:3], axis=0).mean())
    if pixels_per_decimetre < 1e-6:
        raise ValueError("The landmarks of a crop lie on one another.")
    scale = SCALE_AT_224 * size / 224 / pixels_per_decimetre
    centre = affine[3] * [1.0, -1.0]
    left, top = centre - size / scale / 2
    return AlignedCrop(scale, float(left), float(top), size)
