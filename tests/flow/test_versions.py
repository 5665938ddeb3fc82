"""Two formats of entries on one queue, whichever version comes first: nothing is parked, lost or out of order."""

import re
from collections.abc import Sequence

import orjson
import pytest

from tests.flow.child import Child
from tests.flow.oracle import examine
from tests.flow.stack import PARTITIONS, Stack
from tests.flow.traffic import Item, batches, message, sent_of
from tests.flow.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="session")
_USERS = 40


async def post(stack: Stack, ingress: Child, hub: str, items: Sequence[Item]) -> None:
    for body in batches(items, 100):
        address = f"{ingress.url}/v1/hubs/{hub}/messages"
        answer = await stack.http.post(address, content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code == 202, answer.text


def to_users(hub: str, first: int, users: range, times: int = 1) -> list[Item]:
    """Make messages numbered from `first`, in turns to each of the users."""
    names = [f"user {number}" for _ in range(times) for number in users]
    return [message(hub, first + place, "users", name) for place, name in enumerate(names)]


async def warnings_of(stack: Stack, worker: Child) -> list[str]:
    answer = await stack.http.get(worker.url + "/readyz")
    assert answer.status_code == 200  # it delivers what it can
    warnings: list[str] = answer.json()["warnings"]
    return warnings


async def held_by(*workers: Child) -> float:
    return sum([(await worker.metrics())["fanout_held_lanes"] for worker in workers])


async def owned_by(stack: Stack, worker: Child) -> int:
    return sum(f"-{worker.process.pid}-" in holder for holder in (await stack.leases()).values())


async def all_held_by(stack: Stack, workers: Sequence[Child], lanes: int) -> None:
    """Wait until old workers hold this many lanes, and check that each says so, once for each partition."""

    async def all_held() -> bool:
        return await held_by(*workers) == lanes

    await until(all_held, within=10, what="the lanes with newer entries are held")
    for worker in workers:
        [warning] = await warnings_of(stack, worker)
        assert re.match(r"worker: entries of a newer format \(2, this worker reads 1\) wait in partitions", warning)
    lines = [line for worker in workers for line in worker.log.read_text().splitlines() if "entry.newer" in line]
    assert len(lines) == len({orjson.loads(line)["partition"] for line in lines}) <= PARTITIONS


async def test_ingress_first(stack: Stack, hub: str) -> None:
    """Two old workers, then the new ingress beside the old one, then a new worker, then the old workers end."""
    old = await stack.add_workers(2)
    await stack.shared_as(8, 8)
    newer = await stack.add_newer("ingress")
    before, new = to_users(hub, 0, range(_USERS)), to_users(hub, 1000, range(_USERS))
    behind, beside = to_users(hub, 2000, range(_USERS), 3), to_users(hub, 3000, range(_USERS, 2 * _USERS), 3)
    for ingress, items in ((stack.ingress, before), (newer, new), (stack.ingress, behind), (stack.ingress, beside)):
        await post(stack, ingress, hub, items)
    await stack.arrived(hub, len(before) + len(beside))
    await all_held_by(stack, old, _USERS)
    examine(sent_of([*before, *beside]), await stack.journal(hub)).check()
    worker = await stack.add_newer("worker")
    await stack.drained()
    assert await held_by(*old) == 0
    assert [await warnings_of(stack, each) for each in old] == [[], []]
    taken = await owned_by(stack, worker)
    more = to_users(hub, 4000, range(_USERS), 2)
    await post(stack, newer, hub, more)
    await stack.drained()
    assert await owned_by(stack, worker) >= taken
    for each in old:
        await each.terminate()
    await stack.shared_as(PARTITIONS)
    examine(sent_of([*before, *new, *behind, *beside, *more]), await stack.journal(hub)).check()
    assert await stack.dead_letters() == []


async def test_workers_first(stack: Stack, hub: str) -> None:
    """Old and new workers share evenly what all can read; what only the new one can goes to it."""
    await stack.add_worker()
    newer = await stack.add_newer("worker")
    await stack.shared_as(8, 8)
    items = to_users(hub, 0, range(_USERS), 2)
    await post(stack, stack.ingress, hub, items)
    await stack.drained()
    await stack.shared_as(8, 8)
    ingress = await stack.add_newer("ingress")
    for start in range(1000, 4000, 1000):
        some = to_users(hub, start, range(_USERS))
        await post(stack, ingress if start % 2000 else stack.ingress, hub, some)
        items += some
    await stack.drained()
    assert await owned_by(stack, newer) > 8
    examine(sent_of(items), await stack.journal(hub)).check()
    assert await stack.dead_letters() == []


async def test_roll_back(stack: Stack, hub: str) -> None:
    """The new version is taken back while its entries wait: they stay until it comes again."""
    newer = await stack.add_newer("worker")
    ingress = await stack.add_newer("ingress")
    await stack.shared_as(PARTITIONS)
    delivered = to_users(hub, 0, range(_USERS))
    await post(stack, ingress, hub, delivered)
    await stack.drained()
    await newer.terminate()
    waiting = to_users(hub, 1000, range(_USERS))
    await post(stack, ingress, hub, waiting)
    await ingress.terminate()
    old = await stack.add_worker()
    behind = to_users(hub, 2000, range(_USERS))
    beside = to_users(hub, 3000, range(_USERS, 2 * _USERS), 2)
    await post(stack, stack.ingress, hub, [*behind, *beside])
    await stack.arrived(hub, len(delivered) + len(beside))
    assert await stack.depth() == len(waiting) + len(behind)
    assert await held_by(old) == _USERS
    await stack.add_newer("worker")
    await stack.drained()
    examine(sent_of([*delivered, *waiting, *behind, *beside]), await stack.journal(hub)).check()
    assert await stack.dead_letters() == []
