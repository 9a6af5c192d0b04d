"""The language between the add-on and the backend process: JSON-RPC 2.0, one message a line, over the child's pipes.

Standard library only; both sides use it. Arrays never travel here, they go through files in a result folder. The
methods and their parameters are described in docs/protocol.md.
"""

import json
from dataclasses import dataclass

from .errors import Cancelled, Fix, LifemaskError, PhotoError, SetupError, UsageError

__all__ = [
    "Cancelled", "Failure", "Fix", "LIFEMASK_VERSION", "LifemaskError", "MAX_LINE_BYTES", "NotProtocol", "PROTOCOL",
    "check_version", "decode", "encode", "failure_of", "notification", "reply", "request",
]  # fmt: skip

PROTOCOL = (1, 0)
"""(major, minor): sides with different majors refuse each other."""

LIFEMASK_VERSION = "0.1.0"
"""Of this copy: told in the handshake and written into every result. The same as in the manifest."""

MAX_LINE_BYTES = 4_000_000
INTERNAL_ERROR = -32603
METHOD_NOT_FOUND = -32601
LIFEMASK_ERROR = -32000
KINDS = {PhotoError: "photo", UsageError: "usage", SetupError: "setup", Cancelled: "cancelled"}


class NotProtocol(ValueError):
    """A line that is no message of this protocol."""


@dataclass(frozen=True)
class Failure:
    """Why a request came to nothing.

    Attributes:
        code: stable, for programs: "no-face", "disk-full", "backend-crashed".
        sentence: what happened and what to do, for a person.
        fix: what mends it, or None.
        log: path of the log with the details, empty where there is none.
        kind: "photo", "usage", "setup", "internal", "cancelled", "crash" or "protocol".
    """

    code: str
    sentence: str
    fix: Fix | None = None
    log: str = ""
    kind: str = "internal"

    def as_error(self) -> LifemaskError:
        """The same as an exception, of the class that the kind names."""
        for cls, kind in KINDS.items():
            if kind == self.kind and cls is not Cancelled:
                return cls(self.code, self.sentence, self.fix)
        if self.kind == "cancelled":
            return Cancelled(self.sentence)
        return LifemaskError(self.code, self.sentence, self.fix)

    def to_json(self) -> dict:
        """The `error` object of a JSON-RPC response."""
        fix = None
        if self.fix is not None:
            fix = {"action": self.fix.action, "label": self.fix.label, "command": self.fix.command}
        data = {"code": self.code, "fix": fix, "log": self.log, "kind": self.kind}
        number = INTERNAL_ERROR if self.kind == "internal" else LIFEMASK_ERROR
        return {"code": number, "message": self.sentence, "data": data}

    @classmethod
    def from_json(cls, error: dict) -> "Failure":
        """Reads what `to_json` wrote, and any other JSON-RPC error as well as it can."""
        data = error.get("data")
        data = data if isinstance(data, dict) else {}
        fix = data.get("fix")
        if isinstance(fix, dict):
            command = fix.get("command")
            label = str(fix.get("label", ""))
            fix = Fix(str(fix.get("action", "")), label, command if isinstance(command, str) else None)
        else:
            fix = None
        sentence = str(error.get("message") or "The backend failed and did not say why.")
        return cls(
            str(data.get("code", "internal")),
            sentence,
            fix,
            str(data.get("log", "")),
            str(data.get("kind", "internal")),
        )


def failure_of(error: LifemaskError, log: str = "") -> Failure:
    """An exception of ours as a failure."""
    kind = next((kind for cls, kind in KINDS.items() if isinstance(error, cls)), "internal")
    return Failure(error.code, error.sentence, error.fix, log, kind)


def encode(message: dict) -> bytes:
    """One message as one line. A surrogate in a file name of an odd encoding survives the way there and back."""
    return json.dumps({"jsonrpc": "2.0", **message}, ensure_ascii=True, separators=(",", ":")).encode("ascii") + b"\n"


def decode(line: bytes) -> dict:
    """The message in a line: a request or notification (`method`) or a response (`id` with `result` or `error`).

    Raises:
        NotProtocol: the line is something else.
    """
    try:
        message = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise NotProtocol("The line is not JSON.") from error
    if not isinstance(message, dict) or message.get("jsonrpc") != "2.0":
        raise NotProtocol("The line is not JSON-RPC 2.0.")
    number = message.get("id")
    if number is not None and (isinstance(number, bool) or not isinstance(number, int)):
        raise NotProtocol("An id is a whole number.")
    if "method" in message:
        if not isinstance(message["method"], str) or not isinstance(message.get("params", {}), dict):
            raise NotProtocol("A method has a name and named parameters.")
        message.setdefault("params", {})
        return message
    if number is None or ("result" in message) == ("error" in message):
        raise NotProtocol("A response has an id and either a result or an error.")
    if not isinstance(message.get("result", message.get("error")), dict):
        raise NotProtocol("A result and an error are objects.")
    return message


def request(number: int, method: str, params: dict) -> dict:
    return {"id": number, "method": method, "params": params}


def notification(method: str, params: dict) -> dict:
    return {"method": method, "params": params}


def reply(number: int, result: dict | None = None, failure: Failure | None = None) -> dict:
    return {"id": number, "result": result or {}} if failure is None else {"id": number, "error": failure.to_json()}


def check_version(theirs: object, side: str) -> Failure | None:
    """None where the two sides understand each other.

    Args:
        theirs: [major, minor] of the other side.
        side: "backend" where the backend asks, "add-on" where the add-on does.
    """
    if isinstance(theirs, list | tuple) and theirs and theirs[0] == PROTOCOL[0]:
        return None
    said = ".".join(map(str, theirs)) if isinstance(theirs, list | tuple) else "none"
    ours = ".".join(map(str, PROTOCOL))
    other = "add-on" if side == "backend" else "backend"
    return Failure(
        "protocol-mismatch",
        f"The {side} speaks protocol {ours} and the {other} {said}: they are of different versions of Lifemask. "
        "Install the newest Lifemask, restart Blender and set it up again.",
        Fix("set-up", "Set up again"),
        kind="protocol",
    )
