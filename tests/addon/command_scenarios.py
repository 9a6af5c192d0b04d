"""`blender --command lifemask ...` in a Blender interpreter. Judges nothing. Runs as blender_scenarios.py does.

The arguments name a folder to work in (`folder`). The environment that is found is a script that stands for Python.
"""

import contextlib
import io
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import blender_scenarios as shared  # noqa: E402

STAND_IN = """#!{python}
import json, os, signal, sys, time
from pathlib import Path
folder = Path({folder!r})
names = ("LIFEMASK_HOME", "LIFEMASK_ENVIRONMENT_RUNTIME", "PYTHONPATH", "LIFEMASK_PARENT_PID")
variables = {{name: os.environ.get(name) for name in names}} | {{"parent": str(os.getppid())}}
(folder / "called.json").write_text(json.dumps({{"arguments": sys.argv[1:], "variables": variables}}))
print("said by the command", flush=True)
if "wait" in sys.argv:
    try:
        (folder / "waiting").touch()
        time.sleep(60)
    except KeyboardInterrupt:
        time.sleep(0.3)  # cleans up
        (folder / "cleaned").touch()
        sys.exit(130)
sys.exit(7)
"""


def stand_in(folder: Path) -> None:
    """An existing environment below `folder`, whose Python writes down how it is called."""
    python = folder / "environment" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(STAND_IN.format(python=sys.executable, folder=str(folder)))
    python.chmod(0o755)


def commands(addon, arguments: dict) -> dict:
    """Without an environment, and with one."""
    import bpy

    folder = Path(arguments["folder"])
    run, chosen = addon("command_line").run, addon("preferences").preferences()
    chosen.folder = str(folder / "home")
    facts = {"registered": bpy.app.background and addon("command_line")._handle is not None}
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
        facts["help"] = [run(["--help"]), run([])]
        facts["not set up"] = [run(["batch", "x", "--output", "y"]), run(["reconstruct"]), run(["assets", "add", "x"])]
    facts["said"] = said.getvalue()
    stand_in(folder)
    chosen.existing_environment = str(folder / "environment")
    output = os.dup(1)
    with (folder / "output").open("w") as file:  # the child writes to the descriptor, not to sys.stdout
        os.dup2(file.fileno(), 1)
        facts["code"] = run(["batch", "people", "--output", "heads"])
        os.dup2(output, 1)
    facts["output"] = (folder / "output").read_text()
    facts["batch"] = (folder / "called.json").read_text("utf-8")
    run(["batch", "people", "--output", "heads", "--blender", "/another/blender"])
    facts["own blender"] = (folder / "called.json").read_text("utf-8")
    chosen.for_sale = True
    run(["batch", "people", "--output", "heads"])
    facts["for sale"] = (folder / "called.json").read_text("utf-8")
    run(["assets", "list"])
    facts["assets"] = (folder / "called.json").read_text("utf-8")
    run(["doctor"])
    facts["doctor"] = (folder / "called.json").read_text("utf-8")
    return facts


def interrupted(addon, arguments: dict) -> dict:
    """Waits for a Ctrl-C from outside, which reaches this process and the command together."""
    folder = Path(arguments["folder"])
    addon("preferences").preferences().existing_environment = str(folder / "environment")
    return {"code": addon("command_line").run(["batch", "wait"])}


SCENARIOS = {function.__name__: function for function in (commands, interrupted)}

if __name__ == "__main__":
    shared.run(SCENARIOS)
