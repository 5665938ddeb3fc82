"""`fanout pause`, `fanout resume` and `fanout pauses`, against a real ingress."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from click.testing import CliRunner, Result

from fanout.clock import SystemClock
from fanout.queue.pauses import Pauses
from fanout.redis.open import open_redis
from service.cli.main import main
from tests.service.apps import KEY, an_app, served

pytestmark = pytest.mark.slow


@pytest.fixture
async def url(redis_url: str) -> AsyncIterator[str]:
    """A real ingress that asks for a key."""
    redis_client = open_redis(redis_url, SystemClock())
    async with served(replace(an_app(api_key=KEY), pauses=Pauses(redis_client))) as url:
        yield url
    await redis_client.aclose()


async def fanout(url: str, *arguments: str, key: str = KEY, answer: str = "") -> Result:
    command = [*arguments, "--url", url]
    return await asyncio.to_thread(CliRunner().invoke, main, command, env={"FANOUT_API_KEY": key}, input=answer)


async def test_a_hub_is_paused_listed_and_resumed(url: str) -> None:
    refused = await fanout(url, "pause", "--hub", "chat", answer="n\n")
    assert (refused.exit_code, (await fanout(url, "pauses")).output) == (1, "Nothing is paused.\n")
    paused = await fanout(url, "pause", "--hub", "chat", "--for", "10m", "--reason", "an update", answer="y\n")
    assert paused.exit_code == 0, paused.output
    assert paused.stderr.startswith("This holds back hub chat: 0 entries wait now, and what is accepted.\nPause?")
    listed = await fanout(url, "pauses")
    assert listed.output == paused.stdout
    heading, line = listed.output.splitlines()
    assert heading.split() == ["TARGET", "SINCE", "(UTC)", "UNTIL", "(UTC)", "BY", "CAUSE"]
    assert line.startswith("hub:chat")
    assert line.endswith("an update")
    assert (await fanout(url, "resume", "--hub", "chat", answer="n\n")).exit_code == 1
    resumed = await fanout(url, "resume", "--hub", "chat", "--yes")
    assert (resumed.exit_code, resumed.stdout) == (0, "1 pause lifted.\n")
    assert "hub:chat" in resumed.stderr
    assert (await fanout(url, "pauses")).output == "Nothing is paused.\n"
    assert (await fanout(url, "resume", "--all", "--yes")).exit_code == 1


async def test_a_class_and_everything_can_be_paused_without_an_end(url: str) -> None:
    await fanout(url, "pause", "--class", "broadcast", "--yes")
    await fanout(url, "pause", "--all", "--yes")
    items = json.loads((await fanout(url, "pauses", "--json")).output)["items"]
    assert [(item["target"], item["until"]) for item in items] == [("class:broadcast", None), ("all", None)]
    assert "resumed" in (await fanout(url, "pauses")).output


async def test_an_endpoint_alone_means_all_of_it_and_a_wrong_one_is_refused_with_the_known_ones(url: str) -> None:
    paused = await fanout(url, "pause", "--endpoint", "default", "--yes")
    assert paused.stderr.startswith("This holds back everything at endpoint default: 0 entries")
    assert "all@default" in paused.stdout
    narrowed = await fanout(url, "pause", "--hub", "chat", "--endpoint", "default", "--yes")
    assert "hub:chat@default" in narrowed.stdout
    wrong = await fanout(url, "pause", "--endpoint", "west", "--yes")
    assert (wrong.exit_code, "known: default." in wrong.output) == (2, True)
    assert (await fanout(url, "resume", "--endpoint", "default", "--yes")).stdout == "2 pauses lifted.\n"


async def test_on_the_port_of_callers_it_says_how_to_name_the_other() -> None:
    async with served(an_app(api_key=KEY, admin_port=9999)) as callers:
        answer = await fanout(callers, "pauses")
    assert (answer.exit_code, "with --url or FANOUT_ADMIN_URL" in answer.output) == (2, True)


@pytest.mark.parametrize(
    "arguments", [("pause",), ("resume",), ("pause", "--hub", "chat", "--all"), ("pause", "--all", "--for", "soon")]
)
async def test_what_to_pause_has_to_be_clear(url: str, arguments: tuple[str, ...]) -> None:
    answer = await fanout(url, *arguments)
    assert answer.exit_code == 2
    assert (await fanout(url, "pauses")).output == "Nothing is paused.\n"


async def test_the_words_of_the_ingress_are_printed_when_it_refuses(url: str) -> None:
    answer = await fanout(url, "pause", "--hub", "no hub")
    assert answer.exit_code == 2
    assert "hub" in answer.output
    refused = await fanout(url, "pauses", key="the-key-of-somebody-else")
    assert refused.exit_code == 2
    assert "FANOUT_API_KEY" in refused.output
