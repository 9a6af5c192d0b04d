"""The parent's side of the process boundary: starts the backend process, asks, listens, cancels, and buries it.

Standard library only, no Blender: the add-on polls it from a timer, the batch command waits for it. The process is
started at the first request and again after it has ended, whatever the reason.
"""

import contextlib
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from . import environment, protocol
from .child_process import ChildProcess, forget_old_logs
from .errors import Cancelled, Fix
from .protocol import Failure

HANDSHAKE_SECONDS = 60.0
HARD_STOP_SECONDS = 3.0
RUBBISH_LINES_AT_MOST = 20
SECONDS_BETWEEN_POLLS = 0.02
CLIENT_NAME = f"lifemask {protocol.LIFEMASK_VERSION}"


@dataclass(frozen=True)
class Ready:
    """The process has started; `info` is what it said about itself (device, face models, licences)."""

    info: dict


@dataclass(frozen=True)
class Progress:
    """How far a request is: a stage in words, the share of the whole from 0 to 1, seconds since it was begun."""

    request: int
    stage: str
    share: float
    seconds: float
    detail: str = ""


@dataclass(frozen=True)
class Finished:
    """A request came to its result."""

    request: int
    value: dict


@dataclass(frozen=True)
class Failed:
    """A request came to nothing."""

    request: int
    failure: Failure


Event = Ready | Progress | Finished | Failed


def backend_command(python: Path, *arguments: str) -> tuple[list[str], dict[str, str]]:
    """Command and environment variables that start `python -m backend ARGUMENTS` with this copy of the backend."""
    variables = environment.clean_variables()
    variables["PYTHONPATH"] = str(Path(__file__).resolve().parent.parent)
    variables["PYTHONSAFEPATH"] = "1"  # nothing is imported from the working folder, where anybody may write
    variables["PYTHONIOENCODING"] = "utf-8"
    variables["PYTHONDONTWRITEBYTECODE"] = "1"  # the extension's folder may be read-only, and is wiped by an update
    return [str(python), "-m", "backend", *arguments], variables


class Backend:
    """One backend process at a time, and the requests to it.

    Not for several threads: whoever owns it calls all of it.

    Args:
        command: what to start.
        log_folder: where the process's standard error goes, a file for each start.
        variables: all of its environment variables; None for this process's own.
        name: of the log files.

    Attributes:
        log: the newest log file, None before the first start.
        info: what the process said about itself; None until it has started.
    """

    def __init__(
        self,
        command: Sequence[str],
        log_folder: Path,
        *,
        variables: Mapping[str, str] | None = None,
        name: str = "backend",
    ):
        self.command, self.log_folder, self.variables, self.name = list(command), log_folder, variables, name
        self.log: Path | None = None
        self.info: dict | None = None
        self._process: ChildProcess | None = None
        self._last_number = 0
        self._open: dict[int, tuple[str, dict]] = {}  # requests without an answer, in their order
        self._cancels: dict[int, float] = {}  # request -> when it was cancelled
        self._events: list[Event] = []

    @property
    def running(self) -> bool:
        """Whether there is a process."""
        return self._process is not None and self._process.child.poll() is None

    @property
    def pid(self) -> int | None:
        return self._process.child.pid if self._process else None

    def request(self, method: str, params: dict) -> int:
        """Ask for something; the answer comes from `poll`. Starts the process where there is none.

        Returns:
            The request's number. That the process does not start is told as this request's failure.
        """
        self._last_number += 1
        number = self._last_number
        if self._process is not None and self._process.child.poll() is not None:
            self._read_what_came()  # it has ended meanwhile: its last words first
            self._bury()
        self._open[number] = (method, params)
        if self._process is None:
            self._start()
        elif self.info is not None:
            self._process.send(protocol.request(number, method, params))
        return number

    def cancel(self, request: int) -> None:
        """Stop a request: kindly at first, after three seconds by ending the process. Its failure comes from `poll`."""
        if request not in self._open or request in self._cancels:
            return
        if self.info is None:  # not begun yet
            self._end_request(Failed(request, self._cancelled()))
            return
        self._cancels[request] = time.monotonic()
        self._process.send(protocol.notification("cancel", {"id": request}))

    def poll(self) -> list[Event]:
        """What happened since the last call. Never waits; to be called some ten times a second while it is busy."""
        self._read_what_came()
        if self._process is not None:
            self._enforce_deadlines()
            if self._process is not None and self._process.has_ended():
                self._read_what_came()
                self._bury()
        events, self._events = self._events, []
        return events

    def wait(
        self,
        request: int,
        on_progress: Callable[[Progress], None] | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> dict:
        """Wait for a request's result, for where there is no timer. Other requests' events are lost.

        Raises:
            LifemaskError: why it came to nothing; `log` names the log file.
        """
        while True:
            for event in self.poll():
                if isinstance(event, Progress) and event.request == request and on_progress:
                    on_progress(event)
                elif isinstance(event, Finished) and event.request == request:
                    return event.value
                elif isinstance(event, Failed) and event.request == request:
                    error = event.failure.as_error()
                    error.log = event.failure.log
                    raise error
            if cancelled is not None and cancelled():
                self.cancel(request)
            time.sleep(SECONDS_BETWEEN_POLLS)

    def memory_mb(self) -> float | None:
        """What the process occupies now, in megabytes; None where that cannot be asked."""
        try:
            status = Path(f"/proc/{self.pid}/status").read_text("ascii")
            return int(status.split("VmRSS:")[1].split()[0]) / 1e3
        except (OSError, IndexError, ValueError):
            return None

    def stop(self, patience: float = 1.0) -> None:
        """End the process and forget all requests. Once it returns, the process is gone.

        Args:
            patience: seconds that it may take to end by itself.
        """
        process, self._process = self._process, None
        self.info = None
        self._open.clear()
        self._cancels.clear()
        if process is not None:
            process.end(patience)

    # One process

    def _start(self) -> None:
        try:
            self.log_folder.mkdir(parents=True, exist_ok=True)
            forget_old_logs(self.log_folder, self.name)
            self._process = ChildProcess(self.command, self.log_folder, self.variables, self.name)
        except OSError as error:
            failure = _not_started(error, self.command, self.log_folder)
            for number in list(self._open):
                self._end_request(Failed(number, failure))
            return
        self.log = self._process.log
        self._process.send(
            protocol.request(0, "initialize", {"protocol": list(protocol.PROTOCOL), "client": CLIENT_NAME})
        )

    def _read_what_came(self) -> None:
        while self._process is not None and (message := self._process.next_message()) is not None:
            self._take(message)

    def _take(self, message: dict) -> None:
        number, method = message.get("id"), message.get("method")
        if method == "progress":
            self._take_progress(message["params"])
        elif method == "goodbye":
            self._process.said_goodbye = True
        elif number == 0 and method is None:
            self._take_handshake(message)
        elif number in self._open and method is None:
            if "result" in message:
                self._end_request(Finished(number, message["result"]))
            else:
                failure = Failure.from_json(message["error"])
                log = failure.log or str(self.log or "")
                self._end_request(
                    Failed(number, Failure(failure.code, failure.sentence, failure.fix, log, failure.kind))
                )

    def _take_progress(self, params: dict) -> None:
        with contextlib.suppress(KeyError, TypeError, ValueError):
            event = Progress(
                params["id"],
                str(params["stage"]),
                float(params["share"]),
                float(params["seconds"]),
                str(params.get("detail", "")),
            )
            if event.request in self._open:
                self._events.append(event)

    def _take_handshake(self, message: dict) -> None:
        if "error" in message:
            self._give_up(Failure.from_json(message["error"]))
            return
        mismatch = protocol.check_version(message["result"].get("protocol"), "add-on")
        if mismatch is not None:
            self._give_up(mismatch)
            return
        self.info = message["result"]
        self._events.append(Ready(self.info))
        for number, (method, params) in self._open.items():
            self._process.send(protocol.request(number, method, params))

    def _enforce_deadlines(self) -> None:
        now = time.monotonic()
        if self._process.rubbish > RUBBISH_LINES_AT_MOST or self._process.is_endless:
            self._give_up(_not_lifemask(self.command))
        elif self.info is None and now - self._process.started > HANDSHAKE_SECONDS:
            if self._process.rubbish:
                self._give_up(_not_lifemask(self.command))
            else:
                self._give_up(
                    Failure(
                        "backend-silent",
                        f"The backend process did not get ready within {HANDSHAKE_SECONDS:.0f} seconds. Try again; if "
                        "that does not help, repair the environment.",
                        Fix("repair-environment", "Repair the environment"),
                    )
                )
        elif any(now - since > HARD_STOP_SECONDS for since in self._cancels.values()):
            process, self._process = self._process, None
            self.info = None
            process.end_soon()
            for number in list(self._cancels):
                self._end_request(Failed(number, self._cancelled()))
            if self._open:  # these waited behind it
                self._start()

    def _give_up(self, failure: Failure) -> None:
        """This process is of no use: end it and say so to everyone who waits."""
        log = str(self.log or "")
        failure = Failure(failure.code, failure.sentence, failure.fix, failure.log or log, failure.kind)
        process, self._process = self._process, None
        self.info = None
        process.end_soon()
        for number in list(self._open):
            self._end_request(Failed(number, failure))

    def _bury(self) -> None:
        """The process has ended: tell those who wait for it."""
        process, self._process = self._process, None
        code = process.child.wait()
        was_ready, self.info = self.info is not None, None
        process.close()
        if not self._open:
            return
        if process.said_goodbye and was_ready:  # it ended for idleness just as something was asked: ask a new one
            self._start()
            return
        for number in list(self._open):
            cancelled = number in self._cancels
            failure = self._cancelled() if cancelled else _crashed(code, was_ready, str(process.log))
            self._end_request(Failed(number, failure))

    def _cancelled(self) -> Failure:
        return Failure("cancelled", Cancelled().sentence, log=str(self.log or ""), kind="cancelled")

    def _end_request(self, event: Finished | Failed) -> None:
        self._open.pop(event.request, None)
        self._cancels.pop(event.request, None)
        self._events.append(event)


# Failures in words


def _not_started(error: OSError, command: Sequence[str], log_folder: Path) -> Failure:
    if Path(command[0]).is_absolute() and not Path(command[0]).exists():
        sentence = f"The environment is not there any more: {command[0]} is missing. Set Lifemask up again."
        return Failure("no-python", sentence, Fix("set-up", "Set up again"), kind="setup")
    failed = str(error.filename or "")
    if failed and (failed.startswith(str(log_folder)) or str(log_folder).startswith(failed)):
        sentence = f"Lifemask's folder {log_folder.parent} cannot be written ({error.strerror}). Choose another folder."
        return Failure("no-permission", sentence, Fix("choose-folder", "Choose another folder"), kind="setup")
    sentence = f"The backend process could not be started ({error.strerror or error}). Repair the environment."
    return Failure("not-started", sentence, Fix("repair-environment", "Repair the environment"), kind="setup")


def _not_lifemask(command: Sequence[str]) -> Failure:
    return Failure(
        "not-lifemask",
        f"What {command[0]} started says other things than Lifemask's backend does. Choose another environment, or "
        "repair this one.",
        Fix("repair-environment", "Repair the environment"),
        kind="protocol",
    )


def _crashed(code: int, was_ready: bool, log: str) -> Failure:
    if code < 0:
        try:
            how = f"was ended by the system ({signal.Signals(-code).name})"
        except ValueError:
            how = f"was ended by signal {-code}"
        if code == -getattr(signal, "SIGKILL", 9):
            how += ", perhaps for lack of memory"
    else:
        how = f"ended unexpectedly (exit code {code})"
    if was_ready:
        sentence = f"The backend process {how}. Nothing was lost: try again, and it is started anew."
        return Failure("backend-crashed", sentence, Fix("retry", "Try again"), log, "crash")
    sentence = f"The backend process {how} before it was ready. Repair the environment; the log has the details."
    return Failure("backend-crashed", sentence, Fix("repair-environment", "Repair the environment"), log, "setup")


__all__ = ["Backend", "Event", "Failed", "Finished", "Progress", "Ready", "backend_command"]
