"""Leases on every kind of server this machine has."""

import asyncio

import pytest

from fanout.clock import SystemClock
from fanout.errors import LeaseLostError
from fanout.queue.keys import KEYS
from fanout.queue.leases import Lease, Leases
from fanout.queue.sharing import LiveWorkers, share_of
from fanout.queue.stream import Stream
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


async def test_a_partition_is_handed_over_but_for_some_lanes(redis_client: RedisClient) -> None:
    a, b = leases_of(redis_client, "a"), leases_of(redis_client, "b")
    [held] = await a.acquire([0])
    rest = await a.hand_over(held, ["x", "y"])
    assert rest is not None
    assert await b.owners(1) == {}
    [theirs] = await b.acquire([0])
    renewals = await a.renew([held, rest])
    assert renewals[held.key] is None
    assert renewals[rest.key] is not None
    await a.release(rest)
    assert (await a.renew([rest]))[rest.key] is None
    assert (await b.renew([theirs]))[theirs.key] is not None
    with pytest.raises(LeaseLostError):
        await a.hand_over(held, ["x"])


async def test_a_repeated_hand_over_counts_from_its_repetition(redis_client: RedisClient) -> None:
    """The first answer may have been lost, and the rest must not end before its holder believes it does."""
    a = leases_of(redis_client, "a")
    [held] = await a.acquire([0])
    rest = await a.hand_over(held, ["x"])
    assert rest is not None
    name = KEYS.rest(0, rest.token)
    await redis_client.ask("PEXPIRE", name, 5000)
    assert await a.hand_over(held, ["x"]) is not None
    assert await redis_client.ask("PTTL", name) > 50_000


async def test_releasing_a_lease_releases_what_an_unheard_hand_over_left_of_it(redis_client: RedisClient) -> None:
    a = leases_of(redis_client, "a")
    [held] = await a.acquire([0])
    assert await a.hand_over(held, ["x"]) is not None
    await a.release(held)  # it knows the lease only
    assert await redis_client.ask("EXISTS", KEYS.rest(0, "~" + held.token)) == 0


async def test_lanes_of_several_former_owners_come_free_one_by_one(redis_client: RedisClient) -> None:
    stream = Stream(redis_client, SystemClock(), partitions=1, max_bytes=0, dedup_window=60)
    rests = []
    for worker, lanes in (("a", ["x", "y"]), ("b", ["z"]), ("a", ["v"])):
        [held] = await leases_of(redis_client, worker).acquire([0])
        rests.append(await leases_of(redis_client, worker).hand_over(held, lanes))
    first, second, third = (rest for rest in rests if rest is not None)
    [_owner] = await leases_of(redis_client, "c").acquire([0])
    assert sorted(await stream.left(0)) == ["v", "x", "y", "z"]
    await leases_of(redis_client, "a").free(first, ["x", "z", "v"])  # of these it left "x" under this lease
    assert sorted(await stream.left(0)) == ["v", "y", "z"]
    await leases_of(redis_client, "b").release(second)
    assert sorted(await stream.left(0)) == ["v", "y"]
    await redis_client.ask("DEL", KEYS.rest(0, third.token))  # as if its holder had died
    assert await stream.left(0) == ["y"]


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
    assert renewals[lost.key] is None
    renewed = renewals[kept.key]
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
    assert (await a.renew([lease]))[lease.key] is not None


def test_shares_of_all_workers_add_up() -> None:
    for count in range(1, 20):
        live_workers = LiveWorkers(tuple(f"w{i:02}" for i in range(count)), 0.0)
        shares = [share_of(worker, live_workers, 16) for worker in live_workers.workers]
        assert sum(shares) == 16
        assert max(shares) - min(shares) <= 1
