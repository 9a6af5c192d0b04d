"""MediaPipe 0.10.9's face networks, run one picture at a time on crops that we choose.

The wheel carries its networks and a graph runner. Its ready-made solutions decide themselves where to crop and hide
the scores; here the same networks are wired into three small graphs of our own, so that the crop, the thresholds and
the number of looks are ours. Nothing is downloaded.
"""

import importlib.util
import logging
import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np

from backend.face_landmarker import NETWORK_IN_WHEEL

logger = logging.getLogger(__name__)

NETWORKS_VERSION = "0.10.9"
MESH_INPUT_SIZE = 192
"""Side of the mesh network's square input, pixels."""

_DETECTOR_GRAPH = """
input_stream: "image"
output_stream: "detections"
num_threads: 1
node {{
  calculator: "ImageToTensorCalculator"
  input_stream: "IMAGE:image"
  output_stream: "TENSORS:input"
  options {{ [mediapipe.ImageToTensorCalculatorOptions.ext] {{
    output_tensor_width: {size} output_tensor_height: {size}
    output_tensor_float_range {{ min: -1 max: 1 }} }} }}
}}
node {{
  calculator: "SsdAnchorsCalculator"
  output_side_packet: "anchors"
  options {{ [mediapipe.SsdAnchorsCalculatorOptions.ext] {{
    input_size_width: {size} input_size_height: {size} {anchors}
    min_scale: 0.1484375 max_scale: 0.75 anchor_offset_x: 0.5 anchor_offset_y: 0.5
    aspect_ratios: 1 fixed_anchor_size: true }} }}
}}
node {{
  calculator: "InferenceCalculator"
  input_stream: "TENSORS:input"
  output_stream: "TENSORS:raw"
  options {{ [mediapipe.InferenceCalculatorOptions.ext] {{
    model_path: "mediapipe/modules/face_detection/{network}"
    delegate {{ xnnpack {{ num_threads: 1 }} }} }} }}
}}
node {{
  calculator: "TensorsToDetectionsCalculator"
  input_stream: "TENSORS:raw"
  input_side_packet: "ANCHORS:anchors"
  output_stream: "DETECTIONS:candidates"
  options {{ [mediapipe.TensorsToDetectionsCalculatorOptions.ext] {{
    num_classes: 1 num_boxes: {boxes} num_coords: 16
    x_scale: {size} y_scale: {size} w_scale: {size} h_scale: {size}
    keypoint_coord_offset: 4 num_keypoints: 6 num_values_per_keypoint: 2 box_coord_offset: 0
    reverse_output_order: true sigmoid_score: true score_clipping_thresh: 100
    min_score_thresh: {minimum_score} }} }}
}}
node {{
  calculator: "NonMaxSuppressionCalculator"
  input_stream: "candidates"
  output_stream: "detections"
  options {{ [mediapipe.NonMaxSuppressionCalculatorOptions.ext] {{
    min_suppression_threshold: 0.3 overlap_type: INTERSECTION_OVER_UNION algorithm: WEIGHTED }} }}
}}
"""

_MESH_GRAPH = f"""
input_stream: "image"
output_stream: "landmarks"
output_stream: "presence"
num_threads: 1
node {{
  calculator: "ImageToTensorCalculator"
  input_stream: "IMAGE:image"
  output_stream: "TENSORS:input"
  options {{ [mediapipe.ImageToTensorCalculatorOptions.ext] {{
    output_tensor_width: {MESH_INPUT_SIZE} output_tensor_height: {MESH_INPUT_SIZE}
    output_tensor_float_range {{ min: 0 max: 1 }} }} }}
}}
node {{
  calculator: "TfLiteCustomOpResolverCalculator"
  output_side_packet: "OP_RESOLVER:operations"
}}
node {{
  calculator: "InferenceCalculator"
  input_stream: "TENSORS:input"
  input_side_packet: "OP_RESOLVER:operations"
  output_stream: "TENSORS:raw"
  options {{ [mediapipe.InferenceCalculatorOptions.ext] {{
    model_path: "{NETWORK_IN_WHEEL.as_posix()}"
    delegate {{ xnnpack {{ num_threads: 1 }} }} }} }}
}}
node {{
  calculator: "SplitTensorVectorCalculator"
  input_stream: "raw"
  output_stream: "landmark_tensors"
  output_stream: "presence_tensor"
  options {{ [mediapipe.SplitVectorCalculatorOptions.ext] {{
    ranges {{ begin: 0 end: 6 }} ranges {{ begin: 6 end: 7 }} }} }}
}}
node {{
  calculator: "TensorsToFloatsCalculator"
  input_stream: "TENSORS:presence_tensor"
  output_stream: "FLOAT:presence"
  options {{ [mediapipe.TensorsToFloatsCalculatorOptions.ext] {{ activation: SIGMOID }} }}
}}
node {{
  calculator: "TensorsToFaceLandmarksWithAttention"
  input_stream: "TENSORS:landmark_tensors"
  output_stream: "LANDMARKS:landmarks"
}}
"""


@dataclass(frozen=True)
class RawDetection:
    """One box of a face detector, in pixels of the picture it was given.

    Attributes:
        box: (4,) float64: left, top, width, height.
        keypoints: (6, 2) float64: the subject's right eye, left eye, nose tip, mouth centre, right ear, left ear.
        score: 0 to 1.
    """

    box: np.ndarray
    keypoints: np.ndarray
    score: float


class FaceBoxNetwork:
    """One of the wheel's two face detectors: "short-range" (large faces) or "full-range" (small ones)."""

    _SETTINGS = {
        "short-range": dict(
            size=128,
            boxes=896,
            network="face_detection_short_range.tflite",
            anchors="num_layers: 4 strides: 8 strides: 16 strides: 16 strides: 16 interpolated_scale_aspect_ratio: 1",
        ),
        "full-range": dict(
            size=192,
            boxes=2304,
            network="face_detection_full_range_sparse.tflite",
            anchors="num_layers: 1 strides: 4 interpolated_scale_aspect_ratio: 0",
        ),
    }

    def __init__(self, kind: str, minimum_score: float) -> None:
        settings = self._SETTINGS[kind]
        self.size: int = settings["size"]
        self._graph = _Graph(_DETECTOR_GRAPH.format(minimum_score=minimum_score, **settings), ("detections",))

    def __call__(self, image: np.ndarray) -> list[RawDetection]:
        """Boxes in an (H, W, 3) uint8 sRGB picture, which should be `size` pixels square."""
        height, width = image.shape[:2]
        packets = self._graph.run(image)
        found = self._graph.messages(packets["detections"]) if "detections" in packets else []
        extent = np.array([width, height], float)
        detections = []
        for proto in found:
            box = proto.location_data.relative_bounding_box
            corner = np.array([box.xmin, box.ymin]) * extent
            size = np.array([box.width, box.height]) * extent
            keypoints = np.array([(point.x, point.y) for point in proto.location_data.relative_keypoints]) * extent
            detections.append(RawDetection(np.concatenate([corner, size]), keypoints, float(proto.score[0])))
        return detections


class FaceMeshNetwork:
    """The wheel's mesh network with attention: 478 points and how sure it is that it sees a face."""

    size = MESH_INPUT_SIZE

    def __init__(self) -> None:
        self._graph = _Graph(_MESH_GRAPH, ("landmarks", "presence"))

    def __call__(self, crop: np.ndarray) -> tuple[np.ndarray, float]:
        """Look at one crop.

        Args:
            crop: (192, 192, 3) uint8 sRGB, the face upright in its middle.

        Returns:
            (478, 3) float64: x right and y down in crop pixels (corner 0, so pixel centres are at half integers), depth
            away from the camera in the same unit, zero near the face's middle; and the presence score, 0 to 1.
        """
        packets = self._graph.run(crop)
        landmarks = self._graph.message(packets["landmarks"]).landmark
        points = np.array([(point.x, point.y, point.z) for point in landmarks])
        return points * MESH_INPUT_SIZE, self._graph.number(packets["presence"])


class _Graph:
    """A MediaPipe graph with one picture in and named packets out; calls from several threads wait for each other."""

    def __init__(self, config: str, outputs: tuple[str, ...]) -> None:
        self._mediapipe = _load_mediapipe()
        self._outputs = outputs
        self._latest: dict[str, object] = {}
        self._timestamp = 0
        self._lock = threading.Lock()
        with native_messages_to_log():
            self._graph = self._mediapipe.CalculatorGraph(graph_config=config)
            for name in outputs:
                self._graph.observe_output_stream(name, self._receive)
            self._graph.start_run()
            self.run(np.zeros((MESH_INPUT_SIZE, MESH_INPUT_SIZE, 3), np.uint8))  # the networks' remarks come now

    def run(self, image: np.ndarray) -> dict[str, object]:
        """The packets for one (H, W, 3) uint8 picture; names that gave none are left out."""
        frame = self._mediapipe.ImageFrame(
            image_format=self._mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(image)
        )
        with self._lock:
            self._latest = {}
            self._timestamp += 1
            packet = self._mediapipe.packet_creator.create_image_frame(frame)
            self._graph.add_packet_to_input_stream("image", packet.at(self._timestamp))
            self._graph.wait_until_idle()
            return self._latest

    def message(self, packet: object) -> object:
        """The protocol message in a packet."""
        return self._mediapipe.packet_getter.get_proto(packet)

    def messages(self, packet: object) -> list:
        """The protocol messages in a packet that holds a list of them."""
        return self._mediapipe.packet_getter.get_proto_list(packet)

    def number(self, packet: object) -> float:
        """The number in a packet that holds one."""
        return self._mediapipe.packet_getter.get_float(packet)

    def _receive(self, name: str, packet: object) -> None:
        if not packet.is_empty():
            self._latest[name] = packet


def has_networks() -> bool:
    """Whether the installed MediaPipe is one that carries these networks."""
    specification = importlib.util.find_spec("mediapipe")
    if specification is None:
        raise ModuleNotFoundError("mediapipe is not installed", name="mediapipe")
    folders = [Path(folder).parent for folder in specification.submodule_search_locations]
    return any((folder / NETWORK_IN_WHEEL).is_file() for folder in folders)


def _load_mediapipe() -> ModuleType:
    """The `mediapipe.python` package: graph, image and packet classes, and the messages our graphs are written in.

    `import mediapipe` also imports matplotlib, sounddevice and every solution and task (1.2 s, and minutes when
    matplotlib builds its font list). None of that is needed: the package's own `__init__` is not run, its modules are
    imported directly.
    """
    if "mediapipe" not in sys.modules:
        specification = importlib.util.find_spec("mediapipe")
        if specification is None:
            raise ModuleNotFoundError("mediapipe is not installed", name="mediapipe")
        sys.modules["mediapipe"] = importlib.util.module_from_spec(specification)
    from mediapipe import python as mediapipe_python
    from mediapipe.framework.formats import detection_pb2, landmark_pb2  # noqa: F401  (registers the result messages)

    package_folder = Path(mediapipe_python.__file__).resolve().parent.parent
    mediapipe_python.resource_util.set_resource_dir(str(package_folder.parent))
    return mediapipe_python


@contextmanager
def native_messages_to_log() -> Iterator[None]:
    """Send what native code writes to the error stream meanwhile to the log, not to the terminal."""
    sys.stderr.flush()
    with tempfile.TemporaryFile() as captured:
        terminal = os.dup(2)
        os.dup2(captured.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(terminal, 2)
            os.close(terminal)
            captured.seek(0)
            for line in captured.read().decode(errors="replace").splitlines():
                logger.debug("mediapipe: %s", line)
