"""The real service with an API key, a gateway in front of it, and both kinds of client.

Rule guarded: what a client test knows of deliveries comes from the emulator's journal.
"""

import asyncio
import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest
from signalr_fanout import AsyncClient, Client, SendResult

from tests.client.gateway import Gateway, running_gateway
from tests.clients.conftest import free_ports

ROOT = Path(__file__).parents[2]
KEY = "a key for the client's tests"
_READY_WITHIN = 30.0
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
    """Start the service, and at the end stop it cleanly."""
    port, emulator_port = free_ports(2)
    log = tmp_path_factory.mktemp("service") / "output.txt"
    command = [sys.executable, "-m", "service.cli", "dev", "--port", str(port), "--emulator-port", str(emulator_port)]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("FANOUT_")}
    with log.open("wb") as output, httpx.Client(trust_env=False) as http:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=kept | {"FANOUT_API_KEY": KEY},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
        try:
            url = f"http://127.0.0.1:{port}"
            _wait_until_ready(process, http, url, log)
            yield Service(url, f"http://127.0.0.1:{emulator_port}", http)
            process.send_signal(signal.SIGINT)
            assert process.wait(40) == 0, log.read_text()
        finally:
            process.kill()
            process.wait()


def _wait_until_ready(process: "subprocess.Popen[bytes]", http: httpx.Client, url: str, log: Path) -> None:
    deadline = time.monotonic() + _READY_WITHIN
    while True:
        assert process.poll() is None, log.read_text()
        try:
            if http.get(f"{url}/readyz").status_code == 200:
                return
        except httpx.TransportError:
            pass  # it does not listen yet
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)


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
