"""Many heads through one warm process: the rate, and whether the memory of the process grows."""

import platform
import random
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path

from PIL import Image, ImageEnhance, ImageOps

from backend.batch import BatchOptions, BatchProgress, run_batch
from backend.batch_plan import read_plan
from backend.batch_report import MADE, BatchReport
from backend.options import ReconstructOptions

LARGEST_GROWTH = 0.03
"""Of the memory after the tenth head: what an allocator that keeps what it has may still waver by."""

WARM_AFTER = 10
LINES_OF_TABLE = 10


def measure_batch(photographs: list[Path], count: int, say: Callable[[str], None]) -> str:
    """Makes `count` heads, result folders alone. Returns a table of rate and memory.

    Args:
        photographs: where there are fewer than `count`, each is used several times, every time differently cropped,
            turned, mirrored and lit.
        count: of heads.
        say: told how far it is.
    """
    with tempfile.TemporaryDirectory(prefix="lifemask-bench-") as scratch:
        folder = Path(scratch) / "photographs"
        folder.mkdir()
        say(f"Preparing {count} photographs ...")
        for number in range(count):
            _write_variant(photographs[number % len(photographs)], folder / f"{number + 1:04}.jpg", number)
        told = 0

        def show(progress: BatchProgress) -> None:
            nonlocal told
            if progress.done >= told + WARM_AFTER:
                told = progress.done
                memory = progress.rows[-1].memory_mb
                say(f"[{progress.detail}]" + (f" {memory:.0f} MB" if memory is not None else ""))

        options = BatchOptions(Path(scratch) / "heads", ReconstructOptions(portrait=False))
        report = run_batch(read_plan(folder), options, show)
    return _table(report)


def _table(report: BatchReport) -> str:
    lines = ["", f"{platform.system()} {platform.machine()}", report.sentence]
    if report.stopped:
        lines.append(report.stopped)
    if rate := report.seconds_a_head:
        lines.append(f"{rate:.2f} s a head, {3600 / rate:.0f} heads an hour")
    made = [row.seconds for row in report.rows if row.state == MADE]
    if made:
        lines.append(f"median {statistics.median(made):.2f} s, slowest {max(made):.2f} s")
    memory = [row.memory_mb for row in report.rows if row.memory_mb is not None]
    if not memory:
        return "\n".join([*lines, "The system does not say how much memory the process takes."])
    step = max(1, len(memory) // LINES_OF_TABLE)
    lines += ["", "Memory of the process, MB"]
    lines += [f"  {memory[number - 1]:7.0f}  after {number}" for number in range(step, len(memory) + 1, step)]
    if len(memory) >= 2 * WARM_AFTER:
        growth, allowed = growth_after(memory), LARGEST_GROWTH * memory[WARM_AFTER - 1]
        verdict = "does not grow" if growth <= allowed else "GROWS"
        words = f"{growth:+.0f} MB from heads 6-{WARM_AFTER} to the last five: it {verdict} (at most {allowed:.0f})"
        lines.append(words)
    return "\n".join(lines)


def growth_after(memory: list[float]) -> float:
    """Median of the last five less that of the five up to the tenth, in the unit of `memory`.

    Medians, because a result's size and the moment of a garbage collection show in single figures.
    """
    return statistics.median(memory[-5:]) - statistics.median(memory[WARM_AFTER - 5 : WARM_AFTER])


def _write_variant(source: Path, path: Path, number: int) -> None:
    """A photograph as another camera might have taken it; the same number gives the same picture."""
    chance = random.Random(number)
    image = ImageOps.exif_transpose(Image.open(source)).convert("RGB")
    width, height = image.size
    margin = chance.uniform(0.0, 0.04)
    left, top = chance.uniform(0, margin) * width, chance.uniform(0, margin) * height
    image = image.crop((int(left), int(top), int(width * (1 - margin)), int(height * (1 - margin))))
    image = image.rotate(chance.uniform(-6, 6), Image.Resampling.BICUBIC, fillcolor=(128, 128, 128))
    if chance.random() < 0.5:
        image = ImageOps.mirror(image)
    scale = chance.uniform(0.7, 1.2)
    image = image.resize((round(image.width * scale), round(image.height * scale)))
    image = ImageEnhance.Brightness(image).enhance(chance.uniform(0.8, 1.15))
    image.save(path, quality=chance.randint(85, 96))
