"""The backend's way to Blender: a child process that writes files, and what happens where there is none."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from backend import blender_files, environment
from backend.blender_files import BlenderError, export

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def folder(result_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(result_folder, tmp_path / "result"))


@pytest.fixture
def broken_blender(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A function that puts a small program in the place of the child's script."""

    def replace(program: str) -> Path:
        script = tmp_path / "broken.py"
        script.write_text(program)
        monkeypatch.setattr(blender_files, "SCRIPT", script)
        return Path(sys.executable)

    return replace


@pytest.mark.blender
def test_all_formats_are_written_by_a_process_without_torch(folder, blender_python, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "/nowhere")
    monkeypatch.setenv("BLENDER_USER_RESOURCES", "/nowhere")
    monkeypatch.setattr(blender_files, "PORTRAIT_PIXELS", 32)
    finished = []
    refused = export(
        folder,
        ["glb", "obj", "blend", "fbx"],
        lambda step, seconds: finished.append(step),
        blender=blender_python("4.5"),
    )
    assert refused == []
    files = {"head.blend", "head.fbx", "head.glb", "head.obj", "head.mtl", "render.png"}
    assert files <= {path.name for path in folder.iterdir() if path.stat().st_size > 100}
    assert not [path.name for path in folder.iterdir() if path.name.startswith(".") or path.suffix == ".blend1"]
    assert {"head.fbx", "head.glb", "head.blend", "render.png"} <= set(finished)


def test_without_blender_the_obj_is_written_and_the_rest_says_why_not(folder, monkeypatch):
    monkeypatch.setattr(environment, "find", lambda *_: None)
    (sentence,) = export(folder, ["blend", "fbx", "glb", "obj"])
    assert "head.blend, head.fbx, head.glb and render.png could not be written" in sentence
    assert "python3 -m backend setup blender" in sentence
    text = (folder / "head.obj").read_text()
    assert text.count("\nusemtl ") == 8 and "\nmtllib head.mtl\n" in text
    assert "map_Kd albedo.png" in (folder / "head.mtl").read_text()
    assert not (folder / "head.blend").exists()
    facts = json.loads((folder / "head.obj.json").read_text("utf-8"))
    assert (facts["units"], facts["keys"], facts["licence"]) == ("metres", [], "CC0-1.0")
    assert facts["face_model"] == "made_up" and facts["axes"].startswith("+Y up, +Z out of the face")


@pytest.mark.blender
def test_a_preset_and_its_choices_reach_the_files(folder, blender_python):
    asked = json.dumps({"preset": "obj-keys", "keys": "used", "texture_size": 32})
    assert export(folder, ["obj", "usd"], export_options=asked, blender=blender_python("4.5"), portrait=False) == []
    facts = json.loads((folder / "head.obj.json").read_text("utf-8"))
    assert facts["preset"] == "obj-keys" and (folder / "head_jawOpen.obj").is_file()
    assert not (folder / "head_noseSneerLeft.obj").exists()  # no photograph uses it
    assert (folder / "head.usd").stat().st_size > 1000
    assert not (folder / "render.png").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="needs a script that starts like a program")
@pytest.mark.parametrize("name", ["blender", "blender-5.2", "Blender", "python3.11"])
def test_a_blender_program_and_a_python_are_started_each_in_its_way(folder, tmp_path, name):
    program = tmp_path / name
    program.write_text(
        f"#!{sys.executable}\n"
        "import json, os, pathlib, sys\n"
        "print('Blender 5.2.2 LTS (hash unknown)')\n"
        "output = pathlib.Path(sys.argv[sys.argv.index('--output') + 1])\n"
        "told = {'arguments': sys.argv[1:], 'resources': os.environ['BLENDER_USER_RESOURCES']}\n"
        "(output / 'head.fbx').write_text(json.dumps(told))\n"
        "print(json.dumps({'done': True}))\n"
    )
    program.chmod(0o755)
    assert export(folder, ["fbx"], blender=program, export_options='{"preset": "unity"}') == []
    told = json.loads((folder / "head.fbx").read_text())
    arguments = told["arguments"]
    if name.startswith("python"):
        assert arguments[0].endswith("build_files.py") and "--" not in arguments
    else:
        assert arguments[:2] == ["--background", "--factory-startup"]
        assert arguments[arguments.index("--python") + 1].endswith("build_files.py")
        assert arguments.index("--") < arguments.index("--result")
    assert arguments[arguments.index("--options") + 1] == '{"preset": "unity"}'
    assert Path(told["resources"]) != Path.home()


def test_what_this_blender_cannot_write_is_told_in_its_words_and_the_rest_is_there(folder, broken_blender):
    program = (
        "import json, pathlib, sys\n"
        "(pathlib.Path(sys.argv[sys.argv.index('--output') + 1]) / 'head.fbx').write_text('a file')\n"
        "print(json.dumps({'stage': 'write usd', 'file': None, 'seconds': 0, 'refused': 'No USD here.'}))\n"
        "print(json.dumps({'done': True}))\n"
    )
    assert export(folder, ["fbx", "usd"], blender=broken_blender(program)) == ["No USD here."]
    assert (folder / "head.fbx").read_text() == "a file"


def test_a_blender_that_is_not_there_or_not_a_program_is_told_in_a_sentence(folder, tmp_path):
    (sentence,) = export(folder, ["fbx", "obj"], blender=tmp_path / "gone" / "blender", portrait=False)
    assert "head.fbx could not be written: there is no program" in sentence and "--blender" in sentence
    assert (folder / "head.obj").is_file()
    (tmp_path / "blender").write_text("not a program")
    with pytest.raises(BlenderError, match="cannot be started"):
        export(folder, ["fbx"], blender=tmp_path / "blender")


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("import os; os._exit(7)", "exit code 7"),
        ("print('rubbish'); print('{\"error\": \"The sky fell.\"}')", "The sky fell."),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "exit code -9"),
    ],
)
def test_a_child_that_fails_is_told_in_a_sentence_and_leaves_nothing(folder, broken_blender, program, words):
    before = sorted(os.listdir(folder))
    with pytest.raises(BlenderError, match=words):
        export(folder, ["fbx"], blender=broken_blender(program))
    assert sorted(os.listdir(folder)) == before


def test_a_child_that_hangs_is_ended(folder, broken_blender, monkeypatch):
    monkeypatch.setattr(blender_files, "SILENCE_SECONDS", 0.5)
    started = time.perf_counter()
    with pytest.raises(BlenderError):
        export(folder, ["fbx"], blender=broken_blender("import time; time.sleep(60)"))
    assert time.perf_counter() - started < 20


@pytest.mark.blender
def test_the_child_ends_when_its_parent_is_gone(folder, blender_python, tmp_path):
    (tmp_path / "resources" / "config").mkdir(parents=True)
    variables = environment.clean_variables() | {"BLENDER_USER_RESOURCES": str(tmp_path / "resources")}
    command = [blender_python("4.5"), ROOT / "addon" / "build_files.py", "--result", folder, "--output", tmp_path]
    child = subprocess.Popen(
        [*command, "--portrait", "4096", "--end-with-input"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=variables,
    )
    try:
        child.stdout.readline()
        child.stdin.close()
        assert child.wait(timeout=20) == 1
    finally:
        child.kill()
        child.wait()
        child.stdout.close()


@pytest.mark.blender
def test_a_result_that_cannot_be_read_is_told_in_the_childs_words(folder, blender_python):
    (folder / "head.npz").write_bytes(b"nothing")
    with pytest.raises(BlenderError, match="damaged"):
        export(folder, ["fbx"], blender=blender_python("4.5"))
