"""`fanout trace ID`: what an operator reads, from a real ingress."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from click.testing import CliRunner

from fanout.clock import SystemClock
from fanout.errors import ConfigurationError
from fanout.queue.traces import TraceEvent, Traces
from fanout.redis.open import open_redis
from service.cli.api import Api, RefusedError
from service.cli.main import main
from service.cli.trace import lines_of, print_trace
from tests.service.apps import KEY, an_app, served

pytestmark = pytest.mark.slow

BEGAN = 1_800_000_000.25
LIFE = (
    TraceEvent(BEGAN, "accepted", {"admission": "accepted", "hub": "chat"}),
    TraceEvent(BEGAN + 0.002, "read", {"partition": 3, "entry": "1-0"}),
    TraceEvent(BEGAN + 0.05, "attempt", {"number": 1, "failure": "notSent", "verdict": "again", "delay": 0.12}),
    TraceEvent(BEGAN + 12.5, "settled", {"end": "delivered", "attempts": 2}),
    TraceEvent(BEGAN + 60, "accepted", {"admission": "duplicate", "hub": "chat"}),
)
STORY = """\
order-1  2027-01-15 08:00:00.250 UTC
  +0.000 s    accepted  hub=chat
  +0.002 s    read      partition=3  entry=1-0
  +0.050 s    attempt   number=1  failure=notSent  verdict=again  delay=0.12
  +12.500 s   settled   end=delivered  attempts=2
  +60.000 s   duplicate hub=chat
"""


@pytest.fixture
async def url(redis_url: str) -> AsyncIterator[str]:
    """A real ingress that asks for a key and knows the message order-1."""
    redis_client = open_redis(redis_url, SystemClock())
    traces = Traces(redis_client, SystemClock(), keep=60, max_per_second=100)
    for event in LIFE:
        traces.record("order-1", event)
    await traces.flush()
    async with served(replace(an_app(api_key=KEY), traces=traces)) as url:
        yield url
    await redis_client.aclose()


async def tell(url: str, message_id: str = "order-1", *, key: str = KEY, as_json: bool = False) -> int:
    return await asyncio.to_thread(print_trace, Api(url, key), message_id, as_json=as_json)


async def test_a_life_is_one_line_an_event_with_the_seconds_since_it_began(
    url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await tell(url) == 0
    assert capsys.readouterr().out == STORY


async def test_json_is_the_answer_as_it_came(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert await tell(url, as_json=True) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["messageId"] == "order-1"
    assert [event["what"] for event in told["events"]] == ["accepted", "read", "attempt", "settled", "accepted"]


@pytest.mark.parametrize("message_id", ["order-2", "..", "a/b", "?"])
async def test_nothing_to_tell_is_exit_code_1_and_a_reason(
    url: str, capsys: pytest.CaptureFixture[str], message_id: str
) -> None:
    assert await tell(url, message_id) == 1
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "fanout: No trace of a message with this id is kept.\n")
    assert await tell(url, message_id, as_json=True) == 1
    assert json.loads(capsys.readouterr().out)["code"] == "traceUnknown"


async def test_without_the_key_the_refusal_is_told_and_a_wrong_key_is_not(
    url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(RefusedError, match="The key is read from FANOUT_API_KEY, which is not set"):
        await tell(url, key="")
    with pytest.raises(RefusedError) as caught:
        await tell(url, key="wrong-key-of-sixteen", as_json=True)
    refusal = "".join(capsys.readouterr()) + str(caught.value)
    assert "The ingress does not accept the key in FANOUT_API_KEY." in refusal
    assert "wrong-key" not in refusal


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "http://[", "nonsense"])
def test_an_ingress_that_cannot_be_asked_is_a_configuration_error(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"cannot be reached|is not a URL"):
        print_trace(Api(url, KEY), "m1", as_json=False)


@pytest.mark.parametrize("body", [b"<html>", b"[]", b'{"events":[]}', b'{"messageId":1}'])
async def test_something_else_at_the_address_is_a_configuration_error(body: bytes) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(ConfigurationError, match="is not a fanout ingress"):
            await tell(f"http://127.0.0.1:{port}")


def test_nothing_that_others_wrote_moves_the_cursor() -> None:
    detail: dict[str, Any] = {"failure": "bad\x1b[2J\r\nfake", "\x07": "", "on": True}
    story = lines_of({"messageId": "a\u202eb", "events": [{"at": 0.0, "what": "attempt", "detail": detail}]})
    assert all(line.isprintable() for line in story)
    assert story[1].endswith("failure=bad\ufffd[2J\ufffd\ufffdfake  on=true")


def test_the_key_is_in_no_repr() -> None:
    assert KEY not in repr(Api("http://x", KEY))


@pytest.mark.process
async def test_the_command_takes_the_key_from_the_environment_and_ends_with_the_exit_code(url: str) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "service.cli", "trace", "--url", url, "--json", "order-2",
        env={"FANOUT_API_KEY": KEY}, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    output, _ = await process.communicate()
    assert (process.returncode, json.loads(output)["code"]) == (1, "traceUnknown")


@pytest.mark.parametrize(
    "environ", [{"FANOUT_ADMIN_URL": "here", "FANOUT_URL": "http://127.0.0.1:1"}, {"FANOUT_URL": "here"}]
)
async def test_the_admin_url_is_preferred_to_the_url_of_the_ingress(url: str, environ: dict[str, str]) -> None:
    variables = {name: url if value == "here" else value for name, value in environ.items()}
    result = await asyncio.to_thread(
        CliRunner().invoke, main, ["trace", "order-1"], env={"FANOUT_API_KEY": KEY, **variables}
    )
    assert (result.exit_code, result.stdout) == (0, STORY)
