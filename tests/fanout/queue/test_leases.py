"""Leases on every kind of server this machine has."""

import asyncio

from fanout.clock import SystemClock
from fanout.queue.keys import KEYS
from fanout.queue.leases import Lease, Leases
from fanout.queue.sharing import LiveWorkers, share_of
from fanout.redis.client import RedisClient
from tests.queue_layout import USERS, put


def leases_of(redis_client: RedisClient, worker: str, lifetime: float = 60.0) -> Leases:
    return Leases(redis_client, SystemClock(), worker=worker, lifetime=lifetime)


async def test_a_partition_has_one_owner(redis_client: RedisClient) -> None:
    [held] = await leases_of(redis_client, "a").acquire([3])
    assert held.token == "a:1"
    assert await leases_of(redis_client, "b").acquire([3]) == []
    assert await leases_of(redis_client, "b").owners(4) == {3: "a:1"}


async def test_a_released_partition_is_free_and_its_next_token_is_greater(redis_client: RedisClient) -> None:
    a, b = leases_of(redis_client, "a"), leases_of(redis_client, "b")
    [held] = await a.acquire([0])
    await a.release(held)
    [next_] = await b.acquire([0])
    assert next_.token == "b:2"
    await a.release(held)  # the old holder's release touches nothing
    assert await b.owners(1) == {0: "b:2"}


async def test_a_dead_workers_lease_runs_out(redis_client: RedisClient) -> None:
    await leases_of(redis_client, "a", lifetime=0.05).acquire([0])
    b = leases_of(redis_client, "b")
    deadline = asyncio.get_running_loop().time() + 5
    while not await b.acquire([0]):
        assert asyncio.get_running_loop().time() < deadline


async def test_renewing_tells_the_lost_ones_and_the_oldest_entry(redis_client: RedisClient) -> None:
    a = leases_of(redis_client, "a")
    kept, lost = sorted(await a.acquire([0, 1]), key=lambda lease: lease.partition)
    await redis_client.ask("DEL", KEYS.lease(1))
    await put(redis_client, 0, "e", "x", stream_id="5-1")
    renewals = await a.renew([kept, lost], {0: [USERS, "gchat"], 1: [USERS]})
    assert renewals[1] is None
    renewed = renewals[0]
    assert renewed is not None
    assert renewed.oldest == {USERS: b"5-1", "gchat": b""}
    assert renewed.lease.expires >= kept.expires


async def test_a_lease_counts_from_before_it_was_asked_for() -> None:
    lease = Lease(0, "a:1", expires=10.0)
    assert lease.expires == 10.0


async def test_workers_with_a_heartbeat_see_each_other_until_they_leave(redis_client: RedisClient) -> None:
    a, b = leases_of(redis_client, "a"), leases_of(redis_client, "b")
    await a.heartbeat()
    assert (await b.heartbeat()).workers == ("a", "b")
    await a.deregister()
    assert (await b.heartbeat()).workers == ("b",)


async def test_leases_can_be_taken_when_the_store_is_full(redis_client: RedisClient) -> None:
    await redis_client.ask_primaries("CONFIG", "SET", "maxmemory", "1")
    a = leases_of(redis_client, "a")
    await a.heartbeat()
    [lease] = await a.acquire([0])
    assert (await a.renew([lease]))[0] is not None


def test_shares_of_all_workers_add_up() -> None:
    for count in range(1, 20):
        live_workers = LiveWorkers(tuple(f"w{i:02}" for i in range(count)), 0.0)
        shares = [share_of(worker, live_workers, 16) for worker in live_workers.workers]
        assert sum(shares) == 16
        assert max(shares) - min(shares) <= 1
