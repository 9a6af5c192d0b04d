"""A backend that makes no heads: the real door (`backend.server`), and behind it what $LIFEMASK_FAKE says.

Standard library and numpy only, so that the add-on is tested without torch. $LIFEMASK_FAKE is JSON:

    seconds         how long a reconstruction takes (0.2)
    result          a result folder to hand out; without it `reconstruct` makes an empty folder
    fail            {"code", "sentence", "kind", "fix"}: every reconstruction fails so
    fail_for        {name of a photograph: {...}}: those with it fail so, in find_faces too
    crash_at        share at which the process dies by SIGKILL (os._exit on Windows)
    crash_for       [names of photographs] at which it dies
    crash_once      a file: the process dies only while the file is not there, and makes it first
    rubbish         lines of rubbish on standard output before the handshake
    rubbish_working lines of rubbish while working
    protocol        what it says its protocol is
    silent          it never answers
    ignore_cancel   it does not stop when asked
    end_on_sigterm  it ends by SystemExit when terminated, as `python -m backend` does
    faces           for find_faces: [{"number", "box", "usable"}]
    warnings, landmark_error, device    of the result
    assets          what `assets.list` tells (ASSETS); what is added, fetched and removed changes it while it lives
    fail_assets     {"code", "sentence", "kind", "fix"}: adding and downloading fail so
    asset_seconds   how long adding and downloading take (0.2)
"""

import json
import os
import shutil
import signal
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from backend import protocol, server  # noqa: E402
from backend.errors import Fix, LifemaskError, PhotoError, SetupError, UsageError  # noqa: E402
from backend.output_folder import output_folder  # noqa: E402

STAGES = ("reading the photographs", "finding the face", "fitting the head", "making the texture", "writing the result")
ASSETS = [
    {
        "name": "flame2023", "label": "FLAME 2023", "kind": "face_model", "installed": True,
        "licence": "FLAME non-commercial", "sentence": "For research that is not commercial.", "commercial": False,
        "size": 104_857_600, "sha256": "5f" * 32, "source": "https://flame.is.tue.mpg.de", "fetchable": False,
    },
    {
        "name": "ict", "label": "ICT-FaceKit", "kind": "face_model", "installed": False, "licence": "MIT",
        "sentence": "Anyone may use, change and sell it; the notice of its licence goes with copies of the model.",
        "commercial": True, "size": 430_000_000, "sha256": "ab" * 32,
        "source": "https://github.com/USC-ICT/ICT-FaceKit", "fetchable": True,
    },
    {
        "name": "bfm2009", "label": "Basel Face Model 2009", "kind": "face_model", "installed": False,
        "licence": "BFM 2009", "sentence": "For research only, by those who signed its form.", "commercial": False,
        "size": 0, "sha256": "", "source": "Its owner gives it out: https://faces.dmi.unibas.ch/bfm/.",
        "fetchable": False,
    },
    {
        "name": "face_landmarker", "label": "MediaPipe Face Landmarker", "kind": "detector", "installed": True,
        "licence": "Apache-2.0", "sentence": "Anyone may use and sell what is made with it.", "commercial": True,
        "size": 3_758_596, "sha256": "64" * 32, "source": "https://storage.googleapis.com/mediapipe-models",
        "fetchable": True,
    },
]  # fmt: skip
MODEL_STAGES = ("reading the file", "laying the open head over it", "writing the model")
ERRORS = {"photo": PhotoError, "usage": UsageError, "setup": SetupError}


def main() -> int:
    told = json.loads(os.environ.get("LIFEMASK_FAKE", "{}"))
    told["output"] = os.dup(1)
    told.setdefault("assets", ASSETS)
    for number in range(told.get("rubbish", 0)):
        print(f"rubbish {number}", flush=True)
    if told.get("silent"):
        time.sleep(600)
    parent = int(sys.argv[sys.argv.index("--parent-pid") + 1]) if "--parent-pid" in sys.argv else None
    idle = float(sys.argv[sys.argv.index("--idle-exit") + 1]) if "--idle-exit" in sys.argv else 0.0
    if told.get("end_on_sigterm"):
        signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    handlers = {
        "initialize": lambda params, call: initialize(told, params),
        "find_faces": lambda params, call: find_faces(told, params),
        "reconstruct": lambda params, call: reconstruct(told, params, call),
        "assets.list": lambda params, call: {"assets": told["assets"]},
        "assets.add": lambda params, call: add_asset(told, params, call),
        "assets.fetch": lambda params, call: fetch_asset(told, params, call),
        "assets.remove": lambda params, call: remove_asset(told, params),
    }
    return server.serve(handlers, log_path="", parent=parent, idle_exit=idle)


def initialize(told: dict, params: dict) -> dict:
    spoken = told.get("protocol", list(protocol.PROTOCOL))
    return {
        "protocol": spoken,
        "lifemask": "fake",
        "python": sys.version.split()[0],
        "pid": os.getpid(),
        "device": told.get("device", "cpu"),
        "devices": ["cpu"],
        "face_models": [
            {"name": "open_head", "label": "Open Head", "licence": "CC0-1.0", "sentence": "Free.", "commercial": True},
            *(
                {name: asset[name] for name in ("name", "label", "licence", "sentence", "commercial", "source")}
                for asset in told["assets"]
                if asset["installed"] and asset["kind"] == "face_model"
            ),
        ],
    }


def add_asset(told: dict, params: dict, call: server.Call) -> dict:
    path = Path(params["path"])
    if not path.exists():
        raise UsageError("no-face-model-file", f"There is no face model at {path}. Choose its file again.")
    work_on_asset(told, call)
    asset = {**ASSETS[0], "name": path.stem, "label": path.stem, "installed": True, "source": ""}
    told["assets"] = [each for each in told["assets"] if each["name"] != asset["name"]] + [asset]
    return {"asset": asset}


def fetch_asset(told: dict, params: dict, call: server.Call) -> dict:
    asset = next(each for each in told["assets"] if each["name"] == params["name"])
    if not params.get("agreed"):
        raise UsageError("consent-needed", f"{asset['label']} is downloaded when you agree to its licence.")
    if not asset["fetchable"]:
        raise UsageError("not-fetchable", f"{asset['label']} has to be got from its owner: {asset['source']}.")
    work_on_asset(told, call)
    asset = {**asset, "installed": True}
    told["assets"] = [asset if each["name"] == asset["name"] else each for each in told["assets"]]
    return {"asset": asset}


def remove_asset(told: dict, params: dict) -> dict:
    if params["name"] == "open_head":
        raise UsageError("built-in", "The open head comes with Lifemask and cannot be removed.")
    gone = {"installed": False}
    told["assets"] = [{**each, **gone} if each["name"] == params["name"] else each for each in told["assets"]]
    return {}


def work_on_asset(told: dict, call: server.Call) -> None:
    until = time.monotonic() + told.get("asset_seconds", 0.2)
    began = time.monotonic()
    while (share := (time.monotonic() - began) / max(until - began, 1e-6)) < 1.0:
        wait(told, call, MODEL_STAGES[min(int(share * len(MODEL_STAGES)), len(MODEL_STAGES) - 1)], share)
    if told.get("fail_assets"):
        raise error_of(told["fail_assets"])


def find_faces(told: dict, params: dict) -> dict:
    check_there(params["path"])
    if reason := told.get("fail_for", {}).get(Path(params["path"]).name):
        raise error_of(reason)
    faces = told.get("faces", [{"number": 1, "box": [0.3, 0.3, 0.4, 0.4], "usable": True}])
    return {"width": 300, "height": 400, "faces": faces}


def reconstruct(told: dict, params: dict, call: server.Call) -> dict:
    names = [Path(each["path"]).name for each in params["photographs"]]
    options = params.get("options", {})
    model = options.get("face_model", "open_head")
    asset = next((each for each in told["assets"] if each["name"] == model and each["installed"]), None)
    if asset is None and model != "open_head":
        raise UsageError("no-such-face-model", f"There is no face model {model}.")
    if options.get("for_sale") and asset and not asset["commercial"]:
        raise UsageError("licence-forbids-sale", f"Heads made from {asset['label']} may not be sold.")
    with output_folder(Path(params["output"]), bool(options.get("overwrite"))) as folder:
        for number in range(told.get("rubbish_working", 0)):
            os.write(told["output"], f"rubbish {number}\n".encode())
        until = time.monotonic() + told.get("seconds", 0.2)
        began = time.monotonic()
        while True:
            share = min(1.0, (time.monotonic() - began) / max(until - began, 1e-6))
            stage = STAGES[min(int(share * len(STAGES)), len(STAGES) - 1)]
            wait(told, call, stage, share)
            if share >= told.get("crash_at", 2.0) or set(names) & set(told.get("crash_for", ())):
                die(told)
            if share >= 1.0:
                break
        for each in params["photographs"]:
            check_there(each["path"])
        reason = told.get("fail") or next(
            (told["fail_for"][name] for name in names if name in told.get("fail_for", {})), None
        )
        if reason:
            raise error_of(reason)
        if told.get("result"):
            shutil.copytree(told["result"], folder, dirs_exist_ok=True)
    return {
        "folder": params["output"],
        "timings": {"fitting the head": told.get("seconds", 0.2)},
        "warnings": told.get("warnings", []),
        "landmark_error": told.get("landmark_error", 0.02),
        "device": told.get("device", "cpu"),
    }


def wait(told: dict, call: server.Call, stage: str, share: float) -> None:
    try:
        call.progress(stage, share)
        time.sleep(0.01)
    except KeyboardInterrupt:
        if not told.get("ignore_cancel"):
            raise


def check_there(path: str) -> None:
    if not Path(path).is_file():
        raise UsageError(
            "no-such-file", f"There is no file {path}.", Fix("choose-another-photo", "Choose another photograph")
        )


def die(told: dict) -> None:
    once = told.get("crash_once")
    if once:
        if Path(once).exists():
            return
        Path(once).touch()
    if hasattr(signal, "SIGKILL"):
        os.kill(os.getpid(), signal.SIGKILL)
    os._exit(3)


def error_of(reason: dict) -> LifemaskError:
    fix = reason.get("fix")
    kind = ERRORS.get(reason.get("kind", "photo"), LifemaskError)
    return kind(reason["code"], reason["sentence"], Fix(**fix) if fix else None)


if __name__ == "__main__":
    sys.exit(main())
