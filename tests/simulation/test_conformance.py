"""The model server against real ones: the same operations through the same RedisClient give the same replies.

Ids of entries differ from server to server, so they are compared by when they were given out.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from random import Random
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.asyncio.connection import AbstractConnection

from fanout.clock import SystemClock
from fanout.queue import scripts, worker_scripts
from fanout.queue.keys import KEYS
from fanout.redis.client import RedisClient
from fanout.redis.open import open_redis
from fanout.redis.server import ServerClient
from service.dev.private_redis import private_redis
from tests.conftest import servers
from tests.simulation.loop import SimulatedClock, SimulatedLoop
from tests.simulation.player import FLOW, LONG, Operation, Player
from tests.simulation.store_commands import NAMES
from tests.simulation.store_model import Silence, StoreModel
from tests.simulation.store_network import StoreNetwork
from tests.simulation.store_scripts import SCRIPT_TWINS

Play = Callable[[RedisClient, Callable[[float], Awaitable[None]]], Awaitable[Any]]


class Real:
    """A real server in an event loop of its own."""

    def __init__(self, binary: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._server = private_redis(SystemClock(), binary=binary)
        self._url = self._loop.run_until_complete(self._server.__aenter__())

    def play(self, play: Play) -> Any:
        async def run() -> Any:
            redis_client = open_redis(self._url, SystemClock())
            try:
                await redis_client.call(("FLUSHALL",), ("SCRIPT", "FLUSH"), ("CONFIG", "SET", "maxmemory", "0"))
                return await play(redis_client, asyncio.sleep)
            finally:
                await redis_client.aclose()

        return self._loop.run_until_complete(run())

    def close(self) -> None:
        self._loop.run_until_complete(self._server.__aexit__(None, None, None))
        self._loop.close()


@pytest.fixture(scope="module", params=sorted(servers()))
def real(request: pytest.FixtureRequest) -> Iterator[Real]:
    server = Real(servers()[request.param])
    yield server
    server.close()


def model(play: Play) -> Any:
    loop = SimulatedLoop(Random(0))
    store = StoreModel(lambda: loop.time() + 1_800_000_000, loop.time, Silence())
    network = StoreNetwork(loop, store, Random(0))
    redis_client = ServerClient(lambda: cast("AbstractConnection", network.connect()), SimulatedClock(loop))

    async def run() -> Any:
        return await play(redis_client, asyncio.sleep)

    try:
        return loop.run_until_complete(loop.start(loop.world, run()))
    finally:
        loop.close()


SAME, OTHER = b"contents", b"another."  # fingerprints
APPENDED = [KEYS.flows(0), KEYS.wake(0), KEYS.size(0), KEYS.seen(0), KEYS.stream(0, FLOW)]

# Operations -------------------------------------------------------------------------------------------------------

PARTITION = st.integers(0, 1)
WORKER = st.sampled_from(["a", "b"])
TOKEN = st.builds("{}:{}".format, WORKER, st.integers(1, 3))
ENTRY = st.tuples(
    st.sampled_from([b"one", b"two"]), st.sampled_from(["", "", "x", "y"]), st.sampled_from([SAME, OTHER])
)
NUMBER = st.integers(0, 5)  # which of the ids given out so far
OPERATION = st.one_of(
    st.tuples(st.just("append"), PARTITION, st.sampled_from([10_000, 100]), st.lists(ENTRY, min_size=1, max_size=3)),
    st.tuples(st.just("settle"), PARTITION, TOKEN, st.lists(NUMBER, min_size=1, max_size=3)),
    st.tuples(st.just("expire"), PARTITION, TOKEN, NUMBER, st.sampled_from([LONG, -LONG])),
    st.tuples(st.just("list"), PARTITION, st.sampled_from(["", "l"]), st.integers(1, 3)),
    st.tuples(st.just("park"), PARTITION, TOKEN, NUMBER, st.sampled_from([10_000, 100])),
    st.tuples(st.just("delete"), PARTITION, NUMBER),
    st.tuples(
        st.just("delete_old"),
        PARTITION,
        TOKEN,
        st.sampled_from([LONG, -LONG]),
        st.integers(1, 2),
        st.sampled_from([1, 1000]),
        NUMBER,
    ),
    st.tuples(st.just("fetch"), PARTITION, st.lists(NUMBER, min_size=1, max_size=3)),
    st.tuples(st.just("measure"), PARTITION),
    st.tuples(st.just("wake"), PARTITION),
    st.tuples(st.just("prune"), PARTITION, TOKEN, st.sampled_from([LONG, -LONG])),
    st.tuples(st.just("replay"), PARTITION, NUMBER),
    st.tuples(st.just("peek"), PARTITION, NUMBER, st.integers(1, 3), st.sampled_from([1, 9, 1000])),
    st.tuples(st.just("acquire"), PARTITION, WORKER),
    st.tuples(st.just("renew"), PARTITION, TOKEN),
    st.tuples(st.just("release"), PARTITION, TOKEN),
    st.tuples(st.just("hand_over"), PARTITION, TOKEN, st.sampled_from([9, 1]), st.sampled_from("xy"), st.just("z")),
    st.tuples(st.just("left"), PARTITION),
    st.tuples(st.just("free"), PARTITION, TOKEN, st.sampled_from("xy")),
    st.tuples(st.just("heartbeat"), WORKER, st.sampled_from([LONG, 0])),
    st.tuples(st.just("heartbeat"), WORKER, st.sampled_from([LONG, 0]), st.sampled_from(["!0 2", "!1 2"])),
    st.tuples(st.just("claim"), st.sampled_from([SAME, OTHER])),
    st.tuples(st.just("range"), PARTITION, NUMBER, st.integers(1, 3)),
    st.tuples(st.just("read"), PARTITION, NUMBER, st.integers(1, 3)),
    st.tuples(st.just("look"), PARTITION),
    st.tuples(st.just("exchange_demand"), WORKER, st.sampled_from([LONG, -LONG]), st.integers(0, 9)),
    st.tuples(st.just("join_endpoints"), st.sampled_from("abc"), st.sampled_from("abc")),
    st.tuples(st.just("set"), st.sampled_from([(), ("NX",), ("PX", LONG)])),
    st.tuples(st.just("tell"), st.integers(0, 2)),
    st.tuples(st.just("hash"), st.sampled_from(["HSET", "HDEL"]), st.sampled_from("ab"), st.sampled_from("12")),
    st.tuples(
        st.just("put_pause"),
        st.sampled_from("ab"),
        st.sampled_from(["60000", "90000", "-90000"]),
        st.sampled_from([0, 1]),
    ),
    st.tuples(st.just("flush")),
)


def playing(operations: Sequence[Operation]) -> Play:
    async def play(redis_client: RedisClient, _sleep: Callable[[float], Awaitable[None]]) -> Any:
        player = Player(redis_client)
        return [await player.play(operation) for operation in operations]

    return play


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(operations=st.lists(OPERATION, max_size=25))
def test_any_operations_give_equal_replies(real: Real, operations: list[Operation]) -> None:
    for here, there, operation in zip(
        model(playing(operations)), real.play(playing(operations)), operations, strict=True
    ):
        assert here == there, operation


def test_a_life_of_a_partition_gives_equal_replies(real: Real) -> None:
    """One run in which each script does what it is for; random operations rarely have the right token."""
    entries = [(b"one", "x", SAME), (b"two", "", b""), (b"three", "y", OTHER)]
    operations: list[Operation] = [
        ("acquire", 0, "a"), ("acquire", 0, "b"), ("append", 0, 10_000, entries), ("append", 0, 10_000, entries),
        ("append", 0, 3, [(b"four", "", b"")]), ("append", 0, 10_000, [(b"one", "x", b"a third.")]), ("read", 0, 9, 2),
        ("read", 0, 1, 5), ("range", 0, 0, 2), ("settle", 0, "b:1", [0]), ("settle", 0, "a:1", [0, 0, 9]),
        ("append", 0, 10_000, [(b"old", "", b"")]), ("expire", 0, "b:1", 3, -LONG), ("expire", 0, "a:1", 3, LONG),
        ("expire", 0, "a:1", 3, -LONG), ("expire", 0, "a:1", 3, -LONG), ("park", 0, "a:1", 1),
        ("park", 0, "a:1", 1), ("measure", 0), ("park", 0, "b:2", 2), ("look", 0), ("renew", 0, "a:1"),
        ("renew", 0, "b:1"), ("release", 0, "b:1"), ("release", 0, "a:1"), ("acquire", 0, "b"), ("look", 0),
        ("settle", 0, "b:2", [1, 2, 3]), ("renew", 0, "b:2"), ("look", 0), ("heartbeat", "a", LONG),
        ("heartbeat", "b", 0), ("claim", SAME), ("claim", SAME), ("claim", OTHER), ("set", ("NX",)), ("set", ("NX",)),
        ("look", 0), ("list", 1, "l", 3), ("list", 1, "l", 3), ("acquire", 1, "a"), ("measure", 1),
        ("fetch", 1, [0, 2, 9]), ("settle", 1, "a:1", [0]), ("park", 1, "a:1", 1), ("look", 1), ("park", 1, "a:1", 2),
        ("look", 1), ("replay", 1, 3), ("look", 1), ("delete", 1, 4), ("look", 1), ("prune", 1, "a:1", -LONG),
        ("prune", 1, "b:1", -LONG), ("measure", 1), ("settle", 0, "b:2", [4, 5, 6, 7]), ("prune", 0, "b:2", LONG),
        ("prune", 0, "b:2", -LONG), ("look", 0), ("append", 0, 10_000, entries), ("read", 0, 9, 2), ("measure", 0),
    ]  # fmt: skip
    assert model(playing(operations)) == real.play(playing(operations))


def test_old_dead_letters_are_deleted_and_counted_alike(real: Real) -> None:
    operations: list[Operation] = [
        ("acquire", 0, "a"), ("list", 0, "", 5), *(("park", 0, "a:1", number, 10_000) for number in range(5)),
        ("delete_old", 0, "b:1", -LONG, 9, 9999, 9), ("delete_old", 0, "a:1", LONG, 9, 9999, 9), ("measure", 0),
        ("delete_old", 0, "a:1", -LONG, 2, 9999, 9), ("look", 0), ("delete_old", 0, "a:1", -LONG, 9, 1, 9), ("look", 0),
        ("delete_old", 0, "a:1", -LONG, 1, 9999, 7), ("delete_old", 0, "a:1", -LONG, 9, 9999, 8), ("look", 0),
        ("measure", 0), ("delete_old", 0, "a:1", -LONG, 9, 9999, 9), ("look", 0),
    ]  # fmt: skip
    assert model(playing(operations)) == real.play(playing(operations))


def test_a_hand_over_gives_equal_replies(real: Real) -> None:
    operations: list[Operation] = [
        ("acquire", 0, "a"), ("hand_over", 0, "b:1", 9, "x"), ("hand_over", 0, "a:1", 1, "x", "y"), ("left", 0),
        ("hand_over", 0, "a:1", 9, "x", "y"), ("hand_over", 0, "a:1", 9, "x", "y"), ("left", 0), ("acquire", 0, "b"),
        ("free", 0, "b:2", "x"), ("free", 0, "a:1", "x", "z"), ("left", 0), ("hand_over", 0, "b:2", 9, "z"),
        ("left", 0), ("release", 0, "a:1"), ("left", 0), ("free", 0, "a:1", "y"), ("release", 0, "b:2"),
        ("left", 0), ("acquire", 0, "a"), ("look", 0),
    ]  # fmt: skip
    assert model(playing(operations)) == real.play(playing(operations))


def test_what_has_a_lifetime_ends_alike(real: Real) -> None:
    async def play(redis_client: RedisClient, sleep: Callable[[float], Awaitable[None]]) -> Any:
        replies = [
            await redis_client.run(worker_scripts.ACQUIRE, [KEYS.lease(0), KEYS.fence(0)], ["a", 30]),
            len(await redis_client.run(worker_scripts.HEARTBEAT, [KEYS.workers], ["a", 30])),
            await redis_client.run(worker_scripts.CLAIM, [KEYS.seen(0)], [b"claimed-once", SAME, 30]),
            len(
                await redis_client.run(scripts.APPEND, APPENDED, [9, 30, 7, 1, 1, 0, 1, b"one", b"known by it." + SAME])
            ),
        ]
        await sleep(0.2)
        return [
            *replies,
            await redis_client.call(
                ("GET", KEYS.lease(0)), ("EXISTS", KEYS.lease(0), "seen", "claimed"), ("DEL", "seen")
            ),
            await redis_client.run(worker_scripts.RENEW, [KEYS.lease(0), KEYS.stream(0, FLOW)], ["a:1", 30]),
            await redis_client.run(worker_scripts.RELEASE, [KEYS.lease(0), KEYS.rest(0, "~a:1")], ["a:1", "~a:1"]),
            await redis_client.run(worker_scripts.ACQUIRE, [KEYS.lease(0), KEYS.fence(0)], ["b", LONG]),
            (await redis_client.run(worker_scripts.HEARTBEAT, [KEYS.workers], ["b", 30]))[1:],
            await redis_client.run(worker_scripts.CLAIM, [KEYS.seen(0)], [b"claimed-once", OTHER, LONG]),
            (
                await redis_client.run(
                    scripts.APPEND, APPENDED, [999, LONG, 7, 1, 1, 0, 1, b"one", b"known by it." + SAME]
                )
            )[0],
        ]

    assert model(play) == real.play(play)


def test_a_read_that_waits_is_served_by_an_append(real: Real) -> None:
    async def play(redis_client: RedisClient, sleep: Callable[[float], Awaitable[None]]) -> Any:
        async def append() -> None:
            await sleep(0.05)
            await redis_client.run(scripts.APPEND, APPENDED, [9, LONG, 7, 1, 1, 0, 2, b"one", b"", b"two", b""])

        async with asyncio.TaskGroup() as group:
            group.create_task(append())
            read = ("XREAD", "COUNT", 9, "BLOCK", 5000, "STREAMS", KEYS.stream(0, FLOW), "0-0")
            reply = await redis_client.ask(*read, time_limit=6)
        return [[fields for _id, fields in rows] for _key, rows in reply]

    assert model(play) == real.play(play)


def test_a_read_that_waits_for_nothing_ends(real: Real) -> None:
    async def play(redis_client: RedisClient, _sleep: Callable[[float], Awaitable[None]]) -> Any:
        return await redis_client.ask("XREAD", "COUNT", 9, "BLOCK", 20, "STREAMS", KEYS.stream(0, FLOW), "0-0")

    assert model(play) is real.play(play) is None


def test_a_full_server_refuses_alike(real: Real) -> None:
    """Past maxmemory nothing is added for callers, and workers can still drain."""
    before: list[Operation] = [("acquire", 0, "a"), ("append", 0, 10_000, [(b"one", "x", SAME), (b"two", "", b"")])]
    after: list[Operation] = [
        ("append", 0, 10_000, [(b"one", "x", SAME)]),
        ("append", 0, 10_000, [(b"one", "x", SAME), (b"three", "", b"")]),
        ("claim", SAME), ("set", ()), ("renew", 0, "a:1"), ("heartbeat", "a", LONG), ("park", 0, "a:1", 0), ("look", 0),
        ("settle", 0, "a:1", [1]), ("look", 0), ("release", 0, "a:1"), ("acquire", 0, "b"), ("look", 0),
    ]  # fmt: skip

    async def on_real(redis_client: RedisClient, _sleep: Callable[[float], Awaitable[None]]) -> Any:
        player = Player(redis_client)
        replies = [await player.play(operation) for operation in before]
        await redis_client.ask("CONFIG", "SET", "maxmemory", "1")
        return replies + [await player.play(operation) for operation in after]

    loop = SimulatedLoop(Random(0))
    store = StoreModel(lambda: loop.time() + 1_800_000_000, loop.time, Silence())
    network = StoreNetwork(loop, store, Random(0))

    async def on_model() -> Any:
        redis_client = ServerClient(lambda: cast("AbstractConnection", network.connect()), SimulatedClock(loop))
        player = Player(redis_client)
        replies = [await player.play(operation) for operation in before]
        store.full = True
        return replies + [await player.play(operation) for operation in after]

    assert loop.run_until_complete(loop.start(loop.world, on_model())) == real.play(on_real)
    loop.close()


def test_every_script_of_the_product_has_a_twin() -> None:
    assert SCRIPT_TWINS.keys() == set(NAMES.values())
