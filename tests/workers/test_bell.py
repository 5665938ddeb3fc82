"""Waking whoever waits for work."""

import asyncio

from tests.fakes import FakeClock
from workers.bell import Bell


async def test_a_ring_wakes_as_many_as_there_is_work_for_first_come_first_served() -> None:
    bell, woken = Bell(), list[int]()

    async def sleeper(number: int) -> None:
        await bell.sleep()
        woken.append(number)

    async with asyncio.TaskGroup() as group:
        for number in range(4):
            group.create_task(sleeper(number))
        await FakeClock().settle()
        assert repr(bell) == "<Bell 4 asleep>"
        bell.ring(2)
        await FakeClock().settle()
        assert woken == [0, 1]
        bell.ring(100)
    assert woken == [0, 1, 2, 3]


async def test_a_ring_goes_past_sleepers_that_were_cancelled() -> None:
    bell = Bell()
    cancelled, alive = asyncio.ensure_future(bell.sleep()), asyncio.ensure_future(bell.sleep())
    await FakeClock().settle()
    cancelled.cancel()
    await FakeClock().settle()
    bell.ring(1)
    await asyncio.wait_for(alive, 1)


async def test_a_ring_for_nothing_or_to_nobody_is_harmless() -> None:
    bell = Bell()
    bell.ring(5)
    sleeping = asyncio.ensure_future(bell.sleep())
    await FakeClock().settle()
    bell.ring(0)
    bell.ring(-1)
    await FakeClock().settle()
    assert not sleeping.done()
    bell.ring(1)
    await asyncio.wait_for(sleeping, 1)


def test_there_is_room_to_read_from_the_start() -> None:
    bell = Bell()
    assert (bell.room.is_set(), bell.hungry.is_set(), bell.due.is_set()) == (True, False, False)
