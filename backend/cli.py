"""The commands of `python3 -m backend`.

Starts under a bare Python: what is wrong with the command itself is said before anything is installed.
"""

import argparse
import contextlib
import dataclasses
import faulthandler
import logging
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

from . import doctor, environment, start
from .assets_command import add_assets_parser
from .assets_command import run as run_assets
from .batch_command import add_batch_parser, checked_batch
from .batch_command import run as run_in_terminal
from .command_options import add_head_options, check_photograph_file, head_options
from .errors import LifemaskError, SetupError, UsageError, is_lack_of_memory
from .options import DEVICES, ReconstructOptions, ReconstructReport
from .output_folder import check_output

log = logging.getLogger(__name__)

DEMO_PHOTOGRAPH = Path(__file__).parent / "assets" / "demo" / "astronaut.png"
DEMO_OUTPUT = Path("lifemask-demo")
EXIT_CTRL_C = 130
PARENT = "LIFEMASK_PARENT_PID"
"""Environment variable: the Blender that runs this command for somebody. When it is gone the command ends in order."""

SECONDS_BETWEEN_LOOKS_AT_PARENT = 0.5
DESCRIPTIONS = {
    "head.blend": "the head for Blender, textures packed",
    "head.fbx": "for game engines and other programs",
    "head.glb": "glTF, one file",
    "head.obj": "the neutral head",
    "head.usd": "with blend shapes, pictures beside it",
    "head.npz": "vertices, faces, UVs and shape keys as arrays",
    "head.json": "cameras, eye states, versions, licence",
    "albedo.png": "the skin texture",
    "displacement": "fine relief of the skin at rest, in the photograph and in eight expressions",
    "overlay.png": "the photograph, the mesh over it, the head from two sides",
    "render.png": "a rendered picture",
}


def main(arguments: list[str]) -> int:
    """Runs one command. Returns its exit code: 0, 1 our fault, 2 wrong command or file, 3 photograph, 130 Ctrl-C."""
    if hasattr(signal, "SIGTERM"):
        signal.signal(signal.SIGTERM, _end_in_order)
    if sys.platform != "win32" and os.environ.get(PARENT) == str(os.getppid()):
        threading.Thread(target=_end_with_parent, args=(os.getppid(),), name="lifemask parent", daemon=True).start()
    return run_command(lambda: _run(arguments), "backend")


def run_command(command: Callable[[], int], name: str) -> int:
    """Runs a command and turns whatever goes wrong into a sentence on stderr and an exit code.

    Args:
        command: returns its own exit code.
        name: of the program part, for the name of the log file.
    """
    try:
        return command()
    except KeyboardInterrupt:
        _say("\nStopped. No half-written result was left behind.")
        return EXIT_CTRL_C
    except LifemaskError as error:
        _say(f"lifemask: {error.sentence}")
        if error.fix is not None and error.fix.command and error.fix.command not in error.sentence:
            _say(f"  {error.fix.label}: {error.fix.command}")
        if error.exit_code == 1:
            _say_where_the_log_is(name)
        return error.exit_code
    except ImportError as error:
        missing = (error.name or "").split(".")[0]
        if missing in ("", "backend", "training", "tests"):
            return _our_fault(error, name)
        _say(f"lifemask: The installed package {missing} is damaged or missing: {error}")
        _say("  Install it again: python3 -m backend setup --repair")
        _say_where_the_log_is(name)
        return 1
    except BrokenPipeError:  # the reader of our output has gone, as with `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        if not is_lack_of_memory(error):
            return _our_fault(error, name)
        _say("lifemask: There was not enough memory. Close other programs or use a smaller --texture-size.")
        _say_where_the_log_is(name)
        return 1


def _run(arguments: list[str]) -> int:
    parser = make_parser()
    chosen = parser.parse_args(arguments)
    if chosen.command is None:
        parser.print_help()
        return 2
    return COMMANDS[chosen.command](chosen, arguments)


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python3 -m backend", description="Photographs of a person become a Blender head.", allow_abbrev=False
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")

    demo = commands.add_parser("demo", help="make a head from the portrait in this repository", allow_abbrev=False)
    demo.add_argument("--output", type=Path, default=DEMO_OUTPUT, metavar="DIR", help="default: ./%(default)s")
    demo.add_argument("--device", choices=DEVICES, default="auto")

    one = commands.add_parser("reconstruct", help="make a head from photographs of one person", allow_abbrev=False)
    one.add_argument("photographs", type=Path, nargs="+", metavar="PHOTO")
    one.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder for the result")
    one.add_argument("--face", type=int, metavar="N", help="which face of the photograph, 1 the largest")
    one.add_argument("--overwrite", action="store_true", help="replace a result that is in the folder already")
    add_head_options(one)

    add_batch_parser(commands)
    add_assets_parser(commands)

    commands.add_parser("doctor", help="say what is installed, what is missing and what mends it", allow_abbrev=False)

    bench = commands.add_parser("bench", help="measure speed and memory", allow_abbrev=False)
    bench.add_argument("subject", nargs="?", choices=tuple(BENCHES), default="pipeline", help="default: %(default)s")
    bench.add_argument("--photos", type=Path, nargs="+", metavar="PHOTO", help="default: the demo portrait")
    bench.add_argument("--count", type=int, default=100, metavar="N", help="heads of the batch, default: %(default)s")

    serve = commands.add_parser("serve", allow_abbrev=False)  # for the add-on, not for people: no line in the help
    serve.add_argument("--parent-pid", type=int)
    serve.add_argument("--idle-exit", type=float, default=0.0, metavar="SECONDS")
    serve.add_argument("--give-way", action="store_true")

    setup = commands.add_parser("setup", help="install, or repair what is installed", allow_abbrev=False)
    setup.add_argument("set", nargs="*", default=["runtime", "blender"], metavar="SET", help="default: runtime blender")
    setup.add_argument("--repair", action="store_true", help="install packages again that lost files")
    setup.add_argument("--wheels", type=Path, metavar="DIR", help="a folder of wheels, to install without a network")
    setup.add_argument("--torch", choices=environment.TORCH_BUILDS, default="auto", help="build of PyTorch")
    setup.add_argument("--face-landmarker", action="store_true", help="only download what newer Pythons find faces by")
    setup.add_argument("--yes", action="store_true", help="download it without a question")
    return parser


# The commands


def reconstruct(chosen: argparse.Namespace, arguments: list[str]) -> int:
    options = checked_options(chosen)
    return _make_head(chosen.photographs, chosen.output, options, arguments)


def demo(chosen: argparse.Namespace, arguments: list[str]) -> int:
    if not DEMO_PHOTOGRAPH.is_file():
        raise UsageError("no-demo-photograph", "The demo portrait comes with the repository, not with the extension.")
    check_output(chosen.output, overwrite=True)
    options = ReconstructOptions(formats=("blend",), device=chosen.device, overwrite=True)
    return _make_head([DEMO_PHOTOGRAPH], chosen.output, options, arguments)


def checked_options(chosen: argparse.Namespace) -> ReconstructOptions:
    """The options of `reconstruct`, checked as far as that needs no packages. Raises UsageError."""
    options = head_options(chosen)
    if chosen.face is not None and chosen.face < 1:
        raise UsageError("bad-face", f"--face counts from 1, the largest face; {chosen.face} is not possible.")
    if chosen.face is not None and len(chosen.photographs) > 1:
        raise UsageError("face-with-several", "--face goes with one photograph; here are several.")
    for photograph in chosen.photographs:
        check_photograph_file(photograph)
    check_output(chosen.output, chosen.overwrite)
    faces = (chosen.face,) if chosen.face else ()
    return dataclasses.replace(options, faces=faces, overwrite=chosen.overwrite)


def batch(chosen: argparse.Namespace, arguments: list[str]) -> int:
    plan, options = checked_batch(chosen)
    start.inside("runtime", "backend", arguments)
    with logged("batch") as console:
        _ensure_blender(options.head, console)
        return run_in_terminal(plan, options, console)


def _make_head(photographs: list[Path], output: Path, options: ReconstructOptions, arguments: list[str]) -> int:
    start.inside("runtime", "backend", arguments)
    with logged("reconstruct") as console:
        _ensure_blender(options, console)
        began = time.perf_counter()
        console("Starting ...")
        from .pipeline import reconstruct as reconstruct_photographs

        started = time.perf_counter() - began
        report = reconstruct_photographs(
            photographs, output, options, lambda stage, share: console(f"[{100 * share:3.0f} %] {stage}")
        )
        _print_report(report, started, time.perf_counter() - began)
    return 0


def _ensure_blender(options: ReconstructOptions, console: Callable[[str], None]) -> None:
    """Installs Blender where files need it and none was named. Says so where that cannot be done, and goes on."""
    if options.blender is not None or not set(options.formats) - {"obj"}:
        return
    try:
        start.ensure("blender")
    except SetupError as error:  # the result folder and OBJ do without
        console(f"Blender's files cannot be written: {error.sentence}")


def _print_report(report: ReconstructReport, started: float, total: float) -> None:
    print(f"\nThe head is in {report.folder.absolute()}")
    for path in sorted(report.folder.iterdir()):
        about = DESCRIPTIONS.get(path.name, "")
        if path.name.count(".") == 2 and path.suffix == ".json":
            about = f"units, axes, keys and licence of {path.stem}"
        print(f"  {path.name:<15} {about}".rstrip())
    print("\nSeconds")
    for stage, seconds in {"starting": started, **report.timings}.items():
        print(f"  {seconds:7.2f}  {stage}")
    print(f"  {total:7.2f}  altogether")
    if report.landmark_error is not None:
        print(f"\nLandmark error: {100 * report.landmark_error:.1f} % of the distance of the outer eye corners")
    for warning in report.warnings:
        print(f"Warning: {warning}")


def assets(chosen: argparse.Namespace, arguments: list[str]) -> int:
    return run_assets(chosen, arguments, logged)


def diagnose(chosen: argparse.Namespace, arguments: list[str]) -> int:
    print(doctor.report())
    return 0


def bench(chosen: argparse.Namespace, arguments: list[str]) -> int:
    for photograph in chosen.photos or ():
        check_photograph_file(photograph)
    if chosen.count < 1:
        raise UsageError("bad-count", "--count is a number of heads, from 1.")
    start.inside("runtime", "backend", arguments)
    photographs = [path.absolute() for path in chosen.photos or [DEMO_PHOTOGRAPH]]
    with logged("bench") as console:
        print(BENCHES[chosen.subject](photographs, chosen.count, console))
    return 0


def _bench_pipeline(photographs: list[Path], count: int, console: Callable[[str], None]) -> str:
    from .bench import measure

    return measure(photographs, console)


def _bench_batch(photographs: list[Path], count: int, console: Callable[[str], None]) -> str:
    from .bench_batch import measure_batch

    return measure_batch(photographs, count, console)


def _bench_cancel(photographs: list[Path], count: int, console: Callable[[str], None]) -> str:
    from .bench_process import measure_cancel

    return measure_cancel()


def _bench_addon(photographs: list[Path], count: int, console: Callable[[str], None]) -> str:
    from .bench_addon import measure_addon

    return measure_addon(console)


def _bench_render(photographs: list[Path], count: int, console: Callable[[str], None]) -> str:
    from .bench_render import measure_render

    return measure_render(console)


def _bench_face_models(photographs: list[Path], count: int, console: Callable[[str], None]) -> str:
    from .bench_face_models import measure_face_models

    return measure_face_models(console)


BENCHES = {
    "pipeline": _bench_pipeline,
    "batch": _bench_batch,
    "cancel": _bench_cancel,
    "addon": _bench_addon,
    "render": _bench_render,
    "face-models": _bench_face_models,
}


def setup(chosen: argparse.Namespace, arguments: list[str]) -> int:
    if chosen.wheels is not None and not chosen.wheels.is_dir():
        raise UsageError("no-such-folder", f"There is no folder {chosen.wheels}.")
    if chosen.face_landmarker:
        print(start.face_landmarker(agreed=chosen.yes))
        return 0
    wheels = chosen.wheels.absolute() if chosen.wheels else None
    for name in chosen.set:
        made = start.ensure(name, repairing=chosen.repair, wheel_folder=wheels, build=chosen.torch)
        print(f"{name}: {made.folder}")
    return 0


def serve(chosen: argparse.Namespace, arguments: list[str]) -> int:
    """Serves in the environment that it was started in, which may be somebody else's, and installs nothing."""
    from .serve import run

    return run(chosen.parent_pid, chosen.idle_exit, chosen.give_way)


COMMANDS = {
    "serve": serve,
    "demo": demo,
    "reconstruct": reconstruct,
    "batch": batch,
    "assets": assets,
    "doctor": diagnose,
    "bench": bench,
    "setup": setup,
}


# Logs and messages


@contextlib.contextmanager
def logged(name: str) -> Iterator[Callable[[str], None]]:
    """Everything that libraries say goes to a log file. Yields a function that writes a line to the terminal.

    The log file's path is kept for error messages, see `_say_where_the_log_is`.
    """
    global _log_path
    try:
        _log_path = environment.home_log(f"{name}-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}")
        file = _log_path.open("a", encoding="utf-8")
    except OSError:
        _log_path = None
        file = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    handler = logging.StreamHandler(file)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    sys.stderr.flush()
    terminal = os.fdopen(os.dup(2), "w", encoding="utf-8", errors="replace", buffering=1)
    before = sys.stderr
    os.dup2(file.fileno(), 2)  # C libraries write to the descriptor
    sys.stderr = terminal
    faulthandler.enable(file)
    try:
        yield lambda text: print(text, file=terminal, flush=True)
    except BaseException:
        traceback.print_exc(file=file)
        raise
    finally:
        faulthandler.disable()
        os.dup2(terminal.fileno(), 2)
        sys.stderr = before
        root.removeHandler(handler)
        file.close()


_log_path: Path | None = None


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _our_fault(error: Exception, name: str) -> int:
    _say(f"lifemask: Something went wrong that should not have: {type(error).__name__}: {error}")
    _say_where_the_log_is(name)
    return 1


def _say_where_the_log_is(name: str) -> None:
    """Says where the traceback of the present exception is; writes it if no log was open."""
    global _log_path
    if _log_path is None:
        with contextlib.suppress(OSError):
            _log_path = environment.home_log(f"{name}-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}")
            _log_path.write_text(traceback.format_exc(), "utf-8")
    if _log_path is not None:
        _say(f"  Details: {_log_path}")


def _end_with_parent(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(SECONDS_BETWEEN_LOOKS_AT_PARENT)
    os.kill(os.getpid(), signal.SIGTERM)


def _end_in_order(signal_number: int, frame: object) -> None:
    raise SystemExit(128 + signal_number)
