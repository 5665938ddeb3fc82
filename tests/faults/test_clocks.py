"""Wall clocks that jump while messages flow: those of our processes, then that of Redis.

Rule guarded: our own wall clocks decide nothing but what a token says; the age of a message comes from Redis alone, and
leases are judged by monotonic clocks. A Redis whose clock is set is believed: what waits becomes older, and leases may
run out at once, which repeats at most what was in flight.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.faults.jumping import JumpingClock, find_library
from tests.faults.standing import CONCURRENCY, WORKERS, Standing, times_of

pytestmark = pytest.mark.asyncio(loop_scope="session")
_HOUR = 3600
_IN_FLIGHT = WORKERS * CONCURRENCY
_REFUSED = 'fanout_failed_attempts_total{failure="unauthorized"}'


@pytest_asyncio.fixture(loop_scope="session")
async def clock_of_processes(stack: Standing, tmp_path: Path) -> AsyncIterator[JumpingClock]:
    """Start ingress and workers anew with a clock that can be set; the next test finds usual ones."""
    clock = JumpingClock(find_library(), tmp_path)
    stack.preload = clock.environment
    try:
        await _kill_processes(stack)
        await asyncio.gather(stack.revive_ingress(), stack.add_workers(WORKERS))
        await stack.all_work()
        yield clock
    finally:
        stack.preload = {}
        await _kill_processes(stack)


@pytest_asyncio.fixture(loop_scope="session")
async def clock_of_redis(stack: Standing, tmp_path: Path) -> AsyncIterator[JumpingClock]:
    """Start Redis anew, on its file, with a clock that can be set; the next test finds a usual one, and empty."""
    clock = JumpingClock(find_library(), tmp_path)
    stack.redis.environment = clock.environment
    try:
        await stack.redis.kill()
        await stack.redis.start()
        await stack.all_work()
        yield clock
    finally:
        stack.redis.environment = {}
        await asyncio.gather(*(worker.kill() for worker in stack.workers))
        await stack.redis.revive()
        await stack.redis_client.ask("FLUSHALL")  # its streams have ids of the future
        await stack.redis.kill()
        await stack.redis.start()


async def test_clocks_of_ingress_and_workers_jump(stack: Standing, clock_of_processes: JumpingClock, hub: str) -> None:
    """With a clock two hours slow no token is valid: that waits until it is set right. Jumps ahead harm nothing."""
    clock_of_processes.jump(-2 * _HOUR)
    async with stack.flow(hub, ttl=60) as flow:
        await stack.counted(_REFUSED, 10)
        for jump in (0, 2 * _HOUR, 24 * _HOUR, -_HOUR // 2, 0):
            clock_of_processes.jump(jump)
            await flow.goes_on(60)
    verdict = await stack.verdict(flow)
    verdict.check()
    assert verdict.count(verdict.exits.expired) == verdict.count(verdict.exits.dead) == 0
    assert set(flow.answers) == {202}
    seen = [at for worker in stack.workers for at in times_of(worker, "delivery.settled")]
    assert max(seen) - min(seen) > 24 * _HOUR  # the processes did see their clocks jump


async def test_the_clock_of_redis_jumps(stack: Standing, clock_of_redis: JumpingClock, hub: str) -> None:
    """Forward by an hour and back, twice: leases run out at once, and new ids are smaller than those there are."""
    await stack.faults({"kind": "latency", "seconds": 0.02})
    async with stack.flow(hub, ttl=60) as flow:
        for jump in (_HOUR, 0, _HOUR, -_HOUR):
            clock_of_redis.jump(jump)
            await flow.goes_on(60)
            await stack.all_work()
            assert abs(int((await stack.redis_client.ask("TIME"))[0]) - time.time() - jump) < 60
    (await stack.verdict(flow)).check(most_duplicates=4 * _IN_FLIGHT)


async def _kill_processes(stack: Standing) -> None:
    await asyncio.gather(*(child.kill() for child in (stack.ingress, *stack.workers) if child.running))
    stack.workers = []
    await stack.forget_owners()
