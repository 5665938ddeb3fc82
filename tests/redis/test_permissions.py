"""An account with the documented commands and no others can do everything; one that lacks some is refused at start."""

import pytest

from fanout.clock import SystemClock
from fanout.errors import ConfigurationError
from fanout.queue.keys import KEYS
from fanout.queue.permissions import commands
from fanout.queue.store import prepare
from fanout.redis.open import open_redis
from tests.flow.traffic import mixed
from tests.redis.product import HUB, running_product
from tests.redis_kinds import Store


def as_account(store: Store, allowed: list[str]) -> str:
    """Make an account that may use these commands on the keys of the namespace; return its URL."""
    for server in store.servers:
        rules = [f"+{name.lower()}" for name in allowed]
        server.ask("ACL", "SETUSER", "small", "reset", "on", ">pw", f"~{KEYS.namespace}:*", *rules)
    scheme, _separator, rest = store.url.partition("://")
    return f"{scheme}://small:pw@{rest.rpartition('@')[2]}"


async def test_an_account_with_the_documented_commands_is_enough(store: Store) -> None:
    items = mixed(HUB, 300, seed=11)
    url = as_account(store, commands(cluster="cluster=true" in store.url))
    async with running_product(store, redis_url=url, trace_keep=60) as product:
        await product.send(items)
        await product.delivered(len(items))
    product.examine(items).check()


async def test_what_is_missing_is_named_at_start(store: Store) -> None:
    needed = commands(cluster="cluster=true" in store.url)
    url = as_account(store, [name for name in needed if name not in {"PEXPIRE", "PTTL", "XINFO|STREAM"}])
    redis_client = open_redis(url, SystemClock())
    with pytest.raises(ConfigurationError, match=r"may not use PEXPIRE, PTTL, XINFO\|STREAM"):
        await prepare(redis_client, 4)
    await redis_client.aclose()


async def test_keys_outside_the_account_are_named_at_start(store: Store) -> None:
    url = as_account(store, commands(cluster="cluster=true" in store.url))
    redis_client = open_redis(url, SystemClock())
    with pytest.raises(ConfigurationError, match="begin with other"):
        await prepare(redis_client, 4, keys=type(KEYS)("other"))
    await redis_client.aclose()
