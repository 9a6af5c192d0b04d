"""The backend process from its parent's side, with the fake backend behind a real pipe."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from backend import child_process, client, environment, protocol
from backend.client import Backend, Failed, Finished, Progress, Ready
from backend.errors import Cancelled, LifemaskError

ROOT = Path(__file__).resolve().parents[2]
FAKE = ROOT / "tests" / "fake_backend.py"
posix = pytest.mark.skipif(os.name != "posix", reason="needs the signals of POSIX")


@pytest.fixture
def photograph(tmp_path: Path) -> Path:
    path = tmp_path / "Anna Ünal.jpg"
    path.write_bytes(b"a picture")
    return path


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Backend]]:
    """A function that makes a Backend whose fake behaves as told; all of them are stopped at the end."""
    made = []

    def backend(*arguments: str, **told) -> Backend:
        variables = dict(os.environ, LIFEMASK_FAKE=json.dumps(told))
        command = [sys.executable, str(FAKE), "--parent-pid", str(os.getpid()), *arguments]
        made.append(Backend(command, tmp_path / "logs", variables=variables))
        return made[-1]

    yield backend
    for each in made:
        each.stop(0.2)


def job(photograph: Path, output: Path) -> dict:
    return {"photographs": [{"path": str(photograph), "face": None}], "output": str(output)}


def events_until(backend: Backend, is_last: Callable[[object], bool], seconds: float = 60.0) -> list:
    events, until = [], time.monotonic() + seconds
    while not any(is_last(event) for event in events):
        assert time.monotonic() < until, events
        events += backend.poll()
        time.sleep(0.005)
    return events


def outcome(backend: Backend, request: int, seconds: float = 60.0):
    is_last = lambda event: isinstance(event, Finished | Failed) and event.request == request  # noqa: E731
    return events_until(backend, is_last, seconds)[-1]


def wait_for_stage(backend: Backend) -> None:
    events_until(backend, lambda event: isinstance(event, Progress) and event.share > 0)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def wait_until_gone(pid: int, seconds: float = 30.0) -> None:
    until = time.monotonic() + seconds
    while is_alive(pid):
        assert time.monotonic() < until, f"process {pid} still runs after {seconds} s"
        time.sleep(0.02)


def test_a_request_starts_the_process_and_comes_to_its_result(start, photograph, tmp_path):
    backend = start(seconds=2.0)
    assert not backend.running
    request = backend.request("reconstruct", job(photograph, tmp_path / "out"))
    events = events_until(backend, lambda event: isinstance(event, Finished))
    assert isinstance(events[0], Ready) and events[0].info["device"] == "cpu"
    stages = [event for event in events if isinstance(event, Progress)]
    assert [event.share for event in stages] == sorted(event.share for event in stages)
    assert len({event.stage for event in stages}) == 5
    assert events[-1].request == request and events[-1].value["landmark_error"] == 0.02
    assert (tmp_path / "out").is_dir()


def test_progress_comes_at_most_ten_times_a_second_besides_changes_of_stage(start, photograph, tmp_path):
    backend = start(seconds=1.0)
    backend.request("reconstruct", job(photograph, tmp_path / "out"))
    events = events_until(backend, lambda event: isinstance(event, Finished))
    told = [event for event in events if isinstance(event, Progress)]
    assert len({event.stage for event in told}) <= len(told) <= 10 * (told[-1].seconds + 0.1) + 5


def test_the_process_stays_warm_between_requests(start, photograph, tmp_path):
    backend = start(seconds=0.01)
    pids = []
    for number in range(3):
        backend.wait(backend.request("reconstruct", job(photograph, tmp_path / f"out {number}")))
        pids.append(backend.pid)
    assert len(set(pids)) == 1


def test_a_cancel_stops_within_a_second_and_leaves_nothing(start, photograph, tmp_path):
    backend = start(seconds=30)
    seconds = []
    for _ in range(3):  # the best counts, as the machine may be busy
        request = backend.request("reconstruct", job(photograph, tmp_path / "out"))
        wait_for_stage(backend)
        backend.cancel(request)
        began = time.monotonic()
        failure = outcome(backend, request).failure
        seconds.append(time.monotonic() - began)
        assert (failure.code, failure.kind) == ("cancelled", "cancelled")
    assert min(seconds) < 1.0
    assert {entry.name for entry in tmp_path.iterdir()} == {"Anna Ünal.jpg", "logs"}


@pytest.fixture
def blocked(tmp_path: Path) -> Iterator[Backend]:
    """A backend whose one method, `wait`, waits for a child of its own for a minute."""
    script = tmp_path / "blocked.py"
    script.write_text(
        f"""
import subprocess, sys
sys.path.insert(0, {str(ROOT)!r})
from backend import server

def wait(params, call):
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    call.progress("waiting", 0.5, str(child.pid))
    if params.get("stubborn"):
        call.cancelled = lambda: False
        while True:
            try:
                child.wait()
            except KeyboardInterrupt:
                pass
    child.wait()

sys.exit(server.serve({{"initialize": lambda params, call: {{"protocol": [1, 0]}}, "wait": wait}}))
""",
        "utf-8",
    )
    backend = Backend([sys.executable, str(script)], tmp_path / "logs")
    yield backend
    backend.stop(0.2)


@posix
def test_a_cancel_wakes_a_process_that_waits_for_another_one(blocked):
    request = blocked.request("wait", {})
    wait_for_stage(blocked)
    pid, began = blocked.pid, time.monotonic()
    blocked.cancel(request)
    assert outcome(blocked, request).failure.code == "cancelled"
    assert time.monotonic() - began < client.HARD_STOP_SECONDS and blocked.pid == pid


@posix
def test_what_the_process_started_ends_with_it(blocked):
    request = blocked.request("wait", {"stubborn": True})
    (progress,) = [e for e in events_until(blocked, lambda e: isinstance(e, Progress)) if isinstance(e, Progress)]
    blocked.cancel(request)
    assert outcome(blocked, request).failure.code == "cancelled"
    wait_until_gone(int(progress.detail))


@posix
def test_a_process_that_is_asked_to_end_while_it_works_leaves_no_half_result(start, photograph, tmp_path):
    backend = start(seconds=30.0, end_on_sigterm=True)
    request = backend.request("reconstruct", job(photograph, tmp_path / "out"))
    wait_for_stage(backend)
    os.kill(backend.pid, signal.SIGTERM)
    assert outcome(backend, request).failure.code == "backend-crashed"
    assert not [path for path in tmp_path.iterdir() if "out" in path.name]


def test_after_a_cancel_the_same_process_works_on(start, photograph, tmp_path):
    backend = start(seconds=0.5)
    request = backend.request("reconstruct", job(photograph, tmp_path / "out"))
    wait_for_stage(backend)
    pid = backend.pid
    backend.cancel(request)
    outcome(backend, request)
    assert backend.wait(backend.request("reconstruct", job(photograph, tmp_path / "out")))["folder"]
    assert backend.pid == pid


def test_requests_that_wait_are_cancelled_at_once_and_the_one_at_work_goes_on(start, photograph, tmp_path, monkeypatch):
    monkeypatch.setattr(client, "HARD_STOP_SECONDS", 1.0)
    backend = start(seconds=2.5)
    first = backend.request("reconstruct", job(photograph, tmp_path / "one"))
    wait_for_stage(backend)
    second = backend.request("reconstruct", job(photograph, tmp_path / "two"))
    backend.cancel(second)
    ended = lambda event: isinstance(event, Finished | Failed) and event.request == second  # noqa: E731
    events = events_until(backend, ended)
    assert events[-1].failure.code == "cancelled"
    assert not any(isinstance(event, Finished) for event in events)
    assert isinstance(outcome(backend, first), Finished)
    assert not (tmp_path / "two").exists()


@posix
def test_what_waits_behind_a_process_that_must_be_ended_is_done_by_another(start, photograph, tmp_path, monkeypatch):
    monkeypatch.setattr(client, "HARD_STOP_SECONDS", 0.3)
    backend = start(seconds=60, ignore_cancel=True)
    stubborn = backend.request("reconstruct", job(photograph, tmp_path / "out"))
    wait_for_stage(backend)
    waiting = backend.request("find_faces", {"path": str(photograph)})
    backend.cancel(stubborn)
    events = events_until(backend, lambda event: isinstance(event, Finished))
    (failed,) = [event for event in events if isinstance(event, Failed)]
    assert (failed.request, failed.failure.code) == (stubborn, "cancelled")
    assert events[-1].request == waiting and events[-1].value["faces"]


def test_cancels_at_any_moment_leave_a_process_that_works(start, photograph, tmp_path):
    backend = start(seconds=0.05)
    backend.wait(backend.request("find_faces", {"path": str(photograph)}))
    pid = backend.pid
    for number in range(25):
        request = backend.request("reconstruct", job(photograph, tmp_path / f"out {number}"))
        time.sleep(0.003 * number)
        backend.cancel(request)
        event = outcome(backend, request)
        assert isinstance(event, Finished) or event.failure.code == "cancelled"
    assert backend.wait(backend.request("find_faces", {"path": str(photograph)}))["faces"]
    assert backend.pid == pid


def test_a_process_that_does_not_stop_is_ended_after_three_seconds(start, photograph, tmp_path):
    backend = start(seconds=60, ignore_cancel=True)
    request = backend.request("reconstruct", job(photograph, tmp_path / "out"))
    wait_for_stage(backend)
    pid = backend.pid
    backend.cancel(request)
    began = time.monotonic()
    assert outcome(backend, request).failure.code == "cancelled"
    assert 2.5 < time.monotonic() - began < 30.0
    wait_until_gone(pid)


@posix
def test_a_killed_process_is_a_sentence_with_the_log_and_the_next_request_starts_another(start, photograph, tmp_path):
    backend = start(seconds=0.5)
    request = backend.request("reconstruct", job(photograph, tmp_path / "out"))
    wait_for_stage(backend)
    pid = backend.pid
    os.kill(pid, signal.SIGKILL)
    failure = outcome(backend, request).failure
    assert (failure.code, failure.kind, failure.fix.action) == ("backend-crashed", "crash", "retry")
    assert "SIGKILL" in failure.sentence and "try again" in failure.sentence
    assert Path(failure.log).is_file() and Path(failure.log).parent == tmp_path / "logs"
    assert backend.wait(backend.request("reconstruct", job(photograph, tmp_path / "out")))["folder"]
    assert backend.pid != pid


@posix
def test_a_process_that_died_between_two_requests_is_replaced_without_a_word(start, photograph):
    backend = start()
    backend.wait(backend.request("find_faces", {"path": str(photograph)}))
    os.kill(backend.pid, signal.SIGKILL)
    while backend.running:
        time.sleep(0.01)
    assert backend.wait(backend.request("find_faces", {"path": str(photograph)}))["faces"]


def test_a_few_lines_of_rubbish_are_logged_and_do_no_harm(start, photograph, tmp_path):
    backend = start(rubbish=5, rubbish_working=5)
    assert backend.wait(backend.request("reconstruct", job(photograph, tmp_path / "out")))["folder"]
    assert "rubbish 4" in backend.log.read_text("utf-8")


@pytest.mark.parametrize("told", [{"rubbish": 200}, {"rubbish_working": 200}])
def test_a_program_that_prints_other_things_is_ended_with_a_sentence(start, photograph, tmp_path, told):
    backend = start(**told, seconds=5)
    failure = outcome(backend, backend.request("reconstruct", job(photograph, tmp_path / "out"))).failure
    assert failure.code == "not-lifemask" and "Choose another environment" in failure.sentence
    assert not backend.running


def test_a_line_without_an_end_is_refused(tmp_path):
    command = [sys.executable, "-c", f"import sys, time; print('x' * {protocol.MAX_LINE_BYTES + 10}); time.sleep(60)"]
    backend = Backend(command, tmp_path)
    assert outcome(backend, backend.request("find_faces", {})).failure.code == "not-lifemask"
    backend.stop(0)


def test_a_silent_program_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(client, "HANDSHAKE_SECONDS", 0.3)
    backend = Backend([sys.executable, "-c", "import time; time.sleep(60)"], tmp_path)
    failure = outcome(backend, backend.request("find_faces", {})).failure
    assert failure.code == "backend-silent" and failure.fix.action == "repair-environment"


def test_a_program_that_ends_at_once_is_a_matter_of_the_environment(tmp_path):
    backend = Backend([sys.executable, "-c", "raise SystemExit('no module named torch')"], tmp_path)
    failure = outcome(backend, backend.request("find_faces", {})).failure
    assert failure.kind == "setup" and failure.fix.action == "repair-environment"
    assert "no module named torch" in Path(failure.log).read_text("utf-8")


def test_another_version_of_the_backend_is_refused(start, photograph):
    backend = start(protocol=[2, 0])
    failure = outcome(backend, backend.request("find_faces", {"path": str(photograph)})).failure
    assert failure.code == "protocol-mismatch" and failure.fix.action == "set-up"


def test_an_interpreter_that_is_gone_is_a_sentence(tmp_path):
    backend = Backend([str(tmp_path / "environment" / "bin" / "python"), "-m", "backend"], tmp_path / "logs")
    failure = outcome(backend, backend.request("find_faces", {})).failure
    assert failure.code == "no-python" and "Set Lifemask up again" in failure.sentence


def test_a_folder_for_logs_that_cannot_be_written_is_a_sentence(tmp_path):
    (tmp_path / "file").write_text("in the way")
    backend = Backend([sys.executable, str(FAKE)], tmp_path / "file" / "logs")
    failure = outcome(backend, backend.request("find_faces", {})).failure
    assert failure.code == "no-permission" and failure.fix.action == "choose-folder"


def test_a_photograph_that_is_deleted_meanwhile_is_a_sentence(start, photograph, tmp_path):
    backend = start(seconds=0.3)
    request = backend.request("reconstruct", job(photograph, tmp_path / "out"))
    wait_for_stage(backend)
    photograph.unlink()
    failure = outcome(backend, request).failure
    assert failure.code == "no-such-file" and photograph.name in failure.sentence


def test_names_that_are_long_and_not_ascii_go_through(start, tmp_path):
    folder = tmp_path / ("Porträt ñ 顔 " * 8) / ("long " * 40)
    folder.mkdir(parents=True)
    photograph = folder / ("Ü" * 100 + ".jpg")
    photograph.write_bytes(b"a picture")
    backend = start()
    made = backend.wait(backend.request("reconstruct", job(photograph, folder / "Köpfe")))
    assert Path(made["folder"]).is_dir()


def test_stop_ends_the_process_and_can_be_called_again(start, photograph):
    backend = start()
    backend.wait(backend.request("find_faces", {"path": str(photograph)}))
    pid = backend.pid
    backend.stop()
    assert not is_alive(pid) and not backend.running
    backend.stop()


def test_stop_while_working_ends_the_process_too(start, photograph, tmp_path):
    backend = start(seconds=60, ignore_cancel=True)
    backend.request("reconstruct", job(photograph, tmp_path / "out"))
    wait_for_stage(backend)
    pid = backend.pid
    backend.stop(0.1)
    assert not is_alive(pid)


def test_an_idle_process_goes_and_the_next_request_starts_another(start, photograph):
    backend = start("--idle-exit", "0.3")
    backend.wait(backend.request("find_faces", {"path": str(photograph)}))
    pid = backend.pid
    wait_until_gone(pid)
    assert backend.poll() == []
    assert backend.wait(backend.request("find_faces", {"path": str(photograph)}))["faces"]
    assert backend.pid != pid


@posix
@pytest.mark.parametrize("working", [True, False])
def test_no_process_outlives_a_parent_that_is_killed(photograph, tmp_path, working):
    told = {"seconds": 60, "ignore_cancel": True}
    code = f"""
import os, sys, time
sys.path.insert(0, {str(ROOT)!r})
from pathlib import Path
from backend.client import Backend
backend = Backend([sys.executable, {str(FAKE)!r}, "--parent-pid", str(os.getpid())], Path({str(tmp_path)!r}))
backend.wait(backend.request("find_faces", {{"path": {str(photograph)!r}}}))
if {working}:
    backend.request("reconstruct", {job(photograph, tmp_path / "out")!r})
    time.sleep(0.2)
print(backend.pid, flush=True)
time.sleep(60)
"""
    variables = dict(os.environ, LIFEMASK_FAKE=json.dumps(told))
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env=variables)
    child = int(parent.stdout.readline())
    assert is_alive(child)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    wait_until_gone(child)


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc")
def test_no_side_opens_a_socket(start, photograph, tmp_path):
    backend = start(seconds=1.0)
    backend.request("reconstruct", job(photograph, tmp_path / "out"))
    wait_for_stage(backend)
    opened = [os.readlink(entry) for entry in Path(f"/proc/{backend.pid}/fd").iterdir()]
    assert opened and not [name for name in opened if name.startswith("socket:")]


@posix
def test_a_process_ends_though_what_it_started_holds_its_output_open(tmp_path):
    backend = Backend(["/bin/sh", "-c", "sleep 50 & exit 3"], tmp_path)
    began = time.monotonic()
    assert "exit code 3" in outcome(backend, backend.request("find_faces", {})).failure.sentence
    assert time.monotonic() - began < 40


def test_every_process_has_a_log_of_its_own_also_those_that_start_at_the_same_moment(tmp_path):
    together = threading.Barrier(8)

    def begin(number: int) -> Path:
        together.wait()
        log, file = child_process._new_log(tmp_path, "batch")
        file.close()
        return log

    with ThreadPoolExecutor(8) as threads:
        logs = [log for _ in range(10) for log in threads.map(begin, range(8))]
    assert len(set(logs)) == 80


def test_the_logs_of_this_program_stay_however_many_they_are(start, photograph, tmp_path):
    (tmp_path / "logs").mkdir()
    for number in range(30):
        (tmp_path / "logs" / f"backend-20260101-000000-{os.getpid()}-{number}.log").write_text("named in a report")
    backend = start()
    backend.wait(backend.request("find_faces", {"path": str(photograph)}))
    assert len(list((tmp_path / "logs").iterdir())) == 31


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs a folder in which nobody can make one")
def test_a_folder_for_lifemask_that_cannot_be_made_is_a_sentence():
    backend = Backend([sys.executable, str(FAKE)], Path("/proc/nowhere/logs"))
    failure = outcome(backend, backend.request("find_faces", {})).failure
    assert failure.code == "no-permission" and "/proc/nowhere" in failure.sentence


def test_only_the_newest_logs_are_kept(start, photograph, tmp_path):
    (tmp_path / "logs").mkdir()
    for number in range(40):
        (tmp_path / "logs" / f"backend-2020-{number}.log").write_text("old")
    backend = start()
    backend.wait(backend.request("find_faces", {"path": str(photograph)}))
    assert len(list((tmp_path / "logs").iterdir())) == child_process.LOGS_KEPT


def test_wait_raises_what_went_wrong_with_its_log(start, photograph, tmp_path):
    backend = start(fail={"code": "no-face", "sentence": "No face was found.", "kind": "photo"})
    with pytest.raises(LifemaskError, match="No face was found") as caught:
        backend.wait(backend.request("reconstruct", job(photograph, tmp_path / "out")))
    assert (caught.value.code, caught.value.exit_code) == ("no-face", 3)
    assert Path(caught.value.log).is_file()


def test_wait_can_be_cancelled(start, photograph, tmp_path):
    backend = start(seconds=30)
    request = backend.request("reconstruct", job(photograph, tmp_path / "out"))
    told = []
    with pytest.raises(Cancelled):
        backend.wait(request, told.append, lambda: len(told) > 2)


def test_polling_never_waits(start, photograph, tmp_path):
    backend = start(seconds=1.0)
    spent = []
    request = backend.request("reconstruct", job(photograph, tmp_path / "out"))
    for _ in range(200):
        began = time.perf_counter()
        backend.poll()
        spent.append(time.perf_counter() - began)
        time.sleep(0.002)
    backend.cancel(request)
    assert sorted(spent)[-5] < 0.1  # a busy machine may put us aside in a few of them


def test_nothing_in_the_process_layer_can_unpickle():
    for name in ("protocol", "client", "child_process", "server", "serve"):
        source = (ROOT / "backend" / f"{name}.py").read_text("utf-8")
        assert "pickle" not in source and "socket" not in source and "multiprocessing" not in source


def test_the_command_uses_this_copy_of_the_backend_and_no_other(tmp_path):
    python = Path(sys.executable)
    command, variables = client.backend_command(python, "serve")
    assert command == [str(python), "-m", "backend", "serve"]
    assert variables["PYTHONPATH"] == str(ROOT) and "PYTHONHOME" not in variables
    assert environment.clean_variables()["PYTHONNOUSERSITE"] == variables["PYTHONNOUSERSITE"] == "1"


def test_nothing_is_imported_from_the_folder_that_the_process_works_in(tmp_path):
    (tmp_path / "argparse.py").write_text("raise SystemExit('taken from the working folder')")
    command, variables = client.backend_command(Path(sys.executable), "--help")
    ran = subprocess.run(command, env=variables, cwd=tmp_path, capture_output=True, text=True)
    assert ran.returncode == 0 and "reconstruct" in ran.stdout
