"""The timer of postponed lanes and of classes that are held back."""

import asyncio
from collections.abc import AsyncIterator
from typing import Self

import pytest

from tests.fakes import FakeClock
from tests.workers.crew import a_tenure, held_in
from workers.alarm import Alarm
from workers.bell import Bell
from workers.gate import Gate
from workers.lanes import Lanes
from workers.route_class import RouteClass
from workers.window import Window


class Watch:
    """An alarm at work."""

    def __init__(self, **ceilings: float) -> None:
        self.clock = FakeClock()
        self.lanes = Lanes()
        self.bell = Bell()
        self.gate = Gate(Window(8), {RouteClass[name.upper()]: rate for name, rate in ceilings.items()}, lambda: 0.0)
        self.alarm = Alarm(self.lanes, self.gate, self.bell, self.clock)

    def postpone(self, number: int, seconds: float) -> None:
        """Have a lane of its own wait."""
        self.lanes.add(f"lane{number}", held_in(a_tenure(), number))
        lane = self.lanes.take(self.clock.monotonic())
        assert lane is not None
        self.lanes.postpone(lane, self.clock.monotonic() + seconds)
        self.bell.due.set()

    async def __aenter__(self) -> Self:
        self._task = asyncio.ensure_future(self.alarm.run())
        await self.clock.settle()
        return self

    async def __aexit__(self, *_error: object) -> None:
        self._task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await self._task


@pytest.fixture
async def watch() -> AsyncIterator[Watch]:
    async with Watch() as watch:
        yield watch


async def test_it_rings_when_a_lane_is_due_and_not_before(watch: Watch) -> None:
    watch.postpone(1, 2.0)
    await watch.clock.advance(1.9)
    assert (watch.bell.work.is_set(), watch.lanes.ready) == (False, 0)
    assert repr(watch.alarm) == "<Alarm, next lane at 1002.0>"
    await watch.clock.advance(0.2)
    assert (watch.bell.work.is_set(), watch.lanes.ready) == (True, 1)


async def test_a_lane_that_is_due_before_the_one_waited_for_is_not_late(watch: Watch) -> None:
    watch.postpone(1, 60.0)
    await watch.clock.settle()
    watch.postpone(2, 2.0)
    await watch.clock.advance(2.0)
    assert (watch.bell.work.is_set(), watch.lanes.ready) == (True, 1)


async def test_while_nothing_waits_no_timer_is_set(watch: Watch) -> None:
    assert watch.clock.sleeping == 0
    watch.lanes.add("a", held_in(a_tenure(), 1))
    watch.bell.due.set()
    await watch.clock.settle()
    assert (watch.clock.sleeping, watch.bell.work.is_set()) == (0, False)


async def test_it_rings_when_a_class_that_is_held_back_may_go_again() -> None:
    async with Watch(send=1.0) as watch:
        now = watch.clock.monotonic()
        watch.gate.began(RouteClass.SEND, "chat", now)
        watch.lanes.add("a", held_in(a_tenure(), 1))
        opens = watch.gate.opens_at(RouteClass.SEND, now)
        assert opens > now
        watch.bell.due.set()
        await watch.clock.settle()
        assert not watch.bell.work.is_set()
        await watch.clock.advance(opens - now)
        assert watch.bell.work.is_set()
