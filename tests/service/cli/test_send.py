"""`fanout send` against a real ingress."""

import asyncio
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result

from fanout.queue.entry import Submission
from fanout.signalr.message import GroupAction, Message, Scope
from service.cli.api import Api
from service.cli.main import main
from tests.service.apps import KEY, an_app, served
from tests.service.memory_queue import MemoryQueue


def fanout(*arguments: str, api_key: str = "", **environ: str) -> Result:
    """Type the command, with this key in the environment."""
    return CliRunner().invoke(main, ["send", *arguments], env={"FANOUT_API_KEY": api_key, **environ})


async def sent(*arguments: str, api_key: str = "", ingress_key: str = "") -> tuple[Result, list[Submission]]:
    """Send to a fresh ingress; return what was printed and what was queued."""
    queue = MemoryQueue()
    async with served(an_app(queue, api_key=ingress_key)) as url:
        command = ["--url", url + "/", "--hub", "chat", *arguments]
        return await asyncio.to_thread(fanout, *command, api_key=api_key), queue.stored


def message_of(submissions: list[Submission]) -> Message:
    [submission] = submissions
    assert isinstance(submission.entry.item, Message)
    return submission.entry.item


async def test_a_message_to_everybody_is_accepted_and_the_answer_is_printed() -> None:
    result, queued = await sent("hello")
    assert result.exit_code == 0
    assert message_of(queued) == Message(Scope.BROADCAST, "", b'{"target":"newMessage","arguments":["hello"]}')
    assert "accepted" in result.stdout


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
    _, queued = await sent("x", "--target", "other", f"--{option}", 'a "b" ü')
    message = message_of(queued)
    assert (message.scope, message.to) == (scope, 'a "b" ü')
    assert msgspec.json.decode(message.body)["target"] == "other"


async def test_a_file_is_sent_as_it_stands(tmp_path: Path) -> None:
    batch = tmp_path / "batch.json"
    batch.write_text('[{"userId":"alice","action":"add","groupName":"g"},{"target":"t","arguments":[1.10]}]')
    result, queued = await sent("--file", str(batch))
    assert result.exit_code == 0
    assert isinstance(queued[0].entry.item, GroupAction)
    assert isinstance(queued[1].entry.item, Message)
    assert b"1.10" in queued[1].entry.item.body


async def test_a_dash_reads_standard_input() -> None:
    queue = MemoryQueue()
    async with served(an_app(queue)) as url:
        command = ["send", "--url", url, "--hub", "chat", "--file", "-"]
        result = await asyncio.to_thread(CliRunner().invoke, main, command, input=b'{"target":"t"}')
    assert (result.exit_code, len(queue.stored)) == (0, 1)


async def test_what_is_refused_is_printed_and_ends_with_one(tmp_path: Path) -> None:
    batch = tmp_path / "batch.json"
    batch.write_text("not json")
    result, queued = await sent("--file", str(batch))
    assert (result.exit_code, queued) == (1, [])
    assert '"status":400' in result.stdout


async def test_a_hub_name_cannot_leave_its_place_in_the_address() -> None:
    result, queued = await sent("x", "--hub", "../chat?x=1")
    assert (result.exit_code, queued) == (2, [])


async def test_the_api_key_is_sent_and_not_printed() -> None:
    result, _ = await sent("x", api_key=KEY, ingress_key=KEY)
    assert result.exit_code == 0
    assert KEY not in result.output
    assert KEY not in repr(Api("http://x", KEY))


@pytest.mark.parametrize(
    ("key", "advice"),
    [
        ("", "fanout: The key is read from FANOUT_API_KEY, which is not set.\n"),
        ("wrong-key-of-sixteen", "fanout: The ingress does not accept the key in FANOUT_API_KEY.\n"),
    ],
)
async def test_without_the_right_key_the_variable_is_named(key: str, advice: str) -> None:
    result, queued = await sent("x", api_key=key, ingress_key=KEY)
    assert (result.exit_code, queued, result.stderr) == (2, [], advice)


async def test_the_ingress_may_be_named_in_the_environment_and_an_option_is_preferred() -> None:
    queue = MemoryQueue()
    async with served(an_app(queue)) as url:
        named = await asyncio.to_thread(fanout, "--hub", "chat", "x", FANOUT_URL=url)
        chosen = await asyncio.to_thread(fanout, "--hub", "chat", "--url", url, "x", FANOUT_URL="http://127.0.0.1:1")
    assert (named.exit_code, chosen.exit_code, len(queue.stored)) == (0, 0, 2)


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("http://127.0.0.1:1", "http://127.0.0.1:1 cannot be reached: "),
        ("http://127.0.0.1:port", "--url http://127.0.0.1:port is not a URL"),
        ("nowhere", "nowhere cannot be reached"),
    ],
)
def test_an_address_that_cannot_be_used_is_one_clear_line(url: str, text: str) -> None:
    result = fanout("--url", url, "--hub", "chat", "x", api_key=KEY)
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert result.stderr.startswith(f"fanout: {text}")
    assert KEY not in result.output


def test_a_file_that_cannot_be_read_is_one_clear_line(tmp_path: Path) -> None:
    result = fanout("--url", "http://127.0.0.1:1", "--hub", "chat", "--file", str(tmp_path / "none.json"))
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert "cannot be read: No such file or directory" in result.stderr
