"""The audit log: a line for what changes something, a bounded number for the rest, and none for a message."""

import json
from collections.abc import Iterator
from dataclasses import replace
from io import StringIO
from typing import Any

import pytest
import structlog

from fanout.log import configure, get_audit_logger
from fanout.queue.dead_letters import DeadLetters
from fanout.queue.pauses import Pauses
from fanout.redis.client import RedisClient
from service.http.refusals import Refusals
from tests.fakes import FakeClock
from tests.log_lines import fault_of
from tests.service.apps import BATCH, ITEM, KEY, App, an_app, client_of


@pytest.fixture
def logged() -> Iterator[StringIO]:
    """What is logged as JSON lines, of which those below errors count only when they are of the audit log."""
    stream = StringIO()
    configure(level="error", style="json", stream=stream)
    yield stream
    structlog.reset_defaults()


def lines(logged: StringIO) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in logged.getvalue().splitlines()]
    assert [fault for line in found if (fault := fault_of(line))] == []
    assert {line["stream"] for line in found} <= {"audit"}
    return found


def app_of(redis_client: RedisClient, **settings: Any) -> App:
    clock = FakeClock()
    app = an_app(api_key=KEY, clock=clock, **settings)
    app = replace(app, dead_letters=DeadLetters(redis_client), refusals=Refusals(app.metrics, clock))
    return replace(app, pauses=Pauses(redis_client))


async def test_what_changes_something_has_its_line_each_time(one_redis: RedisClient, logged: StringIO) -> None:
    async with client_of(app_of(one_redis), peer="192.0.2.7", X_API_Key=KEY) as client:
        for _ in range(12):
            await client.post("/v1/admin/pauses/set", json={"hub": "chat", "seconds": 60, "reason": "secret of alice"})
        await client.post("/v1/admin/pauses/lift", json={"hub": "chat"}, headers={"X-Request-Id": "mine"})
        await client.post("/v1/admin/dead-letters/purge", json={"hub": "chat"})
        await client.post("/v1/admin/dead-letters/purge", json={"all": True, "dryRun": True})
        await client.post("/v1/admin/pauses/set", json={"nothing": 1})
        await client.post("/v1/admin/hubs/chat/close", json={"all": True, "endpoint": "default", "dryRun": True})
    [*set_, lifted, purged, tried, wrong, closed] = lines(logged)
    assert len(set_) == 12
    assert {line["event"] for line in lines(logged)} == {"audit.acted"}
    expected = {
        "caller": "api-key", "peer": "192.0.2.7", "method": "POST", "path": "/v1/admin/pauses/lift", "status": 200,
        "target": "hub:chat", "count": 1, "request_id": "mine",
    }  # fmt: skip
    assert {name: lifted[name] for name in expected} == expected
    assert (set_[0]["target"], set_[0]["seconds"]) == ("hub:chat", 60)
    assert [purged[name] for name in ("hub", "matched", "count", "dry")] == ["chat", 0, 0, False]
    assert [tried[name] for name in ("matched", "dry")] == [0, True]
    assert wrong["status"] == 400
    assert [closed[name] for name in ("hub", "target", "dry")] == ["chat", "hub:chat@default", True]
    assert "alice" not in logged.getvalue()
    assert KEY not in logged.getvalue()


async def test_what_is_read_or_negotiated_often_is_counted_instead(one_redis: RedisClient, logged: StringIO) -> None:
    app = app_of(one_redis)
    assert isinstance(app.clock, FakeClock)
    async with client_of(app, X_API_Key=KEY) as client:
        for _ in range(15):
            await client.get("/v1/admin/pauses")
            await client.post("/chat/negotiate?userId=alice")
        await app.clock.advance(10)
        await client.get("/v1/admin/pauses")
    read = [line for line in lines(logged) if line["event"] == "audit.read"]
    negotiated = [line for line in lines(logged) if line["event"] == "audit.negotiated"]
    assert (len(read), len(negotiated), read[-1]["left_out"]) == (11, 10, 5)
    assert (negotiated[0]["hub"], negotiated[0]["status"]) == ("chat", 200)
    assert "alice" not in logged.getvalue()


async def test_who_is_refused_is_told_whatever_was_asked_for(one_redis: RedisClient, logged: StringIO) -> None:
    async with client_of(app_of(one_redis)) as client:
        await client.post("/v1/admin/pauses/set", json={"all": True})
        await client.post(BATCH, json=ITEM, headers={"Authorization": "Bearer wrong-key-of-somebody"})
        for _ in range(20):
            await client.post(BATCH, json=ITEM)
    refused = lines(logged)
    assert {line["event"] for line in refused} == {"audit.refused"}
    assert [(line["code"], line["path"]) for line in refused[:2]] == [
        ("unauthorized", "/v1/admin/pauses/set"),
        ("wrongKey", BATCH),
    ]
    assert len(refused) == 11
    assert "somebody" not in logged.getvalue()


async def test_messages_figures_and_probes_have_no_line(one_redis: RedisClient, logged: StringIO) -> None:
    async with client_of(app_of(one_redis), X_API_Key=KEY) as client:
        for path in ("/metrics", "/backlog", "/livez", "/readyz", "/docs", "/openapi.json", "/problems/forbidden"):
            await client.get(path)
        await client.post(BATCH, json=ITEM)
    assert lines(logged) == []


async def test_whom_a_gateway_forwards_is_told_where_the_settings_name_the_gateway(
    one_redis: RedisClient, logged: StringIO
) -> None:
    app = app_of(one_redis, negotiate_peers=("192.0.2.0/24",), negotiate_user=("principal-id",))
    forwarded = {"X-Forwarded-For": "10.9.9.9, 203.0.113.5"}
    for peer in ("192.0.2.7", "198.51.100.1"):
        async with client_of(app, peer=peer, X_API_Key=KEY) as client:
            await client.get("/v1/admin/pauses", headers=forwarded)
            await client.get("/v1/admin/pauses", headers={"X-Forwarded-For": "x" * 100})
    assert [line.get("forwarded") for line in lines(logged)] == ["203.0.113.5", None, None, None]


def test_the_logger_writes_whatever_the_level_is(logged: StringIO) -> None:
    get_audit_logger().info("audit.key_added", source="redis", key="k", name="n", rights="send", hubs="*")
    assert [line["event"] for line in lines(logged)] == ["audit.key_added"]
