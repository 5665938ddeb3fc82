"""Finding the master through Sentinels: real ones, and ones that answer what a test wants."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from fanout.clock import SystemClock
from fanout.errors import QueueError, QueueSilentError
from fanout.redis.address import Node, parse
from fanout.redis.client import RedisClient
from fanout.redis.open import ConnectionFactory
from fanout.redis.sentinel import Sentinels
from fanout.secret import Secret
from tests.redis_kinds import ENCODED, MAKES, PASSWORD, borrowed, name_of, opened, replicated

NOBODY = Node("127.0.0.1", 1)


@asynccontextmanager
async def a_sentinel(*answers: bytes) -> AsyncIterator[Node]:
    """Serve these answers, one for each time it is asked for the master; the last one again and again."""
    left = list(answers)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served.append(asyncio.current_task())
        with suppress(ConnectionError):
            while data := await reader.read(65536):
                writer.write(b"+OK\r\n" * (data.count(b"*") - (b"GET-MASTER" in data)))
                if b"GET-MASTER" in data:
                    writer.write(left.pop(0) if len(left) > 1 else left[0])
        writer.transport.abort()

    served: list[asyncio.Task[None] | None] = []
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield Node("127.0.0.1", server.sockets[0].getsockname()[1])
    await asyncio.wait([task for task in served if task is not None], timeout=5)


def master_is(node: Node) -> bytes:
    host, port = node.host.encode(), str(node.port).encode()
    return b"*2\r\n$%d\r\n%s\r\n$%d\r\n%s\r\n" % (len(host), host, len(port), port)


def through(watcher: Node) -> AbstractAsyncContextManager[RedisClient]:
    return opened(f"redis+sentinel://:{ENCODED}@{watcher}/m")


def sentinels(nodes: Sequence[Node]) -> Sentinels:
    factory = ConnectionFactory(parse("redis+sentinel://h/m"), Secret())
    return Sentinels(factory.sentinel, nodes, "m", SystemClock())


async def test_the_first_that_answers_is_asked_first_from_then_on() -> None:
    async with a_sentinel(b"*-1\r\n") as ignorant, a_sentinel(master_is(Node("h", 7))) as knowing:
        asked = sentinels([NOBODY, ignorant, knowing])
        assert await asked.master() == Node("h", 7)
        assert repr(asked).index(str(knowing)) < repr(asked).index(str(NOBODY))
        assert await asked.master() == Node("h", 7)


async def test_when_none_knows_each_ones_reason_is_told() -> None:
    async with a_sentinel(b"*-1\r\n") as ignorant:
        with pytest.raises(RedisConnectionError, match="knows no m") as caught:
            await sentinels([NOBODY, ignorant]).master()
    assert str(NOBODY) in str(caught.value)


async def test_nothing_was_written_when_no_sentinel_answers() -> None:
    async with opened("redis+sentinel://127.0.0.1:1,127.0.0.1:2/m") as redis_client:
        with pytest.raises(QueueError, match="no Sentinel knows the master of m") as caught:
            await redis_client.ask("PING")
    assert not isinstance(caught.value, QueueSilentError)


async def test_a_master_that_only_was_one_is_not_used() -> None:
    store = replicated(MAKES["valkey"])
    try:
        primary, replica = (Node("127.0.0.1", server.port) for server in store.servers)
        async with a_sentinel(master_is(replica), master_is(primary)) as stale, through(stale) as redis_client:
            with pytest.raises(QueueError, match="not the master any more"):
                await redis_client.ask("SET", "a", "1")
            assert await redis_client.ask("SET", "a", "1") == b"OK"
    finally:
        store.stop()


async def test_a_demoted_masters_connections_are_dropped_and_the_sentinels_asked_again() -> None:
    store = replicated(MAKES["valkey"])
    try:
        old, new = store.servers
        where = [Node("127.0.0.1", server.port) for server in store.servers]
        answers = (master_is(where[0]), master_is(where[0]), master_is(where[1]))
        async with a_sentinel(*answers) as watcher, through(watcher) as redis_client:
            await asyncio.gather(
                redis_client.ask("BLPOP", "nothing", 0.01), redis_client.ask("GET", "a")
            )  # two connections
            new.ask("REPLICAOF", "NO", "ONE")
            old.ask("REPLICAOF", "127.0.0.1", new.port)
            with pytest.raises(QueueError, match="read only replica"):
                await redis_client.ask("SET", "a", "1")
            assert await redis_client.ask("SET", "a", "1") == b"OK"
            assert new.ask("GET", "a") == b"1"
    finally:
        store.stop()


async def test_a_wrong_password_is_told_without_it() -> None:
    with borrowed(name_of("sentinel")) as store:
        for right, wrong in ((ENCODED, "hunter2"), ("sentinel_password=watch", "sentinel_password=hunter2")):
            async with opened(store.url.replace(right, wrong)) as redis_client:
                with pytest.raises(QueueError, match="cannot be reached") as caught:
                    await redis_client.ask("PING")
            assert "hunter2" not in str(caught.value)
            assert PASSWORD not in str(caught.value)
