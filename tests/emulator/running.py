"""A real emulator on a loopback port with its two kinds of callers: REST backends and WebSocket clients.

Rule guarded: tests sign every call by the public tokens module and the URL they call, as any caller would.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote

import httpx
from websockets.asyncio.client import ClientConnection, connect

from emulator.app import Emulator, create_emulator
from emulator.config import WELL_KNOWN_KEY, EmulatorConfig
from emulator.server import serve
from fanout.clock import Clock, SystemClock
from fanout.signalr.credentials import rest_token, sign
from tests.fakes import FakeClock

END = "\x1e"
HANDSHAKE = '{"protocol":"%s","version":1}' + END
JSON = {"content-type": "application/json"}


async def until(condition: Callable[[], object]) -> None:
    """Let other tasks run until `condition` holds; fail after five seconds."""
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - the condition is the server's state, which has no event to wait for
            await asyncio.sleep(0)


class SignalRClient:
    """One WebSocket client after its handshake."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket

    async def receive(self) -> str:
        """Return the next text message without its end byte. Pings are skipped."""
        while True:
            frame = await asyncio.wait_for(self.socket.recv(), 5)
            assert isinstance(frame, str)
            assert frame.endswith(END)
            if frame != '{"type":6}' + END:
                return frame[:-1]

    async def receive_bytes(self) -> bytes:
        """Return the next binary frame."""
        frame = await asyncio.wait_for(self.socket.recv(), 5)
        assert isinstance(frame, bytes)
        return frame

    async def closed(self) -> int | None:
        """Wait for the end of the connection and return its code."""
        await asyncio.wait_for(self.socket.wait_closed(), 5)
        return self.socket.close_code


class Service:
    """A running emulator and an HTTP client for it."""

    def __init__(self, emulator: Emulator, clock: Clock, port: int, http: httpx.AsyncClient) -> None:
        self.emulator = emulator
        self.clock = clock
        self.port = port
        self.http = http
        self.base = f"http://localhost:{port}"

    def token(self, audience: str, key: str = WELL_KNOWN_KEY, lifetime: int = 3600) -> str:
        return rest_token(key, audience, int(self.clock.wall()) + lifetime)

    async def call(self, method: str, path: str, query: str = "", **options: Any) -> httpx.Response:
        """Make a signed REST call. `path` is under the hub `chat` unless it is absolute."""
        version = options.pop("version", "2022-06-01")
        if not path.startswith("/"):
            path = f"/api/hubs/chat/{path}"
        parts = [part for part in (f"api-version={version}" if version else "", query) if part]
        headers = {"authorization": f"Bearer {self.token(self.base + path)}", **options.pop("headers", {})}
        url = f"{self.base}{path}" + (f"?{'&'.join(parts)}" if parts else "")
        return await self.http.request(method, url, headers=headers, **options)

    async def send(self, path: str = ":send", body: bytes | str = '{"target":"m"}', **options: Any) -> httpx.Response:
        """POST a JSON message."""
        headers = {**JSON, **options.pop("headers", {})}
        return await self.call("POST", path, content=body, headers=headers, **options)

    async def status(self, method: str, path: str, query: str = "", **options: Any) -> int:
        return (await self.call(method, path, query, **options)).status_code

    def client_token(self, user: str | None = None, hub: str = "chat", **claims: Any) -> str:
        payload = {"aud": f"{self.base}/client/?hub={hub}", "exp": int(self.clock.wall()) + 3600}
        if user is not None:
            payload["asrs.s.uid"] = user
        return sign(WELL_KNOWN_KEY, payload | claims)

    def client_url(self, token: str, hub: str = "chat", extra: str = "") -> str:
        return f"ws://localhost:{self.port}/client/?hub={quote(hub)}{extra}&access_token={token}"

    @asynccontextmanager
    async def client(
        self, user: str | None = None, *, hub: str = "chat", protocol: str = "json", **claims: Any
    ) -> AsyncIterator[SignalRClient]:
        """Connect and complete the handshake."""
        url = self.client_url(self.client_token(user, hub, **claims), hub)
        async with connect(url, ping_interval=None) as socket:
            await socket.send(HANDSHAKE % protocol)
            answer = await asyncio.wait_for(socket.recv(), 5)
            assert answer in {"{}" + END, b"{}" + END.encode()}
            yield SignalRClient(socket)

    def connection_ids(self, hub: str = "chat") -> list[str]:
        """Return the connection ids of a hub in the order in which they connected."""
        return list(self.emulator.hubs[hub].connections)


@asynccontextmanager
async def running(
    config: EmulatorConfig | None = None, clock: Clock | None = None, *, port: int = 0
) -> AsyncIterator[Service]:
    """Run an emulator for the duration of the block, on any free port where none is named."""
    clock = clock or SystemClock()
    emulator = create_emulator(config or EmulatorConfig(), clock)
    ready: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    async with asyncio.TaskGroup() as tasks:
        server = tasks.create_task(serve(emulator, port=port, ready=ready.set_result))
        async with httpx.AsyncClient() as http:
            yield Service(emulator, clock, await ready, http)
        server.cancel()
        while isinstance(clock, FakeClock) and not server.done():
            await clock.advance(1)  # closing the clients takes time
