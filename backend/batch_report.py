"""What came of a batch: a row a person, written after each one as JSON and CSV. Standard library only."""

from __future__ import annotations

import csv
import io
import json
import os
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from .errors import UsageError

SCHEMA_VERSION = 1
MADE, SKIPPED, FAILED, CANCELLED = "made", "skipped", "failed", "cancelled"
STATES = (MADE, SKIPPED, FAILED, CANCELLED)
CSV_COLUMNS = (
    "name", "state", "code", "sentence", "photographs", "left_out", "missing", "warnings", "landmark_error",
    "seconds", "memory_mb", "folder", "log",
)  # fmt: skip
BETWEEN_SENTENCES = " | "


@dataclass(frozen=True)
class LeftOut:
    """A photograph that the head was made without.

    Attributes:
        photograph: the file.
        code: as an error's.
        sentence: why, for a person.
    """

    photograph: str
    code: str
    sentence: str


@dataclass(frozen=True)
class Row:
    """One person of a batch, once their turn is over.

    Attributes:
        name: of the result folder.
        photographs: files, as given.
        state: "made", "skipped" (complete from an earlier run), "failed", or "cancelled" (stopped while it was made).
        code: of the error; "" without one.
        sentence: why it failed, or why it is not wholly as asked; "" without a reason.
        left_out: photographs that could not be used while others could.
        missing: formats that were asked for and are not there.
        warnings: sentences of the reconstruction.
        landmark_error: of the fit, over the distance of the outer eye corners; None where nothing was fitted.
        seconds: that it took.
        memory_mb: of the worker process afterwards; None where the system does not say.
        folder: of the result; "" where there is none.
        log: of the worker, for failures; "" otherwise.
    """

    name: str
    photographs: tuple[str, ...]
    state: str
    code: str = ""
    sentence: str = ""
    left_out: tuple[LeftOut, ...] = ()
    missing: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    landmark_error: float | None = None
    seconds: float = 0.0
    memory_mb: float | None = None
    folder: str = ""
    log: str = ""


@dataclass
class BatchReport:
    """All rows so far, and the files that show them. May be used from several threads.

    Attributes:
        source: the folder or CSV file.
        output: the folder of the results.
        people: how many there are altogether.
        path: of the JSON file; the CSV file lies beside it under the same name. None writes nothing.
        options: as asked for, for the reader of the report.
        notes: sentences on the batch as a whole.
        rows: in the order in which the people were done.
        stopped: why the batch ended before everybody's turn; "" where it did not.
        stopped_code: the same for programs: "cancelled", "disk-full", "backend-crashed", ...
        jobs: how many people are at work at a time.
    """

    source: Path
    output: Path
    people: int
    path: Path | None = None
    options: dict[str, object] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    stopped: str = ""
    stopped_code: str = ""
    jobs: int = 1
    started: float = field(default_factory=time.time)
    _began: float = field(default_factory=time.perf_counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _as_dicts: list[dict] = field(default_factory=list)  # of the rows that were written before
    _as_lines: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.path is not None and self.path.suffix.lower() == ".csv":
            self.path = self.path.with_suffix(".json")

    @property
    def csv_path(self) -> Path | None:
        return None if self.path is None else self.path.with_suffix(".csv")

    def add(self, row: Row) -> None:
        """One more person is done; the files say so when this returns. Raises UsageError as `write`."""
        with self._lock:
            self.rows.append(row)
            self._write()

    def rows_in_the_files(self) -> tuple[Row, ...]:
        """The rows that the files show, too: one that is being written has to be waited for."""
        with self._lock:
            return tuple(self.rows)

    def write(self) -> None:
        """Writes both files, each whole or not at all.

        Raises:
            UsageError: the disk is full or the place cannot be written to.
        """
        with self._lock:
            self._write()

    def count(self, state: str) -> int:
        return sum(row.state == state for row in self.rows)

    @property
    def left(self) -> int:
        """How many people's turn has not come."""
        return self.people - len(self.rows)

    @property
    def seconds(self) -> float:
        """Since the batch began."""
        return time.perf_counter() - self._began

    @property
    def seconds_a_head(self) -> float | None:
        """Wall time over the heads made so far, failures included; None before the first.

        The time in which heads were found complete does not count: it says nothing of those that are to be made.
        """
        worked = sum(row.state in (MADE, FAILED) for row in self.rows)
        passing = sum(row.seconds for row in self.rows if row.state == SKIPPED) / self.jobs
        return max(0.0, self.seconds - passing) / worked if worked else None

    @property
    def is_complete(self) -> bool:
        """Whether everybody has a head with every file that was asked for."""
        return not self.left and all(row.state in (MADE, SKIPPED) and not row.missing for row in self.rows)

    @property
    def sentence(self) -> str:
        """The batch in a sentence: "37 heads made, 2 failed, 1 skipped." """
        made = self.count(MADE)
        parts = [f"{made} head{'' if made == 1 else 's'} made"]
        parts += [f"{number} {words}" for words, number in (
            ("failed", self.count(FAILED)),
            ("there already", self.count(SKIPPED)),
            ("stopped", self.count(CANCELLED)),
            ("not begun", self.left),
        ) if number]  # fmt: skip
        return ", ".join(parts) + "."

    def as_json(self) -> dict[str, object]:
        """The report as the JSON file holds it; docs/batch.md names the fields."""
        rate = self.seconds_a_head
        return {
            "schema_version": SCHEMA_VERSION,
            "input": str(self.source),
            "output": str(self.output),
            "options": self.options,
            "started": time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(self.started)),
            "totals": {
                "people": self.people,
                **{state: self.count(state) for state in STATES},
                "left": self.left,
                "seconds": round(self.seconds, 3),
                "seconds_a_head": None if rate is None else round(rate, 3),
            },
            "stopped": self.stopped,
            "stopped_code": self.stopped_code,
            "notes": list(self.notes),
            "people": self._people(),
        }

    def _people(self) -> list[dict]:
        self._as_dicts += [asdict(row) for row in self.rows[len(self._as_dicts) :]]
        return self._as_dicts

    def _write(self) -> None:
        if self.path is None:
            return
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(self.path, json.dumps(self.as_json(), indent=2, ensure_ascii=False) + "\n")
            replace_file(self.csv_path, self._as_csv())
        except OSError as error:
            raise UsageError(
                "report-not-written", f"The report {self.path} cannot be written: {error.strerror}."
            ) from error

    def _as_csv(self) -> str:
        for row in self._people()[len(self._as_lines) :]:
            values = row | {"left_out": [Path(entry["photograph"]).name for entry in row["left_out"]]}
            self._as_lines.append(_csv_line([_cell(values[column]) for column in CSV_COLUMNS]))
        return _csv_line(CSV_COLUMNS) + "".join(self._as_lines)


def replace_file(path: Path, text: str) -> None:
    """Writes a UTF-8 file that is there completely or not at all. Raises OSError.

    Bytes of a file name that are no text are written as JSON escapes them: \\udcfc.
    """
    working = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}")
    try:
        working.write_text(text, "utf-8", errors="backslashreplace", newline="")
        os.replace(working, path)
    except BaseException:
        working.unlink(missing_ok=True)
        raise


def _csv_line(cells: Sequence[str]) -> str:
    text = io.StringIO(newline="")
    csv.writer(text).writerow(cells)
    return text.getvalue()


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, tuple | list):
        return BETWEEN_SENTENCES.join(map(str, value))
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1 else f"{value:.2f}"
    return str(value)
