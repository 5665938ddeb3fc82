"""Reading a partition into the lanes, on every kind of server."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from fanout.clock import SystemClock
from fanout.errors import QueueError
from fanout.metrics import Metrics
from fanout.queue.dead_letters import DeadLetters
from fanout.queue.entry import StoredEntry, encode
from fanout.queue.keys import KEYS
from fanout.queue.stream import Stream
from fanout.redis.client import RedisClient
from tests.builders import a_message, an_entry
from tests.fakes import FakeClock
from tests.workers.helpers import PARTITIONS, Lines, taken, text_of, until, users_in
from workers.lane import Lane
from workers.partition import START, OwnedPartition
from workers.reader import Reader
from workers.schedule import Schedule
from workers.settler import Settler

ALICE, BOB, CAROL = users_in(0, 3)


async def nothing_happens() -> None:
    """Happen between the store's answer and our reading of it."""


class Interrupted(Stream):
    """A stream that lets something happen just after the store answered a scan, and can fail a number of times."""

    def __init__(self, redis_client: RedisClient) -> None:
        super().__init__(redis_client, SystemClock(), partitions=PARTITIONS, max_depth=1000, dedup_window=60.0)
        self.after_scan: Callable[[], Awaitable[None]] = nothing_happens
        self.failures = 0
        self.asked: list[int] = []

    async def read(self, partition: int, after: bytes, *, count: int, block: float) -> list[StoredEntry]:
        self.asked.append(count)
        self._fail()
        return await super().read(partition, after, count=count, block=block)

    async def scan(self, partition: int, after: bytes, *, count: int) -> list[StoredEntry]:
        self._fail()
        batch = await super().scan(partition, after, count=count)
        meanwhile, self.after_scan = self.after_scan, nothing_happens
        await meanwhile()
        return batch

    def _fail(self) -> None:
        if self.failures:
            self.failures -= 1
            raise QueueError("the store is away")


class Rig:
    """A reader and what it works with."""

    def __init__(self, redis_client: RedisClient, *, room: int = 1000, depth: int = 64) -> None:
        self.redis_client = redis_client
        self.clock = FakeClock()
        self.metrics = Metrics()
        self.lines = Lines()
        self.lanes = Schedule(depth=depth, room=0)
        self.stream = Interrupted(redis_client)
        self.settler = Settler(self.stream, DeadLetters(redis_client), self.clock, self.metrics)
        log = self.lines.log
        self.reader = Reader(self.stream, self.lanes, self.settler, self.clock, self.metrics, log, room=room)
        self.reads = 0  # how often `on_read` was called

    async def put(self, *texts: str, to: str = ALICE, partition: int = 0) -> list[bytes]:
        data = [encode(an_entry(a_message(to, text=text))) for text in texts]
        replies = await self.redis_client.call(*(("XADD", KEYS.stream(partition), "*", "e", each) for each in data))
        return [bytes(reply) for reply in replies]

    @asynccontextmanager
    async def reading(self, *all_owned: OwnedPartition) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self.reader.run(owned, self._on_read)) for owned in all_owned]
            tasks.append(group.create_task(self.reader.refill(self._on_read)))
            yield
            for task in tasks:
                task.cancel()

    def _on_read(self) -> None:
        self.reads += 1

    def take(self) -> Lane | None:
        return self.lanes.take(self.clock.monotonic())

    async def delivered(self, count: int) -> list[str]:
        """Deliver and settle `count` entries as they become ready; return their texts."""
        texts: list[str] = []
        async with asyncio.timeout(10):
            while len(texts) < count:
                lane = self.take()
                if lane is None:
                    await asyncio.sleep(0.001)
                    continue
                buffered = lane.head
                texts.append(text_of(buffered.entry))
                self.lanes.advance(lane)
                await self.redis_client.ask("XDEL", KEYS.stream(buffered.partition.number), buffered.id)
                buffered.partition.known.discard(buffered.id)
                self.reader.wake()
        return texts


async def test_what_a_predecessor_left_comes_first_and_then_what_is_new(redis_client: RedisClient) -> None:
    rig = Rig(redis_client)
    await rig.put("old 1", "old 2")
    [owned] = await taken(redis_client, rig.clock, 0)
    async with rig.reading(owned):
        await until(lambda: rig.lanes.waiting == 2)
        [last] = await rig.put("new")
        await until(lambda: rig.lanes.waiting == 3)
        assert await rig.delivered(3) == ["old 1", "old 2", "new"]
    assert owned.cursor == last


async def test_an_entry_says_when_it_was_stored(redis_client: RedisClient) -> None:
    rig = Rig(redis_client)
    [entry_id] = await rig.put("hi")
    [owned] = await taken(redis_client, rig.clock, 0)
    async with rig.reading(owned):
        await until(lambda: rig.lanes.waiting == 1)
    lane = rig.take()
    assert lane is not None
    assert lane.head.stored_at == int(entry_id.partition(b"-")[0]) / 1000


async def test_who_starts_calls_hears_of_each_read(redis_client: RedisClient) -> None:
    rig = Rig(redis_client)
    [owned] = await taken(redis_client, rig.clock, 0)
    async with rig.reading(owned):
        await rig.clock.settle()
        assert rig.reads == 0
        await rig.put("1")
        await until(lambda: rig.reads == 1)
        assert rig.lanes.ready == 1


async def test_what_is_held_already_is_not_taken_in_again(redis_client: RedisClient) -> None:
    rig = Rig(redis_client)
    await rig.put("1", "2")
    [owned] = await taken(redis_client, rig.clock, 0)
    async with rig.reading(owned):
        await until(lambda: rig.lanes.waiting == 2)
    owned.cursor = START  # as after a store that lost its last writes
    async with rig.reading(owned):
        await rig.put("3")
        await until(lambda: rig.lanes.waiting == 3)
        assert await rig.delivered(3) == ["1", "2", "3"]


async def test_no_more_is_asked_for_than_there_is_room_for(redis_client: RedisClient) -> None:
    rig = Rig(redis_client, room=5)
    await rig.put(*"123456789")
    [owned] = await taken(redis_client, rig.clock, 0)
    async with rig.reading(owned):
        await until(lambda: rig.lanes.waiting == 5)
        await rig.clock.settle()
        assert rig.stream.asked == [5]
        assert not rig.reader._may_read.is_set()
        assert await rig.delivered(9) == list("123456789")
    assert max(rig.stream.asked) == 5


async def test_readers_of_several_partitions_share_the_room(redis_client: RedisClient) -> None:
    """`read_ahead` counts all partitions together, also when entries arrive in all of them at once."""
    rig = Rig(redis_client, room=4)
    all_owned = await taken(redis_client, rig.clock, 0, 1)
    async with rig.reading(*all_owned):
        await until(lambda: len(rig.stream.asked) == 2)
        await asyncio.gather(rig.put(*"123456", partition=0), rig.put(*"abcdef", to=users_in(1, 1)[0], partition=1))
        await until(lambda: rig.lanes.waiting >= 4)
        await rig.clock.settle()
        assert rig.lanes.waiting == 4
        assert sorted(await rig.delivered(12)) == list("123456abcdef")


async def test_what_lanes_left_in_the_stream_is_read_past_in_long_strides_and_no_more_is_kept_than_there_is_room(
    redis_client: RedisClient,
) -> None:
    """What is behind a long lane is neither read in small steps nor all at once."""
    rig = Rig(redis_client, room=20, depth=4)
    await rig.put(*(f"{number:03}" for number in range(300)))
    await rig.put(*(f"b{number}" for number in range(30)), to=BOB)
    [owned] = await taken(redis_client, rig.clock, 0)
    async with rig.reading(owned):
        await until(lambda: rig.lanes.waiting == 8)
        assert len(rig.stream.asked) <= 5
        wanted = [f"{number:03}" for number in range(300)] + [f"b{number}" for number in range(30)]
        assert sorted(await rig.delivered(330)) == sorted(wanted)
    assert max(rig.stream.asked) == 1024


async def test_an_entry_nobody_can_read_is_parked_at_once_and_stalls_nothing(redis_client: RedisClient) -> None:
    rig = Rig(redis_client)
    await rig.put("1")
    bad = [
        await redis_client.ask("XADD", KEYS.stream(0), "*", "e", b"garbage"),
        await redis_client.ask("XADD", KEYS.stream(0), "*", "somebody", "else", "wrote", "this"),
    ]
    await rig.put("2")
    [owned] = await taken(redis_client, rig.clock, 0)
    async with rig.reading(owned):
        assert await rig.delivered(2) == ["1", "2"]
    letters = await DeadLetters(redis_client).oldest(0)
    assert [letter.entry.id for letter in letters] == bad
    assert {letter.cause.reason for letter in letters} == {"unreadable"}
    assert rig.metrics.registry.get_sample_value("fanout_dead_total", {"reason": "unreadable"}) == 2
    assert [line["id"] for line in rig.lines.of("entry.unreadable")] == [each.decode() for each in bad]
    assert await redis_client.ask("XLEN", KEYS.stream(0)) == 0


async def test_bytes_that_are_no_text_or_nest_without_end_are_parked_too(redis_client: RedisClient) -> None:
    """Nothing in the stream can stop the reader."""
    rig = Rig(redis_client)
    good = encode(an_entry(a_message(ALICE, text="1")))
    await redis_client.ask("XADD", KEYS.stream(0), "*", "e", good.replace(b"chat", b"ch\xff\xfe"))
    await redis_client.ask("XADD", KEYS.stream(0), "*", "e", b"\x95" + good[1:] + b"\x91" * 100_000 + b"\xc0")
    await rig.put("2")
    [owned] = await taken(redis_client, rig.clock, 0)
    async with rig.reading(owned):
        assert await rig.delivered(1) == ["2"]
    assert len(await DeadLetters(redis_client).oldest(0)) == 2


async def test_under_a_lost_lease_an_unreadable_entry_stays_where_it_is(redis_client: RedisClient) -> None:
    rig = Rig(redis_client)
    await redis_client.ask("XADD", KEYS.stream(0), "*", "e", b"garbage")
    [owned] = await taken(redis_client, rig.clock, 0)
    await redis_client.ask("SET", KEYS.lease(0), "somebody:9")
    async with rig.reading(owned):
        await until(lambda: owned.cursor != START)
        await rig.put("1")
        await until(lambda: rig.lanes.waiting == 1)
    assert await DeadLetters(redis_client).oldest(0) == []
    assert await redis_client.ask("XLEN", KEYS.stream(0)) == 2
    assert rig.metrics.registry.get_sample_value("fanout_dead_total", {"reason": "unreadable"}) == 0


async def test_when_the_store_breaks_off_the_partition_is_in_doubt_and_its_reading_ends(
    redis_client: RedisClient,
) -> None:
    """It may be another server that answers next, with other ids."""
    rig = Rig(redis_client)
    rig.stream.failures = 1
    await rig.put("1")
    [owned] = await taken(redis_client, rig.clock, 0)
    await asyncio.wait_for(rig.reader.run(owned, rig._on_read), 5)
    assert owned.doubted
    assert len(rig.lines.of("reader.failed")) == 1
    assert rig.lanes.waiting == 0


async def test_what_lanes_left_behind_is_fetched_in_order_without_the_entries_of_others(
    redis_client: RedisClient,
) -> None:
    rig = Rig(redis_client, depth=4)
    for number in range(30):
        await rig.put(f"a{number}")
        await rig.put(f"b{number}", to=BOB)
    [owned] = await taken(redis_client, rig.clock, 0)
    async with rig.reading(owned):
        await until(lambda: rig.lanes.waiting == 8)
        texts = await rig.delivered(60)
    assert [text for text in texts if text[0] == "a"] == [f"a{number}" for number in range(30)]
    assert [text for text in texts if text[0] == "b"] == [f"b{number}" for number in range(30)]
    assert (len(rig.lanes), rig.lanes.waiting, owned.known) == (0, 0, set())


async def test_a_lane_that_is_rare_in_the_stream_is_found_across_many_others(redis_client: RedisClient) -> None:
    rig = Rig(redis_client, depth=4)
    await rig.put(*"12345")
    await rig.put(*(f"b{number}" for number in range(300)), to=BOB)
    await rig.put("6")
    [owned] = await taken(redis_client, rig.clock, 0)
    async with rig.reading(owned):
        texts = await rig.delivered(306)
    assert [text for text in texts if text[0] != "b"] == list("123456")


async def test_a_fetch_goes_on_after_the_store_was_away_and_past_what_nobody_can_read(
    redis_client: RedisClient,
) -> None:
    rig = Rig(redis_client, depth=4)
    await rig.put(*"1234")
    await redis_client.ask("XADD", KEYS.stream(0), "*", "e", b"garbage")
    await rig.put(*"567")
    [owned] = await taken(redis_client, rig.clock, 0)
    async with asyncio.TaskGroup() as group:
        reading = group.create_task(rig.reader.run(owned, rig._on_read))
        await until(lambda: len(rig.lanes) == 1 and rig.lanes.has_spilled(owned))
        await redis_client.ask("XADD", KEYS.stream(0), "*", "e", b"more garbage")
        reading.cancel()
    rig.stream.failures = 1
    async with rig.reading():
        first = await rig.delivered(4)
        await rig.clock.settle()
        await until(lambda: not rig.stream.failures)
        await rig.clock.advance(0.2)
        assert first + await rig.delivered(3) == list("1234567")


async def test_an_entry_that_comes_while_its_lane_is_fetched_for_is_not_lost(redis_client: RedisClient) -> None:
    """The reader meets it after the store answered the scan and before the scan is read; its lane leaves it behind."""
    rig = Rig(redis_client, depth=4)
    await rig.put(*"12345")
    [owned] = await taken(redis_client, rig.clock, 0)

    async def one_more_is_read() -> None:
        [entry_id] = await rig.put("6")
        await until(lambda: owned.cursor == entry_id)

    async with rig.reading(owned):
        await until(lambda: rig.lanes.has_spilled(owned))
        rig.stream.after_scan = one_more_is_read
        assert await rig.delivered(6) == list("123456")


async def test_a_head_that_fails_while_its_lane_is_fetched_for_keeps_the_order(redis_client: RedisClient) -> None:
    rig = Rig(redis_client, depth=8)
    await rig.put(*"123456789")
    [owned] = await taken(redis_client, rig.clock, 0)

    async def the_head_fails() -> None:
        lane = rig.take()
        assert lane is not None
        rig.lanes.postpone(lane, rig.clock.monotonic())

    async with rig.reading(owned):
        await until(lambda: rig.lanes.has_spilled(owned))
        rig.stream.after_scan = the_head_fails
        first = await rig.delivered(6)
        await until(lambda: rig.stream.after_scan is nothing_happens)
        assert first + await rig.delivered(3) == list("123456789")


async def test_a_partition_that_ends_while_its_lane_is_fetched_for_leaves_nothing(redis_client: RedisClient) -> None:
    rig = Rig(redis_client, depth=4)
    await rig.put(*"12345")
    [owned] = await taken(redis_client, rig.clock, 0)

    async def it_ends() -> None:
        rig.lanes.drop(owned)

    async with rig.reading(owned):
        await until(lambda: rig.lanes.has_spilled(owned))
        rig.stream.after_scan = it_ends
        await rig.delivered(4)
        await until(lambda: rig.stream.after_scan is nothing_happens)
        await rig.clock.settle()
    assert (rig.lanes.waiting, len(rig.lanes)) == (0, 0)


class Concurrently:
    """Three lanes written to, read, delivered, failed and fetched for, all at once."""

    def __init__(self, rig: Rig, owned: OwnedPartition) -> None:
        self.rig = rig
        self.partition = owned
        self.texts: dict[str, list[str]] = {"a": [], "b": [], "c": []}

    async def write(self) -> None:
        for number in range(80):
            for letter, user in zip(self.texts, (ALICE, BOB, CAROL), strict=True):
                await self.rig.put(f"{letter}{number}", to=user)

    async def deliver(self) -> None:
        calls = 0
        while sum(map(len, self.texts.values())) < 240:
            lane = self.rig.take()
            calls += 1
            if lane is None:
                await asyncio.sleep(0.001)
            elif calls % 7 == 0:
                self.rig.lanes.postpone(lane, self.rig.clock.monotonic())
                self.rig.reader.wake()
                await asyncio.sleep(0)
            else:
                await self._settle(lane)

    async def _settle(self, lane: Lane) -> None:
        buffered = lane.head
        text = text_of(buffered.entry)
        self.texts[text[0]].append(text)
        self.rig.lanes.advance(lane)
        await self.rig.redis_client.ask("XDEL", KEYS.stream(0), buffered.id)
        self.partition.known.discard(buffered.id)
        self.rig.reader.wake()


async def test_everything_comes_in_order_while_it_is_written_read_failed_and_fetched_at_once(
    redis_client: RedisClient,
) -> None:
    rig = Rig(redis_client, depth=6, room=20)
    [owned] = await taken(redis_client, rig.clock, 0)
    throng = Concurrently(rig, owned)
    async with rig.reading(owned), asyncio.timeout(20), asyncio.TaskGroup() as group:
        group.create_task(throng.write())
        group.create_task(throng.deliver())
    assert throng.texts == {letter: [f"{letter}{number}" for number in range(80)] for letter in "abc"}
    assert rig.lanes.waiting == 0
