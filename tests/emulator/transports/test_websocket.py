"""WebSocket clients: handshake, pings, time limits, accepted messages, and the end of the connection."""

import asyncio
from typing import Any

import msgspec
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from tests.emulator.running import END, HANDSHAKE, Service
from tests.fakes import FakeClock


async def test_the_token_may_be_in_the_header_or_the_query_and_the_header_wins(service: Service) -> None:
    good = service.client_token("ann")
    bare = f"ws://localhost:{service.port}/client?hub=chat"
    await (await connect(bare, additional_headers={"authorization": f"Bearer {good}"})).close()
    for url, headers in ((bare, {}), (f"{bare}&access_token={good}", {"authorization": "Bearer x"})):
        with pytest.raises(InvalidStatus, match="401"):
            await connect(url, additional_headers=headers)


@pytest.mark.parametrize(
    ("request_text", "error"),
    [
        ('{"protocol":"json","version":9}', "Version 9"),
        ('{"protocol":"xml","version":1}', "'xml'"),
        ("hello", "handshake"),
        ('{"protocol":"json"}', "handshake"),
        ("x" * 5000, "does not end"),
    ],
)
async def test_a_bad_handshake_is_answered_with_its_error_and_ended(
    service: Service, request_text: str, error: str
) -> None:
    async with connect(service.client_url(service.client_token())) as socket:
        await socket.send(request_text if "xxx" in request_text else request_text + END)
        answer = await socket.recv()
        assert isinstance(answer, str)
        assert error in msgspec.json.decode(answer[:-1])["error"]
        await socket.wait_closed()
    assert service.connection_ids() == []


async def test_the_handshake_may_come_in_pieces_and_in_binary(service: Service) -> None:
    text = (HANDSHAKE % "json").encode()
    async with connect(service.client_url(service.client_token())) as socket:
        await socket.send(text[:5])
        await socket.send(text[5:] + b'{"type":6}\x1e{"type"')
        await socket.send(b":6}\x1e")
        assert await socket.recv() == "{}" + END
        await service.send()
        assert await socket.recv() == '{"type":1,"target":"m","arguments":[]}' + END


async def test_a_late_handshake_ends_the_connection(timed: Service, clock: FakeClock) -> None:
    custom_timeout: dict[str, Any] = {"asrs.s.cht": 5}
    usual, custom = timed.client_token(), timed.client_token(None, "chat", **custom_timeout)
    async with connect(timed.client_url(usual)) as first, connect(timed.client_url(custom)) as second:
        await clock.advance(6)
        assert b"canceled" in (await second.recv(decode=False))
        await clock.advance(8)
        assert len(timed.emulator.sessions.all()) == 1
        await clock.advance(2)
        assert b"canceled" in (await first.recv(decode=False))


async def test_an_idle_client_is_pinged_every_fifteen_seconds(timed: Service, clock: FakeClock) -> None:
    async with timed.client() as client:
        await clock.advance(14)
        await timed.send()
        assert '"m"' in await client.receive()
        await clock.advance(14)
        await timed.send()
        assert '"m"' in await client.receive()
        await clock.advance(1)
        await client.socket.send('{"type":6}' + END)
        await timed.call("HEAD", "groups/g")
        await clock.advance(15)
        assert await client.socket.recv() == '{"type":6}' + END


async def test_a_client_silent_for_thirty_seconds_is_disconnected(timed: Service, clock: FakeClock) -> None:
    async with timed.client() as client:
        await clock.advance(29)
        assert len(timed.connection_ids()) == 1
        await clock.advance(2)
        assert timed.connection_ids() == []
        await client.closed()


async def test_an_invocation_ends_the_connection_because_there_is_no_upstream(service: Service) -> None:
    async with service.client() as client:
        await client.socket.send('{"type":1,"target":"serverMethod","arguments":[]}' + END)
        close = msgspec.json.decode(await client.receive())
        assert (close["type"], "upstream" in close["error"], "allowReconnect" in close) == (7, True, False)
        assert await client.closed() == 1000
        assert service.connection_ids() == []


async def test_an_invalid_message_ends_the_connection(service: Service) -> None:
    for text in ("nonsense", '{"type":"1"}', "[]"):
        async with service.client() as client:
            await client.socket.send(text + END)
            assert msgspec.json.decode(await client.receive())["type"] == 7
            await client.closed()


async def test_pings_completions_and_acks_are_accepted(service: Service) -> None:
    async with service.client() as client:
        for text in ('{"type":6}', '{"type":3,"invocationId":"9","result":1}', '{"type":8,"sequenceId":1}'):
            await client.socket.send(text + END)
        await service.send()
        assert '"m"' in await client.receive()


async def test_a_close_message_of_the_client_ends_the_connection(service: Service) -> None:
    async with service.client() as client:
        await client.socket.send('{"type":7}' + END)
        assert await client.closed() == 1000


async def test_the_connection_ends_when_its_authentication_does(timed: Service, clock: FakeClock) -> None:
    claims = {"asrs.s.coae": "true", "asrs.s.aeo": str(int(clock.wall()) + 5), "asrs.s.derror": "True"}
    async with timed.client("ann", **claims) as client:
        await clock.advance(4)
        assert len(timed.connection_ids()) == 1
        await clock.advance(2)
        close = msgspec.json.decode(await client.receive())
        assert (close["type"], close["allowReconnect"]) == (7, True)
        assert "expired" in close["error"]


async def test_a_live_websocket_outlives_its_token(timed: Service, clock: FakeClock) -> None:
    async with timed.client("ann") as client:
        clock.jump(4000)
        await timed.send()
        assert '"m"' in await client.receive()


async def test_other_paths_refuse_websockets(service: Service) -> None:
    with pytest.raises(InvalidStatus, match="404"):
        await connect(f"ws://localhost:{service.port}/server/?hub=chat")


async def test_many_clients_receive_one_broadcast_each(service: Service) -> None:
    async with asyncio.TaskGroup() as tasks:
        ready = asyncio.Barrier(21)

        async def one() -> None:
            async with service.client() as client:
                await ready.wait()
                assert '"m"' in await client.receive()

        for _ in range(20):
            tasks.create_task(one())
        await ready.wait()
        await service.send()
