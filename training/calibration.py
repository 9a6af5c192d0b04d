"""Learns where a detector's landmarks sit on the open head and how sure they are: `python3 -m training calibrate`.

Random people are rendered from many sides and detected. Each detected point is taken back to the surface under it; a
robust polynomial in the view's yaw and pitch through those places is the landmark's calibrated position. What is left
in the image, in metres at the face, gives the landmark's deviation for each view and the correlation between landmarks.
"""

import argparse
import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy.ndimage import distance_transform_edt
from tqdm import tqdm

from backend.calibration import FILES, LandmarkCalibration, ViewDirection
from backend.detection import Detector, MediaPipeFaceLandmarker, MediaPipeFaceMesh
from backend.face_mesh_points import LOWER_INNER_LIP, UPPER_INNER_LIP
from backend.face_models import load_face_model
from backend.face_models.open_head import OpenHead
from backend.fitting import IRIS_POINTS, LIDS
from backend.rendering.shading import rasterize_with
from backend.surface import Surface, barycentric_coordinates
from training.synthetic_people import SyntheticPhotograph, random_photograph

logger = logging.getLogger(__name__)

DETECTORS = {"face-mesh": MediaPipeFaceMesh, "tasks": MediaPipeFaceLandmarker}
YAW_GRID = np.arange(-60.0, 61.0, 15.0)
PITCH_GRID = np.arange(-30.0, 31.0, 15.0)
SHARED_FACTORS = 64
LEAST_DEVIATION_M = 0.0004
VIEW_BANDWIDTH_DEGREES = 12.0
FARTHEST_MISS_M = 0.03  # a detection that is farther off than this on the average has found something else


@dataclass
class Sample:
    """One detected synthetic photograph, at the landmarks.

    Attributes:
        view: from where the head was seen.
        place: (478, 3) the landmark on the mean head's surface, metres; points: (478, 2) detected pixels.
        corner: (478, 3) int vertices under the landmark.
    """

    view: ViewDirection
    place: np.ndarray
    points: np.ndarray
    photograph: SyntheticPhotograph
    open_eyes: dict[str, bool]


def collect(model: OpenHead, detector: Detector, people: int, seed: int) -> list[Sample]:
    """Renders and detects `people` random people; those that are not found are left out."""
    names = list(model.key_offsets(model.neutral(np.zeros(1))).names)
    samples = []
    for child in tqdm(np.random.SeedSequence(seed).spawn(people), desc="people", mininterval=10):
        photograph = random_photograph(model, np.random.default_rng(child))
        faces = detector.detect(photograph.image)
        if not faces:
            continue
        place = surface_places(model, photograph, faces[0].points)
        camera = photograph.camera
        true = camera.project(model.landmarks478(photograph.vertices))
        miss = np.linalg.norm(true - faces[0].points, axis=1).mean() * camera.translation[2] / camera.fx
        if miss > FARTHEST_MISS_M:
            continue
        view = ViewDirection.from_pose(camera.rotation, camera.translation)
        blink = {side: photograph.key_weights[names.index(f"eyeBlink{side.title()}")] for side in ("left", "right")}
        samples.append(Sample(view, place, faces[0].points, photograph, {s: b < 0.1 for s, b in blink.items()}))
        photograph.__dict__["image"] = None  # the pictures are not needed any more
    logger.info("%d of %d people were detected", len(samples), people)
    return samples


def surface_places(model: OpenHead, photograph: SyntheticPhotograph, points: np.ndarray) -> np.ndarray:
    """The places on the mean head's skin that points of a picture cover; beside the head, the nearest visible skin.

    Args:
        points: (L, 2) pixels.

    Returns:
        (L, 3) float64 metres on the mean head.
    """
    triangles = torch.as_tensor(model.topology.triangles)
    vertices = torch.as_tensor(photograph.vertices, dtype=torch.float32)
    fragments = rasterize_with(photograph.camera, vertices, triangles)
    face = fragments.face_index[0].numpy()
    skin = (face >= 0) & skin_triangles(model)[np.maximum(face, 0)]
    rows, columns = distance_transform_edt(~skin, return_distances=False, return_indices=True)
    y, x = np.clip(points[:, ::-1].astype(int), 0, np.array(face.shape) - 1).T
    y, x = rows[y, x], columns[y, x]
    corners = model.topology.triangles[face[y, x]]
    barycentric = fragments.barycentric[0].numpy()[y, x].astype(np.float64)
    return np.einsum("lc,lcd->ld", barycentric, model.mean[corners].astype(np.float64))


def view_polynomial(yaw: np.ndarray, pitch: np.ndarray) -> np.ndarray:
    """Terms of a smooth function of the view, degrees in: (N, 13)."""
    a, b = np.asarray(yaw) / 45.0, np.asarray(pitch) / 30.0
    return np.stack(
        [a**0, a, b, a * a, a * b, b * b, a**3, a * a * b, a * b * b, b**3, a**4, a**3 * b, a * a * b * b], 1
    )


def robust_regression(terms: np.ndarray, values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Ridge regression of (N, D) values, reweighted by their distance: (terms, D)."""
    robust = weights.copy()
    ridge = np.diag([0.0] + [3.0] * (terms.shape[1] - 1))
    for _ in range(6):
        coefficients = np.linalg.solve(
            terms.T @ (robust[:, None] * terms) + ridge, terms.T @ (robust[:, None] * values)
        )
        distance = np.linalg.norm(values - terms @ coefficients, axis=1)
        typical = np.median(distance[weights > 0]) + 1e-6
        robust = weights / np.maximum(distance / (2 * typical), 1.0)
    return coefficients


def learn(model: OpenHead, samples: list[Sample], detector: str) -> LandmarkCalibration:
    """The calibration from detected samples."""
    yaw = np.array([sample.view.yaw for sample in samples])
    pitch = np.array([sample.view.pitch for sample in samples])
    terms = view_polynomial(yaw, pitch)
    grid = np.stack(np.meshgrid(YAW_GRID, PITCH_GRID, indexing="ij"), -1).reshape(-1, 2)
    grid_terms = view_polynomial(*grid.T)
    places = np.stack([sample.place for sample in samples])
    count = places.shape[1]
    wanted = np.zeros((len(grid), count, 3))
    for landmark in range(count):
        weights = np.ones(len(samples))
        for side, lids in LIDS.items():
            if landmark in lids:
                weights = np.array([float(sample.open_eyes[side]) for sample in samples])
        wanted[:, landmark] = grid_terms @ robust_regression(terms, places[:, landmark], weights)
    vertex, weight = _on_surface(model, wanted.reshape(-1, 3))
    shape = (len(YAW_GRID), len(PITCH_GRID), count, 3)
    vertex, weight = vertex.reshape(shape), weight.reshape(shape)
    for lip, other in ((UPPER_INNER_LIP, "lip_lower"), (LOWER_INNER_LIP, "lip_upper")):
        of_lip = _on_surface(model, wanted[:, list(lip)].reshape(-1, 3), without=model.masks[other])
        vertex[:, :, list(lip)], weight[:, :, list(lip)] = (part.reshape(*shape[:2], len(lip), 3) for part in of_lip)
    irises = list(IRIS_POINTS)
    vertex[:, :, irises] = model.points478.vertices[irises]
    weight[:, :, irises] = model.points478.barycentric[irises]
    draft = LandmarkCalibration(
        detector, YAW_GRID, PITCH_GRID, vertex, weight, np.ones(shape[:3]), np.zeros((2 * count, 1))
    )
    residual = np.stack([level_residual(draft, sample) for sample in samples])  # (N, L, 2) metres
    deviation = np.zeros((len(grid), count))
    for cell, (cell_yaw, cell_pitch) in enumerate(grid):
        distance = ((yaw - cell_yaw) ** 2 + (pitch - cell_pitch) ** 2) / VIEW_BANDWIDTH_DEGREES**2
        near = np.exp(-0.5 * distance) + 1e-4 / (1 + distance)
        near /= near.sum()
        clipped = np.minimum(np.linalg.norm(residual, axis=2), 0.03)
        deviation[cell] = np.sqrt(near @ clipped**2 / 2 + LEAST_DEVIATION_M**2)
    deviation = deviation.reshape(shape[:3])
    draft = LandmarkCalibration(detector, YAW_GRID, PITCH_GRID, vertex, weight, deviation, np.zeros((2 * count, 1)))
    whitened = np.stack([level_residual(draft, s) / draft.deviation_in(s.view)[:, None] for s in samples])
    factor = shared_factor(np.clip(whitened.reshape(len(samples), -1), -4, 4))
    return LandmarkCalibration(detector, YAW_GRID, PITCH_GRID, vertex, weight, deviation, factor)


def level_residual(calibration: LandmarkCalibration, sample: Sample) -> np.ndarray:
    """Detected minus calibrated points in an image with a level eye line: (L, 2) metres at the face."""
    camera = sample.photograph.camera
    expected = camera.project(calibration.embedding(sample.view).apply(sample.photograph.vertices.astype(np.float64)))
    return (sample.points - expected) @ level_axes(sample).T * camera.translation[2] / camera.fx


def level_axes(sample: Sample) -> np.ndarray:
    """(2, 2) unit vectors in the picture: along the line of the detected eyes, and down from it."""
    across = sample.points[263] - sample.points[33]
    across = across / np.linalg.norm(across)
    return np.array([[across[0], across[1]], [-across[1], across[0]]])


def shared_factor(standardised: np.ndarray, factors: int = SHARED_FACTORS) -> np.ndarray:
    """(N, 2 L) standardised residuals -> (2 L, factors) such that F F^T holds most of their correlation."""
    covariance = standardised.T @ standardised / len(standardised)
    spread = np.sqrt(np.diag(covariance)) + 1e-9
    values, vectors = np.linalg.eigh(covariance / np.outer(spread, spread))
    order = np.argsort(values)[::-1][:factors]
    rest = max((values.sum() - values[order].sum()) / (len(values) - factors), 0.0)
    factor = vectors[:, order] * np.sqrt(np.maximum(values[order] - rest, 0.0))
    too_much = np.maximum(np.linalg.norm(factor, axis=1, keepdims=True) / np.sqrt(0.97), 1.0)
    return factor / too_much


def skin_triangles(model: OpenHead) -> np.ndarray:
    """(T,) bool: the triangles of the skin."""
    part = model.topology.part("skin")
    face = model.topology.triangle_face
    return (face >= part.start) & (face < part.stop)


def _on_surface(
    model: OpenHead, points: np.ndarray, without: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The nearest places on the mean head's skin: vertices (N, 3) and barycentric coordinates (N, 3).

    Args:
        points: (N, 3) metres.
        without: (V,) bool, vertices of skin that is left out: the other lip, which lies on the first.
    """
    skin = model.topology.triangles[skin_triangles(model)]
    if without is not None:
        skin = skin[~without[skin].any(axis=1)]
    nearest, triangle = Surface(model.mean, skin).closest(points)
    barycentric = barycentric_coordinates(nearest, model.mean[skin[triangle]].astype(np.float64))
    barycentric = np.clip(barycentric, 0, 1)
    return skin[triangle], barycentric / barycentric.sum(1, keepdims=True)


def collected(parser: argparse.ArgumentParser, arguments: list[str], people: int, seed: int):
    """What a command that learns of a detector needs: its options, the open head, the detector and `collect`'s samples.

    Args:
        parser: with the command's own options; `--people`, `--seed` and `--detector` are added.
        arguments: of the command.
        people, seed: where none are asked for.
    """
    parser.add_argument("--people", type=int, default=people)
    parser.add_argument("--seed", type=int, default=seed)
    parser.add_argument("--detector", choices=DETECTORS, default="face-mesh", help="tasks: needs face_landmarker.task")
    options = parser.parse_args(arguments)
    model, detector = load_face_model("open_head"), DETECTORS[options.detector]()
    return options, model, detector, collect(model, detector, options.people, options.seed)


def main(arguments: list[str]) -> int:
    """`python3 -m training calibrate [--detector tasks] [--people N] [--seed S] [--output FILE]`."""
    parser = argparse.ArgumentParser(prog="python3 -m training calibrate", description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, help="default: the file in backend/assets")
    options, model, detector, samples = collected(parser, arguments, people=3000, seed=1)
    calibration = learn(model, samples, detector.name)
    output = options.output or FILES[detector.name]
    calibration.save(output)
    print(f"{len(samples)} of {options.people} people were detected; median deviation in front "
          f"{1000 * np.median(calibration.deviation[len(YAW_GRID) // 2, len(PITCH_GRID) // 2]):.2f} mm. "
          f"Written: {output}")  # fmt: skip
    return 0
