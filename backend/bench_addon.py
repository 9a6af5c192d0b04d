"""Seconds to enable the add-on in Blender, and which heavy packages it brings in: none are wanted."""

import json
import os
import platform
import statistics
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from backend import environment
from backend.errors import SetupError

MOST_SECONDS = 0.1
REPEATS = 5
HEAVY = ("numpy", "torch", "cv2", "mediapipe", "scipy", "PIL", "tqdm")
SETS = {"4.2": "blender-4.2", "4.5": "blender", "5.0": "blender-5.0"}
SCRIPT = Path(__file__).resolve().parent.parent / "addon" / "time_enabling.py"


def measure_addon(say: Callable[[str], None]) -> str:
    """Enables the add-on in each Blender that is installed, some times. Returns a table."""
    lines = ["", f"{platform.system()} {platform.machine()}"]
    lines.append(f"{'Blender':12} {'fastest s':>9} {'median':>9} {'processor':>9}   at most {MOST_SECONDS}")
    for version, set_name in SETS.items():
        try:
            found = environment.find(set_name)
        except SetupError:
            found = None
        if found is None:
            lines.append(f"{version:10}  not installed: python3 -m backend setup {set_name}")
            continue
        say(f"Enabling the add-on in Blender {version}, {REPEATS} times ...")
        measured = [enable_once(found.python) for _ in range(REPEATS)]
        seconds = [each["seconds"] for each in measured]
        of_processor = statistics.median(each["of_processor"] for each in measured)
        heavy = sorted(set(measured[0]["came"]) & set(HEAVY))
        words = f"brought in: {', '.join(heavy)}" if heavy else "no heavy package brought in"
        name = measured[0]["version"]
        lines.append(f"{name:12} {min(seconds):9.3f} {statistics.median(seconds):9.3f} {of_processor:9.3f}   {words}")
    return "\n".join(lines)


def enable_once(python: Path) -> dict:
    """Enables the add-on in a new Blender.

    Args:
        python: that imports bpy.

    Returns:
        `seconds`, `of_processor` (the same without the waiting on a busy machine), `came` (top-level modules that were
        not loaded before), `version` of Blender.
    """
    with tempfile.TemporaryDirectory(prefix="lifemask-bench-", ignore_cleanup_errors=True) as resources:
        (Path(resources) / "config").mkdir()
        answer = Path(resources) / "answer.json"
        variables = environment.clean_variables() | {"BLENDER_USER_RESOURCES": resources}
        variables.pop("PYTHONDONTWRITEBYTECODE", None)
        command = [str(python), str(SCRIPT), str(answer)]
        subprocess.run(command, env=variables, check=True, stdout=subprocess.DEVNULL, cwd=os.path.dirname(resources))
        return json.loads(answer.read_text("utf-8"))
