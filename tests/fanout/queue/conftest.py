"""The queue's own tests run on every kind of store."""

from collections.abc import AsyncIterator

import pytest

from fanout.redis.client import Wire
from tests.redis_kinds import Store, opened


@pytest.fixture
async def wire(store: Store) -> AsyncIterator[Wire]:
    """A wire to an empty store of each kind."""
    async with opened(store.url) as wire:
        yield wire
