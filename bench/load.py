"""The callers: post requests to a service as fast as it answers, or at a fixed pace.

Rule guarded: the load is the same forevery service and cheap enough not to starve it; an answer that is not a success
fails the run, because refused work would flatter the figures.
"""

import asyncio
import time
from collections.abc import Iterator, Sequence
from typing import cast

from bench.rig import BenchError


class _Caller(asyncio.Protocol):
    """One keep-alive connection, one request at a time."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._done: asyncio.Future[None] | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    @property
    def closed(self) -> bool:
        """Whether the service has closed it."""
        return self._transport is None or self._transport.is_closing()

    def post(self, request: bytes) -> asyncio.Future[None]:
        """Write a request; the future is done when it was answered with success."""
        if self._transport is None or self.closed:
            raise BenchError("the service closed a connection")
        self._done = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return self._done

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0 or self._done is None:
            return
        head = bytes(self._buffer[:end]).lower()
        size = int(head.partition(b"content-length:")[2].split(b"\r\n")[0])
        if len(self._buffer) >= end + 4 + size:
            answer = bytes(self._buffer)
            self._buffer.clear()
            self._finish(answer)

    def connection_lost(self, error: Exception | None) -> None:
        if self._done is not None and not self._done.done():
            self._done.set_exception(BenchError(f"the service hung up: {error}"))

    def close(self) -> None:
        """Hang up."""
        if self._transport is not None:
            self._transport.close()

    def _finish(self, answer: bytes) -> None:
        if self._done is None or self._done.done():
            return
        if answer.split(None, 2)[1][:1] == b"2":
            self._done.set_result(None)
        else:
            self._done.set_exception(BenchError(f"a request was refused: {answer[:600]!r}"))


def request(port: int, path: str, body: bytes) -> bytes:
    """Return a whole POST request."""
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


async def post_all(port: int, path: str, bodies: Iterator[bytes], *, connections: int) -> None:
    """Post all of `bodies` over this many connections, each as fast as it is answered."""
    await write_all(port, (request(port, path, body) for body in bodies), connections=connections)


async def write_all(port: int, requests: Iterator[bytes], *, connections: int) -> None:
    """Write all of these whole requests over this many connections, each as fast as it is answered."""

    async def call() -> None:
        caller = await _connect(port)
        try:
            for each in requests:
                await caller.post(each)
        finally:
            caller.close()

    async with asyncio.TaskGroup() as group:
        for _ in range(connections):
            group.create_task(call())


async def post_paced(port: int, path: str, bodies: Sequence[bytes], *, rate: float) -> list[float]:
    """Post `bodies` at `rate` a second whether or not earlier ones are answered; gives when each was written."""
    idle: list[_Caller] = [await _connect(port) for _ in range(4)]
    requests = [request(port, path, body) for body in bodies]
    written = [0.0] * len(requests)

    async def call(number: int) -> None:
        while idle and idle[-1].closed:
            idle.pop()
        caller = idle.pop() if idle else await _connect(port)
        written[number] = time.monotonic()
        await caller.post(requests[number])
        idle.append(caller)

    begin = time.monotonic() + 0.05
    async with asyncio.TaskGroup() as group:
        for number in range(len(requests)):
            await asyncio.sleep(max(0.0, begin + number / rate - time.monotonic()))
            group.create_task(call(number))
    for caller in idle:
        caller.close()
    return written


async def _connect(port: int) -> _Caller:
    _, caller = await asyncio.get_running_loop().create_connection(_Caller, "127.0.0.1", port)
    return caller
