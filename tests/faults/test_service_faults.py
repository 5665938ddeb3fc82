"""The service is down, slow, refuses, or does the work and says it did not, while messages flow.

Rule guarded: every fault of the far side ends in a delivery, an expiry or a dead letter; what comes twice is exactly
what the service did and did not say.
"""

import itertools
import os
import time
from collections.abc import Mapping, Sequence

import pytest

from fanout.signalr.message import RouteClass
from tests.faults.driver import Flow
from tests.faults.standing import CONCURRENCY, WORKERS, Standing
from tests.flow.oracle import Call
from tests.flow.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="session")
# Seconds the service is away. CI takes a few; TEST_OUTAGE=60 makes it the minute of an operator's nightmare.
_OUTAGE = float(os.environ.get("TEST_OUTAGE", "3"))
_IN_FLIGHT = WORKERS * CONCURRENCY
_DESTINATIONS = 52  # of a producer: 12 of each of four kinds, everybody, and three users whose messages expire soon


@pytest.mark.timeout(120 + 3 * _OUTAGE)
async def test_the_service_down_for_a_while(stack: Standing, hub: str) -> None:
    """Every connection is refused. What may expire does; and nothing is sent again and again in the meantime."""
    async with stack.flow(hub, ttl=1) as flow:
        stack.service.refuse()
        await flow.goes_on(int(_OUTAGE * 200), within=2 * _OUTAGE + 20)  # 300 a second are posted
        await _only_probes_are_left(stack, flow)
        stack.service.heal()
        await flow.goes_on(60)
    verdict = await stack.verdict(flow)
    verdict.check(most_duplicates=_IN_FLIGHT)  # connections with calls on them were reset when it went
    assert set(flow.answers) == {202}
    assert verdict.count(verdict.exits.expired)


async def _only_probes_are_left(stack: Standing, flow: Flow) -> None:
    """Return once two seconds pass with no more calls than probes.

    Each hub has a breaker for each class in each worker, which holds back what would fail. A probe goes to each
    destination once in two and a quarter seconds or more, or to one of them once in three quarters of a second.
    """
    doors, destinations = WORKERS * len(flow.producers) * len(RouteClass), _DESTINATIONS * len(flow.producers)
    deadline = time.monotonic() + 40
    while True:
        before, began = stack.service.connections, time.monotonic()
        while time.monotonic() - began < 2:
            await flow.goes_on(50)
        tries, seconds = stack.service.connections - before, time.monotonic() - began
        if tries <= max(doors * (1 + seconds / 0.75), destinations * (1 + seconds / 2.25)):
            return
        assert time.monotonic() < deadline, f"{tries} calls in {seconds:.1f} s to a service that is away"


async def test_the_service_answers_nothing_but_503(stack: Standing, hub: str) -> None:
    async with stack.flow(hub, ttl=1) as flow:
        await stack.faults({"kind": "status", "status": 503})
        await flow.goes_on(400)
        await stack.faults()
        await flow.goes_on(60)
    verdict = await stack.verdict(flow)
    verdict.check()
    assert verdict.count(verdict.exits.expired)


async def test_the_service_takes_five_seconds_for_an_answer(stack: Standing, hub: str) -> None:
    """Slower than nearly all of it, and within the time-out: it is waited for and not repeated."""
    slow = {"kind": "latency", "seconds": 5, "every": 7}
    await stack.renew_workers(attempt_timeout=10, concurrency=64)
    async with stack.flow(hub) as flow:
        await stack.faults(slow)
        await flow.goes_on(150)
        await stack.faults()
    (await stack.verdict(flow)).check()


async def test_a_storm_of_429_with_retry_after(stack: Standing, hub: str) -> None:
    """For a while everything is refused. Being throttled is no attempt, so nothing dies; callers notice nothing."""
    await stack.renew_workers(retry_max_attempts=2)
    async with stack.flow(hub) as flow:
        await flow.goes_on(450)  # so that it is known what the service takes when it takes it
        await stack.faults({"kind": "status", "status": 429, "retryAfter": 1})
        await flow.goes_on(300)
        await stack.faults()
    verdict = await stack.verdict(flow)
    verdict.check()
    assert set(flow.answers) == {202}
    assert verdict.count(verdict.exits.dead) == 0
    throttled = [call for own in (await stack.calls()).values() for call in own if call.status == 429]
    assert 0 < len(throttled) < verdict.accepted / 4  # a Retry-After is obeyed


async def test_a_quota_of_the_service(stack: Standing, hub: str) -> None:
    """More is posted than the service takes a second: the queue grows and drains, and nothing is lost or repeated."""
    await stack.quota(150, retry_after=1)
    async with stack.flow(hub) as flow:
        await flow.goes_on(400)
    await stack.quota(0)
    (await stack.verdict(flow)).check()


async def test_500_after_it_was_done(stack: Standing, hub: str) -> None:
    """The service did it and answered 500: of unknown outcome, so it is done again, once for each such answer."""
    await stack.faults({"kind": "statusAfterDelivery", "status": 500, "probability": 0.1, "seed": 5})
    async with stack.flow(hub) as flow:
        await flow.goes_on(200)
    verdict = await stack.verdict(flow)
    unsaid = _undone(await stack.calls())
    verdict.check(most_duplicates=unsaid)
    assert verdict.duplicates == unsaid > 0


@pytest.mark.parametrize("kind", ["resetBeforeBody", "resetAfterBody"])
async def test_the_service_resets_connections(stack: Standing, hub: str, kind: str) -> None:
    """Nothing was done, so nothing comes twice."""
    await stack.faults({"kind": kind, "probability": 0.1, "seed": 6})
    async with stack.flow(hub) as flow:
        await flow.goes_on(200)
    (await stack.verdict(flow)).check()


async def test_the_service_does_the_work_and_resets_the_connection(stack: Standing, hub: str) -> None:
    await stack.faults({"kind": "resetAfterBody", "deliver": True, "probability": 0.1, "seed": 7})
    async with stack.flow(hub) as flow:
        await flow.goes_on(200)
    verdict = await stack.verdict(flow)
    verdict.check(most_duplicates=_undone(await stack.calls()))
    assert verdict.duplicates


async def test_refusals_for_good(stack: Standing, hub: str) -> None:
    """One in twenty is refused with 400: it lies in the dead letters, and what stood behind it goes on."""
    await stack.faults({"kind": "status", "status": 400, "probability": 0.05, "seed": 8})
    async with stack.flow(hub) as flow:
        await flow.goes_on(200)
    verdict = await stack.verdict(flow)
    verdict.check()
    calls = [call for own in (await stack.calls()).values() for call in own]
    assert verdict.count(verdict.exits.dead) == sum(call.status == 400 for call in calls) > 0


async def test_half_the_destinations_dead(stack: Standing, hub: str) -> None:
    """All groups answer 503, users and connections are well: these get everything while the groups are still dead."""
    async with stack.flow(hub) as flow:
        await flow.goes_on(150)
        await stack.faults({"kind": "status", "status": 503, "match": {"path": "/groups/"}})
        before = _living(flow)
        await flow.goes_on(450)
        living = _living(flow)
        assert len(living - before) > 100

        async def all_there() -> bool:
            return living <= _delivered(await stack.calls())

        await until(all_there, within=30, what="the living have everything")
        await stack.faults()
    (await stack.verdict(flow)).check()


def _living(flow: Flow) -> set[tuple[str, str]]:
    """Return hub and mark of each accepted item that is for no group."""
    return {
        (each.hub.lower(), item.sent.mark)
        for each in flow.producers
        for item in each.accepted
        if "/groups/" not in item.sent.target
    }


def _delivered(calls: Mapping[str, Sequence[Call]]) -> set[tuple[str, str]]:
    """Return hub and mark of each call that took effect."""
    return {(hub, call.mark) for hub, own in calls.items() for call in own if call.delivered and call.mark is not None}


def _undone(calls: Mapping[str, Sequence[Call]]) -> int:
    """Count the calls that took effect and did not say so."""
    all_calls = itertools.chain.from_iterable(calls.values())
    return sum(call.delivered and (call.status is None or call.status >= 300) for call in all_calls)
