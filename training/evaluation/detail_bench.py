"""How long the displacement maps of one photograph take: `evaluate attribute-detail --bench`.

With one thread and with two: what the photograph is trusted with, the attributes, the ten maps, the files. The head is
fitted before; on a busy machine the figures say little.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import torch

from backend.bench import CORES, _machine
from backend.cli import DEMO_PHOTOGRAPH
from backend.detail_trust import detail_trust
from backend.fitting import FittedHead
from backend.methods.attribute_detail import AttributeDetail
from backend.photographs import Photograph, load_photograph
from backend.pipeline import fit_photographs
from backend.skin_detail import SkinDetail
from backend.texture_evidence import Evidence, HeadRegions, TextureView
from backend.unwrapped_face import UnwrappedFace, texels, unwrap
from training.evaluation.deep_fusion_bench import BUSY_LOAD, median_seconds

MAP_SIZE = 1024
REPEATS = 3
MOST_SECONDS = 3.0
"""For all maps of one photograph, on two cores."""
ALL = "all of it"


def measure_bench(method: AttributeDetail, photograph: Path = DEMO_PHOTOGRAPH) -> tuple[str, dict[str, Any]]:
    """A table in words, and the figures: "load", and "seconds" by number of threads and step."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    picture = load_photograph(photograph)
    head = fit_photographs([picture.image], [picture.focal_35mm])
    figures: dict[str, Any] = {"load": load, "seconds": {}}
    for threads in range(1, CORES + 1):
        with _threads(threads):
            figures["seconds"][threads] = time_maps(method, head, picture)
    return table(figures), figures


def table(figures: dict[str, Any]) -> str:
    """In words; see `measure_bench`."""
    seconds = figures["seconds"]
    lines = [_machine()]
    if figures["load"] is not None and figures["load"] > BUSY_LOAD:
        lines.append(f"THE MACHINE IS BUSY (load {figures['load']:.1f}): these are no figures of what it can do")
    lines.append(f"displacement maps of one photograph, seconds, median of {REPEATS} after a warm-up")
    lines.append(f"  {'threads':36} " + " ".join(f"{threads:>7}" for threads in seconds))
    most = max(seconds)
    for name in seconds[most]:
        lines.append(f"  {name:36} " + " ".join(f"{seconds[threads][name]:7.2f}" for threads in seconds))
    verdict = "reached" if seconds[most][ALL] <= MOST_SECONDS else "NOT reached"
    lines[-1] += f"   at most {MOST_SECONDS:.0f} with {most} threads: {verdict}"
    return "\n".join(lines)


def time_maps(
    method: AttributeDetail, head: FittedHead, picture: Photograph, size: int = MAP_SIZE, repeats: int = REPEATS
) -> dict[str, float]:
    """Seconds of each step and of `ALL`.

    Args:
        method: with the network.
        head: fitted to the photograph.
        picture: the photograph.
        size: side of the maps.
        repeats: how many runs count, after one that does not.
    """
    model, found = head.model, head.photographs[0]
    evidence = Evidence(model, HeadRegions.of(model), TextureView(found.posed, found.camera, picture.image))
    evidence.shown(found.posed[:1], found.posed[:1])  # the texture has looked at the photograph before

    def laid_out() -> UnwrappedFace:
        points, normals = texels(method.layout, found.posed)
        flat = points.reshape(-1, 3), normals.reshape(-1, 3)
        trust, _ = detail_trust(model, found.posed, found.camera, picture.image, *flat, evidence=evidence)
        trust = trust.reshape(points.shape[:2])
        return unwrap(method.layout, points, trust, found.posed, head.neutral, found.camera, picture.image)

    face = laid_out()
    maps = method.maps(model, [face], head.keys, size)

    def write() -> None:
        with tempfile.TemporaryDirectory(prefix="lifemask-bench-") as folder:
            SkinDetail(maps, {}).write(Path(folder))

    steps: dict[str, Callable[[], object]] = {
        "trust and unwrapped photograph": laid_out,
        "attributes": lambda: method.attributes(face),
        f"attributes and {len(maps.by_name())} maps of {size} texels": lambda: method.maps(
            model, [face], head.keys, size
        ),
        "writing the files": write,
    }
    seconds = {name: median_seconds(work, repeats) for name, work in steps.items()}
    return seconds | {ALL: sum(seconds.values()) - seconds["attributes"]}


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(count)
    cv2.setNumThreads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        cv2.setNumThreads(before[1])
