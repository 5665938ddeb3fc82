"""Waking whoever waits for work."""

import asyncio

from workers.bell import Bell


async def test_a_ring_nobody_hears_is_kept() -> None:
    bell = Bell()
    bell.work.set()
    await asyncio.wait_for(bell.work.wait(), 1)


def test_there_is_room_to_read_from_the_start() -> None:
    bell = Bell()
    assert (bell.work.is_set(), bell.room.is_set(), bell.hungry.is_set(), bell.due.is_set()) == (
        False,
        True,
        False,
        False,
    )


def test_its_repr_says_what_rings() -> None:
    bell = Bell()
    assert repr(bell) == "<Bell room>"
    bell.room.clear()
    assert repr(bell) == "<Bell silent>"
