"""The commands of `python3 -m backend`: what they refuse, their exit codes, and what they leave behind."""

import ast
import json
import os
import signal
import subprocess
import sys
import time
import types
from pathlib import Path

import pytest

from backend import cli, python_version, start
from backend.errors import LifemaskError, PhotoError, UsageError
from backend.options import ReconstructReport
from backend.output_folder import output_folder

ROOT = Path(cli.__file__).parent.parent


@pytest.fixture
def photograph(tmp_path: Path) -> Path:
    path = tmp_path / "photo.jpg"
    path.write_bytes(b"not looked into")
    return path


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Puts a function in the place of the reconstruction and stays in this process."""
    monkeypatch.setenv("LIFEMASK_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(start, "inside", lambda *_: None)

    def install(reconstruct) -> None:
        monkeypatch.setitem(sys.modules, "backend.pipeline", types.SimpleNamespace(reconstruct=reconstruct))
        monkeypatch.setattr(sys.modules["backend"], "pipeline", sys.modules["backend.pipeline"], raising=False)

    return install


def write_result(photographs, output, options, progress):
    with output_folder(output, options.overwrite) as working:
        progress("finding the face", 0.1)
        (working / "head.json").write_text("{}")
    return ReconstructReport(output, {"finding the face": 0.25}, ["the photograph is small"], 0.021)


WRONG = {
    "no such file": (["none.jpg", "--output", "out"], "There is no file"),
    "a folder": ([".", "--output", "out"], "is a folder"),
    "a device": ([os.devnull, "--output", "out"], "is not a file"),
    "unknown format": (["photo.jpg", "--output", "out", "--format", "blend,stl"], "There is no format stl"),
    "face 0": (["photo.jpg", "--output", "out", "--face", "0"], "counts from 1"),
    "face with several": (["photo.jpg", "photo.jpg", "--output", "out", "--face", "1"], "goes with one photograph"),
    "focal length 0": (["photo.jpg", "--output", "out", "--focal-length", "0"], "--focal-length"),
    "focal length nan": (["photo.jpg", "--output", "out", "--focal-length", "nan"], "--focal-length"),
    "texture of 1 pixel": (["photo.jpg", "--output", "out", "--texture-size", "1"], "--texture-size"),
    "texture of an odd size": (["photo.jpg", "--output", "out", "--texture-size", "1000"], "--texture-size"),
    "texture too large": (["photo.jpg", "--output", "out", "--texture-size", "100000"], "--texture-size"),
    "output is a file": (["photo.jpg", "--output", "photo.jpg"], "is a file"),
    "output below a file": (["photo.jpg", "--output", "photo.jpg/out"], "is not a folder"),
    "output holds other things": (["photo.jpg", "--output", ".", "--overwrite"], "other things"),
    "output exists": (["photo.jpg", "--output", "old"], "--overwrite"),
    "too long a name": (["x" * 300 + ".jpg", "--output", "out"], "There is no file"),
    "no output": (["photo.jpg"], "--output"),
    "unknown preset": (["photo.jpg", "--output", "out", "--preset", "maya"], "maya"),
    "no such Blender": (["photo.jpg", "--output", "out", "--blender", "gone/blender"], "gone"),
    "keys of no file": (["photo.jpg", "--output", "out", "--keys", "all"], "--format"),
    "unknown device": (["photo.jpg", "--output", "out", "--device", "abacus"], "abacus"),
    "unknown face model": (["photo.jpg", "--output", "out", "--face-model", "flame"], "no such face model"),
    "face model not added": (["photo.jpg", "--output", "out", "--face-model", "bfm2009"], "has not been added"),
    "unknown option": (["photo.jpg", "--output", "out", "--colour"], "--colour"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_command_is_refused_with_exit_code_2_before_anything_is_made(
    case: str, photograph: Path, monkeypatch, capsys
):
    arguments, words = WRONG[case]
    folder = photograph.parent
    monkeypatch.setenv("LIFEMASK_HOME", str(folder / "home"))
    monkeypatch.chdir(folder)
    (folder / "old").mkdir()
    (folder / "old" / "head.json").write_text("{}")
    monkeypatch.setattr(start, "inside", lambda *_: pytest.fail("an environment was asked for"))
    try:
        code = cli.main(["reconstruct", *arguments])
    except SystemExit as ended:  # argparse
        code = ended.code
    assert code == 2
    message = capsys.readouterr().err
    assert words in message
    assert "Traceback" not in message
    assert {path.name for path in folder.iterdir()} == {"photo.jpg", "old"}


def test_a_good_command_passes_everything_on_and_says_what_was_made(photograph: Path, fake, capfd):
    asked = []

    def reconstruct(photographs, output, options, progress):
        asked.append((photographs, options))
        return write_result(photographs, output, options, progress)

    fake(reconstruct)
    output = photograph.parent / "out"
    arguments = ["--face", "2", "--focal-length", "50", "--format", "OBJ", "--texture-size", "512", "--no-texture"]
    arguments += ["--preset", "unreal", "--keys", "used", "--blender", sys.executable, "--for-sale"]
    assert cli.main(["reconstruct", str(photograph), "--output", str(output), *arguments]) == 0
    ((photographs, options),) = asked
    assert photographs == [photograph]
    assert (options.faces, options.focal_length_mm, options.formats) == ((2,), 50.0, ("obj", "fbx"))
    assert (options.texture_size, options.texture, options.device, options.overwrite) == (512, False, "auto", False)
    assert (options.face_model, options.for_sale) == ("open_head", True)
    assert (json.loads(options.export_options), options.blender) == (
        {"preset": "unreal", "keys": "used"},
        Path(sys.executable),
    )
    captured = capfd.readouterr()
    assert str(output) in captured.out
    assert "0.25  finding the face" in captured.out
    assert "2.1 %" in captured.out
    assert "Warning: the photograph is small" in captured.out
    assert "finding the face" in captured.err


ENDS = [
    (PhotoError("no-face", "No face was found in photo.jpg."), 3, "No face was found"),
    (UsageError("disk-full", "The disk is full."), 2, "The disk is full."),
    (LifemaskError("broken", "The asset is damaged."), 1, "The asset is damaged."),
    (ZeroDivisionError("division by zero"), 1, "ZeroDivisionError"),
    (ModuleNotFoundError("No module named 'torch'", name="torch"), 1, "python3 -m backend setup --repair"),
    (MemoryError(), 1, "not enough memory"),
    (KeyboardInterrupt(), 130, "Stopped"),
]


@pytest.mark.parametrize(("error", "code", "words"), ENDS, ids=lambda value: getattr(value, "code", None))
def test_an_error_becomes_a_sentence_and_an_exit_code_and_our_faults_name_their_log(
    error, code, words, photograph: Path, fake, capsys
):
    def reconstruct(photographs, output, options, progress):
        with output_folder(output) as working:
            (working / "head.json").write_text("half")
            raise error

    fake(reconstruct)
    assert cli.main(["reconstruct", str(photograph), "--output", str(photograph.parent / "out")]) == code
    message = capsys.readouterr().err
    assert words in message
    assert "Traceback" not in message
    assert {path.name for path in photograph.parent.iterdir()} == {"photo.jpg", "home"}
    if code == 1:
        log = Path(message.split("Details: ")[1].strip())
        assert "Traceback" in log.read_text()
        assert type(error).__name__ in log.read_text()
    else:
        assert "Details" not in message


def test_what_libraries_write_goes_to_the_log_and_not_to_the_terminal(photograph: Path, fake, capfd):
    def reconstruct(photographs, output, options, progress):
        os.write(2, b"chatter of a C library\n")
        return write_result(photographs, output, options, progress)

    fake(reconstruct)
    assert cli.main(["reconstruct", str(photograph), "--output", str(photograph.parent / "out")]) == 0
    captured = capfd.readouterr()
    assert "chatter" not in captured.err + captured.out
    (log,) = (photograph.parent / "home" / "logs").iterdir()
    assert "chatter" in log.read_text()


def test_the_demo_replaces_its_own_result_and_nothing_else(fake, tmp_path: Path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(start, "ensure", lambda *_, **__: None)
    fake(write_result)
    assert cli.main(["demo"]) == 0
    assert cli.main(["demo"]) == 0
    assert (tmp_path / "lifemask-demo" / "head.json").exists()
    (tmp_path / "lifemask-demo" / "head.json").rename(tmp_path / "lifemask-demo" / "mine.json")
    assert cli.main(["demo"]) == 2


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_ctrl_c_in_a_real_run_exits_with_130_and_leaves_no_folder(tmp_path: Path):
    pytest.importorskip("torch", reason="needs the runtime packages in this interpreter")
    variables = os.environ | {"LIFEMASK_ENVIRONMENT_RUNTIME": sys.prefix, "LIFEMASK_HOME": str(tmp_path / "home")}
    command = [
        sys.executable,
        "-m",
        "backend",
        "reconstruct",
        str(cli.DEMO_PHOTOGRAPH),
        "--output",
        str(tmp_path / "o"),
    ]
    process = subprocess.Popen(command, cwd=ROOT, env=variables, stderr=subprocess.PIPE, text=True)
    for line in process.stderr:
        if "fitting" in line:
            break
    else:
        pytest.fail("the run ended before it could be interrupted")
    time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    rest = process.stderr.read()
    assert process.wait(30) == 130
    assert "Stopped" in rest
    assert {path.name for path in tmp_path.iterdir()} == {"home"}


def test_an_old_python_is_told_in_a_sentence(monkeypatch, capsys):
    monkeypatch.setattr(python_version, "OLDEST", (9, 9))
    monkeypatch.setattr(python_version.shutil, "which", lambda _: None)
    with pytest.raises(SystemExit) as ended:
        python_version.require("backend")
    assert ended.value.code == 2
    assert "Python 3.11 is needed" in capsys.readouterr().err


@pytest.mark.parametrize("path", ["backend/__main__.py", "backend/python_version.py", "tests/__main__.py"])
def test_what_an_old_python_reads_first_is_written_in_its_syntax(path: str):
    ast.parse((ROOT / path).read_text("utf-8"), feature_version=(3, 6))
    assert "->" not in (ROOT / path).read_text("utf-8")  # annotations are evaluated when they are read


def test_help_needs_no_packages_and_installs_nothing(tmp_path: Path):
    variables = os.environ | {"LIFEMASK_HOME": str(tmp_path / "home")}
    for module in ("backend", "training"):
        result = subprocess.run(
            [sys.executable, "-S", "-m", module, "--help"], cwd=ROOT, env=variables, capture_output=True, text=True
        )
        assert result.returncode == 0, result.stderr
        assert "usage" in result.stdout
    assert not (tmp_path / "home").exists()


def test_doctor_says_what_is_missing_and_what_mends_it(tmp_path: Path):
    kept = {name: value for name, value in os.environ.items() if not name.startswith("LIFEMASK_ENVIRONMENT")}
    result = subprocess.run(
        [sys.executable, "-S", "-m", "backend", "doctor"],
        cwd=ROOT,
        env=kept | {"LIFEMASK_HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    assert "python3 -m backend setup runtime" in result.stdout
    assert "python3 -m backend setup blender" in result.stdout
    assert not (tmp_path / "home").exists()


@pytest.mark.slow
def test_doctor_names_versions_device_and_face_model_with_its_licence(tmp_path: Path):
    pytest.importorskip("torch", reason="needs the runtime packages in this interpreter")
    variables = os.environ | {"LIFEMASK_ENVIRONMENT_RUNTIME": sys.prefix, "LIFEMASK_HOME": str(tmp_path / "home")}
    result = subprocess.run(
        [sys.executable, "-m", "backend", "doctor"], cwd=ROOT, env=variables, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    for words in ("torch 2.13.0", "mediapipe 0.10.9", "device:", "open_head", "CC0"):
        assert words in result.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not tell whose parent is gone")
@pytest.mark.parametrize("named", [True, False])
def test_a_command_that_a_blender_runs_ends_in_order_when_that_is_killed(tmp_path, named):
    child = """
import sys, time
from pathlib import Path
from backend import cli
def command(arguments):
    try:
        Path(sys.argv[1]).touch()
        time.sleep(3 if sys.argv[2] == "False" else 60)
    finally:
        Path(sys.argv[1]).with_name("cleaned").touch()
    Path(sys.argv[1]).with_name("finished").touch()
    return 0
cli._run = command
sys.exit(cli.main([]))
"""
    parent = """
import os, subprocess, sys
if sys.argv[3] == "True":
    os.environ["LIFEMASK_PARENT_PID"] = str(os.getpid())
subprocess.run([sys.executable, "-c", *sys.argv[1:]])
"""
    command = [sys.executable, "-c", parent, child, str(tmp_path / "begun"), str(named)]
    process = subprocess.Popen(command, cwd=Path(cli.__file__).parent.parent)
    try:
        wait_for(tmp_path / "begun")
    finally:
        process.kill()
        process.wait()
    wait_for(tmp_path / ("cleaned" if named else "finished"))
    assert (tmp_path / "finished").exists() is not named


def wait_for(path: Path, seconds: float = 10.0) -> None:
    until = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < until, f"{path.name} did not come"
        time.sleep(0.02)
