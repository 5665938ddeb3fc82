"""The whole way of a message, from the POST to the service, on every kind of store: nothing lost, all in order."""

import pytest

from fanout.errors import ConfigurationError
from tests.flow.traffic import batches, mixed
from tests.redis.product import HUB, running_product
from tests.redis_kinds import Store


async def test_what_is_accepted_arrives_once_unchanged_and_in_order(store: Store) -> None:
    items = mixed(HUB, 500, seed=7)
    async with running_product(store) as product:
        await product.send(items)
        await product.delivered(len(items))
    product.examine(items).check()
    assert product.refused == 0


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
