"""What workers tell each other about the service's limits, on every kind of store."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest

from fanout.clock import SystemClock
from fanout.queue import keys
from fanout.queue.signals import Signal, Signals
from fanout.redis.client import RedisClient
from fanout.redis.open import open_redis
from tests.redis_kinds import Store, opened
from tests.workers.crew import until

# A connection that is given up in the middle of a blocking read is aborted, and its transport closes some turns of the
# loop later: the loop of a test may have ended by then, which says nothing about the code.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


SLOW = Signal(route_class=1, pause=3.5, rate=120.25, factor=0.97, asked=True)


@dataclass
class Ear:
    """What one worker heard, and when."""

    heard: list[tuple[float, Signal]] = field(default_factory=list)

    def __call__(self, signal: Signal) -> None:
        self.heard.append((time.monotonic(), signal))

    @property
    def signals(self) -> list[Signal]:
        return [signal for _when, signal in self.heard]


def all_heard(ears: Sequence[Ear], count: int) -> bool:
    return all(len(ear.heard) == count for ear in ears)


@asynccontextmanager
async def talking(signals: Signals, ear: Ear) -> AsyncIterator[None]:
    """Have one worker tell and hear for the block, which begins when it has asked what is running."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(signals.run_telling()), group.create_task(signals.run_hearing(ear))]
        await until(lambda: bool(signals._last))
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()


async def test_a_slowdown_told_by_one_is_heard_by_all_others_within_a_tenth_of_a_second(
    redis_client: RedisClient, store: Store
) -> None:
    async with opened(store.url) as second, opened(store.url) as third:
        tellers = [Signals(each, SystemClock(), worker=f"w{n}") for n, each in enumerate((redis_client, second, third))]
        ears = [Ear(), Ear(), Ear()]
        async with talking(tellers[0], ears[0]), talking(tellers[1], ears[1]), talking(tellers[2], ears[2]):
            tellers[0].tell(SLOW)  # connects: the first words may be late
            await until(lambda: bool(ears[1].heard and ears[2].heard))
            delays = []
            for count in range(2, 12):
                told = time.monotonic()
                tellers[0].tell(SLOW)
                await until(partial(all_heard, ears[1:], count))
                delays += [ear.heard[-1][0] - told for ear in ears[1:]]
    assert ears[1].signals == ears[2].signals == [SLOW] * 11
    assert ears[0].heard == []
    assert sorted(delays)[len(delays) // 2] < 0.1


async def test_all_that_was_told_at_once_is_heard_in_order(redis_client: RedisClient, store: Store) -> None:
    ear, told = Ear(), [Signal(number % 3, 1.0, float(number), 1.0, asked=False) for number in range(100)]
    async with opened(store.url) as other:
        hearer, teller = Signals(other, SystemClock(), worker="h"), Signals(redis_client, SystemClock(), worker="t")
        async with talking(hearer, ear), talking(teller, Ear()):
            for signal in told:
                teller.tell(signal)
            await until(lambda: len(ear.heard) == 100)
    assert ear.signals == told


async def test_who_starts_late_hears_the_pauses_that_still_run_and_how_long_they_will(
    redis_client: RedisClient, store: Store
) -> None:
    async with opened(store.url) as other:
        teller = Signals(redis_client, SystemClock(), worker="t")
        async with talking(teller, Ear()):
            teller.tell(Signal(0, 0.05, 10.0, 0.97, asked=False))
            teller.tell(Signal(1, 30.0, 20.0, 0.97, asked=True))
            await until_told(redis_client, 2)
        await asyncio.sleep(0.2)  # the time that has to pass is the store's
        ear, late = Ear(), Signals(other, SystemClock(), worker="l")
        async with talking(late, ear):
            await until(lambda: bool(ear.heard))
    (signal,) = ear.signals
    assert (signal.route_class, signal.rate, signal.asked) == (1, 20.0, True)
    assert 20.0 < signal.pause <= 29.85


async def until_told(redis_client: RedisClient, count: int) -> None:
    """Wait for so many signals in the store."""
    async with asyncio.timeout(5):
        while await redis_client.ask("XLEN", keys.SIGNALS) < count:  # noqa: ASYNC110 - the store tells nobody
            await asyncio.sleep(0.01)


async def test_shares_are_of_what_the_others_want_by_class(redis_client: RedisClient) -> None:
    demands = {"a": [1.0, 5.0, 0.0], "b": [0.0, 2.0, 3.0], "c": [4.0, 0.5, 0.0]}
    heard: dict[str, Sequence[float]] = {}
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(
                Signals(redis_client, SystemClock(), worker=name).run_sharing(
                    lambda name=name: demands[name],  # type: ignore[misc]  # mypy infers no lambda with a default
                    lambda others, name=name: heard.__setitem__(name, list(others)),  # type: ignore[misc]  # same
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


async def test_a_worker_that_says_nothing_any_more_has_no_demand_after_a_while(redis_client: RedisClient) -> None:
    gone = str(int(time.time() * 1000) - 1000)
    await redis_client.ask("HSET", keys.DEMAND, "dead", f"{gone}:9,9,9", "other version", f"{gone}0:1")
    heard: list[Sequence[float]] = []
    async with asyncio.TaskGroup() as group:
        sharing = Signals(redis_client, SystemClock(), worker="w").run_sharing(lambda: [1.0, 1.0, 1.0], heard.append)
        task = group.create_task(sharing)
        await until(lambda: bool(heard))
        task.cancel()
    assert heard[0] == [0.0, 0.0, 0.0]
    assert await redis_client.ask("HEXISTS", keys.DEMAND, "dead") == 0


async def test_while_the_store_is_down_the_last_share_stands_and_nothing_falls(tmp_path: Path) -> None:
    redis_client = open_redis(f"unix://{tmp_path / 'none.sock'}", SystemClock())
    signals, ear, shared = Signals(redis_client, SystemClock(), worker="w"), Ear(), list[Sequence[float]]()
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(signals.run_telling()),
            group.create_task(signals.run_hearing(ear)),
            group.create_task(signals.run_sharing(lambda: [1.0], shared.append)),
        ]
        for _ in range(3):
            signals.tell(SLOW)
            await until(lambda: "0 to tell" in repr(signals))
            await asyncio.sleep(0.2)
        assert not any(task.done() for task in tasks)
        for task in tasks:
            task.cancel()
    assert (ear.heard, shared) == ([], [])


async def test_no_more_is_kept_than_is_needed(redis_client: RedisClient) -> None:
    signals = Signals(redis_client, SystemClock(), worker="w")
    async with talking(signals, Ear()):
        for _ in range(2000):
            signals.tell(SLOW)
        await until_told(redis_client, 900)
        await redis_client.ask("PING")
    assert await redis_client.ask("XLEN", keys.SIGNALS) < 1300


@pytest.mark.parametrize("factor", [0.0, 0.123456789, 1.0])
async def test_numbers_travel_as_they_are(redis_client: RedisClient, store: Store, factor: float) -> None:
    signal, ear = Signal(2, 1 / 3, 1e-3, factor, asked=False), Ear()
    async with opened(store.url) as other:
        hearer, teller = Signals(other, SystemClock(), worker="h"), Signals(redis_client, SystemClock(), worker="t")
        async with talking(hearer, ear), talking(teller, Ear()):
            teller.tell(signal)
            await until(lambda: bool(ear.heard))
    assert ear.signals == [signal]
