"""How long face models take to load and to make a person of, and how much memory they hold."""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from .bench import CORES, ROOT, _machine

MOST_SECONDS = 1.0
"""To load a model whose file the system has read before, in a process of its own."""
REPEATS = 5


def measure_face_models(say: Callable[[str], None]) -> str:
    """Loads every face model that is here in processes of their own. Returns a table."""
    from .options import face_model_names

    rows = []
    for name in face_model_names():
        say(f"Loading {name}, first from the disk, then again ...")
        cold = measure_one(name, forget=True)
        rows.append((cold, measure_one(name, forget=False)))
    return table(rows)


def measure_one(name: str, *, forget: bool) -> dict:
    """What one new process measures of a face model, see `_work`.

    Args:
        name: of the model.
        forget: let the system forget what it has read of the model's file, where it can be asked to.
    """
    variables = os.environ | {"OMP_NUM_THREADS": str(CORES), "MKL_NUM_THREADS": str(CORES)}
    command = [sys.executable, "-m", "backend.bench_face_models", name] + ["--forget"] * forget
    ended = subprocess.run(command, cwd=ROOT, env=variables, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(ended.stdout.splitlines()[-1])


def table(rows: list[tuple[dict, dict]]) -> str:
    """The figures in words and columns.

    Args:
        rows: for each model what the first process found, after the file was forgotten, and what the second one did.
    """
    lines = [
        "",
        _machine(),
        f"{'face model':14} {'vertices':>8} {'keys':>5} {'modes':>5} {'file MB':>8} {'cold s':>7} {'warm s':>7} "
        f"{'holds MB':>9} {'neutral ms':>10} {'keys ms':>8} {'first person ms':>15}",
    ]
    for cold, warm in rows:
        memory = f"{warm['holds_mb']:9.1f}" if warm["holds_mb"] is not None else f"{'?':>9}"
        first = f"{cold['load_s']:7.3f}" if cold["forgotten"] else f"{'?':>7}"
        lines.append(
            f"{warm['name']:14} {warm['vertices']:8} {warm['keys']:5} {warm['modes']:5} {warm['file_mb']:8.1f} {first} "
            f"{warm['load_s']:7.3f} {memory} {warm['neutral_ms']:10.1f} {warm['keys_ms']:8.1f} {warm['first_ms']:15.1f}"
        )
    slowest = max(rows, key=lambda row: row[1]["load_s"])[1]
    verdict = "reached" if slowest["load_s"] <= MOST_SECONDS else f"NOT reached by {slowest['name']}"
    lines += [
        "cold: the system had to read the file from the disk; warm: a second process, which still reads it into memory",
        "of its own; holds: what the process grows by until a person's neutral head and keys are made; keys: the 52 of",
        f"one person, lids solved. wanted: warm at most {MOST_SECONDS:.0f} s: {verdict}",
    ]
    return "\n".join(lines)


def _work(name: str, forget: bool) -> None:
    """The worker: prints one JSON object.

    `load_s` seconds, `forgotten` whether the file was out of the system's memory, `file_mb`, `holds_mb` (None where the
    system does not say), `vertices`, `keys`, `modes`, `first_ms` the first person's neutral head and keys,
    `neutral_ms` and `keys_ms` those of later people, median.
    """
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
    import numpy as np

    from backend import asset_store
    from backend.face_models import load_face_model

    file = asset_store.model_path(name) or asset_store.OPEN_HEAD_FILE
    forgotten = forget and _forget(file)
    before = _resident_mb()
    began = time.perf_counter()
    model = load_face_model(name)
    loaded = time.perf_counter() - began
    identity = np.random.default_rng(0).standard_normal((REPEATS + 1, model.identity_size))
    began = time.perf_counter()
    model.key_offsets(model.neutral(identity[0]))
    first = time.perf_counter() - began
    neutral, keys = [], []
    for person in identity[1:]:
        began = time.perf_counter()
        head = model.neutral(person)
        between = time.perf_counter()
        model.key_offsets(head)
        neutral.append(between - began)
        keys.append(time.perf_counter() - between)
    after = _resident_mb()
    found = {
        "name": name,
        "load_s": loaded,
        "forgotten": forgotten,
        "file_mb": file.stat().st_size / 1e6,
        "holds_mb": None if before is None or after is None else after - before,
        "vertices": len(model.mean),
        "keys": len(model.key_names),
        "modes": model.identity_size,
        "first_ms": 1000 * first,
        "neutral_ms": 1000 * statistics.median(neutral),
        "keys_ms": 1000 * statistics.median(keys),
    }
    print(json.dumps(found))


def _forget(file: Path) -> bool:
    """Lets the system forget what it has read of a file; False where it cannot be asked to."""
    if not hasattr(os, "posix_fadvise"):
        return False
    descriptor = os.open(file, os.O_RDONLY)
    try:
        os.fsync(descriptor)  # what was just written could not be forgotten
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True


def _resident_mb() -> float | None:
    """Memory that this process occupies; None where the system does not say."""
    status = Path("/proc/self/status")
    if not status.is_file():
        return None
    return int(status.read_text().split("VmRSS:")[1].split()[0]) * 1024 / 1e6


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name")
    parser.add_argument("--forget", action="store_true")
    given = parser.parse_args()
    _work(given.name, given.forget)
