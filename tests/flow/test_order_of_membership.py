"""Order across lanes: what concerns one member everywhere, and joins, leaves and messages of groups.

Rule guarded: 200 users who are taken out of all groups and join one in one batch are in it, and the other way round
none is, whatever the partition, the number of workers and the faults. The service's own answer about each is the judge.
"""

import asyncio
from collections.abc import Mapping
from time import time
from typing import Any

import pytest

from emulator.config import WELL_KNOWN_KEY
from fanout.signalr.credentials import rest_token
from tests.flow.child import Child
from tests.flow.stack import LEASE, Stack
from tests.flow.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="session")
USERS = [f"u{number}" for number in range(200)]
FAULTS: Mapping[str, list[dict[str, Any]]] = {
    "no fault": [],
    "every second removeAll is refused": [
        {"kind": "status", "status": 503, "every": 2, "match": {"method": "DELETE", "path": "/groups"}}
    ],
    "every third join is refused": [{"kind": "status", "status": 503, "every": 3, "match": {"method": "PUT"}}],
    "a slow service": [{"kind": "latency", "seconds": 0.02}],
}


def _add(user: str) -> dict[str, str]:
    return {"userId": user, "groupName": f"room {user}", "action": "add"}


def _remove_all(user: str) -> dict[str, str]:
    return {"userId": user, "action": "removeAll"}


async def _members(stack: Stack, hub: str) -> int:
    """Ask the service of each user whether she is in her group."""

    async def is_in(user: str) -> bool:
        root = f"{stack.emulator.url.replace('127.0.0.1', 'localhost')}/api/hubs/{hub.lower()}"
        url = f"{root}/users/{user}/groups/room%20{user}"
        token = rest_token(WELL_KNOWN_KEY, url, int(time()) + 60)
        answer = await stack.http.get(
            url, params={"api-version": "2022-06-01"}, headers={"Authorization": f"Bearer {token}"}
        )
        assert answer.status_code in {200, 404}, answer.text
        return answer.status_code == 200

    return sum([await is_in(user) for user in USERS])


async def _post_all(stack: Stack, hub: str, *bodies: Any) -> None:
    """Post the bodies of each user one after the other, for twenty users at a time."""
    places = asyncio.Semaphore(20)

    async def post(user: str) -> None:
        async with places:
            for body in bodies:
                await stack.post(hub, body(user))

    async with asyncio.TaskGroup() as group:
        for user in USERS:
            group.create_task(post(user))


@pytest.mark.parametrize(("workers", "fault"), [(1, "no fault"), *((2, fault) for fault in FAULTS)])
async def test_a_batch_takes_effect_in_its_order(stack: Stack, hub: str, workers: int, fault: str) -> None:
    await stack.add_workers(workers)
    await stack.faults(*FAULTS[fault])
    await _post_all(stack, hub, lambda user: [_remove_all(user), _add(user)])
    await stack.drained(within=60)
    assert await _members(stack, hub) == len(USERS)
    await _post_all(stack, hub, lambda user: [_add(user), _remove_all(user)])
    await stack.drained(within=60)
    assert await _members(stack, hub) == 0


async def test_two_requests_take_effect_in_their_order(stack: Stack, hub: str) -> None:
    await stack.add_workers(2)
    await _post_all(stack, hub, _remove_all, _add)
    await stack.drained(within=60)
    assert await _members(stack, hub) == len(USERS)
    await _post_all(stack, hub, _add, _remove_all)
    await stack.drained(within=60)
    assert await _members(stack, hub) == 0


async def test_a_worker_is_killed_in_the_middle(stack: Stack, hub: str) -> None:
    victim, _ = await stack.add_workers(2, lease_seconds=LEASE)
    await stack.faults({"kind": "latency", "seconds": 0.02})
    await _post_all(stack, hub, lambda user: [_add(user), _remove_all(user), _add(user), _remove_all(user), _add(user)])
    await victim.kill()
    await stack.drained(within=60)
    assert await _members(stack, hub) == len(USERS)


async def test_a_large_batch_of_pairs_takes_effect_in_its_order(stack: Stack, worker: Child, hub: str) -> None:
    await stack.post(hub, [item for user in USERS for item in (_add(user), _remove_all(user), _add(user))])
    await stack.drained(within=60)
    assert await _members(stack, hub) == len(USERS)
    await stack.post(hub, [*map(_add, USERS), *map(_remove_all, USERS)])
    await stack.drained(within=60)
    assert await _members(stack, hub) == 0


async def test_a_message_waits_for_the_change_before_it_but_not_for_long(stack: Stack, worker: Child, hub: str) -> None:
    """The first removeAll takes half a second, the second is refused for longer than the bound."""
    await stack.faults({"kind": "latency", "seconds": 0.5, "match": {"method": "DELETE"}, "times": 1})
    await stack.post(hub, [_remove_all("u1"), {"groupName": "g", "target": "t", "arguments": [1]}])
    await stack.drained()
    change, message = await stack.journal(hub)
    assert (change.method, message.method) == ("DELETE", "POST")
    assert change.answered is not None
    assert change.answered <= message.arrived
    await stack.faults({"kind": "status", "status": 503, "match": {"method": "DELETE"}})
    batch = [_remove_all("u2"), _add("u2"), {"groupName": "room u2", "target": "t", "arguments": [2]}]
    await stack.post(hub, batch)

    async def sent() -> bool:
        return any(call.method == "POST" for call in (await stack.journal(hub))[2:])

    await until(sent, within=10, what="the message goes on without the change")
    assert all(call.method != "PUT" for call in await stack.journal(hub))
    await stack.faults()
    await stack.drained()
    methods = [call.method for call in (await stack.journal(hub))]
    assert methods[-1] == "PUT"
    assert (await worker.metrics())["fanout_unordered_total"] >= 1
