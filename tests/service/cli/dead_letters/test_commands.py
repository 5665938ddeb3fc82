"""`fanout dead-letters list | count | show`, as an operator types it, against a real ingress."""

import asyncio
import json
import re
import sys
from collections.abc import AsyncIterator

import pytest
from click.testing import CliRunner, Result

from fanout.redis.client import RedisClient
from fanout.signalr.message import Message, Scope
from service.cli.dead_letters.commands import dead_letters
from service.cli.main import main
from tests.builders import a_join, an_entry
from tests.queue_layout import waiting_in
from tests.service.admin.dead_letters.parked import PARTITIONS, an_admin_app, park, park_entry, park_row
from tests.service.apps import KEY, served

pytestmark = pytest.mark.lengthy

HEADING = "ID PARKED REASON STATUS TRIES HUB ENDPOINT OPERATION TO MESSAGE ID"


@pytest.fixture
async def url(one_redis: RedisClient) -> AsyncIterator[str]:
    """A real ingress that asks for a key."""
    async with served(an_admin_app(one_redis, api_key=KEY)) as url:
        yield url


async def fanout(url: str, *arguments: str, key: str = KEY, text: str | None = None) -> Result:
    """Run `fanout dead-letters` in a thread of its own beside the ingress's loop; `text` is what is typed."""
    environment = {"FANOUT_API_KEY": key}
    command = ["dead-letters", *arguments, "--url", url]
    return await asyncio.to_thread(CliRunner().invoke, main, command, input=text, env=environment)


async def test_a_list_is_a_table_oldest_first(one_redis: RedisClient, url: str) -> None:
    three = await park_row(one_redis, 2, "entry", b"?", "reason", "sleepy", at="3-0")
    one = await park(one_redis, "1000-0", message_id="order-1")
    two = await park_entry(one_redis, an_entry(a_join("alice")), "2000-0", reason="tooOld")
    result = await fanout(url, "list")
    assert (result.exit_code, result.stderr) == (0, "")
    heading, first, second, third = result.stdout.splitlines()
    assert heading.split() == HEADING.split()
    assert first.split() == [three, "1970-01-01T00:00:00.003Z", "sleepy", "0", "0", "-", "-", "-", "-", "-"]
    assert second.split()[:3] == [one, "1970-01-01T00:00:01.000Z", "refused"]
    about = ["tooOld", "400", "1", "chat", "default", "addUser", "alice", "m1"]
    assert third.split() == [two, "1970-01-01T00:00:02.000Z", *about]
    assert heading.index("REASON") == second.index("refused") == third.index("tooOld")


async def test_a_list_may_be_narrowed_and_says_when_there_is_more(one_redis: RedisClient, url: str) -> None:
    for number in range(5):
        await park(
            one_redis, f"{1000 + number}-0", message_id=f"m{number}", reason="tooOld" if number < 3 else "refused"
        )
    narrowed = await fanout(url, "list", "--reason", "tooOld", "--hub", "chat", "--before", "1.002")
    short = await fanout(url, "list", "--limit", "2")
    nothing = await fanout(url, "list", "--message-id", "none")
    assert [line.split()[-1] for line in narrowed.stdout.splitlines()[1:]] == ["m0", "m1"]
    assert len(short.stdout.splitlines()) == 3
    assert short.stderr == "There are more: narrow the list, or raise --limit.\n"
    assert (nothing.exit_code, nothing.stdout, nothing.stderr) == (0, "", "There are none.\n")


async def test_a_long_list_is_asked_for_page_by_page(one_redis: RedisClient, url: str) -> None:
    rows = (("XADD", "fanout:{1}:dead", f"{number}-1", "reason", "refused") for number in range(1, 2501))
    await one_redis.call(*rows)
    listed = await fanout(url, "list", "--limit", "2100", "--json")
    counted = await fanout(url, "count")
    document = json.loads(listed.stdout)
    assert [item["id"] for item in document["items"]] == [f"1:{number}-1" for number in range(1, 2101)]
    assert document["next"] is not None
    assert counted.stdout == "2500  refused  (unreadable)\n2500 in all\n"


async def test_a_count_is_by_reason_hub_and_endpoint_the_most_first(one_redis: RedisClient, url: str) -> None:
    for number in range(12):
        await park(one_redis, to=str(number), reason="tooOld" if number % 4 else "refused")
    await park(one_redis, hub="news", endpoint="east")
    text, document = await fanout(url, "count"), await fanout(url, "count", "--json")
    assert text.stdout == " 9  tooOld   chat\n 3  refused  chat\n 1  refused  news at east\n13 in all\n"
    assert json.loads(document.stdout) == {
        "total": 13,
        "groups": [
            {"reason": "tooOld", "hub": "chat", "endpoint": "default", "count": 9},
            {"reason": "refused", "hub": "chat", "endpoint": "default", "count": 3},
            {"reason": "refused", "hub": "news", "endpoint": "east", "count": 1},
        ],
    }
    assert (await fanout(url, "count", "--hub", "none")).stdout == "0 in all\n"
    assert (await fanout(url, "count", "--endpoint", "East")).stdout == "1  refused  news at east\n1 in all\n"


async def test_one_letter_is_shown_with_its_message_to_be_sent_again(one_redis: RedisClient, url: str) -> None:
    body = b'{"target":"t","arguments":[1.50,1e400,12345678901234567890123,"a\xc2\x9b\xe2\x80\xaeb"]}'
    name = await park_entry(one_redis, an_entry(Message(Scope.USER, "alice", body), message_id="order-1"))
    result = await fanout(url, "show", name)
    facts, _, message = result.stdout.partition("\n\n")
    told = dict(re.split(r" +", line, maxsplit=1) for line in facts.splitlines())
    assert (told["id"], told["reason"], told["detail"], told["to"]) == (name, "refused", "HTTP 400", "alice")
    assert json.loads(message) == {
        "userId": "alice", "target": "t", "arguments": [1.5, float("inf"), 12345678901234567890123, "a\x9b\u202eb"],
        "messageId": "order-1",
    }  # fmt: skip
    assert "1.50" in message
    assert all(line.isprintable() for line in result.stdout.splitlines())
    whole = await fanout(url, "show", name, "--json")
    assert json.loads(whole.stdout)["message"] == json.loads(message)


async def test_what_cannot_be_read_is_shown_in_base64(one_redis: RedisClient, url: str) -> None:
    name = await park_row(one_redis, 0, "entry", b"\xffnew", "reason", "a\x1b[2J")
    shown, listed = await fanout(url, "show", name), await fanout(url, "list")
    assert shown.stdout.endswith("This version cannot read the entry. Its bytes, in base64:\n/25ldw==\n")
    assert all(line.isprintable() for line in [*shown.stdout.splitlines(), *listed.stdout.splitlines()])


async def test_a_letter_that_is_not_there_is_exit_code_1_and_what_can_be_none_is_2(
    one_redis: RedisClient, url: str
) -> None:
    for name, code in (("0:1-0", 1), ("..", 2), ("a/b", 2), ("nonsense", 2)):
        result = await fanout(url, "show", name)
        assert (result.exit_code, result.stdout) == (code, "")
        assert result.stderr.startswith("fanout: ")
    assert "No dead letter has this id" in (await fanout(url, "show", "0:1-0")).stderr


@pytest.mark.parametrize("command", [["list"], ["count"], ["show", "0:1-0"], ["replay", "--all"], ["purge", "--all"]])
async def test_without_the_key_the_refusal_is_told(url: str, command: list[str]) -> None:
    result = await fanout(url, *command, key="")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "The key is read from FANOUT_API_KEY, which is not set." in result.stderr
    wrong = await fanout(url, *command, key="open-sesame-open-sesame")
    assert wrong.exit_code == 2
    assert "The ingress does not accept the key in FANOUT_API_KEY." in wrong.stderr
    assert "sesame" not in wrong.output


@pytest.mark.parametrize("away", ["http://127.0.0.1:1", "http://[", "nonsense"])
async def test_an_ingress_that_cannot_be_asked_is_exit_code_2(away: str) -> None:
    result = await fanout(away, "list")
    assert (result.exit_code, result.stdout) == (2, "")
    assert re.search("cannot be reached|is not a URL", result.stderr)


async def test_a_wrong_time_is_told_by_the_ingress_and_a_wrong_reason_at_once(url: str) -> None:
    time, reason = await fanout(url, "list", "--before", "soon"), await fanout(url, "list", "--reason", "refusd")
    assert (time.exit_code, reason.exit_code) == (2, 2)
    assert "before must be unix seconds" in time.stderr
    assert "tooManyAttempts" in reason.stderr


@pytest.mark.parametrize("name", dead_letters.commands)
def test_every_command_explains_itself_and_its_options(name: str) -> None:
    command = dead_letters.commands[name]
    result = CliRunner().invoke(main, ["dead-letters", name, "--help"])
    assert result.exit_code == 0
    assert len(command.help or "") > 20
    for parameter in command.params:
        assert parameter.param_type_name == "argument" or getattr(parameter, "help", None), parameter.name
    assert all(len(line) <= 110 for line in result.output.splitlines())


@pytest.mark.process
async def test_the_program_itself_does_it(one_redis: RedisClient, url: str) -> None:
    name = await park(one_redis)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "service.cli", "dead-letters", "replay", name, "--yes", "--json", "--url", url,
        env={"FANOUT_API_KEY": KEY}, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    output, _ = await process.communicate()
    assert (process.returncode, json.loads(output)) == (0, {"matched": 1, "replayed": 1})
    assert await waiting_in(one_redis, PARTITIONS) == 1
