"""The second detector, MediaPipe's Tasks API, does what the first one does, nearly as well or better."""

import importlib.metadata
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from backend import detection, mediapipe_tasks, pipeline
from backend.calibration import FILES, load_calibration
from backend.detection import MediaPipeFaceLandmarker, MediaPipeFaceMesh, detector_name, face_detector
from backend.errors import SetupError
from backend.eye_state import FIRST_SCALE, SCALES, closure_from_aperture, read_eye_closure
from backend.face_mesh_points import (
    LEFT_EYE_OUTER_CORNER,
    LEFT_IRIS_CENTRE,
    LEFT_LOWER_LID,
    LEFT_UPPER_LID,
    MIRROR,
    RIGHT_EYE_OUTER_CORNER,
    RIGHT_LOWER_LID,
    RIGHT_UPPER_LID,
)

ROOT = Path(detection.__file__).parent.parent
NO_IMAGE = np.zeros((1, 1, 3), np.uint8)


def read(path: Path) -> np.ndarray:
    return np.ascontiguousarray(cv2.imread(str(path))[..., ::-1])


@pytest.fixture(scope="module")
def landmarker_file(data_folder: Path) -> Path:
    path = data_folder / "mediapipe" / "face_landmarker.task"
    if not path.is_file():
        pytest.skip("face_landmarker.task is not here")
    return path


@pytest.fixture(scope="module")
def second(landmarker_file: Path) -> MediaPipeFaceLandmarker:
    return MediaPipeFaceLandmarker(landmarker_file)


@pytest.fixture(scope="module")
def portraits(data_folder: Path) -> dict[str, np.ndarray]:
    return {path.stem: read(path) for path in sorted((data_folder / "photos" / "london").glob("*.jpg"))[::6]}


@pytest.fixture
def in_use(second, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole pipeline uses the second detector."""
    monkeypatch.setenv("LIFEMASK_DETECTOR", "tasks")
    monkeypatch.setitem(detection.DETECTORS, second.name, lambda: second)
    face_detector.cache_clear()
    yield
    face_detector.cache_clear()


def test_it_finds_the_same_points_as_the_first_one(second, portraits):
    first = MediaPipeFaceMesh()
    for name, image in portraits.items():
        (face,), (other,) = second.detect(image), first.detect(image)
        assert face.detector == "mediapipe-face-landmarker-64184e22"
        assert face.points.shape == (478, 2) and face.depth.shape == (478,)
        eyes = np.linalg.norm(other.points[LEFT_EYE_OUTER_CORNER] - other.points[RIGHT_EYE_OUTER_CORNER])
        assert np.linalg.norm(face.points - other.points, axis=1).mean() < 0.04 * eyes, name
        assert np.linalg.norm(face.points[LEFT_IRIS_CENTRE] - other.points[LEFT_IRIS_CENTRE]) < 0.03 * eyes, name
        assert face.depth[1] < face.depth[LEFT_EYE_OUTER_CORNER], name  # the nose tip is nearer
        assert face.spread < other.spread, name


def test_the_mirror_image_has_the_mirrored_landmarks(second, portraits):
    image = portraits["001_neutral"]
    own = second.detect(image)[0].points
    mirrored = second.detect(np.ascontiguousarray(image[:, ::-1]))[0].points[MIRROR]
    mirrored[:, 0] = image.shape[1] - mirrored[:, 0]
    eyes = np.linalg.norm(own[LEFT_EYE_OUTER_CORNER] - own[RIGHT_EYE_OUTER_CORNER])
    assert np.linalg.norm(mirrored - own, axis=1).mean() < 0.003 * eyes


def test_two_people_and_a_small_face_in_a_large_picture_are_found(second, data_folder, portraits):
    assert len(second.detect(read(data_folder / "photos" / "public_domain" / "two_people.jpg"), wanted=2)) == 2
    large = np.full((1600, 2400, 3), (196, 202, 208), np.uint8)
    large[1240:1540, 2050:2350] = cv2.resize(portraits["001_neutral"], (300, 300), interpolation=cv2.INTER_AREA)
    (face,) = second.detect(large)
    assert face.box[0] > 2050 and face.box[1] > 1240


def test_what_is_no_face_is_not_taken_for_one(second):
    generator = np.random.default_rng(0)
    noise = generator.integers(0, 256, (300, 300, 3), dtype=np.uint8)
    assert second.detect(noise) == [] and second.detect(cv2.GaussianBlur(noise, (0, 0), 5)) == []
    assert second.detect(np.full((300, 400, 3), 128, np.uint8)) == []
    cat = pytest.importorskip("skimage.data").chelsea()
    assert second.detect(np.ascontiguousarray(cat)) == []


def test_eyes_of_portraits_are_open_and_shut_ones_shut(second, data_folder, portraits):
    for name, image in portraits.items():
        if name.endswith("neutral"):
            assert max(read_eye_closure(NO_IMAGE, second.detect(image)[0]).values()) < 0.2, name
    right = total = 0
    for state in ("open", "closed"):
        for path in sorted((data_folder / "eyes" / "cew_research_only" / state).glob("*.jpg"))[::12]:
            faces = second.detect(read(path))
            closure = np.mean(list(read_eye_closure(NO_IMAGE, faces[0]).values())) if faces else -1.0
            right += closure >= 0 and (closure > 0.5) == (state == "closed")
            total += 1
    if total == 0:
        pytest.skip("the CEW crops are not here")
    assert right / total >= 0.93  # 0.96 of all 339


def test_each_detector_has_its_own_scale_of_apertures():
    assert set(SCALES) == set(FILES) == set(detection.DETECTORS)
    for scale in SCALES.values():
        ends = (scale.shut_share, scale.half_share, scale.open_share)
        assert [closure_from_aperture(share, scale) for share in ends] == [1.0, 0.5, 0.0]
    assert SCALES[MediaPipeFaceMesh.name] is FIRST_SCALE


def test_a_wink_is_read_although_the_second_detector_makes_the_eyes_alike(second, portraits):
    # The blink of one eye takes 0.25 off its aperture; the landmarks show it as 0.175 off this and 0.075 off the other.
    face = second.detect(portraits["001_neutral"])[0]
    scale = SCALES[second.name]
    undone = scale.undo_likening({"left": scale.open - 0.175, "right": scale.open - 0.075})
    assert undone["left"] == pytest.approx(scale.open - 0.25) and undone["right"] == pytest.approx(scale.open)
    assert FIRST_SCALE.undo_likening({"left": 0.1, "right": 0.2}) == pytest.approx({"left": 0.1, "right": 0.2})
    lower = {"left": (LEFT_LOWER_LID, LEFT_UPPER_LID, 0.55), "right": (RIGHT_LOWER_LID, RIGHT_UPPER_LID, 0.25)}
    points = face.points.copy()
    for low, high, share in lower.values():
        points[list(low)] += share * (points[list(high)] - points[list(low)])
    wink = read_eye_closure(NO_IMAGE, replace(face, points=points))
    assert wink["left"] > 0.5 > 0.1 > wink["right"]


def test_the_calibration_is_that_of_the_detector_in_use(monkeypatch):
    monkeypatch.delenv("LIFEMASK_DETECTOR", raising=False)
    assert load_calibration().detector == detector_name() == MediaPipeFaceMesh.name  # this wheel has its networks
    monkeypatch.setenv("LIFEMASK_DETECTOR", "tasks")
    assert load_calibration().detector == detector_name() == MediaPipeFaceLandmarker.name
    monkeypatch.delenv("LIFEMASK_DETECTOR")
    monkeypatch.setattr(detection, "has_networks", lambda: False)  # as in newer wheels
    assert load_calibration().detector == MediaPipeFaceLandmarker.name


def test_heads_fit_portraits_as_well_as_with_the_first_detector(in_use, portraits, monkeypatch):
    some = list(portraits.values())[:4]
    second_errors = [pipeline.fit_photographs([image], [None]).photographs[0].landmark_error for image in some]
    monkeypatch.delenv("LIFEMASK_DETECTOR")
    face_detector.cache_clear()
    first_errors = [pipeline.fit_photographs([image], [None]).photographs[0].landmark_error for image in some]
    assert np.mean(second_errors) < 1.05 * np.mean(first_errors)
    assert max(second_errors) < 0.03


def test_a_newer_mediapipe_that_sends_messages_is_refused(landmarker_file, monkeypatch):
    for version, refused in (("0.10.9", False), ("0.10.33", False), ("0.10.35", True), ("1.2.2", True)):
        monkeypatch.setattr(importlib.metadata, "version", lambda _, version=version: version)
        if not refused:
            mediapipe_tasks.TaskBoxNetwork(landmarker_file, 0.5)
            continue
        with pytest.raises(SetupError, match="over the network") as caught:
            mediapipe_tasks.TaskBoxNetwork(landmarker_file, 0.5)
        assert caught.value.code == "mediapipe-sends-messages"
    pins = (ROOT / "backend" / "requirements" / "runtime-tasks.txt").read_text()
    assert f"mediapipe=={'.'.join(map(str, mediapipe_tasks.LATEST_VERSION))}\n" in pins


def test_starting_is_quiet_and_spares_what_is_not_needed(landmarker_file):
    script = (
        "import sys; from backend.detection import face_detector; face_detector()\n"
        "print('matplotlib' in sys.modules, 'sounddevice' in sys.modules)"
    )
    variables = {"LIFEMASK_DETECTOR": "tasks", "LIFEMASK_FACE_LANDMARKER": str(landmarker_file)}
    result = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, env=variables, capture_output=True, text=True, check=True
    )
    assert result.stdout.split() == ["False", "False"]
    assert result.stderr == ""


def test_without_the_file_the_command_says_what_to_do(tmp_path: Path):
    variables = {"LIFEMASK_DETECTOR": "tasks", "LIFEMASK_HOME": str(tmp_path)}
    script = "from backend.detection import face_detector; face_detector()"
    result = subprocess.run([sys.executable, "-c", script], cwd=ROOT, env=variables, capture_output=True, text=True)
    assert "setup --face-landmarker" in result.stderr
