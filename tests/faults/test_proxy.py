"""The proxy is what it says: every byte in order without a fault, and each fault exactly as it is named."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from tests.faults.proxy import Proxy, Side, proxy
from tests.flow.waiting import until

BIG = bytes(range(256)) * 4096


@asynccontextmanager
async def an_echo() -> AsyncIterator[tuple[Proxy, list[bytes]]]:
    """Return a proxy to a server that sends everything back, and what that server got."""
    got: list[bytes] = []
    served: list[asyncio.Task[None]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        served.append(task)
        with suppress(ConnectionError):
            while piece := await reader.read(65536):
                got.append(piece)
                writer.write(piece)
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        async with proxy(server.sockets[0].getsockname()[1]) as way:
            yield way, got
        await asyncio.wait_for(asyncio.gather(*served), 5)  # no connection of the proxy is left


async def _dial(way: Proxy) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", way.port)


async def _ask(way: Proxy, data: bytes) -> bytes:
    reader, writer = await _dial(way)
    try:
        writer.write(data)
        return await asyncio.wait_for(reader.readexactly(len(data)), 5)
    finally:
        writer.close()


async def test_without_a_fault_every_byte_comes_and_goes_in_order() -> None:
    async with an_echo() as (way, got):
        answers = await asyncio.gather(*(_ask(way, BIG) for _ in range(3)))
        assert answers == [BIG] * 3
        assert sum(map(len, got)) == 3 * len(BIG)
        assert way.connections == 3
        await until(lambda: _is(way.open == 0), within=5, what="closed connections are forgotten")


async def test_an_end_is_handed_on() -> None:
    async with an_echo() as (way, _got):
        reader, writer = await _dial(way)
        writer.write(b"last")
        writer.write_eof()
        assert await asyncio.wait_for(reader.read(), 5) == b"last"
        writer.close()


async def test_latency_holds_each_direction() -> None:
    async with an_echo() as (way, _got):
        way.latency = 0.1
        before = asyncio.get_running_loop().time()
        await _ask(way, b"x")
        assert asyncio.get_running_loop().time() - before >= 0.2


@pytest.mark.parametrize(("side", "arrived"), [(Side.REQUEST, b"01234"), (Side.RESPONSE, b"0123456789")])
async def test_a_cut_lets_half_a_piece_through(side: Side, arrived: bytes) -> None:
    async with an_echo() as (way, got):
        way.cut_each(2, side)
        assert await _ask(way, b"first") == b"first"
        reader, writer = await _dial(way)
        writer.write(b"0123456789")
        answer = b""
        with suppress(ConnectionResetError):
            answer = await asyncio.wait_for(reader.read(), 5)
        await until(lambda: _is(got[1:] == [arrived]), within=5, what="the server has its part")
        assert answer == (b"01234" if side is Side.RESPONSE else b"")
        assert way.cuts == 1
        writer.close()


async def test_all_connections_are_reset_at_once() -> None:
    async with an_echo() as (way, _got):
        ends = [await _dial(way) for _ in range(3)]
        await until(lambda: _is(way.open == 3), within=5, what="all are carried")
        way.cut_all()
        for reader, writer in ends:
            with pytest.raises(ConnectionResetError):
                await asyncio.wait_for(reader.read(), 5)
            writer.close()
        assert way.cuts == 3
        assert await _ask(way, b"new") == b"new"


async def test_while_it_refuses_every_connection_is_reset() -> None:
    async with an_echo() as (way, _got):
        way.refuse()
        with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
            await _ask(way, b"x")
        way.heal()
        assert await _ask(way, b"x") == b"x"


async def test_what_was_held_arrives_late_and_whole() -> None:
    async with an_echo() as (way, got):
        reader, writer = await _dial(way)
        await until(lambda: _is(way.open == 1), within=5, what="it is carried")
        way.hold()
        late, newcomer = await _dial(way)
        writer.write(b"old")
        newcomer.write(b"new")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(1), 0.2)
        assert got == []
        way.heal()
        assert await asyncio.wait_for(reader.readexactly(3), 5) == b"old"
        assert await asyncio.wait_for(late.readexactly(3), 5) == b"new"
        writer.close()
        newcomer.close()


async def test_what_was_swallowed_never_arrives_and_new_connections_are_well() -> None:
    async with an_echo() as (way, got):
        reader, writer = await _dial(way)
        await until(lambda: _is(way.open == 1), within=5, what="it is carried")
        way.swallow()
        writer.write(b"lost")
        assert await _ask(way, b"new") == b"new"
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(1), 0.2)
        assert got == [b"new"]
        way.heal()  # a connection that lost something can only end
        with pytest.raises(ConnectionResetError):
            await asyncio.wait_for(reader.read(), 5)
        writer.close()


async def test_a_server_that_is_gone_resets_whoever_comes() -> None:
    async with proxy(1) as way:
        with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
            await _ask(way, b"x")


async def _is(fact: bool) -> bool:
    return fact
