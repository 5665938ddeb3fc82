"""The connections to one server: bounded, shared, given back and closed; and what they know of who answers."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from random import Random
from typing import Any

import pytest

from fanout.clock import SystemClock
from fanout.errors import QueueError, QueueSilentError
from fanout.redis.client import RedisClient, Script
from fanout.redis.durability import Durability
from fanout.redis.open import open_redis
from fanout.redis.server import IDLE_SECONDS, MAX_CONNECTIONS, ServerClient
from tests.faults.proxy import Proxy, proxy
from tests.redis_kinds import KINDS, MAKES, Store, borrowed, name_of, opened, ready_to_fail_over, replicated, single
from tests.redis_servers import PORT, USUAL, RedisProcess, eventually

pytestmark = pytest.mark.slow

ECHO = Script("return ARGV[1]")
SLOW = Script("local n = 0; for i = 1, ARGV[1] do n = n + i end; return ARGV[1]")


class LaterClock(SystemClock):
    """The clock of the machine, some time later."""

    def __init__(self) -> None:
        self.later = 0.0
        self.monotonic = lambda: SystemClock.monotonic() + self.later


@asynccontextmanager
async def server_client(url: str, **options: Any) -> AsyncIterator[ServerClient]:
    async with opened(url, **options) as redis_client:
        assert isinstance(redis_client, ServerClient)
        yield redis_client


@pytest.fixture
async def server() -> AsyncIterator[Store]:
    with borrowed("valkey") as store:
        store.empty()
        yield store


def connections(store: Store) -> int:
    """How many connections the servers have, besides the one that asks."""
    return sum(len(server.ask("CLIENT", "LIST", "TYPE", "normal").splitlines()) - 1 for server in store.primaries)


async def test_a_burst_during_a_stall_opens_no_more_connections_than_the_bound(server: Store) -> None:
    """Each of 400 requests comes in a turn of its own, so that no two could share without waiting."""
    async with server_client(server.url, time_limit=10.0) as redis_client, asyncio.TaskGroup() as group:
        await redis_client.run(ECHO, ["a"], [0])
        server.servers[0].freeze()
        tasks = []
        for number in range(400):
            tasks.append(group.create_task(redis_client.run(ECHO, ["a"], [number])))
            await asyncio.sleep(0)
        await asyncio.sleep(0.3)
        server.servers[0].thaw()
        assert await asyncio.gather(*tasks) == [b"%d" % number for number in range(400)]
        assert 1 < connections(server) <= MAX_CONNECTIONS


async def test_who_waits_for_a_connection_longer_than_the_limit_has_written_nothing(server: Store) -> None:
    async with server_client(server.url, time_limit=0.4) as redis_client:
        await redis_client.ask("SET", "count", "0")
        server.servers[0].freeze()
        try:
            calls = [redis_client.ask("INCR", "count") for _ in range(MAX_CONNECTIONS * 3)]
            outcomes = await asyncio.gather(*calls, return_exceptions=True)
        finally:
            server.servers[0].thaw()
        refused = [outcome for outcome in outcomes if type(outcome) is QueueError]
        silent = [outcome for outcome in outcomes if isinstance(outcome, QueueSilentError)]
        assert len(refused) + len(silent) == MAX_CONNECTIONS * 3
        assert refused
        assert int(await redis_client.ask("GET", "count")) <= len(silent)
        assert "0 busy, 0 requests waiting" in repr(redis_client)


async def test_callers_that_share_a_silent_connection_are_all_told_so(server: Store) -> None:
    """The first of them closes the connection at the moment at which the others look whether it makes progress."""
    async with server_client(server.url, time_limit=0.4) as redis_client:
        await redis_client.run(ECHO, ["a"], [0])
        server.servers[0].freeze()
        try:
            calls = [redis_client.run(ECHO, ["a"], [number]) for number in range(400)]
            outcomes = await asyncio.gather(*calls, return_exceptions=True)
        finally:
            server.servers[0].thaw()
        assert {type(outcome) for outcome in outcomes} == {QueueSilentError}


async def test_what_waits_for_a_connection_is_sent_in_order_and_together(server: Store) -> None:
    async with server_client(server.url) as redis_client, asyncio.TaskGroup() as group:
        await redis_client.run(ECHO, ["a"], [0])
        held = [group.create_task(redis_client.ask("BLPOP", "list", 5)) for _ in range(MAX_CONNECTIONS)]
        await asyncio.to_thread(eventually, partial(_all_block, server), what="all of them are held")
        before = int(server.servers[0].info("stats")["total_reads_processed"])
        done: list[int] = []

        async def run(number: int) -> None:
            await redis_client.run(ECHO, ["a"], [number])
            done.append(number)

        for number in range(100):
            group.create_task(run(number))
            await asyncio.sleep(0)
        assert done == []
        server.servers[0].ask("RPUSH", "list", *range(MAX_CONNECTIONS))
        await asyncio.gather(*held)
    reads = int(server.servers[0].info("stats")["total_reads_processed"]) - before
    assert done == list(range(100))
    assert reads < 30  # not one for each


def _all_block(server: Store) -> bool:
    return int(server.servers[0].info("clients")["blocked_clients"]) == MAX_CONNECTIONS


async def test_requests_that_block_in_redis_take_no_connection_from_the_others(server: Store) -> None:
    async with server_client(server.url) as redis_client, asyncio.TaskGroup() as group:
        blocked = [
            group.create_task(redis_client.ask("BLPOP", "none", 0.5, time_limit=3, blocking=True))
            for _ in range(MAX_CONNECTIONS * 2)
        ]
        await asyncio.sleep(0.1)
        assert await redis_client.run(ECHO, ["a"], [1]) == b"1"
        assert not any(task.done() for task in blocked)


async def test_connections_that_were_not_used_for_a_while_are_closed(server: Store) -> None:
    clock = LaterClock()
    redis_client = open_redis(server.url, clock)
    await asyncio.gather(*(redis_client.ask("GET", "a") for _ in range(6)))
    assert connections(server) == 6
    clock.later += IDLE_SECONDS / 2
    await redis_client.ask("GET", "a")
    assert connections(server) == 6
    clock.later += IDLE_SECONDS / 2 + 1
    await redis_client.ask("GET", "a")
    await asyncio.to_thread(eventually, lambda: connections(server) == 1, what="five connections are closed")
    await redis_client.aclose()
    await asyncio.to_thread(eventually, lambda: connections(server) == 0, what="the last one is closed")


@pytest.mark.parametrize("seed", range(10))
async def test_callers_that_are_cancelled_at_any_time_leave_no_connection_in_use(server: Store, seed: int) -> None:
    dice = Random(seed)
    async with server_client(server.url, time_limit=5.0) as redis_client:

        async def caller(number: int) -> None:
            match dice.randrange(3):
                case 0:
                    assert await redis_client.run(ECHO, ["a"], [number]) == b"%d" % number
                case 1:
                    assert await redis_client.ask("ECHO", str(number)) == b"%d" % number
                case _:
                    assert await redis_client.run(SLOW, ["a"], [20_000 + number]) == b"%d" % (20_000 + number)

        tasks = []
        for number in range(150):
            tasks.append(asyncio.ensure_future(caller(number)))
            if dice.random() < 0.5:
                await asyncio.sleep(dice.choice([0, 0, 0.001]))
            if dice.random() < 0.4:
                dice.choice(tasks).cancel()
            if dice.random() < 0.02:
                server.servers[0].ask("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert not [o for o in outcomes if isinstance(o, BaseException) and not _is_expected(o)]
        assert await redis_client.ask("ECHO", "mine") == b"mine"
        assert "0 busy, 0 requests waiting" in repr(redis_client)


def _is_expected(outcome: BaseException) -> bool:
    return isinstance(outcome, asyncio.CancelledError | QueueError)


async def test_callers_that_wait_for_replicas_share_a_connection_and_a_confirmation() -> None:
    store = replicated(MAKES["valkey"])
    durability = Durability(1, aof=False, timeout=2.0)
    write = Script("return redis.call('INCR', KEYS[1])")
    try:
        async with server_client(store.url) as redis_client:
            await redis_client.run(write, ["count"], [])
            before = _calls(store.servers[0], "wait")
            calls = [redis_client.run_all([(write, ["count"], [])], confirm=durability) for _ in range(50)]
            assert await asyncio.gather(*calls) == [[number] for number in range(2, 52)]
            assert _calls(store.servers[0], "wait") == before + 1
    finally:
        store.stop()


def _calls(server: RedisProcess, command: str) -> int:
    return int(server.info("commandstats").get(f"cmdstat_{command}", {}).get("calls", 0))


# Who answers ----------------------------------------------------------------------------------------------------------


async def test_a_cut_connection_says_nothing_of_the_data(server: Store) -> None:
    async with server_client(server.url) as redis_client:
        await redis_client.ask("PING")
        before = redis_client.generation()
        for _ in range(3):
            server.servers[0].ask("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            await asyncio.sleep(0.02)
            assert await redis_client.ask("PING") == b"PONG"
        assert redis_client.generation() == before


async def test_a_server_that_was_restarted_is_another_one() -> None:
    store = single(MAKES["valkey"])
    try:
        async with server_client(store.url) as redis_client:
            await redis_client.ask("PING")
            before = redis_client.generation()
            store.servers[0].kill()
            store.servers[0].start()
            await asyncio.sleep(0.05)
            await redis_client.ask("PING")
            assert redis_client.generation() != before
    finally:
        store.stop()


async def test_a_server_that_was_a_replica_meanwhile_is_another_one(server: Store) -> None:
    """The process is the same, its data need not be."""
    async with server_client(server.url) as redis_client:
        await redis_client.ask("PING")
        before = redis_client.generation()
        server.servers[0].ask("REPLICAOF", "127.0.0.1", 1)
        with pytest.raises(QueueError):
            await redis_client.ask("SET", "a", "1")
        server.servers[0].ask("REPLICAOF", "NO", "ONE")
        await redis_client.ask("SET", "a", "1")
        assert redis_client.generation() != before


async def test_a_server_that_does_not_say_who_it_is_may_be_another_one_each_time() -> None:
    user = ("--user", "default", "off", "--user", "u", "on", ">p", "~*", "&*", "+@all", "-info")
    login = {"username": "u", "password": "p"}
    server = RedisProcess(MAKES["valkey"], "--port", PORT, *USUAL, *user, login=login).start()
    try:
        async with server_client(f"redis://u:p@127.0.0.1:{server.port}/0") as redis_client:
            await redis_client.ask("PING")
            before = redis_client.generation()
            server.ask("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            await asyncio.sleep(0.02)
            await redis_client.ask("PING")
            assert redis_client.generation() != before
    finally:
        server.stop()


async def test_a_failover_is_another_server() -> None:
    store = KINDS[name_of("sentinel")]()
    try:
        ready_to_fail_over(store)
        async with opened(store.url, time_limit=2.0) as redis_client:
            await redis_client.ask("PING")
            before = redis_client.generation("any")
            store.servers[0].kill()
            async with asyncio.timeout(30):
                while not await _answers(redis_client):  # noqa: ASYNC110 - Sentinels tell nobody
                    await asyncio.sleep(0.1)
            assert redis_client.generation("any") != before
    finally:
        store.stop()


async def _answers(redis_client: RedisClient) -> bool:
    try:
        await redis_client.ask("SET", "a", "1")
    except QueueError:
        return False
    return True


# Progress -------------------------------------------------------------------------------------------------------------


async def test_a_large_request_over_a_slow_link_is_not_silence(server: Store) -> None:
    """64 KB each 50 ms: 4 MB take more than three seconds, ten times the limit."""
    async with proxy(server.servers[0].socket, receive_buffer=32_768) as way:
        way.latency = 0.05
        async with server_client(_through(way), time_limit=0.3) as redis_client:
            assert await redis_client.ask("SET", "a", b"x" * 4_000_000) == b"OK"
            assert len(await redis_client.ask("GET", "a")) == 4_000_000


async def test_a_large_request_that_stops_half_way_is_silence(server: Store) -> None:
    async with proxy(server.servers[0].socket) as way, server_client(_through(way), time_limit=0.4) as redis_client:
        await redis_client.ask("PING")
        way.hold()
        with pytest.raises(QueueSilentError, match=r"no progress within 0\.4 s"):
            await redis_client.ask("SET", "a", b"x" * 40_000_000)


def _through(way: Proxy) -> str:
    return f"redis://127.0.0.1:{way.port}/0"
