"""The tests of the routes need one server; kinds of servers are told apart in the tests of the queue."""

from collections.abc import AsyncIterator, Iterator

import pytest

from fanout.clock import SystemClock
from fanout.queue.store import open_wire
from fanout.redis.client import Wire
from tests.redis_kinds import MAKES, Store, single


@pytest.fixture(scope="session")
def one_store() -> Iterator[Store]:
    """One server for all tests of this directory and below."""
    store = single(MAKES["valkey"])
    yield store
    store.stop()


@pytest.fixture
async def one_wire(one_store: Store) -> AsyncIterator[Wire]:
    """A wire to it, empty."""
    one_store.empty()
    wire = open_wire(one_store.url, SystemClock())
    yield wire
    await wire.aclose()
