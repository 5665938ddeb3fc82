"""What the front door is given."""

import asyncio
from dataclasses import FrozenInstanceError

import pytest

from fanout.errors import FanoutError
from service.door import Readiness
from tests.fakes import FakeClock
from tests.service.doors import ACCESS_KEY, KEY, a_door


async def well() -> None:
    """Find nothing wrong."""


async def ill() -> None:
    raise FanoutError("something is missing")


async def never() -> None:
    await asyncio.Event().wait()


async def test_ready_is_who_is_not_draining_and_whose_checks_all_return() -> None:
    readiness = Readiness()
    assert await readiness.reasons(FakeClock(), 1.0) == []
    readiness.add("queue", well)
    assert await readiness.reasons(FakeClock(), 1.0) == []
    readiness.draining = True
    assert await readiness.reasons(FakeClock(), 1.0) == ["draining"]


async def test_every_reason_is_given_and_not_the_first_alone() -> None:
    readiness, clock = Readiness(), FakeClock()
    readiness.draining = True
    for name, check in {"queue": never, "worker": ill, "store": well, "other": never}.items():
        readiness.add(name, check)
    async with asyncio.TaskGroup() as group:
        asking = group.create_task(readiness.reasons(clock, 0.5))
        await clock.advance(0.5)
        assert not asking.done()
        await clock.advance(0.5)
    assert asking.result() == [
        "draining",
        "queue: no answer within 0.5 s",
        "worker: something is missing",
        "other: no answer within 0.5 s",
    ]


async def test_a_mistake_in_a_check_is_not_taken_for_a_reason() -> None:
    async def mistaken() -> None:
        raise ZeroDivisionError

    readiness = Readiness()
    readiness.add("worker", mistaken)
    with pytest.raises(ZeroDivisionError):
        await readiness.reasons(FakeClock(), 1.0)


def test_the_repr_names_the_checks() -> None:
    readiness = Readiness()
    assert repr(readiness) == "<Readiness open, checks: none>"
    readiness.add("queue", well)
    readiness.draining = True
    assert repr(readiness) == "<Readiness draining, checks: queue>"


def test_a_door_cannot_be_changed_and_shows_no_secret() -> None:
    door = a_door(api_key=KEY)
    with pytest.raises(FrozenInstanceError):
        door.role = "worker"  # type: ignore[misc]  # that is the point
    assert KEY not in repr(door)
    assert ACCESS_KEY not in repr(door)
