"""One connection, several callers: each gets its own replies, whatever becomes of the others."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from redis import exceptions as redis_errors
from redis.asyncio.connection import Connection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from fanout.errors import QueueSilentError
from fanout.redis.client import RedisClient, ServerClient
from fanout.redis.connection import ServerConnection
from fanout.redis.script import Script
from tests.redis_kinds import Store, opened

Serving = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
ECHO = Script("return ARGV[1]")


@asynccontextmanager
async def linked(serve: Serving) -> AsyncIterator[tuple[ServerConnection, list[ServerConnection]]]:
    """A connection to a server that does what `serve` does, and the list of its rests."""
    tasks: list[asyncio.Task[Any]] = []

    async def served(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.extend(task for task in (asyncio.current_task(),) if task is not None)
        with suppress(ConnectionError):
            await serve(reader, writer)
        writer.transport.abort()

    server = await asyncio.start_server(served, "127.0.0.1", 0)
    inner = Connection(port=server.sockets[0].getsockname()[1], protocol=2, retry=Retry(NoBackoff(), 0))
    rests: list[ServerConnection] = []
    connection = ServerConnection(inner, 0, rests.append)
    async with server:
        await connection.open()
        try:
            yield connection, rests
        finally:
            connection.abort()
            await asyncio.wait(tasks, timeout=5)


async def commands(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, count: int) -> None:
    """Say OK while the client logs in, then return when so many commands came."""
    seen = b""
    while seen.count(b"*") < count:
        data = await reader.read(65536)
        if b"CLIENT" in data:
            writer.write(b"+OK\r\n" * data.count(b"*"))
        else:
            seen += data


def saying(*pieces: bytes, after: int = 1) -> Serving:
    """Read until so many commands came, then say these pieces, each on its own, and wait for the end."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await commands(reader, writer, after)
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.005)
        await reader.read(1)

    return serve


async def test_each_caller_gets_the_replies_to_its_own_commands() -> None:
    whole = b"+a\r\n:2\r\n$1\r\nc\r\n*1\r\n+d\r\n"
    pieces = [whole[n : n + 3] for n in range(0, len(whole), 3)]
    async with linked(saying(*pieces, after=4)) as (connection, rests):
        first = connection.send([("A",), ("B",)], gather=True)
        second = connection.send([("C",), ("D",)], gather=True)
        assert await first == [b"a", 2]
        assert await second == [b"c", [b"d"]]
        assert rests == [connection]


async def test_a_caller_that_left_does_not_shift_the_replies_of_the_others() -> None:
    async with linked(saying(b"+a\r\n+b\r\n", after=2)) as (connection, _rests):
        first, second = connection.send([("A",)]), connection.send([("B",)])
        first.cancel()
        assert connection.is_shared_with_others(first)
        assert await second == [b"b"]


@pytest.mark.parametrize("extra", [b"+b\r\n", b"$5\r\nab"])
async def test_what_nobody_asked_for_ends_the_connection(extra: bytes) -> None:
    async with linked(saying(b"+a\r\n" + extra)) as (connection, rests):
        assert await connection.send([("A",)]) == [b"a"]
        assert connection.is_lost
        assert rests == []
        with pytest.raises(redis_errors.ConnectionError):
            await connection.send([("B",)])


async def test_bytes_that_are_no_redis_end_the_connection_for_all() -> None:
    async with linked(saying(b"HTTP/1.1 400 Bad Request\r\n\r\n", after=2)) as (connection, _rests):
        for asked in (connection.send([("A",)]), connection.send([("B",)])):
            with pytest.raises(redis_errors.ConnectionError):
                await asked
        assert connection.is_lost


async def test_a_server_that_hangs_up_is_told_to_everybody_who_waits() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await commands(reader, writer, 2)
        writer.write(b"+a\r\n+b")
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    async with linked(serve) as (connection, _rests):
        first, second = connection.send([("A",)], gather=True), connection.send([("B",)], gather=True)
        assert await first == [b"a"]
        with pytest.raises(redis_errors.ConnectionError):
            await second


async def test_an_error_reply_stands_in_its_place() -> None:
    async with linked(saying(b"-WRONGTYPE no\r\n+b\r\n", after=2)) as (connection, rests):
        replies = await connection.send([("A",), ("B",)])
        assert isinstance(replies[0], redis_errors.ResponseError)
        assert replies[1] == b"b"
        assert rests == [connection]


async def test_scripts_of_one_turn_share_a_connection(redis_client: RedisClient) -> None:
    await redis_client.run(ECHO, ["{1}a"], [0])
    replies = await asyncio.gather(*(redis_client.run_all([(ECHO, ["{1}a"], [n])]) for n in range(50)))
    assert replies == [[b"%d" % n] for n in range(50)]
    assert not isinstance(redis_client, ServerClient) or repr(redis_client) == "<ServerClient 1 idle>"


async def test_commands_that_may_wait_share_no_connection(redis_client: RedisClient) -> None:
    await asyncio.gather(*(redis_client.ask("GET", "{1}a") for _ in range(3)))
    assert not isinstance(redis_client, ServerClient) or repr(redis_client) == "<ServerClient 3 idle>"


async def test_a_read_that_blocks_holds_nobody_else_up(store: Store) -> None:
    async with opened(store.url) as redis_client, asyncio.TaskGroup() as group:
        await redis_client.run(ECHO, ["{1}a"], [0])
        reading = group.create_task(redis_client.ask("XREAD", "COUNT", 1, "BLOCK", 3000, "STREAMS", "{1}none", "0-0"))
        await asyncio.sleep(0)
        await asyncio.gather(*(redis_client.run(ECHO, ["{1}a"], [n]) for n in range(10)))
        assert not reading.done()
        reading.cancel()


async def test_silence_is_told_to_each_of_those_who_shared() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await commands(reader, writer, 1)
        writer.write(b"$1\r\n0\r\n")
        with suppress(ConnectionError):
            await reader.read()
        writer.transport.abort()
        ended.set()

    ended = asyncio.Event()
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0"
    async with server, opened(url, time_limit=0.3) as redis_client:
        await redis_client.run(ECHO, ["a"], [0])
        outcomes = await asyncio.gather(*(redis_client.run(ECHO, ["a"], [n]) for n in range(3)), return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [QueueSilentError] * 3
        assert redis_client.breaks == 3
        await asyncio.wait_for(ended.wait(), 5)


async def test_a_caller_that_is_cancelled_leaves_the_others_their_replies(redis_client: RedisClient) -> None:
    await redis_client.run(ECHO, ["{1}a"], [0])
    async with asyncio.TaskGroup() as group:
        first, second = (group.create_task(redis_client.run(ECHO, ["{1}a"], [n])) for n in (1, 2))
        await asyncio.sleep(0)  # both are written
        first.cancel()
    assert first.cancelled()
    assert second.result() == b"2"
    assert await redis_client.run(ECHO, ["{1}a"], [3]) == b"3"
