"""What everybody is refused waits for its end; what fails alone keeps nobody waiting; with a real worker process."""

import asyncio
import os
import time

import pytest

from emulator.config import connection_string
from tests.flow.child import Child
from tests.flow.stack import PARTITIONS, Stack
from tests.flow.waiting import until
from tests.workers.scripted_service import ACCEPTED, Received, scripted_service

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.slow]

# Seconds of 403. A whole minute, because a shorter one would end before entries have failed often.
_REFUSED = float(os.environ.get("TEST_REFUSED", "60"))
_OPEN_AT_MOST = 30.0  # seconds between two probes of a breaker
_MARGIN = 30.0  # for a busy machine
_ORDINARY = {"retry_base": 0.5, "retry_cap": 30}  # the stack's own are for tests that wait for a retry
_PAGE = b"<html>You are being redirected to sign in.</html>"
_SIGN_IN = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: %d\r\n\r\n%s" % (len(_PAGE), _PAGE)


def to_users(first: int, count: int) -> list[dict[str, object]]:
    return [{"userId": f"u{n % 200}", "target": "t", "arguments": [n]} for n in range(first, first + count)]


async def held_back(worker: Child, label: str) -> None:
    async def is_open() -> bool:
        return (await worker.metrics())[f'fanout_breaker_open{{class="{label}"}}'] > 0

    await until(is_open, within=30, what=f"the breaker of {label} opens")


@pytest.mark.timeout(150 + _REFUSED)
async def test_a_minute_of_403_kills_nothing_and_ends_with_it(stack: Stack, hub: str) -> None:
    """A firewall rule, or a key that was rotated."""
    worker = await stack.add_worker(**_ORDINARY)
    await stack.faults({"kind": "status", "status": 403})
    began, posted = time.monotonic(), 0
    while time.monotonic() - began < _REFUSED:
        await stack.post(hub, to_users(posted, 50))
        posted += 50
        await asyncio.sleep(1.0)
    await held_back(worker, "send")
    assert await stack.depth() == posted
    await stack.faults()
    await stack.drained(within=_OPEN_AT_MOST + _MARGIN)
    assert await stack.dead_letters() == []
    assert sum(call.delivered for call in await stack.journal(hub)) == posted


@pytest.mark.timeout(150)
async def test_a_web_page_in_place_of_the_service_takes_nothing_out_of_the_queue(stack: Stack, hub: str) -> None:
    """A login page that answers 200 to everything is no delivery."""
    healed = False
    taken: list[bytes] = []

    async def answer(request: Received) -> bytes:
        if not healed:
            return _SIGN_IN
        taken.append(request.body)
        return ACCEPTED

    async with scripted_service(answer) as other:
        settings = {"AzureSignalRConnectionString": connection_string(other.port), **_ORDINARY}
        worker = await stack.add_worker(**settings)
        await stack.post(hub, to_users(0, 200))
        await held_back(worker, "send")
        assert await stack.depth() == 200
        healed = True
        await stack.drained(within=_OPEN_AT_MOST + _MARGIN)
        assert await stack.dead_letters() == []
        assert len({body for body in taken if b'"arguments"' in body}) == 200
        await worker.terminate()


async def test_a_503_that_asks_for_two_hours_kills_no_young_message(stack: Stack, hub: str) -> None:
    """The wait is longer than entries may be old, and is capped."""
    await stack.add_worker(pause_cap=1, **_ORDINARY)
    await stack.faults({"kind": "status", "status": 503, "retryAfter": 7200, "times": 20})
    await stack.post(hub, to_users(0, 50))
    await stack.drained(within=60)
    assert await stack.dead_letters() == []


@pytest.mark.timeout(120)
async def test_sixty_that_fail_for_ever_keep_sixty_joins_of_others_not_waiting(stack: Stack, hub: str) -> None:
    """The vendor's local emulator answers 500 to `removeAll` of a user it does not know, however often it is asked."""
    worker = await stack.add_worker(**_ORDINARY)
    await stack.faults({"kind": "status", "status": 500, "match": {"path": "/users/bad"}})
    await stack.post(hub, [{"userId": f"bad{n}", "action": "removeAll"} for n in range(60)])
    await held_back(worker, "action")
    await stack.post(hub, [{"userId": f"good{n}", "groupName": "g", "action": "add"} for n in range(60)])

    async def all_joined() -> bool:
        calls = [call for call in await stack.journal(hub) if "/users/good" in call.target]
        return len({call.target for call in calls if call.delivered}) == 60

    async def settled() -> bool:
        return await stack.depth() == 60 + PARTITIONS

    await until(all_joined, within=20, what="the joins of others")
    # What is left are the changes, and the marker of their batch in each partition.
    await until(settled, within=20, what="the joins are settled")
    assert await stack.dead_letters() == []
