"""`POST /v1/hubs/{hub}/messages`: repeats, conflicts, and a queue that cannot take everything."""

import httpx
import pytest

from fanout.clock import SystemClock
from fanout.errors import QueueError, QueueFullError
from fanout.queue.entry import Admission, decode
from fanout.queue.stream import START, Stream
from fanout.redis.open import open_redis
from fanout.signalr.message import Message
from tests.service.apps import BATCH, ITEM, an_app, client_of, metric, served
from tests.service.memory_queue import MemoryQueue

BAD = {"userId": "alice"}
LENIENT = {"Prefer": "handling=lenient"}


async def test_adding_two_users_to_a_group_in_one_item_is_not_its_own_duplicate() -> None:
    queue = MemoryQueue()
    item = {"userIds": ["a", "b"], "groupName": "g", "action": "add", "messageId": "m"}
    async with client_of(an_app(queue)) as client:
        first = await client.post(BATCH, json=item)
        again = await client.post(BATCH, json=item)
    assert first.json()["results"][0]["targetCounts"] == {"accepted": 2}
    assert again.json()["results"][0]["targetCounts"] == {"duplicate": 2}
    assert len(queue.stored) == 2


async def test_a_repeated_message_id_answers_duplicate_and_is_not_queued_again() -> None:
    queue = MemoryQueue()
    async with client_of(an_app(queue)) as client:
        for expected in ("accepted", "duplicate"):
            answer = await client.post(BATCH, json=ITEM | {"messageId": "m1"})
            assert answer.status_code == 202
            assert answer.json()["results"] == [{"index": 0, "status": expected, "messageId": "m1"}]
    assert len(queue.stored) == 1


async def test_a_message_id_with_other_content_is_422_and_tells_what_was_queued() -> None:
    queue = MemoryQueue()
    app = an_app(queue)
    async with client_of(app) as client:
        await client.post(BATCH, json=ITEM | {"messageId": "m1"})
        answer = await client.post(BATCH, json=[ITEM, ITEM | {"messageId": "m1", "arguments": ["other"]}])
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (422, "messageIdConflict")
    assert [(r["status"], r.get("code")) for r in problem["results"]] == [
        ("accepted", None),
        ("rejected", "messageIdConflict"),
    ]
    assert "1 were accepted and are queued" in problem["detail"]
    assert len(queue.stored) == 2
    assert metric(app, "fanout_rejected_total") == 1


async def test_lenient_answers_202_beside_a_conflict_and_422_when_nothing_else_is_left() -> None:
    other = ITEM | {"messageId": "m1", "arguments": ["other"]}
    async with client_of(an_app()) as client:
        await client.post(BATCH, json=ITEM | {"messageId": "m1"})
        mixed = await client.post(BATCH, json=[ITEM, other], headers=LENIENT)
        alone = await client.post(BATCH, json=[other], headers=LENIENT)
    assert (mixed.status_code, mixed.json()["rejected"]) == (202, 1)
    assert alone.status_code == 422


async def test_an_idempotency_key_makes_a_repeat_a_duplicate_under_the_ids_of_the_first() -> None:
    queue = MemoryQueue()
    async with client_of(an_app(queue), Idempotency_Key="k") as client:
        first = await client.post(BATCH, json=[ITEM, ITEM])
        again = await client.post(BATCH, json=[ITEM, ITEM])
    assert [r["status"] for r in first.json()["results"]] == ["accepted"] * 2
    assert [r["status"] for r in again.json()["results"]] == ["duplicate"] * 2
    ids = [r["messageId"] for r in first.json()["results"]]
    assert ids == [r["messageId"] for r in again.json()["results"]] == [s.entry.message_id for s in queue.stored]
    assert first.headers["X-Request-Id"] != again.headers["X-Request-Id"]


async def test_a_repeat_is_known_by_its_tokens_and_by_its_key_with_or_without_quotation_marks() -> None:
    queue = MemoryQueue()
    bodies = (b'{"target":"t","arguments":[1.10]}', b' { "target": "t", "arguments": [ 1.10 ] }\n')
    async with client_of(an_app(queue)) as client:
        first = await client.post(BATCH, content=bodies[0], headers={"Idempotency-Key": "k1"})
        again = await client.post(BATCH, content=bodies[1], headers={"Idempotency-Key": '"k1"'})
        other = await client.post(BATCH, content=bodies[0].replace(b"1.10", b"1.1"), headers={"Idempotency-Key": "k1"})
    assert [first.json()["accepted"], again.json()["duplicates"]] == [1, 1]
    assert (other.status_code, other.json()["code"]) == (422, "idempotencyConflict")
    assert len(queue.stored) == 1


async def test_an_idempotency_key_with_another_body_is_422_and_nothing_is_queued() -> None:
    queue = MemoryQueue()
    async with client_of(an_app(queue), Idempotency_Key="k") as client:
        await client.post(BATCH, json=ITEM)
        answer = await client.post(BATCH, json=[ITEM])
        elsewhere = await client.post("/v1/hubs/other/messages", json=[ITEM])
    assert (answer.status_code, answer.json()["code"]) == (422, "idempotencyConflict")
    assert elsewhere.status_code == 202
    assert [s.entry.hub for s in queue.stored] == ["chat", "other"]


async def test_a_refused_batch_does_not_use_up_its_idempotency_key() -> None:
    async with client_of(an_app(), Idempotency_Key="k") as client:
        assert (await client.post(BATCH, json=[BAD])).status_code == 400
        assert (await client.post(BATCH, json=[ITEM])).status_code == 202


@pytest.mark.parametrize("key", ["", "k" * 256, "schl\u00fcssel"])
async def test_an_idempotency_key_that_cannot_be_used_is_refused(key: str) -> None:
    async with client_of(an_app()) as client:
        answer = await client.post(BATCH, json=ITEM, headers=[(b"Idempotency-Key", key.encode())])
    assert (answer.status_code, answer.json()["code"]) == (400, "invalidIdempotencyKey")


async def test_a_full_queue_is_503_with_retry_after() -> None:
    queue = MemoryQueue()
    queue.outcomes = {0: Admission.FULL}
    app = an_app(queue)
    async with client_of(app) as client:
        answer = await client.post(BATCH, json=ITEM)
    assert (answer.status_code, answer.json()["code"]) == (503, "queueFull")
    assert answer.headers["Retry-After"] == "1"
    assert metric(app, "fanout_backpressure_total") == 1
    assert metric(app, "fanout_ingress_requests_total", status="5xx") == 1


async def test_a_batch_stored_in_part_is_503_and_its_repeat_stores_only_the_rest() -> None:
    queue = MemoryQueue()
    queue.outcomes = {1: Admission.FULL, 2: Admission.UNKNOWN}
    batch = [ITEM, {"target": "t"}, {"groupName": "g", "target": "t"}]
    async with client_of(an_app(queue), Idempotency_Key="k") as client:
        first = await client.post(BATCH, json=batch)
        queue.outcomes = {}
        again = await client.post(BATCH, json=batch)
    problem = first.json()
    assert (first.status_code, problem["code"]) == (503, "queueSilent")
    assert (problem["accepted"], problem["failed"]) == (1, 2)
    assert [(r["status"], r.get("code")) for r in problem["results"]] == [
        ("accepted", None),
        ("failed", "queueFull"),
        ("failed", "queueSilent"),
    ]
    assert "same Idempotency-Key" in problem["detail"]
    assert again.status_code == 202
    assert [r["status"] for r in again.json()["results"]] == ["duplicate", "accepted", "accepted"]


@pytest.mark.lengthy
@pytest.mark.parametrize(
    ("error", "code", "wait"),
    [
        (QueueError("The queue is away."), "queueUnavailable", "1"),
        (QueueFullError("Full.", retry_after=4.2), "queueFull", "5"),
    ],
)
async def test_a_queue_that_fails_is_503_with_its_own_retry_after(error: QueueError, code: str, wait: str) -> None:
    queue = MemoryQueue()
    queue.error = error
    app = an_app(queue)
    async with client_of(app) as client:
        answer = await client.post(BATCH, json=ITEM)
    assert (answer.status_code, answer.json()["code"], answer.headers["Retry-After"]) == (503, code, wait)
    assert metric(app, "fanout_backpressure_total") == 1


async def test_through_a_real_queue_entries_arrive_in_order_and_repeats_do_not(redis_url: str) -> None:
    redis_client = open_redis(redis_url, SystemClock())
    stream = Stream(redis_client, SystemClock(), partitions=1, max_bytes=1 << 30, dedup_window=60)
    batch = [ITEM | {"arguments": [n]} for n in range(5)]
    batch.append({"userIds": ["a", "b"], "groupName": "g", "action": "add"})
    async with served(an_app(stream)) as url, httpx.AsyncClient() as client:
        first = await client.post(url + BATCH, json=batch, headers={"Idempotency-Key": "k"})
        again = await client.post(url + BATCH, json=batch, headers={"Idempotency-Key": "k"})
        other = await client.post(url + BATCH, json=batch[:1], headers={"Idempotency-Key": "k"})
    flows = await stream.read(0, dict.fromkeys(await stream.flows(0), START), most=100)
    entries = [decode(stored.data, "chat") for flow in sorted(flows, reverse=True) for stored in flow.entries]
    await redis_client.aclose()
    assert (first.status_code, again.status_code, other.status_code) == (202, 202, 422)
    assert {r["status"] for r in again.json()["results"]} == {"duplicate"}
    bodies = [entry.item.body for entry in entries[:5] if isinstance(entry.item, Message)]
    assert bodies == [b'{"target":"newMessage","arguments":[%d]}' % n for n in range(5)]
    assert len(entries) == 7


async def test_through_a_real_queue_past_its_depth_is_503(redis_url: str) -> None:
    redis_client = open_redis(redis_url, SystemClock())
    stream = Stream(redis_client, SystemClock(), partitions=1, max_bytes=1, dedup_window=60)
    async with client_of(an_app(stream)) as client:
        assert (await client.post(BATCH, json=ITEM)).status_code == 202
        answer = await client.post(BATCH, json=ITEM)
    await redis_client.aclose()
    assert (answer.status_code, answer.json()["code"]) == (503, "queueFull")
