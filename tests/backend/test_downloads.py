"""A known file is downloaded whole and right or not at all, and goes on after an interruption."""

import functools
import hashlib
import http.server
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from backend import downloads, environment, face_landmarker, start
from backend.downloads import KnownFile, download
from backend.errors import Cancelled, SetupError, UsageError

ROOT = Path(downloads.__file__).parent.parent
CONTENT = bytes(range(256)) * 2000  # 512 kB


@dataclass
class Server:
    """What the server sends, and what it was asked for."""

    content: bytes = CONTENT
    understands_ranges: bool = True
    breaks_off_after: int | None = None
    status: int | None = None
    ranges: list[str | None] = field(default_factory=list)


class Answer(http.server.BaseHTTPRequestHandler):
    def __init__(self, server: Server, *arguments) -> None:
        self.told = server
        super().__init__(*arguments)

    def do_GET(self) -> None:
        told, wanted = self.told, self.headers.get("Range")
        told.ranges.append(wanted)
        if told.status is not None:
            self.send_error(told.status)
            return
        begin = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and told.understands_ranges else 0
        if begin >= len(told.content):
            self.send_error(416)
            return
        self.send_response(206 if begin else 200)
        self.send_header("Content-Length", str(len(told.content) - begin))
        self.end_headers()
        self.wfile.write(told.content[begin:][: told.breaks_off_after])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    told = Server()
    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Answer, told))
    told.address = f"http://127.0.0.1:{running.server_port}/known.bin"
    threading.Thread(target=running.serve_forever, args=(0.02,), daemon=True).start()
    yield told
    running.shutdown()
    running.server_close()


@pytest.fixture
def known(server: Server, monkeypatch: pytest.MonkeyPatch) -> KnownFile:
    for variable in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    sha256 = hashlib.sha256(CONTENT).hexdigest()
    return KnownFile("the known file", "known.bin", server.address, len(CONTENT), sha256, "CC0")


def test_a_file_arrives_whole_with_progress_in_bytes(server, known, tmp_path: Path):
    seen: list[tuple[int, int]] = []
    target = download(known, tmp_path / "assets" / "known.bin", lambda done, total: seen.append((done, total)))
    assert target.read_bytes() == CONTENT
    assert not target.with_name("known.bin.part").exists()
    assert seen[0] == (0, len(CONTENT)) and seen[-1] == (len(CONTENT), len(CONTENT)) and len(seen) > 5
    assert seen == sorted(seen)
    download(known, target)
    assert len(server.ranges) == 1  # what is there and right is not fetched again


def test_a_broken_connection_is_said_and_the_next_download_goes_on_from_there(server, known, tmp_path: Path):
    server.breaks_off_after = 200_000
    target = tmp_path / "known.bin"
    with pytest.raises(SetupError, match="start again: what has arrived is kept") as caught:
        download(known, target)
    assert caught.value.code == "no-network" and caught.value.fix.action == "retry"
    assert not target.exists()
    server.breaks_off_after = None
    assert download(known, target).read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=200000-"]


def test_a_server_without_ranges_sends_all_again(server, known, tmp_path: Path):
    (tmp_path / "known.bin.part").write_bytes(CONTENT[:1000])
    server.understands_ranges = False
    assert download(known, tmp_path / "known.bin").read_bytes() == CONTENT


def test_cancel_keeps_what_has_arrived(server, known, tmp_path: Path):
    target, blocks = tmp_path / "known.bin", []
    with pytest.raises(Cancelled):
        download(known, target, lambda done, _: blocks.append(done), lambda: len(blocks) > 3)
    assert not target.exists()
    assert (tmp_path / "known.bin.part").read_bytes() == CONTENT[: blocks[-1]]
    assert download(known, target).read_bytes() == CONTENT
    assert server.ranges[1] == f"bytes={blocks[-1]}-"


def test_two_that_want_the_same_file_fetch_it_once(server, known, tmp_path: Path):
    target = tmp_path / "known.bin"
    both = [threading.Thread(target=download, args=(known, target)) for _ in range(2)]
    for one in both:
        one.start()
    for one in both:
        one.join(20)
    assert target.read_bytes() == CONTENT and len(server.ranges) == 1


@pytest.mark.parametrize("wrong", [b"<html>Please log in</html>", bytes(len(CONTENT)), CONTENT + b"more"])
def test_another_content_never_becomes_the_file(server, known, wrong: bytes, tmp_path: Path):
    server.content = wrong
    target = tmp_path / "known.bin"
    target.write_bytes(b"an older version")
    with pytest.raises(SetupError, match="A proxy may have put") as caught:
        download(known, target)
    assert caught.value.code == "wrong-download"
    assert target.read_bytes() == b"an older version"
    server.content = CONTENT
    assert download(known, target).read_bytes() == CONTENT


def test_a_part_that_is_complete_but_damaged_is_fetched_anew(server, known, tmp_path: Path):
    (tmp_path / "known.bin.part").write_bytes(bytes(len(CONTENT)))
    with pytest.raises(SetupError, match="checksum differs"):
        download(known, tmp_path / "known.bin")
    assert download(known, tmp_path / "known.bin").read_bytes() == CONTENT


def test_no_server_and_a_missing_file_are_said_with_the_address(server, known, tmp_path: Path):
    server.status = 404
    with pytest.raises(SetupError, match="404"):
        download(known, tmp_path / "known.bin")
    nowhere = replace(known, source="http://127.0.0.1:9/known.bin")
    with pytest.raises(SetupError, match=r"127\.0\.0\.1:9") as caught:
        download(nowhere, tmp_path / "known.bin")
    assert caught.value.code == "no-network" and caught.value.sentence.startswith("The known file")


def test_a_folder_that_cannot_be_made_and_a_full_disk_are_said(server, known, tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SetupError) as caught:
        download(known, tmp_path / "file" / "assets" / "known.bin")
    assert caught.value.code == "no-permission"
    if Path("/dev/full").exists():
        (tmp_path / "known.bin.part").symlink_to("/dev/full")
        with pytest.raises(SetupError) as caught:
            download(known, tmp_path / "known.bin")
        assert caught.value.code == "disk-full"


# The face landmarker


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LIFEMASK_HOME", str(tmp_path / "home"))
    monkeypatch.delenv(face_landmarker.VARIABLE, raising=False)
    return tmp_path / "home"


@pytest.fixture
def landmarker_file(data_folder: Path) -> Path:
    path = data_folder / "mediapipe" / "face_landmarker.task"
    if not path.is_file():
        pytest.skip("face_landmarker.task is not here")
    return path


def test_the_right_file_is_found_where_the_variable_or_the_folder_says(home, landmarker_file, monkeypatch):
    with pytest.raises(SetupError, match="setup --face-landmarker") as caught:
        face_landmarker.find_face_landmarker()
    assert (caught.value.code, caught.value.exit_code) == ("no-face-landmarker", 2)
    (home / "assets").mkdir(parents=True)
    shutil.copy(landmarker_file, home / "assets" / "face_landmarker.task")
    assert face_landmarker.find_face_landmarker() == home / "assets" / "face_landmarker.task"
    monkeypatch.setenv(face_landmarker.VARIABLE, str(landmarker_file))
    assert face_landmarker.find_face_landmarker() == landmarker_file


def test_a_wrong_file_and_a_folder_are_refused_with_the_path(home, tmp_path: Path, monkeypatch):
    wrong = tmp_path / "pose_landmarker.task"
    wrong.write_bytes(b"something else")
    for path in (wrong, tmp_path):
        monkeypatch.setenv(face_landmarker.VARIABLE, str(path))
        with pytest.raises(SetupError, match=str(path)) as caught:
            face_landmarker.find_face_landmarker()
        assert caught.value.code == "wrong-face-landmarker" and caught.value.fix is not None


def test_nothing_is_downloaded_before_somebody_agreed(home, server, known, monkeypatch, capsys):
    monkeypatch.setattr(start, "FACE_LANDMARKER", known)
    monkeypatch.setattr(face_landmarker, "FACE_LANDMARKER", known)
    monkeypatch.setattr("sys.stdin", open(os.devnull))  # noqa: SIM115
    with pytest.raises(UsageError, match="--face-landmarker --yes"):
        start.face_landmarker(agreed=False)
    said = capsys.readouterr().err
    assert "0.5 MB" in said and "CC0" in said and known.source in said and str(home) in said
    assert server.ranges == [] and not home.exists()
    assert start.face_landmarker(agreed=True).read_bytes() == CONTENT


def test_the_command_wants_a_yes(home):
    command = [sys.executable, "-S", "-m", "backend", "setup", "--face-landmarker"]
    result = subprocess.run(
        command, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=os.environ, check=False
    )
    assert result.returncode == 2 and "--yes" in result.stderr and "Apache-2.0" in result.stderr


def test_an_environment_with_the_older_mediapipe_needs_no_file(tmp_path: Path):
    folder = tmp_path / ("Lib" if sys.platform == "win32" else "lib/python3.13") / "site-packages"
    there = environment.Environment("runtime", tmp_path, tmp_path / "bin" / "python")
    assert not face_landmarker.needs_face_landmarker(there)
    (folder / "mediapipe").mkdir(parents=True)
    assert face_landmarker.needs_face_landmarker(there)
    network = folder / face_landmarker.NETWORK_IN_WHEEL
    network.parent.mkdir(parents=True)
    network.write_bytes(b"")
    assert not face_landmarker.needs_face_landmarker(there)


def test_the_last_step_of_a_set_up_gets_the_file_as_it_may(home, server, known, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(face_landmarker, "FACE_LANDMARKER", replace(known, name="face_landmarker.task"))
    (tmp_path / "lib" / "python3.13" / "site-packages" / "mediapipe").mkdir(parents=True)
    (tmp_path / "Lib" / "site-packages" / "mediapipe").mkdir(parents=True)
    there = environment.Environment("runtime-tasks", tmp_path, tmp_path / "bin" / "python")
    wheels, steps = tmp_path / "wheels", []

    def provide(**how) -> None:
        face_landmarker.provide_face_landmarker(there, steps.append, lambda: False, root=home, **how)

    for how in ({}, {"given": tmp_path / "nowhere.task"}, {"wheel_folder": wheels}):
        with pytest.raises(SetupError) as caught:
            provide(may_download=False, **how)
        assert caught.value.code == "no-face-landmarker" and caught.value.fix.action == "choose-folder"
    assert server.ranges == []
    provide(may_download=True)
    assert (home / "assets" / "face_landmarker.task").read_bytes() == CONTENT
    assert steps[-1].bytes_done == len(CONTENT) and {step.fraction for step in steps} == {1.0}
    shutil.rmtree(home)
    wheels.mkdir()
    (wheels / "face_landmarker.task").write_bytes(CONTENT)
    provide(wheel_folder=wheels, may_download=False)
    assert (home / "assets" / "face_landmarker.task").read_bytes() == CONTENT
    assert len(server.ranges) == 1
