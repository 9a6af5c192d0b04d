"""How fast the rasterizers are on two CPU cores: forward, and forward with the gradient, beside pytorch3d."""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np

from .bench import CORES, ROOT, _machine

SIZES = (224, 512)
BATCHES = (1, 16)
HEAD_TRIANGLES, DENSE_TRIANGLES = 9_500, 70_000
REPEATS = 7
SECONDS_AT_MOST = 20.0
"""Of one figure: a slow rasterizer is measured less often."""
MOST_MILLISECONDS = 8.0
"""For one image of 224 x 224 pixels of the head, forward, with one triangle list and interpolated colours."""
MOST_BACKWARD = 2.0
"""Times the forward pass that the gradient may cost."""


def measure_render(say: Callable[[str], None]) -> str:
    """Runs the measurement in a process of its own. Returns a table, milliseconds an image."""
    say(f"Rendering on {CORES} cores ...")
    variables = os.environ | {"OMP_NUM_THREADS": str(CORES), "MKL_NUM_THREADS": str(CORES)}
    command = [sys.executable, "-m", "backend.bench_render"]
    ended = subprocess.run(command, cwd=ROOT, env=variables, check=True, stdout=subprocess.PIPE, text=True)
    rows = json.loads(ended.stdout.splitlines()[-1])
    lines = [
        "",
        _machine(),
        "milliseconds an image: the rasterizer and three interpolated channels; best and median run",
    ]
    lines.append(
        f"{'rasterizer':11} {'triangles':>9} {'pixels':>7} {'batch':>5} {'forward':>9} {'median':>8} "
        f"{'+ gradient':>10} {'median':>8} {'backward/forward':>17}"
    )
    for row in rows:
        lines.append(
            f"{row['rasterizer']:11} {row['triangles']:9} {row['size']:7} {row['batch']:5} {row['forward']:9.2f} "
            f"{row['forward_median']:8.2f} {row['both']:10.2f} {row['both_median']:8.2f} "
            f"{(row['both'] - row['forward']) / row['forward']:17.2f}"
        )
    lines.append(
        f"wanted: forward at most {MOST_MILLISECONDS:.0f} ms for the head at 224, backward at most "
        f"{MOST_BACKWARD:.0f} times the forward"
    )
    if not any(row["rasterizer"] == "pytorch3d" for row in rows):
        lines.append("pytorch3d is not installed here")
    return "\n".join(lines)


def head_meshes() -> list[tuple[np.ndarray, np.ndarray]]:
    """Vertices (V, 3) float32, metres, and triangles (T, 3): the open head cut to `HEAD_TRIANGLES`, and divided until
    it has about `DENSE_TRIANGLES`."""
    from .face_models import load_face_model

    head = load_face_model("open_head")
    quads = head.topology.faces
    quads = np.where(quads < 0, quads[:, :1], quads).astype(np.int64)
    triangles = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]], axis=1).reshape(-1, 3)
    dense = divided(*divided(head.mean, triangles, len(triangles)), (DENSE_TRIANGLES - 4 * len(triangles)) // 3)
    return [(head.mean, triangles[:HEAD_TRIANGLES]), dense]


def divided(vertices: np.ndarray, triangles: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The first `count` triangles cut in four at the middles of their edges."""
    chosen = triangles[:count]
    edges = np.sort(np.concatenate([chosen[:, [0, 1]], chosen[:, [1, 2]], chosen[:, [2, 0]]]), axis=1)
    unique, number = np.unique(edges, axis=0, return_inverse=True)
    a, b, c = chosen.T
    ab, bc, ca = number.reshape(3, -1) + len(vertices)
    small = [np.stack(corners, 1) for corners in ((a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca))]
    middles = vertices[unique].mean(axis=1)
    return np.concatenate([vertices, middles]).astype(np.float32), np.concatenate([*small, triangles[count:]])


def time_rasterizer(name: str, vertices: np.ndarray, triangles: np.ndarray, size: int, batch: int) -> dict:
    """Milliseconds an image, best and median: {"forward", "forward_median", "both", "both_median", ...}."""
    import torch

    from .rendering.camera import Camera
    from .rendering.interpolation import barycentric_interpolate
    from .rendering.rasterizers import rasterizer_named

    rasterize = rasterizer_named(name)
    cameras = [Camera.orbit(yaw, 0.1, 0.9, size) for yaw in np.linspace(-0.6, 0.6, batch)] if batch > 1 else None
    cameras = cameras or [Camera.orbit(0.3, 0.1, 0.9, size)]
    seen = torch.tensor(np.stack([camera.to_camera(vertices) for camera in cameras]), dtype=torch.float32)
    faces = torch.tensor(triangles)
    intrinsics = torch.tensor(cameras[0].intrinsics, dtype=torch.float32)
    colours = torch.rand(1, len(vertices), 3, generator=torch.Generator().manual_seed(0))
    weights = torch.rand(batch, 3, size, size, generator=torch.Generator().manual_seed(1))

    def render(points, attributes):
        return barycentric_interpolate(attributes, faces, rasterize(points, faces, intrinsics, (size, size)))

    def forward():
        with torch.no_grad():
            render(seen, colours)

    def both():
        points, attributes = seen.clone().requires_grad_(), colours.clone().requires_grad_()
        (render(points, attributes) * weights).sum().backward()

    figures: dict = {"rasterizer": name, "triangles": len(triangles), "size": size, "batch": batch}
    for key, work in (("forward", forward), ("both", both)):
        work()
        taken: list[float] = []
        while len(taken) < REPEATS and sum(taken) < SECONDS_AT_MOST:
            began = time.perf_counter()
            work()
            taken.append(time.perf_counter() - began)
        figures |= {key: 1e3 * min(taken) / batch, f"{key}_median": 1e3 * float(np.median(taken)) / batch}
    return figures


def _work() -> None:
    """The worker: prints a JSON list."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
    import torch

    from .rendering.rasterizers import pytorch3d_is_installed

    torch.set_num_threads(CORES)
    names = ["torch"] + ["pytorch3d"] * pytorch3d_is_installed()
    meshes = head_meshes()
    rows = [
        time_rasterizer(name, *mesh, size, batch)
        for name in names
        for mesh in meshes
        for size in SIZES
        for batch in BATCHES
    ]
    print(json.dumps(rows))


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_args()
    _work()
