"""The wire: what was written is never repeated silently."""

import asyncio

import pytest

from fanout.clock import SystemClock
from fanout.errors import QueueError, QueueSilentError
from fanout.queue.store import open_wire
from fanout.queue.wire import Wire


async def test_replies_come_in_order_and_errors_stand_in_their_place(wire: Wire) -> None:
    replies = await wire.call(("SET", "a", "1"), ("INCR", "a"), ("LPUSH", "a", "x"), ("GET", "a"))
    assert replies[0:2] == [b"OK", 2]
    assert "WRONGTYPE" in str(replies[2])
    assert replies[3] == b"2"


async def test_nobody_listening_is_not_written() -> None:
    wire = open_wire("redis://127.0.0.1:1/0", SystemClock())
    with pytest.raises(QueueError, match="cannot be reached") as caught:
        await wire.ask("PING")
    assert not isinstance(caught.value, QueueSilentError)


async def test_a_connection_the_server_closed_is_replaced_before_anything_is_written(wire: Wire) -> None:
    await wire.ask("PING")
    other = Wire(wire._make, SystemClock())
    await other.ask("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    await asyncio.sleep(0.01)
    assert await wire.ask("PING") in (b"PONG", "PONG")
    await other.aclose()


async def test_a_server_that_hangs_up_without_answering_is_silent() -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            if b"INCR" in data:
                break
            writer.write(b"+OK\r\n" * data.count(b"*"))
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    wire = open_wire(f"redis://127.0.0.1:{port}/0", SystemClock())
    async with server:
        with pytest.raises(QueueSilentError):
            await wire.ask("INCR", "a")
    await wire.aclose()


async def test_a_cancelled_call_gives_its_connection_up(wire: Wire) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await wire.call(("BLPOP", "nothing", 5))
    assert await wire.ask("ECHO", "mine") == b"mine"
