"""Several workers on one queue: an even share each, and no message twice while partitions change hands."""

import pytest

from tests.flow.oracle import examine
from tests.flow.stack import PARTITIONS, Stack
from tests.flow.traffic import batches, mixed, sent_of

pytestmark = pytest.mark.asyncio(loop_scope="session")
_LONG_LEASE = 9.0


async def test_two_share_evenly_and_when_one_leaves_the_other_has_all(stack: Stack, hub: str) -> None:
    """The first has all; the second comes, both have half; the first leaves. All the while messages are delivered."""
    items = mixed(hub, 1500, seed=31)
    bodies = batches(items, 50)
    await stack.faults({"kind": "latency", "seconds": 0.005})
    first = await stack.add_worker(lease_seconds=_LONG_LEASE)
    await stack.shared_as(PARTITIONS)
    for body in bodies[:10]:
        await stack.post(hub, body)
    second = await stack.add_worker(lease_seconds=_LONG_LEASE)
    for body in bodies[10:20]:
        await stack.post(hub, body)
    await stack.shared_as(8, 8)
    assert [(await worker.metrics())["fanout_leases"] for worker in (first, second)] == [8, 8]
    for body in bodies[20:]:
        await stack.post(hub, body)
    await first.terminate()
    await stack.shared_as(PARTITIONS, within=_LONG_LEASE)  # without waiting for a lease to run out
    await stack.drained()
    examine(sent_of(items), await stack.journal(hub)).check(most_duplicates=0)


async def test_three_share_sixteen(stack: Stack) -> None:
    await stack.add_workers(3)
    await stack.shared_as(5, 5, 6)


async def test_more_workers_than_partitions_is_harmless(stack: Stack, hub: str) -> None:
    """With a Redis of two partitions a third worker owns nothing, and takes over when one of the others leaves."""
    await stack.redis_client.ask("FLUSHALL")
    workers = await stack.add_workers(3, partitions=2)
    await stack.shared_as(1, 1)
    holders = set((await stack.leases()).values())
    busy = next(w for w in workers if any(f"-{w.process.pid}-" in holder for holder in holders))
    await busy.terminate()
    await stack.shared_as(1, 1)
    assert set((await stack.leases()).values()) != holders
