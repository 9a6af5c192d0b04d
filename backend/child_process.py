"""A child process with its pipes: the threads that read and write them, its log, and how it is ended for certain.

Standard library only, no Blender. `client.Backend` knows what is said; here is how.
"""

import contextlib
import itertools
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from io import FileIO
from pathlib import Path

from . import protocol

KILL_SECONDS = 1.0
LOGS_KEPT = 20


class ChildProcess:
    """A child with its pipes, the thread that reads it and the one that writes to it."""

    def __init__(self, command: Sequence[str], log_folder: Path, variables: Mapping[str, str] | None, name: str):
        self.started = time.monotonic()
        self.rubbish, self.is_endless, self.said_goodbye = 0, False, False
        self._messages: queue.Queue[dict | None] = queue.Queue()
        self._outgoing: queue.Queue[bytes | None] = queue.Queue()
        self._input_ended, self._is_alone = False, False
        self.log, self._log_file = _new_log(log_folder, name)
        try:
            self.child = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._log_file,
                env=None if variables is None else dict(variables),
                cwd=tempfile.gettempdir(),  # not the extension's folder, which an update replaces
                **_group_of_its_own(),
            )
        except BaseException:
            self._log_file.close()
            raise
        threading.Thread(target=self._read, name="lifemask output", daemon=True).start()
        threading.Thread(target=self._write, name="lifemask input", daemon=True).start()

    def send(self, message: dict) -> None:
        """Never waits: a child that does not read cannot hold its parent up."""
        self._outgoing.put(protocol.encode(message))

    def next_message(self) -> dict | None:
        try:
            message = self._messages.get_nowait()
        except queue.Empty:
            return None
        if message is None:
            self._input_ended = True
        return message

    def has_ended(self) -> bool:
        """Whether the child is gone and everything that it said has been read."""
        if self.child.poll() is None:
            return False
        self._end_what_it_started()  # which may hold the child's output open
        return self._input_ended and self._messages.empty()

    def end(self, patience: float) -> None:
        """End the child and wait until it is gone."""
        self._outgoing.put(None)  # closes its input, which ends it
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.child.wait(patience)
        self.end_now()

    def end_soon(self) -> None:
        """Terminate, kill a second later, in a thread."""
        threading.Thread(target=self.end_now, name="lifemask end", daemon=True).start()

    def end_now(self) -> None:
        for sign in ("SIGTERM", "SIGKILL"):
            if self.child.poll() is not None:
                break
            with contextlib.suppress(OSError):
                if sys.platform == "win32":
                    self.child.kill()
                else:
                    self.child.send_signal(getattr(signal, sign))
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.child.wait(KILL_SECONDS)
        self.close()

    def close(self) -> None:
        """Forget the child, which has ended, and end what it started."""
        self._end_what_it_started()
        self._outgoing.put(None)
        self._log_file.close()

    def _end_what_it_started(self) -> None:
        if sys.platform != "win32" and not self._is_alone:
            self._is_alone = True  # once only: the number of the group may become somebody else's
            with contextlib.suppress(OSError):
                os.killpg(self.child.pid, signal.SIGKILL)

    def _read(self) -> None:
        stream = self.child.stdout
        with contextlib.suppress(OSError, ValueError):
            while line := stream.readline(protocol.MAX_LINE_BYTES):
                if len(line) >= protocol.MAX_LINE_BYTES and not line.endswith(b"\n"):
                    self.is_endless = True
                    break
                try:
                    self._messages.put(protocol.decode(line))
                except protocol.NotProtocol:
                    self.rubbish += 1
                    self._note(f"not the protocol: {line[:200]!r}")
        self._messages.put(None)
        with contextlib.suppress(OSError):
            stream.close()

    def _write(self) -> None:
        stream = self.child.stdin
        with contextlib.suppress(OSError, ValueError):
            while (line := self._outgoing.get()) is not None:
                stream.write(line)
                stream.flush()
        with contextlib.suppress(OSError):
            stream.close()

    def _note(self, text: str) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._log_file.write(f"{text}\n".encode("utf-8", "replace"))


def _group_of_its_own() -> dict:
    """So that Ctrl-C in a terminal reaches the parent only, and no window opens on Windows."""
    if sys.platform == "win32":
        return {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW}
    return {"start_new_session": True}


def _new_log(folder: Path, name: str) -> tuple[Path, FileIO]:
    """A log that nobody else writes to, not even another thread of this process."""
    stem = f"{name}-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}"
    for number in itertools.count(1):
        path = folder / f"{stem}-{number}.log"
        with contextlib.suppress(FileExistsError):
            return path, path.open("xb", buffering=0)


def forget_old_logs(folder: Path, name: str) -> None:
    """Keeps the newest, and those that this process has begun: its errors and reports name them."""
    with contextlib.suppress(OSError):
        logs = sorted(folder.glob(f"{name}-*.log"), key=lambda path: path.stat().st_mtime, reverse=True)
        for path in logs[LOGS_KEPT - 1 :]:
            if f"-{os.getpid()}-" not in path.name:
                path.unlink()
