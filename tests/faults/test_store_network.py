"""The network between our processes and Redis breaks while messages flow.

Rule guarded: a connection may end at any byte, in either direction, or say nothing any more; what was written and not
answered is never taken for done nor for undone. Nothing is lost, no lane is overtaken, and since nobody was killed
nothing is repeated, as long as leases can be renewed; where a busy machine kept them from it, workers say so.
"""

import asyncio

import pytest

from tests.faults.proxy import Side
from tests.faults.standing import CONCURRENCY, LEASE, WORKERS, Standing

pytestmark = pytest.mark.asyncio(loop_scope="session")
_IN_FLIGHT = WORKERS * CONCURRENCY
_BUSY = {"kind": "latency", "seconds": 0.02}


@pytest.mark.parametrize("side", Side)
async def test_connections_cut_in_the_middle_of(stack: Standing, hub: str, side: Side) -> None:
    """Half a command or half a reply, at each fortieth piece: appends, reads, settlements, renewals, whatever comes."""
    async with stack.flow(hub) as flow:
        before = stack.store.cuts
        stack.store.cut_each(40, side)
        await stack.cut_so_often(stack.store, before + 15)
        stack.store.heal()
        await flow.goes_on(60)
    (await stack.verdict(flow)).check(most_duplicates=stack.may_repeat(hub))


async def test_all_connections_to_redis_reset_again_and_again(stack: Standing, hub: str) -> None:
    """No reset repeats anything by itself; where one kept a lease from being renewed in time, its worker says so."""
    async with stack.flow(hub) as flow:
        for _ in range(10):
            stack.store.cut_all()
            await flow.goes_on(20)
    (await stack.verdict(flow)).check(most_duplicates=stack.may_repeat(hub))


async def test_redis_far_away(stack: Standing, hub: str) -> None:
    """Each way takes 50 ms, so a round trip takes 100."""
    async with stack.flow(hub) as flow:
        stack.store.latency = 0.05
        await flow.goes_on(150)
    (await stack.verdict(flow)).check(most_duplicates=stack.may_repeat(hub))
    assert set(flow.answers) == {202}


async def test_redis_out_of_reach(stack: Standing, hub: str) -> None:
    """Connections are refused for three lives of a lease; what was in flight then could not be settled."""
    await stack.faults(_BUSY)
    async with stack.flow(hub, ttl=30) as flow:
        stack.store.refuse()
        await flow.answered(503, times=3)
        await asyncio.sleep(3 * LEASE)  # this is the fault
        stack.store.heal()
        await flow.goes_on(60)
    (await stack.verdict(flow)).check(most_duplicates=_IN_FLIGHT)


async def test_connections_to_redis_that_died_without_a_word(stack: Standing, hub: str) -> None:
    """Half open: what goes into them is lost and nothing comes out; new ones are well. Each time-out frees all."""
    await stack.faults(_BUSY)
    async with stack.flow(hub) as flow:
        stack.store.swallow()
        await flow.goes_on(120, within=15)
    (await stack.verdict(flow)).check(most_duplicates=_IN_FLIGHT)


async def test_redis_in_a_black_hole(stack: Standing, hub: str) -> None:
    """Nothing passes for longer than a command may take; then everything arrives, late, also what was given up."""
    await stack.faults(_BUSY)
    async with stack.flow(hub, ttl=1) as flow:
        stack.store.hold()
        await flow.answered(503, times=3)
        stack.store.heal()
        await flow.goes_on(120)
    (await stack.verdict(flow)).check(most_duplicates=_IN_FLIGHT)
