"""Pauses of real workers: asked for by the service, capped, seen, lifted, and set by an operator."""

import asyncio
from typing import Any

import pytest

from tests.flow.stack import Stack
from tests.flow.traffic import batches, message
from tests.flow.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="session")
PAUSES = "/v1/admin/pauses"


async def _posted(stack: Stack, path: str, command: dict[str, Any]) -> dict[str, Any]:
    answer = await stack.http.post(f"{stack.ingress.url}{PAUSES}{path}", json=command)
    assert answer.status_code == 200, answer.text
    document: dict[str, Any] = answer.json()
    return document


async def _items(stack: Stack) -> list[dict[str, Any]]:
    answer = await stack.http.get(f"{stack.ingress.url}{PAUSES}")
    items: list[dict[str, Any]] = answer.json()["items"]
    return items


async def test_a_retry_after_beyond_the_cap_is_waited_for_no_longer_than_that(stack: Stack, hub: str) -> None:
    """After the cap one call finds out that the service accepts calls again, and the others follow."""
    worker = await stack.add_worker(pause_cap=1)
    await stack.faults({"kind": "status", "status": 429, "retryAfter": 86_400, "times": 1})
    await stack.post(hub, batches([message(hub, 0, "users", "alice")], 1)[0])
    await stack.arrived(hub, 1)
    await stack.post(hub, batches([message(hub, n, "users", f"user {n}") for n in range(1, 6)], 5)[0])
    await stack.drained(within=15)
    refused, *accepted = await stack.journal(hub)
    assert (refused.status, [call.status for call in accepted]) == (429, [202] * 6)
    assert 1.0 <= min(call.arrived for call in accepted) - refused.arrived < 3.0
    assert (await worker.metrics())['fanout_pause_seconds{class="send"}'] == 0


async def test_a_pause_that_the_service_asked_for_can_be_seen_and_lifted(stack: Stack, hub: str) -> None:
    worker = await stack.add_worker()
    await stack.faults({"kind": "status", "status": 429, "retryAfter": 86_400, "times": 1})
    await stack.post(hub, batches([message(hub, 0, "users", "alice"), message(hub, 1, "users", "bob")], 2)[0])
    await until(lambda: _has(stack, "service:send"), within=10, what="the pause is kept in Redis")
    [item] = await _items(stack)
    assert item["cause"].startswith("status 429")
    assert 250 < item["until"] - item["since"] <= 300
    assert (await worker.metrics())['fanout_pause_seconds{class="send"}'] > 200
    for process in (worker, stack.ingress):
        warnings = (await stack.http.get(f"{process.url}/readyz")).json()["warnings"]
        assert any("service:send" in warning for warning in warnings), warnings
    await asyncio.sleep(0.6)  # the worker has looked at the pauses since
    assert (await _posted(stack, "/lift", {"class": "send"})) == {"lifted": 1}
    await stack.drained(within=10)


async def test_a_hub_that_is_paused_waits_while_another_goes_on_and_nothing_is_lost(stack: Stack, hub: str) -> None:
    await stack.add_worker()
    other = f"{hub}2"
    await _posted(stack, "/set", {"hub": hub, "reason": "an update"})
    await asyncio.sleep(1.0)  # every worker has looked at the pauses since
    for name in (hub, other):
        await stack.post(name, batches([message(name, n, "users", f"user {n}") for n in range(3)], 3)[0])
    await stack.arrived(other, 3)
    assert await stack.journal(hub) == []
    await stack.add_worker()  # it obeys from its start
    assert await stack.journal(hub) == []
    await _posted(stack, "/lift", {"hub": hub})
    await stack.drained()
    assert [call.status for call in await stack.journal(hub)] == [202] * 3


async def _has(stack: Stack, target: str) -> bool:
    return any(item["target"] == target for item in await _items(stack))
