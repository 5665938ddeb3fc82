"""The whole way of a message, from the POST to the service, on every kind of store: nothing lost, all in order."""

import re

import pytest

from fanout.errors import ConfigurationError
from tests.flow.traffic import batches, mixed
from tests.redis.product import HUB, running_product
from tests.redis_kinds import Store, opened


async def test_what_is_accepted_arrives_once_unchanged_and_in_order(store: Store) -> None:
    items = mixed(HUB, 500, seed=7)
    async with running_product(store) as product:
        await product.send(items)
        await product.delivered(len(items))
    product.examine(items).check()
    assert product.refused == 0


async def test_every_key_begins_with_the_namespace_and_two_services_share_one_redis(store: Store) -> None:
    """All that a busy process writes, ids, traces, leases and pace included, stays in its own namespace."""
    items, settings = mixed(HUB, 100, seed=9), {"trace_keep": 60}
    async with opened(store.url) as redis_client:
        async with (
            running_product(store, namespace="one:shop", **settings) as one,
            running_product(store, namespace="two", partitions=3, **settings) as two,
        ):
            await one.send(items)
            await two.send(items)
            await one.delivered(len(items))
            await two.delivered(len(items))
            replies = await redis_client.ask_primaries("KEYS", "*")
        replies += await redis_client.ask_primaries("KEYS", "*")  # the last traces are stored at the end
    names = [name for reply in replies for name in reply]
    one.examine(items).check()
    two.examine(items).check()
    strangers = [name for name in names if not name.startswith((b"one:shop:", b"two:"))]
    assert strangers == []
    kinds = {re.sub(rb"[0-9a-f]{32}", b"#", re.sub(rb"\{\d+\}", b"{p}", name)) for name in names}
    for own in (b"one:shop:", b"two:"):
        expected = (b"partitions", b"endpoints", b"workers", b"demand", b"{p}:lease", b"{p}:fence", b"trace:#")
        assert {own + name for name in expected} <= kinds


async def test_a_process_for_another_service_refuses_to_start(store: Store) -> None:
    async with running_product(store):
        pass
    with pytest.raises(ExceptionGroup) as caught:
        async with running_product(store, connection_string=f"Endpoint=http://other.example;AccessKey={'k' * 44};"):
            pass
    assert caught.group_contains(ConfigurationError, match="FANOUT_NAMESPACE")


async def test_what_is_stored_and_not_confirmed_is_answered_503_item_by_item(store: Store) -> None:
    items = mixed(HUB, 10, seed=8)
    short = {"durability": "replicas", "durability_replicas": 9, "durability_timeout": 0.05}
    async with running_product(store, **short) as product:
        [body] = batches(items, 10)
        answer = await product.post(body, "k")
        await product.delivered(len(items))
    assert answer.status_code == 503
    assert answer.headers["retry-after"]
    assert {result["status"] for result in answer.json()["results"]} == {"failed"}
    product.examine(items).check()


async def test_a_durability_that_means_nothing_refuses_the_start(store: Store) -> None:
    with pytest.raises(ExceptionGroup) as caught:
        async with running_product(store, durability="replicas", durability_replicas=0):
            pass
    assert caught.group_contains(ConfigurationError, match="FANOUT_DURABILITY_REPLICAS")
