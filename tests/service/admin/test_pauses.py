"""The routes of pauses, on a real store: what they do, what they refuse, and what probes say of a pause."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import httpx
import pytest

from fanout.clock import SystemClock
from fanout.queue.keys import flow_named
from fanout.queue.pauses import ALL, Pauses, at_endpoint, of_service
from fanout.redis.client import RedisClient
from fanout.redis.open import open_redis
from fanout.signalr.connection_string import ConnectionString
from fanout.signalr.endpoints import Endpoints, ServiceEndpoint
from fanout.signalr.message import RouteClass
from service.admin.pauses import _concerns
from tests.service.apps import KEY, SERVICE, App, an_app, client_of

PATH = "/v1/admin/pauses"
EAST = ConnectionString.parse(f"Endpoint=https://east.example;AccessKey={'k' * 44}")
BEARER = {"Authorization": f"Bearer {KEY}"}


@pytest.fixture
async def pauses(redis_url: str) -> AsyncIterator[Pauses]:
    redis_client: RedisClient = open_redis(redis_url, SystemClock())
    yield Pauses(redis_client)
    await redis_client.aclose()


def an_app_with(pauses: Pauses, **settings: Any) -> App:
    return replace(an_app(**settings), pauses=pauses)


async def test_what_is_paused_is_listed_until_it_is_lifted(pauses: Pauses) -> None:
    async with client_of(an_app_with(pauses)) as client:
        assert (await client.get(PATH)).json() == {"items": []}
        made = await client.post(f"{PATH}/set", json={"hub": "Chat", "seconds": 60, "reason": "an update"})
        assert (made.status_code, made.headers["Cache-Control"]) == (200, "no-store")
        listed = await client.get(PATH)
        assert listed.json() == {"items": [made.json()]}
        assert made.json()["until"] == pytest.approx(made.json()["since"] + 60)
        assert (made.json()["target"], made.json()["cause"]) == ("hub:chat", "an update")
        assert made.json()["by"].startswith("operator")
        lifted = await client.post(f"{PATH}/lift", json={"hub": "chat"})
        assert lifted.json() == {"lifted": 1}
        assert (await client.get(PATH)).json() == {"items": []}


async def test_a_class_is_resumed_whoever_paused_it_and_all_ends_every_pause(pauses: Pauses) -> None:
    async with client_of(an_app_with(pauses)) as client:
        await client.post(f"{PATH}/set", json={"class": "send"})
        await pauses.keep(RouteClass.SEND, seconds=60.0, by="w", cause="status 429")
        await client.post(f"{PATH}/set", json={"hub": "chat"})
        assert (await client.post(f"{PATH}/lift", json={"class": "send"})).json() == {"lifted": 2}
        await client.post(f"{PATH}/set", json={"all": True})
        assert (await client.post(f"{PATH}/lift", json={"all": True})).json() == {"lifted": 2}


@pytest.mark.lengthy
@pytest.mark.parametrize(
    ("command", "pointer"),
    [
        ({}, ""),
        ({"hub": "chat", "all": True}, ""),
        ({"hub": "no hub"}, None),
        ({"hub": 7}, "/hub"),
        ({"class": "sends"}, "/class"),
        ({"all": False}, "/all"),
        ({"endpoint": "default"}, ""),
        ({"all": True, "endpoint": "west"}, "/endpoint"),
        ({"all": True, "endpoint": 7}, "/endpoint"),
        ({"all": True, "endpoint": None}, "/endpoint"),
        ({"all": True, "seconds": 0}, "/seconds"),
        ({"all": True, "seconds": True}, "/seconds"),
        ({"all": True, "seconds": 1e9}, "/seconds"),
        ({"all": True, "reason": "x" * 201}, "/reason"),
        ({"all": True, "minutes": 5}, "/minutes"),
    ],
)
async def test_a_command_that_is_not_clear_pauses_nothing(
    pauses: Pauses, command: dict[str, Any], pointer: str | None
) -> None:
    async with client_of(an_app_with(pauses)) as client:
        answer = await client.post(f"{PATH}/set", json=command)
    assert answer.status_code == 400
    if pointer:
        assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]
    assert await pauses.current() == {}


async def test_one_of_several_endpoints_is_paused_and_resumed(pauses: Pauses) -> None:
    named = [ServiceEndpoint("", SERVICE), ServiceEndpoint("East", EAST)]
    async with client_of(replace(an_app_with(pauses), endpoints=Endpoints.of(named))) as client:
        made = await client.post(f"{PATH}/set", json={"all": True, "endpoint": "EAST", "seconds": 60})
        assert (made.json()["target"], made.json()["endpoint"]) == ("all@east", "east")
        await client.post(f"{PATH}/set", json={"hub": "Chat"})
        assert [each["endpoint"] for each in (await client.get(PATH)).json()["items"]] == ["east", None]
        unknown = await client.post(f"{PATH}/set", json={"all": True, "endpoint": "west"})
        assert "No endpoint 'west' is configured here; known: default, east." in unknown.text
        other = {"all": True, "endpoint": "default"}
        assert (await client.post(f"{PATH}/lift", json=other)).json() == {"lifted": 0}
        preview = await client.post(f"{PATH}/preview", json={"all": True, "endpoint": "east"})
        assert [each["target"] for each in preview.json()["pauses"]] == ["all@east"]
        assert (await client.post(f"{PATH}/lift", json={"all": True, "endpoint": "east"})).json() == {"lifted": 1}


async def test_the_pause_of_an_endpoint_that_is_configured_no_more_can_be_lifted(pauses: Pauses) -> None:
    await pauses.put(at_endpoint(ALL, "west"), seconds=None, by="operator", cause="")
    async with client_of(an_app_with(pauses)) as client:
        assert (await client.post(f"{PATH}/set", json={"all": True, "endpoint": "west"})).status_code == 400
        assert (await client.post(f"{PATH}/lift", json={"all": True, "endpoint": "west"})).json() == {"lifted": 1}


@pytest.mark.parametrize(
    ("target", "hub", "concerned"),
    [
        ("all@east", "chat@east", True),
        ("all@east", "chat", False),
        ("hub:chat@default", "chat", True),
        ("hub:chat@default", "chat@east", False),
        ("hub:chat", "chat@east", True),
        ("class:send@east", "news@east", True),
    ],
)
def test_what_waits_is_counted_for_the_endpoint_that_is_named(target: str, hub: str, *, concerned: bool) -> None:
    assert _concerns(target, flow_named("u", hub)) is concerned


async def test_only_administrators_are_answered(pauses: Pauses) -> None:
    async with client_of(an_app_with(pauses, api_key=KEY)) as client:
        for call in (client.get(PATH), client.post(f"{PATH}/set", json={"all": True}), client.post(f"{PATH}/lift")):
            assert (await call).status_code == 401
        assert (await client.get(PATH, headers=BEARER)).status_code == 200
    assert await pauses.current() == {}


async def test_a_pause_is_a_warning_of_the_readiness_probe(pauses: Pauses) -> None:
    await pauses.keep(RouteClass.SEND, seconds=60.0, by="worker-1", cause="status 429 (Retry-After: 86400 s)")
    async with client_of(an_app_with(pauses)) as client:
        answer: httpx.Response = await client.get("/readyz")
    assert answer.status_code == 200
    [warning] = answer.json()["warnings"]
    assert warning.startswith(f"delivery is paused ({of_service(RouteClass.SEND)}) until ")
    assert warning.endswith(", by worker-1: status 429 (Retry-After: 86400 s)")
