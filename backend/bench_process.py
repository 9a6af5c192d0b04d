"""How long it takes from a cancel to an idle backend process, at random moments of real jobs."""

import random
import sys
import tempfile
import time
from pathlib import Path

from .cli import DEMO_PHOTOGRAPH
from .client import Backend, Failed, Finished, Progress, backend_command

MOMENTS = 20
MOST_SECONDS = 1.0


def measure_cancel(seed: int = 0) -> str:
    """A table of the seconds from a cancel to the answer, over `MOMENTS` jobs that were cancelled at random moments."""
    choose = random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="lifemask-bench-", ignore_cleanup_errors=True) as folder:
        command, variables = backend_command(Path(sys.executable), "serve")
        backend = Backend(command, Path(folder) / "logs", variables=variables)
        try:
            asked = {"photographs": [{"path": str(DEMO_PHOTOGRAPH)}], "output": str(Path(folder) / "warm")}
            backend.wait(backend.request("reconstruct", asked))  # the first one loads packages
            began = time.perf_counter()
            backend.wait(backend.request("reconstruct", {**asked, "output": str(Path(folder) / "whole")}))
            whole = time.perf_counter() - began
            seconds = [
                _cancelled(backend, {**asked, "output": str(Path(folder) / str(number))}, choose.uniform(0.0, whole))
                for number in range(MOMENTS)
            ]
        finally:
            backend.stop()
    stopped = sorted(value for value in seconds if value is not None)
    lines = [
        f"cancelled at random moments of a job of {whole:.1f} s: {len(stopped)} of {MOMENTS} (the rest had ended)",
        f"  from the cancel to an idle process: median {stopped[len(stopped) // 2]:.3f} s, longest {stopped[-1]:.3f} s "
        f"(at most {MOST_SECONDS:.1f} s wanted)",
    ]
    return "\n".join(lines)


def _cancelled(backend: Backend, asked: dict, after: float) -> float | None:
    """Seconds from the cancel to the answer; None where the job had ended before."""
    request = backend.request("reconstruct", asked)
    began, asked_to_stop = time.perf_counter(), 0.0
    while True:
        for event in backend.poll():
            if isinstance(event, Finished):
                return None
            if isinstance(event, Failed):
                return time.perf_counter() - asked_to_stop
            assert isinstance(event, Progress), event
        if not asked_to_stop and time.perf_counter() - began > after:
            backend.cancel(request)
            asked_to_stop = time.perf_counter()
        time.sleep(0.002)
