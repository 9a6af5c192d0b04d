"""MediaPipe's Tasks API: the second detector's networks, for Pythons that have no wheel of MediaPipe 0.10.9.

Newer wheels carry no networks. They come in one file, `face_landmarker.task` (see `face_landmarker.py`), a ZIP archive
with a box network and a landmark network of 256 x 256 pixels. The Tasks API crops as it likes round the face that it
finds in a picture, and does not tell how sure it is of the landmarks. So it is given crops of ours, in which the face
is upright and of a set size; the mean of several such looks evens its own cropping out.
"""

import importlib
import importlib.metadata
import importlib.util
import re
import sys
import threading
import zipfile
from pathlib import Path
from types import ModuleType

import numpy as np

from backend.errors import Fix, SetupError
from backend.mediapipe_networks import RawDetection, native_messages_to_log

LATEST_VERSION = (0, 10, 33)
"""Later ones report their use to their makers over the network, without a switch (seen from 0.10.35 on: a look-up of
play.googleapis.com as soon as a task is made). Photographs of people are looked at here: nothing is to be sent."""

_PACKAGES = ("mediapipe", "mediapipe.tasks", "mediapipe.tasks.python", "mediapipe.tasks.python.vision")


class TaskBoxNetwork:
    """The box network of a `.task` file, for faces that take up a good part of the picture.

    Args:
        file: `face_landmarker.task`.
        minimum_score: boxes below it are left out.
    """

    size = 256  # the network sees 128, and boxes come in whole pixels

    def __init__(self, file: Path, minimum_score: float) -> None:
        self._tasks = _Tasks()
        with zipfile.ZipFile(file) as archive:
            network = archive.read("face_detector.tflite")
        module = self._tasks.module("face_detector")
        options = module.FaceDetectorOptions(
            base_options=self._tasks.base_options(model_asset_buffer=network), min_detection_confidence=minimum_score
        )
        self._task = self._tasks.start(module.FaceDetector, options, self.size)

    def __call__(self, image: np.ndarray) -> list[RawDetection]:
        """Boxes in an (H, W, 3) uint8 sRGB picture, which should be `size` pixels square."""
        height, width = image.shape[:2]
        extent = np.array([width, height], float)
        detections = []
        for found in self._tasks.run(self._task, image).detections:
            box = found.bounding_box
            keypoints = np.array([(point.x, point.y) for point in found.keypoints]) * extent
            place = np.array([box.origin_x, box.origin_y, box.width, box.height], float)
            detections.append(RawDetection(place, keypoints, float(found.categories[0].score)))
        return detections


class TaskMeshNetwork:
    """The landmark network of a `.task` file: 478 points of the face in a crop.

    Args:
        file: `face_landmarker.task`.
    """

    size = 384  # the task takes the 256 pixels of its network out of them

    MINIMUM_BOX_SCORE, MINIMUM_PRESENCE = 0.1, 0.1  # whether it is a face is told by the looks' agreement

    def __init__(self, file: Path) -> None:
        self._tasks = _Tasks()
        module = self._tasks.module("face_landmarker")
        options = module.FaceLandmarkerOptions(
            base_options=self._tasks.base_options(model_asset_path=str(file)),
            num_faces=1,
            min_face_detection_confidence=self.MINIMUM_BOX_SCORE,
            min_face_presence_confidence=self.MINIMUM_PRESENCE,
        )
        self._task = self._tasks.start(module.FaceLandmarker, options, self.size)

    def __call__(self, crop: np.ndarray) -> tuple[np.ndarray, float]:
        """Look at one crop.

        Args:
            crop: (size, size, 3) uint8 sRGB, the face upright in its middle.

        Returns:
            (478, 3) float64 as `FaceMeshNetwork` gives them; and 1 where a face was seen, otherwise 0 and NaN points.
        """
        found = self._tasks.run(self._task, crop).face_landmarks
        if not found:
            return np.full((478, 3), np.nan), 0.0
        return np.array([(point.x, point.y, point.z) for point in found[0]]) * crop.shape[1], 1.0


class _Tasks:
    """The modules of the Tasks API without what they bring along, and tasks whose calls wait for each other."""

    def __init__(self) -> None:
        _check_version(importlib.metadata.version("mediapipe"))
        _skip_package_files()
        self._lock = threading.Lock()
        try:
            self._images = importlib.import_module("mediapipe.tasks.python.vision.core.image")
        except ModuleNotFoundError:  # up to 0.10.21
            self._images = importlib.import_module("mediapipe.python._framework_bindings.image")
            self._format = importlib.import_module("mediapipe.python._framework_bindings.image_frame").ImageFormat.SRGB
        else:
            self._format = self._images.ImageFormat.SRGB

    def module(self, name: str) -> ModuleType:
        return importlib.import_module(f"mediapipe.tasks.python.vision.{name}")

    def base_options(self, **network):
        return importlib.import_module("mediapipe.tasks.python.core.base_options").BaseOptions(**network)

    def start(self, kind, options, size: int):
        with native_messages_to_log():
            task = kind.create_from_options(options)
            self.run(task, np.zeros((size, size, 3), np.uint8))  # the networks' remarks come now
        return task

    def run(self, task, image: np.ndarray):
        picture = self._images.Image(image_format=self._format, data=np.ascontiguousarray(image))
        with self._lock:
            return task.detect(picture)


def _check_version(version: str) -> None:
    """Raises SetupError for a MediaPipe that sends messages to its makers."""
    if tuple(int(part) for part in re.findall(r"\d+", version)[:3]) > LATEST_VERSION:
        wanted = ".".join(map(str, LATEST_VERSION))
        raise SetupError(
            "mediapipe-sends-messages",
            f"MediaPipe {version} reports its use over the network, which Lifemask does not want for photographs of "
            f"people. Install mediapipe {wanted} into this environment, or let Lifemask make one of its own.",
            Fix("repair-environment", "Install the packages again", "python3 -m backend setup --repair"),
        )


def _skip_package_files() -> None:
    """Keep the packages' own `__init__` from running: they import matplotlib, sounddevice and every other task."""
    for name in _PACKAGES:
        if name not in sys.modules:
            specification = importlib.util.find_spec(name)
            if specification is None:
                raise ModuleNotFoundError(f"{name} is not installed", name="mediapipe")
            sys.modules[name] = importlib.util.module_from_spec(specification)
