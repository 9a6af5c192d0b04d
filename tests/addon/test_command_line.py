"""`blender --command lifemask ...`: the backend's commands beside a Blender."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from backend.environment import clean_variables

pytestmark = [
    pytest.mark.blender,
    pytest.mark.skipif(sys.platform == "win32", reason="a script stands for Python"),
]
SCENARIOS = Path(__file__).with_name("command_scenarios.py")


def test_commands_run_in_the_environment_that_was_set_up(in_blender, blender_version, tmp_path):
    folder = tmp_path / "Büro"
    folder.mkdir()
    measured = in_blender(blender_version, "commands", script=SCENARIOS, folder=folder)
    assert measured["registered"]
    assert measured["help"] == [0, 2] and "blender --command lifemask COMMAND" in measured["said"]
    assert measured["not set up"] == [2, 2, 2] and "not set up yet" in measured["said"]
    assert measured["code"] == 7 and measured["output"] == "said by the command\n"
    called = json.loads(measured["batch"])
    assert called["arguments"][:6] == ["-m", "backend", "batch", "people", "--output", "heads"]
    assert called["arguments"][6] == "--blender" and Path(called["arguments"][7]).is_file()
    assert called["variables"]["LIFEMASK_HOME"] == str(folder / "home")
    assert called["variables"]["LIFEMASK_ENVIRONMENT_RUNTIME"] == str(folder / "environment")
    assert (Path(called["variables"]["PYTHONPATH"]) / "backend" / "__main__.py").is_file()
    assert called["variables"]["LIFEMASK_PARENT_PID"] == called["variables"]["parent"]
    own = json.loads(measured["own blender"])["arguments"]
    assert own.count("--blender") == 1 and own[-1] == "/another/blender"
    assert "--for-sale" not in called["arguments"]
    assert json.loads(measured["for sale"])["arguments"].count("--for-sale") == 1
    assert json.loads(measured["assets"])["arguments"] == ["-m", "backend", "assets", "list"]
    assert json.loads(measured["doctor"])["arguments"] == ["-m", "backend", "doctor"]


def test_ctrl_c_lets_the_command_clean_up_and_hands_its_exit_code_on(blender_python, tmp_path):
    sys.path.insert(0, str(SCENARIOS.parent))
    try:
        from command_scenarios import stand_in
    finally:
        sys.path.remove(str(SCENARIOS.parent))
    stand_in(tmp_path)
    (tmp_path / "resources" / "config").mkdir(parents=True)
    variables = clean_variables() | {"BLENDER_USER_RESOURCES": str(tmp_path / "resources")}
    told = json.dumps({"folder": str(tmp_path)})
    command = [blender_python("4.5"), SCENARIOS, "interrupted", told, tmp_path / "measured"]
    process = subprocess.Popen(
        command, env=variables, start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        until = time.monotonic() + 60
        while not (tmp_path / "waiting").exists():
            assert process.poll() is None and time.monotonic() < until, process.communicate()[0]
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGINT)
        said, _ = process.communicate(timeout=20)
    finally:
        process.kill()
    assert (tmp_path / "cleaned").exists(), said
    assert json.loads((tmp_path / "measured.json").read_text())["code"] == 130, said
