"""Run as a script, by the Blender environment's Python or by a Blender: a result folder in, Blender files out.

    python addon/build_files.py --result DIR --output DIR --format blend --format fbx [--portrait 512] [--options JSON]
    blender --background --factory-startup --python-exit-code 9 --python addon/build_files.py -- --result DIR ...

--options takes a JSON object with fields of `export_presets.ExportOptions`, such as {"preset": "unreal"}. It holds for
every format; a preset only for the format that it writes.

It loads the checkout (or the installed copy) it lies in as an extension, in a user folder of its own
(BLENDER_USER_RESOURCES, which must exist and hold `config`). One JSON object a line goes to the real standard output:
{"stage", "file", "seconds"} for each file, then {"done": true}, or {"error": sentence}. A format that this Blender
cannot write, or the head is not fit for, is passed over: its line has no file, and a sentence in "refused". Everything
Blender says goes to standard error. The process ends with os._exit: Blender's own way out hangs or crashes in several
versions.
"""

from __future__ import annotations

import argparse
import importlib
import json
import logging
import os
import shutil
import sys
import threading
import time
import traceback
from pathlib import Path

REPOSITORY, EXTENSION = "lifemask_build", "lifemask"


def main() -> int:
    """Build every file that was asked for. Returns the exit code."""
    report = _claim_standard_output()
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    arguments = _arguments()
    if arguments.end_with_input:
        _end_with_input()
    try:
        _build(arguments, report)
    except Exception as error:  # the child's last chance to tell its parent what happened
        traceback.print_exc()
        report({"error": _sentence(error)})
        return 1
    report({"done": True})
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Write Blender files for a result folder.")
    parser.add_argument("--result", type=Path, required=True, help="the result folder")
    parser.add_argument("--output", type=Path, required=True, help="an existing folder to write to")
    parser.add_argument("--name", default="head", help="name of the files, without suffix")
    parser.add_argument("--format", action="append", default=[], choices=["blend", "fbx", "glb", "obj", "usd"])
    parser.add_argument("--options", default="{}", metavar="JSON", help="export options; see addon/export_presets.py")
    parser.add_argument("--portrait", type=int, default=0, metavar="PIXELS", help="render NAME.png of this size")
    parser.add_argument("--end-with-input", action="store_true", help="end when standard input does")
    given = sys.argv[1:]
    return parser.parse_args(given[given.index("--") + 1 :] if "--" in given else given)


def _build(arguments: argparse.Namespace, report) -> None:
    started = time.perf_counter()

    def finished(stage: str, file: str | None = None, **more: str) -> None:
        nonlocal started
        now = time.perf_counter()
        report({"stage": stage, "file": file, "seconds": round(now - started, 3), **more})
        started = now

    addon = load_extension()
    finished("start Blender")

    import bpy

    options = addon("export_presets").ExportOptions.from_json(arguments.options)
    exporting = addon("exporting")
    result = addon("result").read_result(arguments.result)
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    scene = bpy.context.scene
    head = addon("head_builder").build_head(result, scene)
    finished("build the head")
    whole_file = "blend" in arguments.format and options.for_format("blend").is_plain
    for format_name in arguments.format:
        if format_name == "blend" and whole_file:
            continue  # last, because its scene is prepared for a person
        path = arguments.output / f"{arguments.name}.{format_name}"
        try:
            exporting.export_head(head.object, path, options.for_format(format_name))
        except exporting.CannotExport as error:
            finished(f"write {format_name}", refused=str(error))
        else:
            finished(f"write {format_name}", path.name)
    if arguments.portrait:
        path = arguments.output / "render.png"
        addon("portrait").render_portrait(head.object, path, size=arguments.portrait, frame=1 if head.cameras else 0)
        finished("render", path.name)
    if whole_file:
        path = arguments.output / f"{arguments.name}.blend"
        addon("workspace").prepare(scene, head)
        exporting.save_blend(path, head.object)
        finished("write blend", path.name)


def load_extension():
    """Enable the folder this file lies in as an extension, and return an importer of its add-on modules.

    Raises RuntimeError when Blender does not enable it.
    """
    import bpy

    root = Path(__file__).resolve().parent.parent
    resources = Path(os.environ["BLENDER_USER_RESOURCES"])
    link_folder(root, resources / "extensions" / REPOSITORY / EXTENSION)
    bpy.context.preferences.extensions.repos.new(
        name=REPOSITORY, module=REPOSITORY, custom_directory=str(resources / "extensions" / REPOSITORY)
    )
    package = f"bl_ext.{REPOSITORY}.{EXTENSION}"
    bpy.ops.preferences.addon_enable(module=package)
    if package not in bpy.context.preferences.addons:
        raise RuntimeError("Blender did not enable the Lifemask extension.")
    return lambda module: importlib.import_module(f"{package}.addon.{module}")


def link_folder(source: Path, link: Path) -> None:
    """Make `source` visible as `link`: a symbolic link, else a Windows junction, else a copy of what is needed."""
    link.parent.mkdir(parents=True, exist_ok=True)
    if link.exists():
        return
    try:
        link.symlink_to(source, target_is_directory=True)
        return
    except OSError:
        pass
    if sys.platform == "win32":
        import _winapi

        try:
            _winapi.CreateJunction(str(source), str(link))
            return
        except OSError:
            pass
    for name in ("addon", "backend"):
        shutil.copytree(source / name, link / name, ignore=shutil.ignore_patterns("__pycache__", "assets"))
    for name in ("__init__.py", "blender_manifest.toml"):
        shutil.copy2(source / name, link / name)


def _claim_standard_output():
    """Keep the real standard output for reports; whatever Blender prints goes to standard error."""
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def report(message: dict) -> None:
        channel.write(json.dumps(message) + "\n")
        channel.flush()

    return report


def _end_with_input() -> None:
    """End at once when standard input ends, as it does when the parent dies."""

    def wait() -> None:
        while os.read(0, 4096):
            pass
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def _sentence(error: Exception) -> str:
    if isinstance(error, ModuleNotFoundError) and error.name == "bpy":
        return "Blender's Python module (bpy) is not installed in this environment."
    if isinstance(error, MemoryError):
        return "There was not enough memory to build the Blender files."
    text = str(error).strip().splitlines()
    return text[-1] if text else type(error).__name__


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
