"""Connections that say nothing, or say it slowly, or without end; each on a real socket."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress

import pytest
import uvicorn

from fanout.serving import serve
from service.http.connection import MOST_HEAD, bounded_connection
from tests.service.apps import BATCH, ITEM, App, an_app, metric
from tests.service.memory_queue import MemoryQueue

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
WITHIN = 0.3


@asynccontextmanager
async def dialled(app: App, *, keep_alive: float = 75) -> AsyncIterator[Streams]:
    """A connection to a server with short time limits."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        config = uvicorn.Config(
            app.build(),
            log_config=None,
            lifespan="off",
            http=bounded_connection(WITHIN),
            timeout_keep_alive=keep_alive,  # type: ignore[arg-type] # a float does
        )
        async with asyncio.TaskGroup() as group:
            serving = group.create_task(serve(config, listener))
            await asyncio.sleep(0.05)
            reader, writer = await asyncio.open_connection(*listener.getsockname())
            try:
                yield reader, writer
            finally:
                writer.close()
                serving.cancel()


async def refused(reader: asyncio.StreamReader) -> tuple[int, str]:
    """Give status and code of a refusal, after which the server hangs up."""
    async with asyncio.timeout(5):
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        size = int(head.partition(b"content-length:")[2].split()[0])
        problem = json.loads(await reader.readexactly(size))
        with suppress(ConnectionError):  # what else was sent to it is not read any more
            assert await reader.read() == b""
    assert b"connection: close" in head
    assert b"content-type: application/problem+json" in head
    return int(head.split()[1]), problem["code"]


async def drip(writer: asyncio.StreamWriter, pieces: Iterable[bytes]) -> None:
    with suppress(ConnectionError):
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.02)


async def test_a_head_that_drips_is_refused_with_408_and_the_connection_closed() -> None:
    async with dialled(an_app()) as (reader, writer), asyncio.TaskGroup() as group:
        dripping = group.create_task(drip(writer, [b"POST / HTTP/1.1\r\nHost: ", *[b"x"] * 10_000]))
        assert await refused(reader) == (408, "headTooSlow")
        dripping.cancel()


async def test_a_head_in_two_pieces_is_served() -> None:
    body = json.dumps(ITEM).encode()
    async with dialled(an_app()) as (reader, writer):
        writer.write(b"POST %b HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Le" % BATCH.encode())
        await asyncio.sleep(WITHIN / 3)
        writer.write(b"ngth: %d\r\n\r\n%b" % (len(body), body))
        assert (await reader.readuntil(b"\r\n")).split()[1] == b"202"
        await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(WITHIN * 1.5)  # the timer of the head must not end the connection
        writer.write(b"GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert b"200" in (await reader.readuntil(b"HTTP/1.1 200 OK\r\n"))


async def test_a_head_without_end_is_refused_with_431() -> None:
    async with dialled(an_app()) as (reader, writer):
        writer.write(b"GET / HTTP/1.1\r\n")
        async with asyncio.TaskGroup() as group:
            writing = group.create_task(drip(writer, [b"x-a: " + b"a" * (MOST_HEAD // 8) + b"\r\n"] * 1000))
            assert await refused(reader) == (431, "headTooLarge")
            writing.cancel()


async def test_a_connection_that_says_nothing_is_closed_like_an_idle_one() -> None:
    async with dialled(an_app(), keep_alive=0.2) as (reader, _writer), asyncio.timeout(5):
        assert await reader.read() == b""


async def test_a_body_that_drips_is_refused_with_408_and_the_connection_closed() -> None:
    queue = MemoryQueue()
    app = an_app(queue, body_timeout=WITHIN)
    async with dialled(app) as (reader, writer), asyncio.TaskGroup() as group:
        writer.write(f"POST {BATCH} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 10000\r\n\r\n".encode())
        dripping = group.create_task(drip(writer, [b"["] * 10_000))
        assert await refused(reader) == (408, "bodyTooSlow")
        dripping.cancel()
    assert queue.stored == []
    assert metric(app, "fanout_ingress_requests_total", status="4xx") == 1


@pytest.mark.parametrize("path", [BATCH, "/chat/negotiate"])
async def test_a_body_that_never_comes_is_refused_on_each_route_that_reads_one(path: str) -> None:
    async with dialled(an_app(body_timeout=WITHIN, api_key="k")) as (reader, writer):
        writer.write(f"POST {path} HTTP/1.1\r\nHost: h\r\nX-API-Key: k\r\nContent-Length: 10\r\n\r\n".encode())
        assert await refused(reader) == (408, "bodyTooSlow")
