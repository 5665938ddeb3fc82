"""What is passed through: the call as it came, signed anew, and the answer of the service with its own words."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace

import httpx
import jwt
import pytest

from fanout.clock import Clock, SystemClock
from fanout.environment import load
from fanout.signalr.client import MARK
from fanout.signalr.connection_string import ConnectionString
from fanout.signalr.endpoints import Endpoints, ServiceEndpoint
from service.compat.questions import open_service
from service.health import Health
from tests.fakes import FakeClock
from tests.free_ports import free_port
from tests.service.apps import ACCESS_KEY, an_app, client_of
from tests.workers.helpers import Lines, until
from tests.workers.scripted_service import Received, ScriptedService, scripted_service

V = "api-version=2024-12-01"
CODE = "Warning.Connection.NotExisted"
NOT_FOUND = (
    f"HTTP/1.1 404 X\r\nx-ms-error-code: {CODE}\r\ncontent-type: text/plain\r\nserver: x\r\n"
    "content-length: 4\r\n\r\ngone"
)
CALLS = [
    ("POST", "connections/c1/:invoke", b'{"Target":"t","Arguments":[1.50]}'),
    ("POST", ":execute", b'[{"op":1}]'),
    ("POST", ":generateToken", b""),
    ("GET", "connections/c1", b""),
    ("GET", "users/a%2Fb/groups/g%20h", b""),
    ("GET", "groups/g/connections", b""),
]


async def ask(
    answer: Callable[[Received], Awaitable[bytes]],
    method: str,
    path: str,
    body: bytes = b"",
    *,
    clock: Clock | None = None,
    while_asking: Callable[[], Awaitable[None]] | None = None,
    **settings: object,
) -> tuple[httpx.Response, ScriptedService]:
    """Make a compatible call and return its answer, and the service that was asked."""
    async with scripted_service(answer) as end:
        text = f"Endpoint=http://127.0.0.1:{end.port};AccessKey={ACCESS_KEY};Version=1.0;"
        service, clock = ConnectionString.parse(text), clock or SystemClock()
        token = jwt.encode({"aud": f"http://127.0.0.1:8080{path}", "exp": 4_000_000_000}, ACCESS_KEY)
        headers = {"Authorization": f"Bearer {token}", "asrs-user-agent": "sdk/1.0", "x-secret": "s"}
        async with open_service(service, load({}, **settings), clock) as asked:
            app = replace(an_app(service=service, clock=clock), asked={"": asked})
            async with client_of(app) as client:
                call = asyncio.create_task(
                    client.request(method, f"{path}?{V}&userId=u", content=body or None, headers=headers)
                )
                if while_asking is not None:
                    await while_asking()
                return await call, end


async def not_found(_request: Received) -> bytes:
    return NOT_FOUND.encode()


@pytest.mark.parametrize(("method", "path", "body"), CALLS)
async def test_a_call_goes_along_as_it_came_and_its_answer_comes_back_as_it_was(
    method: str, path: str, body: bytes
) -> None:
    answer, end = await ask(not_found, method, f"/api/hubs/chat/{path}", body)
    (received,) = end.received
    assert (received.method, received.target) == (method, f"/api/hubs/chat/{path}?{V}&userId=u")
    assert received.body == body
    assert (received.fields["asrs-user-agent"], received.fields[MARK.lower()]) == ("sdk/1.0", "1")
    assert "x-secret" not in received.fields
    claims = jwt.decode(
        received.fields["authorization"].removeprefix("Bearer "), ACCESS_KEY, ["HS256"], options={"verify_aud": False}
    )
    assert claims["aud"] == f"http://127.0.0.1:{end.port}/api/hubs/chat/{path}"
    assert (answer.status_code, answer.text, answer.headers["x-ms-error-code"]) == (404, "gone", CODE)
    assert "server" not in answer.headers


async def test_health_is_asked_without_a_token() -> None:
    answer, end = await ask(not_found, "GET", "/api/health")
    assert answer.status_code == 404
    assert "authorization" not in end.received[0].fields


async def test_one_endpoint_that_is_offline_does_not_make_the_others_unhealthy() -> None:
    clock, settings = SystemClock(), load({})
    async with scripted_service(not_found) as end, AsyncExitStack() as stack:
        ports = {"east": free_port(), "west": end.port}
        endpoints = Endpoints.of(
            [
                ServiceEndpoint(name, ConnectionString.parse(f"Endpoint=http://127.0.0.1:{port};AccessKey=k;"))
                for name, port in ports.items()
            ]
        )
        asked = {
            each.key: await stack.enter_async_context(open_service(each.service, settings, clock)) for each in endpoints
        }
        health = Health(endpoints, asked, clock, Lines().log)
        app = replace(an_app(clock=clock), endpoints=endpoints, asked=asked, health=health)
        async with client_of(app) as client:
            assert (await client.get("/api/health")).status_code == 503  # nobody has looked yet: the first is asked
            async with asyncio.TaskGroup() as group:
                task = group.create_task(health.run())
                await until(lambda: not health.is_online(endpoints.first))
                task.cancel()
            assert (await client.get("/api/health")).status_code == 404
    assert all(each.target.startswith("/api/health") for each in end.received)


async def test_a_service_that_closes_says_so_with_503() -> None:
    async def close(_request: Received) -> bytes:
        return b""

    answer, _end = await ask(close, "GET", "/api/hubs/chat/users/u")
    assert (answer.status_code, answer.json()["code"]) == (503, "serviceUnavailable")


async def test_a_service_that_does_not_answer_is_not_waited_for_longer_than_for_a_delivery() -> None:
    clock, asked, silent = FakeClock(), asyncio.Event(), asyncio.Event()

    async def wait(_request: Received) -> bytes:
        asked.set()
        await silent.wait()
        return b""

    async def pass_time() -> None:
        await asked.wait()
        await clock.advance(10.0)
        silent.set()

    answer, _end = await ask(wait, "GET", "/api/hubs/chat/users/u", clock=clock, while_asking=pass_time)
    assert (answer.status_code, answer.json()["code"]) == (503, "serviceUnavailable")
    assert "10 s" in answer.json()["message"]


async def test_of_an_answer_no_more_than_its_bound_is_held() -> None:
    async def flood(_request: Received) -> bytes:
        return b"HTTP/1.1 200 OK\r\ncontent-length: 5000000\r\n\r\n" + b"x" * 5_000_000

    answer, _end = await ask(flood, "GET", "/api/hubs/chat/groups/g/connections")
    assert (answer.status_code, answer.json()["code"]) == (503, "serviceUnavailable")
