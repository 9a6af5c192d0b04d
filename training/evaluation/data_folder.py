"""Where the data to measure with lie."""

import os
from pathlib import Path

from backend.errors import UsageError

DEFAULT = Path(__file__).parents[3] / "shared/data"


def data_folder(given: Path | None = None, needed: str = "") -> Path:
    """The folder of test data: as given, else `$LIFEMASK_DATA`, else `../shared/data` beside the checkout.

    Args:
        given: as the person said on the command line.
        needed: a file or folder in it that must be there.

    Raises:
        UsageError: it, or what is needed in it, is not there.
    """
    folder = Path(given or os.environ.get("LIFEMASK_DATA") or DEFAULT)
    wanted = folder / needed
    if not wanted.exists():
        raise UsageError(
            "no-test-data",
            f"There is no {wanted}. Give the folder of test data with --data or in the variable LIFEMASK_DATA.",
        )
    return folder
