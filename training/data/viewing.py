"""From where a synthetic picture is taken: side, tilt, distance, focal length, and where the face lies in it."""

from dataclasses import dataclass

import numpy as np

from backend.rendering.camera import Camera, focal_from_35mm

LARGEST_YAW_DEGREES = 80.0
SHORTEST_DISTANCE_M = 0.28
LONGEST_DISTANCE_M = 6.0
FACE_HEIGHT_M = 0.19
"""From the hairline to the chin."""
FACE_MIDDLE_M = np.array([0.0, -0.03, 0.0])
"""From the point between the eyes to the middle of the face."""


@dataclass(frozen=True)
class View:
    """A camera and what was chosen for it.

    Attributes:
        camera: of the picture.
        yaw, pitch, roll: degrees; positive yaw shows the head's left side, positive pitch looks down on it, positive
            roll turns the head clockwise in the picture.
        focal_35mm: equivalent focal length in mm of the whole photograph.
        crop: side of the whole photograph over the side of this picture.
        distance: metres from the camera to the middle of the face.
    """

    camera: Camera
    yaw: float
    pitch: float
    roll: float
    focal_35mm: float
    crop: float
    distance: float


def random_view(generator: np.random.Generator, size: int, yaw_degrees: float | None = None) -> View:
    """A portrait from somewhere.

    The face takes 40 to 62 % of the picture's height. Yaw lies within 45 degrees in four pictures of five, up to
    `LARGEST_YAW_DEGREES` in the rest; focal lengths are spread evenly in logarithm from 24 to 135 mm, and the picture
    may be a part of the whole photograph, as a crop round a face is.

    Args:
        size: side of the square picture in pixels.
        yaw_degrees: instead of a random one.
    """
    if yaw_degrees is None:
        narrow = generator.random() < 0.72
        yaw_degrees = (
            generator.normal(0, 20) if narrow else generator.uniform(-LARGEST_YAW_DEGREES, LARGEST_YAW_DEGREES)
        )
    yaw = float(np.clip(yaw_degrees, -LARGEST_YAW_DEGREES, LARGEST_YAW_DEGREES))
    pitch = float(np.clip(generator.normal(0, 11), -38, 38))
    roll = float(generator.normal(0, 6))
    focal_35mm = float(np.exp(generator.uniform(np.log(24.0), np.log(135.0))))
    crop = float(np.exp(generator.uniform(0.0, np.log(4.0))))
    share = generator.uniform(0.40, 0.62)
    focal = focal_from_35mm(focal_35mm, size, size) * crop
    distance = float(np.clip(focal * FACE_HEIGHT_M / (share * size), SHORTEST_DISTANCE_M, LONGEST_DISTANCE_M))
    focal = share * size / FACE_HEIGHT_M * distance
    focal_35mm *= focal / (focal_from_35mm(focal_35mm, size, size) * crop)
    camera = Camera.orbit(np.radians(yaw), np.radians(pitch), distance, size, focal_pixels=focal, target=FACE_MIDDLE_M)
    camera = rolled(camera, roll)
    # The face off the middle of the picture: the picture was cut out of a larger one.
    shift = np.clip(generator.normal(0, 0.045, 2), -0.11, 0.11) * size
    return View(camera.cropped(*shift, size, size), yaw, pitch, roll, focal_35mm, crop, distance)


def rolled(camera: Camera, degrees: float) -> Camera:
    """The camera turned about its line of sight so that what it sees turns clockwise by `degrees`."""
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    turn = np.array([[cosine, -sine, 0.0], [sine, cosine, 0.0], [0.0, 0.0, 1.0]])
    return camera.with_pose(turn @ camera.rotation, turn @ camera.translation)
