"""A caller that repeats a request it has no answer for: what is stored already is not delivered twice.

Rule guarded: one mechanism tells repeats apart, by the Idempotency-Key or by each item's messageId.
"""

import pytest

from fanout.queue.keys import KEYS
from tests.flow.child import Child
from tests.flow.oracle import examine
from tests.flow.stack import PARTITIONS, Stack
from tests.flow.traffic import batches, message, mixed, partition_of_user, sent_of

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_repeated_request_is_answered_with_duplicates_and_delivered_once(
    stack: Stack, worker: Child, hub: str
) -> None:
    items = mixed(hub, 100, seed=51)
    (body,) = batches(items, 100)
    first = await stack.post(hub, body, Idempotency_Key="k1")
    assert (first["accepted"], first["duplicates"]) == (100, 0)
    await stack.drained()
    second = await stack.post(hub, body, Idempotency_Key="k1")
    assert (second["accepted"], second["duplicates"]) == (0, 100)
    await stack.drained()
    examine(sent_of(items), await stack.journal(hub)).check()


async def test_a_repeat_after_half_a_failure_stores_the_other_half_and_nothing_twice(stack: Stack, hub: str) -> None:
    """One partition refuses to take entries (its stream is another type), the rest take theirs: 503, item by item."""
    items = [message(hub, n, "users", f"user {n % 8}") for n in range(64)]
    (body,) = batches(items, 64)
    broken = KEYS.stream(partition_of_user(hub, "user 3", PARTITIONS), f"u{hub.lower()}")
    await stack.redis_client.ask("SET", broken, "no stream")
    answer = await stack.try_post(hub, body, Idempotency_Key="k2")
    assert (answer.status_code, bool(answer.headers["retry-after"])) == (503, True)
    missing = [result["index"] for result in answer.json()["results"] if result["status"] == "failed"]
    assert {n % 8 for n in missing} >= {3}
    assert len(missing) < 64
    await stack.redis_client.ask("DEL", broken)
    repeated = await stack.post(hub, body, Idempotency_Key="k2")
    assert (repeated["accepted"], repeated["duplicates"]) == (len(missing), 64 - len(missing))
    await stack.add_worker()
    await stack.drained()
    examine(sent_of(items), await stack.journal(hub)).check()


async def test_a_message_id_is_delivered_once_per_destination(stack: Stack, worker: Child, hub: str) -> None:
    """The same order to two users is two messages; to the same user in another batch it is one."""
    order = {"messageId": "order-1", "target": "order", "arguments": [1]}
    await stack.post(hub, [order | {"userId": "alice"}, order | {"userId": "bob"}])
    again = await stack.post(hub, [order | {"userId": "alice"}, {"userId": "alice", "target": "other"}])
    assert [result["status"] for result in again["results"]] == ["duplicate", "accepted"]
    await stack.drained()
    calls = await stack.journal(hub)
    assert len(calls) == 3
    assert len({(call.target, call.body) for call in calls}) == 3


async def test_a_key_with_another_body_is_refused_and_nothing_of_it_is_queued(stack: Stack, hub: str) -> None:
    await stack.post(hub, {"userId": "alice", "target": "a"}, Idempotency_Key="k3")
    refused = await stack.try_post(hub, {"userId": "alice", "target": "b"}, Idempotency_Key="k3")
    assert refused.status_code == 422
    assert await stack.depth() == 1
