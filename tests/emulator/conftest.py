"""Fixtures of the emulator's tests."""

from collections.abc import AsyncIterator

import pytest

from tests.emulator.running import Service, running
from tests.fakes import FakeClock


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    """A running emulator with the well-known key."""
    async with running() as started:
        yield started


@pytest.fixture
def clock() -> FakeClock:
    """A clock that stands still."""
    return FakeClock()


@pytest.fixture
async def timed(clock: FakeClock) -> AsyncIterator[Service]:
    """A running emulator whose clock the test controls."""
    async with running(clock=clock) as started:
        yield started
