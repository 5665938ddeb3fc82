"""The parsers under a fuzzer: bounded here, as long as one likes with `make fuzz SECONDS=600`.

Rule guarded: what fuzzing is for is checked in two ways. A mistake that is planted in the fuzzer's way is found; and a
mistake that is planted in a parser breaks its property.
"""

import os
from pathlib import Path

import pytest

from emulator.protocols.hub_json import JsonHubProtocol
from fanout.binding import batch as reader
from fanout.http1 import messages as outgoing
from fanout.http1 import pool
from fanout.http1.messages import AnswerReader
from fanout.signalr.message import Message, Scope
from tests.fuzz.__main__ import available, fuzz
from tests.fuzz.seeds import FOUND, PROPERTIES, SEEDS

SECONDS = int(os.environ.get("TEST_FUZZ_SECONDS", "3"))
_fuzzer = pytest.mark.skipif(not available(), reason="atheris has no package for this system")


@pytest.mark.parametrize("name", PROPERTIES)
def test_every_seed_holds(name: str) -> None:
    for data in SEEDS[name]:
        PROPERTIES[name](data)
        PROPERTIES[name](data[:-1])


@pytest.mark.parametrize("name", FOUND)
def test_what_was_found_once_holds(name: str) -> None:
    of, data = FOUND[name]
    PROPERTIES[of](data)


@_fuzzer
@pytest.mark.parametrize("name", PROPERTIES)
def test_a_parser_keeps_its_word_under_the_fuzzer(name: str, tmp_path: Path) -> None:
    """No exception but the declared ones, what is accepted is what came in, and no cut of the bytes changes it."""
    run = fuzz(name, SECONDS, artifacts=tmp_path)
    assert run.code == 0, run.out[-6000:]
    assert run.runs > 100 * SECONDS


@_fuzzer
def test_the_fuzzer_finds_a_planted_mistake(tmp_path: Path) -> None:
    run = fuzz("planted", 20, artifacts=tmp_path)
    assert run.code != 0
    (found,) = tmp_path.iterdir()
    assert found.read_bytes().startswith(b"spot")


# The properties -------------------------------------------------------------------------------------------------------


def test_the_batch_property_sees_a_changed_argument(monkeypatch: pytest.MonkeyPatch) -> None:
    real = reader.parse_batch

    def changed(body: bytes, limits: reader.BatchLimits) -> reader.Batch:
        (parsed,) = real(body, limits).results
        assert isinstance(parsed, reader.ParsedItem)
        written = (Message(Scope.BROADCAST, "", b'{"target":"t","arguments":[1.1]}'),)
        return reader.Batch((reader.ParsedItem(0, written, None, b"", ()),))

    monkeypatch.setattr("tests.fuzz.batch.parse_batch", changed)
    with pytest.raises(AssertionError):
        PROPERTIES["batch"](b'{"target":"t","arguments":[1.10]}')


def test_the_answer_property_sees_an_end_in_the_wrong_place(monkeypatch: pytest.MonkeyPatch) -> None:
    class Careless(AnswerReader):
        """Takes the connection for good whatever followed the answer."""

        keep_alive = property(lambda _: True, lambda _self, _value: None)

    monkeypatch.setattr("tests.fanout.http1.reading.AnswerReader", Careless)
    with pytest.raises(AssertionError):
        PROPERTIES["answer"](b"\0\x05HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nabHTTP/1.1")


def test_the_request_property_sees_a_second_request(monkeypatch: pytest.MonkeyPatch) -> None:
    def careless(request: outgoing.Request, authority: bytes) -> bytes:
        return b"%b / HTTP/1.1\r\nHost: %b\r\n\r\n%b" % (request.head.method.encode(), authority, request.body)

    monkeypatch.setattr(pool, "encode", careless)
    with pytest.raises(AssertionError):
        PROPERTIES["request"](b"POST\x1f/\x1f\x1fGET / HTTP/1.1\r\n\r\n")


def test_the_protocol_property_sees_what_depends_on_the_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    real = JsonHubProtocol.read

    def forgetful(self: JsonHubProtocol, data: bytes) -> object:
        messages, _ = real(self, data)
        return messages, b""

    monkeypatch.setattr(JsonHubProtocol, "read", forgetful)
    with pytest.raises(AssertionError):
        PROPERTIES["incoming"](b'\0\x05{"type":6}\x1e{"type":6}\x1e')
