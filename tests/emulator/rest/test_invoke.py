"""`:invoke` answers with the result of the client."""

import asyncio
from typing import Any

import httpx
import msgspec
import pytest

from emulator.protocols.hub_messagepack import framed
from tests.emulator.running import END, JSON, Service, until
from tests.fakes import FakeClock

NEWEST = "2024-12-01"


def invoke(service: Service) -> asyncio.Future[httpx.Response]:
    """Start invoking the only client."""
    (connection,) = service.connection_ids()
    body: dict[str, Any] = {"content": '{"target":"ask","arguments":[1]}', "headers": JSON, "version": NEWEST}
    return asyncio.ensure_future(service.call("POST", f"connections/{connection}/:invoke", **body))


@pytest.mark.parametrize(
    ("completion", "status", "body"),
    [
        ('"result":{"a": 1.10}', 200, b'{"result":{"a": 1.10}}'),
        ('"result":null', 200, b'{"result":null}'),
        ('"headers":{}', 200, b"{}"),
    ],
)
async def test_a_json_clients_result_comes_back_byte_for_byte(
    service: Service, completion: str, status: int, body: bytes
) -> None:
    async with service.client() as client:
        answer = invoke(service)
        asked = msgspec.json.decode(await client.receive())
        assert (asked["type"], asked["target"], asked["arguments"]) == (1, "ask", [1])
        await client.socket.send(f'{{"type":3,"invocationId":"{asked["invocationId"]}",{completion}}}{END}')
        got = await answer
        assert (got.status_code, got.content) == (status, body)


async def test_a_messagepack_clients_result_comes_back_as_json(service: Service) -> None:
    async with service.client(protocol="messagepack") as client:
        answer = invoke(service)
        asked = msgspec.msgpack.decode((await client.receive_bytes())[1:])
        await client.socket.send(framed([3, {}, asked[2], 3, {"a": 1}]))
        assert (await answer).json() == {"result": {"a": 1}}


async def test_an_error_of_the_client_is_400_with_its_text(service: Service) -> None:
    async with service.client() as client:
        answer = invoke(service)
        asked = msgspec.json.decode(await client.receive())
        await client.socket.send(f'{{"type":3,"invocationId":"{asked["invocationId"]}","error":"no"}}{END}')
        got = await answer
        assert (got.status_code, got.json()["message"]) == (400, "no")


async def test_no_answer_in_time_is_500(timed: Service, clock: FakeClock) -> None:
    async with timed.client() as client:
        answer = invoke(timed)
        await client.receive()
        await clock.advance(11)
        assert (await answer).status_code == 500


async def test_a_client_that_leaves_is_500_at_once(service: Service) -> None:
    async with service.client() as client:
        answer = invoke(service)
        await client.receive()
        await client.socket.close()
        assert (await answer).status_code == 500
        await until(lambda: not service.connection_ids())


async def test_a_missing_connection_is_404(service: Service) -> None:
    answer = await service.send("connections/gone/:invoke", version=NEWEST)
    assert (answer.status_code, answer.headers["x-ms-error-code"]) == (404, "Warning.Connection.NotExisted")
