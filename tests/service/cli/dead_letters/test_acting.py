"""`fanout dead-letters replay | purge`, as an operator types it, against a real ingress."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

import pytest
from click.testing import CliRunner, Result

from fanout.errors import QueueError, QueueFullError
from fanout.queue.dead_letters import DeadLetters, LetterKey
from fanout.queue.entry import decode
from fanout.redis.client import RedisClient
from service.admin.dead_letters import batches as work
from service.cli.main import main
from tests.service.admin.dead_letters.parked import an_admin_app, park, parked_count, queued
from tests.service.apps import served

pytestmark = pytest.mark.slow


@pytest.fixture
async def url(one_redis: RedisClient) -> AsyncIterator[str]:
    """A real ingress for callers on this machine."""
    async with served(an_admin_app(one_redis)) as url:
        yield url


async def fanout(url: str, *arguments: str, text: str | None = None) -> Result:
    """Run `fanout dead-letters` in a thread of its own beside the ingress's loop; `text` is what is typed."""
    command = ["dead-letters", *arguments, "--url", url]
    return await asyncio.to_thread(CliRunner().invoke, main, command, input=text)


@pytest.mark.parametrize(
    ("action", "question", "told"),
    [
        ("replay", "Replay 2 dead letters?", "2 dead letters replayed."),
        ("purge", "Delete", "2 dead letters deleted."),
    ],
)
async def test_what_is_meant_is_counted_and_confirmed(
    one_redis: RedisClient, url: str, action: str, question: str, told: str
) -> None:
    for number in range(3):
        await park(one_redis, to=str(number), reason="tooOld" if number else "refused")
    result = await fanout(url, action, "--reason", "tooOld", text="y\n")
    assert (result.exit_code, result.stdout) == (0, f"{told}\n")
    assert question in result.stderr
    assert (await parked_count(one_redis), len(await queued(one_redis))) == (1, 2 if action == "replay" else 0)


@pytest.mark.parametrize("text", ["n\n", "\n", ""])
@pytest.mark.parametrize("action", ["replay", "purge"])
async def test_without_a_yes_nothing_happens(one_redis: RedisClient, url: str, action: str, text: str) -> None:
    await park(one_redis)
    result = await fanout(url, action, "--all", text=text)
    assert (result.exit_code, result.stdout) == (1, "")
    assert (await parked_count(one_redis), await queued(one_redis)) == (1, [])


@pytest.mark.parametrize("action", ["replay", "purge"])
async def test_a_dry_run_counts_and_does_nothing(one_redis: RedisClient, url: str, action: str) -> None:
    names = [await park(one_redis, to=str(number)) for number in range(3)]
    every = await fanout(url, action, "--all", "--dry-run")
    named = await fanout(url, action, names[0], "0:1-0", "--dry-run", "--json")
    limited = await fanout(url, action, "--hub", "chat", "--limit", "2", "--dry-run")
    assert (every.exit_code, every.stdout) == (0, "3 dead letters selected.\n")
    assert list(json.loads(named.stdout).values()) == [1, 0]
    assert limited.stdout == "2 dead letters selected.\n"
    assert await parked_count(one_redis) == 3


async def test_ids_are_sent_again_once_each(one_redis: RedisClient, url: str) -> None:
    names = [await park(one_redis, message_id=f"m{number}") for number in range(3)]
    result = await fanout(url, "replay", names[2], names[0], names[2], "--yes")
    again = await fanout(url, "replay", names[0], "--yes")
    assert (result.exit_code, result.stdout) == (0, "2 dead letters replayed.\n")
    assert (again.exit_code, again.stderr) == (1, "There are none.\n")
    assert [decode(data, "").message_id for data in await queued(one_redis)] == ["m0", "m2"]


async def test_an_order_goes_on_over_as_many_requests_as_it_takes(one_redis: RedisClient, url: str) -> None:
    """A request does ten thousand at most, and takes a thousand ids."""
    rows = [
        ("XADD", "fanout:{1}:dead", f"{number}-1", "entry", "e", "flow", "fanout:{1}:q:uchat", "reason", "refused")
        for number in range(1, 12_001)
    ]
    for start in range(0, len(rows), 2000):
        await one_redis.call(*rows[start : start + 2000])
    some = await fanout(url, "replay", *(f"1:{number}-1" for number in range(1, 1501)), "--yes")
    rest = await fanout(url, "purge", "--reason", "refused", "--yes")
    assert some.stdout == "1500 dead letters replayed.\n"
    assert rest.stdout == "10500 dead letters deleted.\n"
    assert (await parked_count(one_redis), len(await queued(one_redis))) == (0, 1500)


@pytest.mark.parametrize(
    "arguments",
    [[], ["--all", "--hub", "chat"], ["0:1-0", "--all"], ["0:1-0", "--hub", "chat"], ["0:1-0", "--limit", "1"]],
)
@pytest.mark.parametrize("action", ["replay", "purge"])
async def test_what_names_nothing_or_two_things_is_a_wrong_call(action: str, arguments: list[str]) -> None:
    result = await fanout("http://127.0.0.1:1", action, *arguments, "--yes")
    assert result.exit_code == 2
    assert "IDs" in result.stderr


async def test_what_is_parked_after_the_count_is_left_alone(one_redis: RedisClient) -> None:
    """Between the question and the answer another letter is parked; the answer was not about it."""

    class Parking(DeadLetters):
        counted = 0

        async def scan(self, *args: object) -> object:  # type: ignore[override] # it only passes on
            pages = await super().scan(*args)  # type: ignore[arg-type] # it only passes on
            if not self.counted:
                await park(one_redis, to="late", message_id="late")
            self.counted += 1
            return pages

    await park(one_redis, "1000-0")
    app = replace(an_admin_app(one_redis), dead_letters=Parking(one_redis))
    async with served(app) as url:
        result = await fanout(url, "purge", "--all", "--yes")
    assert result.stdout == "1 dead letter deleted.\n"
    assert await parked_count(one_redis) == 1


async def test_what_was_done_is_told_when_the_store_refuses_the_rest(
    one_redis: RedisClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work, "BATCH_SIZE", 100)

    class Filling(DeadLetters):
        calls = 0

        async def replay(self, keys: Sequence[LetterKey]) -> list[bytes | QueueError | None]:
            self.calls += 1
            return await super().replay(keys) if self.calls == 1 else [QueueFullError("Redis is full.")] * len(keys)

    for number in range(150):
        await park(one_redis, to=str(number))
    app = replace(an_admin_app(one_redis), dead_letters=Filling(one_redis))
    async with served(app) as url:
        result = await fanout(url, "replay", "--all", "--yes")
        named = await fanout(url, "replay", "--all", "--yes")
    assert (result.exit_code, result.stdout) == (2, "100 dead letters replayed.\n")
    assert result.stderr == "fanout: Redis is full. Run the command again to continue.\n"
    assert (named.exit_code, named.stdout, named.stderr) == (2, "", "fanout: Redis is full.\n")
    assert await parked_count(one_redis) == 50
