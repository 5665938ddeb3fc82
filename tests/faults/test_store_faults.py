"""Redis that dies, stands still, forgets, or has no room, while messages flow.

Rule guarded: what was accepted survives whatever Redis survives; what Redis itself lost is all that may be missing; and
callers are answered 503 with Retry-After in the meantime, never a 202 for what is not stored. What may be repeated are
the calls that were in flight when leases ran out, as if their worker had been killed.
"""

import asyncio

import pytest

from fanout.queue.keys import KEYS, flow_of_stream
from fanout.redis.client import Script
from tests.faults.standing import CONCURRENCY, WORKERS, Standing, lines_of, marks_of
from tests.flow.stack import PARTITIONS

pytestmark = pytest.mark.asyncio(loop_scope="session")
_IN_FLIGHT = WORKERS * CONCURRENCY
_BUSY = {"kind": "latency", "seconds": 0.02}
# A command is given 5 s, a read that waits for entries 7 s.
_LONGER_THAN_ANY_TIMEOUT = 7.5


async def test_redis_killed_and_started_again_with_its_file(stack: Standing, hub: str) -> None:
    await stack.faults(_BUSY)
    async with stack.flow(hub, ttl=30) as flow:
        await stack.redis.kill()
        await flow.answered(503, times=3)
        await stack.redis.start()
        await flow.goes_on(60)
    (await stack.verdict(flow)).check(most_duplicates=_IN_FLIGHT)
    assert all(worker.running for worker in stack.workers)


async def test_redis_paused_for_longer_than_every_timeout(stack: Standing, hub: str) -> None:
    """SIGSTOP: its connections stay open and silent. Short-lived messages expire in the meantime and are logged."""
    await stack.faults(_BUSY)
    async with stack.flow(hub, ttl=1) as flow:
        stack.redis.freeze()
        await flow.all_answered(503)  # nobody is left waiting for Redis
        await asyncio.sleep(_LONGER_THAN_ANY_TIMEOUT)  # this is the fault, not a wait for something
        stack.redis.thaw()
        await flow.goes_on(60)
    verdict = await stack.verdict(flow)
    verdict.check(most_duplicates=_IN_FLIGHT)


async def test_everything_in_redis_is_deleted(stack: Standing, hub: str) -> None:
    """FLUSHALL. Missing may be what stood in the queue at that moment, and nothing else; all goes on by itself.

    Until its next beat a worker believes in the leases it had; what it could not settle under them it says.
    """
    await stack.faults({"kind": "latency", "seconds": 0.2})  # so that the queue is not empty
    async with stack.flow(hub) as flow:
        stood = await _flush(stack)
        await flow.goes_on(120)
        await stack.faults()
    verdict = await stack.verdict(flow, forgotten=stood)
    verdict.check(most_duplicates=stack.may_repeat(hub))
    assert any(stood.values())
    lost = [line for worker in stack.workers for line in lines_of(worker, "lease.lost")]
    assert {line["partition"] for line in lost} == set(range(PARTITIONS))
    assert any(lines_of(worker, "store.forgot") for worker in stack.workers)
    await stack.all_work()


async def test_what_everybody_owns_is_deleted_alone(stack: Standing, hub: str) -> None:
    """The leases, the fences and the list of workers vanish; entries stay. This is what losing a consumer group is.

    No worker owns anything then, and each finds out partition by partition: by a renewal, or by a settlement that is
    refused. What it had delivered until then and could not settle it says in its log; that much may be repeated.
    """
    await stack.faults(_BUSY)
    async with stack.flow(hub) as flow:
        for _ in range(3):
            await stack.forget_owners()
            await flow.goes_on(60)
    verdict = await stack.verdict(flow)
    verdict.check(most_duplicates=stack.may_repeat(hub))
    await stack.all_work()


async def test_redis_full(stack: Standing, hub: str) -> None:
    """Past maxmemory nothing is taken, item by item with the truth; what is queued drains all the same."""
    await stack.faults(_BUSY)
    async with stack.flow(hub) as flow:
        await stack.redis_client.call(("CONFIG", "SET", "maxmemory", "1"))
        await flow.answered(503, times=6)
        await stack.drained()
        before = flow.accepted
        await flow.answered(503, times=3)
        assert flow.accepted == before
        await stack.redis_client.call(("CONFIG", "SET", "maxmemory", "0"))
        await flow.goes_on(60)
    (await stack.verdict(flow)).check()


async def test_scripts_are_forgotten_again_and_again(stack: Standing, hub: str) -> None:
    async with stack.flow(hub) as flow:
        for _ in range(20):
            await stack.redis_client.ask("SCRIPT", "FLUSH")
            await flow.goes_on(10)
    (await stack.verdict(flow)).check()
    assert set(flow.answers) == {202}


_READ_AND_FLUSH = Script("""
local found = {}
for _, set in ipairs(KEYS) do
  for _, stream in ipairs(redis.call('SMEMBERS', set)) do
    found[#found + 1] = stream
    found[#found + 1] = redis.call('XRANGE', stream, '-', '+')
  end
end
redis.call('FLUSHALL')
return found
""")


async def _flush(stack: Standing) -> dict[str, set[str]]:
    """Delete everything, and give the marks of the entries that stood in the queue at that very moment."""
    rows = await stack.redis_client.run(_READ_AND_FLUSH, [KEYS.flows(p) for p in range(PARTITIONS)], [])
    read = zip(rows[::2], rows[1::2], strict=True)
    return marks_of((flow_of_stream(stream), fields[1]) for stream, found in read for _id, fields in found)
