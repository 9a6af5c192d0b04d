"""Where a detector's landmarks sit on the face model, and how sure they are, as functions of the view.

A detector's points slide over the skin as the head turns. `training/calibration.py` renders random people of the open
head from many sides, detects them, and learns for every landmark its mean place on the surface and the covariance of
what is left; this module reads the result and answers for one view.
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from backend.detection import MediaPipeFaceLandmarker, MediaPipeFaceMesh, detector_name
from backend.face_models.morphable_model import SurfacePoints

ASSETS = Path(__file__).parent / "assets"
FILES = {
    MediaPipeFaceMesh.name: ASSETS / "mediapipe_calibration.npz",
    MediaPipeFaceLandmarker.name: ASSETS / "mediapipe_tasks_calibration.npz",
}
"""The calibration of each detector."""


@dataclass(frozen=True)
class ViewDirection:
    """Where the camera stands as seen from the head, degrees.

    yaw: positive when the camera is on the subject's left; pitch: positive when it is above.
    """

    yaw: float
    pitch: float

    @classmethod
    def from_pose(cls, rotation: np.ndarray, translation: np.ndarray) -> "ViewDirection":
        """From the world-to-camera pose of a head whose origin lies between the eyes; (3, 3) and (3,)."""
        x, y, z = -rotation.T @ translation
        return cls(float(np.degrees(np.arctan2(x, z))), float(np.degrees(np.arctan2(y, np.hypot(x, z)))))


@dataclass(frozen=True)
class LandmarkCalibration:
    """What was learnt for one detector on one face model.

    Attributes:
        detector: the detector's name, as in `DetectedFace.detector`.
        yaw, pitch: (Y,) and (P,) float64 degrees, ascending, the views of the table.
        vertex, weight: (Y, P, L, 3) the surface point of every landmark in every view.
        deviation: (Y, P, L) float64, metres in the image plane at the face: standard deviation along one axis.
        factor: (2 L, R) float64: the part of the deviation that landmarks share, in units of their deviation, so that
            the covariance is D (F F^T + diag(1 - rowsum F^2)) D. Rows are x and y of landmark 0, then of landmark 1, …;
            x to the right and y down in an image whose eye line is level.
    """

    detector: str
    yaw: np.ndarray
    pitch: np.ndarray
    vertex: np.ndarray
    weight: np.ndarray
    deviation: np.ndarray
    factor: np.ndarray

    def _cells(self, view: ViewDirection):
        """The table cells round a view with their bilinear weights: [(row, column, weight)]."""
        cells = []
        for grid, value in ((self.yaw, view.yaw), (self.pitch, view.pitch)):
            value = float(np.clip(value, grid[0], grid[-1]))
            upper = int(np.clip(np.searchsorted(grid, value), 1, len(grid) - 1))
            share = (value - grid[upper - 1]) / (grid[upper] - grid[upper - 1])
            cells.append(((upper - 1, 1 - share), (upper, share)))
        return [(a, b, u * v) for a, u in cells[0] for b, v in cells[1] if u * v > 1e-9]

    def embedding(self, view: ViewDirection) -> SurfacePoints:
        """The landmarks' places on the surface in one view."""
        cells = self._cells(view)
        return SurfacePoints(
            np.concatenate([self.vertex[a, b] for a, b, _ in cells], axis=1).astype(np.int64),
            np.concatenate([share * self.weight[a, b].astype(np.float64) for a, b, share in cells], axis=1),
        )

    def deviation_in(self, view: ViewDirection) -> np.ndarray:
        """The landmarks' standard deviation along one image axis in one view: (L,) float64, metres."""
        return sum(share * self.deviation[a, b] for a, b, share in self._cells(view))

    @property
    def own_variance(self) -> np.ndarray:
        """(2 L,) the part of the variance that a coordinate does not share with others."""
        return 1.0 - np.square(self.factor).sum(axis=1)

    def save(self, path: Path) -> None:
        """Writes the table as an `.npz` that `load_calibration` reads."""
        np.savez_compressed(
            path,
            detector=np.array(self.detector),
            yaw=self.yaw.astype(np.float32),
            pitch=self.pitch.astype(np.float32),
            vertex=self.vertex.astype(np.int16),
            weight=self.weight.astype(np.float16),
            deviation=self.deviation.astype(np.float16),
            factor=self.factor.astype(np.float16),
        )


def load_calibration(path: Path | None = None) -> LandmarkCalibration:
    """Reads a calibration file, by default that of the detector in use.

    Raises:
        OSError: if the file is missing or cannot be read.
    """
    return _read(path or FILES[detector_name()])


@lru_cache(maxsize=4)
def _read(path: Path) -> LandmarkCalibration:
    with np.load(path, allow_pickle=False) as data:
        weight = data["weight"].astype(np.float64)
        return LandmarkCalibration(
            str(data["detector"]),
            data["yaw"].astype(np.float64),
            data["pitch"].astype(np.float64),
            data["vertex"].astype(np.int64),
            weight / weight.sum(-1, keepdims=True),
            data["deviation"].astype(np.float64),
            data["factor"].astype(np.float64),
        )
