"""One whole worker on a real store and a real HTTP server: how it delivers, and the order in which it ends."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

import pytest

from fanout.clock import SystemClock
from fanout.metrics import Metrics
from fanout.queue.dead_letters import DeadLetters
from fanout.queue.entry import FlowRead, Settled
from fanout.queue.keys import KEYS
from fanout.queue.leases import Leases
from fanout.queue.pace_channel import PaceChannel
from fanout.queue.pauses import Pauses
from fanout.queue.presence import Presence
from fanout.queue.stream import Stream
from fanout.redis.client import RedisClient
from fanout.redis.open import open_redis
from fanout.signalr.client import Sender
from tests.builders import a_message, a_submission
from tests.workers.helpers import PARTITIONS, Lines, until, users_in
from tests.workers.scripted_service import ACCEPTED, Received, ScriptedService, calling, scripted_service
from workers.bodies import Bodies
from workers.dispatch import Dispatcher
from workers.endpoint import Endpoint
from workers.flight import Flights
from workers.gate import Gate, Window
from workers.ownership import Ownership
from workers.partition import StoreClock
from workers.peers import Peers
from workers.pruner import Pruner
from workers.reader import Reader
from workers.retention import Retention
from workers.schedule import Schedule
from workers.settler import Settler
from workers.sweeps import Sweeps
from workers.telemetry import Telemetry
from workers.unclaimed import Unclaimed
from workers.verdicts import RetryPolicy
from workers.worker import Worker, warning_of

POLICY = RetryPolicy(base=0.01, cap=0.1, max_age=60.0, max_attempts=100, retry_unknown=True)


@pytest.fixture
async def redis_client(redis_url: str) -> AsyncIterator[RedisClient]:
    """One server is enough here."""
    redis_client = open_redis(redis_url, SystemClock())
    yield redis_client
    await redis_client.aclose()


class Broken(Stream):
    """A stream with a bug."""

    where = ""

    async def read(self, partition: int, after: Mapping[str, bytes], *, most: int) -> list[FlowRead]:
        if self.where == "read":
            raise RuntimeError("a mistake in reading")
        return await super().read(partition, after, most=most)

    async def settle(self, batches: Sequence[tuple[int, str, Sequence[Settled]]]) -> list[bool | None]:
        if self.where == "settle":
            raise RuntimeError("a mistake in settling")
        return await super().settle(batches)


class BrokenLeases(Leases):
    """Leases with a bug."""

    async def owners(self, partitions: int) -> dict[int, str]:
        raise RuntimeError("a mistake in sharing")


class Rig:
    """One worker and what it works with."""

    def __init__(
        self, redis_client: RedisClient, end: ScriptedService, worker: Worker, stream: Broken, lines: Lines
    ) -> None:
        self.redis_client = redis_client
        self.end = end
        self.worker = worker
        self.stream = stream
        self.lines = lines

    async def put(self, *users: str) -> None:
        await self.stream.append([a_submission(a_message(user)) for user in users])

    async def leases(self) -> int:
        return len(await Leases(self.redis_client, SystemClock(), worker="nobody", lifetime=1).owners(PARTITIONS))

    async def left(self) -> int:
        return sum((await self.stream.depth()).entries)


@asynccontextmanager
async def a_rig(
    redis_client: RedisClient,
    end: ScriptedService,
    *,
    grace: float = 5.0,
    lease: type[Leases] = Leases,
    concurrency: int = 4,
) -> AsyncIterator[Rig]:
    clock, metrics, lines, store_clock = SystemClock(), Metrics(), Lines(), StoreClock()
    stream = Broken(redis_client, clock, partitions=PARTITIONS, max_bytes=1 << 30, dedup_window=60.0)
    settler = Settler(stream, DeadLetters(redis_client), clock, metrics)
    gate, pace_channel = Gate(Window(concurrency), {}, lambda: 0.5), PaceChannel(redis_client, clock, worker="w")
    lanes = Schedule(held_until=gate.held_until)
    telemetry = Telemetry(metrics, lines.log, clock, store_clock)
    leases = lease(redis_client, clock, worker="w", lifetime=10.0)
    async with calling(end.port) as client:
        endpoint = Endpoint(client, Sender(client, clock, metrics), gate)
        peers = Peers({"": pace_channel}, Pauses(redis_client), [endpoint], lanes, clock, lines.log)
        sweeps = Sweeps(Presence(redis_client), lanes, settler, clock, metrics, bound=1.0)
        reader = Reader(stream, lanes, settler, sweeps, Pruner(stream, clock), clock, metrics, lines.log)
        bodies = Bodies(stream, clock, room=1_000_000)
        dispatcher = Dispatcher(
            Flights(lanes, {"": endpoint}, settler, bodies, sweeps, telemetry, POLICY, clock, lambda: 0.5, peers.tell)
        )
        ownership = Ownership(leases, lanes, store_clock, clock, lines.log, partitions=PARTITIONS)
        unclaimed = Unclaimed(stream, settler, telemetry, clock, metrics, lines.log, max_age=POLICY.max_age)
        retention = Retention(DeadLetters(redis_client), clock, metrics, lines.log, max_age=0)
        worker = Worker(
            ownership,
            reader,
            dispatcher,
            settler,
            sweeps,
            unclaimed,
            retention,
            peers,
            [],
            clock,
            lines.log,
            grace=grace,
        )
        yield Rig(redis_client, end, worker, stream, lines)


async def test_a_worker_delivers_what_is_in_the_queue_and_what_comes_and_ends_when_told(
    redis_client: RedisClient,
) -> None:
    async with scripted_service() as end, a_rig(redis_client, end) as rig, asyncio.TaskGroup() as group:
        await rig.put("alice", "bob")
        running = group.create_task(rig.worker.run())
        await until(lambda: len(end.received) == 2)
        await rig.put("carol")
        await until(lambda: len(end.received) == 3)
        await until(lambda: not rig.worker.dispatcher.in_flight)
        assert repr(rig.worker).startswith("<Worker <Ownership of [0, 1]")
        rig.worker.stop()
        await asyncio.wait_for(running, 5)
        assert (await rig.left(), await rig.leases()) == (0, 0)
    assert [line["in_flight"] for line in rig.lines.of("worker.draining")] == [0]


async def test_stopping_ends_reading_and_releases_leases_but_for_calls_that_are_finished_and_settled(
    redis_client: RedisClient,
) -> None:
    gate = asyncio.Event()

    async def answer(_request: Received) -> bytes:
        await gate.wait()
        return ACCEPTED

    [alice, bob] = users_in(0, 2)
    async with scripted_service(answer) as end, a_rig(redis_client, end) as rig, asyncio.TaskGroup() as group:
        await rig.put(alice, alice)
        running = group.create_task(rig.worker.run())
        await until(lambda: len(end.received) == 1)
        rig.worker.stop()
        await until(lambda: bool(rig.lines.of("worker.draining")))
        await rig.put(bob)
        await until(lambda: len(rig.worker.ownership) == 0)
        assert not running.done()
        assert await rig.leases() == 0
        assert await rig.left() == 3
        gate.set()
        await asyncio.wait_for(running, 5)
        assert len(end.received) == 1
        assert (await rig.left(), await rig.leases()) == (2, 0)
    events = [event for event, _fields in rig.lines.lines if event in {"delivery.settled", "lease.released"}]
    assert events == ["lease.released", "lease.released", "delivery.settled"]
    assert sorted(line["lanes_left"] for line in rig.lines.of("lease.released")) == [0, 1]
    assert rig.lines.of("delivery.settled")[0]["end"] == "delivered"
    assert rig.lines.of("worker.grace_over") == []


async def test_when_grace_is_over_calls_are_given_up_and_leases_released_all_the_same(
    redis_client: RedisClient,
) -> None:
    never = asyncio.Event()

    async def answer(_request: Received) -> bytes:
        await never.wait()
        return b""

    async with (
        scripted_service(answer) as end,
        a_rig(redis_client, end, grace=0.1) as rig,
        asyncio.TaskGroup() as group,
    ):
        await rig.put("alice")
        running = group.create_task(rig.worker.run())
        await until(lambda: len(end.received) == 1)
        rig.worker.stop()
        await asyncio.wait_for(running, 5)
        never.set()
        assert (await rig.left(), await rig.leases()) == (1, 0)
    assert [line["in_flight"] for line in rig.lines.of("worker.grace_over")] == [1]


async def test_a_worker_told_to_stop_before_it_began_ends(redis_client: RedisClient) -> None:
    async with scripted_service() as end, a_rig(redis_client, end) as rig:
        rig.worker.stop()
        await asyncio.wait_for(rig.worker.run(), 5)
        assert await rig.leases() == 0
        assert await redis_client.ask("ZCARD", KEYS.workers) == 0


@pytest.mark.parametrize("where", ["read", "settle"])
async def test_a_mistake_in_one_task_ends_all_of_them_and_is_raised(redis_client: RedisClient, where: str) -> None:
    async with scripted_service() as end, a_rig(redis_client, end) as rig:
        await rig.put("alice")
        rig.stream.where = where
        with pytest.raises(ExceptionGroup) as caught:
            await asyncio.wait_for(rig.worker.run(), 5)
        assert caught.value.subgroup(lambda error: "a mistake in" in str(error)) is not None


async def test_a_mistake_in_keeping_leases_ends_all_of_it(redis_client: RedisClient) -> None:
    async with scripted_service() as end, a_rig(redis_client, end, lease=BrokenLeases) as rig:
        with pytest.raises(ExceptionGroup, match="unhandled"):
            await asyncio.wait_for(rig.worker.run(), 5)


async def test_no_more_calls_are_in_flight_than_the_concurrency_says(redis_client: RedisClient) -> None:
    gate, busy = asyncio.Event(), list[int]()

    async def answer(_request: Received) -> bytes:
        busy.append(1)
        await gate.wait()
        return ACCEPTED

    async with (
        scripted_service(answer) as end,
        a_rig(redis_client, end, concurrency=3) as rig,
        asyncio.TaskGroup() as group,
    ):
        await rig.put(*(f"user{number}" for number in range(10)))
        running = group.create_task(rig.worker.run())
        await until(lambda: len(busy) == 3)
        await until(lambda: rig.worker.dispatcher.in_flight == 3)
        gate.set()
        await until(lambda: len(busy) == 10)
        rig.worker.stop()
        await running
        assert await rig.left() == 0


def test_the_warning_of_unknown_endpoints_names_some_and_says_what_becomes_of_what_waits() -> None:
    assert warning_of([]) == ""
    assert "(default, east); they stay in the queue" in warning_of({"east", ""})
    assert "dead letters when they are older than FANOUT_RETRY_MAX_AGE" in warning_of({"east"})
    many = warning_of([f"e{number:03}" for number in range(500)])
    assert "e015 and 484 more)" in many
    assert len(many) < 1000
