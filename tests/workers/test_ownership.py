"""Leases of several workers on a real store, with a fake clock."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager

import pytest

from fanout.clock import SystemClock
from fanout.errors import QueueError
from fanout.queue.keys import KEYS
from fanout.queue.leases import Lease, LeaseKey, Leases, Renewal
from fanout.queue.sharing import LiveWorkers
from fanout.queue.worker_scripts import LEFT
from fanout.redis.client import RedisClient
from fanout.redis.open import open_redis
from tests.fakes import FakeClock
from tests.queue_layout import USERS, put
from tests.workers.helpers import Lines, a_flow, buffered_in, until
from workers.ownership import Ownership
from workers.partition import NO_LANE, OwnedPartition, StoreClock
from workers.schedule import Schedule

P = 4


@pytest.fixture
async def redis_client(redis_url: str) -> AsyncIterator[RedisClient]:
    """One server is enough here: what differs between servers is tested with the leases."""
    redis_client = open_redis(redis_url, SystemClock())
    yield redis_client
    await redis_client.aclose()


async def nothing_happens() -> None:
    """Happen between asking for a renewal and the store's answer."""


class Watched(Leases):
    """Leases that can be cut off from the store, and whose answers can be late."""

    def __init__(self, redis_client: RedisClient, clock: FakeClock, worker: str, reads: int) -> None:
        super().__init__(redis_client, clock, worker=worker, lifetime=100.0, reads=reads)
        self.fake = clock
        self.cut_off = False
        self.late = 0.0
        self.refuses_hand_over = False
        self.hears_of_hand_over = asyncio.Event()
        self.hears_of_hand_over.set()
        self.before_renewal: Callable[[], Awaitable[None]] = nothing_happens

    async def heartbeat(self, needs: Mapping[int, int] | None = None) -> LiveWorkers:
        self._check()
        return await super().heartbeat(needs)

    async def renew(
        self, leases: Sequence[Lease], flows: Mapping[int, Sequence[str]] | None = None
    ) -> Mapping[LeaseKey, Renewal | None]:
        self._check()
        meanwhile, self.before_renewal = self.before_renewal, nothing_happens
        await meanwhile()
        renewals = await super().renew(leases, flows)
        late, self.late = self.late, 0.0
        self.fake.jump(late)
        return renewals

    async def hand_over(self, lease: Lease, lanes: Collection[str]) -> Lease | None:
        if self.refuses_hand_over:
            raise QueueError("the slot is being moved")
        rest = await super().hand_over(lease, lanes)
        await self.hears_of_hand_over.wait()
        return rest

    async def release(self, lease: Lease) -> None:
        self._check()
        await super().release(lease)

    async def deregister(self) -> None:
        self._check()
        await super().deregister()

    def _check(self) -> None:
        if self.cut_off:
            raise QueueError("the store is away")


class Member:
    """One worker's ownership; `reading` are the partitions that are read now."""

    def __init__(
        self, redis_client: RedisClient, clock: FakeClock, worker: str, partitions: int = P, reads: int = 1
    ) -> None:
        self.redis_client = redis_client
        self.clock = clock
        self.leases = Watched(redis_client, clock, worker, reads)
        self.lanes = Schedule(room=0)
        self.lines = Lines()
        self.store_clock = StoreClock()
        self.ownership = Ownership(
            self.leases, self.lanes, self.store_clock, clock, self.lines.log, partitions=partitions
        )
        self.reading: dict[int, OwnedPartition] = {}
        self.group = asyncio.TaskGroup()

    def start_reading(self, owned: OwnedPartition) -> asyncio.Task[None]:
        assert owned.number not in self.reading
        self.reading[owned.number] = owned
        reading = self.group.create_task(self._read())
        reading.add_done_callback(lambda _task: self.reading.pop(owned.number))
        return reading

    async def _read(self) -> None:
        await asyncio.Event().wait()

    @asynccontextmanager
    async def on_duty(self) -> AsyncIterator["Member"]:
        async with self.group:
            running = self.group.create_task(self.ownership.run(self.start_reading))
            yield self
            running.cancel()
            self.ownership.close()

    async def owned(self, *partitions: int) -> None:
        """Wait until exactly these partitions are read here."""
        await until(lambda: sorted(self.reading) == list(partitions))

    async def beats(self, count: int = 1, *, workers_on_clock: int = 1) -> None:
        """Let this many heartbeats of all `workers_on_clock` on this clock pass and their answers come."""
        for _ in range(count):
            await self.clock.advance(1.0)
            await until(lambda: self.clock.sleeping == workers_on_clock)


async def owners(redis_client: RedisClient) -> dict[int, str]:
    tokens = await Leases(redis_client, SystemClock(), worker="nobody", lifetime=1).owners(P)
    return {partition: token.partition(":")[0] for partition, token in tokens.items()}


async def workers(redis_client: RedisClient) -> list[bytes]:
    members = await redis_client.ask("ZRANGE", KEYS.workers, 0, -1)
    return [member.partition(b" ")[0] for member in members]


async def test_a_worker_alone_takes_every_partition_and_reads_it(redis_client: RedisClient) -> None:
    clock = FakeClock()
    async with Member(redis_client, clock, "a").on_duty() as a:
        await a.owned(0, 1, 2, 3)
        assert len(a.ownership) == P
        assert repr(a.ownership) == "<Ownership of [0, 1, 2, 3], leaving []>"
        assert [line["partition"] for line in a.lines.of("lease.taken")] == [0, 1, 2, 3]
        [seconds, _] = await redis_client.ask("TIME")
        assert abs(a.store_clock.now(clock.monotonic()) - int(seconds)) < 5
    assert await owners(redis_client) == dict.fromkeys(range(P), "a")


async def test_leases_are_renewed_with_every_beat(redis_client: RedisClient) -> None:
    clock = FakeClock()
    async with Member(redis_client, clock, "a").on_duty() as a:
        await a.owned(0, 1, 2, 3)
        first = a.reading[0].lease
        await a.beats(300)
        assert a.reading[0].lease.token == first.token
        assert a.reading[0].lease.expires >= first.expires + 299


async def test_two_workers_share_evenly_and_no_partition_is_read_twice(redis_client: RedisClient) -> None:
    clock = FakeClock()
    async with Member(redis_client, clock, "a").on_duty() as a:
        await a.owned(0, 1, 2, 3)
        async with Member(redis_client, clock, "b").on_duty() as b:
            async with asyncio.timeout(10):
                while len(a.reading) != 2 or len(b.reading) != 2:
                    assert not a.reading.keys() & b.reading.keys()
                    await a.beats(workers_on_clock=2)
            assert a.reading.keys() | b.reading.keys() == set(range(P))
            assert a.lines.of("lease.lost") == []
            await b.ownership.leave()
        await until(lambda: not b.reading)
        async with asyncio.timeout(10):
            while len(a.reading) != P:
                await a.beats()


async def rests(redis_client: RedisClient, partition: int) -> list[str]:
    """Return the lanes of a partition in which a former owner has a call in flight."""
    names = await redis_client.run(LEFT, [KEYS.left(partition)], [KEYS.rest(partition, "")])
    return sorted(name.decode() for name in names)


async def test_a_partition_is_handed_over_at_once_but_for_lanes_with_calls_in_flight(redis_client: RedisClient) -> None:
    clock = FakeClock()
    async with Member(redis_client, clock, "a", partitions=1).on_duty() as a:
        await a.owned(0)
        owned = a.reading[0]
        for lane in ("x", "x", "y"):
            owned.began_call(lane)
        a.lanes.add("z", buffered_in(owned, 1))
        leaving = a.group.create_task(a.ownership.leave())
        await a.owned()
        await until(lambda: len(a.ownership) == 0)
        assert await owners(redis_client) == {}
        assert (await rests(redis_client, 0), a.ownership.lanes_leaving, a.lanes.waiting) == (["x", "y"], 2, 0)
        assert not owned.may_act(clock.monotonic())
        await a.beats(150)  # longer than a lease lasts: the rest of it is renewed
        assert owned.is_held(clock.monotonic())
        async with asyncio.timeout(5):
            owned.ended_call("x")
            owned.ended_call("y")
            while await rests(redis_client, 0) != ["x"]:  # noqa: ASYNC110 - what is waited for happens in Redis
                await asyncio.sleep(0.002)
            assert not leaving.done()
            owned.ended_call("x")
            await leaving
        assert (await rests(redis_client, 0), await workers(redis_client)) == ([], [])
        assert [line["lanes_left"] for line in a.lines.of("lease.released")] == [2]


@pytest.mark.lengthy
async def test_a_lease_that_cannot_be_handed_over_yet_is_renewed(redis_client: RedisClient) -> None:
    clock = FakeClock()
    async with Member(redis_client, clock, "a", partitions=1).on_duty() as a:
        await a.owned(0)
        owned = a.reading[0]
        owned.began_call("x")
        a.leases.refuses_hand_over = True
        leaving = a.group.create_task(a.ownership.leave())
        await a.beats(150, workers_on_clock=2)  # longer than a lease lasts; the hand-over is repeated beside
        assert owned.is_held(clock.monotonic())
        assert await owners(redis_client) == {0: "a"}
        a.leases.refuses_hand_over = False
        await clock.advance(1.0)
        await until(lambda: a.ownership.lanes_leaving == 1)
        owned.ended_call("x")
        await asyncio.wait_for(leaving, 5)


async def test_a_lease_that_ran_out_before_its_hand_over_was_heard_of_is_lost(redis_client: RedisClient) -> None:
    clock = FakeClock()
    async with Member(redis_client, clock, "a", partitions=1).on_duty() as a:
        await a.owned(0)
        owned = a.reading[0]
        owned.began_call("x")
        a.leases.hears_of_hand_over.clear()
        leaving = a.group.create_task(a.ownership.leave())
        async with asyncio.timeout(5):
            while await owners(redis_client):  # noqa: ASYNC110 - what is waited for happens in Redis
                await asyncio.sleep(0.002)
        clock.jump(200.0)
        await a.beats()
        assert owned.lost
        a.leases.hears_of_hand_over.set()
        owned.ended_call("x")
        await asyncio.wait_for(leaving, 5)
        assert not owned.is_held(clock.monotonic())
        assert await rests(redis_client, 0) == ["x"]  # until it expires: a call may still be on its way


async def test_a_marker_that_is_being_settled_holds_up_no_lane(redis_client: RedisClient) -> None:
    """Whatever let it go is absent for ever, so its settlement may come under the lease, under its rest, or again."""
    clock = FakeClock()
    async with Member(redis_client, clock, "a", partitions=2).on_duty() as a:
        await a.owned(0, 1)
        both, alone = a.reading[0], a.reading[1]
        for owned in (both, alone):
            owned.began_call(NO_LANE)
        both.began_call("x")
        leaving = a.group.create_task(a.ownership.leave())
        await until(lambda: len(a.ownership) == 1)
        assert (await rests(redis_client, 0), await rests(redis_client, 1)) == (["x"], [])
        assert await owners(redis_client) == {1: "a"}
        alone.ended_call(NO_LANE)
        await until(lambda: len(a.ownership) == 0)
        both.ended_call("x")
        await until(lambda: a.ownership.lanes_leaving == 0)
        assert not leaving.done()
        both.ended_call(NO_LANE)
        await asyncio.wait_for(leaving, 5)
        assert await redis_client.ask("EXISTS", KEYS.rest(0, both.lease.token)) == 0


async def test_the_next_owner_waits_no_longer_than_the_rest_of_the_lease_lasts(redis_client: RedisClient) -> None:
    clock = FakeClock()
    async with Member(redis_client, clock, "a", partitions=1).on_duty() as a:
        await a.owned(0)
        owned = a.reading[0]
        owned.began_call("x")
        leaving = a.group.create_task(a.ownership.leave())
        await until(lambda: len(a.ownership) == 0)
        await redis_client.ask("DEL", KEYS.rest(0, owned.lease.token))  # as if it had expired
        assert await rests(redis_client, 0) == []
        await a.beats(2)
        assert owned.lost
        owned.ended_call("x")
        await asyncio.wait_for(leaving, 5)
        assert [line["cause"] for line in a.lines.of("lease.lost")] == ["refused"]


async def test_when_the_lanes_left_are_too_many_the_lease_is_kept_until_their_calls_end(
    redis_client: RedisClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fanout.queue.leases._MOST_LEFT", 1)
    clock = FakeClock()
    async with Member(redis_client, clock, "a", partitions=1).on_duty() as a:
        await a.owned(0)
        owned = a.reading[0]
        owned.began_call("x")
        owned.began_call("y")
        leaving = a.group.create_task(a.ownership.leave())
        await a.beats(3)
        assert (await owners(redis_client), await rests(redis_client, 0)) == ({0: "a"}, [])
        owned.ended_call("x")
        owned.ended_call("y")
        await asyncio.wait_for(leaving, 5)
        assert await owners(redis_client) == {}


async def test_while_calls_end_their_leases_are_renewed(redis_client: RedisClient) -> None:
    clock = FakeClock()
    async with Member(redis_client, clock, "a", partitions=1).on_duty() as a:
        await a.owned(0)
        owned = a.reading[0]
        owned.began_call("lane")
        leaving = a.group.create_task(a.ownership.leave())
        await a.beats(150)
        assert owned.is_held(clock.monotonic())
        owned.ended_call("lane")
        await asyncio.wait_for(leaving, 5)


async def test_a_surplus_partition_whose_calls_last_is_counted_once(redis_client: RedisClient) -> None:
    clock = FakeClock()
    async with Member(redis_client, clock, "a").on_duty() as a:
        await a.owned(0, 1, 2, 3)
        all_owned = list(a.reading.values())
        for owned in all_owned:
            owned.began_call("lane")
        await redis_client.ask("ZADD", KEYS.workers, "+inf", "b")
        await a.beats(5)
        assert (len(a.reading), len(a.ownership), a.ownership.lanes_leaving) == (2, 2, 2)
        assert len(await owners(redis_client)) == 2
        for owned in all_owned:
            owned.ended_call("lane")
        await until(lambda: a.ownership.lanes_leaving == 0)
        await a.beats(2)
        assert len(a.ownership) == 2


async def test_what_is_on_its_way_back_does_not_outlive_the_beats(redis_client: RedisClient) -> None:
    """Its call may never be settled: what settles ends with the worker too."""
    clock = FakeClock()
    async with asyncio.timeout(10):
        async with Member(redis_client, clock, "a").on_duty() as a:
            await a.owned(0, 1, 2, 3)
            for owned in a.reading.values():
                owned.began_call("lane")
            await redis_client.ask("ZADD", KEYS.workers, "+inf", "b")
            await a.beats(2)
            await until(lambda: a.ownership.lanes_leaving == 2)  # the store has answered both releases
            assert len(a.reading) == 2
    assert (len(a.ownership), a.ownership.lanes_leaving) == (2, 2)


async def test_leaving_while_a_partition_is_on_its_way_back_ends_both(redis_client: RedisClient) -> None:
    clock = FakeClock()
    async with asyncio.timeout(10), Member(redis_client, clock, "a", partitions=1).on_duty() as a:
        await a.owned(0)
        owned = a.reading[0]
        owned.began_call("lane")
        await redis_client.ask("ZADD", KEYS.workers, "+inf", "0")  # ranks before a, so the one partition is another's
        await a.beats(2)
        leaving = a.group.create_task(a.ownership.leave())
        await clock.settle()
        owned.ended_call("lane")
        await leaving
    assert await owners(redis_client) == {}


async def test_a_partition_released_while_a_renewal_is_on_its_way_is_not_a_lost_one(redis_client: RedisClient) -> None:
    clock = FakeClock()
    async with Member(redis_client, clock, "a", partitions=1).on_duty() as a:
        await a.owned(0)
        owned = a.reading[0]
        owned.began_call("lane")
        await redis_client.ask("ZADD", KEYS.workers, "+inf", "0")
        while len(a.ownership):  # until it is handed over but for the lane
            await a.beats()

        async def it_is_released() -> None:
            owned.ended_call("lane")
            await until(lambda: len(a.ownership) == 0)

        a.leases.before_renewal = it_is_released
        await a.beats(2)
        await until(lambda: len(a.ownership) == 0)
        assert a.lines.of("lease.lost") == []
        assert len(a.lines.of("lease.released")) == 1


async def test_a_partition_with_newer_entries_goes_to_a_worker_that_can_read_them(redis_client: RedisClient) -> None:
    clock = FakeClock()
    async with Member(redis_client, clock, "a").on_duty() as a:
        await a.owned(0, 1, 2, 3)
        for number in (0, 1, 2):
            a.reading[number].needs = 2
        await a.beats(3)
        await a.owned(0, 1, 2, 3)  # nobody can read them
        assert a.ownership.newer == {0: 2, 1: 2, 2: 2}
        async with Member(redis_client, clock, "b", reads=2).on_duty() as b:
            await a.beats(3, workers_on_clock=2)
            await b.owned(0, 1, 2)
            await a.owned(3)
            await a.beats(5, workers_on_clock=2)
            await b.owned(0, 1, 2)
            assert a.ownership.newer == {}
        await redis_client.ask("DEL", *(KEYS.lease(number) for number in (0, 1, 2)), KEYS.workers)
        await a.beats(3)
        await a.owned(0, 1, 2, 3)  # it died


async def test_a_worker_without_word_of_them_takes_none_of_these_either(redis_client: RedisClient) -> None:
    """Two old workers: the second one learns from the first."""
    clock = FakeClock()
    async with Member(redis_client, clock, "a").on_duty() as a:
        await a.owned(0, 1, 2, 3)
        for owned in a.reading.values():
            owned.needs = 2
        async with Member(redis_client, clock, "b").on_duty() as b:
            await a.beats(4, workers_on_clock=2)
            assert len(b.reading) == 2
            async with Member(redis_client, clock, "c", reads=2).on_duty() as c:
                await a.beats(5, workers_on_clock=3)
                await c.owned(0, 1, 2, 3)
                assert (a.reading, b.reading) == ({}, {})


async def test_a_lease_somebody_else_took_ends_the_partition(redis_client: RedisClient) -> None:
    clock = FakeClock()
    async with Member(redis_client, clock, "a", partitions=2).on_duty() as a:
        await a.owned(0, 1)
        owned = a.reading[0]
        a.lanes.add("x", buffered_in(owned, 1))
        await redis_client.ask("SET", KEYS.lease(0), "b:9")
        await a.beats(2)
        await a.owned(1)
        assert (owned.lost, owned.ended, a.lanes.waiting) == (True, True, 0)
        assert a.lines.of("lease.lost") == [{"partition": 0, "cause": "refused", "in_flight": 0, "unsettled": 1}]
        await redis_client.ask("DEL", KEYS.lease(0))
        await a.beats(2)
        await a.owned(0, 1)
        assert a.reading[0] is not owned


async def test_a_lost_partition_is_not_taken_again_while_its_calls_are_in_flight(redis_client: RedisClient) -> None:
    clock = FakeClock()
    async with Member(redis_client, clock, "a", partitions=1).on_duty() as a:
        await a.owned(0)
        owned = a.reading[0]
        owned.began_call("lane")
        await redis_client.ask("DEL", KEYS.lease(0))
        await a.beats(5)
        await a.owned()
        assert await owners(redis_client) == {}
        owned.ended_call("lane")
        await a.beats(2)
        await a.owned(0)


async def test_what_was_handed_over_and_then_forgotten_is_not_taken_again_while_its_calls_are_in_flight(
    redis_client: RedisClient,
) -> None:
    """The store would tell another owner of the lanes with these calls, and has forgotten them."""
    clock = FakeClock()
    async with Member(redis_client, clock, "a").on_duty() as a:
        await a.owned(0, 1, 2, 3)
        all_owned = dict(a.reading)
        for owned in all_owned.values():
            owned.began_call("lane")
        await redis_client.ask("ZADD", KEYS.workers, "+inf", "b")
        await a.beats(5)
        kept = list(a.reading)
        given = [number for number in all_owned if number not in kept]
        assert len(given) == 2
        for number in given:
            await redis_client.ask("DEL", KEYS.left(number), KEYS.rest(number, all_owned[number].lease.token))
        await redis_client.ask("ZREM", KEYS.workers, "b")
        await a.beats(5)
        await a.owned(*kept)
        all_owned[given[0]].ended_call("lane")
        await a.beats(2)
        await a.owned(*sorted([*kept, given[0]]))
        all_owned[given[1]].ended_call("lane")
        await a.beats(2)
        await a.owned(0, 1, 2, 3)


async def test_without_the_store_leases_are_held_until_they_run_out_and_taken_again_when_it_is_back(
    redis_client: RedisClient,
) -> None:
    clock = FakeClock()
    async with Member(redis_client, clock, "a", partitions=1).on_duty() as a:
        await a.owned(0)
        a.leases.cut_off = True
        await clock.advance(98.0)
        await a.owned(0)
        await clock.advance(4.0)
        await a.owned()
        assert len(a.lines.of("leases.unreachable")) > 90
        assert len(a.lines.of("lease.lost")) == 1
        await redis_client.ask("DEL", KEYS.lease(0))  # as its own lifetime would
        a.leases.cut_off = False
        await a.beats(2)
        await a.owned(0)


async def test_a_renewal_that_comes_after_the_lease_ran_out_does_not_revive_what_was_dropped(
    redis_client: RedisClient,
) -> None:
    """Entries are dropped when a lease runs out, so that the stream has to be read from its start again."""
    clock = FakeClock()
    async with Member(redis_client, clock, "a", partitions=1).on_duty() as a:
        await a.owned(0)
        owned = a.reading[0]
        a.leases.late = 101.0
        await a.beats(1)
        await until(lambda: not a.leases.late)
        await until(lambda: owned not in a.reading.values())
        assert owned.ended
        await until(lambda: bool(a.lines.of("lease.lost")))
        assert [line["cause"] for line in a.lines.of("lease.lost")] == ["expired"]
        assert a.lines.of("lease.released") == []
        async with asyncio.timeout(5):
            while 0 not in a.reading:
                await a.beats()


async def test_when_leaving_the_worker_is_off_the_list_and_takes_nothing_more(redis_client: RedisClient) -> None:
    clock = FakeClock()
    async with Member(redis_client, clock, "a", partitions=2).on_duty() as a:
        await a.owned(0, 1)
        await a.ownership.leave()
        await a.beats(3)
        await a.owned()
        assert await owners(redis_client) == {}
        assert await workers(redis_client) == []


async def test_leaving_without_the_store_ends_all_the_same(redis_client: RedisClient) -> None:
    clock = FakeClock()
    async with Member(redis_client, clock, "a", partitions=2).on_duty() as a:
        await a.owned(0, 1)
        a.leases.cut_off = True
        await asyncio.wait_for(a.ownership.leave(), 5)
        assert len(a.ownership) == 0
        assert len(a.lines.of("leases.unreachable")) >= 3


async def test_what_is_still_held_when_time_is_over_is_released_calls_or_not(redis_client: RedisClient) -> None:
    clock = FakeClock()
    async with Member(redis_client, clock, "a", partitions=1).on_duty() as a:
        await a.owned(0)
        owned = a.reading[0]
        owned.began_call("lane")
        a.ownership.close()
        await a.ownership.release_all()
        assert (len(a.ownership), await owners(redis_client)) == (0, {})
        owned.ended_call("lane")


async def test_when_time_is_over_nothing_waits_for_calls_that_nobody_ends(redis_client: RedisClient) -> None:
    clock = FakeClock()
    async with asyncio.timeout(10), Member(redis_client, clock, "a", partitions=1).on_duty() as a:
        await a.owned(0)
        a.reading[0].began_call("x")
        await redis_client.ask("ZADD", KEYS.workers, "+inf", "0")
        await a.beats(2)
        assert (await rests(redis_client, 0), a.ownership.lanes_leaving) == (["x"], 1)
        await a.ownership.release_all()
    assert await rests(redis_client, 0) == []


async def test_an_entry_behind_the_cursor_that_nobody_holds_ends_the_partition(redis_client: RedisClient) -> None:
    """A store that failed over can give out ids that are smaller than those already read; the next owner reads them."""
    clock = FakeClock()
    async with Member(redis_client, clock, "a", partitions=1).on_duty() as a:
        await a.owned(0)
        owned = a.reading[0]
        flow = a_flow(owned)
        flow.cursor = b"100-0"
        await put(redis_client, 0, "e", "x", stream_id="50-0")
        await a.beats(4)
        await until(lambda: owned.ended and a.reading[0] is not owned)
        assert a.lines.of("reader.rewound") == [{"partition": 0, "flow": "uchat", "oldest": "50-0"}]


@pytest.mark.parametrize(
    ("known", "cursor"),
    [({b"50-0"}, b"100-0"), (set[bytes](), b"49-0"), ({b"50-0", b"60-0"}, b"60-0")],
)
async def test_an_entry_that_is_held_or_still_ahead_is_no_reason_to_go_back(
    redis_client: RedisClient, known: set[bytes], cursor: bytes
) -> None:
    clock = FakeClock()
    async with Member(redis_client, clock, "a", partitions=1).on_duty() as a:
        await a.owned(0)
        owned = a.reading[0]
        flow = a_flow(owned)
        flow.cursor, flow.known = cursor, known
        await put(redis_client, 0, "e", "x", stream_id="50-0")
        await a.beats(5)
        assert a.reading[0] is owned


async def test_an_oldest_entry_that_changes_from_beat_to_beat_is_no_reason_to_go_back(
    redis_client: RedisClient,
) -> None:
    clock = FakeClock()
    async with Member(redis_client, clock, "a", partitions=1).on_duty() as a:
        await a.owned(0)
        owned = a.reading[0]
        flow = a_flow(owned)
        flow.cursor = b"100-0"
        for number in range(10, 16):
            await put(redis_client, 0, "e", "x", stream_id=f"{number}-0")
            await redis_client.ask("XTRIM", KEYS.stream(0, USERS), "MAXLEN", 1)
            await a.beats()
            await clock.settle()
        assert a.reading[0] is owned


async def test_entries_that_lanes_left_in_the_stream_are_no_reason_to_go_back(redis_client: RedisClient) -> None:
    clock = FakeClock()
    post = Member(redis_client, clock, "a", partitions=1)
    async with post.on_duty() as a:
        await a.owned(0)
        owned = a.reading[0]
        a.lanes.add("x", buffered_in(owned, 10))
        for number in range(11, 80):  # more than one lane holds
            a.lanes.add("x", buffered_in(owned, number))
        assert b"79-0" not in a_flow(owned).known
        flow = a_flow(owned)
        flow.cursor = b"100-0"
        await put(redis_client, 0, "e", "x", stream_id="79-0")
        await a.beats(5)
        assert a.reading[0] is owned


async def test_a_store_that_forgot_the_leases_is_reported_with_what_was_not_settled(redis_client: RedisClient) -> None:
    """Emptying the store loses accepted entries, and the log has to say so."""
    clock = FakeClock()
    async with Member(redis_client, clock, "a", partitions=1).on_duty() as a:
        await a.owned(0)
        a_flow(a.reading[0]).known = {b"1-0", b"2-0"}
        await redis_client.ask("FLUSHALL")
        await a.beats(3)
        await until(lambda: bool(a.lines.of("store.forgot")))
        assert a.lines.of("store.forgot") == [{"partition": 0, "unsettled": 2}]


async def test_a_lease_that_only_ran_out_is_no_reason_to_call_the_store_forgetful(redis_client: RedisClient) -> None:
    clock = FakeClock()
    async with Member(redis_client, clock, "a", partitions=1).on_duty() as a:
        await a.owned(0)
        await redis_client.ask("DEL", KEYS.lease(0))
        await a.beats(4)
        await a.owned(0)
        assert a.lines.of("lease.lost")
        assert a.lines.of("store.forgot") == []
