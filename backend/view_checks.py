"""What is wrong with photographs that are to become one head: sentences that say what to do, before a bent head does.

What is said of two photographs is said of any method; which sides of the face they show matters to methods that look at
several of them together. The limits were chosen so that photographs of one person that were taken together are not
remarked upon; the figures beside them are of 66 faces: London's 24 people neutral and smiling, a man from four sides
(yaw -36 to 51 degrees), Lisa from 15 to 60 cm in one room and four times by a phone in another, and public portraits.

What cannot be told: a mirrored view from the front, and one from aside that takes the place of a missing side. The
halves of a face differ by less than landmarks err.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch

from backend.aligned_crop import align
from backend.calibration import ViewDirection, load_calibration
from backend.detection import CHOOSE_ANOTHER, DetectedFace, find_face
from backend.embedding_files import read_embedding
from backend.errors import PhotoError
from backend.face_models import load_face_model
from backend.fitting import FACE_CONTOUR, Observation, fit
from backend.identity_crop import identity_crop, network_input
from backend.landmarks68 import landmarks68_from_478
from backend.rendering.shading import srgb_to_linear
from backend.view_order import ViewOrder, ViewRemark, order_views

if TYPE_CHECKING:
    from backend.photographs import Photograph

COMPARED_SIZE = 64
"""Side in pixels of the aligned crops in which faces are compared."""
SAME_PHOTOGRAPH = 0.992
"""Correlation of two crops. Of different photographs it is at most 0.990 (a man of London, neutral and smiling); of one
photograph and its half, stored anew as JPEG, at least 0.995. (Made so bright that much is white: 0.979.)"""
MIRRORED_PHOTOGRAPH = 0.97
"""The same with one of them mirrored: at most 0.955 of different photographs (Lisa from 45 and from 60 cm), at least
0.991 of one photograph and its half, 0.976 if it was made bright, too."""
MOST_LIGHT = 2.0
"""Stops between the faces' brightness. In one session at most 0.5, of Obama's two portraits 1.2; of Lisa in her two
rooms up to 3.4."""
MOST_TINT = 0.75
"""Stops between the faces' ratios of red to green, or of blue to green. In one session at most 0.5; up to 0.95 of Lisa
in her two rooms."""
MOST_ZOOM = 4.0
"""Times that one face is as large as another in pixels. From 15 to 60 cm 2.2; of Lisa's two cameras up to 3.8."""
LEAST_LIKENESS = 0.3
"""Cosine between the identities of two photographs fitted alone. Of 59 pairs of one person the least is 0.33 (58
degrees apart); of 2,086 pairs of different people 17 % are below."""
LEAST_RESEMBLANCE, LEAST_RESEMBLANCE_ASIDE = 0.12, 0.0
"""Cosine between what a network that recognises people sees in two photographs, and if they are `FAR_ASIDE` apart. Of
pairs of one person the least is 0.16 (0.05 if far apart). With `LEAST_LIKENESS` 55 % of the pairs of different people
are told (37 % of those far apart). Of 136 faces that nothing was chosen on, all from the front in even light, 44 % are,
and none of 48 pairs of one person is taken for two."""
FAR_ASIDE = 40.0
"""Degrees of yaw."""


def find_faces(pictures: Sequence[Photograph], numbers: Sequence[int | None]) -> list[DetectedFace]:
    """The person's face in each photograph.

    None is left out in silence: a head knows its photographs by their places in the list, and whoever gave several
    should decide whether a head without one of them will do.

    Args:
        pictures: of one person.
        numbers: which face of each, 1 the largest; None, or an entry that is missing, for the largest.

    Raises:
        PhotoError: some show no face, or too small a one; the sentence names them all.
        UsageError: one has fewer faces than was asked for.
    """
    faces: list[DetectedFace] = []
    failed: list[tuple[str, PhotoError]] = []
    for picture, number in zip(pictures, [*numbers, *[None] * len(pictures)], strict=False):
        try:
            faces.append(find_face(picture.image, picture.path.name, number or 1))
        except PhotoError as error:
            failed.append((picture.path.name, error))
    if not failed:
        return faces
    (_, first), *others = failed
    if len(pictures) == 1:
        raise first
    sentences = [first.sentence]
    if others:
        sentences.append(f"{', '.join(name for name, _ in others)} cannot be used either.")
    if faces:
        shown = "photograph shows" if len(faces) == 1 else f"{len(faces)} photographs show"
        sentences.append(f"The other {shown} a face: leave out what does not, or choose another in its place.")
    raise PhotoError(first.code, " ".join(sentences), CHOOSE_ANOTHER) from first


def view_of(points: np.ndarray, width: int, height: int) -> ViewDirection:
    """From where a face is seen, by its landmarks alone: the pose of the mean head that fits them best.

    Args:
        points: (478, 2) pixels, a detector's landmarks.
        width, height: of the photograph, pixels. The focal length is taken for that of a usual lens.

    Of 34 synthetic people with yaws from -64 to 54 degrees the yaw is 2.8 degrees off on the average, and turned less
    than it should be; Eye Motion's camera is 2.4 degrees off.
    """
    inner = np.setdiff1d(np.arange(468), FACE_CONTOUR)
    embedding = load_calibration().embedding(ViewDirection(0.0, 0.0))
    surface = embedding.apply(load_face_model("open_head").mean.astype(np.float64))[inner]
    focal = 1.3 * max(width, height)
    intrinsics = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])
    _, axis, translation = cv2.solvePnP(
        surface, points[inner].astype(np.float64), intrinsics, None, flags=cv2.SOLVEPNP_SQPNP
    )
    return ViewDirection.from_pose(cv2.Rodrigues(axis)[0], translation[:, 0])


def measured_order(
    images: Sequence[np.ndarray], faces: Sequence[DetectedFace], names: Sequence[str] | None = None
) -> ViewOrder:
    """`order_views` of photographs, by the yaw that is measured in them.

    Args:
        images: (H, W, 3) each.
        faces: the person's, in each of them.
        names: what they are called in sentences.

    Raises:
        PhotoError: the refusal of the order: no photograph fits any slot.
    """
    yaw = [view_of(face.points, *image.shape[1::-1]).yaw for image, face in zip(images, faces, strict=True)]
    order = order_views(yaw, names)
    if order.refusal is not None:
        raise PhotoError(order.refusal.code, order.refusal.sentence, CHOOSE_ANOTHER)
    return order


def check_sides(pictures: Sequence[Photograph], faces: Sequence[DetectedFace]) -> list[ViewRemark]:
    """What a method that looks at several photographs together lacks.

    Raises:
        PhotoError: see `measured_order`.
    """
    names = [picture.path.name for picture in pictures]
    order = measured_order([picture.image for picture in pictures], faces, names)
    if len(pictures) > 1:
        return list(order.warnings)
    return [
        ViewRemark(
            "one-photograph",
            f"There is only {names[0]}, and this method looks at several photographs of a person together. Add one "
            "from the front and one of each side, with the face turned by about 45 degrees, or choose another method.",
        )
    ]


def check_together(
    pictures: Sequence[Photograph], faces: Sequence[DetectedFace], observations: Sequence[Observation]
) -> list[ViewRemark]:
    """What does not go together in photographs of one person, whatever the method.

    Args:
        pictures: of the person; of one alone nothing is said.
        faces: the person's, in each of them.
        observations: the same for the fit.
    """
    if len(pictures) < 2:
        return []
    looks = [_Look.of(picture, face) for picture, face in zip(pictures, faces, strict=True)]
    return [*_copies(looks), *_light(looks), *_zoom(looks), *_different_people(pictures, faces, observations)]


@dataclass(frozen=True)
class _Look:
    """What is compared of one photograph.

    Attributes:
        name: of its file.
        grey: (64, 64) float, the aligned crop, its mean 0 and its length 1.
        skin: (3,) linear light, the median over the face.
        size: side in pixels of the square that the face is cut out by.
    """

    name: str
    grey: np.ndarray
    skin: np.ndarray
    size: float

    @classmethod
    def of(cls, picture: Photograph, face: DetectedFace) -> _Look:
        crop = align(landmarks68_from_478(face.points), COMPARED_SIZE)
        image = crop.image(picture.image)
        grey = image.mean(axis=2)
        grey -= grey.mean()
        outline = np.round(crop.points_in(face.points[list(FACE_CONTOUR)])).astype(np.int32)
        inside = cv2.fillPoly(np.zeros(image.shape[:2], np.uint8), [outline], 1) > 0
        linear = srgb_to_linear(torch.from_numpy(image[inside].astype(np.float64) / 255)).numpy()
        skin = np.maximum(np.median(linear, axis=0), 1e-4)  # below: black
        return cls(picture.path.name, grey / max(float(np.linalg.norm(grey)), 1e-6), skin, COMPARED_SIZE / crop.scale)

    @property
    def brightness(self) -> float:
        """Stops."""
        return float(np.log2(self.skin @ [0.2126, 0.7152, 0.0722]))

    @property
    def tint(self) -> np.ndarray:
        """(2,) stops: red and blue over green."""
        return np.log2(self.skin[[0, 2]] / self.skin[1])


def _copies(looks: Sequence[_Look]) -> Iterator[ViewRemark]:
    for first, second in combinations(looks, 2):
        if (first.grey * second.grey).sum() > SAME_PHOTOGRAPH:
            yield ViewRemark(
                "same-photograph",
                f"{first.name} and {second.name} are the same photograph, which then counts twice. Leave one out.",
            )
        elif (first.grey * second.grey[:, ::-1]).sum() > MIRRORED_PHOTOGRAPH:
            yield ViewRemark(
                "mirrored-photograph",
                f"{second.name} is {first.name} mirrored, and the halves of a face are not alike. Leave out the one "
                "that was mirrored; if a side is missing then, add a photograph of it.",
            )


def _light(looks: Sequence[_Look]) -> Iterator[ViewRemark]:
    bright, dark = max(looks, key=lambda look: look.brightness), min(looks, key=lambda look: look.brightness)
    stops = bright.brightness - dark.brightness
    if stops > MOST_LIGHT:
        yield ViewRemark(
            "other-light",
            f"The face is {2**stops:.0f} times as bright in {bright.name} as in {dark.name}. Take the photographs in "
            "the same light and with the same exposure; else the skin will be patchy and the head less sure.",
        )
    first, second = max(combinations(looks, 2), key=lambda pair: _tint_apart(*pair))
    if _tint_apart(first, second) > MOST_TINT:
        yield ViewRemark(
            "other-colour",
            f"The light has another colour in {first.name} than in {second.name}. Take the photographs in the same "
            "light, or set the white balance alike; else the skin will be patchy.",
        )


def _tint_apart(first: _Look, second: _Look) -> float:
    return float(np.abs(first.tint - second.tint).max())


def _zoom(looks: Sequence[_Look]) -> Iterator[ViewRemark]:
    large, small = max(looks, key=lambda look: look.size), min(looks, key=lambda look: look.size)
    if large.size / small.size > MOST_ZOOM:
        yield ViewRemark(
            "other-zoom",
            f"The face is {large.size / small.size:.0f} times as large in {large.name} as in {small.name}, which "
            f"therefore says little. Use a larger copy of {small.name}, or photographs from about the same distance.",
        )


def _different_people(
    pictures: Sequence[Photograph], faces: Sequence[DetectedFace], observations: Sequence[Observation]
) -> Iterator[ViewRemark]:
    """Heads fitted alone are too unlike, or a network that recognises people sees two."""
    model, calibration = load_face_model("open_head"), load_calibration()  # what `LEAST_LIKENESS` was measured on
    # By the landmarks alone: with codes, heads of different people would be alike in what no network sees.
    alone = [fit(model, calibration, [replace(observation, codes=None)]) for observation in observations]
    likeness = _cosines(np.stack([head.identity for head in alone]))
    yaw = np.array([head.photographs[0].view.yaw for head in alone])
    aside = np.abs(yaw[:, None] - yaw) > FAR_ASIDE
    least = np.where(aside, LEAST_RESEMBLANCE_ASIDE, LEAST_RESEMBLANCE)
    # How far below a limit each pair is: positive where it says that they are two.
    doubt = np.maximum(LEAST_LIKENESS - likeness, least - _resemblance(pictures, faces))
    np.fill_diagonal(doubt, -np.inf)
    first, second = sorted(np.unravel_index(doubt.argmax(), doubt.shape))
    if doubt[first, second] > 0:
        yield ViewRemark(
            "different-people",
            f"{pictures[first].path.name} and {pictures[second].path.name} seem to show different people; the head is "
            "a mix of both. Give the photographs of one person only.",
        )


def _resemblance(pictures: Sequence[Photograph], faces: Sequence[DetectedFace]) -> np.ndarray:
    """(N, N) cosines between what the network that ships sees of each face."""
    crops = [
        identity_crop(picture.image, landmarks68_from_478(face.points))
        for picture, face in zip(pictures, faces, strict=True)
    ]
    with torch.inference_mode():
        return _cosines(read_embedding().eval()(network_input(np.stack(crops))).numpy())


def _cosines(vectors: np.ndarray) -> np.ndarray:
    """(N, K) to (N, N)."""
    directions = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-6)
    return directions @ directions.T
