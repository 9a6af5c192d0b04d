"""What is installed, which device, which face models with their licences, what is missing and what mends it."""

import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

from . import asset_store, environment
from .environment import Environment
from .errors import LifemaskError
from .face_landmarker import COMMAND, FACE_LANDMARKER, find_face_landmarker, needs_face_landmarker

ROOT = Path(__file__).resolve().parent.parent

# Runs inside the runtime environment and prints one JSON object.
PROBE = """
import importlib.metadata as metadata, json
found = {"versions": {}, "models": [], "problems": []}
for name in NAMES:
    try:
        found["versions"][name] = metadata.version(name)
    except metadata.PackageNotFoundError:
        found["problems"].append(name + " is missing")
import importlib.util
found["heic"] = importlib.util.find_spec("pillow_heif") is not None
try:
    import torch
    found["cuda"] = torch.cuda.get_device_name(0) if torch.cuda.is_available() else None
    found["mps"] = bool(torch.backends.mps.is_available())
    found["threads"] = torch.get_num_threads()
except Exception as error:
    found["problems"].append(f"torch does not start: {error}")
try:
    from backend.face_models import load_face_model
    model = load_face_model("open_head")
    found["models"].append([model.name, str(model.licence.name), model.licence.sentence, len(model.mean)])
except Exception as error:
    found["problems"].append(f"the open head does not load: {type(error).__name__}: {error}")
print("\\n" + json.dumps(found))
"""


def report() -> str:
    """The whole report, for a person. Starts the environments' interpreters where they are complete."""
    lines = ["Lifemask", *_here(), "", "Environments"]
    mends: list[str] = []
    environments = {}
    for name in environment.set_names():
        try:
            environments[name] = environment.find(name)
            state = _describe(name, environments[name])
        except LifemaskError as error:
            environments[name], state = None, error.sentence
        lines.append(f"  {name:<13} {state}")
    runtime = next((found for name in environment.RUNTIMES if (found := environments.get(name))), None)
    if runtime is None:
        mends.append("runtime is not installed: python3 -m backend setup runtime")
    if environments.get("blender") is None:
        mends.append("blender is not installed: python3 -m backend setup blender")
    if (runtime := runtime or environments.get("tests")) is not None:
        lines += ["", "Reconstruction", *_probe_runtime(runtime, mends)]
    if (blender := environments.get("blender")) is not None:
        lines += ["", "Blender", *_probe_blender(blender, mends)]
    lines += ["", "Face models that were added", *_added_face_models()]
    lines += ["", "Assets", *_assets()]
    lines += ["", "Missing", *(f"  {mend}" for mend in mends)] if mends else ["", "Nothing is missing."]
    return "\n".join(lines)


def _here() -> list[str]:
    free = shutil.disk_usage(next(p for p in (environment.home(), *environment.home().parents) if p.exists())).free
    return [
        f"  checkout     {ROOT}",
        f"  kept in      {environment.home()} ({free / 1e9:.0f} GB free)",
        f"  system       {platform.platform()}, {os.cpu_count()} processors",
        f"  this Python  {platform.python_version()} ({sys.executable})",
    ]


def _describe(name: str, found: Environment | None) -> str:
    if found is None:
        purpose = environment.requirement_set(name).purpose
        return f"not installed (needed to {purpose})"
    size = found.size_mb()
    return f"{found.folder}" + (f" ({size:.0f} MB)" if size else "")


def _probe_runtime(runtime: Environment, mends: list[str]) -> list[str]:
    pins = environment.requirement_set(runtime.name if runtime.name in environment.RUNTIMES else "runtime")
    names = [requirement.split("=")[0].split("<")[0] for _, requirements in pins.steps for requirement in requirements]
    found, error = _ask(runtime, PROBE.replace("NAMES", repr(names)))
    if found is None:
        mends.append(f"the runtime does not start ({error}): python3 -m backend setup runtime --repair")
        return [f"  does not start: {error}"]
    lines = ["  " + ", ".join(f"{name} {version}" for name, version in found["versions"].items())]
    device = found.get("cuda") or ("Apple GPU" if found.get("mps") else f"CPU ({found.get('threads')} threads)")
    lines.append(f"  device: {device}")
    for name, licence, sentence, vertices in found["models"]:
        lines.append(f"  face model {name}: {vertices} vertices, licence {licence}. {sentence}")
    lines.append(f"  landmark detector: MediaPipe {found['versions'].get('mediapipe')}, licence Apache-2.0")
    if needs_face_landmarker(runtime):
        try:
            lines.append(f"  its networks: {find_face_landmarker()}")
        except LifemaskError as error:
            lines.append(f"  its networks: {error.sentence}")
            mends.append(f"{FACE_LANDMARKER.title} is missing or a wrong one: {COMMAND}")
    heic = "read" if found["heic"] else "not read; to change that, install pillow-heif into the runtime environment"
    lines.append(f"  HEIC photographs: {heic}")
    for problem in found["problems"]:
        lines.append(f"  problem: {problem}")
        mends.append(f"{problem}: python3 -m backend setup runtime --repair")
    return lines


def _probe_blender(blender: Environment, mends: list[str]) -> list[str]:
    code = "import bpy, json, os, sys; print('\\n' + json.dumps(bpy.app.version_string), flush=True); os._exit(0)"
    version, error = _ask(blender, code)
    if version is None:
        mends.append(f"Blender's module does not start ({error}): python3 -m backend setup blender --repair")
        return [f"  does not start: {error}"]
    return [f"  bpy {version}, for .blend, FBX, GLB and renders"]


def _ask(there: Environment, code: str) -> tuple[object, str]:
    """What the code printed last, as JSON, and "" - or None and the reason."""
    try:
        result = subprocess.run(
            [str(there.python), "-c", code],
            capture_output=True,
            text=True,
            timeout=180,
            cwd=ROOT,
            env=environment.clean_variables(),
            check=False,
        )
        return json.loads(result.stdout.strip().splitlines()[-1]), ""
    except subprocess.TimeoutExpired:
        return None, "no answer within 180 s"
    except (OSError, ValueError, IndexError):
        errors = [line for line in result.stderr.splitlines() if line.strip()]
        return None, errors[-1] if errors else f"exit code {result.returncode}"


def _added_face_models() -> list[str]:
    lines = []
    for asset in asset_store.installed():
        sold = "may be sold" if asset.commercial else "may not be sold"
        lines.append(f"  {asset.name}: from {asset.file}, licence {asset.licence}, heads {sold}. {asset.sentence}")
        if asset.outdated:
            lines.append(f"    {asset_store.is_outdated(asset).sentence}")
    return lines or ["  none; python3 -m backend assets list says which there are"]


def _assets() -> list[str]:
    files = [p for p in sorted((ROOT / "backend" / "assets").rglob("*")) if p.is_file() and "demo" not in p.parts]
    return [f"  {p.relative_to(ROOT)}  {p.stat().st_size / 1e6:.2f} MB" for p in files] or ["  none"]
