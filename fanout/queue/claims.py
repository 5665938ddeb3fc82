"""Decides what an Idempotency-Key stands for: the first body that it was used with in a hub, for one window.

On one server one place decides. On a Cluster a key has three places, each in another third of the slots, and two that
agree decide. So one node that does not answer delays no request by more than `_PATIENCE` whose items go elsewhere.

Rules guarded: each place keeps the first body that it was asked for, and any two of three have one in common with any
other two, so never are two bodies accepted under one key. A body is refused only where two places keep another one, so
what one of them was left with by a request that failed refuses nobody. The places follow from the key and the number of
partitions alone: all processes have to agree on them, whatever each knows of the nodes.
"""

import asyncio
from collections.abc import Callable, Coroutine, Hashable, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import Any, Final

from fanout.clock import Clock
from fanout.errors import QueueError
from fanout.queue.keys import Keys, partition_of
from fanout.queue.remembered import idempotency_mark, short
from fanout.queue.worker_scripts import CLAIM
from fanout.redis.client import Argument, RedisClient
from fanout.redis.slots import COUNT, slot_of

_MAJORITY: Final = 2
_PATIENCE: Final = 0.05  # seconds after which the third place is asked: many times what a node in good health takes
_SHUNNED: Final = 1.0  # seconds for which a node that took longer is not among the first two that are asked


@lru_cache(maxsize=1024)
def places_of(partition: int, partitions: int) -> tuple[int, ...]:
    """Return the three partitions that keep the keys of `partition`, or it alone where these would not be apart."""
    slots = [slot_of(f"{{{number}}}") for number in range(partitions)]
    third = slots[partition] * 3 // COUNT
    places = [partition]
    for step in (1, 2):
        apart = [number for number in range(partitions) if slots[number] * 3 // COUNT == (third + step) % 3]
        if not apart:
            return (partition,)
        ideal = slots[partition] + step * COUNT // 3
        places.append(min(apart, key=lambda number: _distance(slots[number], ideal)))
    return tuple(places)


def _distance(slot: int, ideal: int) -> int:
    away = (slot - ideal) % COUNT
    return min(away, COUNT - away)


class Claims:
    """The keys of one queue. `window` is in milliseconds."""

    def __init__(self, redis_client: RedisClient, clock: Clock, keys: Keys, *, partitions: int, window: int) -> None:
        self._redis = redis_client
        self._clock = clock
        self._keys = keys
        self._partitions = partitions
        self._window = window
        self._shunned: dict[Hashable, float] = {}  # nodes, each with the time until which it is

    def __repr__(self) -> str:
        return f"<Claims in {self._partitions} partitions>"

    async def claim(self, hub: str, key: str, fingerprint: bytes) -> bool:
        """Remember the body a key stands for; False when it stands for another one."""
        arguments: list[Argument] = [idempotency_mark(hub, key), short(fingerprint), self._window]
        partition = partition_of(f"{hub}\n{key}", self._partitions)
        places = places_of(partition, self._partitions) if self._redis.is_cluster else (partition,)
        if len(places) == 1:
            return await self._ask(partition, arguments)
        now = self._clock.monotonic()
        ordered = sorted(places, key=lambda place: self._shunned.get(self._node_of(place), now) > now)
        return await self._vote(ordered, arguments)

    async def _vote(self, places: Sequence[int], arguments: Sequence[Argument]) -> bool:
        poll = Poll(lambda place: self._ask(place, arguments))
        async with asyncio.TaskGroup() as tasks:
            asked = [tasks.create_task(poll.ask(place)) for place in places[:_MAJORITY]]
            with suppress(TimeoutError):
                async with self._clock.timeout(_PATIENCE):
                    await poll.wait(_MAJORITY)
            self._shun(places[:_MAJORITY], poll.answered)
            if poll.verdict is None:
                asked += [tasks.create_task(poll.ask(place)) for place in places[_MAJORITY:]]
                await poll.wait(len(places))
            for task in asked:
                task.cancel()
        return poll.result()

    def _shun(self, places: Sequence[int], answered: set[int]) -> None:
        for place in places:
            if place in answered:
                self._shunned.pop(self._node_of(place), None)
            else:
                self._shunned[self._node_of(place)] = self._clock.monotonic() + _SHUNNED

    def _node_of(self, place: int) -> Hashable:
        return self._redis.node_of(self._keys.seen(place))

    async def _ask(self, place: int, arguments: Sequence[Argument]) -> bool:
        return bool(await self._redis.run(CLAIM, [self._keys.seen(place)], arguments))


class Poll:
    """What the places of one key say. `ask` asks one of them."""

    def __init__(self, ask: Callable[[int], Coroutine[Any, Any, bool]]) -> None:
        self._ask = ask
        self._votes: list[bool] = []
        self._errors: list[QueueError] = []
        self._news = asyncio.Event()
        self.answered: set[int] = set()

    def __repr__(self) -> str:
        return f"<Poll {self._votes}, {len(self._errors)} errors>"

    @property
    def verdict(self) -> bool | None:
        """What a majority says; None where there is none."""
        return next((vote for vote in (True, False) if self._votes.count(vote) >= _MAJORITY), None)

    def result(self) -> bool:
        """Return what a majority says; raise the first error where there is none."""
        verdict = self.verdict
        if verdict is None:
            raise self._errors[0]
        return verdict

    async def ask(self, place: int) -> None:
        """Ask one place and count what it says."""
        try:
            self._votes.append(await self._ask(place))
            self.answered.add(place)
        except QueueError as error:
            self._errors.append(error)
        self._news.set()

    async def wait(self, count: int) -> None:
        """Wait until a majority says the same, or until `count` places said something or failed."""
        while self.verdict is None and len(self._votes) + len(self._errors) < count:
            self._news.clear()
            await self._news.wait()
