"""Speed and memory of the backend on two CPU cores, beside what they should be at most."""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CORES = 2
TEXTURE_SIZE = 2048
REPEATS = 3
LIMITS = {  # seconds, and MB for the memory
    "start of the process to ready": 4.0,
    "one photograph to result folder": 7.0,
    "one photograph, --no-detail": 4.0,
    "three photographs, --no-detail": 8.0,
    "building the Blender object": 0.5,
    "peak memory (MB)": 2000.0,
}


def measure(photographs: list[Path], say: Callable[[str], None]) -> str:
    """Runs the measurement in a process of its own. Returns a table.

    Args:
        photographs: of one person; the first is used alone. Where there are fewer than three they are repeated.
        say: told what is being measured.
    """
    figures: dict[str, float] = {}
    stages: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="lifemask-bench-") as scratch:
        say(f"Measuring on {CORES} cores, {REPEATS} runs each ...")
        found = _run_worker(photographs, Path(scratch))
        figures |= found["figures"]
        stages |= found["stages"]
        say("Measuring the Blender files ...")
        blender = _blender_seconds(Path(scratch) / "one")
    if "build the head" in blender:
        figures["building the Blender object"] = blender["build the head"]
    lines = ["", _machine(), f"{'':40} {'measured':>9} {'at most':>9}"]
    lines += [f"{name:40} {figures[name]:9.2f} {limit:9.2f}" for name, limit in LIMITS.items() if name in figures]
    lines += [f"{name:40} {'not here':>9} {limit:9.2f}" for name, limit in LIMITS.items() if name not in figures]
    lines += ["", "Stages of one photograph, seconds", *(f"  {s:7.2f}  {name}" for name, s in stages.items())]
    if blender:
        lines += ["", "Blender, seconds", *(f"  {s:7.2f}  {name}" for name, s in blender.items())]
    return "\n".join(lines)


def _run_worker(photographs: list[Path], scratch: Path) -> dict:
    variables = os.environ | {"OMP_NUM_THREADS": str(CORES), "MKL_NUM_THREADS": str(CORES)}
    answer = scratch / "answer.json"
    command = [sys.executable, "-m", "backend.bench", "--scratch", str(scratch), "--started", repr(time.time())]
    subprocess.run([*command, *map(str, photographs)], cwd=ROOT, env=variables, check=True)
    return json.loads(answer.read_text("utf-8"))


def _work(photographs: list[Path], scratch: Path, started: float) -> None:
    """The worker: measures and writes scratch/answer.json; leaves a photograph's result in scratch/one."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
    import numpy as np
    import torch

    from backend import pipeline
    from backend.calibration import load_calibration
    from backend.detection import detect_faces
    from backend.face_models import load_face_model
    from backend.options import ReconstructOptions

    torch.set_num_threads(CORES)
    load_face_model("open_head")
    load_calibration()
    detect_faces(np.zeros((128, 128, 3), np.uint8))
    figures = {"start of the process to ready": time.time() - started}
    three = [photographs[i % len(photographs)] for i in range(3)]
    runs = (
        ("three photographs, --no-detail", three, False),
        ("one photograph, --no-detail", photographs[:1], False),
        ("one photograph to result folder", photographs[:1], True),
    )
    for name, pictures, detail in runs:
        options = ReconstructOptions(texture_size=TEXTURE_SIZE, overwrite=True, detail=detail)
        seconds = []
        for _ in range(REPEATS):
            began = time.perf_counter()
            report = pipeline.reconstruct(pictures, scratch / "one", options)
            seconds.append(time.perf_counter() - began)
        figures[name] = statistics.median(seconds)
    stages = report.timings
    if (peak := _peak_memory_mb()) is not None:
        figures["peak memory (MB)"] = peak
    (scratch / "answer.json").write_text(json.dumps({"figures": figures, "stages": stages}), "utf-8")


def _machine() -> str:
    """The kind of machine, in words."""
    processor = platform.processor() or platform.machine()
    if (described := Path("/proc/cpuinfo")).is_file():
        names = [line.partition(":")[2].strip() for line in described.read_text().splitlines() if "model name" in line]
        processor = names[0] if names else processor
    return f"{platform.system()} {platform.machine()}, {processor}, {CORES} of {os.cpu_count()} cores used"


def _peak_memory_mb() -> float | None:
    if sys.platform == "win32":
        return None
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def _blender_seconds(result: Path) -> dict[str, float]:
    """Seconds by step; empty where Blender is not installed."""
    from backend.blender_files import export

    seconds: dict[str, float] = {}
    export(result, ("blend", "fbx", "glb", "obj"), lambda step, taken: seconds.update({step: taken}))
    return seconds if "build the head" in seconds else {}


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("photographs", type=Path, nargs="+")
    parser.add_argument("--scratch", type=Path, required=True)
    parser.add_argument("--started", type=float, required=True)
    given = parser.parse_args()
    _work(given.photographs, given.scratch, given.started)
