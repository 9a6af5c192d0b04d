"""Makes and finds the environments (interpreter and pinned packages) that the rest of the project runs in.

Standard library only: it runs under a bare Python and inside Blender. A set of pins is a file in `requirements/`; its
environment is a virtual environment in a folder whose name holds a hash of the pins, so that new pins never disturb
an environment in use. The folder is complete when its marker file exists, which is written last.
"""

import contextlib
import hashlib
import json
import logging
import os
import platform
import queue
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from .errors import Cancelled, Fix, SetupError

log = logging.getLogger(__name__)

REQUIREMENTS = Path(__file__).parent / "requirements"
MARKER = "lifemask-environment.json"
TORCH_BUILDS = ("auto", "cpu", "cuda")
FREE_SPACE_FACTOR = 1.5  # wheels and what is unpacked from them are on the disk together for a while
KILL_AFTER_SECONDS = 5.0
RUNTIMES = ("runtime", "runtime-tasks")  # the first is preferred: its detector is the better measured one


# What is asked for and what comes back


@dataclass(frozen=True)
class RequirementSet:
    """Packages that are installed together.

    Attributes:
        name: as in `requirements/<name>.txt`.
        purpose: what it is for, to follow "needed to".
        python: the versions of Python that its packages have wheels for, as "3.11".
        imports: modules that must import after the installation.
        uses_torch: whether the build of PyTorch (CPU or CUDA) tells two environments apart.
        satisfies: other sets whose commands run in this one's environment too.
        installed_mb: size on the disk, as measured on Linux with PyTorch for the CPU.
        steps: (title, requirement lines) in the order of installation.
    """

    name: str
    purpose: str
    python: tuple[str, ...]
    imports: tuple[str, ...]
    uses_torch: bool
    satisfies: tuple[str, ...]
    installed_mb: int
    steps: tuple[tuple[str, tuple[str, ...]], ...]


@dataclass(frozen=True)
class Environment:
    """A complete environment: `python` runs with the packages of the set `name`."""

    name: str
    folder: Path
    python: Path

    def size_mb(self) -> float | None:
        """As measured when it was made; None for one that somebody else made."""
        marker = _read_marker(self.folder)
        return marker["bytes"] / 1e6 if marker else None


@dataclass(frozen=True)
class Progress:
    """How far an installation is.

    Attributes:
        step: "waiting", "python", "installer", "packages" or "check".
        sentence: what is being done, for a person.
        fraction: of the whole installation, 0 to 1.
        package: what is being downloaded or unpacked, where known.
        bytes_done, bytes_total: of that package's download, where known.
    """

    step: str
    sentence: str
    fraction: float
    package: str | None = None
    bytes_done: int | None = None
    bytes_total: int | None = None


ProgressCallback = Callable[[Progress], None]
CancelCallback = Callable[[], bool]


def set_names() -> tuple[str, ...]:
    """The sets that are here; the extension's archive holds fewer than the repository."""
    names = json.loads((REQUIREMENTS / "sets.json").read_text("utf-8"))
    return tuple(name for name in names if (REQUIREMENTS / f"{name}.txt").is_file())


def requirement_set(name: str) -> RequirementSet:
    """The set of that name. Raises SetupError("unknown-set")."""
    sets = json.loads((REQUIREMENTS / "sets.json").read_text("utf-8"))
    if name not in (here := set_names()):
        raise SetupError(
            "unknown-set", f"There is no set of packages {name}. There are: {', '.join(here)}.", exit_code=2
        )
    entry = sets[name]
    return RequirementSet(
        name=name,
        purpose=entry["purpose"],
        python=tuple(entry["python"]),
        imports=tuple(entry["imports"]),
        uses_torch=entry["uses_torch"],
        satisfies=tuple(entry["satisfies"]),
        installed_mb=entry["installed_mb"],
        steps=tuple(_read_steps(REQUIREMENTS / f"{name}.txt")),
    )


def home() -> Path:
    """Where Lifemask keeps its environments and logs: `$LIFEMASK_HOME` or the platform's folder for user data."""
    if chosen := os.environ.get("LIFEMASK_HOME"):
        return Path(chosen).expanduser().absolute()
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "Lifemask"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "Lifemask"
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "lifemask"


def torch_build(wanted: str = "auto") -> str:
    """The build of PyTorch to install, "cpu", "cuda" or "default" (macOS, where one wheel has all).

    Args:
        wanted: "auto" looks at `$LIFEMASK_TORCH`, then for an NVIDIA driver.
    """
    if wanted == "auto":
        wanted = os.environ.get("LIFEMASK_TORCH") or "auto"
    if wanted not in TORCH_BUILDS:
        raise SetupError(
            "unknown-torch-build", f"PyTorch comes as {', '.join(TORCH_BUILDS)}, not as {wanted}.", exit_code=2
        )
    if sys.platform == "darwin":
        return "default"
    if wanted != "auto":
        return wanted
    has_nvidia = Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi") is not None
    return "cuda" if has_nvidia else "cpu"


def environment_folder(name: str, build: str = "auto", root: Path | None = None) -> Path:
    """The folder of a set's environment, whether it exists or not.

    Args:
        name: of the set.
        build: of PyTorch, see `torch_build`.
        root: instead of `home()`.
    """
    wanted = requirement_set(name)
    return (root or home()) / "environments" / f"{name}-{_pins_hash(wanted, build)}"


def find(name: str, build: str = "auto", root: Path | None = None) -> Environment | None:
    """The complete environment of a set, or None. Reads one small file; imports and starts nothing.

    `$LIFEMASK_ENVIRONMENT_RUNTIME` (`_BLENDER`, `_BLENDER_4_2`, ...) names a virtual environment that somebody else
    made, to be used for that set as it is.
    """
    if given := _given_folder(name):
        if not _python_of(given).exists():
            raise SetupError("no-python", f"There is no Python in {given}, which {_variable(name)} names.", exit_code=2)
        return Environment(name, given, _python_of(given))
    folder = environment_folder(name, build, root)
    python = _python_of(folder)
    if _read_marker(folder) is None or not python.exists():
        return None
    return Environment(name, folder, python)


def find_runtime(root: Path | None = None, build: str = "auto") -> Environment | None:
    """The complete environment that reconstructs heads, of whichever set, or None. Starts nothing, see `find`."""
    found = (find(name, build, root) for name in RUNTIMES if name in set_names())
    return next((environment for environment in found if environment is not None), None)


def choose_runtime(root: Path | None = None, build: str = "auto", base_python: Path | None = None) -> str:
    """The name of the set to make or to use for reconstruction.

    Args:
        root: instead of `home()`.
        build: of PyTorch, see `torch_build`.
        base_python: the interpreter to make the environment from; its version decides.

    Returns:
        The set whose environment is complete; otherwise "runtime" where there is a Python 3.11 and "runtime-tasks",
        with the second face detector, where there is only a newer one.

    Raises:
        SetupError("wrong-python", exit code 2): no Python that fits was found, or `base_python` does not.
    """
    if base_python is None and (found := find_runtime(root, build)):
        return found.name
    versions = {name: requirement_set(name).python for name in RUNTIMES if name in set_names()}
    every = tuple(version for of_set in versions.values() for version in of_set)
    if base_python is not None:
        _check_python(base_python, every)
    for name, of_set in versions.items():
        with contextlib.suppress(SetupError):
            _ = _check_python(base_python, of_set) if base_python else find_python(of_set)
            return name
    raise _no_python(every)


def is_current(name: str) -> bool:
    """Whether this very process runs in a complete environment that holds the set."""
    here = Path(sys.prefix).resolve()
    names = RUNTIMES if name in RUNTIMES else (name,)
    if any(given.resolve() == here for given in map(_given_folder, names) if given):
        return True
    marker = _read_marker(here)
    if marker is None or _given_folder(name):
        return False
    build = marker["torch_build"]
    return marker["satisfies"].get(name) == _pins_hash(requirement_set(name), build, of_platform=False)


def named(name: str, folder: Path) -> Environment:
    """An environment that somebody else made, as it is.

    Args:
        name: of the set that it should satisfy.
        folder: of the environment, or its Python.

    Raises:
        SetupError: there is no Python in it.
    """
    python = folder if folder.is_file() else _python_of(folder)
    if not python.exists():
        raise SetupError("no-python", f"There is no Python in {folder}. Choose the folder of a virtual environment.")
    return Environment(name, python.parent.parent, python)


def existing(
    name: str, folder: Path, cancelled: CancelCallback | None = None, *, root: Path | None = None
) -> Environment:
    """As `named`, checked by importing the set's modules.

    Args:
        name: of the set that it must satisfy.
        folder: of the environment, or its Python.
        cancelled: asked several times a second; True stops the check.
        root: where the log goes, instead of `home()`.

    Raises:
        SetupError: there is no Python in it, or a module does not import.
        Cancelled: `cancelled` said so.
    """
    found = named(name, folder)
    _check_imports(requirement_set(name), found.python, None, cancelled or (lambda: False), root)
    return found


def ensure(
    name: str,
    progress: ProgressCallback | None = None,
    cancelled: CancelCallback | None = None,
    *,
    build: str = "auto",
    root: Path | None = None,
    base_python: Path | None = None,
    wheel_folder: Path | None = None,
) -> Environment:
    """The environment of a set, made if it is not there or not complete.

    An installation that was interrupted goes on with the first package that is not wholly there. Two processes
    that want the same environment do not disturb each other: the second one waits.

    Args:
        name: of the set.
        progress: called from this thread, at most some ten times a second.
        cancelled: asked several times a second; True stops the installation.
        build: of PyTorch, see `torch_build`.
        root: instead of `home()`.
        base_python: the interpreter to make the environment from; otherwise one that fits is looked for.
        wheel_folder: install from the wheels in this folder and use no network.

    Raises:
        SetupError: in a sentence why not. Its codes: "wrong-python", "no-venv", "disk-full", "no-permission",
            "no-network", "no-wheel", "system-library", "broken-package", "install-failed", "unknown-set".
        Cancelled: `cancelled` said so. What is complete stays and is used next time.
    """
    if found := find(name, build, root):
        return found
    installation = _Installation(
        wanted=requirement_set(name),
        folder=environment_folder(name, build, root),
        build=torch_build(build),
        progress=progress or (lambda _: None),
        cancelled=cancelled or (lambda: False),
        wheel_folder=wheel_folder,
    )
    return installation.run(base_python)


def repair(name: str, progress: ProgressCallback | None = None, cancelled: CancelCallback | None = None, **how):
    """As `ensure`, but packages that lost files are installed again even if the environment was complete."""
    folder = environment_folder(name, how.get("build", "auto"), how.get("root"))
    try:
        (folder / MARKER).unlink(missing_ok=True)
    except NotADirectoryError:
        pass  # `ensure` says it
    except OSError as error:
        raise _os_error_in_words(error, folder) from error
    return ensure(name, progress, cancelled, **how)


def find_python(versions: tuple[str, ...]) -> Path:
    """An interpreter of one of the versions ("3.11") that can make environments.

    Looks at `$LIFEMASK_PYTHON`, this interpreter, then for `python3.11` and the like.

    Raises:
        SetupError("wrong-python", exit code 2): there is none.
    """
    if chosen := os.environ.get("LIFEMASK_PYTHON"):
        return _check_python(Path(chosen), versions)
    here = Path(getattr(sys, "_base_executable", None) or sys.executable)
    candidates = [here] if f"{sys.version_info.major}.{sys.version_info.minor}" in versions else []
    for version in versions:
        names = (f"python{version}", "py") if sys.platform == "win32" else (f"python{version}",)
        folders = ("", "/usr/bin", "/usr/local/bin", "/opt/homebrew/bin")
        candidates += [Path(p) for n in names for f in folders if (p := shutil.which(str(Path(f) / n) if f else n))]
    for candidate in candidates:
        with contextlib.suppress(SetupError):
            return _check_python(candidate, versions)
    raise _no_python(versions)


@contextlib.contextmanager
def hold_lock(path: Path, while_waiting: Callable[[], None]) -> Iterator[int]:
    """Holds a file lock, which the system releases when its last holder ends. Yields the file's descriptor."""
    with path.open("a+") as file:
        while not _try_lock(file):
            while_waiting()
            time.sleep(0.2)
        yield file.fileno()


def site_packages(folder: Path) -> Path | None:
    """The folder of an environment's packages; None where it has none yet."""
    pattern = "Lib/site-packages" if sys.platform == "win32" else "lib/python*/site-packages"
    return next(iter(folder.glob(pattern)), None)


def clean_variables(variables: dict[str, str] | None = None) -> dict[str, str]:
    """Environment variables for a child Python that must see its own packages and no others."""
    kept = dict(os.environ if variables is None else variables)
    unwanted = ("PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "__PYVENV_LAUNCHER__", "VIRTUAL_ENV")
    for variable in (*unwanted, "PIP_TARGET", "PIP_PREFIX", "PIP_USER", "PIP_REQUIRE_VIRTUALENV", "PIP_ROOT"):
        kept.pop(variable, None)
    kept.update(PYTHONNOUSERSITE="1", PYTHONUNBUFFERED="1")
    # Our matrices are small: numpy's second thread only spins (a fit took 0.3 s with one, 3 to 9 s on a busy machine
    # with two). PyTorch's threads are its own.
    kept.setdefault("OPENBLAS_NUM_THREADS", "1")
    return kept


# One installation


@dataclass
class _Installation:
    wanted: RequirementSet
    folder: Path
    build: str
    progress: ProgressCallback
    cancelled: CancelCallback
    wheel_folder: Path | None = None
    started: float = field(default_factory=time.monotonic)

    def run(self, base_python: Path | None) -> Environment:
        try:
            self.folder.parent.mkdir(parents=True, exist_ok=True)
            lock_path = self.folder.with_name(self.folder.name + ".lock")
            with hold_lock(lock_path, self._while_waiting) as self.lock_descriptor:
                python = _python_of(self.folder)
                if _read_marker(self.folder) is not None and python.exists():
                    return Environment(self.wanted.name, self.folder, python)  # made while this process waited
                self._make(python, base_python)
                return Environment(self.wanted.name, self.folder, python)
        except OSError as error:
            raise _os_error_in_words(error, self.folder) from error

    def _make(self, python: Path, base_python: Path | None) -> None:
        self._check_space()
        self._say("python", "Making the environment", 0.0)
        if not (self.folder / "pyvenv.cfg").is_file() or not python.exists():
            shutil.rmtree(self.folder, ignore_errors=True)
        _remove_damaged(self.folder)
        if _installed_version(self.folder, "pip") is None:
            base = _check_python(base_python, self.wanted.python) if base_python else find_python(self.wanted.python)
            self._run([str(base), "-m", "venv", str(self.folder)], _venv_error)
        self._install_installer(python)
        steps = self.wanted.steps
        for number, (title, requirements) in enumerate(steps):
            if all(_is_installed(self.folder, requirement) for requirement in requirements):
                continue
            start, end = (0.05 + 0.85 * (number + i) / len(steps) for i in (0, 1))
            self._install(python, title, list(requirements), start, end)
        self._say("check", "Checking that everything imports", 0.9)
        _check_imports(self.wanted, python, self._run, self.cancelled)
        self._write_marker()
        self._say("check", "The environment is complete", 1.0)

    def _check_space(self) -> None:
        already = _size_of(self.folder) if self.folder.exists() else 0
        needed = max(0, int(self.wanted.installed_mb * 1e6 * FREE_SPACE_FACTOR) - already)
        free = shutil.disk_usage(self.folder.parent).free
        if free < needed:
            raise _disk_full(self.folder, f"About {needed / 1e9:.1f} GB are needed and {free / 1e9:.1f} GB are free.")

    def _install_installer(self, python: Path) -> None:
        ((_, requirements),) = _read_steps(REQUIREMENTS / "installer.txt")
        if all(_is_installed(self.folder, requirement) for requirement in requirements):
            return
        try:
            self._install(python, "the installer", list(requirements), 0.03, 0.05, step="installer")
        except SetupError as error:
            if error.code in ("no-network", "disk-full", "no-permission"):
                raise
            log.info("going on with the pip that Python brought: %s", error)

    def _install(
        self, python: Path, title: str, requirements: list[str], start: float, end: float, step: str = "packages"
    ) -> None:
        command = [str(python), "-m", "pip", "install", "--no-input", "--disable-pip-version-check"]
        command += ["--no-warn-script-location", "--only-binary=:all:"]
        command += ["--progress-bar=raw"] if _pip_version(self.folder) >= (24, 1) else ["--progress-bar=off"]
        command += ["-c", str(REQUIREMENTS / "constraints.txt")]
        if self.wheel_folder is not None:
            command += ["--no-index", "--find-links", str(self.wheel_folder)]
        elif any(re.match(r"torch\b", requirement) for requirement in requirements):
            command += self._torch_index(python)
        reader = _PipOutput(title, step, start, end, self.progress)
        reader.say()
        self._run([*command, *requirements], _pip_error(title, self.wheel_folder), reader.read)

    def _torch_index(self, python: Path) -> list[str]:
        """The options that get the wanted build, where the index that pip uses by default has another one."""
        system = {"win32": "windows", "darwin": "macos"}.get(sys.platform, "linux")
        index = json.loads((REQUIREMENTS / "wheel_indexes.json").read_text("utf-8"))[system].get(self.build)
        if index is None or _has_own_package_sources(python):
            return []
        return ["--extra-index-url", index]

    def _run(
        self,
        command: list[str],
        explain: Callable[[str, Path], SetupError],
        on_line: Callable[[str], None] | None = None,
    ) -> None:
        """Runs one command to its end, its output into the log. Raises what `explain` makes of a failure."""
        log_path = home_log(f"setup-{self.folder.name}", self.folder.parent.parent)
        code, output = _run_command(
            command, log_path, on_line or (lambda _: None), self.cancelled, getattr(self, "lock_descriptor", None)
        )
        if code != 0:
            raise explain(output, log_path)

    def _write_marker(self) -> None:
        names = (self.wanted.name, *self.wanted.satisfies)
        marker = {
            "set": self.wanted.name,
            "torch_build": self.build,
            "satisfies": {n: _pins_hash(requirement_set(n), self.build, of_platform=False) for n in names},
            "seconds": round(time.monotonic() - self.started, 1),
            "bytes": _size_of(self.folder),
        }
        temporary = self.folder / (MARKER + ".new")
        temporary.write_text(json.dumps(marker, indent=2), "utf-8")
        temporary.replace(self.folder / MARKER)

    def _while_waiting(self) -> None:
        if self.cancelled():
            raise Cancelled()
        self._say("waiting", "Waiting: another process is making the same environment", 0.0)

    def _say(self, step: str, sentence: str, fraction: float) -> None:
        self.progress(Progress(step, sentence, fraction))


class _PipOutput:
    """Turns pip's lines into progress.

    Pip does not say beforehand how much it will download, so each package takes the same part of what is left.
    """

    PART_OF_DOWNLOADS = 0.7
    PART_PER_PACKAGE = 0.4

    def __init__(self, title: str, step: str, start: float, end: float, progress: ProgressCallback):
        self.title, self.step, self.start, self.end, self.progress = title, step, start, end, progress
        self.package: str | None = None
        self.share = 0.0  # of this step, when the present package began
        self.last = 0.0

    def read(self, line: str) -> None:
        if match := re.match(r"Progress (\d+) of (\d+)", line):
            if time.monotonic() - self.last >= 0.1 or match[1] == match[2]:
                self.last = time.monotonic()
                self.say(int(match[1]), int(match[2]))
        elif match := re.match(r"\s*(?:Downloading|Using cached|Processing) (\S+\.whl)(?: \(([\d.]+) (\w+)\))?", line):
            if self.package is not None:
                self.share = self._share_after_package()
            self.package = match[1].replace("\\", "/").rsplit("/", 1)[-1].split("-")[0]
            units = {"kB": 1e3, "MB": 1e6, "GB": 1e9}
            self.say(None, int(float(match[2]) * units.get(match[3], 1)) if match[2] else None)
        elif re.match(r"Installing collected packages: ", line):
            self.package, self.share = None, self.PART_OF_DOWNLOADS
            self.say(verb="Unpacking")

    def say(self, done: int | None = None, total: int | None = None, verb: str = "Installing") -> None:
        share = self.share
        if done and total:
            share += (self._share_after_package() - share) * done / total
        fraction = self.start + (self.end - self.start) * share
        self.progress(Progress(self.step, f"{verb} {self.title}", fraction, self.package, done, total))

    def _share_after_package(self) -> float:
        return self.share + (self.PART_OF_DOWNLOADS - self.share) * self.PART_PER_PACKAGE


# Running commands


def home_log(name: str, root: Path | None = None) -> Path:
    """A log file in `root` or `home()`, its folder made. Raises OSError."""
    folder = (root or home()) / "logs"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{name}.log"


def _run_command(
    command: list[str],
    log_path: Path,
    on_line: Callable[[str], None],
    cancelled: CancelCallback,
    inherited_descriptor: int | None,
) -> tuple[int, str]:
    """Exit code and output of a command that can be cancelled. Whatever ends this function ends the command."""
    # In a group of its own, so that Ctrl-C in a terminal reaches only this process, which then ends the whole group.
    # The command holds the lock too: should this process be killed, nobody starts over while the command still writes.
    group = (
        {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}
        if sys.platform == "win32"
        else {"start_new_session": True, "pass_fds": () if inherited_descriptor is None else (inherited_descriptor,)}
    )
    lines: queue.Queue[str | None] = queue.Queue()
    output: list[str] = []
    with log_path.open("a", encoding="utf-8") as log_file:
        log_file.write(f"\n$ {' '.join(command)}\n")
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
            env=clean_variables(),
            **group,
        )
        reader = threading.Thread(target=_read_lines, args=(process, lines), daemon=True)
        reader.start()
        try:
            while True:
                if cancelled():
                    raise Cancelled()
                try:
                    line = lines.get(timeout=0.1)
                except queue.Empty:
                    continue
                if line is None:
                    break
                on_line(line)
                if not line.startswith("Progress "):
                    log_file.write(line)
                    output.append(line)
            return process.wait(), "".join(output)
        finally:
            _end(process)
            log_file.write(f"= {process.returncode}\n")


def _read_lines(process: subprocess.Popen, lines: "queue.Queue[str | None]") -> None:
    for line in process.stdout:
        lines.put(line)
    lines.put(None)


def _end(process: subprocess.Popen) -> None:
    """Ends a process and all of its group, gently first."""
    if process.poll() is not None:
        return
    for sign in ("SIGTERM", "SIGKILL"):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if sys.platform == "win32":
                process.kill()
            else:
                os.killpg(process.pid, getattr(signal, sign))
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(KILL_AFTER_SECONDS)
            return


def _try_lock(file) -> bool:
    try:
        if sys.platform == "win32":
            import msvcrt

            file.seek(0)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


# Pins and what is installed of them


def _read_steps(path: Path) -> list[tuple[str, tuple[str, ...]]]:
    """The paragraphs of a requirement file with their titles; `-r` lines are replaced by that file's paragraphs."""
    steps: list[tuple[str, tuple[str, ...]]] = []
    for paragraph in re.split(r"\n\s*\n", path.read_text("utf-8")):
        lines = [line.strip() for line in paragraph.splitlines() if line.strip()]
        for included in (line for line in lines if line.startswith("-r ")):
            steps += _read_steps(path.parent / included[3:].strip())
        requirements = tuple(line for line in lines if not line.startswith(("#", "-r ")))
        title = next((line.lstrip("# ").split(";")[0] for line in lines if line.startswith("#")), path.stem)
        if requirements:
            steps.append((title, requirements))
    return steps


def _pins_hash(wanted: RequirementSet, build: str, of_platform: bool = True) -> str:
    """Twelve hexadecimal digits that change with the pins, the Python versions and the build of PyTorch.

    Args:
        of_platform: look the build "auto" up; False takes `build` as it is.
    """
    if wanted.uses_torch and of_platform:
        build = torch_build(build)
    parts = [line for _, requirements in wanted.steps for line in requirements]
    parts += (REQUIREMENTS / "constraints.txt").read_text("utf-8").splitlines()
    parts += [*wanted.python, platform.machine(), build if wanted.uses_torch else "no torch"]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]


def _read_marker(folder: Path) -> dict | None:
    try:
        return json.loads((folder / MARKER).read_text("utf-8"))
    except (OSError, ValueError):
        return None


def _variable(name: str) -> str:
    return "LIFEMASK_ENVIRONMENT_" + re.sub(r"\W", "_", name).upper()


def _given_folder(name: str) -> Path | None:
    given = os.environ.get(_variable(name))
    return Path(given).expanduser().absolute() if given else None


def _python_of(folder: Path) -> Path:
    return folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")


def _installed_version(folder: Path, package: str) -> str | None:
    """The version of a package according to the name of its metadata folder."""
    packages = site_packages(folder)
    if packages is None:
        return None
    wanted = re.sub(r"[-_.]+", "_", package).lower()
    for metadata in packages.glob("*.dist-info"):
        name, _, version = metadata.name.removesuffix(".dist-info").rpartition("-")
        if re.sub(r"[-_.]+", "_", name).lower() == wanted:
            return version
    return None


def _is_installed(folder: Path, requirement: str) -> bool:
    """Whether a pin is satisfied. Only `==` is judged; for anything looser any version counts (pip judged it)."""
    match = re.match(r"([A-Za-z0-9._-]+?)\s*(?:==\s*([^\s;]+)|[<>!~].*)?\s*(?:;.*)?$", requirement)
    if match is None:
        return False
    version = _installed_version(folder, match[1])
    return version is not None and (match[2] is None or version.split("+")[0] == match[2].split("+")[0])


def _pip_version(folder: Path) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", _installed_version(folder, "pip") or "0"))


def _remove_damaged(folder: Path) -> list[str]:
    """Forgets packages that are not wholly there, as after a power cut, so that they are installed again.

    Returns their names. A package is whole when it has a RECORD and every file in it is there with its size.
    """
    packages = site_packages(folder)
    damaged = []
    for metadata in packages.glob("*.dist-info") if packages else ():
        if not _is_whole(packages, metadata / "RECORD"):
            damaged.append(metadata.name)
            shutil.rmtree(metadata, ignore_errors=True)
    for leftover in packages.glob("~*") if packages else ():
        shutil.rmtree(leftover, ignore_errors=True)
    return damaged


def _is_whole(site_packages: Path, record: Path) -> bool:
    import csv

    try:
        with record.open(encoding="utf-8", newline="") as file:
            for row in csv.reader(file):
                if len(row) != 3 or not row[2] or row[0].endswith(".pyc"):  # Python rewrites compiled files
                    continue
                if os.stat(site_packages / row[0]).st_size != int(row[2]):
                    return False
    except (OSError, ValueError, csv.Error):
        return False
    return True


def _size_of(folder: Path) -> int:
    total = 0
    for parent, _, files in os.walk(folder):
        for name in files:
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(parent, name)).st_size
    return total


def _has_own_package_sources(python: Path) -> bool:
    """Whether the person has told pip where packages come from (a mirror, a folder of wheels)."""
    result = subprocess.run(
        [str(python), "-m", "pip", "config", "list"], capture_output=True, text=True, env=clean_variables(), check=False
    )
    return re.search(r"(?m)\.(extra-)?(index-url|find-links|no-index)\s*=", result.stdout) is not None


def _check_python(python: Path, versions: tuple[str, ...]) -> Path:
    """The interpreter itself, not a shim. Raises SetupError if it is of another version or does not start."""
    code = "import sys; print('%d.%d' % sys.version_info[:2]); print(getattr(sys, '_base_executable', sys.executable))"
    try:
        result = subprocess.run(
            [str(python), "-c", code], capture_output=True, text=True, timeout=60, env=clean_variables(), check=True
        )
        version, executable = result.stdout.split("\n")[:2]
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        raise SetupError("wrong-python", f"{python} is not a Python that starts.", exit_code=2) from error
    if version not in versions:
        raise SetupError(
            "wrong-python",
            f"{python} is Python {version}, and Python {_either(versions)} is needed.",
            Fix("install-python", f"Install Python {versions[0]}"),
            exit_code=2,
        )
    return Path(executable)


def _no_python(versions: tuple[str, ...]) -> SetupError:
    have = ".".join(str(n) for n in sys.version_info[:3])
    wanted = _either(versions)
    return SetupError(
        "wrong-python",
        f"Python {wanted} is needed: the pinned packages have no wheels for other versions. This is Python {have}, and "
        f"no python{versions[0]} was found. Install Python {wanted}, or name one in LIFEMASK_PYTHON.",
        Fix("install-python", f"Install Python {wanted}"),
        exit_code=2,
    )


def _either(words: tuple[str, ...]) -> str:
    """ "3.11", "3.11 or 3.12", "3.11, 3.12 or 3.13"."""
    return " or ".join(filter(None, (", ".join(words[:-1]), words[-1])))


def _check_imports(
    wanted: RequirementSet, python: Path, run: Callable | None, cancelled: CancelCallback, root: Path | None = None
) -> None:
    """Imports every module of the set in the environment's Python. Raises SetupError for the first that fails."""
    lines = ["import os, sys, importlib"]
    for module in wanted.imports:
        lines.append(f"print('importing {module}', flush=True); importlib.import_module('{module}')")
    # bpy may hang or crash when an interpreter ends in the ordinary way.
    command = [str(python), "-c", "\n".join([*lines, "sys.stdout.flush(); os._exit(0)"])]
    if run is not None:
        run(command, _import_error)
        return
    try:
        log_path = home_log("check-" + wanted.name, root)
        code, output = _run_command(command, log_path, lambda _: None, cancelled, None)
    except OSError as error:
        raise _os_error_in_words(error, (root or home()) / "logs") from error
    if code != 0:
        raise _import_error(output, log_path)


# Failures in words

_NO_NETWORK = (
    "NewConnectionError|Failed to establish a new connection|Temporary failure in name resolution|getaddrinfo failed|"
    "Name or service not known|nodename nor servname|NameResolutionError|ConnectTimeoutError|ReadTimeoutError|"
    "Connection refused|ConnectionResetError|Network is unreachable|ProxyError|IncompleteRead|ProtocolError|"
    "Could not fetch URL|Connection broken|Max retries exceeded|certificate verify failed|SSLError"
)
_DISK_FULL = r"No space left on device|\[Errno 28\]|\[WinError 112\]|not enough space on the disk|Disk quota exceeded"
_NO_PERMISSION = r"Permission denied|\[Errno 13\]|\[WinError 5\]|Read-only file system"
_SYSTEM_PACKAGES = {  # Debian's and Ubuntu's names
    "libGL.so": "libgl1",
    "libEGL.so": "libegl1",
    "libGLESv2.so": "libgles2",
    "libX11.so": "libx11-6",
    "libXi.so": "libxi6",
    "libXxf86vm.so": "libxxf86vm1",
    "libXfixes.so": "libxfixes3",
    "libXrender.so": "libxrender1",
    "libXext.so": "libxext6",
    "libxkbcommon.so": "libxkbcommon0",
    "libSM.so": "libsm6",
    "libICE.so": "libice6",
    "libgthread-2.0.so": "libglib2.0-0",
    "libglib-2.0.so": "libglib2.0-0",
    "libgomp.so": "libgomp1",
    "libportaudio.so": "libportaudio2",
}


def _see(log_path: Path) -> str:
    return f" The whole output is in {log_path}."


def _disk_full(folder: Path, detail: str = "") -> SetupError:
    return SetupError(
        "disk-full",
        f"There is not enough space on the disk of {folder.parent}. {detail}".strip()
        + " Free some space, or set LIFEMASK_HOME to a folder on another disk. What is complete is kept.",
        Fix("free-space", "Free some space"),
    )


def _os_error_in_words(error: OSError, folder: Path) -> SetupError:
    if re.search(_DISK_FULL, str(error)):
        return _disk_full(folder)
    return SetupError(
        "no-permission",
        f"The environment cannot be written to {folder.parent} ({error.strerror or error}). "
        "Set LIFEMASK_HOME to a folder that you can write to.",
        Fix("choose-folder", "Choose another folder for the environments"),
    )


def _venv_error(output: str, log_path: Path) -> SetupError:
    if re.search(_DISK_FULL, output):
        return _disk_full(log_path)
    if re.search(_NO_PERMISSION, output):
        return _os_error_in_words(PermissionError(13, "Permission denied"), log_path)
    hint = " On Debian and Ubuntu: sudo apt install python3-venv." if "ensurepip" in output else ""
    return SetupError("no-venv", f"This Python cannot make a virtual environment.{hint}{_see(log_path)}")


def _pip_error(title: str, wheel_folder: Path | None) -> Callable[[str, Path], SetupError]:
    def explain(output: str, log_path: Path) -> SetupError:
        again = "Start again: what is complete is kept."
        if re.search(_DISK_FULL, output):
            return _disk_full(log_path)
        if re.search(_NO_PERMISSION, output):
            return _os_error_in_words(PermissionError(13, "Permission denied"), log_path)
        missing = re.search(r"No matching distribution found for ([^\s(]+)", output)
        if re.search(_NO_NETWORK, output):
            return SetupError(
                "no-network",
                f"Downloading {title} failed: the package index was not reached, or the connection broke off. "
                f"Check the network (and the proxy, if there is one). {again}{_see(log_path)}",
                Fix("retry", "Try again"),
            )
        if missing and wheel_folder is not None:
            return SetupError(
                "no-wheel",
                f"The folder {wheel_folder} has no wheel of {missing[1]} for Python {_python_words()} on "
                f"{_platform_words()}.",
                Fix("choose-folder", "Choose another folder of wheels"),
            )
        if missing or "is not a supported wheel on this platform" in output:
            name = missing[1] if missing else title
            return SetupError(
                "no-wheel",
                f"There is no ready-made package of {name} for Python {_python_words()} on {_platform_words()}, or the "
                f"package index could not be read.{_see(log_path)}",
            )
        if "requires a different Python" in output:
            return SetupError("wrong-python", f"{title} needs another version of Python.{_see(log_path)}", exit_code=2)
        last = next((line for line in reversed(output.splitlines()) if line.startswith("ERROR")), "")
        return SetupError(
            "install-failed", f"Installing {title} failed. {last.removeprefix('ERROR: ')}{_see(log_path)}".strip()
        )

    return explain


def _import_error(output: str, log_path: Path) -> SetupError:
    modules = re.findall(r"^importing (\S+)", output, re.MULTILINE)
    module = modules[-1] if modules else "Python"
    if match := re.search(r"(lib[\w.+-]+\.so[.\d]*): cannot open shared object file", output):
        library = match[1]
        package = _SYSTEM_PACKAGES.get(library.split(".so")[0] + ".so")
        hint = f" On Debian and Ubuntu: sudo apt install {package}." if package else ""
        return SetupError(
            "system-library",
            f"{module} needs the system library {library}, which is missing.{hint} Then start again.",
            Fix("install-library", f"Install {library}", f"sudo apt install {package}" if package else None),
        )
    if "DLL load failed" in output:
        return SetupError(
            "system-library",
            f"{module} needs a system library that is missing. Install Microsoft's Visual C++ Redistributable, then "
            f"start again.{_see(log_path)}",
        )
    last = next((line for line in reversed(output.splitlines()) if line.strip()), "")
    return SetupError(
        "broken-package",
        f"{module} was installed but does not import: {last.strip()}{_see(log_path)}",
        Fix("repair-environment", "Install the packages again", "python3 -m backend setup --repair"),
    )


def _python_words() -> str:
    return platform.python_version()


def _platform_words() -> str:
    return f"{platform.system() or sys.platform} {platform.machine()}"
