"""`python -m backend serve`: the backend process that the add-on and the batch command talk to (docs/protocol.md)."""

import contextlib
import logging
import os
import platform
import sys
from pathlib import Path

from . import memory, protocol, server
from .errors import Fix, UsageError
from .options import ReconstructOptions
from .server import Call

log = logging.getLogger(__name__)

NICENESS = 5
FACE_MODEL_FIELDS = ("name", "label", "licence", "sentence", "commercial", "source", "fetchable", "outdated")
FACES_LOOKED_FOR = 2
"""The search goes on until so many are found; from two on a person is asked whose head it shall be."""


def run(parent: int | None, idle_exit: float, give_way: bool = False) -> int:
    """Serve until the end of standard input. Returns the exit code.

    Args:
        parent: process id of the parent, whose end ends this process too.
        idle_exit: seconds without a request after which the process ends; 0 for never.
        give_way: let other programs have the processor first.
    """
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    if give_way:
        _give_way()
    try:
        code = server.serve(HANDLERS, parent=parent, idle_exit=idle_exit)
    except SystemExit as ended:
        code = ended.code
    logging.shutdown()
    sys.stderr.flush()
    os._exit(code)  # libraries with threads of their own may hang on the ordinary way out


def _give_way() -> None:
    """Let the window that waits for this process have the processor first, so that it never stutters."""
    with contextlib.suppress(OSError, AttributeError):
        os.nice(max(0, NICENESS - os.nice(0)))
    with contextlib.suppress(OSError):  # Linux shares the processor among sessions; this process has one of its own
        Path("/proc/self/autogroup").write_text(str(NICENESS), "ascii")


def initialize(params: dict, call: Call) -> dict:
    """Load what every job needs, and say who this is."""
    mismatch = protocol.check_version(params.get("protocol"), "backend")
    if mismatch is not None:
        raise mismatch.as_error()
    import torch

    from . import (
        asset_store,
        pipeline,  # noqa: F401  (its packages take a second to load: now rather than in the first job)
    )
    from .devices import choose_device
    from .face_models import load_face_model

    load_face_model("open_head")
    devices = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    return {
        "protocol": list(protocol.PROTOCOL),
        "lifemask": protocol.LIFEMASK_VERSION,
        "python": platform.python_version(),
        "pid": os.getpid(),
        "device": choose_device("auto"),
        "devices": [name for name, is_there in devices.items() if is_there],
        "face_models": [
            {name: getattr(asset, name) for name in FACE_MODEL_FIELDS}
            for asset in (asset_store.find(asset_store.OPEN_HEAD), *asset_store.installed())
        ],
    }


def find_faces(params: dict, call: Call) -> dict:
    """The faces of a photograph, in the order in which `reconstruct` counts them."""
    from .detection import MINIMUM_FACE_WIDTH_PX, detect_faces
    from .photographs import load_photograph

    path = _photograph(params["path"])
    image = load_photograph(path).image
    height, width = image.shape[:2]
    faces = [
        {
            "number": number,
            "box": [round(float(share), 5) for share in face.box / [width, height, width, height]],
            "usable": bool(face.box[2] >= MINIMUM_FACE_WIDTH_PX),
        }
        for number, face in enumerate(detect_faces(image, FACES_LOOKED_FOR), start=1)
    ]
    return {"width": width, "height": height, "faces": faces}


def reconstruct(params: dict, call: Call) -> dict:
    """One head from photographs of one person, as a result folder."""
    from . import pipeline

    photographs = [_photograph(each["path"]) for each in params["photographs"]]
    if not photographs:
        raise UsageError("no-photographs", "There is no photograph. Choose at least one.")
    options = ReconstructOptions.from_request(
        params.get("options", {}), tuple(each.get("face") for each in params["photographs"])
    )
    try:
        report = pipeline.reconstruct(photographs, Path(params["output"]), options, call.progress)
    finally:
        memory.give_back()
    return {
        "folder": str(report.folder),
        "timings": report.timings,
        "warnings": report.warnings,
        "landmark_error": report.landmark_error,
        "device": report.device,
    }


def batch(params: dict, call: Call) -> dict:
    """Many heads, each in a process that is started from here."""
    from .batch import batch_from_request

    return batch_from_request(params, call)


def list_assets(params: dict, call: Call) -> dict:
    """Everything that is here or could be added: face models and the detector's file."""
    from . import asset_store

    return {"assets": [asset.as_json() for asset in asset_store.assets()]}


def add_asset(params: dict, call: Call) -> dict:
    """Adds a face model from its owner's file or folder."""
    from . import asset_store

    try:
        asset = asset_store.add(Path(params["path"]), call.progress, call.cancelled)
    finally:
        memory.give_back()
    return {"asset": asset.as_json()}


def fetch_asset(params: dict, call: Call) -> dict:
    """Downloads what anyone may download, once somebody has agreed."""
    from . import asset_store

    try:
        asset = asset_store.fetch(params["name"], params.get("agreed") is True, call.progress, call.cancelled)
    finally:
        memory.give_back()
    return {"asset": asset.as_json()}


def remove_asset(params: dict, call: Call) -> dict:
    """Removes what was added or downloaded."""
    from . import asset_store

    asset_store.remove(params["name"], call.cancelled)
    return {}


HANDLERS: dict[str, server.Handler] = {
    "initialize": initialize,
    "find_faces": find_faces,
    "reconstruct": reconstruct,
    "batch": batch,
    "assets.list": list_assets,
    "assets.add": add_asset,
    "assets.fetch": fetch_asset,
    "assets.remove": remove_asset,
}


def _photograph(path: str) -> Path:
    found = Path(path)
    if not os.path.isfile(found):
        raise UsageError(
            "no-such-file",
            f"The photograph {found} is not there any more. Choose another one.",
            Fix("choose-another-photo", "Choose another photograph"),
        )
    return found
