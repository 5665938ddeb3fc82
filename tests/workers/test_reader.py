"""Reading a partition into the lanes, on every kind of server."""

import asyncio
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import pairwise

import msgspec
import pytest
from msgspec import structs

from fanout.clock import SystemClock
from fanout.errors import QueueError
from fanout.metrics import Metrics
from fanout.queue.dead_letters import DeadLetters
from fanout.queue.entry import VERSION, FlowRead, Settled, StoredEntry, Submission, encode
from fanout.queue.keys import KEYS, lane_of
from fanout.queue.leases import Leases
from fanout.queue.presence import Presence
from fanout.queue.stream import START, Stream
from fanout.redis.client import RedisClient
from fanout.signalr.message import RouteClass, Scope
from tests.builders import a_message, an_entry
from tests.fakes import FakeClock
from tests.queue_layout import USERS, entries_of, put, waiting_in
from tests.workers.helpers import (
    PARTITIONS,
    Lines,
    a_flow,
    a_partition,
    buffered_in,
    home_of,
    taken,
    text_of,
    until,
    users_in,
)
from workers.lane import HeldUntil, Lane, never_held
from workers.partition import OwnedPartition
from workers.pruner import Pruner
from workers.reader import Reader
from workers.schedule import Schedule
from workers.settler import Settler
from workers.sweeps import Sweeps

ALICE, BOB = users_in(0, 2)


class Watched(Stream):
    """A stream that notes what is asked of it and can fail a number of times."""

    def __init__(self, redis_client: RedisClient) -> None:
        super().__init__(
            redis_client, SystemClock(), partitions=PARTITIONS, max_bytes=1 << 30, dedup_window=60.0, origin="t"
        )
        self.failures = 0
        self.reads: list[tuple[list[str], int]] = []
        self.fetches: list[list[bytes]] = []
        self.answers = 0
        self.waits = 0
        self.waited = 0
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def read(self, partition: int, after: Mapping[str, bytes], *, most: int) -> list[FlowRead]:
        self.reads.append((list(after), most))
        if self.failures:
            self.failures -= 1
            raise QueueError("the store is away")
        answer = await super().read(partition, after, most=most)
        self.answers += 1
        await self.may_answer.wait()
        return answer

    async def wait(
        self, partition: int, woken: bytes, after: Mapping[str, bytes], *, most: int, block: float
    ) -> tuple[bytes, list[FlowRead]]:
        self.waits += 1
        answer = await super().wait(partition, woken, after, most=most, block=block)
        self.waited += 1
        return answer

    async def fetch(self, partition: int, ids: Mapping[str, Sequence[bytes]]) -> dict[str, list[StoredEntry | None]]:
        self.fetches.append([id_ for some in ids.values() for id_ in some])
        return await super().fetch(partition, ids)


class Bench:
    """A reader and what it works with; `room` counts entries of about a thousand bytes."""

    def __init__(
        self, redis_client: RedisClient, *, room: int = 1000, depth: int = 64, held_until: HeldUntil = never_held
    ) -> None:
        self.redis_client = redis_client
        self.clock = FakeClock()
        self.metrics = Metrics()
        self.lines = Lines()
        self.lanes = Schedule(depth=depth, room=room * 1000, held_until=held_until)
        self.stream = Watched(redis_client)
        self.settler = Settler(self.stream, DeadLetters(redis_client), self.clock, self.metrics)
        self.sweeps = Sweeps(Presence(redis_client), self.lanes, self.settler, self.clock, self.metrics, bound=1.0)
        self.pruner = Pruner(self.stream, self.clock)
        self.reader = Reader(
            self.stream, self.lanes, self.settler, self.sweeps, self.pruner, self.clock, self.metrics, self.lines.log
        )
        self.reads = 0
        self.told: list[float | None] = []  # the time to wait for that was known, whenever something was told

    async def put(self, *texts: str, to: str = ALICE, scope: Scope = Scope.USER) -> None:
        """Append messages whose entries take about a thousand bytes of memory."""
        items = [a_message(to, text=text, scope=scope) for text in texts]
        receipts = await self.stream.append([Submission(an_entry(item)) for item in items])
        assert all(receipt.stream_id for receipt in receipts)

    @asynccontextmanager
    async def reading(self, *all_owned: OwnedPartition) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self.reader.run(owned, self._on_read)) for owned in all_owned]
            yield
            for task in tasks:
                task.cancel()

    def _on_read(self) -> None:
        self.reads += 1
        self.told.append(self.lanes.next_due())

    def take(self) -> Lane | None:
        return self.lanes.take(self.clock.monotonic())

    async def delivered(self, count: int) -> list[str]:
        """Deliver and settle `count` entries as they become ready; return their texts."""
        texts: list[str] = []
        async with asyncio.timeout(20):
            while len(texts) < count:
                lane = self.take()
                if lane is None:
                    await asyncio.sleep(0.001)
                    continue
                buffered = lane.head
                texts.append(text_of(buffered.entry))
                await self.redis_client.ask("XDEL", KEYS.stream(buffered.partition.number, lane.flow.name), buffered.id)
                buffered.flow.known.discard(buffered.id)
                self.lanes.advance(lane)
        return texts


async def blocked_client(redis_client: RedisClient) -> str:
    """Return the id of the connection whose request waits in the store, once there is one."""
    async with asyncio.timeout(10):
        while True:
            listed = (await redis_client.ask("CLIENT", "LIST")).decode()
            if found := re.search(r"^id=(\d+) .* flags=b", listed, re.MULTILINE):
                return found[1]
            await asyncio.sleep(0.01)


async def test_what_a_predecessor_left_comes_first_and_then_what_is_new(redis_client: RedisClient) -> None:
    bench = Bench(redis_client)
    await bench.put("old 1", "old 2")
    [owned] = await taken(redis_client, bench.clock, 0)
    async with bench.reading(owned):
        await until(lambda: bench.lanes.waiting == 2)
        await bench.put("new")
        await until(lambda: bench.lanes.waiting == 3)
        assert await bench.delivered(3) == ["old 1", "old 2", "new"]


async def test_an_entry_says_when_it_was_stored(redis_client: RedisClient) -> None:
    bench = Bench(redis_client)
    await bench.put("hi")
    [owned] = await taken(redis_client, bench.clock, 0)
    async with bench.reading(owned):
        await until(lambda: bench.lanes.waiting == 1)
    lane = bench.take()
    assert lane is not None
    assert lane.head.stored_at == int(lane.head.id.partition(b"-")[0]) / 1000


async def test_a_flow_that_comes_while_the_reader_waits_is_found_at_once(redis_client: RedisClient) -> None:
    bench = Bench(redis_client)
    [owned] = await taken(redis_client, bench.clock, 0)
    async with bench.reading(owned):
        await until(lambda: bench.reads >= 0)
        await bench.put("users")
        await until(lambda: bench.lanes.waiting == 1)
        group = next(name for name in (f"g{n}" for n in range(99)) if home_of(name, scope=Scope.GROUP) == 0)
        await bench.put("a group", to=group, scope=Scope.GROUP)
        await until(lambda: bench.lanes.waiting == 2)
        assert sorted(owned.flows) == ["gchat", "uchat"]


async def test_what_is_first_in_a_new_flow_comes_with_the_reply_that_names_the_flow(redis_client: RedisClient) -> None:
    bench = Bench(redis_client)
    [owned] = await taken(redis_client, bench.clock, 0)
    texts = [str(number) for number in range(20)]  # more than that reply brings
    async with bench.reading(owned):
        await until(lambda: bench.stream.waits == 1)
        await bench.put(texts[0])
        await until(lambda: bench.lanes.waiting == 1)
        assert bench.stream.waited == 1  # for word of the flow, and not for its entries
        group = next(name for name in (f"g{n}" for n in range(99)) if home_of(name, scope=Scope.GROUP) == 0)
        await bench.put(*texts, to=group, scope=Scope.GROUP)
        assert await bench.delivered(21) == [texts[0], *texts]


async def test_a_flow_that_comes_later_does_not_stand_behind_the_backlog(redis_client: RedisClient) -> None:
    bench = Bench(redis_client)
    await bench.put("backlog")
    [owned] = await taken(redis_client, bench.clock, 0)
    async with bench.reading(owned):
        await until(lambda: bench.lanes.waiting == 1 and not a_flow(owned).behind)
        bench.stream.may_answer.clear()  # whatever is behind is not read any more
        a_flow(owned).behind = True
        owned.wake()
        group = next(name for name in (f"g{n}" for n in range(99)) if home_of(name, scope=Scope.GROUP) == 0)
        await bench.put("a group", to=group, scope=Scope.GROUP)
        await until(lambda: bench.lanes.waiting == 2)
        assert {name for names, _most in bench.stream.reads for name in names} == {"uchat"}


async def test_no_more_is_held_than_there_is_room_for_and_all_comes(redis_client: RedisClient) -> None:
    bench = Bench(redis_client, room=5)
    texts = [str(number) for number in range(40)]
    await bench.put(*texts)
    [owned] = await taken(redis_client, bench.clock, 0)
    async with bench.reading(owned):
        await until(lambda: bench.lanes.size >= 4000)
        await bench.clock.settle()
        assert bench.lanes.size <= 6000
        assert await bench.delivered(40) == texts


async def test_a_long_read_lets_all_else_have_its_turn(redis_client: RedisClient) -> None:
    bench = Bench(redis_client)
    await bench.put(*[str(number) for number in range(500)])
    [owned] = await taken(redis_client, bench.clock, 0)
    seen: list[int] = []

    def turn() -> None:
        seen.append(bench.lanes.waiting + bench.lanes.left)
        if seen[-1] < 500:
            asyncio.get_running_loop().call_soon(turn)

    async with bench.reading(owned):
        asyncio.get_running_loop().call_soon(turn)
        await until(lambda: seen[-1:] == [500])
    assert max(after - before for before, after in pairwise(seen)) <= 64


async def test_a_flow_that_is_full_of_what_cannot_go_holds_back_no_other(redis_client: RedisClient) -> None:
    bench = Bench(redis_client, room=20)
    await bench.put(*(str(number) for number in range(200)))
    [owned] = await taken(redis_client, bench.clock, 0)
    async with bench.reading(owned):
        await until(lambda: a_flow(owned).size >= 15_000)
        group = next(name for name in (f"g{n}" for n in range(99)) if home_of(name, scope=Scope.GROUP) == 0)
        await bench.put("a group", to=group, scope=Scope.GROUP)
        await until(lambda: "gchat" in owned.flows and owned.flows["gchat"].waiting == 1)


async def test_what_a_long_lane_left_is_fetched_by_id_in_order_and_nothing_is_fetched_twice(
    redis_client: RedisClient,
) -> None:
    bench = Bench(redis_client, depth=4)
    texts = [f"{number:03}" for number in range(60)]
    await bench.put(*texts)
    await bench.put("bob", to=BOB)
    [owned] = await taken(redis_client, bench.clock, 0)
    async with bench.reading(owned):
        await until(lambda: bench.lanes.left >= 50)
        assert len(bench.lanes) == 2  # what comes behind a long lane was read
        delivered = await bench.delivered(61)
    assert [text for text in delivered if text != "bob"] == texts
    fetched = [id_ for some in bench.stream.fetches for id_ in some]
    assert len(fetched) == len(set(fetched)) == 56


async def test_the_dispatcher_is_told_of_a_lane_that_is_held_back_when_its_head_is_to_be_fetched(
    redis_client: RedisClient,
) -> None:
    """It knew of no time to wait for, and would look again only when the store has something new."""
    holds: list[float] = []
    bench = Bench(redis_client, room=1, held_until=lambda _lane, now: now + holds[0] if holds else None)
    await bench.put("1")
    [owned] = await taken(redis_client, bench.clock, 0)
    async with bench.reading(owned):
        await until(lambda: bench.lanes.waiting == 1)
        lane = bench.take()
        assert lane is not None
        bench.lanes.postpone(lane, bench.clock.monotonic() + 1.0)
        assert bench.lanes.left == 1
        await bench.clock.advance(1.0)
        bench.lanes.wake_due(bench.clock.monotonic())
        bench.told.clear()
        holds.append(3.0)
        await until(lambda: any(bench.told))


async def test_one_fetch_serves_many_lanes(redis_client: RedisClient) -> None:
    bench = Bench(redis_client, depth=1)
    users = users_in(0, 40)
    for user in users:
        await bench.put("1", "2", to=user)
    [owned] = await taken(redis_client, bench.clock, 0)
    async with bench.reading(owned):
        await until(lambda: bench.lanes.left == 40)
        assert sorted(await bench.delivered(80)) == ["1"] * 40 + ["2"] * 40
    assert len(bench.stream.fetches) <= 40


async def test_an_entry_nobody_can_read_is_parked_at_once_and_stalls_nothing(redis_client: RedisClient) -> None:
    bench = Bench(redis_client)
    await bench.put("1")
    bad = [
        await put(redis_client, 0, "e", b"garbage"),
        await put(redis_client, 0, "somebody", "else", "wrote", "this"),
    ]
    await bench.put("2")
    [owned] = await taken(redis_client, bench.clock, 0)
    async with bench.reading(owned):
        assert await bench.delivered(2) == ["1", "2"]
    letters = await DeadLetters(redis_client).oldest(0)
    assert [letter.entry.id for letter in letters] == bad
    assert {letter.cause.reason for letter in letters} == {"unreadable"}
    assert bench.metrics.registry.get_sample_value("fanout_dead_total", {"reason": "unreadable"}) == 2
    assert [line["id"] for line in bench.lines.of("entry.unreadable")] == [each.decode() for each in bad]
    assert await waiting_in(redis_client, 1) == 0


async def test_bytes_that_are_no_text_or_nest_without_end_are_parked_too(redis_client: RedisClient) -> None:
    """Whatever lies in the stream, the reader lives on."""
    bench = Bench(redis_client)
    good = encode(an_entry(a_message(ALICE, text="1")))
    await put(redis_client, 0, "e", good.replace(ALICE.encode(), b"\xff" * len(ALICE)))
    await put(redis_client, 0, "e", b"\x95" + good[1:] + b"\x91" * 100_000 + b"\xc0")
    await bench.put("2")
    [owned] = await taken(redis_client, bench.clock, 0)
    async with bench.reading(owned):
        assert await bench.delivered(1) == ["2"]
    assert len(await DeadLetters(redis_client).oldest(0)) == 2


async def test_a_lane_with_a_call_of_a_former_owner_waits_for_its_end(redis_client: RedisClient) -> None:
    bench = Bench(redis_client)
    await bench.put("1", "2", "3")
    await bench.put("4", to=BOB)
    first = Leases(redis_client, SystemClock(), worker="first", lifetime=60)
    [lease] = await first.acquire([0])
    lanes = [lane_of("chat", a_message(name)) for name in (ALICE, "idle")]
    rest = await first.hand_over(lease, lanes)
    assert rest is not None
    [owned] = await taken(redis_client, bench.clock, 0)
    async with bench.reading(owned):
        assert await bench.delivered(1) == ["4"]
        await bench.put("5")
        await bench.put("6", to=BOB)
        assert await bench.delivered(1) == ["6"]
        assert set(owned.left) == set(lanes)
        oldest = (await entries_of(redis_client, 0))[0][1]
        assert bench.lanes.knows(owned.flows[USERS], oldest)
        [settled] = await bench.stream.settle([(0, rest.token, [Settled(USERS, "", 400, [oldest])])])
        assert settled
        await first.free(rest, lanes)
        assert await bench.delivered(3) == ["2", "3", "5"]
        assert (owned.left, len(bench.lanes)) == ({}, 0)


async def test_what_a_former_owner_settles_while_an_answer_is_on_its_way_does_not_go_again(
    redis_client: RedisClient,
) -> None:
    bench = Bench(redis_client)
    await bench.put("1", "2")
    first = Leases(redis_client, SystemClock(), worker="first", lifetime=60)
    [lease] = await first.acquire([0])
    rest = await first.hand_over(lease, [lane_of("chat", a_message(ALICE))])
    assert rest is not None
    [owned] = await taken(redis_client, bench.clock, 0)
    bench.stream.may_answer.clear()
    async with bench.reading(owned):
        await until(lambda: bench.stream.answers == 1)
        oldest = (await entries_of(redis_client, 0))[0][1]
        assert await bench.stream.settle([(0, rest.token, [Settled(USERS, "", 400, [oldest])])]) == [True]
        await first.free(rest, list(owned.left))
        await until(lambda: bool(owned.freed) or not owned.left)
        bench.stream.may_answer.set()
        assert await bench.delivered(1) == ["2"]


async def test_lanes_that_a_former_owner_left_at_endpoints_that_are_not_configured_here_are_its_own_affair(
    redis_client: RedisClient,
) -> None:
    bench = Bench(redis_client)
    await bench.put("1")
    first = Leases(redis_client, SystemClock(), worker="first", lifetime=60)
    [lease] = await first.acquire([0])
    lanes = [lane_of("chat@east", a_message(ALICE)), lane_of("chat@west", a_message(ALICE))]
    rest = await first.hand_over(lease, lanes)
    assert rest is not None
    bench.reader = Reader(
        bench.stream, bench.lanes, bench.settler, bench.sweeps, bench.pruner, bench.clock, bench.metrics,
        bench.lines.log, endpoints=("", "east"),
    )  # fmt: skip
    [owned] = await taken(redis_client, bench.clock, 0)
    async with bench.reading(owned):
        assert await bench.delivered(1) == ["1"]  # the same user at another endpoint waits for nobody
        assert owned.left == {lanes[0]: "@uchat@east", lanes[1]: "@uchat@west"}
        assert {name: flow.blocked for name, flow in owned.flows.items()} == {"@uchat@east": 1, USERS: 0}
        await first.free(rest, lanes)
        await until(lambda: not owned.left)
        assert len(bench.lanes) == 0


async def test_a_lane_goes_on_when_its_former_owner_died(redis_client: RedisClient) -> None:
    bench = Bench(redis_client)
    await bench.put("1")
    first = Leases(redis_client, SystemClock(), worker="first", lifetime=0.3)
    [lease] = await first.acquire([0])
    rest = await first.hand_over(lease, [lane_of("chat", a_message(ALICE))])
    assert rest is not None
    [owned] = await taken(redis_client, bench.clock, 0)
    async with bench.reading(owned):
        assert await bench.delivered(1) == ["1"]
    assert await bench.stream.settle([(0, rest.token, [Settled(USERS, "", 400, [b"1-1"])])]) == [False]


def newer(lane: str, version: int = VERSION + 1) -> bytes:
    """Return an entry of a newer format in a lane, in a form that this version cannot read."""
    return msgspec.msgpack.encode([version, 0, lane, "id", ["q", {"what": "nobody knows yet"}]])


async def test_a_newer_entry_stays_in_place_and_so_does_its_lane(redis_client: RedisClient) -> None:
    bench = Bench(redis_client)
    await bench.put("1")
    held = [await put(redis_client, 0, "e", newer("u" + ALICE)) for _ in range(2)]
    await bench.put("2", "3")
    await bench.put("4", "5", to=BOB)
    [owned] = await taken(redis_client, bench.clock, 0)
    async with bench.reading(owned):
        assert sorted(await bench.delivered(3)) == ["1", "4", "5"]
        await bench.put("6", to=BOB)
        await bench.put("7")
        assert await bench.delivered(1) == ["6"]
        flow = owned.flows[USERS]
        assert bench.lanes.knows(flow, held[0])
        assert (flow.stopped, owned.needs, owned.held) == (False, VERSION + 1, 1)
    assert await waiting_in(redis_client, 1) == 5
    assert await DeadLetters(redis_client).oldest(0) == []
    [line] = bench.lines.of("entry.newer")
    assert (line["partition"], line["format"], line["reads"], line["stops"]) == (0, VERSION + 1, VERSION, "lane")
    assert bench.lines.warned == {"entry.newer"}


async def test_each_newer_format_is_told_once_for_each_partition(redis_client: RedisClient) -> None:
    bench = Bench(redis_client)
    for version in (VERSION + 1, VERSION + 2, VERSION + 1):
        await put(redis_client, 0, "e", newer(f"u{version}", version))
    await bench.put("1", to=BOB)
    for _ in range(2):  # it is begun anew
        [owned] = await taken(redis_client, bench.clock, 0)
        async with bench.reading(owned):
            await until(lambda owned=owned: owned.held == 2)  # type: ignore[misc] # the loop's own
        await redis_client.ask("DEL", KEYS.lease(0))
    assert [line["format"] for line in bench.lines.of("entry.newer")] == [VERSION + 1, VERSION + 2]


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(newer(""), id="without a lane"),
        pytest.param(newer("gALICE"), id="with a lane of another flow"),
        pytest.param(msgspec.msgpack.encode([1, 0, "m", ["m", "galaxy", "", b""]]), id="with a scope of no kind"),
    ],
)
async def test_a_newer_entry_whose_lane_is_not_known_stops_its_flow(redis_client: RedisClient, data: bytes) -> None:
    bench = Bench(redis_client)
    await bench.put("1")
    await put(redis_client, 0, "e", data)
    await bench.put("2", to=BOB)
    [owned] = await taken(redis_client, bench.clock, 0)
    group = next(name for name in map(str, range(99)) if home_of(name, scope=Scope.GROUP) == 0)
    async with bench.reading(owned):
        assert await bench.delivered(1) == ["1"]
        await bench.put("3")
        await bench.put("4", to=group, scope=Scope.GROUP)
        assert await bench.delivered(1) == ["4"]
        flow = owned.flows[USERS]
        assert (flow.stopped, owned.needs, owned.held) == (True, VERSION + 1, 1)
    assert await waiting_in(redis_client, 1) == 3
    assert await DeadLetters(redis_client).oldest(0) == []


async def test_a_flow_of_a_kind_nobody_knows_yet_is_left_alone(redis_client: RedisClient) -> None:
    bench = Bench(redis_client)
    await put(redis_client, 0, "e", encode(an_entry()), flow="zchat")
    await bench.put("1")
    [owned] = await taken(redis_client, bench.clock, 0)
    async with bench.reading(owned):
        assert await bench.delivered(1) == ["1"]
        await until(lambda: owned.held == 1)
    assert await waiting_in(redis_client, 1) == 1


async def test_under_a_lost_lease_an_unreadable_entry_stays_where_it_is(redis_client: RedisClient) -> None:
    bench = Bench(redis_client)
    await put(redis_client, 0, "e", b"garbage")
    [owned] = await taken(redis_client, bench.clock, 0)
    await redis_client.ask("SET", KEYS.lease(0), "somebody:9")
    async with bench.reading(owned):
        await until(lambda: USERS in owned.flows and owned.flows[USERS].cursor != START)
        await until(lambda: owned.doubted)
    assert await DeadLetters(redis_client).oldest(0) == []
    assert await waiting_in(redis_client, 1) == 1
    assert bench.metrics.registry.get_sample_value("fanout_dead_total", {"reason": "unreadable"}) == 0


async def test_a_read_that_fails_is_repeated_at_once_and_nothing_begins_anew(redis_client: RedisClient) -> None:
    """A connection that was cut says nothing of the data; only the second failure in a row is followed by a pause."""
    bench = Bench(redis_client)
    await bench.put("1")
    [owned] = await taken(redis_client, bench.clock, 0)
    async with bench.reading(owned):
        await until(lambda: bench.lanes.waiting == 1)
        await redis_client.ask("CLIENT", "KILL", "ID", await blocked_client(redis_client))
        await bench.put("2")
        await until(lambda: bench.lanes.waiting == 2)
    assert not owned.doubted
    assert len(bench.lines.of("reader.failed")) == 1
    assert await bench.delivered(2) == ["1", "2"]


async def test_while_the_store_is_away_it_is_asked_again_after_a_pause(redis_client: RedisClient) -> None:
    bench = Bench(redis_client)
    bench.stream.failures = 3
    await bench.put("1")
    [owned] = await taken(redis_client, bench.clock, 0)
    async with bench.reading(owned):
        for _ in range(2):
            await until(lambda: bench.clock.sleeping > 0)
            assert bench.lanes.waiting == 0
            await bench.clock.advance(0.2)
        await until(lambda: bench.lanes.waiting == 1)
    assert not owned.doubted
    assert len(bench.lines.of("reader.failed")) == 1


async def test_when_another_server_answers_the_partition_is_in_doubt_and_its_reading_ends(
    redis_client: RedisClient,
) -> None:
    """What was a replica meanwhile may have lost what was read, and may give out smaller ids."""
    bench = Bench(redis_client)
    await bench.put("1")
    [owned] = await taken(redis_client, bench.clock, 0)
    async with bench.reading(owned):
        await until(lambda: bench.lanes.waiting == 1)
        await blocked_client(redis_client)
        await redis_client.ask("REPLICAOF", "127.0.0.1", "1")
        await redis_client.ask("REPLICAOF", "NO", "ONE")
        await bench.put("2")
        await until(lambda: owned.doubted)
        assert bench.lanes.waiting == 1


async def test_readers_of_several_partitions_share_the_room(redis_client: RedisClient) -> None:
    bench = Bench(redis_client, room=10)
    other = users_in(1, 1)[0]
    all_owned = await taken(redis_client, bench.clock, 0, 1)
    async with bench.reading(*all_owned):
        await bench.put(*"123456789", to=ALICE)
        await bench.put(*"abcdefghi", to=other)
        assert sorted(await bench.delivered(18)) == list("123456789abcdefghi")
        assert bench.lanes.size == 0


async def test_lanes_that_wait_for_their_time_do_not_keep_a_flow_from_being_read(redis_client: RedisClient) -> None:
    """What they hold stays below the mark at which the flow is read again."""
    bench = Bench(redis_client, room=16)
    *dead, one, other = users_in(0, 7)
    for number in range(40):
        for user in dead:
            await bench.put(str(number), to=user)
    for user in (one, other):
        await bench.put(*"123456789", to=user)
    [owned] = await taken(redis_client, bench.clock, 0)
    delivered = 0
    async with bench.reading(owned), asyncio.timeout(20):
        while delivered < 18:
            lane = bench.take()
            if lane is None:
                await asyncio.sleep(0.001)
            elif any(lane.key.endswith(user) for user in dead):
                lane.attempts = 1
                bench.lanes.postpone(lane, 1e9)
            else:
                bench.lanes.advance(lane)
                delivered += 1


async def test_a_flow_whose_part_shrank_below_what_waits_in_it_is_read_on(redis_client: RedisClient) -> None:
    """Alone, it may hold much of what waits for its time; when others need room, that goes back into the stream."""
    bench = Bench(redis_client, room=80)
    *dead, alive = users_in(0, 4)
    [owned] = await taken(redis_client, bench.clock, 0)
    async with bench.reading(owned):
        for user in dead:
            await bench.put("1", to=user)
        await until(lambda: bench.lanes.waiting == 3)
        for _ in dead:
            lane = bench.take()
            assert lane is not None
            bench.lanes.postpone(lane, 1e9)
        for user in dead:
            await bench.put(*"23456789ab", to=user)
        await until(lambda: bench.lanes.waiting == 33)
        for number in range(1, 16):  # what others hold, who get their part of the room
            bench.lanes.add("other", buffered_in(a_partition(number), number))
        await bench.put("living", "living too", to=alive)
        lanes = bench.lanes._lanes
        await until(lambda: sum(len(lane.waiting) for lane in lanes.values() if lane.key.endswith(alive)) == 2)
        assert a_flow(owned).size <= 80_000 // 16


async def test_what_waits_for_an_endpoint_that_is_not_configured_stays_and_is_told_once(
    redis_client: RedisClient,
) -> None:
    bench = Bench(redis_client)
    legs = [Submission(an_entry(a_message(ALICE, text=text))) for text in ("1", "2")]
    away = [structs.replace(leg, entry=structs.replace(leg.entry, endpoint="east")) for leg in legs]
    await bench.stream.append([*away, *legs])
    [owned] = await taken(redis_client, bench.clock, 0)
    async with bench.reading(owned):
        assert await bench.delivered(2) == ["1", "2"]
        await bench.stream.append([*away, *legs])
        assert await bench.delivered(2) == ["1", "2"]
    assert await waiting_in(redis_client, 1) == 4
    assert (sorted(owned.unknown_endpoints), owned.needs) == (["east"], 0)
    assert bench.lines.of("endpoint.unknown") == [{"endpoint": "east", "partition": 0}]


async def test_what_comes_later_for_an_endpoint_that_is_not_configured_is_told_too(redis_client: RedisClient) -> None:
    bench = Bench(redis_client)
    leg = Submission(an_entry(a_message(ALICE, text="1")))
    away = structs.replace(leg, entry=structs.replace(leg.entry, endpoint="east"))
    await bench.stream.append([away])
    await redis_client.ask("DEL", *(await redis_client.ask("KEYS", "*east*")))  # delivered before; the flow is known
    [owned] = await taken(redis_client, bench.clock, 0)
    async with bench.reading(owned):
        await until(lambda: bool(owned.foreign))
        assert not owned.unknown_endpoints
        await bench.stream.append([away])
        await until(lambda: bool(owned.unknown_endpoints))
        await bench.stream.append([leg])
        assert await bench.delivered(1) == ["1"]
    assert await waiting_in(redis_client, 1) == 1
    assert bench.lines.of("endpoint.unknown") == [{"endpoint": "east", "partition": 0}]


async def test_the_legs_of_a_configured_endpoint_come_in_order_with_its_name(redis_client: RedisClient) -> None:
    bench = Bench(redis_client)
    bench.reader = Reader(
        bench.stream, bench.lanes, bench.settler, bench.sweeps, bench.pruner, bench.clock, bench.metrics,
        bench.lines.log, endpoints=("", "east"),
    )  # fmt: skip
    entries = [an_entry(a_message(ALICE, text=str(number))) for number in range(3)]
    for entry in entries:
        await bench.stream.append([Submission(structs.replace(entry, endpoint=name)) for name in ("", "east")])
    [owned] = await taken(redis_client, bench.clock, 0)
    async with bench.reading(owned):
        await until(lambda: bench.lanes.waiting == 6)
    lane = bench.lanes.take(0.0, endpoint="east")
    assert lane is not None
    assert [buffered.entry for buffered in lane.waiting] == [structs.replace(e, endpoint="east") for e in entries]
    assert bench.lanes.take(0.0, endpoint="east") is None
    assert (bench.lanes.ready_in(RouteClass.SEND), bench.lanes.ready_in(RouteClass.SEND, "east")) == (1, 0)
