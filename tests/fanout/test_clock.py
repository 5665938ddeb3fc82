"""The one door to time, and that the clock of the tests opens the same way."""

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fanout.clock import Clock, SystemClock
from tests.fakes import FakeClock


async def test_the_systems_clock_reads_the_machines_clocks() -> None:
    clock: Clock = SystemClock()
    assert abs(clock.monotonic() - time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))) < 1
    assert abs(clock.wall() - time.time()) < 1


@pytest.mark.skipif(sys.platform != "linux", reason="time namespaces are Linux's")
def test_deadlines_go_on_while_the_machine_sleeps() -> None:
    """In a time namespace whose boot clock is an hour ahead, as after an hour of sleep; the other one is unchanged."""
    source = "import time; from fanout.clock import SystemClock; print(SystemClock().monotonic() - time.monotonic())"
    command = ["unshare", "--fork", "--time", "--boottime", "3600", sys.executable, "-c", source]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])
    except (FileNotFoundError, subprocess.CalledProcessError) as error:
        if "boottime" in os.environ.get("TEST_REQUIRE", ""):
            raise
        pytest.skip(f"this user may not make a time namespace: {error}")
    assert 3599 < float(done.stdout) - _asleep() < 3601


def _asleep() -> float:
    """How long this machine itself has slept."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) - time.monotonic()


async def test_a_sleep_lasts_at_least_as_long_as_asked() -> None:
    clock = SystemClock()
    started = clock.monotonic()
    await clock.sleep(0.02)
    assert clock.monotonic() - started >= 0.019


async def test_a_block_past_its_time_raises_timeout_error() -> None:
    with pytest.raises(TimeoutError):
        async with SystemClock().timeout(0.01):
            await asyncio.Event().wait()


@pytest.mark.parametrize("clock", [SystemClock(), FakeClock()])
async def test_a_block_that_ends_in_time_or_has_no_bound_passes(clock: Clock) -> None:
    async with clock.timeout(60), clock.timeout(None):
        await clock.sleep(0)


async def test_the_clock_of_the_tests_wakes_sleepers_in_order_and_only_when_told() -> None:
    clock, woken = FakeClock(), list[tuple[str, float]]()

    async def sleeper(name: str, seconds: float) -> None:
        await clock.sleep(seconds)
        woken.append((name, clock.monotonic()))

    start, wall = clock.monotonic(), clock.wall()
    async with asyncio.TaskGroup() as group:
        group.create_task(sleeper("late", 5.0))
        group.create_task(sleeper("soon", 1.0))
        await clock.advance(0.5)
        assert (woken, clock.sleeping) == ([], 2)
        await clock.advance(4.5)
    assert woken == [("soon", start + 1.0), ("late", start + 5.0)]
    assert clock.wall() == wall + 5.0


async def test_the_clock_of_the_tests_bounds_a_block() -> None:
    clock = FakeClock()

    async def times_out() -> bool:
        try:
            async with clock.timeout(2.0):
                await asyncio.Event().wait()
        except TimeoutError:
            return True
        return False

    async with asyncio.TaskGroup() as group:
        task = group.create_task(times_out())
        await clock.advance(1.9)
        assert not task.done()
        await clock.advance(0.2)
        assert await asyncio.wait_for(task, 5)
