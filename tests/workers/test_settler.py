"""Taking entries out of the queue, on every kind of server."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from fanout.clock import SystemClock
from fanout.errors import QueueSilentError
from fanout.metrics import Metrics
from fanout.queue.dead_letters import DeadLetters, DeathCause
from fanout.queue.entry import Settled, StoredEntry, encode
from fanout.queue.keys import KEYS
from fanout.queue.stream import Stream
from fanout.redis.client import RedisClient
from fanout.redis.open import open_redis
from tests.builders import an_entry
from tests.fakes import FakeClock
from tests.queue_layout import USERS, put
from tests.workers.helpers import PARTITIONS, a_flow, a_partition, taken, until
from workers.partition import BufferedEntry, OwnedPartition
from workers.settler import Settler

CAUSE = DeathCause("refused", 400, 1, "status 400")


class Watched(Stream):
    """A stream that counts settlements, holds them up at a gate, and answers nothing while `silent`."""

    def __init__(self, redis_client: RedisClient) -> None:
        super().__init__(redis_client, SystemClock(), partitions=PARTITIONS, max_bytes=1 << 30, dedup_window=60.0)
        self.sizes: list[int] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.silent = False

    async def settle(self, batches: Sequence[tuple[int, str, Sequence[Settled]]]) -> list[bool | None]:
        self.sizes.append(sum(len(group.ids) for _partition, _token, groups in batches for group in groups))
        await self.gate.wait()
        if self.silent:
            raise QueueSilentError("the answer never came")
        return await super().settle(batches)


@asynccontextmanager
async def settling(
    stream: Watched, redis_client: RedisClient, clock: FakeClock, metrics: Metrics
) -> AsyncIterator[Settler]:
    settler = Settler(stream, DeadLetters(redis_client), clock, metrics)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(settler.run())
        yield settler
        running.cancel()


async def stored(redis_client: RedisClient, owned: OwnedPartition, count: int) -> list[BufferedEntry]:
    buffered = []
    for _ in range(count):
        entry_id = await put(redis_client, owned.number, "e", encode(an_entry()))
        buffered.append(BufferedEntry(a_flow(owned), entry_id, an_entry(), 0.0, 100))
        a_flow(owned).known.add(entry_id)
    return buffered


async def settled(settler: Settler, *entries: BufferedEntry) -> bool:
    """Settle and wait for the callback."""
    told: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
    settler.settle(entries, told.set_result)
    return await told


async def length(redis_client: RedisClient, partition: int) -> int:
    return int(await redis_client.ask("XLEN", KEYS.stream(partition, USERS)))


async def test_a_settled_entry_is_gone_and_not_known_any_more(redis_client: RedisClient) -> None:
    clock, metrics = FakeClock(), Metrics()
    [owned] = await taken(redis_client, clock, 0)
    [buffered] = await stored(redis_client, owned, 1)
    async with settling(Watched(redis_client), redis_client, clock, metrics) as settler:
        assert await settled(settler, buffered)
        assert repr(settler) == "<Settler 0 waiting>"
    assert await length(redis_client, 0) == 0
    assert owned.known == 0
    assert metrics.registry.get_sample_value("fanout_settle_seconds_count") == 1


async def test_a_settlement_that_another_server_answered_puts_the_partition_in_doubt_before_it_is_told(
    redis_client: RedisClient,
) -> None:
    """The lane would go on with what the former server had, and this one may have it under another id."""
    clock = FakeClock()
    [owned] = await taken(redis_client, clock, 0)
    [buffered] = await stored(redis_client, owned, 1)
    async with settling(Watched(redis_client), redis_client, clock, Metrics()) as settler:
        await redis_client.ask("REPLICAOF", "127.0.0.1", "1")
        await redis_client.ask("REPLICAOF", "NO", "ONE")
        await redis_client.ask("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "no")
        told: asyncio.Future[tuple[bool, bool]] = asyncio.get_running_loop().create_future()
        settler.settle([buffered], lambda certain: told.set_result((certain, owned.doubted)))
        while not told.done():
            await clock.settle()
            await clock.advance(0.1)
        assert await told == (True, True)


async def test_what_becomes_done_while_a_settlement_is_on_its_way_goes_together_with_the_next(
    redis_client: RedisClient,
) -> None:
    clock, stream = FakeClock(), Watched(redis_client)
    one, two = await taken(redis_client, clock, 0, 1)
    buffered = await stored(redis_client, one, 6) + await stored(redis_client, two, 3)
    async with settling(stream, redis_client, clock, Metrics()) as settler, asyncio.TaskGroup() as group:
        stream.gate.clear()
        tasks = [group.create_task(settled(settler, buffered[0]))]
        await clock.settle()
        tasks += [group.create_task(settled(settler, each)) for each in buffered[1:]]
        await clock.settle()
        assert stream.sizes == [1]
        assert repr(settler) == "<Settler 8 waiting>"
        stream.gate.set()
        assert all([await task for task in tasks])
    assert stream.sizes == [1, 8]
    assert await length(redis_client, 0) + await length(redis_client, 1) == 0


async def test_under_a_lost_lease_nothing_is_settled_and_whoever_waits_is_told(redis_client: RedisClient) -> None:
    clock = FakeClock()
    lost, kept = await taken(redis_client, clock, 0, 1)
    [theirs], [ours] = await stored(redis_client, lost, 1), await stored(redis_client, kept, 1)
    await redis_client.ask("SET", KEYS.lease(0), "somebody:9")
    async with settling(Watched(redis_client), redis_client, clock, Metrics()) as settler:
        lost_one, kept_one = await asyncio.gather(settled(settler, theirs), settled(settler, ours))
    assert (lost_one, kept_one) == (False, True)
    assert (await length(redis_client, 0), await length(redis_client, 1)) == (1, 0)


async def test_a_lease_that_ran_out_falls_silent_without_asking_the_store(redis_client: RedisClient) -> None:
    clock, stream = FakeClock(), Watched(redis_client)
    [owned] = await taken(redis_client, clock, 0, lifetime=60.0)
    [buffered] = await stored(redis_client, owned, 1)
    clock.jump(60.0)
    async with settling(stream, redis_client, clock, Metrics()) as settler:
        assert not await settled(settler, buffered)
        assert not await settler.park(buffered, CAUSE)
    assert sum(stream.sizes) == 0
    assert await length(redis_client, 0) == 1


async def test_a_silent_store_is_asked_again_until_it_answers(redis_client: RedisClient) -> None:
    clock, stream = FakeClock(), Watched(redis_client)
    [owned] = await taken(redis_client, clock, 0)
    first, second = await stored(redis_client, owned, 2)
    stream.silent = True
    async with settling(stream, redis_client, clock, Metrics()) as settler, asyncio.TaskGroup() as group:
        tasks = [group.create_task(settled(settler, first))]
        await clock.advance(1.0)
        assert len(stream.sizes) >= 5
        assert not tasks[0].done()
        tasks.append(group.create_task(settled(settler, second)))
        stream.silent = False
        await clock.advance(0.1)
        assert [await task for task in tasks] == [True, True]
    assert await length(redis_client, 0) == 0


async def test_a_store_that_stays_silent_is_given_up_when_the_lease_runs_out(redis_client: RedisClient) -> None:
    clock, stream = FakeClock(), Watched(redis_client)
    [owned] = await taken(redis_client, clock, 0, lifetime=10.0)
    [buffered] = await stored(redis_client, owned, 1)
    stream.silent = True
    async with settling(stream, redis_client, clock, Metrics()) as settler, asyncio.TaskGroup() as group:
        task = group.create_task(settled(settler, buffered))
        await clock.advance(9.9)
        assert not task.done()
        await clock.advance(0.2)
        assert not await task
    assert await length(redis_client, 0) == 1


async def test_a_dead_entry_moves_to_the_dead_letters_as_it_was(redis_client: RedisClient) -> None:
    clock = FakeClock()
    [owned] = await taken(redis_client, clock, 0)
    [buffered] = await stored(redis_client, owned, 1)
    settler = Settler(Watched(redis_client), DeadLetters(redis_client), clock, Metrics())
    assert await settler.park(buffered, CAUSE)
    [letter] = await DeadLetters(redis_client).oldest(0)
    assert (letter.entry, letter.cause) == (StoredEntry(buffered.id, encode(buffered.entry)), CAUSE)
    assert (await length(redis_client, 0), owned.known) == (0, 0)


async def test_nothing_is_parked_under_a_lost_lease(redis_client: RedisClient) -> None:
    clock = FakeClock()
    [owned] = await taken(redis_client, clock, 0)
    [buffered] = await stored(redis_client, owned, 1)
    await redis_client.ask("SET", KEYS.lease(0), "somebody:9")
    settler = Settler(Watched(redis_client), DeadLetters(redis_client), clock, Metrics())
    assert not await settler.park(buffered, CAUSE)
    assert await length(redis_client, 0) == 1
    assert await DeadLetters(redis_client).oldest(0) == []


async def test_parking_is_repeated_while_the_store_cannot_be_reached(
    every_redis_url: str, redis_client: RedisClient
) -> None:
    """The dead letters' key is of another kind at first, which the store refuses."""
    clock = FakeClock()
    [owned] = await taken(redis_client, clock, 0)
    [buffered] = await stored(redis_client, owned, 1)
    await redis_client.ask("SET", KEYS.dead(0), "in the way")
    settler = Settler(Watched(redis_client), DeadLetters(redis_client), clock, Metrics())
    async with asyncio.TaskGroup() as group:
        task = group.create_task(settler.park(buffered, CAUSE))
        await until(lambda: clock.sleeping == 1)
        assert await length(redis_client, 0) == 1
        await redis_client.ask("DEL", KEYS.dead(0))
        await clock.advance(0.1)
        assert await asyncio.wait_for(task, 5)
    assert await length(redis_client, 0) == 0


async def test_a_settlement_for_a_lost_partition_ends_at_once() -> None:
    """The store is not asked."""
    clock = FakeClock()
    owned = a_partition()
    owned.lose()
    redis_client = open_redis("redis://127.0.0.1:1/0", clock)  # nothing listens there
    async with settling(Watched(redis_client), redis_client, clock, Metrics()) as settler:
        assert not await settled(settler, BufferedEntry(a_flow(owned), b"1-0", an_entry(), 0.0, 100))
