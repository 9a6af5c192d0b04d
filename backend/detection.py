"""Faces in a photograph: 478 landmarks for each, largest face first.

The picture is searched in square windows, first as a whole, then in overlapping tiles at two finer scales. Every find
is looked at again in a square crop that is upright and has the face at a set size, several times with small shifts,
turns and mirrored; the mean of these looks is the answer and their disagreement tells faces from accidents.
Photographs and renders pass through exactly the same steps, so what is calibrated on one holds for the other.
"""

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from backend.errors import Fix, PhotoError, UsageError
from backend.face_landmarker import FACE_LANDMARKER, find_face_landmarker
from backend.face_mesh_points import LEFT_EYE_OUTER_CORNER, MIRROR, RIGHT_EYE_OUTER_CORNER
from backend.mediapipe_networks import (
    NETWORKS_VERSION,
    FaceBoxNetwork,
    FaceMeshNetwork,
    RawDetection,
    has_networks,
)
from backend.mediapipe_tasks import TaskBoxNetwork, TaskMeshNetwork
from backend.picture_regions import Picture, Region, search_windows

logger = logging.getLogger(__name__)

MINIMUM_FACE_WIDTH_PX = 40

CANDIDATE_SCORE = 0.35
"""From here on a box is worth a closer look."""

CERTAIN_BOX_SCORE = 0.7

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
        score: 0 to 1, how sure the mesh network is that it sees a face; where it does not say, in how many of the looks
            it saw one.
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
    """The detector in use, started at the first call (0.3 s).

    Raises:
        SetupError: the second detector's file is missing or a wrong one, or its MediaPipe does not do.
    """
    return DETECTORS[detector_name()]()


def detector_name() -> str:
    """The name of the detector in use, which is not started for it.

    The first one where MediaPipe's wheel has its networks, the second one with newer wheels.
    `$LIFEMASK_DETECTOR=tasks` chooses the second one anyway.
    """
    wanted_second = os.environ.get("LIFEMASK_DETECTOR") == "tasks"
    return (MediaPipeFaceLandmarker if wanted_second or not has_networks() else MediaPipeFaceMesh).name


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
class Candidate:
    """What a box network takes for a face: its score and an upright square round it."""

    score: float
    region: Region


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


class BoxNetwork(Protocol):
    """Finds boxes in a square picture of `size` pixels."""

    size: int

    def __call__(self, image: np.ndarray) -> list[RawDetection]: ...


class MeshNetwork(Protocol):
    """Finds the points of the face in a square crop of `size` pixels, see `FaceMeshNetwork`."""

    size: int

    def __call__(self, crop: np.ndarray) -> tuple[np.ndarray, float]: ...


@dataclass(frozen=True)
class WhatIsAFace:
    """From where on a find counts as a face.

    Attributes:
        score: at least, see `DetectedFace`.
        spread: at most, see `DetectedFace`.
        spread_if_certain: at most, where a box network is certain.
    """

    score: float
    spread: float
    spread_if_certain: float


class DetectorOfNetworks:
    """Search in windows, then several looks at each find, with whatever networks.

    Args:
        box_networks: find candidates.
        mesh_network: looks at them.
    """

    name: str
    limits: WhatIsAFace

    def __init__(self, box_networks: Sequence[BoxNetwork], mesh_network: MeshNetwork) -> None:
        self._box_networks = box_networks
        self._mesh_network = mesh_network

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
            if score < self.limits.score / 2:
                return None
            region = region_around(points)
        looks = [self._look(picture, nearby) for nearby in nearby_regions(region)]
        score = float(np.mean([look[2] for look in looks]))
        looks = [look for look in looks if look[2] > 0]
        if not looks:
            return None
        points = np.mean([look[0] for look in looks], axis=0)
        depth = np.mean([look[1] for look in looks], axis=0)
        eye_distance = np.linalg.norm(points[LEFT_EYE_OUTER_CORNER] - points[RIGHT_EYE_OUTER_CORNER])
        squares = [np.square(look[0] - points).sum(axis=1).mean() for look in looks]
        spread = float(np.sqrt(np.mean(squares)) / max(eye_distance, 1e-6))
        certain = candidate.score >= CERTAIN_BOX_SCORE
        limit = self.limits.spread_if_certain if certain else self.limits.spread
        if score < self.limits.score or spread > limit:
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
        network = self._mesh_network
        points, score = network(picture.crop(region, network.size))
        if region.mirrored:
            points = points[MIRROR]
        depth = points[:, 2] * (region.size / network.size)
        return region.to_picture(points[:, :2] / network.size), depth, score


class MediaPipeFaceMesh(DetectorOfNetworks):
    """The first detector, whose networks lie in the wheel of MediaPipe 0.10.9."""

    name = f"mediapipe-{NETWORKS_VERSION}-face-mesh"

    # On 203 portraits and 339 blurred 100 px faces the looks disagree by at most 0.024 and, three of the blurred ones
    # left out, 0.035; on cats, drawings, smileys, coins and textures by 0.039 and more.
    limits = WhatIsAFace(score=0.8, spread=0.036, spread_if_certain=0.062)

    def __init__(self) -> None:
        boxes = [FaceBoxNetwork(kind, CANDIDATE_SCORE) for kind in ("short-range", "full-range")]
        super().__init__(boxes, FaceMeshNetwork())


class MediaPipeFaceLandmarker(DetectorOfNetworks):
    """The second detector, whose networks lie in `face_landmarker.task`.

    Args:
        file: that file; by default where `find_face_landmarker` finds it.

    Raises:
        SetupError: see `face_detector`.
    """

    name = f"mediapipe-face-landmarker-{FACE_LANDMARKER.sha256[:8]}"

    # On 172 portraits and 337 of the blurred faces the looks disagree by at most 0.032; on what is no face (and on
    # heads on coins) by 0.061 and more.
    limits = WhatIsAFace(score=0.6, spread=0.045, spread_if_certain=0.045)

    def __init__(self, file: Path | None = None) -> None:
        file = file or find_face_landmarker()
        super().__init__([TaskBoxNetwork(file, CANDIDATE_SCORE)], TaskMeshNetwork(file))


DETECTORS: dict[str, type[DetectorOfNetworks]] = {
    detector.name: detector for detector in (MediaPipeFaceMesh, MediaPipeFaceLandmarker)
}


def nearby_regions(region: Region) -> list[Region]:
    """The looks: a fixed set of small shifts, sizes and turns, each also mirrored."""
    variants = []
    for right, down, larger, turn in LOOKS:
        centre = region.to_picture(np.array([[0.5 + right, 0.5 + down]]))[0]
        for mirrored in (False, True):
            variants.append(Region(centre, region.size * larger, region.angle + turn, mirrored))
    return variants


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
