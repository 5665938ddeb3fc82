"""The real service with an API key, a gateway in front of it, and both kinds of client.

Rule guarded: what a client test knows of deliveries comes from the emulator's journal.
"""

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import httpx
import pytest
from signalr_fanout import AsyncClient, Client, SendResult

from tests.client.gateway import Gateway, running_gateway
from tests.clients.conftest import running_product

KEY = "a key for the client's tests"
_DELIVERED_WITHIN = 20.0
_numbers = itertools.count(1)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Service:
    """A running service with its emulator."""

    url: str
    emulator_url: str
    http: httpx.Client

    def calls(self, hub: str, count: int) -> list[dict[str, Any]]:
        """Return the calls to one hub, once there are `count`."""
        deadline = time.monotonic() + _DELIVERED_WITHIN
        while True:
            entries = self.http.get(f"{self.emulator_url}/emulator/journal?limit=100000").json()["entries"]
            found = [entry for entry in entries if entry["hub"] == hub.lower() and entry["status"] is not None]
            if len(found) >= count:
                return found
            assert time.monotonic() < deadline, found
            time.sleep(0.02)


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Run the service with an API key."""
    with (
        running_product(tmp_path_factory.mktemp("service"), FANOUT_API_KEY=KEY) as (url, emulator_url),
        httpx.Client(trust_env=False) as http,
    ):
        yield Service(url, emulator_url, http)


@pytest.fixture
def hub() -> str:
    """Return a hub of the test's own."""
    return f"client{next(_numbers)}"


@pytest.fixture
def gateway(service: Service) -> Iterator[Gateway]:
    """Run a gateway in front of the service."""
    with running_gateway(service.url) as running:
        yield running


class Blocking:
    """An AsyncClient with the methods of a Client, so that one test is for both."""

    def __init__(self, url: str, **options: Any) -> None:
        client = AsyncClient(url, **options)
        self._runner = asyncio.Runner()
        self._client = client

    def send(self, *args: Any, **options: Any) -> SendResult:
        return self._run(lambda: self._client.send(*args, **options))

    def negotiate(self, *args: Any, **options: Any) -> Any:
        return self._run(lambda: self._client.negotiate(*args, **options))

    def close(self) -> None:
        self._run(self._client.close)
        self._runner.close()

    def __repr__(self) -> str:
        return repr(self._client)

    def _run(self, call: Callable[[], Awaitable[T]]) -> T:
        async def awaited() -> T:
            return await call()

        return self._runner.run(awaited())


Connect = Callable[..., Any]


@pytest.fixture(params=["Client", "AsyncClient"])
def connect(request: pytest.FixtureRequest) -> Iterator[Connect]:
    """Return a function that makes a client of either kind, with the API key unless another is given."""
    opened: list[Any] = []

    def make(url: str, **options: Any) -> Any:
        kind = Client if request.param == "Client" else Blocking
        client = kind(url, **{"api_key": KEY} | options)
        opened.append(client)
        return client

    yield make
    for client in opened:
        client.close()
