"""Ten thousand messages of every kind, through the whole product, delivered once each and in order."""

import asyncio

import pytest

from tests.flow.oracle import examine
from tests.flow.stack import PARTITIONS, Stack
from tests.flow.traffic import batches, mixed, sent_of

pytestmark = pytest.mark.asyncio(loop_scope="session")
COUNT = 10_000


async def test_ten_thousand_mixed_messages_arrive_once_each_in_order_and_byte_for_byte(stack: Stack, hub: str) -> None:
    """Batches are posted while two workers deliver; at the end nothing is left, and everybody's numbers agree."""
    before = await stack.ingress.metrics()
    items = mixed(hub, COUNT, seed=1)
    workers = await stack.add_workers(2)
    for body in batches(items, 500):
        await stack.post(hub, body)
    await stack.drained(within=60)
    calls = await stack.journal(hub)
    examine(sent_of(items), calls).check()
    assert await stack.dead_letters() == []
    assert {call.status for call in calls} <= {200, 202, 204}
    delivered = [_total(await worker.metrics(), "fanout_delivered_total") for worker in workers]
    assert sum(delivered) == COUNT == len(calls)
    assert min(delivered) > 0  # both took part
    after = await stack.ingress.metrics()
    assert _total(after, "fanout_accepted_total") - _total(before, "fanout_accepted_total") == COUNT
    for operation, method, part in (("sendToUser", "POST", "/users/"), ("addUser", "PUT", "/groups/")):
        counted = sum([(await w.metrics())[f'fanout_delivered_total{{operation="{operation}"}}'] for w in workers])
        assert counted == len([call for call in calls if call.method == method and part in call.target])


async def test_what_waited_before_the_first_worker_came_is_delivered_in_order(stack: Stack, hub: str) -> None:
    """More entries of one lane than a worker holds in memory, so that it has to fetch the rest from the stream."""
    items = mixed(hub, 1500, seed=2, lanes=1)
    for body in batches(items, 300):
        await stack.post(hub, body)
    assert await stack.depth() == 1500
    await stack.add_worker(read_ahead_bytes=65_536)
    await stack.drained()
    examine(sent_of(items), await stack.journal(hub)).check()


async def test_metrics_show_depth_and_leases(stack: Stack, hub: str) -> None:
    """Operators see what waits and who owns what."""
    for body in batches(mixed(hub, 50, seed=3), 50):
        await stack.post(hub, body)
    await asyncio.sleep(1.1)  # the ingress asks for the depth once a second at most
    waiting = await stack.ingress.metrics()
    assert _total(waiting, "fanout_queue_depth") == 50
    assert max(age for name, age in waiting.items() if name.startswith("fanout_oldest_age_seconds")) > 0
    assert waiting['fanout_partitions{state="unowned"}'] == PARTITIONS
    worker = await stack.add_worker()
    await stack.drained()
    await stack.shared_as(PARTITIONS)
    owned = await worker.metrics()
    assert owned["fanout_leases"] == owned['fanout_partitions{state="owned"}'] == PARTITIONS


def _total(metrics: dict[str, float], name: str) -> float:
    return sum(value for sample, value in metrics.items() if sample == name or sample.startswith(name + "{"))
