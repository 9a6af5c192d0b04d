"""Crops of single eyes as the detector gives them, with the known closure of their lids: what the eye-state detector
learns from.

Every picture is first spoilt as pictures of the web are (small, blurred, noisy, grey, compressed), then its face is
detected: so crops and apertures have the detector's own errors.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path

import cv2
import numpy as np

from backend.detection import DetectedFace, detect_faces
from backend.eye_crops import SIDES, eye_region, relative_apertures
from backend.picture_regions import Picture, Region

logger = logging.getLogger(__name__)

CERTAINLY_OPEN, CERTAINLY_SHUT = 0.6, 0.8
"""Closures up to which an eye is called open and from which on it is called shut: a slit that shows the iris is open
for everyone who labels photographs. Of eyes between them a detector is to be unsure."""
STORED_SIDE = 80
STORED_SHARE = STORED_SIDE / 64
"""Crops are stored with room round them, so that training can shift and turn them."""
EYE_DISTANCE_PX = (22.0, 80.0)
"""Between the eyes, in spoilt pictures. In pictures of 100 pixels that show little but the face it is about 40."""
FROM_ASIDE = 0.12
"""Of the picture's side: what the distance of the eyes counts for at least, where a face is seen from aside."""
FARTHEST = 0.5
"""A detection whose eye lies farther off than this, in eye widths, is of something else."""


@dataclass
class EyeCrops:
    """N eyes.

    Attributes:
        images: (N, 80, 80, 3) uint8 sRGB, `eye_region` and a quarter more; right eyes mirrored.
        apertures: (N, 2) float32, `relative_apertures` of this eye and of the other one.
        closure: (N,) float32, of the lids, known from the mesh.
        other_closure: (N,) float32, of the other eye.
        person: (N,) str. kind: (N,) str, how the picture was made.
    """

    images: np.ndarray
    apertures: np.ndarray
    closure: np.ndarray
    other_closure: np.ndarray
    person: np.ndarray
    kind: np.ndarray

    def __len__(self) -> int:
        return len(self.closure)

    def where(self, chosen: np.ndarray) -> EyeCrops:
        """Those chosen by a mask or indices."""
        return EyeCrops(*(getattr(self, field.name)[chosen] for field in fields(self)))

    def save(self, path: Path) -> None:
        """Writes them into a .npz file; nothing half-written stays."""
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial.npz")
        np.savez(partial, **{field.name: getattr(self, field.name) for field in fields(self)})
        partial.replace(path)

    @classmethod
    def load(cls, path: Path) -> EyeCrops:
        with np.load(path, allow_pickle=False) as data:
            return cls(**{field.name: data[field.name] for field in fields(cls)})

    @classmethod
    def empty(cls) -> EyeCrops:
        numbers = np.zeros(0, np.float32)
        words = np.zeros(0, "<U1")
        images = np.zeros((0, STORED_SIDE, STORED_SIDE, 3), np.uint8)
        return cls(images, np.zeros((0, 2), np.float32), numbers, numbers, words, words)

    @classmethod
    def joined(cls, parts: Iterable[EyeCrops]) -> EyeCrops:
        parts = list(parts)
        return cls(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(cls)))


@dataclass
class CropCounts:
    """What came of the pictures: how many there were, in how many no face was found, or it was found elsewhere."""

    pictures: int = 0
    missed: int = 0
    elsewhere: int = 0


def spoilt(image: np.ndarray, generator: np.random.Generator, eye_distance: float) -> tuple[np.ndarray, float]:
    """A square picture as it might come from the web, and the factor by which it became smaller.

    Args:
        image: (S, S, 3) uint8 sRGB.
        eye_distance: in it, between the eyes, pixels.

    Returns:
        (T, T, 3) uint8, T / S.
    """
    wanted = np.exp(generator.uniform(*np.log(EYE_DISTANCE_PX)))
    side = int(round(image.shape[0] * min(wanted / max(eye_distance, 1.0), 1.0)))
    picture = image.astype(np.float32) / 255
    if generator.random() < 0.6:
        picture = picture ** np.exp(generator.normal(0, 0.3))
        picture = picture * np.exp(generator.normal(0, 0.12, 3)).astype(np.float32)
    if generator.random() < 0.12:
        picture = np.repeat(picture.mean(axis=2, keepdims=True), 3, axis=2)
    if generator.random() < 0.25:  # over- or underexposed
        picture = picture * generator.choice([generator.uniform(1.2, 1.7), generator.uniform(0.3, 0.7)])
    picture = cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA)
    if generator.random() < 0.45:
        picture = cv2.GaussianBlur(picture, (0, 0), generator.uniform(0.3, 1.1))
    elif generator.random() < 0.3:  # sharpened, as cameras and web sites do
        picture = picture + generator.uniform(0.3, 1.0) * (picture - cv2.GaussianBlur(picture, (0, 0), 1.0))
    if generator.random() < 0.6:
        picture = picture + generator.normal(0, generator.uniform(0.003, 0.035), picture.shape)
    picture = (np.clip(picture, 0, 1) * 255 + 0.5).astype(np.uint8)
    if generator.random() < 0.8:
        quality = int(generator.integers(25, 95))
        encoded = cv2.imencode(".jpg", np.ascontiguousarray(picture), [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        picture = cv2.imdecode(encoded, cv2.IMREAD_COLOR)
    return picture, side / image.shape[0]


def cut_eyes(
    image: np.ndarray, face: DetectedFace, closure: np.ndarray, person: str, kind: str, eyes: np.ndarray | None = None
) -> EyeCrops | None:
    """Both eyes of a detected face.

    Args:
        image: (H, W, 3) uint8 sRGB. closure: (2,) left then right, true; eyes where it is NaN are left out.
        eyes: (2, 2) pixels, where the eyes are, as far as that is known.

    Returns:
        Up to two crops, None if the detection is of something else.
    """
    regions = [eye_region(face, side) for side in SIDES]
    if eyes is not None:
        away = max(
            np.linalg.norm(region.centre - place) / region.size for region, place in zip(regions, eyes, strict=True)
        )
        if away > FARTHEST / 2:
            return None
    picture, apertures = Picture(image), relative_apertures(face)
    images = [
        picture.crop(Region(region.centre, region.size * STORED_SHARE, region.angle, region.mirrored), STORED_SIDE)
        for region in regions
    ]
    beside = [(apertures[side], apertures[other]) for side, other in (SIDES, SIDES[::-1])]
    closure = np.asarray(closure, np.float32)
    both = EyeCrops(
        np.stack(images),
        np.array(beside, np.float32),
        closure,
        closure[::-1].copy(),
        np.array([person, person]),
        np.array([kind, kind]),
    )
    return both.where(np.isfinite(closure))


def crops_of(pictures: Iterable, generator: np.random.Generator, counts: CropCounts) -> list[EyeCrops]:
    """Spoils pictures, finds their faces and cuts their eyes.

    Args:
        pictures: with `image` (S, S, 3), `closure` (2,), `eyes` (2, 2), `person` and `kind`, as `EyePicture`.
        counts: added to.
    """
    found = []
    for picture in pictures:
        counts.pictures += 1
        # Only edited photographs did not go through a bad camera yet; of the others half have seen enough.
        plain = picture.kind != "edited" and generator.random() < 0.5
        distance = max(float(np.linalg.norm(picture.eyes[0] - picture.eyes[1])), FROM_ASIDE * len(picture.image))
        image, factor = (picture.image, 1.0) if plain else spoilt(picture.image, generator, distance)
        faces = detect_faces(image)
        if not faces:
            counts.missed += 1
            continue
        crops = cut_eyes(image, faces[0], picture.closure, picture.person, picture.kind, picture.eyes * factor)
        if crops is None:
            counts.elsewhere += 1
        else:
            found.append(crops)
    return found
