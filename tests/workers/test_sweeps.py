"""Order across lanes in one worker, with a real store: what is remembered, and what it waits for.

tests/flow/test_order_of_membership.py and the simulation's scene `sweeps` have the rest.
"""

import asyncio

import pytest

from fanout.clock import SystemClock
from fanout.metrics import Metrics
from fanout.queue.changes import Marker
from fanout.queue.dead_letters import DeadLetters
from fanout.queue.entry import VERSION, StoredEntry, Submission
from fanout.queue.keys import KEYS
from fanout.queue.presence import Presence
from fanout.queue.stream import Stream
from fanout.redis.client import RedisClient
from fanout.signalr.message import GroupAction, Scope, Verb
from tests.builders import an_entry
from tests.workers.helpers import PARTITIONS, Lines, a_flow, taken
from workers.pruner import Pruner
from workers.reader import Reader
from workers.schedule import Schedule
from workers.settler import Settler
from workers.sweeps import Sweeps

USERS = [f"u{number}" for number in range(6)]


class Line:
    """A worker without its calls: what may go is delivered at once."""

    def __init__(self, redis_client: RedisClient) -> None:
        self.redis_client, self.clock, self.metrics = redis_client, SystemClock(), Metrics()
        self.stream = Stream(
            redis_client, self.clock, partitions=PARTITIONS, max_bytes=1 << 30, dedup_window=60.0, origin="t"
        )
        self.lanes = Schedule()
        self.settler = Settler(self.stream, DeadLetters(redis_client), self.clock, self.metrics)
        self.sweeps = Sweeps(Presence(redis_client), self.lanes, self.settler, self.clock, self.metrics, bound=1.0)
        pruner, self.lines = Pruner(self.stream, self.clock), Lines()
        self.reader = Reader(
            self.stream, self.lanes, self.settler, self.sweeps, pruner, self.clock, self.metrics, self.lines.log
        )
        self.delivered: list[tuple[Verb, str]] = []
        self.most = 0

    async def deliver(self, count: int) -> None:
        """Deliver until `count` entries are done and the streams are empty."""
        while len(self.delivered) < count or any((await self.stream.depth()).entries):
            self.most = max(self.most, self.sweeps.markers)
            lane = self.lanes.take(self.clock.monotonic())
            if lane is None or not self.sweeps.may_go(lane, self.clock.monotonic()):
                await asyncio.sleep(0.001)
                continue
            head = lane.head
            assert isinstance(head.entry.item, GroupAction)
            self.delivered.append((head.entry.item.verb, head.entry.item.member))
            await self.redis_client.ask("XDEL", KEYS.stream(head.partition.number, lane.flow.name), head.id)
            head.flow.known.discard(head.id)
            self.lanes.advance(lane)


@pytest.mark.parametrize("most", [1, 20_000])
async def test_changes_keep_their_order_however_few_markers_are_remembered(
    redis_client: RedisClient, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    """With room for one marker, each flow reads on only when its first is gone, and nothing waits for ever."""
    monkeypatch.setattr("workers.sweeps._MOST", most)
    line = Line(redis_client)
    for user in USERS:
        add = GroupAction(Verb.ADD, Scope.USER, user, f"room {user}", None)
        items = [GroupAction(Verb.REMOVE_ALL, Scope.USER, user, "", None), add]
        receipts = await line.stream.append([Submission(an_entry(item)) for item in items])
        assert all(receipt.stream_id for receipt in receipts)
    owned = await taken(redis_client, line.clock, *range(PARTITIONS))
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        tasks = [group.create_task(line.reader.run(one, lambda: None)) for one in owned]
        tasks += [group.create_task(line.sweeps.run()), group.create_task(line.settler.run())]
        await line.deliver(2 * len(USERS))
        for task in tasks:
            task.cancel()
    for user in USERS:
        assert [verb for verb, member in line.delivered if member == user] == [Verb.REMOVE_ALL, Verb.ADD]
    assert line.most <= max(most, PARTITIONS) if most == 1 else line.most > PARTITIONS
    assert line.sweeps.markers == 0
    told = line.lines.of("order.markers_full")
    assert len(told) == line.sweeps.filled
    assert bool(told) == (most < 2 * len(USERS)), "markers of one stage and of the next are there at the same time"
    assert all(fields["markers"] >= most for fields in told)


async def test_reaching_the_most_markers_is_told_once_until_many_of_them_are_gone(
    redis_client: RedisClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.sweeps._MOST", 4)
    sweeps, flow = Line(redis_client).sweeps, a_flow(name="gchat")
    marker = Marker(VERSION, 1, "before", ("uann",))

    def taken_in(*numbers: int) -> list[bool]:
        return [sweeps.take(flow, StoredEntry(b"%d-0" % number, b"m"), marker) for number in numbers]

    assert taken_in(1, 2, 3, 4, 5) == [False, False, False, True, False]
    del sweeps._fences[flow][:2]
    await sweeps._look(-1.0)
    assert (sweeps.markers, taken_in(6), sweeps.filled) == (3, [True], 2)
    del sweeps._fences[flow][:1]
    await sweeps._look(-1.0)
    assert (sweeps.markers, taken_in(7), sweeps.filled) == (3, [True], 3)
