"""What an Idempotency-Key stands for on a Cluster: two of three places decide, whichever of them answer and when."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from random import Random
from typing import Any, cast

import pytest

from fanout.errors import QueueError, QueueSilentError
from fanout.queue import claims
from fanout.queue.claims import Claims, places_of
from fanout.queue.keys import KEYS
from fanout.redis.client import Argument, RedisClient, Script
from fanout.redis.slots import COUNT, slot_of
from tests.fakes import FakeClock

P = 16
ONE, OTHER = b"one body", b"another."
NAMES = {KEYS.seen(number): number for number in range(P)}


class Places:
    """Keeps the first body of each key in each place; `silent` ones do what they are asked, and do not answer."""

    is_cluster = True

    def __init__(self, clock: FakeClock, random: Random | None = None) -> None:
        self.clock = clock
        self.random = random
        self.kept: dict[tuple[int, Any], Any] = {}
        self.silent: set[int] = set()
        self.asked: list[int] = []

    def node_of(self, key: str) -> int:
        return NAMES[key]

    async def run(self, _script: Script, keys: Sequence[str], args: Sequence[Argument]) -> int:
        place = NAMES[keys[0]]
        self.asked.append(place)
        if self.random is not None:
            await self.clock.sleep(self.random.choice([0.001, 0.01, 0.04, 0.2]))
        is_silent = place in self.silent or (self.random is not None and self.random.random() < 0.2)
        if is_silent and (self.random is None or self.random.random() < 0.5):
            await self._end_silently()
        kept = self.kept.setdefault((place, args[0]), args[1])
        if is_silent:
            await self._end_silently()
        return int(kept == args[1])

    async def _end_silently(self) -> None:
        await self.clock.sleep(2.0)
        raise QueueSilentError("no answer")


class Bench:
    """Claims of one process, with virtual time."""

    def __init__(self, random: Random | None = None) -> None:
        self.clock = FakeClock()
        self.places = Places(self.clock, random)
        self.redis_client = cast("RedisClient", self.places)
        self.claims = Claims(self.redis_client, self.clock, KEYS, partitions=P, window=600_000)

    async def claim(self, fingerprint: bytes, *, key: str = "k", within: float = 0.0) -> bool:
        """Claim a key, which has to be decided within so many seconds."""
        task = asyncio.create_task(self.claims.claim("chat", key, fingerprint))
        await self.clock.advance(within)
        assert task.done()
        return await task

    @property
    def three(self) -> list[int]:
        """The places of the last key that was claimed, in the order in which they are asked."""
        return list(places_of(self.places.asked[0], P))


@pytest.mark.parametrize("nodes", [3, 4, 5, 6])
@pytest.mark.parametrize("partitions", [4, 12, 16, 64])
def test_the_places_of_a_key_are_on_three_nodes_of_equal_parts(nodes: int, partitions: int) -> None:
    for partition in range(partitions):
        places = places_of(partition, partitions)
        assert len({slot_of(f"{{{place}}}") * nodes // COUNT for place in places}) == 3


def test_where_there_are_too_few_partitions_one_place_decides() -> None:
    assert [places_of(number, 2) for number in range(2)] == [(0,), (1,)]


async def test_two_places_are_asked_and_keep_one_body() -> None:
    bench = Bench()
    assert await bench.claim(ONE)
    assert bench.places.asked == bench.three[:2]
    assert [await bench.claim(body) for body in (ONE, OTHER, ONE)] == [True, False, True]
    assert len(bench.places.asked) == 8


@pytest.mark.parametrize("position", [0, 1, 2])
async def test_a_silent_place_delays_by_little_and_only_once_in_a_while(position: int) -> None:
    bench = Bench()
    await bench.claim(ONE)
    bench.places.silent = {bench.three[position]}
    assert await bench.claim(ONE, within=0.05)
    assert await bench.claim(ONE)
    assert not await bench.claim(OTHER)
    await bench.clock.advance(1.0)  # from then on the place may be asked again
    assert await bench.claim(ONE, within=0.05)


async def test_what_a_request_that_failed_left_in_one_place_refuses_nobody() -> None:
    bench = Bench()
    await bench.claim(ONE)
    for kept in bench.places.kept:
        bench.places.kept[kept] = OTHER if kept[0] == bench.three[0] else ONE
    assert [await bench.claim(body) for body in (ONE, OTHER, ONE)] == [True, False, True]


async def test_two_silent_places_are_an_error() -> None:
    bench = Bench()
    await bench.claim(ONE)
    bench.places.silent = set(bench.three[1:])
    task = asyncio.create_task(bench.claims.claim("chat", "k", ONE))
    await bench.clock.advance(2.0)
    assert not task.done()
    await bench.clock.advance(0.05)
    with pytest.raises(QueueSilentError):
        await task


async def faults(seed: int) -> list[str]:
    """Return what went wrong when several processes used one key for two bodies, in an order made of a seed."""
    random = Random(seed)
    bench = Bench(random)
    others = [Claims(bench.redis_client, bench.clock, KEYS, partitions=P, window=600_000) for _ in range(2)]
    accepted: set[bytes] = set()
    found: list[str] = []

    async def claim(body: bytes) -> None:
        await bench.clock.sleep(random.random() * 3)
        was_accepted = body in accepted
        with suppress(QueueError):
            if await random.choice([bench.claims, *others]).claim("chat", "k", body):
                accepted.add(body)
            elif was_accepted:
                found.append("a repeat is refused")

    tasks = [asyncio.create_task(claim(random.choice([ONE, OTHER]))) for _ in range(8)]
    await bench.clock.advance(10.0)
    await asyncio.gather(*tasks)
    return found + ["two bodies are accepted"] * (len(accepted) - 1)


@pytest.mark.lengthy
async def test_two_bodies_are_never_accepted_under_one_key_and_no_repeat_is_refused() -> None:
    assert [await faults(seed) for seed in range(100)] == [[]] * 100


@pytest.mark.lengthy
async def test_places_that_decide_alone_are_found_by_that(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "_MAJORITY", 1)
    found = {fault for seed in range(100) for fault in await faults(seed)}
    assert found == {"two bodies are accepted", "a repeat is refused"}
