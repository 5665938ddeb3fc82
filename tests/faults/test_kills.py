"""Processes that are killed or frozen while messages flow.

Rule guarded: whatever process ends, and however, nothing accepted is lost and no lane is overtaken; what is repeated is
at most what the killed worker had in flight.
"""

import asyncio
import time

import pytest

from tests.faults.driver import NO_ANSWER
from tests.faults.monitor import watching
from tests.faults.proxy import proxy
from tests.faults.standing import CONCURRENCY, Standing, times_of
from tests.flow.stack import PARTITIONS

pytestmark = pytest.mark.asyncio(loop_scope="session")
_BUSY = {"kind": "latency", "seconds": 0.02}  # so that a kill finds calls in flight


async def test_without_a_fault_nothing_is_lost_and_nothing_repeated(stack: Standing, hub: str) -> None:
    """The measure of all that follows: the suite itself adds no duplicate."""
    async with stack.flow(hub, ttl=30) as flow:
        await flow.goes_on(300)
    (await stack.verdict(flow)).check()
    assert set(flow.answers) == {202}


async def test_a_killed_worker(stack: Standing, hub: str) -> None:
    await stack.faults(_BUSY)
    victim = stack.workers[0]
    async with stack.flow(hub) as flow:
        await victim.kill()
        await stack.shared_as(PARTITIONS)
        await flow.goes_on(60)
    (await stack.verdict(flow)).check(most_duplicates=CONCURRENCY)
    assert set(flow.answers) == {202}  # callers noticed nothing


async def test_a_killed_ingress(stack: Standing, hub: str) -> None:
    """Requests that broke are repeated under their keys: what was stored and not answered is not stored again."""
    async with stack.flow(hub) as flow:
        for _ in range(2):
            await stack.ingress.kill()
            await flow.answered(NO_ANSWER)
            await stack.revive_ingress()
            await flow.goes_on(60)
    (await stack.verdict(flow)).check()


async def test_a_worker_and_the_ingress_killed_at_once(stack: Standing, hub: str) -> None:
    await stack.faults(_BUSY)
    async with stack.flow(hub) as flow:
        await asyncio.gather(stack.workers[0].kill(), stack.ingress.kill())
        await flow.answered(NO_ANSWER)
        await stack.revive_ingress()
        await stack.shared_as(PARTITIONS)
        await flow.goes_on(60)
    (await stack.verdict(flow)).check(most_duplicates=CONCURRENCY)


async def test_all_processes_killed_at_once(stack: Standing, hub: str) -> None:
    """Redis, both workers and the ingress: a power cut of everything. The store comes back with its files."""
    await stack.faults(_BUSY)
    async with stack.flow(hub) as flow:
        await asyncio.gather(stack.redis.kill(), *(each.kill() for each in (stack.ingress, *stack.workers)))
        await stack.redis.start()
        await asyncio.gather(stack.revive_ingress(), stack.add_workers(2))
        await flow.goes_on(60)
    (await stack.verdict(flow)).check(most_duplicates=2 * CONCURRENCY)


async def test_a_frozen_worker_that_wakes_up_settles_nothing_and_sends_nothing_more(stack: Standing, hub: str) -> None:
    """SIGSTOP longer than a lease lives, then SIGCONT.

    What it sends is seen by a proxy of its own, what its writes change by Redis' MONITOR. It is silent until it has
    taken leases anew, which it says in its log; what it was about to write when it was stopped goes, and no more.
    """
    await stack.faults(_BUSY)
    async with proxy(stack.emulator.port) as own, watching(stack.redis.socket) as monitor:
        zombie = await stack.add_worker(service_port=own.port)
        await stack.shared_as(5, 5, 6)
        async with stack.flow(hub) as flow:
            await flow.goes_on(60)
            leases = await stack.leases_of(zombie)
            zombie.freeze()
            await stack.shared_as(8, 8)
            await flow.goes_on(60)
            seen, woken = len(monitor.lines), time.time()
            zombie.thaw()
            await stack.shared_as(5, 5, 6)
            await flow.goes_on(60)
        (await stack.verdict(flow)).check(most_duplicates=CONCURRENCY)
        await zombie.terminate()
    reborn = min(at for at in times_of(zombie, "lease.taken") if at > woken)
    # Nobody can look at the clock and write in one step: the one call that it was stopped in the middle of may go.
    assert len([at for at in own.requests if woken <= at < reborn]) <= 1
    assert len([at for at in times_of(zombie, "lease.lost") if woken <= at < reborn]) == len(leases)
    del monitor.lines[:seen]
    own_writes = [script for lease in leases for script in monitor.scripts(lease)]
    assert [script for script in own_writes if script[1]] == []
    assert any(changed == ["XDEL"] for _line, changed in monitor.scripts("fanout:"))  # the others settled all the while


async def test_a_frozen_ingress_is_a_pause(stack: Standing, hub: str) -> None:
    """Callers give up and repeat; when it wakes up it finds each request twice, and stores it once."""
    async with stack.flow(hub, patience=0.4) as flow:
        stack.ingress.freeze()
        await flow.answered(NO_ANSWER, times=4)
        stack.ingress.thaw()
        await flow.goes_on(60)
    (await stack.verdict(flow)).check()
