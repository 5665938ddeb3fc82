"""What waits while partitions change hands: the destinations whose own calls hang, and nothing else.

Rule guarded: no time is measured. What is posted after a change of hands has to arrive while the calls that hung before
it still hang.
"""

import pytest

from tests.flow.oracle import Call, examine
from tests.flow.stack import Stack
from tests.flow.traffic import Item, batches, message, sent_of

pytestmark = pytest.mark.asyncio(loop_scope="session")
_HANGING = 60
_HEALTHY = 240
_HANG = 15.0  # seconds: longer than all that has to happen meanwhile takes on a busy machine


async def test_15_a_worker_that_joins_and_one_that_ends_hold_up_only_what_hangs(stack: Stack, hub: str) -> None:
    """The one that ends still has calls of partitions that it handed over when the other joined."""
    settings = {"attempt_timeout": 30, "shutdown_grace": 40}
    leaver, _other = await stack.add_workers(2, **settings)
    await stack.shared_as(8, 8)
    await stack.faults({"kind": "latency", "seconds": _HANG, "match": {"path": "users/slow"}})
    hanging = [message(hub, n, "users", f"slow{n}") for n in range(_HANGING)]
    behind = [message(hub, 100 + n, "users", f"slow{n}") for n in range(_HANGING)]
    await stack.post(hub, batches([*hanging, *behind], 200)[0])
    await stack.arrived(hub, _HANGING)
    await stack.faults()  # what hangs hangs on

    await stack.add_worker(**settings)
    await stack.shared_as(5, 5, 6)
    joined = await arrive_beside(stack, hub, 1000)
    leaver.tell_to_end()
    await stack.shared_as(8, 8)
    ended = await arrive_beside(stack, hub, 2000)

    assert await leaver.ended(40) == 0
    await stack.drained()
    examine(sent_of([*hanging, *behind, *joined, *ended]), await stack.journal(hub)).check()


async def arrive_beside(stack: Stack, hub: str, first: int) -> list[Item]:
    """Post messages to other destinations, and check that all arrive while every call that hung still hangs."""
    before = len(await stack.journal(hub))
    items = [message(hub, first + n, "users", f"user {n}") for n in range(_HEALTHY)]
    await stack.post(hub, batches(items, _HEALTHY)[0])
    await stack.arrived(hub, before + _HEALTHY)
    slow = [call for call in await stack.journal(hub) if is_slow(call)]
    assert [call.answered for call in slow] == [None] * _HANGING
    return items


def is_slow(call: Call) -> bool:
    return "users/slow" in call.target
