"""What waits while partitions change hands: nothing but the destinations whose own calls hang.

The bound of a message is its ordinary time and one look at the leases (a second at the most): released partitions are
noticed by the next heartbeat of their new owner.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest

from tests.flow.oracle import examine
from tests.flow.stack import Stack
from tests.flow.traffic import Item, batches, message, sent_of

pytestmark = pytest.mark.asyncio(loop_scope="session")
_LEASE = 10.0  # as it is by default: its heartbeat comes every second
_HANGING = 60
_HEALTHY = 240
_HANG = 12.0
_BEAT = 1.0
_PROMPT = 0.25


async def waits_during(stack: Stack, hub: str, happen: Callable[[], Awaitable[object]]) -> list[float]:
    """Have 60 calls hang, post to 240 other destinations for 8 s while it happens; return how long each waited."""
    await stack.faults({"kind": "latency", "seconds": _HANG, "match": {"path": "users/slow"}})
    hanging = [message(hub, n, "users", f"slow{n}") for n in range(_HANGING)]
    behind = [message(hub, 100 + n, "users", f"slow{n}") for n in range(_HANGING)]
    await stack.post(hub, batches([*hanging, *behind], 200)[0])
    await stack.arrived(hub, _HANGING)
    healthy: list[Item] = []
    posted: dict[str, float] = {}
    async with asyncio.TaskGroup() as group:
        began = time.monotonic()
        happening: asyncio.Task[object] | None = None
        for step in range(160):
            await asyncio.sleep(max(0.0, began + step * 0.05 - time.monotonic()))
            some = [
                message(hub, 1000 + step * 10 + k, "users", f"user {(step * 10 + k) % _HEALTHY}") for k in range(10)
            ]
            healthy += some
            posted |= {item.sent.mark: time.monotonic() for item in some}
            await stack.post(hub, batches(some, 10)[0])
            if step == 20:
                happening = group.create_task(_awaited(happen()))
        assert happening is not None
    await stack.drained(within=3 * _HANG)
    calls = await stack.journal(hub)
    examine(sent_of([*hanging, *behind, *healthy]), calls).check()
    return sorted(call.arrived - posted[call.mark] for call in calls if call.mark in posted)


async def _awaited(happening: Awaitable[object]) -> object:
    return await happening


def check(waits: list[float]) -> None:
    p99 = waits[len(waits) * 99 // 100]
    assert waits[len(waits) // 2] < _PROMPT, (
        f"p50 {waits[len(waits) // 2]:.3f} s, p99 {p99:.3f} s, max {waits[-1]:.3f} s"
    )
    assert waits[-1] < _BEAT + 4 * _PROMPT, f"p99 {p99:.3f} s, max {waits[-1]:.3f} s"


async def test_a_worker_that_ends_holds_up_only_what_hangs(stack: Stack, hub: str) -> None:
    leaver, _other = await stack.add_workers(2, lease_seconds=_LEASE, attempt_timeout=30, shutdown_grace=40)
    await stack.shared_as(8, 8)

    async def end() -> None:
        leaver.tell_to_end()
        assert await leaver.ended(40) == 0

    check(await waits_during(stack, hub, end))


async def test_a_worker_that_joins_holds_up_only_what_hangs(stack: Stack, hub: str) -> None:
    await stack.add_workers(2, lease_seconds=_LEASE, attempt_timeout=30, shutdown_grace=40)
    await stack.shared_as(8, 8)

    async def join() -> None:
        await stack.add_worker(lease_seconds=_LEASE, attempt_timeout=30, shutdown_grace=40)
        await stack.shared_as(5, 5, 6)

    check(await waits_during(stack, hub, join))
