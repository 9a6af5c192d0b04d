"""Lightning's logger into a table of its own: metrics.csv, one line a value."""

import csv
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities.rank_zero import rank_zero_only

COLUMNS = ("step", "name", "value")
NOT_METRICS = ("epoch",)


class MetricsFile(Logger):
    """Appends to a CSV file with the columns step, name, value.

    Args:
        path: of the file; made with the first value.
        first_step: of the part of the run that begins. Lines of this step and later are from a part that was lost
            (it ended after its last checkpoint) and are taken out.
    """

    def __init__(self, path: Path, first_step: int = 0):
        super().__init__()
        self.path = path
        self._forget_from(first_step)

    @property
    def name(self) -> str:
        return "metrics"

    @property
    def version(self) -> int:
        return 0

    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Nothing: the settings have a file of their own."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        is_new = not self.path.exists()
        with self.path.open("a", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            if is_new:
                writer.writerow(COLUMNS)
            writer.writerows((step, name, value) for name, value in metrics.items() if name not in NOT_METRICS)

    @rank_zero_only
    def _forget_from(self, step: int) -> None:
        if not self.path.exists():
            return
        # A validation after the last step of the part before has that part's number of steps.
        kept = [row for row in read_rows(self.path) if row[0] < step or (row[0] == step > 0 and _is_validation(row))]
        with self.path.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([COLUMNS, *kept])


def _is_validation(row: tuple[int, str, float]) -> bool:
    return row[1].startswith("validation/")


def read_rows(path: Path) -> list[tuple[int, str, float]]:
    """(step, name, value) of every line. A last line that was cut off when a machine stopped is left out."""
    rows = []
    with path.open(encoding="utf-8", newline="") as file:
        for row in list(csv.reader(file))[1:]:
            if len(row) == len(COLUMNS):
                rows.append((int(row[0]), row[1], float(row[2])))
    return rows
