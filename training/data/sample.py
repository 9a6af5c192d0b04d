"""One synthetic picture and everything that is known of it."""

from dataclasses import dataclass, field

import numpy as np

from backend.face_parsing import PARSING_CLASSES as PARSING_CLASSES
from backend.rendering.camera import Camera

EYE_STATES = ("open", "half", "shut", "squint", "wide")
"""What one eye does; a wink is one eye shut and the other not."""
SIDES = ("left", "right")


@dataclass(frozen=True)
class DenseLabels:
    """What is known of every pixel, and the fine shape.

    Attributes:
        depth: (H, W) float32 metres along the camera's axis; 0 where there is no head.
        normals: (H, W, 3) float32 unit vectors in camera axes (x right, y down, z forward), wrinkles included; 0
            where there is no head.
        displacement: (S, S) float32 metres outwards along the normal, in the open head's UV layout (whatever the face
            model), first row at v = 1.
    """

    depth: np.ndarray
    normals: np.ndarray
    displacement: np.ndarray


@dataclass(frozen=True)
class Sample:
    """One picture of one synthetic person.

    Attributes:
        image: (H, W, 3) uint8 sRGB.
        seed, index: what it was made from; the same two make the same picture.
        person: number of the person; pictures of one person share identity, skin, hair.
        camera: how it was taken (head-centred model space to pixels).
        identity: (K,) float32 standard deviations; key_weights: (keys,) float32 in the model's key order.
        albedo: (A,) float32, coefficients of the face model's albedo basis that come nearest to the skin.
        light: (9, 3) float32, `HarmonicLight.coefficients` that come nearest to the light, model axes.
        closure: (2,) float32, left then right (the subject's): 0 as open as the person's neutral, 1 shut. Measured on
            the posed mesh by `backend.lids.closure`.
        eye_state: of both eyes, left then right, out of `EYE_STATES`.
        gaze: (2, 2) float32 degrees: for left and right, towards the subject's left and up.
        yaw, pitch: degrees, of the head as the camera sees it; positive yaw shows its left side.
        landmarks68: (68, 2) float32 pixels, iBUG order, fixed points of the surface; visible68: (68,) bool, inside the
            picture and hidden by nothing.
        landmarks478: (478, 2) float32 pixels, MediaPipe's order; visible478: (478,) bool.
        parsing: (H, W) uint8, index in `PARSING_CLASSES`; what lies in front of the face is background.
        attributes: everything else that was chosen, by name: melanin, age, glasses, occluder, focal length in mm, …
        dense: None unless asked for.
    """

    image: np.ndarray
    seed: int
    index: int
    person: int
    camera: Camera
    identity: np.ndarray
    key_weights: np.ndarray
    albedo: np.ndarray
    light: np.ndarray
    closure: np.ndarray
    eye_state: tuple[str, str]
    gaze: np.ndarray
    yaw: float
    pitch: float
    landmarks68: np.ndarray
    visible68: np.ndarray
    landmarks478: np.ndarray
    visible478: np.ndarray
    parsing: np.ndarray
    attributes: dict[str, float | str] = field(default_factory=dict)
    dense: DenseLabels | None = None
