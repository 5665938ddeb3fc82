"""The client: what was written is never repeated silently."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
import uvloop

from fanout.clock import SystemClock
from fanout.errors import QueueError, QueueSilentError
from fanout.redis.client import RedisClient, reply_or_raise
from fanout.redis.open import open_redis
from fanout.redis.server import ServerClient
from service.dev.private_redis import private_redis
from tests.faults.proxy import proxy
from tests.redis_kinds import Store, opened


@asynccontextmanager
async def a_server(*answers: bytes) -> AsyncIterator[str]:
    """Serve one of these answers to each INCR (hang up on an empty one) and OK to everything else."""
    left, served = list(answers), []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served.append(asyncio.current_task())
        with suppress(ConnectionError):
            while data := await reader.read(65536):
                answer = (left.pop(0) if left else b"") if b"INCR" in data else b"+OK\r\n" * data.count(b"*")
                if not answer:
                    break
                writer.write(answer)
        writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0"
    await asyncio.wait([task for task in served if task is not None], timeout=5)


async def test_replies_come_in_order_and_errors_stand_in_their_place(redis_client: RedisClient) -> None:
    replies = await redis_client.call(
        ("SET", "a", "1"), ("INCR", "a"), ("LPUSH", "a", "x"), ("GET", "a"), ("SET", "b", "2")
    )
    assert replies[0:2] == [b"OK", 2]
    assert "WRONGTYPE" in str(replies[2])
    assert replies[3:] == [b"2", b"OK"]


async def test_nobody_listening_is_not_written() -> None:
    redis_client = open_redis("redis://127.0.0.1:1/0", SystemClock())
    with pytest.raises(QueueError, match="cannot be reached") as caught:
        await redis_client.ask("PING")
    assert not isinstance(caught.value, QueueSilentError)


async def test_a_connection_the_server_closed_is_replaced_before_anything_is_written(
    redis_client: RedisClient, store: Store
) -> None:
    await redis_client.ask("GET", "a")
    for server in store.primaries:
        server.ask("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    await asyncio.sleep(0.02)
    assert await redis_client.ask("GET", "a") is None


async def test_a_server_that_hangs_up_without_answering_is_silent() -> None:
    async with a_server(b"") as url, opened(url) as redis_client:
        with pytest.raises(QueueSilentError):
            await redis_client.ask("INCR", "a")


async def test_a_server_that_is_still_loading_has_done_nothing() -> None:
    async with a_server(b"-LOADING Redis is loading the dataset in memory\r\n") as url, opened(url) as redis_client:
        with pytest.raises(QueueError, match="is starting") as caught:
            await redis_client.call(("INCR", "a"), ("INCR", "b"))
    assert not isinstance(caught.value, QueueSilentError)


async def test_a_server_that_loads_again_after_a_reply_is_silent() -> None:
    async with (
        a_server(b":1\r\n-LOADING Redis is loading the dataset in memory\r\n") as url,
        opened(url) as redis_client,
    ):
        with pytest.raises(QueueSilentError):
            await redis_client.call(("INCR", "a"), ("INCR", "b"))


@pytest.mark.parametrize(
    "reply",
    [
        b"-READONLY You can't write against a read only replica.\r\n",
        b"-MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.\r\n",
        b"-UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)\r\n",
    ],
)
async def test_a_server_that_is_no_primary_any_more_loses_all_its_connections(reply: bytes) -> None:
    async with a_server(reply, reply) as url, opened(url) as redis_client:
        assert isinstance(redis_client, ServerClient)
        first, second = await asyncio.gather(redis_client.call(("INCR", "a")), redis_client.call(("INCR", "a")))
        assert isinstance(first[0], Exception)
        assert isinstance(second[0], Exception)
        assert await redis_client.ask("PING") == b"OK"
        assert "1 idle, 0 busy" in repr(redis_client)  # the new one


async def test_a_server_that_does_not_answer_in_time_loses_the_idle_connections_too(store: Store) -> None:
    async with opened(store.url) as redis_client:
        await asyncio.gather(redis_client.ask("GET", "a"), redis_client.ask("GET", "a"))
        with pytest.raises(QueueSilentError):
            reply_or_raise((await redis_client.call(("BLPOP", "a", 2), time_limit=0.3))[0])
        one_server = isinstance(redis_client, ServerClient)
        assert not one_server or await redis_client.ask("GET", "a") is None
        assert not one_server or "1 idle, 0 busy" in repr(redis_client)


async def test_a_cancelled_call_gives_its_connection_up(redis_client: RedisClient) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await redis_client.call(("BLPOP", "nothing", 5))
    assert await redis_client.ask("ECHO", "mine") == b"mine"
    assert await redis_client.ask("GET", "nothing") is None


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_connection_that_was_reset_is_not_used_again(loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """The service runs on uvloop, which raises RuntimeError where the other loop stays silent."""

    async def scenario() -> None:
        async with private_redis(SystemClock()) as url, proxy(Path(url[len("unix://") :].partition("?")[0])) as way:
            redis_client = open_redis(f"redis://127.0.0.1:{way.port}/0", SystemClock())
            await redis_client.ask("PING")
            assert isinstance(redis_client, ServerClient)
            [idle] = redis_client._pool._idle
            way.cut_all()
            async with asyncio.timeout(5):
                while not idle.is_lost:  # noqa: ASYNC110 - a connection tells its owner only what its owner asks
                    await asyncio.sleep(0)
            assert await redis_client.ask("PING") == b"PONG"
            assert redis_client.generation() == 0  # the server is the same
            await redis_client.aclose()

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(scenario())
