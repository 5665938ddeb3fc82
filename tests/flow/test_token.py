"""The tokens our calls carry: refused ones are renewed once, old ones before anybody can refuse them.

Rule guarded: no call leaves with a token about to expire; a 401 costs one extra call, not a message.
"""

import asyncio

import pytest

from emulator.config import connection_string
from fanout.clock import SystemClock
from fanout.http1.exchange import Limits, Origin
from fanout.http1.pool import Pool
from fanout.signalr.client import Client, service_address
from fanout.signalr.connection_string import ConnectionString
from fanout.signalr.credentials import AccessKeyCredential
from fanout.signalr.message import Message, Scope
from tests.flow.child import Child
from tests.flow.oracle import examine
from tests.flow.stack import Stack
from tests.flow.traffic import batches, message, sent_of
from tests.flow.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_refused_token_is_renewed_once_and_the_message_is_delivered_at_once(stack: Stack, hub: str) -> None:
    """With a backoff of a minute, only a retry without backoff can arrive in time."""
    worker = await stack.add_worker(retry_base=60, retry_cap=60)
    await stack.post(hub, batches([message(hub, 0, "users", "alice")], 1)[0])
    await stack.drained()
    await asyncio.sleep(1.1)  # a token's `exp` counts whole seconds: signed within the same one it would be equal
    await stack.faults({"kind": "status", "status": 401, "times": 1})
    items = [message(hub, n, "users", "alice") for n in range(1, 4)]
    await stack.post(hub, batches(items, 3)[0])
    await stack.drained(within=30)  # half of the backoff
    calls = (await stack.journal(hub))[1:]
    examine(sent_of(items), calls).check()
    assert [call.status for call in calls] == [401, 202, 202, 202]
    assert len({call.token for call in calls}) == 2
    assert len({call.token for call in calls[1:]}) == 1  # the new one is kept
    metrics = await worker.metrics()
    assert metrics['fanout_failed_attempts_total{failure="unauthorized"}'] == 1
    assert metrics["fanout_token_cache_misses_total"] == 2


async def test_a_token_that_stays_refused_is_tried_with_backoff_and_then_parked(stack: Stack, hub: str) -> None:
    """A wrong key must neither hammer the service nor keep the message forever."""
    await stack.add_worker(retry_base=0.2, retry_cap=0.2, retry_max_age=1.0)
    await stack.faults({"kind": "status", "status": 401})
    await stack.post(hub, batches([message(hub, 0, "users", "alice")], 1)[0])
    await stack.drained()
    (letter,) = await stack.dead_letters()
    assert (letter.cause.reason, letter.cause.status) == ("unauthorized", 401)
    assert 3 <= letter.cause.attempts < 60


async def test_a_token_near_its_expiry_is_renewed_before_it_is_used(stack: Stack, hub: str) -> None:
    """A token of two seconds serves until a tenth of them is left, and the emulator, which is strict, never objects.

    In process, because the setting does not go below two minutes.
    """
    clock = SystemClock()
    service = ConnectionString.parse(connection_string(stack.emulator.port))
    address = service_address(service, audience="endpoint", api_version="2022-06-01", application="")
    client = Client(
        Pool(Origin.parse(service.server_endpoint), Limits(), clock),
        AccessKeyCredential(service.key, clock, lifetime=2.0),
        address,
        clock,
        cache_size=10,
    )
    item = Message(Scope.USER, "alice", b'{"target":"t","arguments":[]}')

    async def renewed_twice() -> bool:
        assert (await client.call(hub.lower(), item)).status == 202
        return len({call.token for call in await stack.journal(hub)}) == 3

    try:
        await until(renewed_twice, within=60, what="the token is renewed twice")
    finally:
        await client.aclose()
    calls = await stack.journal(hub)
    assert len(calls) > 3  # and it is not made anew for each call


async def test_each_destination_has_a_token_of_its_own_and_keeps_it(stack: Stack, worker: Child, hub: str) -> None:
    """The audience is the URL, so five users take five tokens, and a hundred messages take no more."""
    items = [message(hub, n, "users", f"user {n % 5}") for n in range(100)]
    await stack.post(hub, batches(items, 100)[0])
    await stack.drained()
    calls = await stack.journal(hub)
    assert len({call.token for call in calls}) == 5
    metrics = await worker.metrics()
    assert (metrics["fanout_token_cache_misses_total"], metrics["fanout_token_cache_hits_total"]) == (5, 95)
