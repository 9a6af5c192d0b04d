"""`python3 -m backend batch`: the command line of a batch and what it shows. Standard library only until it starts."""

import argparse
import contextlib
import dataclasses
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from .batch import BatchOptions, BatchProgress, check_batch_output, run_batch
from .batch_plan import Plan, read_plan
from .batch_report import FAILED, BatchReport, Row
from .command_options import add_head_options, head_options

EXIT_SOME_FAILED = 3
SECONDS_BETWEEN_LINES = 30.0
SECONDS_BETWEEN_DRAWINGS = 0.3
WIDTH_IF_UNKNOWN = 80

Show = Callable[[BatchProgress], None]


def add_batch_parser(commands: argparse._SubParsersAction) -> None:
    batch = commands.add_parser(
        "batch", help="make heads from a folder of photographs or a CSV file", allow_abbrev=False
    )
    batch.add_argument("input", type=Path, metavar="INPUT", help="a folder, each photograph a person; or a CSV file")
    batch.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder for a result folder a person")
    batch.add_argument("--per-person", action="store_true", help="each sub-folder of INPUT is a person")
    batch.add_argument("--resume", action="store_true", help="keep complete heads of an earlier run, make the rest")
    batch.add_argument("--overwrite", action="store_true", help="make the heads of an earlier run anew")
    batch.add_argument("--jobs", type=int, default=1, metavar="N", help="heads at the same time, default: %(default)s")
    batch.add_argument("--report", type=Path, metavar="FILE", help="JSON, and CSV beside; default: DIR/report.json")
    batch.add_argument("--portrait", action="store_true", help="render.png too, where Blender writes files")
    add_head_options(batch)


def checked_batch(chosen: argparse.Namespace) -> tuple[Plan, BatchOptions]:
    """Who and how, checked as far as that needs no packages. Raises UsageError."""
    options = BatchOptions(
        output=chosen.output.absolute(),
        head=dataclasses.replace(head_options(chosen), portrait=chosen.portrait),
        jobs=chosen.jobs,
        resume=chosen.resume,
        overwrite=chosen.overwrite,
        report=chosen.report.absolute() if chosen.report else None,
    )
    plan = read_plan(chosen.input.absolute(), chosen.per_person, options.output)
    check_batch_output(plan, options)
    return plan, options


def run(plan: Plan, options: BatchOptions, say: Callable[[str], None]) -> int:
    """Runs a batch in a terminal. Returns the exit code: 0, 3 where some have no head, 1 or 2 where it gave up.

    Args:
        plan, options: as `checked_batch` gives them.
        say: writes a line to the terminal.
    """
    for note in plan.notes:
        say(note)
    with _shown(len(plan.people), say) as show:
        report = run_batch(plan, options, show)
    say(report.sentence)
    if report.stopped:
        say(f"lifemask: {report.stopped}")
    _say_what_is_wrong(report, say)
    say(f"The report is {report.path} (and {report.csv_path.name} beside it).")
    if report.stopped:
        return 2 if report.stopped_code in ("disk-full", "no-such-device") else 1
    return 0 if report.is_complete else EXIT_SOME_FAILED


def in_words(row: Row) -> str:
    """A row as a line: "Anna: failed: No face was found in anna.jpg."."""
    parts = [row.name, row.state]
    if row.sentence:
        parts.append(row.sentence)
    parts += [f"without {Path(entry.photograph).name}: {entry.sentence}" for entry in row.left_out]
    return ": ".join(parts)


def _say_what_is_wrong(report: BatchReport, say: Callable[[str], None]) -> None:
    wrong = [row for row in report.rows if row.state == FAILED or row.missing]
    if wrong:
        say("These are not as asked for:")
    for row in wrong[:20]:
        say(f"  {in_words(row)}")
    if wrong[20:]:
        say(f"  and {len(wrong) - 20} more, see the report")


@contextlib.contextmanager
def _shown(people: int, say: Callable[[str], None]) -> Iterator[Show]:
    """A bar in a terminal, plain lines elsewhere. Ctrl-C is told with how far the batch came."""
    seen: list[BatchProgress] = []
    bar = _Bar(people) if sys.stderr.isatty() else _Lines(say)

    def show(progress: BatchProgress) -> None:
        seen[:] = [progress]
        bar.show(progress)

    try:
        yield show
    except KeyboardInterrupt:
        bar.close()
        say("")
        if seen:
            say(f"{seen[0].done} of {people} were done. The same command with --resume goes on from there.")
        raise
    finally:
        bar.close()


class _Bar:
    """One changing line with count, rate and time left, and a line above it for whoever has no head."""

    def __init__(self, people: int):
        from tqdm import tqdm

        says_its_width = os.get_terminal_size(sys.stderr.fileno()).columns > 0
        width = {"dynamic_ncols": True} if says_its_width else {"ncols": WIDTH_IF_UNKNOWN}  # else it draws nothing
        self.bar = tqdm(total=people, unit="head", file=sys.stderr, smoothing=0.1, **width)
        self.last_drawn = 0.0

    def show(self, progress: BatchProgress) -> None:
        for row in progress.rows[self.bar.n :]:
            if row.state == FAILED or row.missing:
                self.bar.write(in_words(row), file=sys.stderr)
        self.bar.set_description_str(progress.stage[:40], refresh=False)
        if progress.failed:
            self.bar.set_postfix_str(f"{progress.failed} failed", refresh=False)
        self.bar.update(progress.done - self.bar.n)
        if time.monotonic() - self.last_drawn > SECONDS_BETWEEN_DRAWINGS:
            self.last_drawn = time.monotonic()
            self.bar.refresh()

    def close(self) -> None:
        self.bar.set_description_str("", refresh=False)
        self.bar.close()


class _Lines:
    """A line a person, with count, rate and time left; and one now and then while somebody takes long."""

    def __init__(self, say: Callable[[str], None]):
        self.say = say
        self.told = 0
        self.last_line = time.monotonic()

    def show(self, progress: BatchProgress) -> None:
        for row in progress.rows[self.told :]:
            self._line(f"[{progress.detail}] {in_words(row)} ({row.seconds:.1f} s)")
        self.told = progress.done
        if time.monotonic() - self.last_line > SECONDS_BETWEEN_LINES:
            self._line(f"[{progress.detail}] {progress.stage}")

    def close(self) -> None:
        pass

    def _line(self, text: str) -> None:
        self.say(text)
        self.last_line = time.monotonic()
