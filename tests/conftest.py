"""Fixtures shared by all tests: real Redis-compatible servers, each empty when a test gets it."""

import gc
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import cast

import pytest
import structlog
from hypothesis import settings

from fanout.clock import SystemClock
from fanout.redis.client import RedisClient
from fanout.redis.open import open_redis
from service.dev.private_redis import find_server
from tests import log_lines
from tests.examples import IS_QUICK, examples
from tests.redis_kinds import KINDS, Store, borrowed, single

# These try the loggers themselves, with events made up for it.
LOGGERS_OF_THEIR_OWN = {"tests.fanout.test_log"}

# Rooms whose files take long and hold few tests. They begin first, so that nobody works alone on the last of them.
LONG = ("simulation", "faults", "flow", "redis", "soak", "clients", "hostile")

# httpx imports this module several times a request. Where it is missing, it is searched for on the whole path each
# time, which takes as long as the request.
if find_spec("sniffio") is None:
    cast("dict[str, ModuleType | None]", sys.modules)["sniffio"] = None  # so that an import fails at once

gc.disable()  # until all is imported and collected: it would look through ever more that stays

settings.register_profile("quick", max_examples=examples(100))  # the library's own default is 100
if IS_QUICK:
    settings.load_profile("quick")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files that take long first; `make unit` hands files out in this order."""
    items.sort(key=lambda item: item.path.parent.name not in LONG)


def pytest_collection_finish() -> None:
    """Leave what was imported and collected out of every later collection of garbage: it stays until the end."""
    gc.collect()
    gc.freeze()
    gc.enable()


def servers() -> dict[str, str]:
    """Every make of server this machine has and REDIS_KINDS leaves, by name; the first is the one `make run` uses."""
    found = {"valkey": find_server()}
    redis = shutil.which("redis-server")
    if redis:
        found["redis"] = redis
    return {make: binary for make, binary in found.items() if make in KINDS} or found


@pytest.fixture(autouse=True)
def _published_log_events(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fail a test in which something is logged that docs/log-events.schema.json does not publish."""
    if request.module.__name__ in LOGGERS_OF_THEIR_OWN:
        yield
        return
    monkeypatch.setattr(structlog, "get_logger", log_lines.CheckedLogger)
    log_lines.breaches.clear()
    yield
    assert not log_lines.breaches


@pytest.fixture
def short_directory() -> Iterator[Path]:
    """An empty directory whose path is short enough for unix sockets in it; tmp_path may not be."""
    with tempfile.TemporaryDirectory(prefix="t-", dir="/tmp", ignore_cleanup_errors=True) as directory:
        yield Path(directory)


@pytest.fixture(scope="session", params=sorted(servers(), reverse=True))
def every_server(request: pytest.FixtureRequest) -> str:
    """The binary of each kind of server in turn."""
    return servers()[request.param]


@pytest.fixture(scope="session", params=KINDS)
def kind(request: pytest.FixtureRequest) -> Iterator[Store]:
    """A store of each kind in turn, one at a time: single servers, TLS, Sentinel, Cluster."""
    with borrowed(request.param) as store:
        yield store


@pytest.fixture
def store(kind: Store) -> Store:
    """The same, empty."""
    kind.empty()
    return kind


@pytest.fixture(scope="session")
def usual_store() -> Iterator[Store]:
    """One server for all tests that take it as it is: it takes a tenth of a second to start."""
    store = single(find_server())
    yield store
    store.stop()


@pytest.fixture(scope="session")
def store_of_a_make(every_server: str) -> Iterator[Store]:
    """The same, one for each make of server."""
    store = single(every_server)
    yield store
    store.stop()


@pytest.fixture
def redis_url(usual_store: Store) -> str:
    """The URL of an empty server."""
    return _as_new(usual_store)


@pytest.fixture
def every_redis_url(store_of_a_make: Store) -> str:
    """The URL of an empty server, one test run for each kind of server."""
    return _as_new(store_of_a_make)


def _as_new(store: Store) -> str:
    for server in store.servers:  # a test may have left a connection open, which waits for something to come
        server.ask("CLIENT", "UNPAUSE")
        server.ask("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    store.empty()
    return store.url


@pytest.fixture
async def redis_client(every_redis_url: str) -> AsyncIterator[RedisClient]:
    """A client of an empty server of each kind."""
    redis_client = open_redis(every_redis_url, SystemClock())
    yield redis_client
    await redis_client.aclose()
