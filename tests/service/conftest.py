"""The tests of the routes need one server; kinds of servers are told apart in the tests of the queue."""

from collections.abc import AsyncIterator, Iterator

import pytest

from fanout.clock import SystemClock
from fanout.redis.client import RedisClient
from fanout.redis.open import open_redis
from tests.redis_kinds import MAKES, Store, single


@pytest.fixture(scope="session")
def one_store() -> Iterator[Store]:
    """One server for all tests of this directory and below."""
    store = single(MAKES["valkey"])
    yield store
    store.stop()


@pytest.fixture
async def one_redis(one_store: Store) -> AsyncIterator[RedisClient]:
    """A client of it, empty."""
    one_store.empty()
    redis_client = open_redis(one_store.url, SystemClock())
    yield redis_client
    await redis_client.aclose()
