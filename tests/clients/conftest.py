"""The whole product as a subprocess, started as `make run` starts it, and the programs that clients need.

Rule guarded: a client test that cannot run is skipped with the reason. Where TEST_REQUIRE names its kind (`node`,
`browser`) it fails instead, so that a check that is meant to run cannot be skipped unnoticed.
"""

import asyncio
import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import quote

import httpx
import pytest

from emulator.config import WELL_KNOWN_KEY
from fanout.signalr.credentials import rest_token
from tests.clients.scenario import Listener, join

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
READY_WITHIN = 30.0
STOPS_WITHIN = 40.0
ANSWERS_WITHIN = 40.0  # seconds; a page takes 10 to be drawn beside two busy cores, and has taken more than 20
_REQUIRED = "TEST_REQUIRE"


@dataclass(frozen=True, slots=True)
class Stack:
    """A running product. `page_port` is the port of an origin that its negotiate allows."""

    ingress_url: str
    emulator_url: str
    page_port: int
    http: httpx.Client

    def post(self, hub: str, items: Any) -> list[dict[str, Any]]:
        """Queue `items` and return the result of each. All must be accepted."""
        answer = self.http.post(f"{self.ingress_url}/v1/hubs/{hub}/messages", json=items)
        assert answer.status_code == 202, answer.text
        results: list[dict[str, Any]] = answer.json()["results"]
        assert {result["status"] for result in results} == {"accepted"}
        return results

    def negotiate_base(self, listener: Listener) -> str:
        """Return the URL that a client is given."""
        return f"{self.ingress_url}/{listener.hub}?userId={quote(listener.user)}"

    async def joined(self, listener: Listener) -> str:
        """Add the listener to its group and return the id of its one connection, when the service lists it.

        The members are read as a backend would: GET .../groups/{group}/connections of the data-plane REST API.
        """
        self.post(listener.hub, join(listener))
        url = f"{self.emulator_url}/api/hubs/{listener.hub}/groups/{quote(listener.group, safe='')}/connections"
        token = rest_token(WELL_KNOWN_KEY, url, int(time.time()) + 300)
        async with asyncio.timeout(ANSWERS_WITHIN):
            while True:
                answer = self.http.get(
                    url, params={"api-version": "2024-12-01"}, headers={"Authorization": f"Bearer {token}"}
                )
                assert answer.status_code == 200, answer.text
                members = answer.json()["value"]
                if members:
                    assert len(members) == 1
                    return str(members[0]["connectionId"])
                await asyncio.sleep(0.02)

    async def until_dead(self, message_id: str) -> None:
        """Return when the message is a dead letter."""
        url = f"{self.ingress_url}/v1/admin/dead-letters"
        async with asyncio.timeout(ANSWERS_WITHIN):
            while True:
                answer = self.http.get(url, params={"messageId": message_id})
                assert answer.status_code == 200, answer.text
                if answer.json()["items"]:
                    return
                await asyncio.sleep(0.05)


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Run the product without an API key, for pages of one other origin."""
    (page_port,) = free_ports(1)
    origin = f"http://127.0.0.1:{page_port}"
    with (
        running_product(tmp_path_factory.mktemp("stack"), FANOUT_CORS_ORIGINS=origin) as (ingress_url, emulator_url),
        httpx.Client(trust_env=False) as client,
    ):
        yield Stack(ingress_url, emulator_url, page_port, client)


@contextmanager
def running_product(folder: Path, **environment: str) -> Iterator[tuple[str, str]]:
    """Run `fanout dev` and give the URLs of ingress and emulator when it is ready. At the end Ctrl-C must stop it."""
    port, emulator_port = free_ports(2)
    log = folder / "output.txt"
    command = [sys.executable, "-m", "service.cli", "dev", "--port", str(port), "--emulator-port", str(emulator_port)]
    with log.open("wb") as output, httpx.Client(trust_env=False) as client:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=_environment() | environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
        try:
            ingress_url = f"http://127.0.0.1:{port}"
            _wait_until_ready(process, client, ingress_url, log)
            yield ingress_url, f"http://127.0.0.1:{emulator_port}"
            process.send_signal(signal.SIGINT)
            assert process.wait(STOPS_WITHIN) == 0, log.read_text()
        finally:
            process.kill()
            process.wait()


def free_ports(count: int) -> list[int]:
    """Return ports that are not in use."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def _environment() -> dict[str, str]:
    """Return the environment without settings of the product."""
    own = {
        name: value
        for name, value in os.environ.items()
        if not name.upper().startswith("FANOUT_") and name.lower() != "azuresignalrconnectionstring"
    }
    return own | {"PYTHONUNBUFFERED": "1"}


def _wait_until_ready(process: "subprocess.Popen[bytes]", client: httpx.Client, url: str, log: Path) -> None:
    deadline = time.monotonic() + READY_WITHIN
    while time.monotonic() < deadline:
        if process.poll() is not None:
            pytest.fail(f"The product ended with {process.returncode} while starting:\n{log.read_text()}")
        try:
            if client.get(f"{url}/readyz").status_code == 200:
                return
        except httpx.TransportError:
            pass  # it does not listen yet
        time.sleep(0.05)
    pytest.fail(f"The product was not ready within {READY_WITHIN:g} s:\n{log.read_text()}")


_numbers = itertools.count(1)


@pytest.fixture
def listener() -> Listener:
    """Return a listener on a hub of its own, which no other test's broadcast reaches."""
    return Listener(hub=f"clients{next(_numbers)}")


class Script:
    """A node script of this folder. It prints one JSON object per line and ends when its stdin is closed."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def next(self, event: str) -> dict[str, Any]:
        """Return the next line, which must be of the kind `event`."""
        assert self._process.stdout is not None
        async with asyncio.timeout(ANSWERS_WITHIN):
            line = await self._process.stdout.readline()
        assert line, f"ended before {event!r}: {await self.complaints()}"
        document: dict[str, Any] = json.loads(line)
        assert document["event"] == event, document
        return document

    async def complaints(self) -> str:
        """Return what the script wrote to stderr, when it has ended."""
        assert self._process.stderr is not None
        async with asyncio.timeout(ANSWERS_WITHIN):
            return (await self._process.stderr.read()).decode()


RunScript = Callable[..., AbstractAsyncContextManager[Script]]


@pytest.fixture
def run_script(request: pytest.FixtureRequest) -> RunScript:
    """Return a function that starts a script. At its end the script must exit with 0 and an empty stderr."""
    needs = "browser" if request.node.get_closest_marker("browser") else "node"
    node = shutil.which("node")
    if node is None:
        _missing(needs, "node is not on PATH")
    if not (HERE / "node_modules").is_dir():
        _missing(needs, "tests/clients/node_modules is missing; run `npm ci` in tests/clients")

    @asynccontextmanager
    async def run(name: str, *arguments: str) -> AsyncIterator[Script]:
        process = await asyncio.create_subprocess_exec(
            node, str(HERE / name), *arguments, limit=16 * 1024 * 1024,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        script = Script(process)
        try:
            yield script
            assert process.stdin is not None
            process.stdin.close()
            complaints = await script.complaints()
            assert (await process.wait(), complaints) == (0, "")
        finally:
            if process.returncode is None:
                process.kill()
                await process.communicate()

    return run


@pytest.fixture
def chromium() -> str:
    """Return the path of the browser."""
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        _missing("browser", "Chromium is not on PATH; install the package chromium")
    return path


def _missing(needs: str, reason: str) -> NoReturn:
    required = os.environ.get(_REQUIRED, "").replace(" ", "").split(",")
    if needs in required:
        pytest.fail(f"{reason}, and {_REQUIRED} requires {needs}")
    pytest.skip(reason)
