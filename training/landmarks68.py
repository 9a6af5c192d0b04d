"""Learns how the jaw's landmarks follow from a detector's 478: `python3 -m training calibrate-landmarks68`.

Synthetic people are detected; the true points of their jaws are regressed on the detected points near them. Everything
is mirrored too, so that left and right are treated alike. The other landmarks are left where the detector finds them:
on brows, eyes, nose and lips it looks for the same places, and what is left there on rendered heads is the head's (its
own points of the upper lip lie above the red of the lips), not the detector's.
"""

from __future__ import annotations

import argparse
import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
import torch
from tqdm import tqdm

from backend.detection import detect_faces, detector_name
from backend.face_mesh_points import FIRST_IRIS, MIRROR
from backend.landmarks68 import ASSET, JAW, JAW_COUNT, NEAREST, Landmarks68Table, turn_of

NEIGHBOURS = 12
SIZE = 288
PICTURES_PER_PERSON = 2
HELD_OUT_SHARE = 0.25
RIDGE = 1e-3
"""Holds the weights back, in squares of faces of height 1. A tenth of it made weights of 11 that scatter the points."""
FARTHEST_MISS = 0.35
"""A detection whose points are off by more than this on the average, in distances of the outer eye corners, has found
something else."""
MIRROR68 = np.array(
    [*range(16, -1, -1), *range(26, 16, -1), 27, 28, 29, 30, 35, 34, 33, 32, 31, 45, 44, 43, 42, 47, 46, 39, 38, 37, 36,
     41, 40, 54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55, 64, 63, 62, 61, 60, 67, 66, 65]
)  # fmt: skip
"""(68,) in a mirrored picture, the point that has taken each point's place."""
YAW_GROUPS = ((0.0, 20.0), (20.0, 45.0), (45.0, 80.0))


@dataclass(frozen=True)
class Detections:
    """Detected synthetic people.

    Attributes:
        points478: (N, 478, 2) detected pixels; points68: (N, 68, 2) true pixels.
        yaw: (N,) degrees; person: (N,) int64.
    """

    points478: np.ndarray
    points68: np.ndarray
    yaw: np.ndarray
    person: np.ndarray

    @property
    def scale(self) -> np.ndarray:
        """(N,) pixels that stand for the size of the face at any turn: brows to chin, upright."""
        return np.linalg.norm(self.points68[:, 8] - self.points68[:, 27], axis=1)

    def rows(self, chosen: np.ndarray) -> Detections:
        return Detections(self.points478[chosen], self.points68[chosen], self.yaw[chosen], self.person[chosen])

    def mirrored(self) -> Detections:
        """The same faces in the mirror."""
        flip = np.array([-1.0, 1.0])
        return Detections(self.points478[:, MIRROR] * flip, self.points68[:, MIRROR68] * flip, -self.yaw, self.person)


def joined(parts: list[Detections]) -> Detections:
    """Several as one."""
    names = ("points478", "points68", "yaw", "person")
    return Detections(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def collect(seed: int, people: int, processes: int) -> tuple[Detections, int]:
    """Makes and detects people; returns the found ones, and how many pictures there were."""
    batches = np.array_split(np.arange(people), max(people // 10, 1))
    work = [(seed, batch) for batch in batches]
    if processes > 1:
        with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
            found = list(tqdm(pool.map(_collect, *zip(*work, strict=True)), total=len(work), desc="tens of people"))
    else:
        found = [_collect(*entry) for entry in tqdm(work, desc="tens of people")]
    return joined(found), people * PICTURES_PER_PERSON


def _collect(seed: int, persons: np.ndarray) -> Detections:
    from training.data.generator import SyntheticPeople

    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    album = SyntheticPeople(seed, SIZE, pictures_per_person=PICTURES_PER_PERSON)
    found = []
    for index in (persons[:, None] * PICTURES_PER_PERSON + np.arange(PICTURES_PER_PERSON)).reshape(-1):
        sample = album.photograph(int(index))
        faces = detect_faces(sample.image)
        if not faces:
            continue
        own = np.linalg.norm(sample.landmarks68[8] - sample.landmarks68[27])
        miss = np.linalg.norm(faces[0].points[NEAREST] - sample.landmarks68, axis=1).mean()
        if miss < FARTHEST_MISS * own:
            found.append((faces[0].points, sample.landmarks68.astype(np.float64), sample.yaw, sample.person))
    if not found:
        return Detections(np.zeros((0, 478, 2)), np.zeros((0, 68, 2)), np.zeros(0), np.zeros(0, np.int64))
    return Detections(*(np.array(column) for column in zip(*found, strict=True)))


def learn(found: Detections) -> Landmarks68Table:
    """The table from detections and their mirror images."""
    both = joined([found, found.mirrored()])
    scale = both.scale[:, None, None]
    points, wanted = both.points478 / scale, both.points68 / scale
    turned = turn_of(both.points478)
    powers = np.stack([turned**0, turned, turned**2], 1)  # (N, 3)
    neighbours = nearest_points(points[np.abs(turned) < 0.4])
    weights = np.zeros((3, JAW_COUNT, NEIGHBOURS))
    for row, (nearest, near) in enumerate(zip(JAW, neighbours, strict=True)):
        offsets = points[:, near] - points[:, nearest, None]  # (N, K, 2)
        terms = np.einsum("nm,nkc->ncmk", powers, offsets).reshape(2 * len(points), -1)
        values = (wanted[:, row] - points[:, nearest]).reshape(-1)
        normal = terms.T @ terms + RIDGE * np.eye(terms.shape[1])
        weights[:, row] = np.linalg.solve(normal, terms.T @ values).reshape(3, NEIGHBOURS)
    return Landmarks68Table(neighbours, weights)


def nearest_points(points: np.ndarray) -> np.ndarray:
    """(17, K) the points of the 478 that lie nearest to each of the jaw's own, in faces (N, 478, 2) of one scale."""
    middle = points - points.mean(axis=1, keepdims=True)
    mean = middle.mean(axis=0)[:FIRST_IRIS]
    distance = np.linalg.norm(mean[list(JAW)][:, None] - mean[None], axis=2)
    chosen = np.argsort(distance, axis=1)[:, 1 : NEIGHBOURS + 1]
    for row in range(JAW_COUNT // 2):  # the left half as the right one
        chosen[JAW_COUNT - 1 - row] = MIRROR[chosen[row]]
    return chosen


def errors(found: Detections, table: Landmarks68Table | None) -> np.ndarray:
    """(N, 17) distances of the jaw from the truth, in percent of the way from the nose's root to the chin.

    Args:
        table: None measures the nearest points as they are.
    """
    points = found.points478[:, NEAREST] if table is None else table.apply(found.points478)
    off = np.linalg.norm(points - found.points68, axis=2)[:, :JAW_COUNT]
    return 100 * off / found.scale[:, None]


def report(held_out: Detections, table: Landmarks68Table) -> str:
    """A table of mean errors on held-out people."""
    lines = [f"{'jaw, mean error, %':<20}{'nearest point':>15}{'calibrated':>12}"]
    before, after = errors(held_out, None), errors(held_out, table)
    for low, high in ((0.0, 90.0), *YAW_GROUPS):
        inside = (np.abs(held_out.yaw) >= low) & (np.abs(held_out.yaw) < high)
        if inside.any():
            name = f"yaw {low:.0f} to {high:.0f}"
            lines.append(f"{name:<20}{before[inside].mean():>15.2f}{after[inside].mean():>12.2f}")
    return "\n".join(lines)


def main(arguments: list[str]) -> int:
    """`python3 -m training calibrate-landmarks68 [--people N] [--seed S] [--output FILE]`."""
    parser = argparse.ArgumentParser(
        prog="python3 -m training calibrate-landmarks68", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--people", type=int, default=40)
    parser.add_argument("--seed", type=int, default=68)
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--output", type=Path, default=ASSET, help="default: the file in backend/assets")
    options = parser.parse_args(arguments)
    found, count = collect(options.seed, options.people, options.processes)
    is_held_out = found.person >= options.people * (1 - HELD_OUT_SHARE)
    learning, held_out = found.rows(~is_held_out), found.rows(is_held_out)
    table = learn(learning)
    print(f"{detector_name()}: {len(found.yaw)} of {count} pictures were detected.")
    print(report(held_out, table))
    np.savez_compressed(
        options.output, neighbours=table.neighbours.astype(np.int16), weights=table.weights.astype(np.float32)
    )
    print(f"Written: {options.output}")
    return 0
