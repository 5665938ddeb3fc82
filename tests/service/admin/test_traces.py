"""`GET /v1/admin/messages/{messageId}/trace`, and what the ingress notes and logs so that a message can be followed."""

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import httpx
import pytest
import structlog

from fanout.clock import SystemClock
from fanout.errors import QueueError
from fanout.log import configure
from fanout.queue.entry import Admission
from fanout.queue.stream import Stream
from fanout.queue.traces import TraceEvent, Traces
from fanout.redis.client import RedisClient
from fanout.redis.open import open_redis
from service.app import Role
from tests.service.apps import BATCH, ITEM, KEY, App, an_app, client_of, served
from tests.service.memory_queue import MemoryQueue

BEARER = {"Authorization": f"Bearer {KEY}"}
LENIENT = {"Prefer": "handling=lenient"}


@pytest.fixture
async def one_redis(redis_url: str) -> AsyncIterator[RedisClient]:
    """A client of one empty server; kinds of servers are told apart in the tests of the queue."""
    redis_client = open_redis(redis_url, SystemClock())
    yield redis_client
    await redis_client.aclose()


def traced(app: App, redis_client: RedisClient, *, keep: float = 60, most: int = 1000) -> tuple[App, Traces]:
    traces = Traces(redis_client, SystemClock(), keep=keep, max_per_second=most)
    return replace(app, traces=traces), traces


def path_of(message_id: str) -> str:
    return f"/v1/admin/messages/{message_id}/trace"


async def test_a_message_the_ingress_took_can_be_followed_by_its_id(one_redis: RedisClient) -> None:
    stream = Stream(one_redis, SystemClock(), partitions=4, max_bytes=1 << 30, dedup_window=60)
    app, traces = traced(an_app(stream), one_redis)
    async with client_of(app) as client:
        before = app.clock.wall()
        sent = await client.post(BATCH, json=[ITEM, ITEM | {"messageId": "order-1"}])
        await client.post(BATCH, json=ITEM | {"messageId": "order-1"})
        await traces.flush()
        made = await client.get(path_of(sent.json()["results"][0]["messageId"]))
        own = await client.get(path_of("order-1"))
    assert (made.status_code, made.headers["Cache-Control"]) == (200, "no-store")
    [event] = made.json()["events"]
    assert (event["what"], event["detail"]["hub"], event["detail"]["operation"]) == ("accepted", "chat", "sendToUser")
    assert before <= event["at"] <= app.clock.wall()
    assert own.json()["messageId"] == "order-1"
    first, second = (event["detail"] for event in own.json()["events"])
    assert (first["admission"], second["admission"]) == ("accepted", "duplicate")
    assert (first["partition"], first["entry"]) == (second["partition"], second["entry"])


async def test_what_was_not_stored_has_no_trace(one_redis: RedisClient) -> None:
    queue = MemoryQueue()
    queue.outcomes = {0: Admission.FULL, 1: Admission.UNKNOWN, 2: Admission.CONFLICT}
    app, traces = traced(an_app(queue), one_redis)
    async with client_of(app) as client:
        await client.post(BATCH, json=[ITEM | {"messageId": f"m{number}"} for number in range(4)])
        await traces.flush()
        statuses = [(await client.get(path_of(f"m{number}"))).status_code for number in range(4)]
    assert statuses == [404, 404, 404, 200]


async def test_each_target_of_an_item_is_an_event_of_its_one_id(one_redis: RedisClient) -> None:
    app, traces = traced(an_app(), one_redis)
    async with client_of(app) as client:
        await client.post(BATCH, json={"userIds": ["a", "b"], "target": "t", "messageId": "m1"})
        await traces.flush()
        answer = await client.get(path_of("m1"))
    assert [event["what"] for event in answer.json()["events"]] == ["accepted", "accepted"]


async def test_any_id_can_be_asked_for(one_redis: RedisClient) -> None:
    app, traces = traced(an_app(), one_redis)
    names = ["a/b", "a/trace", "..", "100 %", "\u00fc?#", "{0}", "a+b"]
    for name in names:
        traces.record(name, TraceEvent(1.5, "read", {"number": 1}))
    await traces.flush()
    async with served(app) as url, httpx.AsyncClient() as client:
        for name in names:
            escaped = "".join(f"%{byte:02X}" for byte in name.encode())
            answer = await client.get(f"{url}{path_of(escaped)}")
            told = [{"at": 1.5, "what": "read", "detail": {"number": 1}}]
            assert answer.json() == {"messageId": name, "events": told}


async def test_an_id_nobody_noted_and_traces_that_are_off_are_told_apart(one_redis: RedisClient) -> None:
    on, _ = traced(an_app(), one_redis)
    off, _ = traced(an_app(), one_redis, keep=0)
    codes = []
    for app in (on, off, an_app()):
        async with client_of(app) as client:
            answer = await client.get(path_of("m1"))
            explained = await client.get(answer.json()["type"])
        assert (answer.status_code, answer.headers["Cache-Control"]) == (404, "no-store")
        assert "FANOUT_TRACE_KEEP" in explained.text
        codes.append(answer.json()["code"])
    assert codes == ["traceUnknown", "traceOff", "traceOff"]


async def test_off_the_ingress_notes_nothing(one_redis: RedisClient) -> None:
    app, traces = traced(an_app(), one_redis, keep=0)
    async with client_of(app) as client:
        assert (await client.post(BATCH, json=ITEM)).status_code == 202
    await traces.flush()
    assert await one_redis.ask("DBSIZE") == 0


async def test_a_store_that_is_down_loses_traces_and_nothing_else(tmp_path: Path) -> None:
    redis_client = open_redis(f"unix://{tmp_path / 'none.sock'}", SystemClock())
    app, traces = traced(an_app(), redis_client)
    async with client_of(app) as client:
        sent = await client.post(BATCH, json=ITEM)
        await traces.flush()
        asked = await client.get(path_of("m1"))
    assert (sent.status_code, traces.lost) == (202, 1)
    assert (asked.status_code, asked.json()["code"], asked.headers["Retry-After"]) == (503, "queueUnavailable", "1")


@pytest.mark.parametrize(
    ("settings", "peer", "headers", "status"),
    [
        ({"api_key": KEY}, "192.0.2.7", BEARER, 404),
        ({"api_key": KEY}, "192.0.2.7", {"X-API-Key": KEY}, 404),
        ({"api_key": KEY}, "127.0.0.1", {}, 401),
        ({"api_key": KEY}, "127.0.0.1", {"X-API-Key": "another"}, 401),
        ({}, "127.0.0.1", {}, 404),
        ({}, "127.0.0.1", {"X-Forwarded-For": "192.0.2.7"}, 401),
        ({}, "127.0.0.1", {"Origin": "https://evil.example.com"}, 401),
        ({}, "192.0.2.7", {}, 401),
        ({"auth": "key"}, "127.0.0.1", {}, 401),
    ],
)
async def test_only_key_holders_and_this_machine_look_into_the_queue(
    settings: dict[str, Any], peer: str, headers: dict[str, str], status: int
) -> None:
    async with client_of(an_app(**settings), peer=peer) as client:
        answer = await client.get(path_of("m1"), headers=headers)
    assert answer.status_code == status


@pytest.mark.parametrize(("role", "status"), [("all", "traceOff"), ("ingress", "traceOff"), ("worker", "notFound")])
async def test_an_ingress_answers_the_operator_and_a_worker_does_not(role: Role, status: str) -> None:
    async with client_of(an_app(role=role)) as client:
        assert (await client.get(path_of("m1"))).json()["code"] == status


@pytest.fixture
def logged() -> StringIO:
    """What is logged, as JSON lines."""
    stream = StringIO()
    configure(level="info", style="json", stream=stream)
    return stream


@pytest.fixture(autouse=True)
def _unconfigured() -> Any:
    yield
    structlog.reset_defaults()


def lines(logged: StringIO) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in logged.getvalue().splitlines()]
    return [line for line in found if line["event"] == "ingress.accepted"]


async def test_each_request_is_one_log_line_that_names_its_messages(logged: StringIO) -> None:
    batch = [ITEM, ITEM | {"messageId": "order-1"}, {"nothing": 1}]
    async with client_of(an_app(), Idempotency_Key="k") as client:
        first = await client.post(BATCH, json=batch, headers=LENIENT | {"X-Request-Id": "req-1"})
        await client.post(BATCH, json=batch, headers=LENIENT | {"X-Request-Id": "req-2"})
    one, two = lines(logged)
    ids = [result["messageId"] for result in first.json()["results"][:2]]
    expected = {"caller": "local", "hub": "chat", "items": 3, "rejected": 1, "failed": 0, "ids": ids, "more_ids": 0}
    assert {name: one[name] for name in expected} == {name: two[name] for name in expected} == expected
    assert (one["request_id"], one["accepted"], one["duplicates"]) == ("req-1", 2, 0)
    assert (two["request_id"], two["accepted"], two["duplicates"]) == ("req-2", 0, 2)


async def test_a_large_batch_is_one_short_line(logged: StringIO) -> None:
    async with client_of(an_app()) as client:
        await client.post(BATCH, json=[ITEM] * 1000)
    [line] = lines(logged)
    assert (line["accepted"], len(line["ids"]), line["more_ids"]) == (1000, 20, 980)


async def test_what_may_be_stored_is_named_and_what_is_not_leaves_no_line(logged: StringIO) -> None:
    queue = MemoryQueue()
    queue.outcomes = {0: Admission.UNKNOWN}
    async with client_of(an_app(queue)) as client:
        await client.post(BATCH, json=ITEM | {"messageId": "m1"})
        await client.post(BATCH, json={"nothing": 1})
        queue.error = QueueError("The queue is away.")
        await client.post(BATCH, json=ITEM)
    [line] = lines(logged)
    assert (line["ids"], line["failed"], line["accepted"]) == (["m1"], 1, 0)


@pytest.mark.parametrize(
    ("message_id", "shown"),
    [
        (f"AccessKey={KEY}", "AccessKey=***"),
        (f"Bearer {KEY}", "Bearer ***"),
        ("eyJhbGciOi.eyJzdWIi.c2lnbmVk", "***"),
        (f"redis://user:{KEY}@host", "redis://user:***@host"),
        ("order-1", "order-1"),
    ],
)
async def test_an_id_that_is_a_secret_by_its_shape_is_not_logged(logged: StringIO, message_id: str, shown: str) -> None:
    async with client_of(an_app()) as client:
        await client.post(BATCH, json=ITEM | {"messageId": message_id})
    assert lines(logged)[0]["ids"] == [shown]
    assert KEY not in logged.getvalue()
