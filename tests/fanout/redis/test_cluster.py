"""The cluster client, against a real cluster with slots held in the middle of a move and nodes that fall silent."""

import asyncio
from collections.abc import Iterator
from typing import cast

import pytest

from fanout.clock import SystemClock
from fanout.errors import ConfigurationError, QueueError, QueueSilentError
from fanout.queue.entry import Admission
from fanout.queue.keys import KEYS, lane_of, partition_of
from fanout.queue.leases import Leases
from fanout.queue.store import prepare
from fanout.queue.stream import Stream
from fanout.redis.client import RedisClient, reply_or_raise
from fanout.redis.cluster import ClusterClient
from fanout.redis.open import open_redis
from fanout.redis.slots import slot_of
from tests.builders import a_message, a_submission
from tests.redis_kinds import KINDS, MAKES, PASSWORD, Store, name_of, node_id, opened
from tests.redis_servers import PORT, RedisProcess, eventually

P = 12  # enough to have some on each node


@pytest.fixture(scope="module")
def clustered() -> Iterator[Store]:
    """A cluster that gives no node up while a test holds it still."""
    store = KINDS[name_of("cluster")]()
    try:
        for server in store.servers:
            server.ask("CONFIG", "SET", "cluster-node-timeout", 15_000)
        yield store
    finally:
        store.stop()


@pytest.fixture
def nodes(clustered: Store) -> Store:
    clustered.empty()
    return clustered


def a_stream(redis_client: RedisClient) -> Stream:
    return Stream(redis_client, SystemClock(), partitions=P, max_bytes=1 << 30, dedup_window=60.0)


def owner_of(store: Store, slot: int) -> RedisProcess:
    slots = store.servers[0].ask("CLUSTER", "SLOTS")
    [port] = [entry[2][1] for entry in slots if entry[0] <= slot <= entry[1]]
    return next(server for server in store.servers if server.port == port)


def replicas_of(primary: RedisProcess) -> set[int]:
    """Return the ports of those that it can reach; right after a take-over there may be none."""
    slots = primary.ask("CLUSTER", "SLOTS")
    return {replica[1] for entry in slots for replica in entry[3:] if entry[2][1] == primary.port}


class Move:
    """A slot on its way from its owner to another node; it stays there until `end`."""

    def __init__(self, store: Store, slot: int) -> None:
        self.slot = slot
        self.source = owner_of(store, slot)
        self.target = next(server for server in store.primaries if server is not self.source)

    def begin(self) -> None:
        self.target.ask("CLUSTER", "SETSLOT", self.slot, "IMPORTING", node_id(self.source))
        self.source.ask("CLUSTER", "SETSLOT", self.slot, "MIGRATING", node_id(self.target))

    def names(self) -> list[str]:
        return [name.decode() for name in self.source.ask("CLUSTER", "GETKEYSINSLOT", self.slot, 100)]

    def carry(self, *names: str) -> None:
        where = ("127.0.0.1", self.target.port, "", 0, 5000)
        self.source.ask("MIGRATE", *where, "AUTH", PASSWORD, "KEYS", *names)

    def end(self) -> None:
        for name in self.names():
            self.carry(name)
        for server in (self.target, self.source):
            server.ask("CLUSTER", "SETSLOT", self.slot, "NODE", node_id(self.target))


async def test_commands_reach_every_node_and_come_back_in_order(nodes: Store) -> None:
    async with opened(nodes.url) as redis_client:
        names = [f"key {i}" for i in range(60)]
        await redis_client.call(*(("SET", name, name) for name in names))
        assert await redis_client.call(*(("GET", name) for name in names)) == [name.encode() for name in names]
    assert all(server.ask("DBSIZE") for server in nodes.primaries)


async def test_a_slot_that_moved_is_followed(nodes: Store) -> None:
    async with opened(nodes.url) as redis_client:
        await redis_client.ask("SET", "{a}", "before")
        move = Move(nodes, slot_of("{a}"))
        move.begin()
        move.end()
        assert await redis_client.call(("GET", "{a}"), ("GET", "{b}"), ("GET", "{a}")) == [b"before", None, b"before"]


async def test_a_key_that_moved_ahead_of_its_slot_is_asked_for_there(nodes: Store) -> None:
    move = Move(nodes, slot_of("{a}"))
    async with opened(nodes.url) as redis_client:
        await redis_client.call(("SET", "{a}1", "1"), ("SET", "{a}2", "2"))
        move.begin()
        move.carry("{a}1")
        assert await redis_client.call(("GET", "{a}1"), ("GET", "{a}2"), ("INCR", "{a}1")) == [b"1", b"2", 2]
        move.end()
        assert await redis_client.call(("GET", "{a}1"), ("GET", "{a}2")) == [b"2", b"2"]


async def test_an_append_whose_keys_are_torn_apart_by_a_move_waits_for_its_end(nodes: Store) -> None:
    message = a_message("alice")
    async with opened(nodes.url) as redis_client:
        stream = a_stream(redis_client)
        first = await stream.append([a_submission(message, dedup_id="a")])
        partition = int(first[0].entry_id.partition(":")[0])
        move = Move(nodes, slot_of(KEYS.lease(partition)))
        move.begin()
        async with asyncio.TaskGroup() as tasks:
            appending = tasks.create_task(stream.append([a_submission(message, dedup_id="b")]))
            await asyncio.sleep(0.1)
            assert not appending.done()
            await asyncio.to_thread(move.end)
        assert appending.result()[0].admission is Admission.ACCEPTED
        assert (await stream.append([a_submission(message, dedup_id="b")]))[0].admission is Admission.DUPLICATE
        assert sum((await stream.depth()).entries) == 2


async def test_an_id_whose_hash_is_still_on_its_way_is_not_new(nodes: Store) -> None:
    """Only the announced keys have moved: the new owner would run the script, without what it remembers by."""
    batch = [a_submission(a_message("alice"), dedup_id="a")]
    async with opened(nodes.url) as redis_client:
        stream = a_stream(redis_client)
        [first] = await stream.append(batch)
        partition = int(first.entry_id.partition(":")[0])
        move = Move(nodes, slot_of(KEYS.lease(partition)))
        move.begin()
        announced = [name for name in move.names() if not name.startswith(f"{KEYS.seen(partition)}:")]
        assert len(announced) == 5 < len(move.names())
        move.carry(*announced)
        async with asyncio.TaskGroup() as tasks:
            appending = tasks.create_task(stream.append(batch))
            await asyncio.sleep(0.1)
            assert not appending.done()
            await asyncio.to_thread(move.end)
        assert appending.result()[0].admission is Admission.DUPLICATE
        assert sum((await stream.depth()).entries) == 1


async def test_a_stream_that_is_still_on_its_way_is_not_taken_for_an_idle_flow(nodes: Store) -> None:
    async with opened(nodes.url) as redis_client:
        stream = a_stream(redis_client)
        [first] = await stream.append([a_submission(a_message("alice"))])
        partition = int(first.entry_id.partition(":")[0])
        [lease] = await Leases(redis_client, SystemClock(), worker="w", lifetime=60).acquire([partition])
        move = Move(nodes, slot_of(KEYS.lease(partition)))
        move.begin()
        move.carry(*(name for name in move.names() if "}:q:" not in name))
        async with asyncio.TaskGroup() as tasks:
            pruning = tasks.create_task(stream.prune(partition, lease.token, await stream.flows(partition), idle=0.0))
            await asyncio.sleep(0.1)
            assert not pruning.done()
            await asyncio.to_thread(move.end)
        assert sum((await stream.depth()).entries) == 1


async def test_a_move_that_does_not_end_is_an_error_and_nothing_is_stored(
    nodes: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fanout.redis.cluster._PAUSE", 0.001)
    message = a_message("alice")
    async with opened(nodes.url) as redis_client:
        stream = a_stream(redis_client)
        first = await stream.append([a_submission(message)])
        move = Move(nodes, slot_of(KEYS.lease(int(first[0].entry_id.partition(":")[0]))))
        move.begin()
        with pytest.raises(QueueError, match="during rehashing"):
            await stream.append([a_submission(message, dedup_id="b")])
        move.end()
        assert sum((await stream.depth()).entries) == 1


async def test_a_node_that_is_silent_leaves_the_others_their_replies(nodes: Store) -> None:
    async with opened(nodes.url, time_limit=0.3) as redis_client:
        stream = a_stream(redis_client)
        batch = [a_submission(a_message(f"u{i}")) for i in range(60)]
        await stream.append(batch)
        victim = owner_of(nodes, slot_of(KEYS.lease(0)))
        leases = await Leases(redis_client, SystemClock(), worker="w", lifetime=60).acquire(range(P))
        assert len(leases) == P
        victim.freeze()
        try:
            receipts = await stream.append(batch)
            renewals = await Leases(redis_client, SystemClock(), worker="w", lifetime=120).renew(leases)
        finally:
            victim.thaw()
    admissions = {receipt.admission for receipt in receipts}
    assert admissions == {Admission.ACCEPTED, Admission.UNKNOWN}
    prolonged = {lease.partition for lease in leases if renewals[lease.key].lease.expires > lease.expires}  # type: ignore[union-attr] # none is lost
    assert 0 not in prolonged
    assert prolonged


async def test_what_one_full_node_refuses_is_full_and_not_unknown(nodes: Store) -> None:
    async with opened(nodes.url) as redis_client:
        stream = a_stream(redis_client)
        full = owner_of(nodes, slot_of(KEYS.lease(0)))
        full.ask("CONFIG", "SET", "maxmemory", 1)
        receipts = await stream.append([a_submission(a_message(f"u{i}")) for i in range(60)])
        full.ask("CONFIG", "SET", "maxmemory", 0)
        stored = sum((await stream.depth()).entries)
    admissions = [receipt.admission for receipt in receipts]
    assert set(admissions) == {Admission.ACCEPTED, Admission.FULL}
    assert admissions.count(Admission.ACCEPTED) == stored


async def test_a_node_that_does_not_answer_delays_only_commands_of_its_own_keys(nodes: Store) -> None:
    """What concerns the others is done while the first command of the silent node still waits, and after it failed."""
    async with opened(nodes.url, time_limit=3.0) as redis_client, asyncio.TaskGroup() as tasks:
        names = [f"key {i}" for i in range(60)]
        await redis_client.call(*(("SET", name, 1) for name in names))
        victim = owner_of(nodes, slot_of(names[0]))
        healthy = [name for name in names if owner_of(nodes, slot_of(name)) is not victim]
        victim.freeze()
        try:
            for attempt in range(3):
                waiting = tasks.create_task(redis_client.call(("GET", names[0])))
                mixed = tasks.create_task(redis_client.call(*(("GET", name) for name in names)))
                for name in healthy:
                    assert await redis_client.ask("GET", name) == b"1"
                assert not attempt or await redis_client.ask("PING") == b"PONG"  # any node but the one that failed
                assert not waiting.done()
                [reply] = await waiting
                assert isinstance(reply, QueueError)
                replies = dict(zip(names, await mixed, strict=True))
                assert [replies[name] for name in healthy] == [b"1"] * len(healthy)
        finally:
            victim.thaw()
    async with opened(nodes.url) as redis_client:
        assert await redis_client.ask("GET", names[0]) == b"1"


async def test_an_append_waits_for_no_node_but_its_own(nodes: Store) -> None:
    """The lengths of all partitions are read beside it, one of them from a node that does not answer."""
    async with opened(nodes.url, time_limit=3.0) as redis_client, asyncio.TaskGroup() as tasks:
        stream = a_stream(redis_client)
        batch = [a_submission(a_message(f"u{i}")) for i in range(60)]
        partitions = [partition_of(lane_of("chat", submission.entry.item), P) for submission in batch]
        await stream.append(batch)
        victim = owner_of(nodes, slot_of(KEYS.size(0)))
        theirs = {p for p in range(P) if owner_of(nodes, slot_of(KEYS.size(p))) is victim}
        victim.freeze()
        try:
            refreshing = tasks.create_task(stream.run())
            waiting = tasks.create_task(stream.append([batch[partitions.index(0)]]))
            for submission, partition in zip(batch, partitions, strict=True):
                if partition not in theirs:
                    [receipt] = await stream.append([submission])
                    assert receipt.admission is Admission.ACCEPTED
            assert not waiting.done()
            assert [receipt.admission for receipt in await waiting] == [Admission.UNKNOWN]
        finally:
            victim.thaw()
        refreshing.cancel()


async def test_a_key_of_a_request_waits_for_no_node_that_is_silent(nodes: Store) -> None:
    """Whichever of its places is silent, the other two decide, also about another body, and remember it for later."""
    async with opened(nodes.url, time_limit=3.0) as redis_client, asyncio.TaskGroup() as tasks:
        stream = a_stream(redis_client)
        names = [f"k{n}" for n in range(20)]
        assert all([await stream.claim_key("chat", name, b"one body") for name in names[:10]])
        victim = owner_of(nodes, slot_of(KEYS.seen(0)))
        victim.freeze()
        try:
            waiting = tasks.create_task(redis_client.call(("GET", KEYS.seen(0))))
            assert all([await stream.claim_key("chat", name, b"one body") for name in names])
            assert not any([await stream.claim_key("chat", name, b"another.") for name in names])
            assert not waiting.done()
            waiting.cancel()
        finally:
            victim.thaw()
        assert not any([await stream.claim_key("chat", name, b"another.") for name in names])
        assert all([await stream.claim_key("chat", name, b"one body") for name in names])


async def test_only_keys_of_a_node_that_was_restarted_may_have_lost_something(nodes: Store) -> None:
    async with opened(nodes.url) as redis_client:
        names = [f"key {i}" for i in range(60)]
        await redis_client.call(*(("SET", name, 1) for name in names))
        victim = owner_of(nodes, slot_of(names[0]))
        theirs = {name for name in names if owner_of(nodes, slot_of(name)) is victim}
        before = {name: redis_client.generation(name) for name in names}
        assert len({redis_client.node_of(name) for name in names}) == 3
        victim.kill()
        victim.start()  # in this thread: a server ends with the thread that started it
        await asyncio.to_thread(eventually, lambda: victim.ask("GET", names[0]) == b"1", what="it serves its slots")
        await asyncio.sleep(0.05)  # its old connections are seen to be closed
        await redis_client.call(*(("GET", name) for name in names))
        assert {name for name in names if redis_client.generation(name) != before[name]} == theirs


async def test_a_replica_that_took_over_is_found(nodes: Store) -> None:
    async with opened(nodes.url, time_limit=2.0) as redis_client:
        await redis_client.ask("SET", "{a}", "1")
        old = owner_of(nodes, slot_of("{a}"))
        eventually(lambda: len(replicas_of(old)) == 1, what="its replica is in reach")
        heir = next(server for server in nodes.servers if server.port in replicas_of(old))
        heir.ask("CLUSTER", "FAILOVER")
        eventually(heir.is_primary, what="the replica takes over")
        assert await redis_client.ask("INCR", "{a}") == 2


async def test_a_cluster_and_a_url_that_do_not_agree_are_told(nodes: Store, redis_url: str) -> None:
    node = nodes.url.partition("?")[0].partition(",")[0]
    async with opened(node) as redis_client:
        with pytest.raises(ConfigurationError, match="add \\?cluster=true"):
            await prepare(redis_client, P)


async def test_a_url_that_says_cluster_of_a_server_that_is_none_is_told() -> None:
    server = RedisProcess(MAKES["valkey"], "--port", PORT).start()
    try:
        async with opened(f"redis://127.0.0.1:{server.port}?cluster=true") as redis_client:
            with pytest.raises(ConfigurationError, match="not a Redis Cluster"):
                await prepare(redis_client, P)
    finally:
        server.stop()


async def test_no_node_at_all_is_not_written() -> None:
    redis_client = cast("ClusterClient", open_redis("redis://127.0.0.1:1,127.0.0.1:2?cluster=true", SystemClock()))
    with pytest.raises(QueueError, match="can say who serves what") as caught:
        await redis_client.ask("SET", "a", "b")
    assert not isinstance(caught.value, QueueSilentError)
    with pytest.raises(QueueError):
        reply_or_raise(caught.value)
    await redis_client.aclose()
