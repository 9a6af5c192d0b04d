"""Run as a script by a Python that imports bpy: how long enabling the add-on takes, and what it brings in.

    python addon/time_enabling.py ANSWER.json

In a user folder of its own (BLENDER_USER_RESOURCES, which must exist and hold `config`). The process ends with
os._exit: Blender's own way out hangs or crashes in several versions.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import time
from pathlib import Path

REPOSITORY, EXTENSION = "bench", "lifemask"
ADDON = Path(__file__).resolve().parent


def main(answer: Path) -> None:
    """Enable the add-on once and write `seconds`, `of_processor`, `came` and `version` to a JSON file.

    Only Blender's `addon_enable` is timed, not what makes the folder known to it.
    """
    import bpy

    folder = Path(os.environ["BLENDER_USER_RESOURCES"]) / "extensions" / REPOSITORY
    _build_files().link_folder(ADDON.parent, folder / EXTENSION)
    bpy.context.preferences.extensions.repos.new(name=REPOSITORY, module=REPOSITORY, custom_directory=str(folder))
    module = f"bl_ext.{REPOSITORY}.{EXTENSION}"
    before = set(sys.modules)
    started, of_processor = time.perf_counter(), time.process_time()
    bpy.ops.preferences.addon_enable(module=module)
    seconds, of_processor = time.perf_counter() - started, time.process_time() - of_processor
    if module not in bpy.context.preferences.addons:
        raise RuntimeError("Blender did not enable the Lifemask extension.")
    came = sorted({name.split(".")[0] for name in set(sys.modules) - before})
    measured = {"seconds": seconds, "of_processor": of_processor, "came": came, "version": bpy.app.version_string}
    answer.write_text(json.dumps(measured), "utf-8")


def _build_files():
    """The script beside this one, which is no package when it runs."""
    specification = importlib.util.spec_from_file_location("build_files", ADDON / "build_files.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


if __name__ == "__main__":
    main(Path(sys.argv[1]))
    sys.stdout.flush()
    os._exit(0)
