"""A Redis that goes away and comes back with its files: a pause, not a loss.

Rule guarded: failover, restart and a vanished connection heal by themselves. The deeper tests of
Redis faults stand elsewhere; this is the flow through the whole product.
"""

import asyncio

import pytest

from tests.flow.child import Child
from tests.flow.oracle import examine
from tests.flow.stack import LEASE, PARTITIONS, Stack
from tests.flow.traffic import batches, mixed, sent_of
from tests.flow.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="session")
CONCURRENCY = 16


async def test_redis_is_killed_and_started_again_mid_run(stack: Stack, hub: str) -> None:
    """Workers and ingress live on; a caller that repeats what was not taken, with the same key, gets everything in."""
    worker = await stack.add_worker(concurrency=CONCURRENCY, lease_seconds=LEASE)
    await stack.faults({"kind": "latency", "seconds": 0.02})
    items = mixed(hub, 800, seed=41)
    bodies = batches(items, 100)
    for number, body in enumerate(bodies[:4]):
        await stack.post(hub, body, Idempotency_Key=f"{hub}-{number}")
    await stack.arrived(hub, 100)
    await stack.redis.kill()

    async def posting() -> None:
        for number, body in enumerate(bodies[4:], start=4):
            await _post_until_taken(stack, hub, body, f"{hub}-{number}")

    async def reviving() -> None:
        await until(lambda: _is_unready(stack), within=15, what="readiness shows that Redis is gone")
        await stack.redis.start()

    async with asyncio.TaskGroup() as group:
        group.create_task(posting())
        group.create_task(reviving())
    await stack.drained()
    examine(sent_of(items), await stack.journal(hub)).check(most_duplicates=CONCURRENCY)
    assert worker.running
    assert await stack.dead_letters() == []


async def test_a_redis_that_forgets_its_scripts_is_told_them_again(stack: Stack, worker: Child, hub: str) -> None:
    items = mixed(hub, 60, seed=42)
    for body in batches(items, 20):
        await stack.redis_client.ask("SCRIPT", "FLUSH")
        await stack.post(hub, body)
    await stack.drained()
    examine(sent_of(items), await stack.journal(hub)).check()


async def test_a_redis_that_cuts_all_connections_is_connected_to_again(stack: Stack, hub: str) -> None:
    """A connection that dies with a settlement on it costs no duplicate: the settlement is repeated.

    No partition begins anew: the server is the same, so what was read is still there.
    """
    await stack.add_worker(concurrency=CONCURRENCY)
    await stack.faults({"kind": "latency", "seconds": 0.005})
    await stack.shared_as(PARTITIONS)
    owners = await stack.tokens()
    items = mixed(hub, 400, seed=43)
    for number, body in enumerate(batches(items, 40)):
        await _post_until_taken(stack, hub, body, f"{hub}-{number}")
        await stack.redis_client.ask("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    await stack.drained()
    examine(sent_of(items), await stack.journal(hub)).check()
    assert await stack.tokens() == owners


async def _post_until_taken(stack: Stack, hub: str, body: bytes, key: str) -> None:
    """POST as a careful caller does: the same key again after a 503."""

    async def taken() -> bool:
        answer = await stack.try_post(hub, body, Idempotency_Key=key)
        assert answer.status_code in {202, 503}, answer.text
        return answer.status_code == 202

    await until(taken, within=15, what="the batch is taken")


async def _is_unready(stack: Stack) -> bool:
    return (await stack.http.get(stack.ingress.url + "/readyz")).status_code == 503
