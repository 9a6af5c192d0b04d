"""Faces in a photograph: 478 landmarks for each, largest face first.

The picture is searched in square windows, first as a whole, then in overlapping tiles at two finer scales. Every find
is looked at again in a square crop that is upright and has the face at a set size, several times with small shifts,
turns and mirrored; the mean of these looks is the answer and their disagreement tells faces from accidents.
Photographs and renders pass through exactly the same steps, so what is calibrated on one holds for the other.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Protocol

import cv2
import numpy as np

from backend.errors import Fix, PhotoError, UsageError
from backend.face_mesh_points import LEFT_EYE_OUTER_CORNER, MIRROR, RIGHT_EYE_OUTER_CORNER
from backend.mediapipe_networks import MESH_INPUT_SIZE, NETWORKS_VERSION, FaceBoxNetwork, FaceMeshNetwork

logger = logging.getLogger(__name__)

MINIMUM_FACE_WIDTH_PX = 40

CANDIDATE_SCORE = 0.35
"""From here on a box is worth a closer look."""

# What counts as a face. On 203 portraits and 339 blurred 100 px faces the looks disagree by at most 0.024 and, three of
# the blurred ones left out, 0.035; on cats, drawings, smileys, coins and textures by 0.039 and more.
MINIMUM_SCORE = 0.8
MAXIMUM_SPREAD = 0.036
CERTAIN_BOX_SCORE, CERTAIN_BOX_SPREAD = 0.7, 0.062
"""Looks may disagree more where a box network is certain."""

CHOOSE_ANOTHER = Fix("choose-another-photo", "Choose another photograph")

REGION_PER_FACE = 1.5
"""Side of the square the mesh network sees, over the longer side of the points' box."""

CENTRING_STEPS = 3
LOOKS = ((0.0, 0.0, 1.0, 0.0), (0.03, 0.02, 0.93, 0.05), (-0.03, 0.02, 1.07, -0.05), (0.0, -0.03, 1.14, 0.0))
"""Shift right and down in parts of the region, size factor, turn in radians. Over 16 photographs turned by up to 10
degrees and reduced to between 35 and 100 %, points repeat to 0.06 % of the eye distance (root mean square), against
0.11 % for one look."""


@dataclass(frozen=True)
class DetectedFace:
    """One face of a picture.

    Attributes:
        points: (478, 2) float64 pixels, origin at the picture's top left corner, pixel centres at half integers.
            468 to 472 are the iris of the subject's right eye (its centre first), 473 to 477 of the left.
        depth: (478,) float64, away from the camera, in the unit of `points`, zero near the face's middle. The
            networks guess it; it has no absolute meaning.
        box: (4,) float64 pixels: left, top, width, height of the points.
        score: 0 to 1, how sure the mesh network is that it sees a face.
        spread: disagreement of the looks: root mean square over the points, over the outer eye corners' distance.
        detector: name and version; calibrations belong to one detector.
    """

    points: np.ndarray
    depth: np.ndarray
    box: np.ndarray
    score: float
    spread: float
    detector: str


class Detector(Protocol):
    """What finds faces."""

    name: str

    def detect(self, image: np.ndarray, wanted: int = 1) -> list[DetectedFace]:
        """Faces in an (H, W, 3) uint8 sRGB picture, largest first; see `detect_faces`."""
        ...


@lru_cache(maxsize=1)
def face_detector() -> Detector:
    """The detector in use, started at the first call (0.3 s)."""
    return MediaPipeFaceMesh()


def detect_faces(image: np.ndarray, wanted: int = 1) -> list[DetectedFace]:
    """The faces of a picture, largest first.

    Args:
        image: (H, W, 3) uint8 sRGB, upright.
        wanted: the search goes on in ever finer tiles until so many faces are found that are wide enough to be used.

    Returns:
        All faces found on the way, which may be more or fewer than wanted, too small ones included.
    """
    return face_detector().detect(image, wanted)


def find_face(image: np.ndarray, name: str, number: int = 1) -> DetectedFace:
    """One face of a picture that is to become a head.

    Args:
        image: (H, W, 3) uint8 sRGB, upright.
        name: what the messages call the picture.
        number: 1 for the largest face, 2 for the second, …

    Raises:
        PhotoError: "no-face" or "face-too-small".
        UsageError: "no-such-face", the picture has fewer faces than `number`.
    """
    faces = detect_faces(image, number)
    if not faces:
        raise PhotoError(
            "no-face",
            f"No face was found in {name}. The face should be at least {MINIMUM_FACE_WIDTH_PX} pixels wide, upright "
            "and not turned away.",
            CHOOSE_ANOTHER,
        )
    if number > len(faces):
        count = "only one face was" if len(faces) == 1 else f"only {len(faces)} faces were"
        raise UsageError("no-such-face", f"There is no face {number} in {name}: {count} found. Face 1 is the largest.")
    face = faces[number - 1]
    if face.box[2] < MINIMUM_FACE_WIDTH_PX:
        raise PhotoError(
            "face-too-small",
            f"The face in {name} is {face.box[2]:.0f} pixels wide. It should be at least {MINIMUM_FACE_WIDTH_PX}: use "
            "a larger copy of the picture, or one taken from nearer.",
            CHOOSE_ANOTHER,
        )
    return face


@dataclass(frozen=True)
class Region:
    """A square part of a picture, which may be turned, mirrored and reach beyond the border.

    Attributes:
        centre: (2,) float64 pixels.
        size: side, pixels.
        angle: radians, from the picture's x axis to the region's, clockwise as seen (y is down).
        mirrored: whether the region's x axis is reversed.
    """

    centre: np.ndarray
    size: float
    angle: float = 0.0
    mirrored: bool = False

    @cached_property
    def axes(self) -> np.ndarray:
        """(2, 2): columns are the region's x and y directions in the picture, unit length."""
        cosine, sine = np.cos(self.angle), np.sin(self.angle)
        flip = -1.0 if self.mirrored else 1.0
        return np.array([[cosine * flip, -sine], [sine * flip, cosine]])

    def to_picture(self, points: np.ndarray) -> np.ndarray:
        """(N, 2) points with 0 to 1 inside the region -> picture pixels."""
        return self.centre + (np.asarray(points) - 0.5) * self.size @ self.axes.T

    def to_region(self, points: np.ndarray) -> np.ndarray:
        """(N, 2) picture pixels -> 0 to 1 inside the region."""
        return (np.asarray(points) - self.centre) @ self.axes / self.size + 0.5


@dataclass(frozen=True)
class Candidate:
    """What a box network takes for a face: its score and an upright square round it."""

    score: float
    region: Region


class Picture:
    """A picture that gives evenly filtered crops at any size and angle.

    Args:
        image: (H, W, 3) uint8.
    """

    def __init__(self, image: np.ndarray) -> None:
        self.levels = [np.ascontiguousarray(image)]
        while min(self.levels[-1].shape[:2]) > 2 * MESH_INPUT_SIZE:
            height, width = self.levels[-1].shape[:2]
            half = ((width + 1) // 2, (height + 1) // 2)
            self.levels.append(cv2.resize(self.levels[-1], half, interpolation=cv2.INTER_AREA))

    @property
    def width(self) -> int:
        return self.levels[0].shape[1]

    @property
    def height(self) -> int:
        return self.levels[0].shape[0]

    def crop(self, region: Region, side: int, border: int = cv2.BORDER_REPLICATE) -> np.ndarray:
        """The region as a (side, side, 3) uint8 picture; outside the picture what OpenCV's border mode says."""
        fine = 2 * side
        wanted_reduction = max(region.size / fine, 1.0)
        level = min(int(np.log2(wanted_reduction)), len(self.levels) - 1)
        source = self.levels[level]
        scale = np.array([source.shape[1] / self.width, source.shape[0] / self.height])
        linear = region.axes * region.size / fine  # picture pixels per crop pixel
        corner = region.centre - linear @ np.full(2, fine / 2)
        # OpenCV puts integers at pixel centres: crop index i is at i + 0.5, and the source index is the place - 0.5.
        offset = scale * (corner + linear @ np.full(2, 0.5)) - 0.5
        matrix = np.column_stack([scale[:, None] * linear, offset])
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        crop = cv2.warpAffine(source, matrix, (fine, fine), flags=flags, borderMode=border)
        return cv2.resize(crop, (side, side), interpolation=cv2.INTER_AREA)


def region_around(points: np.ndarray) -> Region:
    """The upright square in which the mesh network likes to see a face: 1.5 times the points' longer side.

    Args:
        points: (478, 2) pixels.
    """
    eye_line = points[LEFT_EYE_OUTER_CORNER] - points[RIGHT_EYE_OUTER_CORNER]
    upright = Region(points.mean(axis=0), 1.0, float(np.arctan2(eye_line[1], eye_line[0])))
    inside = upright.to_region(points)
    low, high = inside.min(axis=0), inside.max(axis=0)
    centre = upright.to_picture((low + high)[None] / 2)[0]
    return Region(centre, REGION_PER_FACE * float((high - low).max()), upright.angle)


class MediaPipeFaceMesh:
    """The detector whose networks lie in the MediaPipe wheel."""

    name = f"mediapipe-{NETWORKS_VERSION}-face-mesh"

    def __init__(self) -> None:
        self._box_networks = [FaceBoxNetwork(kind, CANDIDATE_SCORE) for kind in ("short-range", "full-range")]
        self._mesh_network = FaceMeshNetwork()

    def detect(self, image: np.ndarray, wanted: int = 1) -> list[DetectedFace]:
        """See `detect_faces`."""
        picture = Picture(image)
        found: list[DetectedFace] = []
        for windows in search_windows(picture.width, picture.height):
            for candidate in self._candidates(picture, windows):
                if any(_frames(candidate.region, face.box) for face in found):
                    continue
                face = self.look_closely(picture, candidate)
                if face is not None and not any(_overlap(face.box, other.box) > 0.3 for other in found):
                    found.append(face)
            if sum(face.box[2] >= MINIMUM_FACE_WIDTH_PX for face in found) >= wanted:
                break
        return sorted(found, key=lambda face: face.box[2] * face.box[3], reverse=True)

    def look_closely(self, picture: Picture, candidate: Candidate) -> DetectedFace | None:
        """The face that a candidate turns out to be, or None."""
        region = candidate.region
        for _ in range(CENTRING_STEPS):
            points, _, score = self._look(picture, region)
            if score < MINIMUM_SCORE / 2:
                return None
            region = region_around(points)
        looks = [self._look(picture, nearby) for nearby in nearby_regions(region)]
        points = np.mean([look[0] for look in looks], axis=0)
        depth = np.mean([look[1] for look in looks], axis=0)
        score = float(np.mean([look[2] for look in looks]))
        eye_distance = np.linalg.norm(points[LEFT_EYE_OUTER_CORNER] - points[RIGHT_EYE_OUTER_CORNER])
        squares = [np.square(look[0] - points).sum(axis=1).mean() for look in looks]
        spread = float(np.sqrt(np.mean(squares)) / max(eye_distance, 1e-6))
        limit = CERTAIN_BOX_SPREAD if candidate.score >= CERTAIN_BOX_SCORE else MAXIMUM_SPREAD
        if score < MINIMUM_SCORE or spread > limit:
            logger.debug("no face after all: box %.2f, mesh %.2f, spread %.3f", candidate.score, score, spread)
            return None
        low, high = points.min(axis=0), points.max(axis=0)
        box = np.concatenate([low, high - low])
        return DetectedFace(points, depth, box, score, spread, self.name)

    def _candidates(self, picture: Picture, windows: Sequence[Region]) -> list[Candidate]:
        """What the box networks take for faces, the surest first."""
        scored: list[Candidate] = []
        for window in windows:
            for network in self._box_networks:
                crop = picture.crop(window, network.size, cv2.BORDER_CONSTANT)
                for detection in network(crop):
                    right_eye, left_eye = window.to_picture(detection.keypoints[:2] / network.size)
                    corner, extent = detection.box[:2] / network.size, detection.box[2:] / network.size
                    centre = window.to_picture((corner + extent / 2)[None])[0]
                    size = REGION_PER_FACE * float(extent.max()) * window.size
                    angle = float(np.arctan2(*(left_eye - right_eye)[::-1]))
                    scored.append(Candidate(detection.score, Region(centre, size, angle)))
        scored.sort(key=lambda candidate: -candidate.score)
        kept: list[Candidate] = []
        for candidate in scored:
            place = candidate.region.centre
            if all(np.linalg.norm(place - other.region.centre) > other.region.size / 4 for other in kept):
                kept.append(candidate)
        return kept

    def _look(self, picture: Picture, region: Region) -> tuple[np.ndarray, np.ndarray, float]:
        """Points (478, 2) in picture pixels, depth (478,) in the same unit, and score, from one crop."""
        points, score = self._mesh_network(picture.crop(region, MESH_INPUT_SIZE))
        if region.mirrored:
            points = points[MIRROR]
        depth = points[:, 2] * (region.size / MESH_INPUT_SIZE)
        return region.to_picture(points[:, :2] / MESH_INPUT_SIZE), depth, score


def nearby_regions(region: Region) -> list[Region]:
    """The looks: a fixed set of small shifts, sizes and turns, each also mirrored."""
    variants = []
    for right, down, larger, turn in LOOKS:
        centre = region.to_picture(np.array([[0.5 + right, 0.5 + down]]))[0]
        for mirrored in (False, True):
            variants.append(Region(centre, region.size * larger, region.angle + turn, mirrored))
    return variants


def search_windows(width: int, height: int) -> list[list[Region]]:
    """Square windows over a picture: all of it (also from further off), then tiles at two finer scales."""
    centre = np.array([width / 2, height / 2])
    whole = max(width, height)
    levels = [[Region(centre, whole), Region(centre, 1.5 * whole)]]
    for tiles in (2, 4):
        side = whole / tiles
        columns, rows = _tile_centres(width, side), _tile_centres(height, side)
        levels.append([Region(np.array([x, y]), side) for y in rows for x in columns])
    return levels


def _tile_centres(extent: float, side: float) -> np.ndarray:
    """Centres of tiles that overlap by at least half and cover 0 to extent."""
    if extent <= side:
        return np.array([extent / 2])
    count = int(np.ceil((extent - side) / (side / 2))) + 1
    return np.linspace(side / 2, extent - side / 2, count)


def _overlap(first: np.ndarray, second: np.ndarray) -> float:
    """Intersection over union of two boxes (left, top, width, height)."""
    low = np.maximum(first[:2], second[:2])
    high = np.minimum(first[:2] + first[2:], second[:2] + second[2:])
    common = np.prod(np.maximum(high - low, 0))
    return float(common / (np.prod(first[2:]) + np.prod(second[2:]) - common))


def _frames(region: Region, box: np.ndarray) -> bool:
    """Whether a region frames the face whose box this is."""
    centre = box[:2] + box[2:] / 2
    return bool(np.linalg.norm(region.centre - centre) < region.size / 4)
