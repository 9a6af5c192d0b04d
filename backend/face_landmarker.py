"""The file `face_landmarker.task`: the networks of the second detector, which no wheel carries.

Standard library only; the add-on uses it too. The file is looked for where `$LIFEMASK_FACE_LANDMARKER` says, then as
`assets/face_landmarker.task` in Lifemask's folder. It is downloaded only when somebody has said so.
"""

import os
import shutil
from dataclasses import replace
from pathlib import Path

from . import environment
from .downloads import KnownFile, download, sha256_of
from .errors import Fix, SetupError

FACE_LANDMARKER = KnownFile(
    title="the face landmarker",
    name="face_landmarker.task",
    source="https://storage.googleapis.com/mediapipe-models/face_landmarker/face_landmarker/float16/1/face_landmarker.task",
    size=3_758_596,
    sha256="64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff",
    licence="Apache-2.0, by Google (MediaPipe Face Landmarker, float16, version 1)",
)
VARIABLE = "LIFEMASK_FACE_LANDMARKER"
COMMAND = "python3 -m backend setup --face-landmarker"
DOWNLOAD = Fix("set-up", "Download the face landmarker", COMMAND)
PREFERENCES = Fix("choose-folder", "Open the preferences")
NETWORK_IN_WHEEL = Path("mediapipe", "modules", "face_landmark", "face_landmark_with_attention.tflite")


def face_landmarker_path(root: Path | None = None) -> Path:
    """Where the file is or would be: `$LIFEMASK_FACE_LANDMARKER`, or in `root` or `environment.home()`."""
    if chosen := os.environ.get(VARIABLE):
        return Path(chosen).expanduser().absolute()
    return (root or environment.home()) / "assets" / FACE_LANDMARKER.name


def needs_face_landmarker(there: environment.Environment) -> bool:
    """Whether faces are found by this file in an environment: its MediaPipe brings no networks along."""
    folder = environment.site_packages(there.folder)
    return folder is not None and (folder / "mediapipe").is_dir() and not (folder / NETWORK_IN_WHEEL).is_file()


def find_face_landmarker(root: Path | None = None, given: Path | None = None) -> Path:
    """The file, after looking that it is the right one.

    Args:
        root: instead of `environment.home()`.
        given: where somebody says that it is, instead of what `$LIFEMASK_FACE_LANDMARKER` says.

    Raises:
        SetupError: "no-face-landmarker" or "wrong-face-landmarker".
    """
    path = given or face_landmarker_path(root)
    try:
        if FACE_LANDMARKER.is_in(path):
            return path
        found = f"SHA-256 {sha256_of(path)[:12]}…, {path.stat().st_size} bytes"
    except FileNotFoundError:
        raise SetupError(
            "no-face-landmarker",
            f"With this Python faces are found by a file of networks, {FACE_LANDMARKER.name} "
            f"({FACE_LANDMARKER.size / 1e6:.1f} MB), which is not at {path}. Download it with: {COMMAND}. Or name one "
            f"that you have in {VARIABLE}, in Blender in the preferences.",
            DOWNLOAD,
            exit_code=2,
        ) from None
    except OSError as error:
        found = error.strerror or str(error)
    raise SetupError(
        "wrong-face-landmarker",
        f"{path} is not the {FACE_LANDMARKER.name} that Lifemask was measured with ({found}). Download the right one "
        f"with: {COMMAND}.",
        DOWNLOAD,
        exit_code=2,
    )


def download_face_landmarker(
    progress: environment.ProgressCallback | None = None,
    cancelled: environment.CancelCallback | None = None,
    *,
    root: Path | None = None,
) -> Path:
    """Downloads the file into `root` or `environment.home()`, where it is not there yet. To be called after consent.

    Raises:
        SetupError, Cancelled: see `downloads.download`.
    """

    def tell(done: int, total: int) -> None:
        if progress is not None:
            sentence = f"Downloading {FACE_LANDMARKER.title}"
            progress(environment.Progress("packages", sentence, done / total, FACE_LANDMARKER.name, done, total))

    target = (root or environment.home()) / "assets" / FACE_LANDMARKER.name
    return download(FACE_LANDMARKER, target, tell, cancelled)


def provide_face_landmarker(
    there: environment.Environment,
    progress: environment.ProgressCallback,
    cancelled: environment.CancelCallback,
    *,
    root: Path,
    given: Path | None = None,
    wheel_folder: Path | None = None,
    may_download: bool,
) -> None:
    """The last step of a set-up: sees to it that the file is there if the environment needs it.

    Args:
        there: the environment.
        progress, cancelled: of the download.
        root: where the file goes.
        given: where somebody says that it is.
        wheel_folder: copied from here, where it lies beside the wheels.
        may_download: whether somebody has agreed to a download.

    Raises:
        SetupError: "no-face-landmarker" or "wrong-face-landmarker" where it may not be downloaded, and see `download`.
        Cancelled: `cancelled` said so.
    """
    if not needs_face_landmarker(there):
        return
    target = root / "assets" / FACE_LANDMARKER.name
    source = None if wheel_folder is None else wheel_folder / FACE_LANDMARKER.name
    try:
        if source is not None and source.is_file() and FACE_LANDMARKER.is_in(source) and not target.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
        find_face_landmarker(root, given)
    except SetupError as error:
        if given is not None or not may_download:
            raise SetupError(error.code, error.sentence, PREFERENCES, error.exit_code) from error
        download_face_landmarker(lambda step: progress(replace(step, fraction=1.0)), cancelled, root=root)
