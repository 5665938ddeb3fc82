"""SIGTERM: the worker ends in order, and its successor finds everything in order.

Rule guarded: readiness fails, reading stops, calls in flight end and are settled, leases go last.
"""

import asyncio

import pytest

from fanout.queue.keys import KEYS
from tests.flow.oracle import examine
from tests.flow.stack import LEASE, PARTITIONS, Stack
from tests.flow.traffic import batches, message, mixed, partition_of_user, sent_of
from tests.flow.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_nothing_is_lost_and_nothing_repeated(stack: Stack, hub: str) -> None:
    leaver = await stack.add_worker(concurrency=16)
    await stack.faults({"kind": "latency", "seconds": 0.03})
    items = mixed(hub, 600, seed=21)
    for body in batches(items, 200):
        await stack.post(hub, body)
    await stack.arrived(hub, 150)
    await leaver.terminate()
    left = await stack.depth()
    assert left > 200
    calls = await stack.journal(hub)
    assert len([call for call in calls if call.delivered]) == len(items) - left  # what was delivered was settled
    assert await stack.leases() == {}
    assert await stack.redis_client.ask("ZCARD", KEYS.workers) == 0
    await stack.add_worker(concurrency=16)
    await stack.drained()
    examine(sent_of(items), await stack.journal(hub)).check(most_duplicates=0)


async def test_the_next_worker_does_not_wait_for_leases_to_run_out(stack: Stack, hub: str) -> None:
    """With leases of a minute, work goes on at once after a hand-over."""
    leaver = await stack.add_worker(lease_seconds=60)
    await stack.shared_as(PARTITIONS)
    await leaver.terminate()
    await stack.post(hub, batches(mixed(hub, 50, seed=22), 50)[0])
    await stack.add_worker(lease_seconds=60)
    await stack.drained(within=30)


async def test_calls_in_flight_get_their_grace(stack: Stack, hub: str) -> None:
    """Four calls that take longer than a lease lives are finished, settled and not repeated: the leases are renewed."""
    leaver = await stack.add_worker(shutdown_grace=20, lease_seconds=LEASE)
    await stack.faults({"kind": "latency", "seconds": 3 * LEASE})
    items = [message(hub, n, "users", f"user {n % 4}") for n in range(8)]
    await stack.post(hub, batches(items, 8)[0])
    await stack.arrived(hub, 4)
    leaver.tell_to_end()
    assert await leaver.ended() == 0
    assert await stack.depth() == 4
    await stack.faults()
    await stack.add_worker()
    await stack.drained()
    examine(sent_of(items), await stack.journal(hub)).check()


async def test_the_grace_ends_too(stack: Stack, hub: str) -> None:
    """A call that takes longer than the grace is given up: the worker leaves with 0, and the entry stays queued."""
    leaver = await stack.add_worker(shutdown_grace=0.5)
    await stack.faults({"kind": "latency", "seconds": 60, "times": 1})
    items = [message(hub, n, "users", "alice") for n in range(2)]
    await stack.post(hub, batches(items, 2)[0])
    await stack.arrived(hub, 1)
    leaver.tell_to_end()
    assert await leaver.ended(20) == 0
    assert await stack.depth() == 2
    assert await stack.leases() == {}
    await stack.add_worker()
    await stack.drained()
    examine(sent_of(items), await stack.journal(hub)).check()


async def test_readiness_fails_while_it_drains_and_liveness_does_not(stack: Stack, hub: str) -> None:
    leaver = await stack.add_worker(attempt_timeout=20, shutdown_grace=20)
    await stack.faults({"kind": "latency", "seconds": 5, "times": 1})
    await stack.post(hub, batches([message(hub, 1, "users", "alice")], 1)[0])
    await stack.arrived(hub, 1)
    leaver.tell_to_end()

    async def unready() -> bool:
        return (await stack.http.get(leaver.url + "/readyz")).status_code == 503

    await until(unready, within=5, what="readiness fails")
    assert (await stack.http.get(leaver.url + "/readyz")).json()["reasons"] == ["draining"]
    assert (await stack.http.get(leaver.url + "/livez")).status_code == 200
    assert await leaver.ended(20) == 0


async def test_a_worker_that_is_told_to_end_while_it_hands_partitions_over_ends(stack: Stack, hub: str) -> None:
    """It owns all, a second one comes, and with calls in flight everywhere SIGTERM arrives during the hand-over."""
    leaver = await stack.add_worker(attempt_timeout=20, lease_seconds=2)
    await stack.shared_as(PARTITIONS)
    await stack.faults({"kind": "latency", "seconds": 3, "times": 100})
    items = [message(hub, n, "users", f"user {n}") for n in range(100)]
    await stack.post(hub, batches(items, 100)[0])
    await stack.arrived(hub, 100)
    async with asyncio.TaskGroup() as group:
        group.create_task(stack.add_worker(lease_seconds=2))

        async def second_is_known() -> bool:
            return bool(await stack.redis_client.ask("ZCARD", KEYS.workers) == 2)

        await until(second_is_known, within=30, what="the second worker has come")
        await asyncio.sleep(0.5)  # a beat of the first, so that it has begun to hand over; its calls take longer
        leaver.tell_to_end()
        assert await leaver.ended(20) == 0
    await stack.drained()
    examine(sent_of(items), await stack.journal(hub)).check()


async def test_what_a_leaving_worker_has_released_is_taken_at_once(stack: Stack, hub: str) -> None:
    """One call of 8 s holds one destination back; the other worker has all partitions before it ends."""
    workers = await stack.add_workers(2, attempt_timeout=20)
    await stack.shared_as(8, 8)
    leaver = await stack.owner_of(partition_of_user(hub, "slow", PARTITIONS))
    (other,) = [worker for worker in workers if worker is not leaver]
    await stack.faults({"kind": "latency", "seconds": 8, "match": {"path": "users/slow"}})
    items = [message(hub, n, "users", to) for n, to in enumerate(["slow", "quick", "slow"])]
    await stack.post(hub, batches(items, 3)[0])
    await stack.arrived(hub, 2)
    leaver.tell_to_end()

    async def taken() -> bool:
        return (await other.metrics())["fanout_leases"] == PARTITIONS

    await until(taken, within=20, what="released partitions are taken while one drains")
    assert all(call.answered is None for call in await stack.journal(hub) if "users/slow" in call.target)
    await stack.faults()
    assert await leaver.ended(20) == 0
    await stack.drained()
    examine(sent_of(items), await stack.journal(hub)).check()


async def test_a_worker_that_is_told_to_end_as_soon_as_it_lives_ends(stack: Stack) -> None:
    """SIGTERM while leases are still being taken and shared: each leaves with 0 and leaves nothing behind."""
    workers = await stack.add_workers(3)
    for worker, after in zip(workers, (0.0, 0.02, 0.1), strict=True):
        await asyncio.sleep(after)
        worker.tell_to_end()
    assert [await worker.ended(5) for worker in workers] == [0, 0, 0]
    assert await stack.leases() == {}
