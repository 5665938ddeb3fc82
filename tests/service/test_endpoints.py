"""Several endpoints behind one process: each gets everything once and in order, whatever the others do."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import httpx
import msgspec
import pytest

from emulator.config import EmulatorConfig
from fanout.clock import SystemClock
from fanout.signalr.credentials import rest_token
from tests.emulator.running import Service, running
from tests.free_ports import free_port
from tests.service.programs import KEY, Program, forked_program

pytestmark = pytest.mark.process

EAST_KEY = "HGFEDCBA9876543210ZYXWVUTSRQPONMLKJIHGFEDCBA"
USERS = ("ann", "bob", "cy d")
LARGE = "x" * 6000  # stands beside the streams
ROUNDS = 10


def string(port: int, key: str) -> str:
    return f"Endpoint=http://127.0.0.1;Port={port};AccessKey={key};Version=1.0;"


@asynccontextmanager
async def two_endpoints(redis_url: str, home: int, east: int, directory: Path, **more: str) -> AsyncIterator[Program]:
    settings = {
        "FANOUT_REDIS_URL": redis_url,
        "FANOUT_PORT": "0",
        "FANOUT_RETRY_BASE": "0.05",
        "FANOUT_RETRY_CAP": "0.2",
        "AzureSignalRConnectionString": string(home, KEY),
        "Azure__SignalR__Endpoints__East__secondary": string(east, EAST_KEY),
    }
    async with forked_program(directory, "serve", **(settings | more)) as fanout:
        yield fanout


def batch(number: int) -> list[dict[str, Any]]:
    """Return messages and changes whose order can be seen; the last is for many at once and large."""
    members = [{"action": "add", "userId": user, "groupName": "red"} for user in USERS]
    messages = [
        {"userId": user, "target": "t", "arguments": [number], "messageId": f"{number}-{user}"} for user in USERS
    ]
    group = {"groupName": "red", "target": "t", "arguments": [number]}
    return [*members, *messages, group, {"userIds": list(USERS), "target": "large", "arguments": [number, LARGE]}]


def sequence_of(service: Service) -> dict[str, list[Any]]:
    """Return what arrived, by path, in its order: the first argument of messages, and "" for changes."""
    arrived: dict[str, list[Any]] = {}
    for entry in service.emulator.journal.entries(0, None):
        if entry.method != "HEAD":
            arguments = msgspec.json.decode(entry.body)["arguments"] if entry.body else [""]
            arrived.setdefault(f"{entry.method} {unquote(entry.path)}", []).append(arguments[0])
    return arrived


async def metric(http: httpx.AsyncClient, line: str) -> float:
    lines = (await http.get("/metrics")).text.splitlines()
    return float(next(each for each in lines if each.startswith(line)).rpartition(" ")[2])


async def test_a_dead_endpoint_neither_blocks_nor_doubles_what_the_other_gets_and_gets_its_own_later(
    redis_url: str, tmp_path: Path
) -> None:
    east_port = free_port()
    async with (
        running() as home,
        two_endpoints(redis_url, home.port, east_port, tmp_path) as fanout,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{await fanout.port()}") as http,
    ):
        for number in range(ROUNDS):
            answer = await http.post("/v1/hubs/chat/messages", json=batch(number))
            assert answer.status_code == 202, answer.text
            assert answer.json()["accepted"] == len(batch(number))
        again = (await http.post("/v1/hubs/chat/messages", json=batch(0)[3:6])).json()
        assert (again["accepted"], again["duplicates"]) == (0, 3), again
        expected = ROUNDS * len(USERS) * 3 + ROUNDS
        await fanout.until(lambda: sum(map(len, sequence_of(home).values())) == expected, within=60)
        assert await metric(http, 'fanout_endpoint_settled_total{endpoint="default"}') == expected
        assert await metric(http, 'fanout_endpoint_settled_total{endpoint="east"}') == 0
        assert await metric(http, 'fanout_failed_attempts_total{failure="notSent"}') > 0
        online = [await metric(http, f'fanout_endpoint_online{{endpoint="{name}"}}') for name in ("default", "east")]
        assert online == [1, 0]
        first = sequence_of(home)
        async with running(EmulatorConfig(keys=(EAST_KEY,)), port=east_port) as east:
            await fanout.until(lambda: sum(map(len, sequence_of(east).values())) == expected, within=60)
            await fanout.until(lambda: metric_is_zero(http), within=60)
            for arrived in (first, sequence_of(home), sequence_of(east)):
                assert arrived["POST /api/hubs/chat/groups/red/:send"] == list(range(ROUNDS))
                for user in USERS:
                    twice = [number for number in range(ROUNDS) for _ in range(2)]
                    assert arrived[f"POST /api/hubs/chat/users/{user}/:send"] == twice
            assert sequence_of(east) == sequence_of(home)
        assert await metric(http, 'fanout_endpoint_dead_total{endpoint="east"}') == 0
    assert EAST_KEY not in fanout.err + fanout.out


async def metric_is_zero(http: httpx.AsyncClient) -> bool:
    lines = (await http.get("/metrics")).text.splitlines()
    return sum(float(each.rpartition(" ")[2]) for each in lines if each.startswith("fanout_queue_depth{")) == 0


async def test_items_and_compatible_calls_and_clients_can_be_for_one_endpoint(redis_url: str, tmp_path: Path) -> None:
    async with (
        running() as home,
        running(EmulatorConfig(keys=(EAST_KEY,))) as east,
        two_endpoints(redis_url, home.port, east.port, tmp_path, FANOUT_NEGOTIATE_WEIGHTS="Default=0") as fanout,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{await fanout.port()}") as http,
    ):
        for number, chosen in enumerate([None, ["east"], [{"name": "default"}]]):
            item = {"userId": "ann", "target": "t", "arguments": [number], "endpoints": chosen}
            answer = await http.post("/v1/hubs/chat/messages", json=item)
            assert answer.status_code == 202, answer.text
        unknown = await http.post("/v1/hubs/chat/messages", json={"target": "t", "endpoints": ["west"]})
        assert (unknown.status_code, unknown.json()["errors"][0]["pointer"]) == (400, "/endpoints/0")
        assert "there are default, east" in unknown.text
        for key, place, number in ((KEY, home, 3), (EAST_KEY, east, 4)):
            path = "/api/hubs/chat/users/ann/:send"
            token = rest_token(key, f"http://127.0.0.1:{place.port}{path}", int(SystemClock().wall()) + 60)
            call = {"target": "t", "arguments": [number]}
            headers = {"authorization": f"Bearer {token}"}
            sent = await http.post(path, params={"api-version": "2022-06-01"}, json=call, headers=headers)
            assert sent.status_code == 202, sent.text
        await fanout.until(lambda: metric_is_zero(http), within=60)
        path = "POST /api/hubs/chat/users/ann/:send"
        assert (sequence_of(home)[path], sequence_of(east)[path]) == ([0, 2, 3], [0, 1, 4])
        one = (await http.post("/chat/negotiate", params={"userId": "ann"})).json()
        assert one["url"].startswith(f"http://127.0.0.1:{east.port}/"), "the primary one has the weight 0"
        offers = (await http.post("/chat/negotiate", params={"endpoints": "all"})).json()["endpoints"]
        named = [(offer["name"], offer["endpointType"], offer["online"]) for offer in offers]
        assert named == [("", "Primary", True), ("East", "Secondary", True)]
        assert offers[1]["connectionInfo"]["url"].startswith(f"http://127.0.0.1:{east.port}/")


async def test_what_waits_for_an_endpoint_that_is_gone_is_counted_and_ends_with_its_age(
    redis_url: str, tmp_path: Path
) -> None:
    quick = {"FANOUT_LEASE_SECONDS": "1"}  # each process is killed, and the next one waits for its leases to end
    waits = "fanout_unknown_endpoint_entries"
    async with running() as home:
        alone = {"FANOUT_REDIS_URL": redis_url, "FANOUT_PORT": "0", **quick}
        alone["AzureSignalRConnectionString"] = string(home.port, KEY)
        async with (
            two_endpoints(redis_url, home.port, free_port(), tmp_path / "one", **quick) as fanout,
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{await fanout.port()}") as http,
        ):
            answer = await http.post("/v1/hubs/chat/messages", json=batch(0))
            assert answer.status_code == 202, answer.text
            assert await metric(http, waits) == 0
        expected = sum(len(item.get("userIds", [0])) for item in batch(0))
        async with (
            forked_program(tmp_path / "two", "serve", **alone) as fanout,
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{await fanout.port()}") as http,
        ):
            assert await metric(http, waits) == expected
            await fanout.until(lambda: is_told(http), within=30)
        async with (
            forked_program(tmp_path / "three", "serve", **alone, FANOUT_RETRY_MAX_AGE="1") as fanout,
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{await fanout.port()}") as http,
        ):
            await fanout.until(lambda: metric_is_zero(http), within=60)
            assert not await is_told(http)
            letters = (await http.get("/v1/admin/dead-letters", params={"endpoint": "east"})).json()["items"]
        assert [letter["reason"] for letter in letters] == ["tooOld"] * expected


async def is_told(http: httpx.AsyncClient) -> bool:
    warnings = (await http.get("/readyz")).json()["warnings"]
    return any("not configured here (east)" in each for each in warnings)
