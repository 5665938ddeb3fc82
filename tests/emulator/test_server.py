"""Serving: the actual port, a port in use, signals, a clean end."""

import asyncio
import signal
import socket

import httpx
import pytest
from websockets.asyncio.client import connect

from emulator.app import create_emulator
from emulator.config import connection_string
from emulator.server import serve
from fanout.errors import ConfigurationError
from fanout.signalr.connection_string import ConnectionString
from tests.emulator.running import HANDSHAKE, Service, running


async def test_a_taken_port_says_which_and_what_to_do() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigurationError, match=f"Port {port} on 127.0.0.1 .*--port"):
            await serve(create_emulator(), port=port)


async def test_a_host_of_another_machine_is_a_configuration_error() -> None:
    with pytest.raises(ConfigurationError, match=r"192\.0\.2\.1"):
        await serve(create_emulator(), host="192.0.2.1", port=0)


async def test_signal_handlers_are_left_to_the_caller() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    async with running():
        assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


async def test_cancelling_ends_clients_and_frees_the_port() -> None:
    async with running() as service:
        socket_client = await connect(service.client_url(service.client_token()))
        await socket_client.send(HANDSHAKE % "json")
        await socket_client.recv()
        port = service.port
    assert await asyncio.wait_for(socket_client.recv(), 5) == '{"type":7,"allowReconnect":true}\x1e'
    await asyncio.wait_for(socket_client.wait_closed(), 5)
    async with httpx.AsyncClient() as http:
        with pytest.raises(httpx.ConnectError):
            await http.get(f"http://127.0.0.1:{port}/api/health")


async def test_cancelling_does_not_wait_for_a_call_in_flight() -> None:
    async with running() as service:
        service.emulator.faults.set([{"kind": "latency", "seconds": 60}])
        reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
        writer.write(b"HEAD /api/hubs/chat/groups/g HTTP/1.1\r\nhost: x\r\n\r\n")
        while not service.emulator.journal.in_flight:  # noqa: ASYNC110 - the server's state has no event to wait for
            await asyncio.sleep(0)
    await asyncio.wait_for(reader.read(), 5)
    writer.close()


async def test_the_connection_string_names_this_emulator(service: Service) -> None:
    parsed = ConnectionString.parse(connection_string(service.port))
    assert parsed.endpoint == service.base
    assert (await service.http.get(f"{parsed.endpoint}/api/health")).status_code == 200
    assert connection_string() == (
        "Endpoint=http://localhost;Port=8888;AccessKey=ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789ABCDEFGH;Version=1.0;"
    )


async def test_other_paths_are_404_and_say_what_is_served(service: Service) -> None:
    answer = await service.http.get(f"{service.base}/elsewhere")
    assert (answer.status_code, "/client" in answer.text) == (404, True)


async def test_a_request_without_a_path_is_404(service: Service) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    writer.write(b"OPTIONS * HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
    assert b" 404 " in await asyncio.wait_for(reader.read(), 5)
    writer.close()


async def test_the_application_runs_without_a_server_too() -> None:
    emulator = create_emulator()
    async with httpx.AsyncClient(transport=httpx.ASGITransport(emulator.app), base_url="http://localhost") as http:
        assert (await http.get("/api/health")).status_code == 200
        emulator.faults.set([{"kind": "resetBeforeBody"}])
        with pytest.raises(ConnectionResetError):
            await http.get("/api/health")
