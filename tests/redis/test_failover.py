"""A primary dies, or a slot moves, while messages flow: it heals by itself, and what WAIT confirmed is not lost.

What may happen again is what was delivered and not yet known to be settled at the new primary; its first occurrence
keeps its place.
"""

import asyncio
from collections.abc import Iterator

import pytest

from fanout.queue.keys import KEYS
from fanout.redis.slots import slot_of
from tests.flow.traffic import batches, message, mixed, partition_of_user
from tests.redis.product import HUB, PARTITIONS, running_product
from tests.redis_kinds import KINDS, PASSWORD, Store, name_of, node_id, ready_to_fail_over
from tests.redis_servers import RedisProcess, eventually

_LEASE = {"lease_seconds": 3.0}  # runs out while a server is away
WAIT_1 = {"durability": "replicas", "durability_replicas": 1, "durability_timeout": 1.0}
_MOST_AGAIN = 200  # a WAIT confirms what was accepted, not what was settled; in flight are 128 at most


@pytest.fixture
def watched() -> Iterator[Store]:
    """A store that Sentinels are ready to fail over."""
    store = KINDS[name_of("sentinel")]()
    try:
        ready_to_fail_over(store)
        yield store
    finally:
        store.stop()


@pytest.fixture(scope="module")
def whole_cluster() -> Iterator[Store]:
    """A cluster for the tests of this file, in this order: the last one takes it apart."""
    store = KINDS[name_of("cluster")]()
    try:
        yield store
    finally:
        store.stop()


@pytest.fixture
def clustered(whole_cluster: Store) -> Store:
    """The same, empty."""
    whole_cluster.empty()
    return whole_cluster


async def test_a_killed_master_is_replaced_and_nothing_accepted_is_lost(watched: Store) -> None:
    items = mixed(HUB, 500, seed=11)
    async with running_product(watched, **WAIT_1, **_LEASE) as product, asyncio.TaskGroup() as tasks:
        sending = tasks.create_task(product.send(items, pause=0.02))
        await product.delivered(150)
        watched.servers[0].kill()
        await sending
        await product.delivered(len(items))
    assert product.refused  # it was noticed
    product.examine(items).check(most_duplicates=_MOST_AGAIN)


async def test_slots_that_move_between_nodes_are_followed(clustered: Store) -> None:
    items = mixed(HUB, 500, seed=13)
    async with running_product(clustered) as product, asyncio.TaskGroup() as tasks:
        sending = tasks.create_task(product.send(items, pause=0.02))
        await product.delivered(100)
        for partition in range(4):
            await asyncio.to_thread(_move, clustered, slot_of(KEYS.lease(partition)))
        await asyncio.to_thread(_move, clustered, slot_of(KEYS.workers))
        assert not sending.done()
        await sending
        await product.delivered(len(items))
    product.examine(items).check()


async def test_a_node_that_does_not_answer_delays_only_its_own_partitions(clustered: Store) -> None:
    """It is not replaced: its cluster still waits for it. What concerns the other nodes goes on meanwhile."""
    for server in clustered.servers:
        server.ask("CONFIG", "SET", "cluster-node-timeout", 60_000)
    victim, _heir = _owner_and_heir(clustered, 0)
    own = {p for p in range(PARTITIONS) if _owner_and_heir(clustered, p)[0] is victim}
    users = [f"user {number}" for number in range(400)]
    healthy = [user for user in users if partition_of_user(HUB, user, PARTITIONS) not in own][:60]
    first, rest = [message(HUB, 0, "users", users[0])], [message(HUB, n, "users", u) for n, u in enumerate(healthy, 1)]
    try:
        async with running_product(clustered, **_LEASE) as product:
            await product.send(first)
            await product.delivered(1)
            victim.freeze()
            try:
                for item in rest:  # one by one: each second of delay for each of them would be a minute
                    [body] = batches([item], 1)
                    assert (await product.post(body)).status_code == 202
                await product.delivered(1 + len(rest), within=15.0)
            finally:
                victim.thaw()
        product.examine(first + rest).check()
    finally:
        for server in clustered.servers:
            server.ask("CONFIG", "SET", "cluster-node-timeout", 1000)


async def test_a_killed_node_of_a_cluster_is_replaced_and_nothing_accepted_is_lost(clustered: Store) -> None:
    items = mixed(HUB, 500, seed=12)
    victim, heir = _owner_and_heir(clustered, 0)
    async with running_product(clustered, **WAIT_1, **_LEASE) as product, asyncio.TaskGroup() as tasks:
        sending = tasks.create_task(product.send(items, pause=0.02))
        await product.delivered(150)
        victim.kill()
        await asyncio.to_thread(eventually, heir.is_primary, what="the replica takes over")
        await asyncio.to_thread(victim.start)  # comes back as the replica that WAIT asks for
        await sending
        await product.delivered(len(items))
    assert product.refused
    product.examine(items).check(most_duplicates=_MOST_AGAIN)


def _owner_and_heir(store: Store, partition: int) -> tuple[RedisProcess, RedisProcess]:
    slot = slot_of(KEYS.lease(partition))
    [entry] = [entry for entry in store.servers[0].ask("CLUSTER", "SLOTS") if entry[0] <= slot <= entry[1]]
    servers = {server.port: server for server in store.servers}
    return servers[entry[2][1]], servers[entry[3][1]]


def _move(store: Store, slot: int) -> None:
    # As redis-cli --cluster reshard does it; the other primaries learn of it from the first.
    primaries = [server for server in store.servers if server.is_primary()]
    source = next(server for server in primaries if _owner_of(server, slot) == server.port)
    target = next(server for server in primaries if server is not source)
    target.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", node_id(source))
    source.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", node_id(target))
    while names := source.ask("CLUSTER", "GETKEYSINSLOT", slot, 10):
        source.ask("MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "AUTH", PASSWORD, "KEYS", *names)
    target.ask("CLUSTER", "SETSLOT", slot, "NODE", node_id(target))
    source.ask("CLUSTER", "SETSLOT", slot, "NODE", node_id(target))
    # A node that does not know it yet would send clients to the former owner, which a later test may hold still.
    eventually(lambda: all(_owner_of(server, slot) == target.port for server in store.servers), what="all nodes know")


def _owner_of(asked: RedisProcess, slot: int) -> int:
    """Return the port of the slot's owner as this node knows it."""
    [entry] = [entry for entry in asked.ask("CLUSTER", "SLOTS") if entry[0] <= slot <= entry[1]]
    return int(entry[2][1])
