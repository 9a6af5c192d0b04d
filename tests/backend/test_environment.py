"""Making environments, with a set of two tiny packages from a folder of wheels."""

import base64
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from backend import environment
from backend.errors import Cancelled, SetupError

ROOT = Path(environment.__file__).parent.parent
HERE = f"{sys.version_info.major}.{sys.version_info.minor}"


def make_wheel(folder: Path, name: str, version: str, code: str) -> None:
    """A wheel with one module."""
    files = {
        f"{name}.py": code,
        f"{name}-{version}.dist-info/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{name}-{version}.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = f"{name}-{version}.dist-info/RECORD"
    rows = []
    for path, content in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(content.encode()).digest()).rstrip(b"=").decode()
        rows.append(f"{path},sha256={digest},{len(content.encode())}")
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        for path, content in files.items():
            wheel.writestr(path, content)
        wheel.writestr(record, "\n".join([*rows, f"{record},,"]) + "\n")


def write_sets(folder: Path, python: str = HERE, imports: tuple[str, ...] = ("first_tiny", "second_tiny")) -> None:
    folder.mkdir(exist_ok=True)
    entry = {
        "purpose": "test",
        "python": [python],
        "imports": imports,
        "uses_torch": False,
        "satisfies": [],
        "installed_mb": 20,
    }
    (folder / "sets.json").write_text(json.dumps({"tiny": entry}))
    (folder / "tiny.txt").write_text("# first\nfirst_tiny==1.0\n\n# second\nsecond_tiny==1.0\n")
    (folder / "installer.txt").write_text("# installer\npip>=20\n")
    (folder / "constraints.txt").write_text("")
    shutil.copy(ROOT / "backend" / "requirements" / "wheel_indexes.json", folder)


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A place with a set `tiny`, its wheels, and a home of its own. Returns the folder of wheels."""
    write_sets(tmp_path / "requirements")
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    for name in ("first_tiny", "second_tiny"):
        make_wheel(wheels, name, "1.0", f"NAME = {name!r}\n")
    monkeypatch.setattr(environment, "REQUIREMENTS", tmp_path / "requirements")
    monkeypatch.setenv("LIFEMASK_HOME", str(tmp_path / "home"))
    for variable in list(os.environ):
        if variable.startswith(("PIP_", "LIFEMASK_ENVIRONMENT_")):
            monkeypatch.delenv(variable)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    return wheels


def log_text() -> str:
    return "".join(path.read_text() for path in (environment.home() / "logs").glob("setup-*.log"))


def test_an_environment_is_made_once_survives_an_interruption_and_repairs_what_was_lost(tiny: Path, monkeypatch):
    seen: list[environment.Progress] = []
    with pytest.raises(Cancelled):  # asked to stop when the second package is about to be installed
        environment.ensure("tiny", seen.append, lambda: bool(seen) and "second" in seen[-1].sentence, wheel_folder=tiny)
    folder = environment.environment_folder("tiny")
    assert environment.find("tiny") is None
    assert list(folder.glob("lib/*/site-packages/first_tiny.py")) or list(folder.glob("Lib/*/first_tiny.py"))

    seen.clear()
    made = environment.ensure("tiny", seen.append, wheel_folder=tiny)
    assert made == environment.find("tiny")
    assert not any("first" in progress.sentence for progress in seen)  # it was there already
    assert any("second" in progress.sentence for progress in seen)
    assert log_text().count("-m venv") == 1
    assert [p.fraction for p in seen] == sorted(p.fraction for p in seen)
    code = "import first_tiny, second_tiny; print(first_tiny.NAME)"
    assert subprocess.run([made.python, "-c", code], capture_output=True, text=True).stdout == "first_tiny\n"

    (lost,) = folder.rglob("second_tiny.py")
    lost.unlink()
    environment.repair("tiny", wheel_folder=tiny)
    assert lost.exists()

    assert environment.existing("tiny", folder).python == made.python
    monkeypatch.setenv("LIFEMASK_ENVIRONMENT_TINY", str(folder))
    assert environment.find("tiny").folder == folder

    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("a complete environment starts nothing"))
    began = time.perf_counter()
    assert environment.ensure("tiny").python == made.python
    assert time.perf_counter() - began < 0.05


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_ctrl_c_ends_the_installer_and_a_second_process_waits_for_the_first(tiny: Path, tmp_path: Path):
    code = (
        "import sys; from pathlib import Path; from backend import environment; "
        f"environment.REQUIREMENTS = Path({str(tmp_path / 'requirements')!r}); "
        f"environment.ensure('tiny', lambda p: print(p.step, flush=True), wheel_folder=Path({str(tiny)!r}))"
    )

    def start() -> subprocess.Popen:
        return subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)

    interrupted = start()
    assert interrupted.stdout.readline() == "python\n"
    time.sleep(0.3)
    interrupted.send_signal(2)
    assert interrupted.wait(10) != 0
    assert environment.find("tiny") is None

    both = [start(), start()]
    outputs = [process.communicate(timeout=60)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert sum("waiting" in output for output in outputs) == 1
    assert sum("check" in output for output in outputs) == 1
    assert environment.find("tiny") is not None


def test_no_network_is_said_in_a_sentence(tiny: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "1")
    monkeypatch.setenv("PIP_NO_PROXY", "*")
    with pytest.raises(SetupError, match="network") as caught:
        environment.ensure("tiny")
    assert caught.value.code == "no-network"
    assert environment.find("tiny") is None


OUTPUTS = {
    "no-network": "WARNING: Retrying ... NewConnectionError: Temporary failure in name resolution\n"
    "ERROR: No matching distribution found for numpy==1.26.4",
    "no-wheel": "ERROR: Could not find a version that satisfies the requirement mediapipe==0.10.9 (from versions: 1)\n"
    "ERROR: No matching distribution found for mediapipe==0.10.9",
    "disk-full": "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device",
    "no-permission": "ERROR: Could not install packages due to an OSError: [Errno 13] Permission denied: '/x'",
    "wrong-python": "ERROR: Package 'x' requires a different Python: 3.14.0 not in '==3.11.*'",
    "install-failed": "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.",
}


@pytest.mark.parametrize("code", OUTPUTS)
def test_what_the_installer_says_becomes_one_of_our_sentences(code: str, tiny: Path, monkeypatch):
    def fail(command, *_):
        if "venv" in command:
            site_packages = Path(command[-1]) / "lib" / "python3" / "site-packages" / "pip-30.0.dist-info"
            site_packages.mkdir(parents=True)
            return 0, ""
        return 1, OUTPUTS[code]

    monkeypatch.setattr(environment, "_run_command", fail)
    with pytest.raises(SetupError) as caught:
        environment.ensure("tiny")
    assert caught.value.code == code
    assert "\n" not in caught.value.sentence
    if code == "no-wheel":
        assert "mediapipe==0.10.9" in caught.value.sentence


def test_a_missing_system_library_is_named_with_the_package_that_has_it(tmp_path: Path):
    output = "importing numpy\nimporting cv2\nImportError: libGL.so.1: cannot open shared object file: No such file"
    error = environment._import_error(output, tmp_path / "log")
    assert error.code == "system-library"
    assert "cv2 needs the system library libGL.so.1" in error.sentence
    assert "apt install libgl1" in error.sentence


def test_a_module_that_does_not_import_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write_sets(tmp_path / "requirements", imports=("json", "no_such_module"))
    monkeypatch.setattr(environment, "REQUIREMENTS", tmp_path / "requirements")
    monkeypatch.setenv("LIFEMASK_HOME", str(tmp_path / "home"))
    with pytest.raises(SetupError, match="no_such_module was installed but does not import") as caught:
        environment.existing("tiny", Path(sys.executable))
    assert caught.value.code == "broken-package"


def test_too_little_space_is_said_before_anything_is_made(tiny: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(environment.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9, 10**6))
    with pytest.raises(SetupError, match="0.0 GB are free") as caught:
        environment.ensure("tiny", wheel_folder=tiny)
    assert caught.value.code == "disk-full"
    assert not environment.environment_folder("tiny").exists()


def test_another_version_of_python_is_refused_with_exit_code_2(tiny: Path, tmp_path: Path, monkeypatch):
    write_sets(tmp_path / "requirements", python="2.9")
    with pytest.raises(SetupError, match="Python 2.9 is needed") as caught:
        environment.ensure("tiny", wheel_folder=tiny)
    assert (caught.value.code, caught.value.exit_code) == ("wrong-python", 2)
    monkeypatch.setenv("LIFEMASK_PYTHON", sys.executable)
    with pytest.raises(SetupError, match=f"is Python {HERE}"):
        environment.ensure("tiny", wheel_folder=tiny)


def test_a_home_below_a_file_is_said_in_a_sentence(tiny: Path, tmp_path: Path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LIFEMASK_HOME", str(tmp_path / "file" / "home"))
    with pytest.raises(SetupError, match="LIFEMASK_HOME") as caught:
        environment.ensure("tiny", wheel_folder=tiny)
    assert caught.value.code == "no-permission"


def test_other_pins_go_to_another_folder(tiny: Path, tmp_path: Path):
    before = environment.environment_folder("tiny")
    assert before == environment.environment_folder("tiny")
    pins = tmp_path / "requirements" / "tiny.txt"
    pins.write_text(pins.read_text().replace("second_tiny==1.0", "second_tiny==1.1"))
    assert environment.environment_folder("tiny") != before


def test_the_shipped_sets_are_pinned_and_both_opencv_wheels_have_one_version():
    for name in environment.set_names():
        wanted = environment.requirement_set(name)
        pins = [line for _, requirements in wanted.steps for line in requirements]
        assert all("==" in pin or pin == "setuptools<81" for pin in pins), name
        opencv = {pin.split("==")[1] for pin in pins if pin.startswith("opencv")}
        assert len(opencv) <= 1, name


def test_the_build_of_pytorch_tells_environments_apart(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "platform", "linux")
    folders = {environment.environment_folder("runtime", build) for build in ("cpu", "cuda")}
    assert len(folders) == 2
    assert environment.environment_folder("blender", "cpu") == environment.environment_folder("blender", "cuda")


def test_pip_lines_become_progress_in_bytes_that_never_goes_back():
    seen: list[environment.Progress] = []
    reader = environment._PipOutput("PyTorch", "packages", 0.2, 0.6, seen.append)
    reader.read("Collecting torch==2.13.0\n")
    reader.read("  Downloading torch-2.13.0-cp311-cp311-win_amd64.whl (104.2 MB)\n")
    reader.read("Progress 52100000 of 104200000\n")
    assert seen[-1].package == "torch"
    assert (seen[-1].bytes_done, seen[-1].bytes_total) == (52100000, 104200000)
    reader.read("Progress 104200000 of 104200000\n")
    reader.read("  Using cached sympy-1.14.0-py3-none-any.whl (6.3 MB)\n")
    reader.read("Processing /wheels/mpmath-1.3.0-py3-none-any.whl (from sympy)\n")
    assert seen[-1].package == "mpmath"
    reader.read("Installing collected packages: mpmath, sympy, torch\n")
    fractions = [progress.fraction for progress in seen]
    assert fractions == sorted(fractions)
    assert 0.2 <= fractions[0] < fractions[1] < fractions[-1] < 0.6


# Which Python, which packages


@pytest.fixture
def two_runtimes(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """A function that says for which version of Python each of the two runtime sets is."""

    def write(of_first: str, of_second: str) -> None:
        (entry, *_) = json.loads((environment.REQUIREMENTS / "sets.json").read_text()).values()
        sets = {"runtime": entry | {"python": [of_first]}, "runtime-tasks": entry | {"python": [of_second]}}
        (environment.REQUIREMENTS / "sets.json").write_text(json.dumps(sets))
        for name in sets:
            shutil.copy(environment.REQUIREMENTS / "tiny.txt", environment.REQUIREMENTS / f"{name}.txt")

    monkeypatch.delenv("LIFEMASK_PYTHON", raising=False)
    return write


def test_a_newer_python_gets_the_second_set_of_packages(two_runtimes):
    two_runtimes("3.1", HERE)
    assert environment.choose_runtime() == "runtime-tasks"
    assert environment.choose_runtime(base_python=Path(sys.executable)) == "runtime-tasks"


def test_the_first_set_is_preferred_where_both_are_possible(two_runtimes):
    two_runtimes(HERE, HERE)
    assert environment.choose_runtime() == "runtime"
    assert environment.choose_runtime(base_python=Path(sys.executable)) == "runtime"


def test_a_complete_environment_is_used_whatever_python_is_found_later(two_runtimes, tiny: Path):
    two_runtimes("3.1", HERE)
    assert environment.find_runtime() is None
    made = environment.ensure("runtime-tasks", wheel_folder=tiny)
    two_runtimes(HERE, HERE)
    assert environment.choose_runtime() == "runtime-tasks"
    assert environment.find_runtime() == made


def test_a_given_environment_of_either_set_is_known_from_inside(two_runtimes, tmp_path: Path, monkeypatch):
    two_runtimes(HERE, HERE)
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    assert not environment.is_current("runtime")
    monkeypatch.setenv("LIFEMASK_ENVIRONMENT_RUNTIME_TASKS", str(tmp_path))
    assert environment.is_current("runtime") and environment.is_current("runtime-tasks")
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "another"))
    assert not environment.is_current("runtime")


def test_without_any_python_that_fits_the_sentence_names_all_versions(two_runtimes):
    two_runtimes("3.1", "3.2")
    for base_python in (None, Path(sys.executable)):
        with pytest.raises(SetupError, match=r"Python 3\.1 or 3\.2 is needed") as caught:
            environment.choose_runtime(base_python=base_python)
        assert (caught.value.code, caught.value.exit_code) == ("wrong-python", 2)
        assert caught.value.fix.action == "install-python"


def test_both_shipped_runtimes_have_the_same_pytorch_and_opencv():
    first, second = (
        [line for _, lines in environment.requirement_set(name).steps for line in lines]
        for name in environment.RUNTIMES
    )
    for package in ("torch", "scipy", "opencv-contrib-python", "pillow"):
        assert {line for line in first if line.startswith(package)} == {
            line for line in second if line.startswith(package)
        }
    names = [{line.split("==")[0] for line in lines} for lines in (first, second)]
    assert names[0] - names[1] == {"protobuf"} and names[1] <= names[0]


# What happens to environments afterwards


def test_a_deleted_environment_is_not_found_and_made_anew(tiny: Path):
    made = environment.ensure("tiny", wheel_folder=tiny)
    made.python.unlink()  # as when the Python that it was made from is removed
    assert environment.find("tiny") is None
    shutil.rmtree(made.folder)
    assert environment.find("tiny") is None
    assert environment.ensure("tiny", wheel_folder=tiny) == made and made.python.exists()


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root may mount")
def test_a_read_only_environment_can_be_used_and_says_why_it_cannot_be_repaired(tiny: Path, tmp_path: Path):
    made = environment.ensure("tiny", wheel_folder=tiny)
    script = (
        f"mount --bind {environment.home()} {environment.home()} && mount -o remount,ro,bind {environment.home()} "
        f"&& exec {sys.executable} -c '{READ_ONLY_SCRIPT}' {environment.REQUIREMENTS}"
    )
    result = subprocess.run(["unshare", "-m", "sh", "-c", script], cwd=ROOT, capture_output=True, text=True)
    if "unshare" in result.stderr or "mount:" in result.stderr:
        pytest.skip("mounts are not possible here")
    found, *errors = result.stdout.splitlines()
    assert found == str(made.folder), result.stderr
    assert len(errors) == 2
    for error in errors:
        assert error.startswith("no-permission choose-folder") and "LIFEMASK_HOME" in error


READ_ONLY_SCRIPT = """
import sys, pathlib
from backend import environment
environment.REQUIREMENTS = pathlib.Path(sys.argv[1])
found = environment.find("tiny")
print(found.folder)
for action in (lambda: environment.repair("tiny"), lambda: environment.existing("tiny", found.folder)):
    try:
        action()
    except environment.SetupError as error:
        print(error.code, error.fix.action, error.sentence)
"""
