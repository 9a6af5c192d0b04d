"""How long deep fusion takes: `evaluate deep-fusion --bench`.

Three photographs of 768 pixels to result codes, with detection, Eye Motion and the network that fuses them apart; and
with --paper one answer of networks as large as the paper's, with random weights, and the memory that it takes. Each is
measured in a process of its own on `CORES` cores.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from backend.bench import CORES, ROOT, _machine, _peak_memory_mb
from backend.detection import find_face
from backend.face_parsing import PAPER_FORM, PARSING_CLASSES, FaceParser, read_face_parser
from backend.methods.deep_fusion import METHOD, coded_views
from backend.methods.deep_fusion_network import DeepFusionNetwork, network_input
from backend.networks.bisenet import BiSeNet
from backend.view_order import SLOTS
from backend.weights import load_weights

if TYPE_CHECKING:
    from backend.methods.deep_fusion import DeepFusion

PICTURE_SIZE = 768
REPEATS = 5
MOST_SECONDS = 1.5
"""For three photographs to result codes."""
ALL = "three photographs to result codes"
PARTS = ("detection", "Eye Motion", "fusion network and parser")
PAPER_WORDS = "paper: 244 ms on an RTX 3090"
PICTURES_SEED = 9_024_012


def measure_bench(weights: str, parser: str, *, paper: bool) -> tuple[str, dict[str, Any]]:
    """A table in words, and the figures.

    Args:
        weights, parser: names or files, see `DeepFusion.load`.
        paper: whether networks of the paper's size are measured, too.

    Raises:
        UsageError: weights are missing or of something else.
    """
    load_weights(weights, METHOD)  # here, where it is said in a sentence
    read_face_parser(parser)
    figures: dict[str, Any] = {"seconds": _in_a_process("codes", weights, parser)}
    if paper:
        devices = ["cpu"] + ["cuda"] * torch.cuda.is_available()
        figures["paper"] = [_in_a_process("paper", device) for device in devices]
    return table(figures), figures


def table(figures: dict[str, Any]) -> str:
    """In words.

    Args:
        figures: "seconds", see `time_codes`, and perhaps "paper", a list of what `cost_of_paper` found.
    """
    seconds = figures["seconds"]
    verdict = "reached" if seconds[ALL] <= MOST_SECONDS else "NOT reached"
    lines = [_machine(), f"three photographs of {PICTURE_SIZE} px, seconds, median of {REPEATS} after a warm-up"]
    lines += [f"  {name:36} {seconds[name]:7.3f}" for name in PARTS]
    lines.append(f"  {ALL:36} {seconds[ALL]:7.3f}   at most {MOST_SECONDS} on two cores: {verdict}")
    for found in figures.get("paper", ()):
        memory = "?" if found["peak_mb"] is None else f"{found['peak_mb']:.0f} MB"
        lines.append(
            f"networks as large as the paper's, three views of {found['size']} px, {found['device']}: "
            f"{1e3 * found['seconds']:.0f} ms, peak memory {memory} ({PAPER_WORDS})"
        )
    return "\n".join(lines)


def time_codes(method: DeepFusion, photographs: Sequence[np.ndarray], repeats: int = REPEATS) -> dict[str, float]:
    """Seconds, the median of several runs after one that does not count, by `PARTS` and `ALL`.

    Args:
        method: with its weights.
        photographs: (H, W, 3) uint8 sRGB, for each of `SLOTS` one.
        repeats: how many runs count.
    """

    def detect():
        return [find_face(photograph, slot, 1) for photograph, slot in zip(photographs, SLOTS, strict=True)]

    faces = detect()
    views = [(photograph, face.points) for photograph, face in zip(photographs, faces, strict=True)]
    steps: dict[str, Callable[[], object]] = {
        "detection": detect,
        "Eye Motion": lambda: [method.eye_motion.codes(*each) for each in zip(photographs, faces, strict=True)],
        "fusion network and parser": lambda: coded_views(method.network, views, method.parser),
        ALL: lambda: method.codes_of(photographs, detect()),
    }
    return {name: median_seconds(work, repeats) for name, work in steps.items()}


def median_seconds(work: Callable[[], object], repeats: int) -> float:
    """Of several runs after one that does not count."""
    taken = []
    for _ in range(1 + repeats):
        began = time.perf_counter()
        work()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken[1:])


def cost_of_paper(network: DeepFusionNetwork, parser: FaceParser, device: str, repeats: int = REPEATS) -> dict:
    """What one answer from three aligned crops costs: {"device", "size", "parameters", "seconds", "peak_mb"}.

    Args:
        network, parser: in evaluation mode; `peak_mb` is of the process, or of what they hold on a graphics card; None
            where the system does not say.
        device: torch device.
        repeats: how many runs count.
    """
    network, parser = network.to(device), parser.to(device)
    size = network.camera.size
    images = torch.rand(len(SLOTS), 3, size, size, device=device)
    landmarks = torch.rand(1, len(SLOTS), 478, 2, device=device) if network.sees_landmarks else None

    def answer():
        with torch.inference_mode():
            codes = network.decode(network(network_input(images, parser.labels(images))[None], landmarks))
            return codes.identity.cpu()  # waits for the graphics card

    seconds = median_seconds(answer, repeats)
    on_card = torch.device(device).type == "cuda"
    return {
        "device": torch.cuda.get_device_name() if on_card else "CPU",
        "size": size,
        "parameters": sum(values.numel() for values in (*network.parameters(), *parser.parameters())),
        "seconds": seconds,
        "peak_mb": torch.cuda.max_memory_allocated() / 1e6 if on_card else _peak_memory_mb(),
    }


def photographs_of_a_person() -> list[np.ndarray]:
    """A synthetic person, for each of `SLOTS` a portrait (768, 768, 3) uint8."""
    from training.data.generator import SyntheticPeople

    return [sample.image for sample in SyntheticPeople(PICTURES_SEED, PICTURE_SIZE).turned(0, (45.0, 0.0, -45.0))]


def _in_a_process(*words: str) -> dict[str, Any]:
    variables = os.environ | {"OMP_NUM_THREADS": str(CORES), "MKL_NUM_THREADS": str(CORES)}
    command = [sys.executable, "-m", "training.evaluation.deep_fusion_bench", *map(str, words)]
    ended = subprocess.run(command, cwd=ROOT, env=variables, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(ended.stdout.splitlines()[-1])


def _work(what: str, words: list[str]) -> dict[str, Any]:
    """The worker: what it measured."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
    torch.set_num_threads(CORES)
    if what == "paper":
        parser = FaceParser(BiSeNet(len(PARSING_CLASSES)), PAPER_FORM)
        return cost_of_paper(DeepFusionNetwork().eval(), parser.eval(), *words)
    from backend.methods.deep_fusion import DeepFusion

    weights, parsing = words
    return time_codes(DeepFusion.load(weights, parser=parsing), photographs_of_a_person())


if __name__ == "__main__":
    given = argparse.ArgumentParser()
    given.add_argument("what", choices=("codes", "paper"))
    given.add_argument("words", nargs="+")
    chosen = given.parse_args()
    print(json.dumps(_work(chosen.what, chosen.words)))
