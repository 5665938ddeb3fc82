"""`fanout send` against a real ingress."""

import asyncio
import io
import sys
from collections.abc import Mapping
from pathlib import Path

import msgspec
import pytest

from fanout.errors import ConfigurationError
from fanout.queue.entry import Submission
from fanout.signalr.message import GroupAction, Message, Scope
from service.cli.send import Sending, send
from tests.service.apps import KEY, an_app, served
from tests.service.memory_queue import MemoryQueue

EVERYBODY = {"hub": "chat", "target": "newMessage", "user": "", "group": "", "connection": ""}


async def sent(
    *arguments: str,
    api_key: str = "",
    file: Path | None = None,
    door_key: str = "",
    message: Mapping[str, str] | None = None,
) -> tuple[int, list[Submission]]:
    """Send to a fresh ingress; give the exit code and what was queued."""
    queue = MemoryQueue()
    async with served(an_app(queue, api_key=door_key)) as url:
        sending = Sending(url + "/", api_key, EVERYBODY | dict(message or {}), arguments, file)
        return await asyncio.to_thread(send, sending), queue.stored


def message_of(submissions: list[Submission]) -> Message:
    [submission] = submissions
    assert isinstance(submission.entry.item, Message)
    return submission.entry.item


async def test_a_message_to_everybody_is_accepted_and_the_answer_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    code, queued = await sent("hello")
    assert code == 0
    assert message_of(queued) == Message(Scope.BROADCAST, "", b'{"target":"newMessage","arguments":["hello"]}')
    assert "accepted" in capsys.readouterr().out


async def test_arguments_are_json_where_they_can_be_and_text_where_not() -> None:
    _, queued = await sent("1.10", '{"n": 12345678901234567890}', "[1", "null", "", 'say "hi"', "ü")
    body = message_of(queued).body
    assert body == (
        b'{"target":"newMessage","arguments":[1.10,{"n": 12345678901234567890},"[1",null,"","say \\"hi\\"","'
        + "ü".encode()
        + b'"]}'
    )


@pytest.mark.parametrize(
    ("option", "scope"), [("user", Scope.USER), ("group", Scope.GROUP), ("connection", Scope.CONNECTION)]
)
async def test_a_destination_is_named_by_its_option(option: str, scope: Scope) -> None:
    _, queued = await sent("x", message={"target": "other", option: 'a "b" ü'})
    message = message_of(queued)
    assert (message.scope, message.to) == (scope, 'a "b" ü')
    assert msgspec.json.decode(message.body)["target"] == "other"


async def test_a_file_is_sent_as_it_stands(tmp_path: Path) -> None:
    batch = tmp_path / "batch.json"
    batch.write_text('[{"userId":"alice","action":"add","groupName":"g"},{"target":"t","arguments":[1.10]}]')
    code, queued = await sent(file=batch)
    assert code == 0
    assert isinstance(queued[0].entry.item, GroupAction)
    assert isinstance(queued[1].entry.item, Message)
    assert b"1.10" in queued[1].entry.item.body


async def test_a_dash_reads_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b'{"target":"t"}')))
    code, queued = await sent(file=Path("-"))
    assert (code, len(queued)) == (0, 1)


async def test_what_is_refused_is_printed_and_ends_with_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    batch = tmp_path / "batch.json"
    batch.write_text("not json")
    code, queued = await sent(file=batch)
    assert (code, queued) == (1, [])
    assert '"status":400' in capsys.readouterr().out


async def test_a_hub_name_cannot_leave_its_place_in_the_address() -> None:
    code, queued = await sent("x", message={"hub": "../chat?x=1"})
    assert (code, queued) == (1, [])


async def test_the_api_key_is_shown_to_the_ingress_and_to_nobody_else(capsys: pytest.CaptureFixture[str]) -> None:
    assert (await sent("x", api_key=KEY, door_key=KEY))[0] == 0
    assert (await sent("x", api_key="wrong", door_key=KEY))[0] == 1
    assert KEY not in capsys.readouterr().out
    assert KEY not in repr(Sending("http://x", KEY, EVERYBODY, (), None))


@pytest.mark.parametrize(
    ("url", "clue"),
    [
        ("http://127.0.0.1:1", r"http://127\.0\.0\.1:1 cannot be reached: .*Is `fanout serve` running there\?"),
        ("http://127.0.0.1:port", r"^--url http://127\.0\.0\.1:port is not a URL"),
        ("nowhere", "nowhere cannot be reached"),
    ],
)
def test_an_address_that_cannot_be_used_is_one_clear_error(url: str, clue: str) -> None:
    with pytest.raises(ConfigurationError, match=clue):
        send(Sending(url, "", EVERYBODY, ("x",), None))


def test_a_file_that_cannot_be_read_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read: No such file or directory"):
        send(Sending("http://127.0.0.1:1", "", EVERYBODY, (), tmp_path / "none.json"))
