"""The HTTP server of the real process under clients that flood, stall and never read; of an ingress and of a worker.

Rules guarded: memory stays under a fixed bound whatever clients do; no caller is reset because others are many; probes
are answered meanwhile; and afterwards the process serves as before.
"""

import asyncio
import contextlib
import json
import signal
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from service.http.exchange import MAX_HEAD
from tests.hostile.ingress import KEY, Victim, ingress
from tests.service.programs import program, service_at

MEMORY = 150 * 1024 * 1024
GET = b"GET /livez HTTP/1.1\r\nHost: h\r\n\r\n"
BODY = json.dumps({"userId": "alice", "target": "t", "arguments": ["hi"]}).encode()
BATCH = (
    f"POST /v1/hubs/chat/messages HTTP/1.1\r\nHost: h\r\nX-API-Key: {KEY}\r\nContent-Length: {len(BODY)}\r\n\r\n"
).encode() + BODY


@pytest.fixture(params=["ingress", "worker"])
async def victim(request: pytest.FixtureRequest, redis_url: str, tmp_path: Path) -> AsyncIterator[Victim]:
    """A process of each role."""
    running = ingress(tmp_path, redis_url) if request.param == "ingress" else worker(tmp_path, redis_url)
    async with running as victim:
        yield victim
        assert victim.troubles == []


@asynccontextmanager
async def worker(directory: Path, redis_url: str) -> AsyncIterator[Victim]:
    """Run a worker for the time of the block."""
    settings = {"AzureSignalRConnectionString": service_at(9), "FANOUT_REDIS_URL": redis_url, "FANOUT_PORT": "0"}
    async with program(directory, "serve", "--role", "worker", **settings) as running:
        yield Victim(running, await running.port())


@asynccontextmanager
async def connected(port: int, count: int) -> AsyncIterator[list[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]:
    """So many connections, of which nothing is read unless the test reads."""
    streams = []
    try:
        for _ in range(count):
            streams += [await asyncio.open_connection("127.0.0.1", port, limit=1024)]
        yield streams
    finally:
        for _reader, writer in streams:
            writer.transport.abort()


async def is_alive(port: int, within: float = 5.0) -> bool:
    """Ask the probe on a connection of its own."""
    async with asyncio.timeout(within):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(GET)
        head = await reader.readuntil(b"\r\n\r\n")
        writer.close()
    return head.startswith(b"HTTP/1.1 200 ")


async def flood(writer: asyncio.StreamWriter, data: bytes, times: int) -> None:
    """Write as long as the server takes it, for a bounded time."""
    with contextlib.suppress(ConnectionError, TimeoutError):
        async with asyncio.timeout(6):
            for _ in range(times):
                writer.write(data)
                await writer.drain()


async def requests_sent_ahead(port: int) -> None:
    async with connected(port, 60) as streams:
        await asyncio.gather(*(flood(writer, GET * 2_000, 1_000) for _, writer in streams))


async def heads_without_end(port: int) -> None:
    async with connected(port, 900) as streams:
        head = b"GET /livez HTTP/1.1\r\n" + b"x: " + b"a" * (MAX_HEAD - 100)
        await asyncio.gather(*(flood(writer, head, 1) for _, writer in streams))
        await asyncio.sleep(1)


async def bodies_that_nobody_asked_for(port: int) -> None:
    async with connected(port, 500) as streams:
        head = b"POST /v1/hubs/chat/messages HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
        await asyncio.gather(*(flood(writer, head + b"ffff\r\n" + b"x" * 65_535 + b"\r\n", 1) for _, writer in streams))


async def answers_that_nobody_reads(port: int) -> None:
    async with connected(port, 60) as streams:
        asked = b"GET /problems/invalidItems HTTP/1.1\r\nHost: h\r\n\r\n"
        await asyncio.gather(*(flood(writer, asked * 2_000, 1_000) for _, writer in streams))


async def connections_that_say_nothing(port: int) -> None:
    async with connected(port, 8_000):
        assert await is_alive(port)


async def fields_without_end(port: int) -> None:
    async with connected(port, 200) as streams:
        head = b"GET / HTTP/1.1\r\n" + b"a:\r\n" * 12_000 + b"\r\n"
        await asyncio.gather(*(flood(writer, head * 2, 20) for _, writer in streams))


@pytest.mark.parametrize(
    "attack",
    [
        requests_sent_ahead,
        heads_without_end,
        bodies_that_nobody_asked_for,
        answers_that_nobody_reads,
        connections_that_say_nothing,
        fields_without_end,
    ],
)
async def test_memory_is_bounded_and_the_process_serves_on(
    victim: Victim, attack: Callable[[int], Awaitable[None]]
) -> None:
    assert await is_alive(victim.port)
    victim.forget_peak()
    await attack(victim.port)
    assert victim.peak < MEMORY
    assert await is_alive(victim.port)


async def test_ten_thousand_callers_at_once_are_all_answered_and_probes_between_them(
    redis_url: str, tmp_path: Path
) -> None:
    """Each has a connection of its own and keeps it, as the vendor's SDK does for each send under way."""
    statuses: Counter[str] = Counter()
    all_answered = asyncio.Event()

    async def call(port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=4096)
        writer.write(BATCH)
        statuses[(await reader.readuntil(b"\r\n\r\n")).split()[1].decode()] += 1
        await all_answered.wait()
        writer.close()

    async with ingress(tmp_path, redis_url) as victim, asyncio.timeout(100):
        victim.forget_peak()
        async with asyncio.TaskGroup() as group:
            for _ in range(10_000):
                group.create_task(call(victim.port))
            probes = 0
            while statuses.total() < 10_000:
                probes += await is_alive(victim.port, within=30)
                await asyncio.sleep(0.1)
            all_answered.set()
        assert victim.peak < MEMORY
        assert victim.troubles == []
    assert statuses == {"202": 10_000}
    assert probes > 0


async def test_a_probe_is_answered_while_every_place_is_taken_by_connections_that_stall(
    redis_url: str, tmp_path: Path
) -> None:
    async with ingress(tmp_path, redis_url) as victim, connected(victim.port, 3_000) as streams:
        for _reader, writer in streams:
            writer.write(b"POST /v1/hubs/chat/messages HTTP/1.1\r\nHost: ")
        for _ in range(3):
            assert await is_alive(victim.port, within=3)
            await asyncio.sleep(0.3)
        async with asyncio.timeout(30):  # and a caller too, once heads that stall have had their time
            reader, writer = await asyncio.open_connection("127.0.0.1", victim.port)
            writer.write(BATCH)
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 202 ")
            writer.close()


class KeptCaller:
    """A caller that keeps its connection, and turns to the next address when an answer closes it."""

    def __init__(self, ports: list[int]) -> None:
        self.ports = ports
        self.answers = 0
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def call_until(self, stopped: asyncio.Event, pause: float) -> None:
        """Send again and again until the last address is in use and `stopped` is set."""
        while len(self.ports) > 1 or not stopped.is_set():
            await self._call()
            await asyncio.sleep(pause)
        if self._streams is not None:
            self._streams[1].close()

    async def _call(self) -> None:
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self.ports[0])
        reader, writer = self._streams
        writer.write(BATCH)
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        await reader.readexactly(int(head.split(b"content-length:")[1].split()[0]))
        assert head.startswith(b"http/1.1 202 "), head
        self.answers += 1
        if b"connection: close" in head:
            writer.close()
            self._streams = None
            del self.ports[0]


async def test_no_kept_caller_fails_when_the_process_is_told_to_stop(redis_url: str, tmp_path: Path) -> None:
    stopped = asyncio.Event()
    lame_duck = {"FANOUT_LAME_DUCK": "5"}
    async with (
        ingress(tmp_path / "a", redis_url, **lame_duck) as first,
        ingress(tmp_path / "b", redis_url) as second,
    ):
        callers = [KeptCaller([first.port, second.port]) for _ in range(72)]
        async with asyncio.TaskGroup() as group, asyncio.timeout(60):
            for number, caller in enumerate(callers):
                group.create_task(caller.call_until(stopped, 0.01 + number * 0.001))
            await asyncio.sleep(1)
            async with connected(first.port, 1) as [(idle, _)]:
                first.program.signal(signal.SIGTERM)
                assert await status_of(first.port, "/readyz") == 503
                assert await idle.read() == b"", "closed, not reset"
            assert await first.program.ended() == 0
            stopped.set()
        assert all(caller.answers > 10 for caller in callers)
        assert first.troubles == second.troubles == []


async def status_of(port: int, path: str) -> int:
    """Ask on a connection of its own."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: h\r\n\r\n".encode())
    head = await reader.readuntil(b"\r\n\r\n")
    writer.close()
    return int(head.split()[1])
