"""What follows from the end of a call, station by station; test_courier.py has the loop around it."""

import asyncio
from typing import cast

import pytest

from fanout.metrics import Metrics
from tests.fakes import FakeClock
from tests.workers.crew import Lines, a_tenure, held_in
from workers.bell import Bell
from workers.finisher import Finisher
from workers.gate import Gate
from workers.lanes import Lanes
from workers.retry import Answered, NotSent, Outcome, RetryPolicy
from workers.sender import TAKEN, Sender
from workers.settler import Settler, Told
from workers.tenure import Call, Tenure
from workers.trade import Trade
from workers.window import Window

POLICY = RetryPolicy(base=1.0, cap=30.0, max_age=3600.0, max_attempts=100, retry_unknown=True)


class Counter:
    """A settler that takes what is handed in, and tells nobody yet."""

    def __init__(self) -> None:
        self.handed_in: list[Told] = []

    def hand_in(self, entries: Call, told: Told) -> None:
        del entries
        self.handed_in.append(told)


class Desk:
    """A finisher with one lane of two entries, the head of which was called."""

    def __init__(self) -> None:
        self.clock, self.lanes, self.bell, self.counter = FakeClock(), Lanes(), Bell(), Counter()
        self.bell.room.clear()
        metrics, gate = Metrics(), Gate(Window(8), {}, lambda: 0.5)
        trade = Trade(self.clock, metrics, Lines().log, POLICY, lambda: 0.5, gate, lambda _kind, _slowdown: None)
        settler = cast("Settler", self.counter)
        self.finisher = Finisher(self.lanes, cast("Sender", None), settler, self.bell, trade)
        self.tenure: Tenure = a_tenure()
        for number in (1, 2):
            self.lanes.add("a", held_in(self.tenure, number))
        lane = self.lanes.take(self.clock.monotonic())
        assert lane is not None
        self.lane = lane
        self.lane.attempts = 1
        self.finisher.places.take(self.tenure)

    async def finish(self, outcome: Outcome) -> bool:
        async with asyncio.TaskGroup() as group:
            return self.finisher.finish(group, self.lane, (self.lane.head,), outcome, 0.1)


@pytest.mark.parametrize("certain", [True, False])
async def test_a_delivered_head_makes_way_at_once_and_keeps_its_place_until_the_store_has_answered(
    certain: bool,
) -> None:
    desk = Desk()
    assert await desk.finish(TAKEN)
    assert (len(desk.lane.waiting), desk.lane.attempts, desk.lanes.ready) == (1, 0, 1)
    assert repr(desk.finisher) == "<Finisher <Places 1 taken>>"
    assert not desk.bell.work.is_set()
    [told] = desk.counter.handed_in
    told(certain)
    assert (desk.finisher.places.taken, desk.tenure.in_flight) == (0, 0)
    assert desk.bell.work.is_set()  # a place is free


async def test_a_head_that_has_to_be_repeated_stays_and_its_place_is_free() -> None:
    desk = Desk()
    assert not await desk.finish(NotSent("no route"))
    assert (len(desk.lane.waiting), desk.lanes.ready, desk.counter.handed_in) == (2, 0, [])
    assert desk.lanes.next_due() == desk.clock.monotonic() + 0.5
    assert desk.bell.due.is_set()


async def test_being_throttled_is_no_attempt() -> None:
    desk = Desk()
    assert not await desk.finish(Answered(429, retry_after=3.0))
    assert (desk.lane.attempts, desk.lane.throttled) == (0, True)
    assert desk.lanes.next_due() == desk.clock.monotonic() + 3.0
