"""The network between a worker and the service breaks while messages flow.

Rule guarded: a call whose answer did not come is of unknown outcome and repeated; a call that was not written whole is
not. So duplicates are at most the calls whose answers were cut or came too late, and everything else comes once.
"""

import pytest

from tests.faults.proxy import Side
from tests.faults.standing import CONCURRENCY, WORKERS, Standing
from tests.faults.verdict import Verdict

pytestmark = pytest.mark.asyncio(loop_scope="session")
_IN_FLIGHT = WORKERS * CONCURRENCY
_UNANSWERED = 'fanout_failed_attempts_total{failure="maybeSent"}'


async def _cut(stack: Standing, hub: str, side: Side) -> tuple[Verdict, int]:
    """Cut twenty connections or more while messages flow; gives the verdict and how many were cut."""
    async with stack.flow(hub) as flow:
        before = stack.service.cuts
        stack.service.cut_each(20, side)
        await stack.cut_so_often(stack.service, before + 20)
        stack.service.heal()
        await flow.goes_on(30)
    return await stack.verdict(flow), stack.service.cuts - before


async def test_calls_cut_in_the_middle(stack: Standing, hub: str) -> None:
    """Half a request: the service cannot have understood it, so nothing comes twice."""
    verdict, _cuts = await _cut(stack, hub, Side.REQUEST)
    verdict.check()


async def test_answers_cut_in_the_middle(stack: Standing, hub: str) -> None:
    """Half an answer: it was done, and who asked cannot know; each such call may be made again."""
    verdict, cuts = await _cut(stack, hub, Side.RESPONSE)
    verdict.check(most_duplicates=cuts)
    assert verdict.duplicates


async def test_all_connections_to_the_service_reset_again_and_again(stack: Standing, hub: str) -> None:
    before = stack.service.cuts
    async with stack.flow(hub) as flow:
        for _ in range(10):
            stack.service.cut_all()
            await flow.goes_on(20)
    (await stack.verdict(flow)).check(most_duplicates=stack.service.cuts - before)


async def test_the_service_far_away(stack: Standing, hub: str) -> None:
    async with stack.flow(hub) as flow:
        stack.service.latency = 0.05
        await flow.goes_on(150)
    (await stack.verdict(flow)).check()


async def test_connections_to_the_service_that_died_without_a_word(stack: Standing, hub: str) -> None:
    """Half open: what is sent on them is lost. Twice may come what waited for its answer when they died."""
    await stack.faults({"kind": "latency", "seconds": 0.02})
    async with stack.flow(hub) as flow:
        stack.service.swallow()
        await stack.counted(_UNANSWERED, 4)
        await flow.goes_on(60)
    (await stack.verdict(flow)).check(most_duplicates=_IN_FLIGHT)


async def test_the_service_in_a_black_hole(stack: Standing, hub: str) -> None:
    """Nothing passes until calls have been given up; then everything arrives, late, also what was given up."""
    async with stack.flow(hub, ttl=1) as flow:
        stack.service.hold()
        await stack.counted(_UNANSWERED, 4)
        held = stack.service.open
        stack.service.heal()
        await flow.goes_on(60)
    verdict = await stack.verdict(flow)
    verdict.check(most_duplicates=2 * held + _IN_FLIGHT)
    assert verdict.count(verdict.exits.expired)
