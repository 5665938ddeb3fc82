"""Flows that nobody uses any more, on every kind of server: they leave the store and memory, and can come back."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager

import pytest
from msgspec import structs

from fanout.clock import SystemClock
from fanout.errors import QueueError
from fanout.metrics import Metrics
from fanout.queue.dead_letters import DeadLetters
from fanout.queue.entry import Submission
from fanout.queue.keys import KEYS
from fanout.queue.presence import Presence
from fanout.queue.stream import Stream
from fanout.redis.client import RedisClient
from tests.builders import a_message, an_entry
from tests.fakes import FakeClock
from tests.queue_layout import flows_of
from tests.workers.helpers import Lines, a_flow, a_partition, taken, text_of, until
from workers.partition import OwnedPartition
from workers.pruner import _MOST, Pruner, _choose
from workers.reader import Reader
from workers.schedule import Schedule
from workers.settler import Settler
from workers.sweeps import Sweeps

INTERVAL = 30.0
HUBS = ("one", "two", "three")


async def nothing() -> None:
    """Let nothing happen."""


class Interrupted(Stream):
    """A queue in which something happens after the step that deletes streams and before its answer."""

    def __init__(self, redis_client: RedisClient) -> None:
        super().__init__(redis_client, SystemClock(), partitions=1, max_bytes=1 << 30, dedup_window=60.0)
        self.meanwhile: Callable[[], Awaitable[None]] = nothing
        self.rounds = 0
        self.failures = 0

    async def prune(self, partition: int, token: str, flows: Collection[str], idle: float) -> list[str] | None:
        if self.failures:
            self.failures -= 1
            raise QueueError("the store is away")
        pruned = await super().prune(partition, token, flows, idle)
        await self.meanwhile()
        self.rounds += 1
        return pruned


class Rig:
    """A reader of the one partition, with its pruner."""

    def __init__(self, redis_client: RedisClient) -> None:
        self.redis_client = redis_client
        self.clock, self.stream, self.lanes, self.lines = FakeClock(), Interrupted(redis_client), Schedule(), Lines()
        metrics = Metrics()
        settler = Settler(self.stream, DeadLetters(redis_client), self.clock, metrics)
        sweeps = Sweeps(Presence(redis_client), self.lanes, settler, self.clock, metrics, bound=1.0)
        self.pruner = Pruner(self.stream, self.clock, idle=-60.0, interval=INTERVAL)
        self.reader = Reader(self.stream, self.lanes, settler, sweeps, self.pruner, self.clock, metrics, self.lines.log)

    async def put(self, *hubs: str, text: str = "x", endpoint: str = "") -> None:
        entries = [an_entry(a_message(text=text), hub=hub) for hub in hubs]
        await self.stream.append([Submission(structs.replace(entry, endpoint=endpoint)) for entry in entries])

    async def delivered(self, count: int) -> list[str]:
        """Deliver and settle `count` entries; return their texts."""
        texts: list[str] = []
        await until(lambda: self.lanes.waiting >= count)
        for _ in range(count):
            lane = self.lanes.take(self.clock.monotonic())
            assert lane is not None
            texts.append(text_of(lane.head.entry))
            await self.redis_client.ask("XDEL", KEYS.stream(0, lane.flow.name), lane.head.id)
            lane.flow.known.discard(lane.head.id)
            self.lanes.advance(lane)
        return texts

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[OwnedPartition]:
        [owned] = await taken(self.redis_client, self.clock, 0)
        async with asyncio.TaskGroup() as group:
            task = group.create_task(self.reader.run(owned, lambda: None))
            yield owned
            task.cancel()

    async def round(self, owned: OwnedPartition) -> None:
        """Let the time of one round pass and wait for its end."""
        await until(lambda: not any(flow.behind for flow in owned.flows.values()))
        await until(lambda: self.clock.sleeping > 0)
        rounds = self.stream.rounds
        await self.clock.advance(INTERVAL)
        await until(lambda: self.stream.rounds > rounds and self.clock.sleeping > 0)


async def test_flows_that_come_and_go_leave_nothing_and_can_come_back(redis_client: RedisClient) -> None:
    rig = Rig(redis_client)
    await rig.put(*HUBS)
    async with rig.reading() as owned:
        await rig.delivered(2)
        await rig.round(owned)
        [last] = owned.flows  # the one in which an entry waits
        assert await flows_of(redis_client, 0) == [last]
        await rig.delivered(1)
        await rig.round(owned)
        assert (owned.flows, await flows_of(redis_client, 0), rig.pruner.pruned) == ({}, [], 3)
        assert await redis_client.ask("EXISTS", *(KEYS.stream(0, f"u{hub}") for hub in HUBS)) == 0
        await rig.put("one", text="again")
        assert await rig.delivered(1) == ["again"]


@pytest.mark.parametrize("is_read", [False, True], ids=["not read yet", "read"])
async def test_what_comes_while_a_flow_is_pruned_is_delivered_once(redis_client: RedisClient, is_read: bool) -> None:
    rig = Rig(redis_client)
    await rig.put(*HUBS)

    async def meanwhile() -> None:
        rig.stream.meanwhile = nothing
        await rig.put(*HUBS, text="meanwhile")
        await until(lambda: not is_read or rig.lanes.waiting == len(HUBS))

    async with rig.reading() as owned:
        await rig.delivered(len(HUBS))
        rig.stream.meanwhile = meanwhile
        await rig.round(owned)
        assert await rig.delivered(len(HUBS)) == ["meanwhile"] * len(HUBS)
        await rig.put("one", text="last")  # what was read twice would stand before it
        assert await rig.delivered(1) == ["last"]
        assert rig.lanes.waiting == 0


async def test_flows_are_looked_for_again_after_they_were_forgotten(redis_client: RedisClient) -> None:
    """The word of what came meanwhile may have arrived while the flow was still known."""
    rig = Rig(redis_client)
    [owned] = await taken(redis_client, rig.clock, 0)
    a_flow(owned, "uone").behind = False
    known: list[list[str]] = []

    async def find_flows(owned: OwnedPartition) -> None:
        known.append(list(owned.flows))

    async with asyncio.TaskGroup() as group:
        running = group.create_task(rig.pruner.run(owned, find_flows))
        await rig.round(owned)
        running.cancel()
    assert known == [[]]


async def test_flows_of_an_endpoint_that_is_not_configured_are_pruned_when_they_are_empty(
    redis_client: RedisClient,
) -> None:
    rig = Rig(redis_client)
    await rig.put("one", endpoint="east")
    async with rig.reading() as owned:
        await until(lambda: owned.unknown_endpoints == {"east"})
        await rig.round(owned)
        assert owned.unknown_endpoints == {"east"}
        await redis_client.ask("XTRIM", KEYS.stream(0, "@uone@east"), "MAXLEN", 0)
        await rig.round(owned)
        assert not owned.unknown_endpoints
        assert await flows_of(redis_client, 0) == []
        await rig.put("one", endpoint="east")
        await until(lambda: owned.unknown_endpoints == {"east"})


async def test_a_round_that_fails_or_is_refused_forgets_nothing(redis_client: RedisClient) -> None:
    rig = Rig(redis_client)
    await rig.put("one")
    rig.stream.failures = 1
    async with rig.reading() as owned:
        await rig.delivered(1)
        await rig.clock.advance(INTERVAL)
        await until(lambda: not rig.stream.failures and rig.clock.sleeping > 0)
        token = await redis_client.ask("GETSET", KEYS.lease(0), "another:9")
        await rig.round(owned)
        assert (list(owned.flows), rig.pruner.pruned) == (["uone"], 0)
        await redis_client.ask("SET", KEYS.lease(0), token)
        await rig.round(owned)
        assert not owned.flows


def test_a_round_asks_for_so_many_flows_and_the_next_one_for_the_others() -> None:
    owned = a_partition()
    for number in range(2 * _MOST):
        flow = a_flow(owned, f"u{number}")
        flow.behind = number in (3, 4)
        flow.left = int(number == 5)
        flow.blocked = int(number == 7)
    a_flow(owned, "u6").known.add(b"1-0")
    owned.foreign.add("@uchat@east")
    seen: list[str] = []
    start = 0
    for expected in (_MOST, _MOST - 4, _MOST):
        chosen, start = _choose(owned, start)
        assert len(chosen) == expected
        seen += chosen
    assert set(seen) == {*owned.flows, "@uchat@east"} - {"u3", "u4", "u5", "u6", "u7"}
