"""Connections that say nothing, too much, or things in the wrong order; each on a real socket."""

import asyncio
import json
import re
import socket
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send

from fanout.clock import SystemClock
from service.http.connection import READ_SIZE, Timeouts
from service.http.exchange import MAX_FIELDS, MAX_HEAD
from service.http.server import Server, ServerLimits
from tests.service.apps import BATCH, ITEM, App, an_app, metric, served
from tests.service.memory_queue import MemoryQueue

pytestmark = pytest.mark.slow

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
WITHIN = 0.3
GET = b"GET /livez HTTP/1.1\r\nHost: h\r\n\r\n"


@asynccontextmanager
async def dialled(app: App, **limits: Any) -> AsyncIterator[Streams]:
    """A connection to a server with short time limits."""
    async with served(app, **{"head": WITHIN, **limits}) as url:
        host, port = url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        try:
            yield reader, writer
        finally:
            writer.close()


@asynccontextmanager
async def dialled_to(asgi: Any, **limits: Any) -> AsyncIterator[Streams]:
    """A connection to a server of any application."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        listener.setblocking(False)
        address = listener.getsockname()
        timeouts = Timeouts(head=30, idle=30, unread=limits.pop("unread", 30))
        server = Server(asgi, listener, ServerLimits(10, timeouts, **limits), SystemClock())
        async with asyncio.TaskGroup() as group:
            serving = group.create_task(server.serve())
            reader, writer = await asyncio.open_connection(*address)
            try:
                yield reader, writer
            finally:
                writer.close()
                serving.cancel()


async def one_answer(reader: asyncio.StreamReader) -> tuple[int, bytes, bytes]:
    """Return status, head in lower case and body of one answer with a length."""
    async with asyncio.timeout(5):
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = re.search(rb"content-length: (\d+)", head)
        body = await reader.readexactly(int(length[1])) if length else b""
    return int(head.split()[1]), head, body


async def refused(reader: asyncio.StreamReader) -> tuple[int, str]:
    """Return status and code of a refusal, after which the server hangs up."""
    status, head, body = await one_answer(reader)
    async with asyncio.timeout(10):
        with suppress(ConnectionError):  # what else was sent is not read any more
            assert await reader.read() == b""
    assert b"connection: close" in head
    assert b"content-type: application/problem+json" in head
    assert b"x-content-type-options: nosniff" in head
    return status, json.loads(body)["code"]


async def drip(writer: asyncio.StreamWriter, pieces: Iterable[bytes]) -> None:
    with suppress(ConnectionError):
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.02)


# Heads ----------------------------------------------------------------------------------------------------------------


async def test_a_head_that_drips_is_refused_with_408_and_the_connection_closed() -> None:
    app = an_app()
    async with dialled(app) as (reader, writer), asyncio.TaskGroup() as group:
        dripping = group.create_task(drip(writer, [b"POST / HTTP/1.1\r\nHost: ", *[b"x"] * 10_000]))
        assert await refused(reader) == (408, "headTooSlow")
        dripping.cancel()
    assert metric(app, "fanout_refused_requests_total", code="headTooSlow") == 1


async def test_a_head_in_two_pieces_is_served() -> None:
    body = json.dumps(ITEM).encode()
    async with dialled(an_app()) as (reader, writer):
        writer.write(b"POST %b HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Le" % BATCH.encode())
        await asyncio.sleep(WITHIN / 3)
        writer.write(b"ngth: %d\r\n\r\n%b" % (len(body), body))
        assert (await one_answer(reader))[0] == 202
        await asyncio.sleep(WITHIN * 2)  # the time limit of the head must not end the connection
        writer.write(GET)
        assert (await one_answer(reader))[0] == 200


@pytest.mark.parametrize("piece", [1_000, MAX_HEAD * 2])
@pytest.mark.parametrize("end", [b"", b"\r\n\r\n"])
async def test_a_head_over_its_bound_is_refused_with_431_whatever_its_segments(piece: int, end: bytes) -> None:
    head = b"GET /livez HTTP/1.1\r\nHost: h\r\nx-a: " + b"a" * MAX_HEAD + end
    async with dialled(an_app(), head=10) as (reader, writer), asyncio.TaskGroup() as group:
        pieces = [head[at : at + piece] for at in range(0, len(head), piece)]
        writing = group.create_task(drip(writer, pieces) if piece == 1_000 else all_at_once(writer, pieces))
        assert await refused(reader) == (431, "headTooLarge")
        writing.cancel()


async def all_at_once(writer: asyncio.StreamWriter, pieces: Iterable[bytes]) -> None:
    writer.write(b"".join(pieces))
    with suppress(ConnectionError):
        await writer.drain()


async def test_a_head_of_exactly_its_bound_is_served() -> None:
    start, end = b"GET /livez HTTP/1.1\r\nHost: h\r\nx-a: ", b"\r\n\r\n"
    head = start + b"a" * (MAX_HEAD - len(start) - len(end)) + end
    async with dialled(an_app(), head=10) as (reader, writer):
        writer.write(head)
        assert (await one_answer(reader))[0] == 200


@pytest.mark.parametrize(
    "head",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # TLS
        b"GET /livez HTTP/1.1\nHost: h\n\n",
        b"GET /livez HTTP/1.1\r\nHost: h\r\n folded: x\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nHost : h\r\n\r\n",
        b"GET /livez HTTP/2.0\r\nHost: h\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /li vez HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nHost: h\r\nHost: i\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nHost: h\r\n" + b"a: b\r\n" * MAX_FIELDS + b"\r\n",
        b"POST /livez HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
        b"POST /livez HTTP/1.1\r\nHost: h\r\nContent-Length: -1\r\n\r\n",
        b"POST /livez HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST /livez HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        b"POST /livez HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST %b HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n" % BATCH.encode(),
    ],
)
async def test_what_is_not_a_plain_request_is_refused_with_400_and_the_connection_closed(head: bytes) -> None:
    async with dialled(an_app(), head=10) as (reader, writer):
        writer.write(head)
        assert await refused(reader) == (400, "invalidRequest")


async def test_a_connection_without_a_request_is_closed_when_its_time_is_over() -> None:
    async with dialled(an_app(), idle=0.2) as (reader, _writer), asyncio.timeout(5):
        assert await reader.read() == b""


async def test_a_kept_connection_is_closed_when_its_time_is_over() -> None:
    async with dialled(an_app(), idle=0.2) as (reader, writer), asyncio.timeout(5):
        writer.write(GET)
        await one_answer(reader)
        assert await reader.read() == b""


async def test_empty_lines_before_a_request_are_skipped() -> None:
    async with dialled(an_app()) as (reader, writer):
        writer.write(b"\r\n\r\n" + GET)
        assert (await one_answer(reader))[0] == 200


# Upgrades -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wanted", ["h2c", "websocket", "TLS/1.2", "something"])
@pytest.mark.parametrize("apart", [False, True])
async def test_an_upgrade_is_ignored_and_the_body_read(wanted: str, *, apart: bool) -> None:
    queue = MemoryQueue()
    body = json.dumps(ITEM).encode()
    head = (
        f"POST {BATCH} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: {wanted}\r\n"
        f"HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode()
    async with dialled(an_app(queue)) as (reader, writer):
        for piece in (head, body) if apart else (head + body,):
            writer.write(piece)
            await asyncio.sleep(0.05)
        assert (await one_answer(reader))[0] == 202
        writer.write(GET)  # and the connection speaks HTTP/1.1 as before
        assert (await one_answer(reader))[0] == 200
    assert len(queue.stored) == 1


async def test_a_chunked_body_beside_an_upgrade_is_read() -> None:
    queue = MemoryQueue()
    body = json.dumps(ITEM).encode()
    async with dialled(an_app(queue)) as (reader, writer):
        writer.write(
            b"POST %b HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: upgrade\r\nUpgrade: h2c\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (BATCH.encode(), len(body), body)
        )
        assert (await one_answer(reader))[0] == 202
    assert len(queue.stored) == 1


# Bodies ---------------------------------------------------------------------------------------------------------------


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
    key = "k" * 16
    async with dialled(an_app(body_timeout=WITHIN, api_key=key)) as (reader, writer):
        writer.write(f"POST {path} HTTP/1.1\r\nHost: h\r\nX-API-Key: {key}\r\nContent-Length: 10\r\n\r\n".encode())
        assert await refused(reader) == (408, "bodyTooSlow")


async def test_the_rest_of_a_refused_body_is_cut() -> None:
    """It is dropped for some seconds, so that the client can read the answer, and then the connection ends."""
    async with dialled(an_app()) as (reader, writer), asyncio.TaskGroup() as group:
        writer.write(b"POST /nothing/here HTTP/1.1\r\nHost: h\r\nContent-Length: 100000000\r\n\r\n")
        dripping = group.create_task(drip(writer, [b"x"] * 100_000))
        status, head, _ = await one_answer(reader)
        assert (status, b"connection: close" in head) == (404, True)
        async with asyncio.timeout(8):
            await asyncio.wait({dripping})


async def test_a_small_refused_body_is_dropped_and_the_connection_kept() -> None:
    async with dialled(an_app()) as (reader, writer):
        writer.write(b"POST /nothing/here HTTP/1.1\r\nHost: h\r\nContent-Length: 5000\r\n\r\n" + b"x" * 1000)
        status, head, _ = await one_answer(reader)
        assert (status, b"connection: close" in head) == (404, False)
        writer.write(b"x" * 4000 + GET)
        assert (await one_answer(reader))[0] == 200


async def test_a_client_that_waits_for_100_is_told_to_go_on_only_when_its_body_is_wanted() -> None:
    body = json.dumps(ITEM).encode()
    head = "POST {} HTTP/1.1\r\nHost: 127.0.0.1\r\nExpect: 100-continue\r\nContent-Length: {}\r\n\r\n"
    async with dialled(an_app(), head=10) as (reader, writer):
        writer.write(head.format(BATCH, len(body)).encode())
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 ")
        writer.write(body)
        assert (await one_answer(reader))[0] == 202
        writer.write(head.format("/nothing", len(body)).encode())
        status, answer, _ = await one_answer(reader)
        assert (status, b"connection: close" in answer) == (404, True)


# Requests sent ahead --------------------------------------------------------------------------------------------------


async def test_requests_sent_ahead_are_answered_in_order_one_at_a_time() -> None:
    active = 0
    seen: list[tuple[str, int]] = []

    async def asgi(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal active
        active += 1
        seen.append((scope["path"], active))
        await asyncio.sleep(0.001)
        active -= 1
        body = scope["path"].encode()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
        await send({"type": "http.response.body", "body": body})

    async with dialled_to(asgi) as (reader, writer):
        writer.write(b"".join(b"GET /%d HTTP/1.1\r\nHost: h\r\n\r\n" % number for number in range(50)))
        bodies = [(await one_answer(reader))[2] for _ in range(50)]
    assert bodies == [b"/%d" % number for number in range(50)]
    assert {together for _path, together in seen} == {1}


async def test_while_a_request_is_answered_no_more_than_one_read_is_taken_ahead() -> None:
    gate = asyncio.Event()

    async def asgi(_scope: Scope, _receive: Receive, send: Send) -> None:
        await gate.wait()
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    async with dialled_to(asgi) as (_reader, writer):
        transport = writer.transport
        transport.set_write_buffer_limits(high=0)
        size = 16 * 1024 * 1024  # more than the buffers of the system take
        writer.write(GET + b"GET /more HTTP/1.1\r\nHost: h\r\n\r\n" * (size // 30))
        await asyncio.sleep(0.5)
        unsent = transport.get_write_buffer_size()
        assert unsent > size - 8 * 1024 * 1024 - 2 * READ_SIZE
        await asyncio.sleep(0.3)
        assert transport.get_write_buffer_size() == unsent
        transport.abort()
        gate.set()


async def test_what_follows_a_close_is_not_answered() -> None:
    async with dialled(an_app()) as (reader, writer), asyncio.timeout(10):
        writer.write(GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n") + GET)
        assert (await reader.read()).count(b"HTTP/1.1") == 1


async def test_a_client_that_sends_no_more_still_gets_its_answers() -> None:
    async with dialled(an_app()) as (reader, writer), asyncio.timeout(5):
        writer.write(GET + GET)
        writer.write_eof()
        assert (await reader.read()).count(b"HTTP/1.1 200") == 2


# Answers --------------------------------------------------------------------------------------------------------------


async def test_an_answer_that_is_not_read_does_not_grow_and_ends_its_connection() -> None:
    sent = 0
    ended = asyncio.Event()

    async def asgi(_scope: Scope, _receive: Receive, send: Send) -> None:
        nonlocal sent
        await send({"type": "http.response.start", "status": 200, "headers": []})
        try:
            for _ in range(10_000):
                await send({"type": "http.response.body", "body": b"x" * 65_536, "more_body": True})
                sent += 65_536
        finally:
            ended.set()

    async with dialled_to(asgi, unread=1.0) as (_reader, writer):
        writer.transport.pause_reading()  # type: ignore[attr-defined] # a transport of a socket has it
        writer.write(GET)
        await asyncio.sleep(0.8)
        early = sent
        assert not ended.is_set()
        async with asyncio.timeout(10):
            await ended.wait()
    assert early < 32 * 1024 * 1024, "as much as the buffers of the system take, and no more"


async def test_an_answer_without_a_length_is_chunked_and_the_connection_kept() -> None:
    async def asgi(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for part in (b"one", b"", b"two"):
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body"})

    async with dialled_to(asgi) as (reader, writer), asyncio.timeout(5):
        for _ in range(2):
            writer.write(GET)
            answer = await reader.readuntil(b"0\r\n\r\n")
            assert b"transfer-encoding: chunked" in answer
            assert answer.endswith(b"\r\n\r\n3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n")
        writer.write(b"GET / HTTP/1.0\r\n\r\n")
        old = await reader.read()
        assert old.endswith(b"\r\n\r\nonetwo")
        assert b"connection: close" in old


@pytest.mark.parametrize("length", [b"1", b"9"])
async def test_an_answer_of_another_length_than_it_says_breaks_the_connection_off(
    length: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    async def asgi(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", length)]})
        await send({"type": "http.response.body", "body": b"four"})

    async with dialled_to(asgi) as (reader, writer), asyncio.timeout(5):
        writer.write(GET)
        with suppress(ConnectionError):
            assert b"four" not in await reader.read()
    assert "request.broken_off" in "".join(capsys.readouterr())


async def test_a_header_with_a_line_break_is_never_written(capsys: pytest.CaptureFixture[str]) -> None:
    async def asgi(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"x", b"a\r\nset-cookie: b")]})

    async with dialled_to(asgi) as (reader, writer), asyncio.timeout(5):
        writer.write(GET)
        with suppress(ConnectionError):
            assert await reader.read() == b""
    assert "request.broken_off" in "".join(capsys.readouterr())


async def test_head_is_answered_with_the_headers_of_get_and_no_body() -> None:
    async with dialled(an_app()) as (reader, writer):
        writer.write(GET + GET.replace(b"GET", b"HEAD") + GET)
        _, get_head, body = await one_answer(reader)
        assert body == b'{"status":"alive"}'
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        assert b"content-length: 18\r\n" in head
        assert head.split(b"\r\n")[0] == get_head.split(b"\r\n")[0]
        assert (await one_answer(reader))[2] == body
