"""The small JSON file in which a folder of pictures says how they were made."""

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

Settings = TypeVar("Settings")


def write_description(path: Path, version: int, settings: Any) -> None:
    """Writes the fields of a dataclass, and the version of the folder's layout; the file is there whole or not."""
    draft = path.with_suffix(f".{os.getpid()}.part")
    draft.write_text(json.dumps({"format": version, **asdict(settings)}, indent=1) + "\n", "utf-8")
    draft.replace(path)


def read_description(path: Path, version: int, kind: type[Settings]) -> Settings:
    """The inverse.

    Raises:
        OSError: it cannot be read.
        ValueError: it is something else, or of another version.
    """
    try:
        content = json.loads(path.read_text("utf-8"))
        if content.pop("format") != version:
            raise ValueError("another format")
        return kind(**content)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(str(error)) from error
