"""A worker that is killed, and the one that goes on: nothing lost, order kept, few repeats.

Rule guarded: what a crash can repeat is bounded by what was in flight, and what a predecessor left
is delivered first.
"""

import asyncio

import pytest

from tests.flow.oracle import examine
from tests.flow.stack import LEASE, PARTITIONS, Stack
from tests.flow.traffic import batches, mixed, sent_of
from tests.flow.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="session")
CONCURRENCY = 16
_WORKER = {"concurrency": CONCURRENCY, "lease_seconds": LEASE}


async def test_a_killed_worker_is_replaced_and_nothing_is_lost(stack: Stack, hub: str) -> None:
    """SIGKILL with calls in flight, then a replacement. Repeats: at most the calls that were in flight."""
    victim = await stack.add_worker(**_WORKER)
    await stack.faults({"kind": "latency", "seconds": 0.03})
    items = mixed(hub, 600, seed=11)
    for body in batches(items, 200):
        await stack.post(hub, body)
    await stack.arrived(hub, 150)
    await victim.kill()
    assert await stack.depth() > 200  # it was in the middle of it
    await stack.add_worker(**_WORKER)
    await stack.drained()
    calls = await stack.journal(hub)
    assert max(call.in_flight for call in calls) <= CONCURRENCY * 2  # calls of the dead may still be in flight
    found = examine(sent_of(items), calls)
    found.check(most_duplicates=CONCURRENCY)
    assert await stack.dead_letters() == []


async def test_a_kill_in_the_middle_of_a_list_repeats_only_what_was_in_flight(stack: Stack, hub: str) -> None:
    """One item for 600 users, whose body is stored once in each partition: every user gets it."""
    users = [f"listed{number}" for number in range(600)]
    victim = await stack.add_worker(**_WORKER)
    await stack.faults({"kind": "latency", "seconds": 0.03})
    await stack.post(hub, {"userIds": users, "target": "t", "arguments": ["x" * 5000]})
    await stack.arrived(hub, 150)
    await victim.kill()
    assert await stack.depth() > 200  # it was in the middle of it
    await stack.add_worker(**_WORKER)
    await stack.drained()
    calls = await stack.journal(hub)
    assert {call.target.split("/users/")[1].split("/")[0] for call in calls} == set(users)
    assert len(users) <= len(calls) <= len(users) + CONCURRENCY
    assert await stack.dead_letters() == []


async def test_a_standing_by_worker_takes_over_when_the_leases_have_run_out(stack: Stack, hub: str) -> None:
    """Both deliver half; one is killed; the other has everything within a few lives of a lease."""
    victim, survivor = await stack.add_workers(2, **_WORKER)
    await stack.shared_as(8, 8)
    await stack.faults({"kind": "latency", "seconds": 0.02})
    items = mixed(hub, 800, seed=12)
    for body in batches(items, 200):
        await stack.post(hub, body)
    await stack.arrived(hub, 200)
    await victim.kill()
    await stack.shared_as(PARTITIONS)
    await stack.drained()
    examine(sent_of(items), await stack.journal(hub)).check(most_duplicates=CONCURRENCY)
    assert (await survivor.metrics())["fanout_leases"] == PARTITIONS


async def test_workers_that_are_killed_again_and_again_lose_nothing(stack: Stack, hub: str) -> None:
    """Two kills in a row while batches keep coming."""
    items = mixed(hub, 600, seed=13)
    bodies = batches(items, 50)
    await stack.faults({"kind": "latency", "seconds": 0.02})

    async def kill_again() -> None:
        for _ in range(2):
            victim = await stack.add_worker(**_WORKER)
            already = len(await stack.journal(hub))
            await stack.arrived(hub, already + 60)
            await victim.kill()

    async def keep_coming() -> None:
        for body in bodies:
            await stack.post(hub, body)
            await asyncio.sleep(0.05)

    async with asyncio.TaskGroup() as group:
        group.create_task(kill_again())
        group.create_task(keep_coming())
    await stack.add_worker(**_WORKER)
    await stack.drained()
    examine(sent_of(items), await stack.journal(hub)).check(most_duplicates=2 * CONCURRENCY)


async def test_a_frozen_worker_that_wakes_up_after_its_leases_ran_out_falls_silent(stack: Stack, hub: str) -> None:
    """SIGSTOP longer than a lease lives, then SIGCONT: the successor's work is neither repeated nor overtaken."""
    frozen = await stack.add_worker(**_WORKER)
    await stack.faults({"kind": "latency", "seconds": 0.03})
    items = mixed(hub, 500, seed=14)
    for body in batches(items, 250):
        await stack.post(hub, body)
    await stack.arrived(hub, 100)
    frozen.freeze()
    await stack.add_worker(**_WORKER)

    async def taken_over() -> bool:
        return not {holder for holder in (await stack.leases()).values() if f"-{frozen.process.pid}-" in holder}

    await until(taken_over, within=20, what="the frozen worker has no leases left")
    frozen.thaw()
    await stack.drained()
    examine(sent_of(items), await stack.journal(hub)).check(most_duplicates=CONCURRENCY)
    await stack.shared_as(8, 8)  # it came back as one of two
