"""What was accepted has one end: the counters of all processes add up, under load and faults.

Rule guarded: accepted = delivered + gone + expired + superseded + dead + queued, for entries. A replay is accepted
anew, a purge leaves `dead` as it is.
"""

from collections.abc import Mapping

import orjson
import pytest

from tests.flow.stack import COUNTED_HUB, Stack
from tests.flow.test_dead_letters import fanout
from tests.flow.traffic import batches, message, mixed
from tests.flow.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="session")

ENDS = ("delivered", "gone", "expired", "superseded", "dead")


def total(metrics: Mapping[str, float], name: str) -> float:
    """Sum a counter over its labels."""
    return sum(value for sample, value in metrics.items() if sample.partition("{")[0] == f"fanout_{name}_total")


class Books:
    """The counters of a stack, less what they were when the books were opened."""

    def __init__(self, stack: Stack, before: Mapping[str, float]) -> None:
        self._stack = stack
        self._before = before

    @classmethod
    async def opened(cls, stack: Stack) -> "Books":
        return cls(stack, await _totals(stack))

    async def read(self) -> dict[str, float]:
        totals = await _totals(self._stack)
        return {name: totals[name] - self._before[name] for name in totals}

    async def balanced(self) -> dict[str, float]:
        """Wait until the ends add up, because an end is counted a moment after the queue has forgotten its entry."""
        counted: dict[str, float] = {}

        async def adds_up() -> bool:
            counted.update(await self.read())
            return counted["accepted"] == sum(counted[end] for end in ENDS)

        await until(adds_up, within=10.0, what="the ends add up to what was accepted")
        return counted


async def _totals(stack: Stack) -> dict[str, float]:
    scraped = [await child.metrics() for child in (stack.ingress, *stack.workers)]
    return {name: sum(total(metrics, name) for metrics in scraped) for name in ("accepted", *ENDS)}


async def by_hub(stack: Stack, hub: str) -> dict[str, float]:
    """Sum what is counted of one hub over the processes."""
    scraped = [await child.metrics() for child in (stack.ingress, *stack.workers)]
    counted = ("accepted", "settled", "dead")
    return {name: sum(each[f'fanout_hub_{name}_total{{hub="{hub}"}}'] for each in scraped) for name in counted}


async def test_what_was_accepted_adds_up_under_load_and_faults(stack: Stack) -> None:
    hub = COUNTED_HUB
    await stack.add_workers(2)
    await stack.faults(
        {"kind": "status", "status": 503, "times": 40, "match": {"path": "user-3"}},
        {"kind": "status", "status": 400, "times": 60},
        {"kind": "latency", "seconds": 0.02},
    )
    books = await Books.opened(stack)
    items = mixed(hub, 3000, seed=11)
    brief = [message(hub, number, "users", "brief", extra=',"ttlSeconds":0.05') for number in range(5000, 5200)]
    keyed = [message(hub, number, "users", "keyed", extra=',"collapseKey":"k"') for number in range(6000, 6200)]
    many = [{"userIds": [f"u{number}" for number in range(50)], "target": "t", "arguments": [n]} for n in range(10)]
    for body in (*batches([*items, *brief, *keyed], 200), orjson.dumps(many)):
        await stack.post(hub, body)
    await stack.drained()
    counted = await books.balanced()
    assert counted["accepted"] == len(items) + len(brief) + len(keyed) + 500
    assert counted["accepted"] == sum(counted[end] for end in ENDS)
    assert counted["dead"] == len(await stack.dead_letters()) > 0
    assert min(counted["expired"], counted["superseded"]) > 0

    await stack.faults()
    code, _ = await fanout(stack, "replay", "--hub", hub, "--limit", "20", "--yes")
    assert code == 0
    await stack.drained()
    replayed = await books.balanced()
    accepted, dead = replayed["accepted"], replayed["dead"]
    assert accepted == counted["accepted"] + 20 == sum(replayed[end] for end in ENDS)
    assert await by_hub(stack, hub) == {"accepted": accepted, "settled": accepted - dead, "dead": dead}
    await fanout(stack, "purge", "--all", "--yes")
    assert (await books.read())["dead"] == replayed["dead"] == counted["dead"]


async def test_what_waits_is_the_rest(stack: Stack, hub: str) -> None:
    books, others_before = await Books.opened(stack), await by_hub(stack, "other")
    for body in batches(mixed(hub, 400, seed=12), 100):
        await stack.post(hub, body)
    counted = await books.read()
    others = await by_hub(stack, "other")
    assert others["accepted"] - others_before["accepted"] == 400, "a hub that is not named counts as another one"
    assert counted["accepted"] == await stack.depth() + sum(counted[end] for end in ENDS) == 400
