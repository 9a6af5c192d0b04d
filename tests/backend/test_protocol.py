"""What goes over the pipes: one message a line, and nothing else is taken for one."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend import protocol
from backend.errors import Cancelled, Fix, LifemaskError, PhotoError, SetupError, UsageError
from backend.protocol import Failure, NotProtocol

TEXT = st.text(max_size=40)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=10,
)


@given(st.integers(0, 10**6), st.dictionaries(TEXT, VALUES, max_size=4))
def test_a_request_arrives_as_it_was_sent(number, params):
    line = protocol.encode(protocol.request(number, "reconstruct", params))
    assert line.count(b"\n") == 1 and line.endswith(b"\n")
    assert protocol.decode(line) == {"jsonrpc": "2.0", "id": number, "method": "reconstruct", "params": params}


def test_a_file_name_that_is_no_unicode_survives():
    path = "Anna\udcfc ü.jpg"
    line = protocol.encode(protocol.request(1, "find_faces", {"path": path}))
    assert protocol.decode(line)["params"]["path"] == path


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"\n",
        b"Downloading model ...\n",
        b"\xff\xfe\n",
        b"[1, 2]\n",
        b'"text"\n',
        b'{"id": 1, "result": {}}\n',
        b'{"jsonrpc": "1.0", "id": 1, "result": {}}\n',
        b'{"jsonrpc": "2.0", "id": 1}\n',
        b'{"jsonrpc": "2.0", "id": 1, "result": {}, "error": {}}\n',
        b'{"jsonrpc": "2.0", "id": "one", "result": {}}\n',
        b'{"jsonrpc": "2.0", "id": true, "result": {}}\n',
        b'{"jsonrpc": "2.0", "result": {}}\n',
        b'{"jsonrpc": "2.0", "id": 1, "result": 3}\n',
        b'{"jsonrpc": "2.0", "id": 1, "method": 3}\n',
        b'{"jsonrpc": "2.0", "id": 1, "method": "a", "params": [1]}\n',
        b"[" * 100_000 + b"\n",
    ],
)
def test_anything_else_is_no_message(line):
    with pytest.raises(NotProtocol):
        protocol.decode(line)


@given(st.binary(max_size=200))
def test_bytes_are_a_message_or_are_refused_and_nothing_worse(line):
    try:
        assert isinstance(protocol.decode(line), dict)
    except NotProtocol:
        pass


@pytest.mark.parametrize(
    "error",
    [
        PhotoError("no-face", "No face.", Fix("choose-another-photo", "Choose another photograph")),
        UsageError("disk-full", "The disk is full."),
        SetupError("broken-package", "torch does not import.", Fix("repair", "Repair", "python3 -m backend setup")),
        Cancelled(),
        LifemaskError("blender-files", "Blender failed."),
    ],
)
def test_an_error_arrives_with_code_sentence_fix_kind_and_log(error):
    sent = protocol.failure_of(error, "/logs/a.log")
    line = protocol.encode(protocol.reply(3, failure=sent))
    arrived = Failure.from_json(protocol.decode(line)["error"])
    assert arrived == sent
    assert (arrived.code, arrived.sentence, arrived.fix, arrived.log) == (
        error.code,
        error.sentence,
        error.fix,
        "/logs/a.log",
    )
    assert type(arrived.as_error()) is type(error)


def test_an_error_of_another_program_still_has_a_sentence():
    assert Failure.from_json({"code": -32700, "message": "Parse error"}).sentence == "Parse error"
    assert Failure.from_json({"data": "text"}).sentence.endswith(".")
    assert Failure.from_json({"message": "No.", "data": {"fix": 3, "code": 4}}).fix is None


@pytest.mark.parametrize("theirs", [[2, 0], [0, 9], None, [], "1.0", 1])
def test_another_major_version_is_refused_and_the_sentence_names_both(theirs):
    failure = protocol.check_version(theirs, "add-on")
    assert failure.code == "protocol-mismatch" and failure.kind == "protocol"
    assert "1.0" in failure.sentence and "set it up again" in failure.sentence
    assert failure.fix.action == "set-up"


def test_a_newer_minor_version_is_understood():
    assert protocol.check_version([1, 7], "backend") is None


def test_messages_are_plain_ascii_json():
    line = protocol.encode(protocol.notification("progress", {"stage": "Tränen\n\u2028"}))
    assert json.loads(line.decode("ascii"))["params"]["stage"] == "Tränen\n\u2028"
