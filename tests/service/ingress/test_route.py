"""`POST /v1/hubs/{hub}/messages`: what is taken, what is refused, and what is told of each."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from fanout.errors import QueueError
from fanout.queue.entry import Admission
from fanout.signalr.message import Message, Scope
from tests.service.apps import BATCH, ITEM, KEY, SERVICE, an_app, client_of, metric
from tests.service.memory_queue import MemoryQueue
from tests.workers.helpers import until

BAD = {"userId": "alice"}
LENIENT = {"Prefer": "handling=lenient"}
STRICT = {"Prefer": "handling=strict"}


async def test_a_batch_is_stored_in_order_and_answered_202() -> None:
    queue = MemoryQueue()
    app = an_app(queue)
    batch = [ITEM, {"userId": "bob", "groupName": "g", "action": "add"}, {"target": "t", "arguments": []}]
    async with client_of(app) as client:
        answer = await client.post("/v1/hubs/Chat/messages", json=batch, headers={"X-Request-Id": "abc"})
    assert answer.status_code == 202
    assert answer.json() == {
        "accepted": 3,
        "duplicates": 0,
        "rejected": 0,
        "results": [{"index": i, "status": "accepted", "messageId": f"abc.{i}"} for i in range(3)],
    }
    assert answer.headers["X-Request-Id"] == "abc"
    assert [s.entry.hub for s in queue.stored] == ["chat"] * 3
    assert [s.entry.message_id for s in queue.stored] == ["abc.0", "abc.1", "abc.2"]
    assert queue.stored[0].entry.item == Message(Scope.USER, "alice", b'{"target":"newMessage","arguments":["hi"]}')
    assert {s.dedup_id for s in queue.stored} == {None}


async def test_what_is_stored_is_counted_by_operation() -> None:
    app = an_app()
    batch = [ITEM, ITEM, {"target": "t"}, {"userId": "u", "groupName": "g", "action": "add", "messageId": "m"}]
    async with client_of(app) as client:
        await client.post(BATCH, json=batch)
        await client.post(BATCH, json=batch[3])
    assert metric(app, "fanout_accepted_total", operation="sendToUser") == 2
    assert metric(app, "fanout_accepted_total", operation="broadcast") == 1
    assert metric(app, "fanout_accepted_total", operation="addUser") == 1
    assert metric(app, "fanout_duplicates_total") == 1
    assert metric(app, "fanout_ingress_requests_total", status="2xx") == 2
    assert metric(app, "fanout_append_seconds_count") == 2


async def test_a_string_that_holds_the_batch_is_taken_as_functions_send_it() -> None:
    async with client_of(an_app()) as client:
        answer = await client.post(BATCH, json=json.dumps([ITEM, ITEM]))
    assert answer.json()["accepted"] == 2


async def test_an_empty_batch_is_accepted_and_asks_the_queue_nothing() -> None:
    queue = MemoryQueue()
    queue.error = QueueError("gone")
    async with client_of(an_app(queue)) as client:
        answer = await client.post(BATCH, json=[])
        lenient = await client.post(BATCH, json=[], headers=LENIENT)
    assert (answer.status_code, answer.json()["results"]) == (202, [])
    assert lenient.status_code == 202


async def test_one_bad_item_refuses_the_batch_and_nothing_is_queued() -> None:
    queue = MemoryQueue()
    app = an_app(queue)
    async with client_of(app) as client:
        answer = await client.post(BATCH, json=[ITEM, BAD, {"target": {}}])
    problem = answer.json()
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"
    assert (problem["type"], problem["status"]) == ("/problems/invalidItems", 400)
    assert [(e["index"], e["pointer"], e["code"]) for e in problem["errors"]] == [
        (1, "/1", "noTargetOrAction"),
        (2, "/2/target", "notAString"),
    ]
    assert "results" not in problem
    assert queue.stored == []
    assert metric(app, "fanout_rejected_total") == 2
    assert metric(app, "fanout_ingress_requests_total", status="4xx") == 1


async def test_lenient_takes_the_good_items() -> None:
    queue = MemoryQueue()
    async with client_of(an_app(queue)) as client:
        answer = await client.post(BATCH, json=[BAD, ITEM], headers=LENIENT)
    assert answer.status_code == 202
    assert answer.headers["Preference-Applied"] == "handling=lenient"
    content = answer.json()
    assert (content["accepted"], content["rejected"]) == (1, 1)
    assert content["results"][0] == {
        "index": 0,
        "status": "rejected",
        "code": "noTargetOrAction",
        "pointer": "/0",
        "detail": content["results"][0]["detail"],
    }
    assert content["results"][1]["index"] == 1
    assert len(queue.stored) == 1


async def test_lenient_with_no_good_item_is_refused() -> None:
    async with client_of(an_app()) as client:
        answer = await client.post(BATCH, json=[BAD, BAD], headers=LENIENT)
    assert answer.status_code == 400
    assert len(answer.json()["errors"]) == 2


@pytest.mark.parametrize(
    ("content", "code"), [(b"", "emptyBody"), (b"{", "invalidJson"), (b"7", "notABatch"), (b"\xff", "invalidUtf8")]
)
async def test_a_body_that_is_no_batch_is_refused_as_a_whole(content: bytes, code: str) -> None:
    async with client_of(an_app()) as client:
        answer = await client.post(BATCH, content=content)
    problem = answer.json()
    assert (answer.status_code, problem["code"], problem["type"]) == (400, code, f"/problems/{code}")
    assert problem["errors"][0]["pointer"] == ""


async def test_limits_of_items_and_targets_come_from_the_settings() -> None:
    async with client_of(an_app(max_items=1)) as client:
        many = await client.post(BATCH, json=[ITEM, ITEM])
    async with client_of(an_app(max_targets=3)) as client:
        wide = await client.post(BATCH, json=[{"userIds": ["a", "b"], "target": "t"}] * 2)
    assert (many.status_code, many.json()["code"]) == (400, "tooManyItems")
    assert (wide.status_code, wide.json()["code"]) == (400, "tooManyTargets")


async def test_a_hub_name_the_service_cannot_have_is_refused() -> None:
    async with client_of(an_app()) as client:
        answer = await client.post("/v1/hubs/9lives/messages", json=ITEM)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalidHub")


async def test_warnings_reach_the_sender() -> None:
    async with client_of(an_app()) as client:
        answer = await client.post(BATCH, json=ITEM | {"groupName": "g"})
    assert "More than one scope" in answer.json()["results"][0]["warnings"][0]


async def test_several_targets_are_one_result_with_counts() -> None:
    queue = MemoryQueue()
    item = {"userIds": ["a", "b", "c"], "target": "t", "messageId": "m"}
    async with client_of(an_app(queue)) as client:
        queue.outcomes = {1: Admission.DUPLICATE}
        first = await client.post(BATCH, json=item)
        queue.outcomes = {1: Admission.DUPLICATE}
        again = await client.post(BATCH, json=item)
    assert first.json()["results"] == [
        {
            "index": 0,
            "status": "accepted",
            "messageId": "m",
            "targets": 3,
            "targetCounts": {"accepted": 2, "duplicate": 1},
        }
    ]
    assert again.json()["results"][0]["status"] == "duplicate"


async def test_without_the_key_nothing_is_read_or_queued() -> None:
    queue = MemoryQueue()
    async with client_of(an_app(queue, api_key=KEY)) as client:
        answer = await client.post(BATCH, content=b"not even JSON")
    assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, 'Bearer realm="signalr-fanout"')
    assert queue.stored == []


async def test_items_for_an_endpoint_that_is_not_ours_are_refused() -> None:
    ours = {"endpoint": SERVICE.endpoint, "name": "x", "endpointType": "Primary", "online": True}
    async with client_of(an_app()) as client:
        taken = await client.post(BATCH, json=ITEM | {"endpoints": [ours]})
        refused = await client.post(BATCH, json=ITEM | {"endpoints": [ours | {"endpoint": "https://other.example"}]})
    assert taken.status_code == 202
    assert refused.json()["errors"][0]["code"] == "noEndpointSelected"


async def test_a_misnamed_address_refuses_the_item_with_what_was_meant() -> None:
    queue = MemoryQueue()
    async with client_of(an_app(queue)) as client:
        answer = await client.post(BATCH, json=[ITEM, {"user_id": "bob", "target": "t"}])
        lenient = await client.post(BATCH, json=[ITEM, {"user": "bob", "target": "t"}], headers=LENIENT)
    (error,) = answer.json()["errors"]
    assert (answer.status_code, error["index"], error["pointer"]) == (400, 1, "/1/user_id")
    assert "Did you mean userId?" in error["detail"]
    assert [result["status"] for result in lenient.json()["results"]] == ["accepted", "rejected"]
    assert len(queue.stored) == 1


async def test_an_unknown_property_is_a_warning_and_with_strict_handling_a_refusal() -> None:
    queue = MemoryQueue()
    app = an_app(queue)
    async with client_of(app) as client:
        warned = await client.post(BATCH, json=ITEM | {"colour": "red"})
        strict = await client.post(BATCH, json=ITEM | {"colour": "red"}, headers=STRICT)
        known = await client.post(BATCH, json=ITEM, headers=STRICT)
    assert (warned.status_code, "colour" in warned.json()["results"][0]["warnings"][0]) == (202, True)
    assert (strict.status_code, strict.json()["errors"][0]["code"]) == (400, "unknownProperty")
    assert (known.status_code, known.headers["Preference-Applied"]) == (202, "handling=strict")
    assert len(queue.stored) == 2
    assert metric(app, "fanout_item_warnings_total", warning="unknownProperty") == 1


@pytest.mark.parametrize("empty", ["", None])
async def test_an_empty_address_is_a_broadcast_with_a_warning_unless_it_is_to_be_refused(empty: str | None) -> None:
    queue = MemoryQueue()
    app, refusing = an_app(queue), an_app(MemoryQueue(), empty_address="refuse")
    async with client_of(app) as client, client_of(refusing) as other:
        sent = await client.post(BATCH, json=ITEM | {"userId": empty})
        refused = await other.post(BATCH, json=ITEM | {"userId": empty})
        unknown = await other.post(BATCH, json=ITEM | {"colour": "red"})
    assert "userId is empty" in sent.json()["results"][0]["warnings"][0]
    assert queue.stored[0].entry.item.scope is Scope.BROADCAST  # type: ignore[union-attr] # a message was sent
    assert metric(app, "fanout_item_warnings_total", warning="emptyAddress") == 1
    assert (refused.status_code, refused.json()["errors"][0]["code"]) == (400, "emptyAddress")
    assert unknown.status_code == 202


async def test_half_of_a_surrogate_pair_refuses_one_item_or_is_replaced_where_asked() -> None:
    queue = MemoryQueue()
    body = rb'[{"target":"t","arguments":["\ud83d"]},{"target":"t"},{"target":"t","arguments":["\ud83d\ude00"]}]'
    async with client_of(an_app(queue)) as client:
        refused = await client.post(BATCH, content=body)
        lenient = await client.post(BATCH, content=body, headers=LENIENT)
        replaced = await client.post(BATCH, content=body, headers={"Prefer": "surrogates=replace"})
    assert [(e["index"], e["code"]) for e in refused.json()["errors"]] == [(0, "loneSurrogate")]
    assert [r["status"] for r in lenient.json()["results"]] == ["rejected", "accepted", "accepted"]
    assert (replaced.status_code, replaced.headers["Preference-Applied"]) == (202, "surrogates=replace")
    assert "U+FFFD" in replaced.json()["results"][0]["warnings"][0]
    assert len(queue.stored) == 5


# Bytes in flight ------------------------------------------------------------------------------------------------------


async def test_past_the_bound_of_bodies_in_flight_a_request_is_503_before_its_body_is_read() -> None:
    queue = MemoryQueue()
    queue.silent = True
    app = an_app(queue, max_bodies=1000, max_body=10_000)
    small, large = json.dumps(ITEM), json.dumps(ITEM | {"arguments": ["x" * 900]})
    read = 0

    async def body_of_unknown_length() -> AsyncIterator[bytes]:
        nonlocal read
        read += 1
        yield small.encode()

    async with client_of(app) as client, asyncio.TaskGroup() as group:
        first = group.create_task(client.post(BATCH, content=large))
        await until(lambda: metric(app, "fanout_body_bytes") > 900)
        refused = await client.post(BATCH, content=large)
        unknown = await client.post(BATCH, content=body_of_unknown_length())
        queue.silent = False
        first.cancel()
    for answer in (refused, unknown):
        assert (answer.status_code, answer.json()["code"], answer.headers["Retry-After"]) == (503, "overloaded", "1")
    assert read == 0
    assert queue.stored == []
    assert metric(app, "fanout_body_bytes") == 0
    assert metric(app, "fanout_body_bytes_limit") == 1000
    assert metric(app, "fanout_backpressure_total") == 2
    assert metric(app, "fanout_refused_requests_total", code="overloaded") == 2


async def test_a_body_of_unknown_length_gives_back_what_it_did_not_need() -> None:
    queue = MemoryQueue()
    app = an_app(queue, max_bodies=12_000, max_body=10_000)

    async def body() -> AsyncIterator[bytes]:
        yield json.dumps(ITEM).encode()

    queue.silent = True
    async with client_of(app) as client, asyncio.TaskGroup() as group:
        tasks = []
        for count in range(1, 6):
            tasks.append(group.create_task(client.post(BATCH, content=body())))
            await until(lambda count=count: queue.appends == count)  # type: ignore[misc] # mypy infers no lambda with a default
        held = metric(app, "fanout_body_bytes")
        for task in tasks:
            task.cancel()
    assert 5 * 50 < held < 5 * 600
