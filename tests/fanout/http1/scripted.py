"""Servers of the tests: real sockets, every byte scripted, so that each can misbehave in exactly one way."""

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Protocol

from fanout.http1.exchange import Limits, Origin
from fanout.http1.messages import HeaderLines, Request, RequestHead
from fanout.http1.pool import Pool


class PoolOf(Protocol):
    """The fixture `pool_of`: makes pools that are closed at the end of the test."""

    def __call__(self, origin: Origin, limits: Limits = ..., tls: ssl.SSLContext | None = ...) -> Pool: ...


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
ACCEPTED = b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n"


def a_request(body: bytes = b"{}", *, method: str = "POST", target: str = "/x", headers: bytes = b"") -> Request:
    return Request(RequestHead(method, target, HeaderLines(headers)), body)


def saying(body: bytes) -> bytes:
    """A 200 with `body`."""
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


@dataclass
class Visit:
    """One accepted connection: `number` counts from 1, `requests` are the whole ones read so far."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    number: int
    requests: list[bytes] = field(default_factory=list)

    async def read(self) -> bytes:
        """Read one request with its body; raises IncompleteReadError when the client left."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0] or 0)
        request = head + await self.reader.readexactly(length)
        self.requests.append(request)
        return request

    async def say(self, *pieces: bytes) -> None:
        """Write the pieces as segments of their own."""
        for piece in pieces:
            if self.writer.is_closing():  # the client left: uvloop does not take writes any more
                return
            self.writer.write(piece)
            await self.writer.drain()
            await asyncio.sleep(0.002)

    async def answer(self, *pieces: bytes) -> None:
        await self.read()
        await self.say(*pieces)

    async def gone(self) -> None:
        """Wait until the client closed its side."""
        while await self.reader.read(65536):
            pass

    def reset(self) -> None:
        """End with RST."""
        raw: socket.socket = self.writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


Script = Callable[[Visit], Awaitable[None]]


@dataclass
class Server:
    """A running server: where it is, who came, and how many connections are open at the moment."""

    origin: Origin
    visits: list[Visit] = field(default_factory=list)
    now: int = 0
    most: int = 0


@asynccontextmanager
async def served(
    script: Script, *, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1", port: int = 0
) -> AsyncIterator[Server]:
    """Run `script` for each connection; when it returns the connection is closed, also when the client left early."""
    state: Server

    async def visit(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        one = Visit(reader, writer, len(state.visits) + 1)
        state.visits.append(one)
        state.now += 1
        state.most = max(state.most, state.now)
        try:
            await script(one)
        except (asyncio.IncompleteReadError, OSError, asyncio.CancelledError):
            pass  # the client left, or the test is over
        finally:
            state.now -= 1
            writer.close()

    server = await asyncio.start_server(visit, host, port, ssl=tls, limit=2**21)
    state = Server(Origin("https" if tls else "http", host, server.sockets[0].getsockname()[1]))
    try:
        yield state
    finally:
        await _turns()  # what was accepted last becomes a visit a few turns of the loop later
        for one in state.visits:
            one.writer.transport.abort()
        server.close()
        await _turns()


async def _turns() -> None:
    for _ in range(10):
        await asyncio.sleep(0)
    await asyncio.sleep(0.01)


async def visited(server: Server, count: int) -> None:
    """Wait until `count` connections were accepted; a test's own time limit bounds it."""
    while len(server.visits) < count:  # noqa: ASYNC110 - the server offers no event to wait for
        await asyncio.sleep(0.001)


async def none_idle(pool: Pool) -> None:
    """Wait until the pool has seen the end of its idle connections; a test's own time limit bounds it."""
    while pool.stats.idle:  # noqa: ASYNC110 - the pool offers no event to wait for
        await asyncio.sleep(0.001)


async def echo(visit: Visit) -> None:
    """Answer each request with its own body, for as long as the client stays."""
    while True:
        request = await visit.read()
        await visit.say(saying(request.partition(b"\r\n\r\n")[2]))
