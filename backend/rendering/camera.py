"""Pinhole cameras in the OpenCV convention, their JSON form, and a scaled orthographic view. Numpy only.

Camera axes: x right, y down, z forward. Pixels: origin at the top left corner of the image, x right, y down, centres
at half integers, so that an image of `width` pixels spans [0, width]. World to camera: x_camera = R @ x_world + t.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

FILM_DIAGONAL_MM = 43.26661530556787
"""Diagonal of the 36 mm x 24 mm frame of 35 mm film."""


def focal_from_35mm(focal_35mm: float, width: int, height: int) -> float:
    """Focal length in pixels of an image from its 35 mm equivalent in millimetres.

    Exif's `FocalLengthIn35mmFilm` is the focal length that gives the same *diagonal* angle of view on 35 mm film (CIPA
    DCG-001 defines it so, because sensors of 4:3, 3:2 and 16:9 have no side in common). So the diagonal of the image
    stands for 43.27 mm. The other custom, image width = 36 mm, agrees with it for 3:2 landscape images only, and is
    off by half in portrait format. An image that was cropped after it was taken has lost its equivalence.

    Args:
        focal_35mm: millimetres, above zero.
        width, height: of the uncropped image, pixels.

    Returns:
        Pixels.

    Raises:
        ValueError: the focal length is not a positive number.
    """
    if not focal_35mm > 0:
        raise ValueError(f"A focal length must be above zero, not {focal_35mm}.")
    return float(focal_35mm) / FILM_DIAGONAL_MM * float(np.hypot(width, height))


def focal_to_35mm(focal_pixels: float, width: int, height: int) -> float:
    """The inverse of `focal_from_35mm`: millimetres from pixels."""
    return float(focal_pixels) * FILM_DIAGONAL_MM / float(np.hypot(width, height))


@dataclass
class Camera:
    """A pinhole camera with square or oblong pixels and no lens distortion.

    Attributes:
        fx, fy: focal lengths in pixels.
        cx, cy: principal point in pixels, from the top left corner of the image.
        width, height: pixels.
        rotation: (3, 3) float64, world to camera.
        translation: (3,) float64, world to camera, metres.
    """

    fx: float
    fy: float
    cx: float
    cy: float
    width: int
    height: int
    rotation: np.ndarray = field(default_factory=lambda: np.diag([1.0, -1.0, -1.0]))
    translation: np.ndarray = field(default_factory=lambda: np.zeros(3))

    def __post_init__(self) -> None:
        self.fx, self.fy, self.cx, self.cy = (float(value) for value in (self.fx, self.fy, self.cx, self.cy))
        self.width, self.height = int(self.width), int(self.height)
        self.rotation = np.asarray(self.rotation, dtype=np.float64)
        self.translation = np.asarray(self.translation, dtype=np.float64).reshape(-1)
        if self.rotation.shape != (3, 3) or self.translation.shape != (3,):
            raise ValueError(
                f"A camera needs a (3, 3) rotation and a (3,) translation, not {self.rotation.shape} and "
                f"{self.translation.shape}."
            )

    @classmethod
    def from_35mm(
        cls,
        focal_35mm: float,
        width: int,
        height: int,
        rotation: np.ndarray | None = None,
        translation: np.ndarray | None = None,
    ) -> Camera:
        """A camera with its principal point at the centre of the image, from a 35 mm equivalent focal length in mm."""
        focal = focal_from_35mm(focal_35mm, width, height)
        camera = cls(focal, focal, width / 2, height / 2, width, height)
        return camera.with_pose(
            camera.rotation if rotation is None else rotation,
            camera.translation if translation is None else translation,
        )

    @classmethod
    def orbit(
        cls,
        yaw: float,
        pitch: float,
        distance: float,
        width: int,
        height: int | None = None,
        focal_35mm: float | None = None,
        focal_pixels: float | None = None,
        target: np.ndarray | tuple[float, float, float] = (0.0, 0.0, 0.0),
    ) -> Camera:
        """A camera on a sphere round the head, looking at `target`, upright.

        Args:
            yaw: radians; 0 looks into the face, positive yaw moves the camera towards the subject's left (+X).
            pitch: radians; positive pitch moves the camera up (+Y).
            distance: metres from the target.
            width, height: pixels; a square without `height`.
            focal_35mm, focal_pixels: millimetres or pixels; without either 85 mm.
            target: (3,) metres in model space.
        """
        height = width if height is None else height
        focal = focal_pixels if focal_pixels else focal_from_35mm(focal_35mm or 85.0, width, height)
        direction = np.array([np.sin(yaw) * np.cos(pitch), np.sin(pitch), np.cos(yaw) * np.cos(pitch)])
        target = np.asarray(target, dtype=np.float64)
        rotation, translation = look_at(target + distance * direction, target)
        return cls(focal, focal, width / 2, height / 2, width, height, rotation, translation)

    def with_pose(self, rotation: np.ndarray, translation: np.ndarray) -> Camera:
        """The same lens and image elsewhere: (3, 3) and (3,) world to camera."""
        return Camera(self.fx, self.fy, self.cx, self.cy, self.width, self.height, rotation, translation)

    def cropped(self, left: float, top: float, width: int, height: int) -> Camera:
        """The camera of the part of the image that starts at (left, top), in pixels."""
        return Camera(
            self.fx,
            self.fy,
            self.cx - left,
            self.cy - top,
            width,
            height,
            self.rotation.copy(),
            self.translation.copy(),
        )

    def resized(self, width: int, height: int) -> Camera:
        """The camera of the whole image scaled to another size in pixels."""
        x, y = width / self.width, height / self.height
        return Camera(
            self.fx * x,
            self.fy * y,
            self.cx * x,
            self.cy * y,
            width,
            height,
            self.rotation.copy(),
            self.translation.copy(),
        )

    @property
    def position(self) -> np.ndarray:
        """(3,) float64, where the camera stands in the world, metres."""
        return -self.rotation.T @ self.translation

    @property
    def intrinsics(self) -> np.ndarray:
        """(4,) float64: fx, fy, cx, cy, as the rasterizer takes them."""
        return np.array([self.fx, self.fy, self.cx, self.cy])

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width) pixels, as the rasterizer takes them."""
        return self.height, self.width

    def to_camera(self, points: np.ndarray) -> np.ndarray:
        """(..., 3) world points, metres, in camera coordinates."""
        return np.asarray(points, dtype=np.float64) @ self.rotation.T + self.translation

    def project(self, points: np.ndarray) -> np.ndarray:
        """(..., 3) world points, metres, to (..., 2) pixels. Points at or behind the camera give no useful pixel."""
        camera = self.to_camera(points)
        with np.errstate(divide="ignore", invalid="ignore"):
            plane = camera[..., :2] / camera[..., 2:]
        return plane * [self.fx, self.fy] + [self.cx, self.cy]

    def to_json(self) -> dict[str, Any]:
        """Plain numbers and lists, with the field names of `head.json`."""
        return {
            "fx": self.fx,
            "fy": self.fy,
            "cx": self.cx,
            "cy": self.cy,
            "width": self.width,
            "height": self.height,
            "rotation": self.rotation.tolist(),
            "translation": self.translation.tolist(),
        }

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> Camera:
        """The inverse of `to_json`.

        Raises:
            KeyError: a field is missing.
            ValueError: rotation or translation has the wrong shape.
        """
        names = ("fx", "fy", "cx", "cy", "width", "height", "rotation", "translation")
        return cls(**{name: record[name] for name in names})


def look_at(
    position: np.ndarray, target: np.ndarray, up: np.ndarray | tuple[float, float, float] = (0.0, 1.0, 0.0)
) -> tuple[np.ndarray, np.ndarray]:
    """World-to-camera rotation (3, 3) and translation (3,) of a camera at `position` that looks at `target`.

    Args:
        position, target, up: (3,) in the world; `up` points up in the image and is not parallel to the line of sight.

    Raises:
        ValueError: the camera stands on its target, or looks along `up`.
    """
    position, target, up = (np.asarray(value, dtype=np.float64) for value in (position, target, up))
    forward = target - position
    right = np.cross(forward, up)
    if np.linalg.norm(right) <= 1e-12 * np.linalg.norm(up):
        raise ValueError("A camera cannot look at its own place or along its up direction.")
    forward /= np.linalg.norm(forward)
    right /= np.linalg.norm(right)
    rotation = np.stack([right, np.cross(forward, right), forward])
    return rotation, -rotation @ position


def frontal_orthographic(
    points: np.ndarray, pixels_per_metre: float, size: int, centre: np.ndarray | tuple[float, float, float] = (0, 0, 0)
) -> tuple[np.ndarray, np.ndarray]:
    """A parallel projection straight into the face (along -Z), as input for `rasterizer.rasterize_screen`.

    Args:
        points: (..., 3) model space, metres.
        pixels_per_metre: scale.
        size: side of the square image, pixels.
        centre: (3,) metres, the point in the middle of the image.

    Returns:
        (..., 2) float64 pixels, and (...,) float64 depth in metres along the line of sight, zero at `centre`, growing
        away from the viewer.
    """
    offset = np.asarray(points, dtype=np.float64) - np.asarray(centre, dtype=np.float64)
    screen = offset[..., :2] * [pixels_per_metre, -pixels_per_metre] + size / 2
    return screen, -offset[..., 2]
