"""The queue's own tests run on every kind of store."""

from collections.abc import AsyncIterator

import pytest

from fanout.redis.client import RedisClient
from tests.redis_kinds import Store, opened


@pytest.fixture
async def redis_client(store: Store) -> AsyncIterator[RedisClient]:
    """A client of an empty store of each kind."""
    async with opened(store.url) as redis_client:
        yield redis_client
