"""The child's side of the process boundary: reads requests, runs one at a time, reports, ends with its parent.

Standard library only, so that tests can put a small fake behind the same door. The real standard output is kept for the
protocol; whatever libraries print goes to standard error, which the parent sends to a log file.
"""

import contextlib
import logging
import os
import queue
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field

from . import protocol
from .errors import Cancelled, Fix, LifemaskError, is_lack_of_memory
from .protocol import Failure

log = logging.getLogger(__name__)

SECONDS_BETWEEN_PROGRESS = 0.1
SECONDS_TO_CLEAN_UP = 2.0
SECONDS_BETWEEN_LOOKS_AT_PARENT = 1.0

Handler = Callable[[dict, "Call"], dict]
"""Takes the parameters of a request, returns its result. Errors are raised; LifemaskError is told as it is."""


@dataclass
class Call:
    """One request at work.

    Attributes:
        number: its id.
        log: path of the log file, for what a handler tells.
    """

    number: int
    log: str
    _send: Callable[[dict], None]
    _cancelled: threading.Event = field(default_factory=threading.Event)
    _started: float = field(default_factory=time.monotonic)
    _stage: str = ""
    _sent: float = 0.0

    def progress(self, stage: str, share: float, detail: str = "") -> None:
        """Tell how far this is; at most ten times a second, and always when the stage changes.

        Args:
            stage: what is being done, in words.
            share: of the whole, 0 to 1.
            detail: more words, such as a count.
        """
        if self.cancelled():
            raise KeyboardInterrupt  # the first one was lost in a library
        now = time.monotonic()
        if stage == self._stage and now - self._sent < SECONDS_BETWEEN_PROGRESS:
            return
        self._stage, self._sent = stage, now
        seconds = round(now - self._started, 3)
        params = {"id": self.number, "stage": stage, "share": share, "seconds": seconds, "detail": detail}
        self._send(protocol.notification("progress", params))

    def cancelled(self) -> bool:
        """Whether the person asked to stop. Handlers need not ask: they get a KeyboardInterrupt."""
        return self._cancelled.is_set()


def serve(handlers: dict[str, Handler], *, log_path: str = "", parent: int | None = None, idle_exit: float = 0) -> int:
    """Answer requests until standard input ends, the parent is gone, or nothing was asked for a while.

    A `cancel` notification raises KeyboardInterrupt in the main thread while that request runs, as Ctrl-C would.

    Args:
        handlers: by method.
        log_path: where standard error goes, told in every error.
        parent: its process id; the process ends when that is not its parent any more. Not on Windows, where a virtual
            environment's Python is a grandchild; the end of standard input has to do there.
        idle_exit: seconds without a request after which the process ends; 0 for never.

    Returns:
        The exit code.
    """
    return _Server(handlers, log_path, parent, idle_exit).run()


class _Server:
    def __init__(self, handlers: dict[str, Handler], log_path: str, parent: int | None, idle_exit: float):
        self.handlers, self.log_path, self.parent, self.idle_exit = handlers, log_path, parent, idle_exit
        self.requests: queue.Queue[dict | None] = queue.Queue()
        self.lock = threading.Lock()
        self.writing = threading.Lock()
        self.running: Call | None = None
        self.waiting: set[int] = set()
        self.may_interrupt = False
        self.channel = _claim_standard_output()
        self.input = _claim_standard_input()

    def run(self) -> int:
        signal.signal(signal.SIGINT, self._on_interrupt)
        threading.Thread(target=self._read, name="lifemask requests", daemon=True).start()
        if self.parent is not None and sys.platform != "win32":
            threading.Thread(target=self._watch_parent, name="lifemask parent", daemon=True).start()
        while True:
            try:
                message = self.requests.get(timeout=self.idle_exit or None)
                if message is None:
                    return 0
                self._answer(message)
            except queue.Empty:
                self._send(protocol.notification("goodbye", {"reason": "idle"}))
                return 0

    def _answer(self, message: dict) -> None:
        number = message["id"]
        call = Call(number, self.log_path, self._send)
        with self.lock:
            if number not in self.waiting:  # cancelled and answered meanwhile
                return
            self.waiting.discard(number)
            self.running = call
        failure, result = None, None
        try:
            try:
                self.may_interrupt = True
                result = self._result(message, call)
            finally:
                self.may_interrupt = False
        except KeyboardInterrupt:
            failure = protocol.failure_of(Cancelled(), self.log_path)
        except Cancelled as error:
            failure = protocol.failure_of(error, self.log_path)
        except SystemExit:  # a signal asked this process to end
            raise
        except BaseException as error:
            failure = self._failure(error)
        with self.lock:
            self.running = None
        if failure is not None:
            log.info("request %d: %s", number, failure.sentence)
        self._send(protocol.reply(number, result, failure))

    def _result(self, message: dict, call: Call) -> dict:
        method = message["method"]
        handler = self.handlers.get(method)
        if handler is None:
            raise LifemaskError("no-such-method", f"This backend has no method {method}.")
        log.info("request %d: %s", call.number, method)
        return handler(message["params"], call)

    def _on_interrupt(self, signal_number: int, frame: object) -> None:
        """SIGINT, which a cancel sends to this very process. Interrupts the work at hand and nothing else."""
        if self.may_interrupt:
            self.may_interrupt = False
            raise KeyboardInterrupt

    def _failure(self, error: BaseException) -> Failure:
        if isinstance(error, LifemaskError):
            return protocol.failure_of(error, self.log_path)
        log.error("%s", "".join(traceback.format_exception(error)))
        if is_lack_of_memory(error):
            return Failure(
                "out-of-memory",
                "There was not enough memory. Close other programs or choose a smaller texture.",
                Fix("retry", "Try again"),
                self.log_path,
            )
        if isinstance(error, ImportError):
            missing = (error.name or "").split(".")[0] or "A package"
            return Failure(
                "broken-package",
                f"{missing} is damaged or missing in Lifemask's environment. Repair the environment.",
                Fix("repair-environment", "Repair the environment", "python3 -m backend setup --repair"),
                self.log_path,
                "setup",
            )
        return Failure(
            "internal",
            f"Something went wrong that should not have: {type(error).__name__}: {error}. The log has the details.",
            Fix("open-log", "Open the log"),
            self.log_path,
        )

    def _read(self) -> None:
        """Runs in a thread: requests go to the main thread, cancels take effect at once, the end of input ends all."""
        for line in self.input:
            try:
                message = protocol.decode(line)
            except protocol.NotProtocol as error:
                log.warning("not understood: %s %r", error, line[:200])
                continue
            if message.get("method") == "cancel":
                self._cancel(message["params"].get("id"))
            elif message.get("method") == "shutdown":
                break
            elif "method" in message and "id" in message:
                with self.lock:
                    self.waiting.add(message["id"])
                self.requests.put(message)
        self._end("the parent closed the pipe")

    def _cancel(self, number: object) -> None:
        with self.lock:
            if self.running is not None and self.running.number == number:
                self.running._cancelled.set()
                _interrupt_main_thread()
                return
            if number not in self.waiting:  # it has ended
                return
            self.waiting.discard(number)
        self._send(protocol.reply(number, failure=protocol.failure_of(Cancelled(), self.log_path)))

    def _watch_parent(self) -> None:
        while True:
            time.sleep(SECONDS_BETWEEN_LOOKS_AT_PARENT)
            if os.getppid() != self.parent:
                self._end("the parent is gone")
                return

    def _end(self, reason: str) -> None:
        """End this process: let the work at hand clean up, but not for long."""
        log.info("ending: %s", reason)
        self.requests.put(None)
        with self.lock:
            if self.running is not None:
                self.running._cancelled.set()
                _interrupt_main_thread()
        time.sleep(SECONDS_TO_CLEAN_UP)
        if sys.platform != "win32" and os.getpgrp() == os.getpid():
            os.killpg(os.getpid(), signal.SIGKILL)  # together with what this process started
        os._exit(0)

    def _send(self, message: dict) -> None:
        line = protocol.encode(message)
        with self.writing, contextlib.suppress(OSError):  # nobody reads any more: the end of input says so too
            while line:
                line = line[os.write(self.channel, line) :]


def _interrupt_main_thread() -> None:
    """As Ctrl-C does. Also wakes a main thread that sleeps or waits, which `_thread.interrupt_main` does not."""
    if sys.platform == "win32":
        signal.raise_signal(signal.SIGINT)
    else:
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)


def _claim_standard_output() -> int:
    """A descriptor of the real standard output; what is printed from now on goes to standard error."""
    sys.stdout.flush()
    channel = os.dup(1)
    os.set_inheritable(channel, False)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return channel


def _claim_standard_input():
    """The real standard input as a binary file; children and libraries get an empty one."""
    channel = os.dup(0)
    os.set_inheritable(channel, False)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    return os.fdopen(channel, "rb")
