"""A service for tests: a real HTTP server on loopback that answers as a function says."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from fanout.clock import Clock, SystemClock
from fanout.http1.exchange import Limits, Origin
from fanout.http1.pool import Pool
from fanout.secret import Secret
from fanout.signalr.client import Client, ServiceAddress
from fanout.signalr.credentials import AccessKeyCredential, Credential

KEY = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789ABCDEFGH"
ACCEPTED = b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Received:
    """One request: its request line, the fields by lower-case name, the body."""

    method: str
    target: str
    fields: dict[str, str]
    body: bytes


Answer = Callable[[Received], Awaitable[bytes]]


class ScriptedService:
    """The requests it received, in order, without HEAD. `answer` returns the bytes to send; b"" closes."""

    def __init__(self, answer: Answer) -> None:
        self.received: list[Received] = []
        self.answer = answer
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                request = await _read(reader)
                if request.method == "HEAD":  # a process asks at its start whether its key is accepted
                    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                    continue
                self.received.append(request)
                answer = await self.answer(request)
                if not answer:
                    return
                writer.write(answer)
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()


async def _read(reader: asyncio.StreamReader) -> Received:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.split("\r\n")[:-2]
    method, target, _version = first.split(" ")
    pairs = (line.partition(":") for line in lines)
    fields = {name.lower(): value.strip() for name, _colon, value in pairs}
    return Received(method, target, fields, await reader.readexactly(int(fields.get("content-length", "0"))))


async def accept(_request: Received) -> bytes:
    return ACCEPTED


@asynccontextmanager
async def scripted_service(answer: Answer = accept) -> AsyncIterator[ScriptedService]:
    """Listen while the block runs."""
    end = ScriptedService(answer)
    server = await asyncio.start_server(end.serve, "127.0.0.1", 0)
    end.port = server.sockets[0].getsockname()[1]
    async with server:
        yield end


@asynccontextmanager
async def calling(
    port: int,
    *,
    clock: Clock | None = None,
    address: ServiceAddress | None = None,
    request_timeout: float = 5.0,
    credential: Credential | None = None,
    cache_size: int = 100,
) -> AsyncIterator[Client]:
    """Open a client of the server on `port`."""
    clock = clock or SystemClock()
    limits = Limits(connections=8, connect_timeout=2.0, request_timeout=request_timeout)
    pool = Pool(Origin("http", "127.0.0.1", port), limits, clock)
    credential = credential or AccessKeyCredential(Secret(KEY), clock, lifetime=3600)
    address = address or ServiceAddress(prefix="", audience=f"http://127.0.0.1:{port}")
    client = Client(pool, credential, address, clock, cache_size=cache_size)
    try:
        yield client
    finally:
        await client.aclose()
