"""The pace that workers share, on every kind of store."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from math import inf
from pathlib import Path

import pytest

from fanout.clock import SystemClock
from fanout.queue.keys import KEYS
from fanout.queue.pace_channel import PaceChannel, PaceNotice
from fanout.redis.client import RedisClient
from fanout.redis.open import open_redis
from tests.redis_kinds import Store, opened
from tests.workers.helpers import until

# A connection that is given up in the middle of a blocking read is aborted, and its transport closes some turns of the
# loop later: the loop of a test may have ended by then, which says nothing about the code.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


SLOW = PaceNotice(
    route_class=1, pause=3.5, rate=120.25, taken=100.5, refused=inf, share=0.125, asked=True, is_test=True
)


@dataclass
class Listener:
    """The notices one worker received, and when."""

    received: list[tuple[float, PaceNotice]] = field(default_factory=list)

    def __call__(self, notice: PaceNotice) -> None:
        self.received.append((time.monotonic(), notice))

    @property
    def notices(self) -> list[PaceNotice]:
        return [notice for _when, notice in self.received]


def all_received(listeners: Sequence[Listener], count: int) -> bool:
    return all(len(listener.received) == count for listener in listeners)


@asynccontextmanager
async def exchanging(pace_channel: PaceChannel, listener: Listener) -> AsyncIterator[None]:
    """Run one worker's end for the block, which begins when it has asked what is running."""
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(pace_channel.run_publishing()),
            group.create_task(pace_channel.run_receiving(listener)),
        ]
        await until(lambda: bool(pace_channel._last))
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()


async def test_a_slowdown_of_one_worker_reaches_all_others_within_a_tenth_of_a_second(
    redis_client: RedisClient, store: Store
) -> None:
    async with opened(store.url) as second, opened(store.url) as third:
        publishers = [
            PaceChannel(each, SystemClock(), worker=f"w{n}") for n, each in enumerate((redis_client, second, third))
        ]
        listeners = [Listener(), Listener(), Listener()]
        async with (
            exchanging(publishers[0], listeners[0]),
            exchanging(publishers[1], listeners[1]),
            exchanging(publishers[2], listeners[2]),
        ):
            publishers[0].publish(SLOW)  # connects: the first notice may be late
            await until(lambda: bool(listeners[1].received and listeners[2].received))
            delays = []
            for count in range(2, 12):
                sent = time.monotonic()
                publishers[0].publish(SLOW)
                await until(partial(all_received, listeners[1:], count))
                delays += [listener.received[-1][0] - sent for listener in listeners[1:]]
    assert listeners[1].notices == listeners[2].notices == [SLOW] * 11
    assert listeners[0].received == []
    assert min(delays) < 0.1  # a busy machine delays some of them


async def test_notices_published_at_once_arrive_in_order(redis_client: RedisClient, store: Store) -> None:
    listener = Listener()
    sent = [PaceNotice(number % 3, 1.0, float(number), 0.0, inf, 0.0, asked=False) for number in range(100)]
    async with opened(store.url) as other:
        receiver, publisher = (
            PaceChannel(other, SystemClock(), worker="h"),
            PaceChannel(redis_client, SystemClock(), worker="t"),
        )
        async with exchanging(receiver, listener), exchanging(publisher, Listener()):
            for notice in sent:
                publisher.publish(notice)
            await until(lambda: len(listener.received) == 100)
    assert listener.notices == sent


async def test_a_worker_that_starts_late_learns_the_pauses_still_running_and_for_how_long(
    redis_client: RedisClient, store: Store
) -> None:
    async with opened(store.url) as other:
        publisher = PaceChannel(redis_client, SystemClock(), worker="t")
        async with exchanging(publisher, Listener()):
            publisher.publish(PaceNotice(0, 0.05, 10.0, 0.0, inf, 0.0, asked=False))
            publisher.publish(PaceNotice(1, 30.0, 20.0, 0.0, inf, 0.0, asked=True))
            await until_stored(redis_client, 2)
        await asyncio.sleep(0.2)  # the time that has to pass is the store's
        listener, late = Listener(), PaceChannel(other, SystemClock(), worker="l")
        async with exchanging(late, listener):
            await until(lambda: bool(listener.received))
    (notice,) = listener.notices
    assert (notice.route_class, notice.rate, notice.asked) == (1, 20.0, True)
    assert 20.0 < notice.pause <= 29.85


async def until_stored(redis_client: RedisClient, count: int) -> None:
    """Wait for so many notices in the store."""
    async with asyncio.timeout(5):
        while await redis_client.ask("XLEN", KEYS.pace_notices()) < count:  # noqa: ASYNC110 - the store tells nobody
            await asyncio.sleep(0.01)


async def test_shares_are_of_what_the_others_want_by_class(redis_client: RedisClient) -> None:
    demands = {"a": [1.0, 5.0, 0.0], "b": [0.0, 2.0, 3.0], "c": [4.0, 0.5, 0.0]}
    heard: dict[str, Sequence[float]] = {}
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(
                PaceChannel(redis_client, SystemClock(), worker=name).run_exchanging_demand(
                    lambda name=name: demands[name],  # type: ignore[misc]  # mypy infers no lambda with a default
                    lambda others, name=name: heard.__setitem__(name, list(others)),  # type: ignore[misc]  # mypy infers no lambda with a default
                )
            )
            for name in demands
        ]
        total = [sum(column) for column in zip(*demands.values(), strict=True)]

        def whole(name: str) -> bool:
            theirs, mine = heard.get(name, [0.0] * 3), demands[name]
            return [other + own for other, own in zip(theirs, mine, strict=True)] == total

        await until(lambda: all(map(whole, demands)))
        for task in tasks:
            task.cancel()


async def test_the_demand_of_a_worker_that_fell_silent_expires(redis_client: RedisClient) -> None:
    gone = str(int(time.time() * 1000) - 1000)
    await redis_client.ask("HSET", KEYS.demand(), "dead", f"{gone}:9,9,9", "other version", f"{gone}0:1")
    heard: list[Sequence[float]] = []
    async with asyncio.TaskGroup() as group:
        sharing = PaceChannel(redis_client, SystemClock(), worker="w").run_exchanging_demand(
            lambda: [1.0, 1.0, 1.0], heard.append
        )
        task = group.create_task(sharing)
        await until(lambda: bool(heard))
        task.cancel()
    assert heard[0] == [0.0, 0.0, 0.0]
    assert await redis_client.ask("HEXISTS", KEYS.demand(), "dead") == 0


async def test_while_the_store_is_down_the_last_share_stands_and_nothing_falls(tmp_path: Path) -> None:
    redis_client = open_redis(f"unix://{tmp_path / 'none.sock'}", SystemClock())
    pace_channel, listener, shared = (
        PaceChannel(redis_client, SystemClock(), worker="w"),
        Listener(),
        list[Sequence[float]](),
    )
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(pace_channel.run_publishing()),
            group.create_task(pace_channel.run_receiving(listener)),
            group.create_task(pace_channel.run_exchanging_demand(lambda: [1.0], shared.append)),
        ]
        for _ in range(3):
            pace_channel.publish(SLOW)
            await until(lambda: "0 to send" in repr(pace_channel))
            await asyncio.sleep(0.2)
        assert not any(task.done() for task in tasks)
        for task in tasks:
            task.cancel()
    assert (listener.received, shared) == ([], [])


async def test_no_more_is_kept_than_is_needed(redis_client: RedisClient) -> None:
    pace_channel = PaceChannel(redis_client, SystemClock(), worker="w")
    async with exchanging(pace_channel, Listener()):
        for _ in range(2000):
            pace_channel.publish(SLOW)
        await until_stored(redis_client, 900)
        await redis_client.ask("PING")
    assert await redis_client.ask("XLEN", KEYS.pace_notices()) < 1300


@pytest.mark.parametrize("number", [0.0, 0.123456789, inf])
async def test_numbers_travel_as_they_are(redis_client: RedisClient, store: Store, number: float) -> None:
    notice, listener = PaceNotice(2, 1 / 3, 1e-3, number, number, 0.1, asked=False), Listener()
    async with opened(store.url) as other:
        receiver, publisher = (
            PaceChannel(other, SystemClock(), worker="h"),
            PaceChannel(redis_client, SystemClock(), worker="t"),
        )
        async with exchanging(receiver, listener), exchanging(publisher, Listener()):
            publisher.publish(notice)
            await until(lambda: bool(listener.received))
    assert listener.notices == [notice]
