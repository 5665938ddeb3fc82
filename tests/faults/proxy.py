"""A TCP proxy that does to connections what networks do: delay, cut, hold back, swallow.

Rule guarded: it knows nothing of what it carries, and without a fault it carries every byte in order. A connection that
lost bytes never carries any again, as in a real network: it stays silent until its ends give it up.
"""

import asyncio
import socket
import struct
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import Enum
from pathlib import Path

_CHUNK = 65536
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: closing sends RST
Target = int | Path  # a port of this machine, or a unix socket


class Side(Enum):
    """The direction bytes go in."""

    REQUEST = "request"
    RESPONSE = "response"


class Proxy:
    """Listens on `port` of this machine and carries what comes to `target`; `proxy` makes one.

    `latency` is seconds each piece is held in each direction, and `rate` the bytes that go through all connections
    together in a second and direction; 0 sets no bound. `connections` and `cuts` count; `requests` says when each piece
    came from a caller (seconds, unix time).
    """

    def __init__(self, target: Target) -> None:
        self.target = target
        self.port = 0
        self.latency = 0.0
        self.rate = 0.0
        self.connections = 0
        self.cuts = 0
        self.requests: list[float] = []
        self.quiet = asyncio.Event()  # no connection is carried
        self.quiet.set()
        self._links: set[_Link] = set()
        self._cut_each: dict[Side, int] = {}
        self._seen = dict.fromkeys(Side, 0)
        self._busy_until = dict.fromkeys(Side, 0.0)
        self._flows = asyncio.Event()
        self._flows.set()
        self._refusing = False

    def __repr__(self) -> str:
        return f"<Proxy {self.port} to {self.target}, {len(self._links)} connections>"

    @property
    def open(self) -> int:
        """How many connections it carries now."""
        return len(self._links)

    def cut_all(self) -> None:
        """Reset every connection there is, both ends."""
        for link in list(self._links):
            self.cuts += 1
            link.reset()

    def cut_each(self, nth: int, side: Side) -> None:
        """Cut a connection in the middle of each `nth` piece of one direction, from now on; 0 ends it."""
        self._cut_each[side] = nth

    def refuse(self) -> None:
        """Reset every connection there is and each that comes, until `heal`."""
        self._refusing = True
        self.cut_all()

    def hold(self) -> None:
        """Hold everything back until `heal`, and pass it on then: until then it is a black hole to both ends."""
        self._flows.clear()

    def swallow(self) -> None:
        """Drop silently what the existing connections carry from now on; new connections work."""
        for link in self._links:
            link.silent = True

    def heal(self) -> None:
        """Do no more harm; connections that lost something are reset, as nothing good can come of them."""
        self.latency = self.rate = 0.0
        self._cut_each.clear()
        self._refusing = False
        self._flows.set()
        for link in [link for link in self._links if link.silent]:
            link.reset()

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one connection until both ends have closed it."""
        self.connections += 1
        await self._flows.wait()
        if self._refusing:
            _reset(writer)
            return
        try:
            far_reader, far_writer = await self._dial()
        except OSError:
            _reset(writer)
            return
        link = _Link(writer, far_writer)
        self._links.add(link)
        self.quiet.clear()
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._pump(link, reader, far_writer, Side.REQUEST))
                both.create_task(self._pump(link, far_reader, writer, Side.RESPONSE))
        finally:
            self._links.discard(link)
            if not self._links:
                self.quiet.set()
            writer.close()
            far_writer.close()

    async def _dial(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if isinstance(self.target, Path):
            return await asyncio.open_unix_connection(self.target)
        return await asyncio.open_connection("127.0.0.1", self.target)

    async def _pump(
        self, link: "_Link", reader: asyncio.StreamReader, writer: asyncio.StreamWriter, side: Side
    ) -> None:
        try:
            while piece := await reader.read(_CHUNK):
                if side is Side.REQUEST:
                    self.requests.append(time.time())
                if not await self._passes(link, piece, writer, side):
                    return
            if not link.silent and not writer.is_closing():
                writer.write_eof()
        except OSError:  # one end is gone: so is the other, unless the proxy hides it
            if not link.silent:
                link.reset()

    async def _passes(self, link: "_Link", piece: bytes, writer: asyncio.StreamWriter, side: Side) -> bool:
        """Hand one piece on, or do to it what is to be done; False when that was the end."""
        if self.latency:
            await asyncio.sleep(self.latency)
        if self.rate:
            now = time.monotonic()
            self._busy_until[side] = max(now, self._busy_until[side]) + len(piece) / self.rate
            await asyncio.sleep(self._busy_until[side] - now)
        await self._flows.wait()
        if link.silent:
            return True
        if writer.is_closing():
            return False
        if self._is_unlucky(side):
            writer.write(piece[: len(piece) // 2])
            self.cuts += 1
            link.reset(after=writer)
            return False
        writer.write(piece)
        await writer.drain()
        return True

    def _is_unlucky(self, side: Side) -> bool:
        self._seen[side] += 1
        nth = self._cut_each.get(side, 0)
        return bool(nth) and self._seen[side] % nth == 0


class _Link:
    """The two ends of one connection."""

    def __init__(self, near: asyncio.StreamWriter, far: asyncio.StreamWriter) -> None:
        self.silent = False
        self._near = near
        self._far = far

    def reset(self, after: asyncio.StreamWriter | None = None) -> None:
        """Reset both ends; `after` is closed instead, so that what was just written arrives."""
        for writer in (self._near, self._far):
            if writer is after:
                writer.close()
            else:
                _reset(writer)


def _reset(writer: asyncio.StreamWriter) -> None:
    own = writer.get_extra_info("socket")
    if own is not None and own.family in {socket.AF_INET, socket.AF_INET6} and own.fileno() >= 0:
        own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()


@asynccontextmanager
async def proxy(target: Target, *, receive_buffer: int = 0) -> AsyncIterator[Proxy]:
    """Run a proxy for the time of the block; afterwards no connection and no task of it is left.

    A small `receive_buffer` (bytes) keeps it from acknowledging much that it has not carried yet.
    """
    made = Proxy(target)
    listener = socket.create_server(("127.0.0.1", 0))
    if receive_buffer:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    server = await asyncio.start_server(made.carry, sock=listener)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()
        made.heal()
        made.cut_all()
        await server.wait_closed()
        await made.quiet.wait()
