"""One job of a batch: a warm worker process, and what becomes of a person whom it is given.

Standard library only: the worker is `python -m backend serve`, spoken to through `client.Backend`, so that a photograph
that brings it down costs one row and no more.
"""

from __future__ import annotations

import dataclasses
import glob
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .batch_plan import Person
from .batch_record import complete_record, fingerprint, write_record
from .batch_report import CANCELLED, FAILED, MADE, SKIPPED, LeftOut, Row
from .client import Backend, Failed, Finished, Progress
from .options import ReconstructOptions
from .output_folder import remove_stale
from .protocol import Failure

LONGEST_SECONDS = 1800.0
"""After this long a person is given up: hundreds of times what a head takes on a slow machine."""

SECONDS_BETWEEN_LOOKS = 0.05
PATIENT_SECONDS, HURRIED_SECONDS = 1.0, 0.2  # for the worker to end by itself
SECONDS_TO_BE_GONE = 3.0

MakeWorker = Callable[[], Backend]


@dataclass(frozen=True)
class BatchOptions:
    """What is asked of a batch.

    Attributes:
        output: the folder that gets one result folder a person.
        head: of each head; its faces and `overwrite` are set for each person.
        jobs: how many worker processes.
        resume: heads that are complete stay, half-done ones are made again.
        overwrite: heads of an earlier run are made again.
        report: the JSON file; None for report.json in the output folder.
    """

    output: Path
    head: ReconstructOptions
    jobs: int = 1
    resume: bool = False
    overwrite: bool = False
    report: Path | None = None


class Job:
    """Makes heads through a worker process of its own, one after the other. For one thread.

    Args:
        options: of the batch.
        make_worker: called at the first person for whom there is something to do.
        stop: once it is set, the person at work is given up.

    Attributes:
        name: of the person at work; "" between people.
        stage: what is being done, in words.
        share: of this person's head, 0 to 1.
    """

    def __init__(self, options: BatchOptions, make_worker: MakeWorker, stop: threading.Event):
        self.options, self.make_worker, self.stop = options, make_worker, stop
        self.worker: Backend | None = None
        self.name, self.stage, self.share = "", "", 0.0

    def make(self, person: Person) -> tuple[Row, Failure | None]:
        """Makes a head. Returns its row, and what went wrong where there is none."""
        self.name, self.stage, self.share = person.name, "starting", 0.0
        began = time.perf_counter()
        try:
            row, failure = self._one(person)
        finally:
            self.name = ""
        return dataclasses.replace(row, seconds=round(time.perf_counter() - began, 3)), failure

    def close(self) -> None:
        """Ends the worker process."""
        if self.worker is not None:
            self.worker.stop(HURRIED_SECONDS if self.stop.is_set() else PATIENT_SECONDS)

    def _one(self, person: Person) -> tuple[Row, Failure | None]:
        folder = self.options.output.absolute() / person.name
        row = Row(person.name, tuple(map(str, person.photographs)), FAILED)
        asked = self.options.head
        if not person.photographs:
            return _failed(row, Failure("no-photographs", f"There is no photograph of {person.name}.", kind="usage"))
        readable, left_out = _without_missing(person)
        if not readable.photographs:
            first = left_out[0]
            return _failed(row, Failure(first.code, first.sentence, kind="usage"))
        made_from = fingerprint(person, asked)
        if self.options.resume and (done := complete_record(folder, made_from, asked.formats)):
            return _skipped(row, folder, done), None
        ended = self._reconstruct(readable, folder)
        if isinstance(ended, Failure) and ended.kind in ("photo", "usage") and len(readable.photographs) > 1:
            better, more = self._without_bad(readable)
            if more and better.photographs:
                left_out += more
                ended = self._reconstruct(better, folder)
        row = dataclasses.replace(row, left_out=tuple(left_out), memory_mb=self._memory())
        if isinstance(ended, Failure):
            return _failed(row, ended)
        return self._made(row, ended, folder, made_from)

    def _made(self, row: Row, value: dict, folder: Path, made_from: str) -> tuple[Row, Failure | None]:
        warnings = tuple(map(str, value.get("warnings", ())))
        formats = self.options.head.formats
        missing = tuple(name for name in formats if not (folder / f"head.{name}").is_file())
        row = dataclasses.replace(
            row,
            state=MADE,
            warnings=warnings,
            missing=missing,
            landmark_error=value.get("landmark_error"),
            folder=str(folder),
        )
        if missing:
            names = ", ".join(f"head.{name}" for name in missing)
            row = dataclasses.replace(
                row, code="files-missing", sentence=f"Not written: {names}. The warnings say why."
            )
        there = [name for name in formats if name not in missing]
        try:
            write_record(folder, made_from, there, _to_remember(row))
        except OSError as error:
            sentence = f"The head of {row.name} is made, but could not be marked as complete: {error.strerror}."
            return dataclasses.replace(row, warnings=(*warnings, sentence)), None
        return row, None

    def _reconstruct(self, person: Person, folder: Path) -> dict | Failure:
        head = self.options.head
        parameters = {
            "photographs": [
                {"path": str(path.absolute()), "face": face}
                for path, face in zip(person.photographs, person.faces, strict=True)
            ],
            "output": str(folder),
            "options": head.as_request() | {"overwrite": self.options.resume or self.options.overwrite},
        }
        ended = self._ask("reconstruct", parameters)
        if isinstance(ended, Failure) and ended.kind not in ("photo", "usage"):
            _remove_half_made(folder)  # the process may have had no time for it
        return ended

    def _without_bad(self, person: Person) -> tuple[Person, list[LeftOut]]:
        """The person with those photographs in which there is a face to be used, and why the others are left out."""
        left_out = []
        for path, face in zip(person.photographs, person.faces, strict=True):
            found = self._ask("find_faces", {"path": str(path.absolute())})
            if isinstance(found, Failure) and found.kind not in ("photo", "usage"):
                return person, []
            if reason := _reason_against(path, face, found):
                left_out.append(reason)
        return _without(person, left_out), left_out

    def _ask(self, method: str, parameters: dict) -> dict | Failure:
        """The worker's answer. A worker that has died is started again."""
        self.worker = self.worker or self.make_worker()
        number = self.worker.request(method, parameters)
        last_moment = time.monotonic() + LONGEST_SECONDS
        while True:
            for event in self.worker.poll():
                if getattr(event, "request", None) != number:
                    continue
                if isinstance(event, Progress):
                    self.stage, self.share = event.stage, min(1.0, max(0.0, event.share))
                elif isinstance(event, Finished):
                    return event.value
                elif isinstance(event, Failed):
                    return self._in_time(event.failure, last_moment)
            if self.stop.is_set() or time.monotonic() > last_moment:
                self.worker.cancel(number)
            time.sleep(SECONDS_BETWEEN_LOOKS)

    def _in_time(self, failure: Failure, last_moment: float) -> Failure:
        if failure.kind != "cancelled" or self.stop.is_set() or time.monotonic() < last_moment:
            return failure
        sentence = f"It took longer than {LONGEST_SECONDS / 60:.0f} minutes and was given up."
        return Failure("took-too-long", sentence, log=failure.log)

    def _memory(self) -> float | None:
        memory = self.worker.memory_mb() if self.worker is not None else None
        return None if memory is None else round(memory, 1)


def _skipped(row: Row, folder: Path, record: dict) -> Row:
    """The row of a head that is complete from an earlier run, which left `record`."""
    remembered = record["row"]
    return dataclasses.replace(
        row,
        state=SKIPPED,
        left_out=tuple(LeftOut(**entry) for entry in remembered["left_out"]),
        warnings=tuple(remembered["warnings"]),
        landmark_error=remembered["landmark_error"],
        folder=str(folder),
    )


def _to_remember(row: Row) -> dict:
    left_out = [dataclasses.asdict(entry) for entry in row.left_out]
    return {"left_out": left_out, "warnings": list(row.warnings), "landmark_error": row.landmark_error}


def _failed(row: Row, failure: Failure) -> tuple[Row, Failure]:
    state = CANCELLED if failure.kind == "cancelled" else FAILED
    log = failure.log if failure.kind not in ("photo", "usage", "cancelled") else ""
    return dataclasses.replace(row, state=state, code=failure.code, sentence=failure.sentence, log=log), failure


def _without_missing(person: Person) -> tuple[Person, list[LeftOut]]:
    gone = [path for path in person.photographs if not os.path.isfile(path)]
    left_out = [LeftOut(str(path), "no-such-file", f"There is no file {path}.") for path in gone]
    return _without(person, left_out), left_out


def _without(person: Person, left_out: list[LeftOut]) -> Person:
    gone = {entry.photograph for entry in left_out}
    kept = [(path, face) for path, face in zip(person.photographs, person.faces, strict=True) if str(path) not in gone]
    return Person(person.name, tuple(path for path, _ in kept), tuple(face for _, face in kept))


def _reason_against(path: Path, face: int | None, found: dict | Failure) -> LeftOut | None:
    """Why a photograph cannot be used, or None. `found` is the answer of `find_faces`."""
    if isinstance(found, Failure):
        return LeftOut(str(path), found.code, found.sentence)
    faces = found["faces"]
    if not faces:
        return LeftOut(str(path), "no-face", f"No face was found in {path.name}.")
    if (face or 1) > len(faces):  # further ones are not looked for here
        only_one = LeftOut(str(path), "no-such-face", f"There is no face {face} in {path.name}, which shows one.")
        return only_one if len(faces) == 1 else None
    if not faces[(face or 1) - 1].get("usable", True):
        return LeftOut(str(path), "face-not-usable", f"The face in {path.name} is too small or turned too far away.")
    return None


def _remove_half_made(folder: Path) -> None:
    """Removes what an ended worker left beside a result folder, once that worker is gone."""
    last_moment = time.monotonic() + SECONDS_TO_BE_GONE
    while True:
        remove_stale(folder)
        if not list(folder.parent.glob(f".{glob.escape(folder.name)}.partial-*")) or time.monotonic() > last_moment:
            return
        time.sleep(SECONDS_BETWEEN_LOOKS)
