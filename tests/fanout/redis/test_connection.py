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
from fanout.redis.client import Pending, RedisClient, Request, Script, ServerConnection
from fanout.redis.durability import Durability
from fanout.redis.server import ServerClient
from tests.redis_kinds import Store, opened

Serving = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
ECHO = Script("return ARGV[1]")


@asynccontextmanager
async def connected(serve: Serving) -> AsyncIterator[tuple[ServerConnection, list[ServerConnection]]]:
    """A connection to a server that does what `serve` does, and the list that it is added to when it is free."""
    tasks: list[asyncio.Task[Any]] = []

    async def served(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.extend(task for task in (asyncio.current_task(),) if task is not None)
        with suppress(ConnectionError):
            await serve(reader, writer)
        writer.transport.abort()

    server = await asyncio.start_server(served, "127.0.0.1", 0)
    inner = Connection(port=server.sockets[0].getsockname()[1], protocol=2, retry=Retry(NoBackoff(), 0))
    freed: list[ServerConnection] = []
    connection = ServerConnection(inner, 0, freed.append)
    async with server:
        await connection.open()
        try:
            yield connection, freed
        finally:
            connection.abort()
            await asyncio.wait(tasks, timeout=5)


async def commands(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, count: int) -> None:
    """Say OK while the client logs in and asks who it is, then return when so many commands came."""
    seen, asked = b"", 0
    while seen.count(b"*") < count or not asked:
        data = await reader.read(65536)
        if b"CLIENT" in data or b"\r\nINFO\r\n" in data:
            writer.write(b"+OK\r\n" * data.count(b"*"))
            asked += b"\r\nINFO\r\n" in data
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


def send(connection: ServerConnection, *names: str) -> Pending:
    return connection.send(Request([(name,) for name in names]))


async def test_each_caller_gets_the_replies_to_its_own_commands() -> None:
    whole = b"+a\r\n:2\r\n$1\r\nc\r\n*1\r\n+d\r\n"
    pieces = [whole[n : n + 3] for n in range(0, len(whole), 3)]
    async with connected(saying(*pieces, after=4)) as (connection, freed):
        first, second = send(connection, "A", "B"), send(connection, "C", "D")
        assert await first.future == [b"a", 2]
        assert await second.future == [b"c", [b"d"]]
        assert freed == [connection]


async def test_a_caller_that_left_does_not_shift_the_replies_of_the_others() -> None:
    async with connected(saying(b"+a\r\n+b\r\n", after=2)) as (connection, _freed):
        first, second = send(connection, "A"), send(connection, "B")
        first.future.cancel()
        assert connection.has_other_callers(first)
        assert not connection.has_other_callers(second)
        assert await second.future == [b"b"]


async def test_a_wait_that_was_given_up_is_taken_up_again() -> None:
    """Replies may come, or the connection may end, between the two waits."""
    async with connected(saying(b"+a\r\n+b\r\n", after=3)) as (connection, _freed):
        early, late, lost = send(connection, "A"), send(connection, "B"), send(connection, "C")
        for pending in (early, late, lost):
            pending.future.cancel()
        late.renew()
        assert await late.future == [b"b"]
        early.renew()
        assert await early.future == [b"a"]
        connection.abort()
        lost.renew()
        with pytest.raises(redis_errors.ConnectionError):
            await lost.future


@pytest.mark.parametrize("extra", [b"+b\r\n", b"$5\r\nab"])
async def test_what_nobody_asked_for_ends_the_connection(extra: bytes) -> None:
    async with connected(saying(b"+a\r\n" + extra)) as (connection, _freed):
        assert await send(connection, "A").future == [b"a"]
        assert connection.is_lost
        with pytest.raises(redis_errors.ConnectionError):
            await send(connection, "B").future


async def test_bytes_that_are_no_redis_end_the_connection_for_all() -> None:
    async with connected(saying(b"HTTP/1.1 400 Bad Request\r\n\r\n", after=2)) as (connection, _freed):
        for pending in (send(connection, "A"), send(connection, "B")):
            with pytest.raises(redis_errors.ConnectionError):
                await pending.future
        assert connection.is_lost


async def test_a_server_that_closes_the_connection_fails_everybody_who_waits() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await commands(reader, writer, 2)
        writer.write(b"+a\r\n+b")
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    async with connected(serve) as (connection, _freed):
        first, second = send(connection, "A"), send(connection, "B")
        assert await first.future == [b"a"]
        with pytest.raises(redis_errors.ConnectionError):
            await second.future


async def test_an_error_reply_stands_in_its_place() -> None:
    async with connected(saying(b"-WRONGTYPE no\r\n+b\r\n", after=2)) as (connection, freed):
        replies = await send(connection, "A", "B").future
        assert isinstance(replies[0], redis_errors.ResponseError)
        assert replies[1] == b"b"
        assert freed == [connection]


async def test_requests_of_one_turn_wait_for_one_confirmation() -> None:
    durability = Durability(1, aof=False, timeout=0.5)
    async with connected(saying(b"+a\r\n+b\r\n", b":1\r\n", after=3)) as (connection, freed):
        first = connection.send(Request([("EVALSHA", "a")], confirm=durability))
        assert connection.can_share(Request([("EVALSHA", "b")], confirm=durability))
        assert not connection.can_share(Request([("EVALSHA", "b")]))
        second = connection.send(Request([("EVALSHA", "b")], confirm=durability))
        assert await first.future == [b"a", 1]
        assert await second.future == [b"b", 1]
        assert freed == [connection]


@pytest.mark.parametrize("pieces", [(), (b"+a\r\n",), (b"+a\r\n+b\r\n",), (b"+a\r\n", b"-LOADING now\r\n")])
async def test_a_connection_that_ends_before_the_confirmation_fails_all_that_wait_for_it(
    pieces: tuple[bytes, ...],
) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await commands(reader, writer, 3)
        writer.writelines(pieces)
        await writer.drain()

    durability = Durability(1, aof=False, timeout=0.5)
    async with connected(serve) as (connection, _freed):
        waiting = [connection.send(Request([("EVALSHA", name)], confirm=durability)) for name in "ab"]
        outcomes = await asyncio.gather(*(pending.future for pending in waiting), return_exceptions=True)
    whole = [outcome for outcome in outcomes if isinstance(outcome, list) and len(outcome) == 2]
    assert whole == []


@pytest.mark.lengthy
async def test_progress_is_seen_while_bytes_move_and_not_while_none_do() -> None:
    """A server that reads slowly moves the bytes of a large request; one that has stopped reading does not."""
    reading = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await commands(reader, writer, 0)
        reader._transport.pause_reading()  # type: ignore[attr-defined] # the stream has no public way to stop
        await reading.wait()
        reader._transport.resume_reading()  # type: ignore[attr-defined] # same
        while await reader.read(1 << 20):
            pass

    async with connected(serve) as (connection, _freed):
        connection.send(Request([("SET", "a", b"x" * 40_000_000)]))
        before = (-1, -1)
        while (now := connection.progress()) != before:
            await asyncio.sleep(0.3)  # until the buffers of both kernels are full
            before = now
        await asyncio.sleep(0.3)
        assert connection.progress() == before
        reading.set()
        async with asyncio.timeout(10):
            while connection.progress()[1] == before[1]:  # noqa: ASYNC110 - kernels tell nobody
                await asyncio.sleep(0.01)


async def test_scripts_of_one_turn_share_a_connection(redis_client: RedisClient) -> None:
    await redis_client.run(ECHO, ["{1}a"], [0])
    replies = await asyncio.gather(*(redis_client.run_all([(ECHO, ["{1}a"], [n])]) for n in range(50)))
    assert replies == [[b"%d" % n] for n in range(50)]
    assert not isinstance(redis_client, ServerClient) or "1 idle, 0 busy" in repr(redis_client)


async def test_commands_that_may_wait_share_no_connection(redis_client: RedisClient) -> None:
    await asyncio.gather(*(redis_client.ask("GET", "{1}a") for _ in range(3)))
    assert not isinstance(redis_client, ServerClient) or "3 idle, 0 busy" in repr(redis_client)


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
        assert "0 idle, 0 busy" in repr(redis_client)
        await asyncio.wait_for(ended.wait(), 5)


@pytest.mark.lengthy
async def test_silence_is_counted_from_the_last_bytes_that_moved_and_not_from_the_request() -> None:
    moved, ended = 0.0, asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal moved
        await commands(reader, writer, 1)
        writer.write(b"$1\r\n0\r\n")
        await reader.read(65536)
        await asyncio.sleep(0.08)  # shortly before the call looks for the first time
        moved = asyncio.get_running_loop().time()
        writer.write(b"$9\r\n")
        with suppress(ConnectionError):
            await reader.read()
        writer.transport.abort()
        ended.set()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0"
    async with server, opened(url, time_limit=0.4) as redis_client:
        await redis_client.run(ECHO, ["a"], [0])
        with pytest.raises(QueueSilentError):
            await redis_client.run(ECHO, ["a"], [1])
        assert asyncio.get_running_loop().time() - moved >= 0.39
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
