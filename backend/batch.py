"""Many heads: people one after the other through a warm process; a bad photograph is a row of the report.

The work itself is done by `python -m backend serve` processes, one a job (batch_job.py). Standard library only.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from . import environment, licences
from .batch_job import BatchOptions, Job, MakeWorker
from .batch_plan import Person, Plan, read_plan
from .batch_report import FAILED, MADE, BatchReport, Row
from .client import Backend, backend_command
from .errors import Cancelled, Fix, UsageError
from .options import ReconstructOptions
from .output_folder import RESULT_MARK, check_folder_above
from .protocol import Failure
from .server import Call

REPORT_FILE = "report.json"
CRASHES_IN_A_ROW = 5
"""After so many the fault is not with the photographs."""

SECONDS_BETWEEN_LOOKS = 0.05
SECONDS_TO_END = 8.0
ENDS_THE_BATCH = frozenset(("disk-full", "no-such-device", "backend-silent"))
KINDS_THAT_END_IT = frozenset(("setup", "protocol"))


@dataclass(frozen=True)
class BatchProgress:
    """How far a batch is.

    Attributes:
        done: people whose turn is over.
        people: altogether.
        failed: of those done.
        at_work: names of those being made, with the stage in words.
        share: of the whole, 0 to 1.
        seconds_a_head: None before the first head.
        seconds_left: None before the first head.
        rows: of those done, in the order in which they were.
    """

    done: int
    people: int
    failed: int
    at_work: tuple[tuple[str, str], ...]
    share: float
    seconds_a_head: float | None
    seconds_left: float | None
    rows: tuple[Row, ...]

    @property
    def stage(self) -> str:
        """Who is at work and what is being done: "Anna: fitting the head"."""
        return ", ".join(f"{name}: {stage}" for name, stage in self.at_work) or "starting"

    @property
    def detail(self) -> str:
        """Count, rate and time left: "12 of 100, 1 failed, 2.1 s a head, 3 min left"."""
        parts = [f"{self.done} of {self.people}"]
        if self.failed:
            parts.append(f"{self.failed} failed")
        if self.seconds_a_head is not None:
            parts += [f"{self.seconds_a_head:.1f} s a head", f"{duration(self.seconds_left)} left"]
        return ", ".join(parts)


def duration(seconds: float) -> str:
    """ "40 s", "12 min" or "3 h 20 min"."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


def run_batch(
    plan: Plan,
    options: BatchOptions,
    progress: Callable[[BatchProgress], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
    *,
    make_worker: MakeWorker | None = None,
) -> BatchReport:
    """Makes everybody's head. The report's files are up to date whenever a person is done.

    Args:
        plan: who.
        options: how and where to.
        progress: called from this thread, some times a second.
        cancelled: asked several times a second; True removes what is half made, ends the batch and says so in
            the report. Ctrl-C (KeyboardInterrupt) does the same and is raised again.
        make_worker: instead of `python -m backend serve` with this interpreter.

    Returns:
        The report; `is_complete` says whether everything is as asked for.

    Raises:
        UsageError: the output or the report cannot be written, or results are there and neither `resume` nor
            `overwrite` says what to do with them.
    """
    check_batch_output(plan, options)
    report = _new_report(plan, options)
    report.write()  # says early that it cannot be
    return _Batch(plan, options, report, make_worker or _serving(report.jobs)).run(progress, cancelled)


def batch_from_request(params: dict, call: Call) -> dict:
    """The backend's method `batch`, as the add-on asks for it.

    Args:
        params: `input` and `output` (paths), and where they differ from their defaults: `per_person`, `resume`,
            `overwrite`, `jobs`, `report` (path), `formats`, `blender` (path), `export_options` and `options` as for
            `reconstruct`.
        call: told how far it is.

    Returns:
        `sentence` (what came of it), `folder`, `report` (path of the JSON), `totals`, `stopped`, `complete`.
    """
    output = Path(params["output"])
    about_files = {name: params[name] for name in ("formats", "blender", "export_options") if name in params}
    options = BatchOptions(
        output=output,
        head=ReconstructOptions.from_request({"portrait": False, **params.get("options", {}), **about_files}),
        jobs=int(params.get("jobs") or 1),
        resume=bool(params.get("resume", False)),
        overwrite=bool(params.get("overwrite", False)),
        report=Path(params["report"]) if params.get("report") else None,
    )
    plan = read_plan(Path(params["input"]), bool(params.get("per_person", False)), output)

    def tell(progress: BatchProgress) -> None:
        call.progress(progress.stage, progress.share, progress.detail)

    report = run_batch(plan, options, tell, call.cancelled)
    if report.stopped_code == "cancelled":
        raise Cancelled(f"Stopped: {report.sentence} No half-made head was left behind.")
    return {
        "sentence": f"{report.sentence} {report.stopped}".strip(),
        "folder": str(report.output),
        "report": str(report.path),
        "totals": report.as_json()["totals"],
        "stopped": report.stopped,
        "complete": report.is_complete,
    }


def check_batch_output(plan: Plan, options: BatchOptions) -> None:
    """Raises UsageError where the results could not go to the output folder, or may not be sold. Changes nothing."""
    licences.check_sale(licences.of_options(options.head), options.head.for_sale)
    if options.jobs < 1:
        raise UsageError("bad-jobs", f"--jobs counts worker processes from 1; {options.jobs} is not possible.")
    check_folder_above(options.output / "person")
    _check_report(plan, _new_report(plan, options))
    if options.resume or options.overwrite:
        return
    there = [person.name for person in plan.people if os.path.exists(options.output / person.name / RESULT_MARK)]
    if there:
        raise UsageError(
            "output-exists",
            f"{options.output} holds results already ({there[0]}{', ...' if there[1:] else ''}). Add --resume to keep "
            "what is complete and make the rest, or --overwrite to make all anew.",
            Fix("resume", "Go on where it stopped", "--resume"),
        )


def _new_report(plan: Plan, options: BatchOptions) -> BatchReport:
    return BatchReport(
        source=plan.source.absolute(),
        output=options.output.absolute(),
        people=len(plan.people),
        path=(options.report or options.output / REPORT_FILE).absolute(),
        options=_told_options(options),
        notes=list(plan.notes),
        jobs=min(options.jobs, len(plan.people)),
    )


def _check_report(plan: Plan, report: BatchReport) -> None:
    """Raises UsageError where the report would take the place of something that is no report."""
    for path in (report.path, report.csv_path):
        if not os.path.exists(path):
            continue
        if not os.path.isfile(path):
            raise UsageError("report-not-a-file", f"The report cannot be {path}, which is no file. Name another one.")
        if os.path.samefile(path, plan.source):
            raise UsageError(
                "report-is-the-input",
                f"The report, which is a JSON and a CSV file, would replace {plan.source}. Name another with --report.",
            )


class _Batch:
    """The people who wait, the jobs that take from them, and how far each job is."""

    def __init__(self, plan: Plan, options: BatchOptions, report: BatchReport, make_worker: MakeWorker):
        self.report = report
        self.waiting: Iterator[Person] = iter(plan.people)
        self.lock = threading.Lock()
        self.stop = threading.Event()
        self.crashes = 0
        self.share = 0.0
        self.error: BaseException | None = None
        self.finished = threading.Event()  # not Thread.join, which forgets a thread when Ctrl-C comes meanwhile
        self.jobs = [Job(options, make_worker, self.stop) for _ in range(report.jobs)]
        self.working = len(self.jobs)

    def run(
        self, progress: Callable[[BatchProgress], None] | None, cancelled: Callable[[], bool] | None
    ) -> BatchReport:
        for job in self.jobs:
            threading.Thread(target=self._work, args=(job,), name="lifemask batch", daemon=True).start()
        try:
            while not self.finished.wait(SECONDS_BETWEEN_LOOKS):
                if cancelled is not None and cancelled():
                    self.end("Stopped.")
                if progress is not None:
                    progress(self.progress())
        except BaseException as error:
            interrupted = isinstance(error, KeyboardInterrupt)
            asked = interrupted and cancelled is not None and cancelled()  # a cancel comes as an interrupt too
            self.end("Stopped with Ctrl-C." if interrupted and not asked else "Stopped.")
            self.finished.wait(SECONDS_TO_END)
            with contextlib.suppress(UsageError):
                self.report.write()
            if asked:
                return self.report
            raise
        if self.error is not None:
            raise self.error
        self.report.write()
        if progress is not None:
            progress(self.progress())
        return self.report

    def _work(self, job: Job) -> None:
        """What the thread of a job does."""
        try:
            while (person := self.next_person()) is not None:
                self.take(*job.make(person))
        except BaseException as error:  # raised again by the thread that runs the batch
            self.error = error
            self.end(str(error))
        finally:
            job.close()
            with self.lock:
                self.working -= 1
                if not self.working:
                    self.finished.set()

    def end(self, reason: str, code: str = "cancelled") -> None:
        """No more people are begun, and those at work are stopped. The first reason stays."""
        with self.lock:
            if not self.stop.is_set():
                self.report.stopped, self.report.stopped_code = reason, code
            self.stop.set()

    def next_person(self) -> Person | None:
        with self.lock:
            return None if self.stop.is_set() else next(self.waiting, None)

    def take(self, row: Row, failure: Failure | None) -> None:
        """One more person is done. Ends the batch where the others would fare no better."""
        with self.lock:
            crashed = failure is not None and failure.kind == "crash"
            self.crashes = self.crashes + 1 if crashed else 0 if row.state in (MADE, FAILED) else self.crashes
            hopeless = self.crashes >= CRASHES_IN_A_ROW
        if failure is not None and (failure.code in ENDS_THE_BATCH or failure.kind in KINDS_THAT_END_IT):
            self.end(failure.sentence, failure.code)
        elif hopeless:
            sentence = f"The backend process crashed {CRASHES_IN_A_ROW} times in a row. The last log: {failure.log}"
            self.end(sentence, failure.code)
        with contextlib.suppress(UsageError):  # another program has it open, say: the next one is written, or the last
            self.report.add(row)

    def progress(self) -> BatchProgress:
        rows = self.report.rows_in_the_files()
        at_work = [(job.name, job.stage, job.share) for job in self.jobs if job.name]
        worked = len(rows) + sum(share for _, _, share in at_work)
        rate = self.report.seconds_a_head
        # Never backwards: a head may be begun again without its bad photographs, or be done and not in the report yet.
        self.share = max(self.share, min(1.0, worked / self.report.people))
        return BatchProgress(
            done=len(rows),
            people=self.report.people,
            failed=self.report.count(FAILED),
            at_work=tuple((name, stage) for name, stage, _ in at_work),
            share=self.share,
            seconds_a_head=rate,
            seconds_left=None if rate is None else max(0.0, (self.report.people - worked) * rate),
            rows=rows,
        )


def _serving(jobs: int) -> MakeWorker:
    """Starts `python -m backend serve` with this interpreter; several jobs share the processor's cores."""

    def make() -> Backend:
        command, variables = backend_command(Path(sys.executable), "serve", "--parent-pid", str(os.getpid()))
        if hasattr(os, "nice") and os.nice(0) > 0:  # this process gives way; on Linux that is not handed down
            command.append("--give-way")
        if jobs > 1:
            variables.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // jobs)))
        return Backend(command, environment.home() / "logs", variables=variables, name="batch")

    return make


def _told_options(options: BatchOptions) -> dict[str, object]:
    told = dataclasses.asdict(options.head) | {"jobs": options.jobs, "resume": options.resume}
    for unset in ("faces", "overwrite"):
        told.pop(unset, None)
    told["export_options"] = json.loads(options.head.export_options or "{}")
    return {name: str(value) if isinstance(value, Path) else value for name, value in told.items()}
