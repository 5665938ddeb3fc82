"""What waits for an endpoint that is not configured: it ends with its age, and with nothing but its age."""

import asyncio
import time
from collections.abc import Collection, Mapping, Sequence

import msgspec
import pytest
from msgspec import structs

from fanout.metrics import Metrics
from fanout.queue.changes import marker_before
from fanout.queue.dead_letters import DeadLetters
from fanout.queue.entry import VERSION, FlowRead, encode
from fanout.queue.keys import KEYS
from fanout.queue.leases import Lease
from fanout.queue.stream import Stream
from fanout.redis.client import RedisClient
from fanout.signalr.message import Item
from tests.builders import a_join, a_message, an_entry
from tests.fakes import FakeClock
from tests.queue_layout import put, waiting_in
from tests.workers.helpers import PARTITIONS, Lines, a_settler, taken, until
from workers.partition import NO_LANE, OwnedPartition, StoreClock
from workers.telemetry import Telemetry
from workers.unclaimed import Unclaimed

AWAY = "uchat@east"
MAX_AGE = 3600.0
OLD = "1000-"  # ids of long ago


class Counted(Stream):
    """Counts how often it is read."""

    reads = 0

    async def read(self, partition: int, after: Mapping[str, bytes], *, most: int) -> list[FlowRead]:
        self.reads += 1
        return await super().read(partition, after, most=most)


class Noted(OwnedPartition):
    """Notes in which lanes something was done."""

    def __init__(self, lease: Lease) -> None:
        super().__init__(lease)
        self.began: list[str] = []

    def began_call(self, lane: str) -> None:
        super().began_call(lane)
        self.began.append(lane)


class Bench:
    """What ages in one partition, and what is counted of it."""

    def __init__(self, redis_client: RedisClient) -> None:
        self.redis_client = redis_client
        self.clock, self.metrics, self.lines, store_clock = FakeClock(), Metrics(), Lines(), StoreClock()
        self.letters = DeadLetters(redis_client)
        store_clock.observe(time.time(), self.clock.monotonic(), self.clock.monotonic())
        self.stream = Counted(redis_client, self.clock, partitions=PARTITIONS, max_bytes=1 << 30, dedup_window=60.0)
        self.unclaimed = Unclaimed(
            self.stream,
            a_settler(redis_client, self.clock, self.metrics),
            Telemetry(self.metrics, self.lines.log, self.clock, store_clock),
            self.clock,
            self.metrics,
            self.lines.log,
            max_age=MAX_AGE,
        )

    async def put(self, *entries: Item | bytes, before: str = OLD) -> None:
        for number, one in enumerate(entries):
            data = one if isinstance(one, bytes) else encode(structs.replace(an_entry(one), endpoint="east"))
            await put(self.redis_client, 0, "e", data, flow=AWAY, stream_id=f"{before}{number}" if before else "*")

    async def owned(self) -> OwnedPartition:
        [owned] = await taken(self.redis_client, self.clock, 0)
        owned.left_alone[AWAY] = "east"
        return owned

    async def look(self, *all_owned: OwnedPartition) -> None:
        """Let it look once: after that it sleeps."""

        def partitions() -> Collection[OwnedPartition]:
            return all_owned

        task = asyncio.create_task(self.unclaimed.run(partitions))
        await until(lambda: self.clock.sleeping > 0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async def reasons(self) -> Sequence[str]:
        return [letter.cause.reason for letter in await self.letters.oldest(0)]


async def test_what_is_older_than_its_age_is_dead_and_names_the_endpoint(redis_client: RedisClient) -> None:
    bench = Bench(redis_client)
    await bench.put(*(a_message(text=str(number)) for number in range(20)))
    await bench.put(a_message(text="young"), before="")
    owned = await bench.owned()
    await bench.look(owned)
    letters = await bench.letters.oldest(0)
    assert {letter.cause.detail for letter in letters} == {
        "not delivered within 3600 s: endpoint east is not configured"
    }
    assert [(each.cause.reason, each.cause.attempts, each.flow) for each in letters] == [("tooOld", 0, AWAY)] * 20
    assert await waiting_in(redis_client, 1) == 1
    assert bench.metrics.dead["tooOld"].value == 20
    assert [line["endpoint"] for line in bench.lines.of("delivery.dead")] == ["east"]
    assert (owned.left_alone, owned.foreign, owned.in_flight) == ({AWAY: "east"}, set(), 0)


async def test_a_flow_in_which_nothing_waits_any_more_is_listened_to_again(redis_client: RedisClient) -> None:
    bench = Bench(redis_client)
    await bench.put(a_message())
    owned = await bench.owned()
    await bench.look(owned)
    assert (owned.left_alone, owned.foreign) == ({}, {AWAY})


async def test_what_is_young_is_looked_at_again_after_a_minute(redis_client: RedisClient) -> None:
    bench = Bench(redis_client)
    await bench.put(a_message(), before="")
    owned = await bench.owned()
    for seconds, reads in ((0, 1), (10, 1), (49, 1), (2, 2)):
        await bench.clock.advance(seconds)
        await bench.look(owned)
        assert bench.stream.reads == reads


async def test_a_message_whose_own_time_is_over_leaves_no_dead_letter(redis_client: RedisClient) -> None:
    bench = Bench(redis_client)
    await bench.put(a_message(ttl=5.0), marker_before(["ualice"]), a_join())
    await bench.look(await bench.owned())
    assert (await bench.reasons(), await waiting_in(redis_client, 1)) == (["tooOld"], 0)
    assert (bench.metrics.expired.value, bench.metrics.dead["tooOld"].value) == (1, 1)


async def test_what_is_broken_is_buried_and_what_is_newer_stays(redis_client: RedisClient) -> None:
    bench = Bench(redis_client)
    newer = msgspec.msgpack.encode((VERSION + 1, 0, "m1"))
    await bench.put(b"\xff", a_message(), newer, a_message())
    await bench.look(await bench.owned())
    assert await bench.reasons() == ["unreadable", "tooOld"]
    assert await waiting_in(redis_client, 1) == 2
    assert bench.lines.of("entry.unreadable")[0]["partition"] == 0


async def test_a_flow_in_which_a_former_owner_has_calls_in_flight_is_left_to_it(redis_client: RedisClient) -> None:
    bench = Bench(redis_client)
    await bench.put(a_message())
    owned = await bench.owned()
    owned.left["chat@east\nualice"] = AWAY
    await bench.look(owned)
    assert await bench.reasons() == []
    owned.left.clear()
    await bench.look(owned)
    assert await bench.reasons() == ["tooOld"]


async def test_what_is_being_ended_is_told_to_the_next_owner(redis_client: RedisClient) -> None:
    """One that has the endpoint would send it."""
    bench = Bench(redis_client)
    await bench.put(a_message("alice"), b"\xff")
    owned = Noted((await bench.owned()).lease)
    owned.left_alone[AWAY] = "east"
    await bench.look(owned)
    assert (owned.began, owned.lanes) == (["chat@east\nualice", NO_LANE], {})


@pytest.mark.parametrize("end", ["lost", "stolen"])
async def test_nothing_is_ended_without_the_lease(redis_client: RedisClient, end: str) -> None:
    bench = Bench(redis_client)
    await bench.put(a_message())
    owned = await bench.owned()
    if end == "lost":
        owned.lose()
    else:
        await redis_client.ask("SET", KEYS.lease(0), "another:1")
    await bench.look(owned)
    assert (await bench.reasons(), await waiting_in(redis_client, 1)) == ([], 1)
    assert owned.doubted is (end == "stolen")
