"""Pools against servers, on both event loops; nginx and openssl only where they are installed."""

import asyncio
import shutil
import ssl
from collections.abc import AsyncIterator, Callable, Mapping

import pytest
import uvloop

from fanout.clock import SystemClock
from fanout.http1.exchange import Limits, Origin
from fanout.http1.pool import Pool
from tests.fanout.http1.scripted import PoolOf

collect_ignore = [f"test_against_{name}.py" for name in ("nginx", "openssl") if not shutil.which(name)]


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Every test that awaits runs on plain asyncio and on uvloop."""
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture
async def pool_of() -> AsyncIterator[PoolOf]:
    """Make pools that are closed at the end of the test."""
    pools: list[Pool] = []

    def make(origin: Origin, limits: Limits = Limits(), tls: ssl.SSLContext | None = None) -> Pool:  # noqa: B008 - frozen
        pools.append(Pool(origin, limits, SystemClock(), tls))
        return pools[-1]

    yield make
    for pool in pools:
        await pool.aclose()
