"""The routes of pauses, on a real store: what they do, what they refuse, and what probes say of a pause."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import httpx
import pytest

from fanout.clock import SystemClock
from fanout.queue.pauses import Pauses, of_service
from fanout.redis.client import RedisClient
from fanout.redis.open import open_redis
from fanout.signalr.message import RouteClass
from tests.service.apps import KEY, App, an_app, client_of

PATH = "/v1/admin/pauses"
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


@pytest.mark.parametrize(
    ("command", "pointer"),
    [
        ({}, ""),
        ({"hub": "chat", "all": True}, ""),
        ({"hub": "no hub"}, None),
        ({"hub": 7}, "/hub"),
        ({"class": "sends"}, "/class"),
        ({"all": False}, "/all"),
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
