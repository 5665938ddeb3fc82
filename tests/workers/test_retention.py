"""Dead letters that are too old: when they are deleted, by whom, and that each is counted."""

import asyncio
from collections import defaultdict
from collections.abc import Collection
from typing import cast

import pytest

from fanout.errors import LeaseLostError, QueueSilentError
from fanout.metrics import Metrics
from fanout.queue.dead_letters import DeadLetters, OldDeleted
from tests.fakes import FakeClock
from tests.workers.helpers import Lines, a_partition
from workers.partition import OwnedPartition
from workers.retention import Look, Retention, next_look

DAY = 86_400.0
AT_ONCE = 3  # letters in one step


class Letters:
    """Dead letters by partition, each by the time when it is too old, deleted and reported as the store does."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.ends: dict[int, list[float]] = defaultdict(list)
        self.uncounted: dict[int, tuple[int, bytes]] = defaultdict(lambda: (0, b""))
        self.steps: list[int] = []  # partitions
        self.lost = 0  # so many of the next answers do not come
        self.owner = "w:1"

    async def delete_old(self, partition: int, token: str, max_age: float, counted: bytes = b"") -> OldDeleted:
        assert max_age == DAY
        self.steps.append(partition)
        if token != self.owner:
            raise LeaseLostError("another owner")
        count, last = self.uncounted[partition]
        if counted and counted == last:
            count, last = 0, b""
        ends = self.ends[partition]
        old = [end for end in ends if end <= self.clock.monotonic()][:AT_ONCE]
        if old:
            count, last = count + len(old), b"letter %d" % len(self.steps)
        del ends[: len(old)]
        self.uncounted[partition] = (count, last)
        if self.lost:
            self.lost -= 1
            raise QueueSilentError("no answer")
        return OldDeleted(count, last, max(0.0, ends[0] - self.clock.monotonic()) if ends else None)


class Bench:
    """One worker's dead letters."""

    def __init__(self, *owned: OwnedPartition) -> None:
        self.clock, self.metrics, self.lines = FakeClock(), Metrics(), Lines()
        self.letters = Letters(self.clock)
        self.owned: Collection[OwnedPartition] = owned or (a_partition(),)
        self.retention = Retention(
            cast("DeadLetters", self.letters), self.clock, self.metrics, self.lines.log, max_age=DAY
        )

    @property
    def counted(self) -> float:
        return self.metrics.dropped_letters["age"].value

    async def live(self, seconds: float) -> None:
        """Let it run for some seconds more."""
        task = asyncio.create_task(self.retention.run(lambda: self.owned))
        await self.clock.advance(seconds)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    def park(self, count: int, *, ends: float, partition: int = 0) -> None:
        """Add letters that are too old after so many seconds."""
        self.letters.ends[partition] += [self.clock.monotonic() + ends] * count


@pytest.mark.parametrize(
    ("step", "look"),
    [
        (OldDeleted(3, b"7-0", 0.0), Look(50.0, b"7-0")),  # there may be more
        (OldDeleted(3, b"7-0", 9.0), Look(50.0, b"7-0")),  # the store is to be told of the count
        (OldDeleted(0, b"", 0.0), Look(50.0)),
        (OldDeleted(0, b"", 9.0), Look(59.0)),
        (OldDeleted(0, b"", DAY), Look(3650.0)),  # the store's clock may be set meanwhile
        (OldDeleted(0, b"", None), Look(3650.0)),
    ],
)
def test_the_next_look_is_when_a_letter_becomes_too_old(step: OldDeleted, look: Look) -> None:
    assert next_look(step, 50.0, DAY) == look


def test_where_there_is_none_no_letter_is_too_old_before_the_age() -> None:
    assert next_look(OldDeleted(0, b"", None), 50.0, 60.0) == Look(110.0)


async def test_a_letter_goes_within_seconds_of_its_age_and_not_before() -> None:
    bench = Bench()
    bench.park(1, ends=95.0)
    bench.park(1, ends=300.0)
    await bench.live(94.0)
    assert (bench.counted, len(bench.letters.steps)) == (0, 1)  # nobody asks in between
    await bench.live(12.0)
    assert (bench.counted, len(bench.letters.ends[0])) == (1, 1)


async def test_a_backlog_goes_in_steps_that_partitions_make_in_turn() -> None:
    bench = Bench(a_partition(0), a_partition(1))
    bench.park(9, ends=0.0)
    bench.park(9, ends=0.0, partition=1)
    await bench.live(1.0)
    assert bench.counted == 18
    assert bench.letters.steps == [0, 1] * 4  # the last one tells the store what was counted
    assert all(not count for count, _last in bench.letters.uncounted.values())


async def test_letters_are_counted_although_answers_are_lost() -> None:
    bench = Bench()
    bench.park(7, ends=0.0)
    bench.letters.lost = 2
    await bench.live(60.0)
    assert (bench.counted, bench.letters.uncounted[0][0]) == (7, 0)


async def test_what_a_predecessor_did_not_count_is_counted() -> None:
    bench = Bench()
    bench.letters.uncounted[0] = (5, b"gone")
    await bench.live(1.0)
    assert bench.counted == 5


async def test_nothing_is_deleted_under_a_lease_that_is_over_or_in_doubt() -> None:
    doubted = a_partition(1)
    doubted.doubt()
    bench = Bench(a_partition(0, expires=0.0), doubted)
    bench.park(1, ends=0.0)
    bench.park(1, ends=0.0, partition=1)
    await bench.live(60.0)
    assert bench.letters.steps == []


async def test_a_lease_that_was_lost_stops_only_its_own_partition() -> None:
    bench = Bench(a_partition(0, token="w:0"), a_partition(1))
    bench.park(1, ends=0.0)
    bench.park(1, ends=0.0, partition=1)
    await bench.live(5.0)
    assert (bench.counted, len(bench.letters.ends[0]), bench.letters.ends[1]) == (1, 1, [])


async def test_a_partition_that_comes_back_is_looked_at_again() -> None:
    bench = Bench()
    await bench.live(15.0)
    bench.owned = (a_partition(0),)
    await bench.live(15.0)
    assert bench.letters.steps == [0, 0]


async def test_the_log_has_one_line_in_ten_seconds_with_all_that_was_deleted() -> None:
    bench = Bench()
    bench.park(30, ends=0.0)
    await bench.live(25.0)
    lines = bench.lines.of("dead_letters.aged")
    assert bench.lines.warned == {"dead_letters.aged"}
    assert [line["age"] for line in lines] == [DAY] * 2
    assert sum(line["deleted"] for line in lines) == 30


async def test_an_outage_is_said_once_a_minute_and_a_lost_lease_never() -> None:
    bench = Bench(a_partition(0, token="w:0"), a_partition(1), a_partition(2))
    bench.letters.lost = 16  # two in each round of 10 seconds
    await bench.live(75.0)
    assert bench.letters.lost == 0
    assert bench.lines.of("dead_letters.unreachable") == [{"partition": 1, "error": "no answer"}] * 2


def test_letters_without_an_age_need_no_task() -> None:
    letters = cast("DeadLetters", Letters(FakeClock()))
    retention = Retention(letters, FakeClock(), Metrics(), Lines().log, max_age=0.0)
    assert retention.tasks(lambda: ()) == []
    assert repr(retention) == "<Retention, 0 s>"
