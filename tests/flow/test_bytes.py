"""Large messages with a real worker: over a slow link to Redis, and to destinations that are held back.

Rule guarded: memory is judged by the peak that the kernel kept, and the link by the bytes that went over it.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.flow.child import Child
from tests.flow.stack import Stack

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.slow, pytest.mark.timeout(180)]

_PIECE = 65_536
_MIB = 1 << 20


class SlowLink:
    """A way to the server of a socket over which answers come at so many bytes a second, all connections together."""

    def __init__(self, socket: str, rate: float) -> None:
        self._socket = socket
        self._rate = rate
        self._turn = asyncio.Lock()
        self.came = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one connection until either side ends it."""
        far_reader, far_writer = await asyncio.open_unix_connection(self._socket)
        try:
            async with asyncio.TaskGroup() as group:
                answers = group.create_task(self._slowly(far_reader, writer))
                await _carry(reader, far_writer)
                answers.cancel()
        except* OSError:
            pass  # a connection that was cut ends both halves
        finally:
            writer.close()
            far_writer.close()

    async def _slowly(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while piece := await reader.read(_PIECE):
            async with self._turn:
                await asyncio.sleep(len(piece) / self._rate)
            self.came += len(piece)
            writer.write(piece)
            await writer.drain()
        writer.close()


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while piece := await reader.read(_PIECE):
        writer.write(piece)
        await writer.drain()


@asynccontextmanager
async def a_slow_link(socket: str, rate: float) -> AsyncIterator[tuple[SlowLink, int]]:
    link = SlowLink(socket, rate)
    server = await asyncio.start_server(link.serve, "127.0.0.1", 0)
    try:
        yield link, server.sockets[0].getsockname()[1]
    finally:
        server.close()


def peak_bytes(child: Child) -> int:
    """Return the most memory that a process has ever had resident."""
    lines = Path(f"/proc/{child.process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def large(count: int, size: int, users: int) -> list[dict[str, object]]:
    return [{"userId": f"u{n % users}", "target": "t", "arguments": [n, "x" * size]} for n in range(count)]


async def test_messages_of_100_kb_over_a_slow_link_are_read_once_and_all_delivered(stack: Stack, hub: str) -> None:
    """A read that takes long because there is much to carry is no failover: nothing is read again and again."""
    count, size = 300, 100_000
    for start in range(0, count, 50):
        await stack.post(hub, large(count, size, 40)[start : start + 50])
    async with a_slow_link(str(stack.redis.socket), 5e6) as (link, port):
        worker = await stack.add_worker(redis_url=f"redis://127.0.0.1:{port}", lease_seconds=10)
        await stack.drained(within=120)
        assert link.came < 1.5 * count * size
        assert sum(call.delivered for call in await stack.journal(hub)) == count
        await worker.terminate()


async def test_large_messages_to_destinations_that_are_held_back_leave_a_worker_within_256_mib(
    stack: Stack, hub: str
) -> None:
    count, size = 400, 900_000
    worker = await stack.add_worker(memory_limit="256MiB")
    await stack.faults({"kind": "status", "status": 503})
    items = large(count, size, 100)
    for start in range(0, count, 10):
        await stack.post(hub, items[start : start + 10])
    await asyncio.sleep(5.0)  # what a worker does while everything is held back
    assert await stack.depth() == count
    await stack.faults()
    await stack.drained(within=120)
    assert peak_bytes(worker) < 256 * _MIB
    assert await stack.dead_letters() == []
