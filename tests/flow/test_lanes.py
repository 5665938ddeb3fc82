"""Order and independence of lanes, through the whole product.

Rules guarded: a lane is served strictly one call after the other, whatever goes wrong on the way;
one destination that is slow or dead takes nothing from the others.
"""

import asyncio

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.flow.oracle import examine
from tests.flow.stack import PARTITIONS, Stack
from tests.flow.traffic import Item, batches, membership, message, partition_of_user, sent_of
from tests.flow.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_long_lane_keeps_its_order_while_its_head_is_repeated_again_and_again(stack: Stack, hub: str) -> None:
    """More entries than a lane keeps in memory, and a retry at every place where it fetches more of them."""
    await stack.add_worker(retry_base=0.001, retry_cap=0.005)
    await stack.faults({"kind": "status", "status": 503, "probability": 0.3, "seed": 7})
    items = [message(hub, n, "users", f"user {n % 3}") for n in range(900)]
    for body in batches(items, 300):
        await stack.post(hub, body)
    await stack.drained()
    examine(sent_of(items), await stack.journal(hub)).check()


async def test_entries_that_come_while_a_lane_is_fetched_are_not_overlooked(stack: Stack, hub: str) -> None:
    """One lane fills faster than it empties, in small requests, so that reading and fetching go on at the same time."""
    await stack.add_worker(retry_base=0.001, retry_cap=0.002)
    await stack.faults({"kind": "status", "status": 503, "probability": 0.05, "seed": 3})
    items = [message(hub, n, "users", "alice") for n in range(600)]
    for body in batches(items, 3):
        await stack.post(hub, body)
    await stack.drained(within=20)
    examine(sent_of(items), await stack.journal(hub)).check()


async def test_a_lane_that_is_fetched_and_repeated_at_the_same_time_keeps_its_order(stack: Stack, hub: str) -> None:
    """Its entries stand far apart in the stream, so a fetch takes several steps, and calls fail during it."""
    busy, dead = _in_one_partition(hub, "busy", "dead")
    await stack.faults(
        {"kind": "status", "status": 503, "retryAfter": 60, "match": {"path": "users/dead"}},
        {"kind": "status", "status": 503, "every": 50, "match": {"path": "users/busy"}},
    )
    wanted = [message(hub, n, "users", busy) for n in range(300)]
    filling = [[message(hub, 1000 + 20 * n + place, "users", dead) for place in range(20)] for n in range(300)]
    for body in batches([item for n, own in enumerate(wanted) for item in (own, *filling[n])], 1050):
        await stack.post(hub, body)
    worker = await stack.add_worker(retry_base=0.001, retry_cap=0.002)

    async def all_there() -> bool:
        return (await worker.metrics())['fanout_delivered_total{operation="sendToUser"}'] == len(wanted)

    await until(all_there, within=20, what="the busy user has everything")
    examine(sent_of(wanted), [call for call in await stack.journal(hub) if "busy" in call.target]).check()


def _in_one_partition(hub: str, *prefixes: str) -> list[str]:
    """Name users, each by a prefix and a number, whose lanes share a partition."""
    names = ([f"{prefix} {number}" for number in range(1000)] for prefix in prefixes)
    return [next(user for user in some if partition_of_user(hub, user, PARTITIONS) == 0) for some in names]


async def test_dead_destinations_do_not_slow_the_others(stack: Stack, hub: str) -> None:
    """Eighty dead users with forty messages each are more than a worker holds in memory; the living are not delayed.

    They answer 408, which concerns neither pace nor the service's health, so that no pause and no breaker is
    in the way of what is tested here: the room in memory.
    """
    worker = await stack.add_worker(read_ahead_bytes=262_144, retry_base=5, retry_cap=60)
    await stack.faults({"kind": "status", "status": 408, "retryAfter": 60, "match": {"path": "users/dead"}})
    dead = [message(hub, 10_000 + n, "users", f"dead {n % 80}") for n in range(3200)]
    alive = [message(hub, n, "users", f"alive {n % 20}") for n in range(200)]
    for body in [*batches(dead, 800), *batches(alive, 200)]:
        await stack.post(hub, body)

    async def all_delivered() -> bool:
        return (await worker.metrics())['fanout_delivered_total{operation="sendToUser"}'] == len(alive)

    await until(all_delivered, within=30, what="the living have everything")
    living = [call for call in await stack.journal(hub) if "alive" in call.target]
    examine(sent_of(alive), living).check()


async def test_dead_destinations_do_not_slow_the_others_of_their_partition(stack: Stack, hub: str) -> None:
    """With the settings as they come, three dead users have more to get than one partition's part of the memory."""
    *dead, alive = _in_one_partition(hub, "dead a", "dead b", "dead c", "alive")
    worker = await stack.add_worker(retry_base=5, retry_cap=60)
    await stack.faults({"kind": "status", "status": 408, "retryAfter": 60, "match": {"path": "users/dead"}})
    for part in range(5):  # so that some of it is read before and some after the first calls have failed
        waste = [message(hub, 1000 + 150 * part + n, "users", dead[n % 3]) for n in range(150)]
        await stack.post(hub, batches(waste, 150)[0])
    wanted = [message(hub, n, "users", alive) for n in range(50)]
    await stack.post(hub, batches(wanted, 50)[0])

    async def all_delivered() -> bool:
        return (await worker.metrics())['fanout_delivered_total{operation="sendToUser"}'] == len(wanted)

    await until(all_delivered, within=30, what="the living one has everything")
    examine(sent_of(wanted), [call for call in await stack.journal(hub) if "users/alive" in call.target]).check()


async def test_one_slow_destination_does_not_slow_the_others(stack: Stack, hub: str) -> None:
    """A call to one user takes eight seconds; before it ends, a hundred messages to others have been delivered."""
    worker = await stack.add_worker(concurrency=4)
    await stack.faults({"kind": "latency", "seconds": 8, "match": {"path": "users/slow"}, "times": 1})
    slow = [message(hub, 1000 + n, "users", "slow") for n in range(3)]
    quick = [message(hub, n, "users", f"quick {n % 10}") for n in range(100)]
    await stack.post(hub, batches([*slow, *quick], 103)[0])

    async def all_delivered() -> bool:
        return (await worker.metrics())['fanout_delivered_total{operation="sendToUser"}'] >= len(quick)

    await until(all_delivered, within=10, what="the quick ones have everything")
    await stack.drained()
    calls = await stack.journal(hub)
    examine(sent_of([*slow, *quick]), calls).check()
    first_slow = next(call for call in calls if "users/slow" in call.target)
    assert max(call.answered or 0.0 for call in calls if "quick" in call.target) < (first_slow.answered or 0.0)


async def test_lanes_that_are_due_together_go_together(stack: Stack, hub: str) -> None:
    """Fifty lanes wait for the same Retry-After, then each call takes 1.5 s: all of them begin before one has ended."""
    await stack.add_worker(concurrency=64)
    refused = {"kind": "status", "status": 408, "retryAfter": 1, "times": 50}
    await stack.faults(refused, {"kind": "latency", "seconds": 1.5})
    items = [message(hub, n, "users", f"user {n}") for n in range(50)]
    await stack.post(hub, batches(items, 50)[0])
    await stack.drained()
    calls = await stack.journal(hub)
    examine(sent_of(items), calls).check()
    delivered = [call for call in calls if call.delivered]
    assert max(call.arrived for call in delivered) < min(call.answered or 0.0 for call in delivered)


# The property ---------------------------------------------------------------------------------------------------------

_destinations = st.sampled_from(["user a", "user b", "group a", "connection a", "everybody", "join a", "leave a"])
_kinds: st.SearchStrategy[dict[str, object]] = st.sampled_from(
    [
        {"kind": "status", "status": 503},
        {"kind": "status", "status": 408},
        {"kind": "status", "status": 401},
        {"kind": "resetBeforeBody"},
        {"kind": "resetAfterBody"},
        {"kind": "statusAfterDelivery", "status": 500},
    ]
)
_faults = st.lists(
    st.builds(
        lambda kind, probability, seed: {**kind, "probability": probability, "seed": seed},
        _kinds,
        st.floats(0, 0.15),
        st.integers(0, 9),
    ),
    max_size=3,
)
_numbers = iter(range(1, 1_000_000))


def _item(hub: str, number: int, destination: str) -> Item:
    kind, _, name = destination.partition(" ")
    if kind in {"join", "leave"}:
        return membership(hub, number, name, add=kind == "join")
    return message(hub, number, f"{kind}s" if name else "", name)


async def test_any_traffic_under_any_faults_is_delivered_in_lane_order(stack: Stack, hub: str) -> None:
    """Whatever is sent in whatever batches, and whatever the service does to it: nothing lost, nothing out of order."""
    await stack.add_workers(2, retry_base=0.002, retry_cap=0.01)
    loop = asyncio.get_running_loop()

    @settings(
        max_examples=25, deadline=None, database=None, derandomize=True, phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(sent=st.lists(st.lists(_destinations, min_size=1, max_size=80), min_size=1, max_size=3), rules=_faults)
    def any_run(sent: list[list[str]], rules: list[dict[str, object]]) -> None:
        asyncio.run_coroutine_threadsafe(_run(stack, f"{hub}{next(_numbers)}", sent, rules), loop).result(30)

    await asyncio.to_thread(any_run)


async def _run(stack: Stack, hub: str, sent: list[list[str]], rules: list[dict[str, object]]) -> None:
    await stack.faults(*rules)
    items: list[Item] = []
    for batch in sent:
        new = [_item(hub, len(items) + place, destination) for place, destination in enumerate(batch)]
        items += new
        await stack.post(hub, batches(new, len(new))[0])
    await stack.drained()
    unknown = sum(rule["kind"] == "statusAfterDelivery" for rule in rules)
    repeated = [call for call in await stack.journal(hub) if call.delivered and call.status == 500]
    assert unknown or not repeated
    examine(sent_of(items), await stack.journal(hub)).check(most_duplicates=len(repeated))
    assert await stack.dead_letters() == []
