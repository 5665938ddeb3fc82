"""How many connections are served, who waits, and how a server ends; the real process is in tests/hostile."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send

from fanout.clock import SystemClock
from service.http.connection import Timeouts
from service.http.server import Server, ServerLimits

pytestmark = pytest.mark.lengthy

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
GET = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"
PROBE = b"GET /livez HTTP/1.1\r\nHost: h\r\n\r\n"


class Application:
    """Answers probes at once and other requests when `gate` is open."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.active = 0
        self.most = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] != "/livez":
            self.active += 1
            self.most = max(self.most, self.active)
            await self.gate.wait()
            self.active -= 1
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})


class Running:
    """A server, what it serves, and connections to it."""

    serving: "asyncio.Task[None]"

    def __init__(self, **limits: Any) -> None:
        self.app = Application()
        self.listener = socket.socket()
        self.listener.bind(("127.0.0.1", 0))
        self.listener.listen(100)
        self.listener.setblocking(False)
        self.address = self.listener.getsockname()
        timeouts = Timeouts(head=limits.pop("head", 30), idle=limits.pop("idle", 30), unread=30)
        bounds = ServerLimits(limits.pop("max_connections", 4), timeouts, probes=("/livez",), **limits)
        self.server = Server(self.app, self.listener, bounds, SystemClock())
        self._dialled: list[asyncio.StreamWriter] = []

    async def dial(self, data: bytes = b"") -> Streams:
        """Open a connection and write to it."""
        reader, writer = await asyncio.open_connection(*self.address)
        self._dialled.append(writer)
        writer.write(data)
        return reader, writer

    async def hang_up(self) -> None:
        """Close every connection from this side."""
        for writer in self._dialled:
            writer.close()
        await asyncio.gather(*(writer.wait_closed() for writer in self._dialled), return_exceptions=True)


@asynccontextmanager
async def running(**limits: Any) -> AsyncIterator[Running]:
    """A server for the time of the block."""
    served = Running(**limits)
    async with asyncio.TaskGroup() as group, asyncio.timeout(20):
        served.serving = group.create_task(served.server.serve())
        try:
            yield served
        finally:
            served.app.gate.set()
            served.serving.cancel()
            await served.hang_up()


async def answer(streams: Streams) -> bytes:
    head = (await streams[0].readuntil(b"\r\n\r\n")).lower()
    await streams[0].readexactly(2)
    return head


async def until(true: Any) -> None:
    async with asyncio.timeout(5):
        while not true():  # noqa: ASYNC110 - a number of connections has no event
            await asyncio.sleep(0.01)


async def test_past_the_bound_requests_wait_and_all_are_answered_in_the_order_they_came() -> None:
    async with running() as served:
        callers = [await served.dial(GET) for _ in range(12)]
        await until(lambda: served.server.waiting == 8)
        assert (served.server.connections, served.app.active) == (4, 4)
        served.app.gate.set()
        heads = [await answer(caller) for caller in callers]
        assert served.app.most == 4
    assert all(head.startswith(b"http/1.1 200 ") for head in heads)
    assert b"connection: close" in heads[0], "others wait, so the place is given back"
    assert b"connection: close" not in heads[-1]


async def test_a_probe_does_not_wait_for_a_place() -> None:
    async with running() as served:
        callers = [await served.dial(GET) for _ in range(6)]
        await until(lambda: served.server.waiting == 2)
        assert (await answer(await served.dial(PROBE))).startswith(b"http/1.1 200 ")
        assert served.app.active == 4
        served.app.gate.set()
        for caller in callers:
            await answer(caller)


async def test_a_connection_without_a_request_gives_its_place_to_one_with_a_request() -> None:
    async with running() as served:
        served.app.gate.set()
        silent = [await served.dial() for _ in range(4)]
        await until(lambda: served.server.connections == 4)
        assert (await answer(await served.dial(GET))).startswith(b"http/1.1 200 ")
        assert await silent[0][0].read() == b"", "closed, not reset"


async def test_who_waits_and_leaves_is_forgotten() -> None:
    async with running() as served:
        callers = [await served.dial(GET) for _ in range(4)]
        await until(lambda: served.app.active == 4)
        for _ in range(3):
            _reader, writer = await served.dial()
            await until(lambda: served.server.waiting == 1)
            writer.close()
            await until(lambda: served.server.waiting == 0)
        served.app.gate.set()
        for caller in callers:
            await answer(caller)


async def test_who_waits_and_says_nothing_is_let_go_after_the_time_of_a_head() -> None:
    async with running(head=0.3) as served:
        for _ in range(4):
            await served.dial(GET)
        await until(lambda: served.app.active == 4)
        reader, _writer = await served.dial()
        async with asyncio.timeout(5):
            assert await reader.read() == b""
        assert served.server.waiting == 0


async def test_a_retired_server_serves_on_and_closes_after_each_answer() -> None:
    async with running() as served:
        served.app.gate.set()
        kept, silent = await served.dial(GET), await served.dial()
        assert b"connection: close" not in await answer(kept)
        served.server.retire()
        kept[1].write(GET)
        assert b"connection: close" in await answer(kept)
        assert await kept[0].read() == b""
        assert b"connection: close" in await answer(await served.dial(GET))
        await until(lambda: served.server.connections == 1)
        served.server.close_idle()
        assert await silent[0].read() == b""


async def test_at_the_end_requests_that_came_are_answered_those_that_wait_included() -> None:
    async with running() as served:
        callers = [await served.dial(GET) for _ in range(9)]
        await until(lambda: served.server.waiting == 5)
        served.serving.cancel()
        await asyncio.sleep(0.1)
        served.app.gate.set()
        heads = [await answer(caller) for caller in callers]
        await asyncio.wait({served.serving})
        assert all(b"connection: close" in head for head in heads)
        assert served.listener.fileno() == -1
        assert (served.server.connections, served.server.waiting) == (0, 0)


async def test_at_the_end_a_request_that_takes_too_long_is_broken_off() -> None:
    async with running(grace=0.3) as served:
        reader, _writer = await served.dial(GET)
        await until(lambda: served.app.active == 1)
        served.serving.cancel()
        await asyncio.wait({served.serving})
        assert await reader.read() == b""
        await until(lambda: repr(served.server) == "<Server 0 connections, 0 waiting>")
