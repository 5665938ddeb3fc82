"""Opening and judging the store."""

import pytest

from fanout.clock import SystemClock
from fanout.errors import ConfigurationError
from fanout.queue.keys import KEYS, Keys
from fanout.queue.store import inspect, judge, judge_durability, prepare
from fanout.redis.client import RedisClient
from fanout.redis.durability import Durability
from fanout.redis.open import open_redis


async def test_the_number_of_partitions_is_fixed_at_the_first_start(redis_client: RedisClient) -> None:
    await prepare(redis_client, 16)
    await prepare(redis_client, 16)
    with pytest.raises(ConfigurationError, match="FANOUT_PARTITIONS=16"):
        await prepare(redis_client, 8)


async def test_looking_changes_nothing_and_finds_another_number_of_partitions(redis_client: RedisClient) -> None:
    assert [finding for finding in await inspect(redis_client, 16) if finding.fatal] == []
    assert await redis_client.ask("GET", KEYS.partitions) is None
    await prepare(redis_client, 16)
    [finding] = [finding for finding in await inspect(redis_client, 8) if finding.fatal]
    assert "FANOUT_PARTITIONS=16" in finding.text


async def test_quite_other_endpoints_are_refused_and_change_nothing(redis_client: RedisClient) -> None:
    await prepare(redis_client, 16, endpoints=["a.example"])
    with pytest.raises(ConfigurationError, match=r"delivered to a\.example.*configured for b\.example") as caught:
        await prepare(redis_client, 16, endpoints=["b.example", "c.example"])
    assert "FANOUT_NAMESPACE" in str(caught.value)
    assert KEYS.endpoints in str(caught.value)
    assert await redis_client.ask("SMEMBERS", KEYS.endpoints) == [b"a.example"]


async def test_an_application_of_the_same_service_is_another_endpoint(redis_client: RedisClient) -> None:
    await prepare(redis_client, 16, endpoints=["a.example/shop"])
    with pytest.raises(ConfigurationError):
        await prepare(redis_client, 16, endpoints=["a.example"])


async def test_an_endpoint_may_be_added_while_other_processes_know_one_less(redis_client: RedisClient) -> None:
    assert await prepare(redis_client, 16, endpoints=["a.example"]) == []
    assert await prepare(redis_client, 16, endpoints=["a.example", "b.example"]) == []
    assert sorted(await redis_client.ask("SMEMBERS", KEYS.endpoints)) == [b"a.example", b"b.example"]
    [finding] = await prepare(redis_client, 16, endpoints=["a.example"])
    assert "b.example" in finding.text
    assert not finding.fatal


async def test_services_in_namespaces_of_their_own_do_not_meet(redis_client: RedisClient) -> None:
    await prepare(redis_client, 16, endpoints=["a.example"])
    assert await prepare(redis_client, 8, keys=Keys("other"), endpoints=["b.example"]) == []


async def test_a_process_without_a_connection_string_joins_no_endpoint(redis_client: RedisClient) -> None:
    await prepare(redis_client, 16, endpoints=["a.example"])
    await prepare(redis_client, 16)
    assert await redis_client.ask("SMEMBERS", KEYS.endpoints) == [b"a.example"]


async def test_a_worker_can_start_while_the_store_is_full(redis_client: RedisClient) -> None:
    await prepare(redis_client, 16, endpoints=["a.example"])
    await redis_client.ask("CONFIG", "SET", "maxmemory", "1")
    try:
        await prepare(redis_client, 16, endpoints=["a.example"])
    finally:
        await redis_client.ask("CONFIG", "SET", "maxmemory", "0")


async def test_eviction_is_told_by_a_server_that_hides_its_configuration(redis_client: RedisClient) -> None:
    user = await redis_client.ask("ACL", "WHOAMI")
    await redis_client.ask_primaries("CONFIG", "SET", "maxmemory", 1 << 30)
    await redis_client.ask_primaries("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    await redis_client.ask_primaries("ACL", "SETUSER", user, "-config")
    try:
        [finding] = await inspect(redis_client, 16)
    finally:
        await redis_client.ask_primaries("ACL", "SETUSER", user, "+config")
        await redis_client.ask_primaries("CONFIG", "SET", "maxmemory-policy", "noeviction")
        await redis_client.ask_primaries("CONFIG", "SET", "maxmemory", "0")
    assert "allkeys-lru" in finding.text


async def test_a_private_server_has_nothing_to_complain_about(redis_client: RedisClient) -> None:
    assert await prepare(redis_client, 16) == []


def test_a_server_that_may_forget_or_evict_is_told() -> None:
    info = {"redis_version": "7.2.4", "aof_enabled": "0", "maxmemory": "9", "maxmemory_policy": "allkeys-lru"}
    texts = [f.text for f in judge(info)]
    assert len(texts) == 2
    assert "allkeys-lru" in texts[0]
    assert "appendonly" in texts[1]


def test_an_old_server_stops_the_start() -> None:
    [finding] = judge({"redis_version": "6.2.14", "aof_enabled": "1"})
    assert finding.fatal


def test_what_a_setting_asks_of_the_store_is_looked_for_in_it() -> None:
    disk, copies = Durability(0, aof=True, timeout=1.0), Durability(2, aof=False, timeout=1.0)
    info = {"aof_enabled": "1", "connected_slaves": "1"}
    assert judge_durability(info, disk, waitaof=True) == []
    [old] = judge_durability(info, disk, waitaof=False)
    assert old.fatal
    assert "WAITAOF" in old.text
    [off] = judge_durability(info | {"aof_enabled": "0"}, disk, waitaof=True)
    assert off.fatal
    assert "appendonly" in off.text
    [few] = judge_durability(info, copies, waitaof=True)
    assert not few.fatal
    assert "2 replicas and 1" in few.text


@pytest.mark.parametrize("url", ["http://x", "localhost:6379", "redis://h:notaport/0"])
def test_a_url_that_cannot_be_used_is_refused_by_name(url: str) -> None:
    with pytest.raises(ConfigurationError, match="FANOUT_REDIS_URL"):
        open_redis(url, SystemClock())


def test_a_refused_url_does_not_show_its_password() -> None:
    with pytest.raises(ConfigurationError) as caught:
        open_redis("http://user:hunter2@host/0", SystemClock())
    assert "hunter2" not in str(caught.value)
