"""What finds landmarks in real photographs, behind one interface.

MediaPipe, with or without the eyes corrected by ELAM, or the networks of face-alignment.

face-alignment (Bulat and Tzimiropoulos, "How far are we from solving the 2D & 3D face alignment problem?", ICCV 2017)
gives the 68 points that most papers were made with. Its weights are never downloaded from here.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import urlparse

import numpy as np
import torch

from backend.detection import MINIMUM_FACE_WIDTH_PX, DetectedFace, detect_faces
from backend.devices import choose_device
from backend.errors import Fix, SetupError, UsageError
from backend.eye_landmarks import elam
from backend.landmarks68 import landmarks68_from_478
from backend.methods.eye_states import EyeStateDetector

WEIGHTS_VARIABLE = "LIFEMASK_FACE_ALIGNMENT"


@dataclass(frozen=True)
class Landmarks:
    """The landmarks of the largest face of a picture.

    Attributes:
        points68: (68, 2) float64 pixels, iBUG order.
        depth68: (68,) float64 away from the camera in pixels, no absolute zero; None where the source has none.
        points478: (478, 2) float64 pixels, MediaPipe's order; None where the source has none.
    """

    points68: np.ndarray
    depth68: np.ndarray | None = None
    points478: np.ndarray | None = None


class LandmarkSource(Protocol):
    """What finds landmarks."""

    name: str

    def find(self, image: np.ndarray) -> Landmarks | None:
        """The landmarks of the largest face of an (H, W, 3) uint8 sRGB picture; None without a usable face."""
        ...


class MediaPipeSource:
    """MediaPipe's 478 points by `backend.detection`, the 68 from them."""

    name = "mediapipe"

    def find(self, image: np.ndarray) -> Landmarks | None:
        face = _largest(image)
        if face is None:
            return None
        return Landmarks(landmarks68_from_478(face.points), None, face.points)


class AdjustedMediaPipeSource:
    """MediaPipe's points with those of wrong eyes moved by ELAM (Wang et al., ICASSP 2024, section 2.3).

    Raises:
        SetupError, UsageError: the weights of the eye-state detector are missing or damaged.
    """

    name = "mediapipe-elam"

    def __init__(self) -> None:
        self._detector = EyeStateDetector.load()

    def find(self, image: np.ndarray) -> Landmarks | None:
        face = _largest(image)
        if face is None:
            return None
        points = elam(image, face, self._detector).points
        return Landmarks(landmarks68_from_478(points), None, points)


class FaceAlignmentSource:
    """The 68 points of the package face-alignment; faces are found by `backend.detection`.

    Args:
        dimensions: 2, the outline that is seen, or 3, the jaw's own points with a depth.
        weights: folder of its weights; None looks into `$LIFEMASK_FACE_ALIGNMENT`, then into torch's own cache.
        device: as torch names it; None takes the best there is.

    Raises:
        SetupError: "no-face-alignment", the package or its weights are not there.
    """

    def __init__(self, dimensions: int, weights: Path | None = None, device: str | None = None) -> None:
        self.name = f"face-alignment-{dimensions}d"
        try:
            from face_alignment import FaceAlignment, LandmarksType, api
        except ImportError as error:
            raise SetupError(
                "no-face-alignment",
                "The package face-alignment is not installed. It comes with the environment of the training package; "
                "use --landmarks mediapipe without it.",
            ) from error
        kind = LandmarksType.THREE_D if dimensions == 3 else LandmarksType.TWO_D
        needed = ("3DFAN-4", "depth") if dimensions == 3 else ("2DFAN-4",)
        files = find_weights([Path(urlparse(api.models_urls[name]).path).name for name in needed], weights)
        fetch = api.load_file_from_url
        # The package would download what it does not find. It is handed the files instead, and nothing else.
        api.load_file_from_url = lambda url, **_: str(files[Path(urlparse(url).path).name])
        try:
            self._networks = FaceAlignment(
                kind,
                device=device or choose_device("auto"),
                face_detector="folder",
                compile=False,
            )
        finally:
            api.load_file_from_url = fetch

    def find(self, image: np.ndarray) -> Landmarks | None:
        face = _largest(image)
        if face is None:
            return None
        left, top, width, height = face.box
        box = np.array([left, top, left + width, top + height])
        found = self._networks.get_landmarks_from_image(np.ascontiguousarray(image), detected_faces=[box])
        if not found:
            return None
        points = np.asarray(found[0], dtype=np.float64)
        depth = points[:, 2] if points.shape[1] == 3 else None
        return Landmarks(points[:, :2], depth, None)


def find_weights(names: list[str], folder: Path | None = None) -> dict[str, Path]:
    """Where the files of face-alignment lie.

    Args:
        names: of the files.
        folder: where to look first.

    Raises:
        SetupError: "no-face-alignment-weights", one is nowhere.
    """
    places = [Path(torch.hub.get_dir()) / "checkpoints"]
    if os.environ.get(WEIGHTS_VARIABLE):
        places.insert(0, Path(os.environ[WEIGHTS_VARIABLE]).expanduser())
    if folder is not None:
        places.insert(0, Path(folder))
    found = {name: place / name for name in names for place in reversed(places) if (place / name).is_file()}
    missing = [name for name in names if name not in found]
    if missing:
        raise SetupError(
            "no-face-alignment-weights",
            f"The weights of face-alignment are not here: {', '.join(missing)}. Looked in "
            f"{', '.join(map(str, places))}. Get them from https://www.adrianbulat.com/face-alignment under its "
            f"terms, and name their folder with --weights or in the variable {WEIGHTS_VARIABLE}; or use "
            "--landmarks mediapipe.",
            Fix("use-mediapipe", "Use MediaPipe's landmarks", "--landmarks mediapipe"),
            exit_code=2,
        )
    return found


SOURCES = ("mediapipe", "mediapipe-elam", "face-alignment-2d", "face-alignment-3d")


def landmark_source(name: str, weights: Path | None = None) -> LandmarkSource:
    """The source of that name.

    Raises:
        UsageError: "no-such-source".
        SetupError: it cannot be used here, see `FaceAlignmentSource` and `AdjustedMediaPipeSource`.
    """
    if name == "mediapipe":
        return MediaPipeSource()
    if name == "mediapipe-elam":
        return AdjustedMediaPipeSource()
    if name in SOURCES:
        return FaceAlignmentSource(3 if name.endswith("3d") else 2, weights)
    raise UsageError("no-such-source", f"There is no landmark source '{name}'. There are: {', '.join(SOURCES)}.")


def _largest(image: np.ndarray) -> DetectedFace | None:
    faces = detect_faces(image)
    return faces[0] if faces and faces[0].box[2] >= MINIMUM_FACE_WIDTH_PX else None
