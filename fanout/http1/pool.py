"""The connections to one origin: a bounded number, given to callers first come, first served.

Rules guarded: a caller holds a permit, and there are as many permits as connections. A permit is passed on with a
connection or without one, so a cancelled waiter, a failed dial or a connection that died never loses it. A connection
that is found dead before a byte was written is replaced; what was written is never repeated here. Who waited for a
connection is asked again whether the request may go, because what allowed it may have ended meanwhile. Deadlines and
idle limits cost one timer for the pool, not one for each request, and are noticed at most one sweep late.
"""

import asyncio
import contextlib
import ssl
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from fanout.clock import Clock
from fanout.errors import NotSentError, WithheldError
from fanout.http1.connection import BeforeWrite, Connection, OnDone
from fanout.http1.dial import default_tls, dial
from fanout.http1.exchange import BrokenExchangeError, Limits, Origin, Response
from fanout.http1.messages import HeaderLines, Request
from fanout.http1.proxy import Proxy, encode_for_proxy

MayWrite = Callable[[], bool]

_SWEEPS_PER_LIMIT: Final = 20
_SHORTEST_SWEEP, _LONGEST_SWEEP = 0.01, 0.5  # seconds


@dataclass(frozen=True, slots=True)
class PoolStats:
    """Counters since the start (connections `opened`, requests that `reused` one) and the state now."""

    opened: int
    reused: int
    idle: int
    busy: int
    waiting: int


class Pool:
    """Sends requests to one origin. It belongs to the event loop of its first `send`."""

    def __init__(
        self,
        origin: Origin,
        limits: Limits,
        clock: Clock,
        tls: ssl.SSLContext | None = None,
        proxy: Proxy | None = None,
        more_lines: Callable[[], bytes] | None = None,
    ) -> None:
        """Store; `tls` is for https origins. Without it the CAs of the system are trusted and names are checked.

        `more_lines` is asked for further header lines whenever a request is about to be written.
        """
        self._origin = origin
        self._authority = origin.authority.encode("ascii")
        self._limits = limits
        self._clock = clock
        self._tls = tls
        self._proxy = proxy
        self._encode = _encoder(origin, proxy, more_lines)
        self._connections: set[Connection] = set()
        self._idle: list[Connection] = []
        self._waiters: deque[asyncio.Future[Connection | None]] = deque()
        self._permits = 0  # in use
        self._opened = self._reused = 0
        self._sweeper: asyncio.TimerHandle | None = None
        self._closed = False

    def __repr__(self) -> str:
        state = "closed" if self._closed else "open"
        held = f"{len(self._idle)} idle, {self._permits} busy, {len(self._waiters)} waiting"
        return f"<Pool {self._origin} {state}: {held}, {self._opened} opened, {self._reused} reused>"

    @property
    def stats(self) -> PoolStats:
        """A snapshot for metrics."""
        return PoolStats(self._opened, self._reused, len(self._idle), self._permits, len(self._waiters))

    async def send(self, request: Request, may_write: MayWrite | None = None) -> Response:
        """Write `request` once and return its answer, whatever the status.

        Raises NotSentError when no byte of it was written, and MaybeSentError (always a BrokenExchangeError) when it
        was written and no complete answer came in time. `may_write` is asked right before the write, and WithheldError
        is raised when it says no.
        """
        message = self._encode(request, self._authority)
        now = self._clock.monotonic()
        connection = self._take_idle(now)
        if connection is None:
            connection = await self._acquire()
            now = self._clock.monotonic()
        try:
            if may_write is not None and not may_write():
                raise WithheldError("The request may not go any more.")
            if connection.answers:
                self._reused += 1
            return await connection.exchange(message, request.head.method, now + self._limits.request_timeout)
        finally:
            self._release(connection)

    @property
    def may_start(self) -> bool:
        """Whether a connection seems to be idle; `start` finds out whether it is usable."""
        return bool(self._idle)

    def start(self, request: Request, before_write: BeforeWrite, on_done: OnDone) -> bool:
        """Write `request` now if a connection is idle, and have `on_done` called with its answer or error.

        Return False when none is idle: nothing was done then, and `send` waits for one. `before_write` is called right
        before the write. `on_done` is called from the loop and must not raise.
        """
        message = self._encode(request, self._authority)
        now = self._clock.monotonic()
        connection = self._take_idle(now)
        if connection is None:
            return False
        if connection.answers:
            self._reused += 1
        deadline = now + self._limits.request_timeout
        before_write()
        connection.begin(message, request.head.method, deadline, partial(self._answered, connection, on_done))
        return True

    def _answered(self, connection: Connection, on_done: OnDone, answer: Response | BrokenExchangeError) -> None:
        self._release(connection)
        on_done(answer)

    async def aclose(self) -> None:
        """Close all connections. Callers that wait get NotSentError, exchanges in flight fail."""
        self._closed = True
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_exception(NotSentError(f"The pool of {self._origin} was closed."))
        self._idle.clear()
        for connection in list(self._connections):
            connection.fail("The pool was closed")
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None

    def sweep(self) -> None:
        """Fail exchanges past their deadline, and close connections that are idle for too long or too old."""
        now = self._clock.monotonic()
        for connection in [held for held in self._connections if held.deadline <= now]:
            connection.time_out()
        for connection in [held for held in self._idle if not held.is_fresh(now)]:
            self._idle.remove(connection)
            connection.abort()

    def _take_idle(self, now: float) -> Connection | None:
        """Take a permit with the connection used last, so that the others reach their limits; None without one."""
        while self._idle:
            connection = self._idle.pop()
            if connection.is_usable(now):
                self._permits += 1
                return connection
            connection.abort()
        return None

    async def _acquire(self) -> Connection:
        """Wait for a permit and return a usable connection, a new one if needed. A failure passes the permit on."""
        if self._closed:
            raise NotSentError(f"The pool of {self._origin} is closed.")
        if self._permits < self._limits.connections:
            self._permits += 1
        else:
            connection = await self._wait()
            if connection is not None:
                if connection.is_usable(self._clock.monotonic()):
                    return connection
                connection.abort()
        try:
            return await self._open()
        except BaseException:
            self._pass_on(None)
            raise

    async def _wait(self) -> Connection | None:
        waiter: asyncio.Future[Connection | None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.cancelled():
                with contextlib.suppress(ValueError):  # it may have been skipped and removed already
                    self._waiters.remove(waiter)
            elif waiter.exception() is None:  # the permit had come already
                self._pass_on(waiter.result())
            raise

    async def _open(self) -> Connection:
        if self._tls is None and self._origin.scheme == "https":
            self._tls = default_tls()
        tls = self._tls if self._origin.scheme == "https" else None
        transport = await dial(self._origin, tls, self._clock, self._limits.connect_timeout, self._proxy)
        connection = Connection(transport, self._limits, self._clock.monotonic(), self._lost)
        self._connections.add(connection)
        if not self._closed and connection.open():
            self._opened += 1
            self._start_sweeping()
            return connection
        connection.abort()
        raise NotSentError(f"The connection to {self._origin} ended before the request.")

    def _release(self, connection: Connection) -> None:
        if not connection.release(self._clock.monotonic()) or self._closed:
            connection.abort()
            self._pass_on(None)
        elif self._waiters:
            self._pass_on(connection)
        else:
            self._permits -= 1
            self._idle.append(connection)

    def _pass_on(self, connection: Connection | None) -> None:
        """Hand the permit to the first waiter, with `connection` or without. Without a waiter both are free."""
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(connection)
                return
        self._permits -= 1
        if connection is not None:
            self._idle.append(connection)

    def _lost(self, connection: Connection) -> None:
        self._connections.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)

    def _start_sweeping(self) -> None:
        if self._sweeper is None:
            shortest = min(self._limits.request_timeout, self._limits.idle_seconds, self._limits.max_age_seconds)
            pause = min(max(shortest / _SWEEPS_PER_LIMIT, _SHORTEST_SWEEP), _LONGEST_SWEEP)
            self._sweeper = asyncio.get_running_loop().call_later(pause, self._sweep_again)

    def _sweep_again(self) -> None:
        self._sweeper = None
        self.sweep()
        if self._connections:
            self._start_sweeping()


def encode(request: Request, authority: bytes) -> bytes:
    """Return the whole message: request line, Host (`authority`), header lines, Content-Length, body."""
    head, body = request.head, request.body
    return b"%b%b\r\n%b%bContent-Length: %d\r\n\r\n%b" % (
        head.start,
        authority,
        request.authorization.text,
        head.headers.text,
        len(body),
        body,
    )


def encode_with(
    more: Callable[[], bytes], encoder: Callable[[Request, bytes], bytes], request: Request, authority: bytes
) -> bytes:
    """Return what `encoder` makes of a request with further header lines, those that `more` returns now."""
    lines = HeaderLines(request.authorization.text + more())
    return encoder(Request(request.head, request.body, lines), authority)


def _encoder(
    origin: Origin, proxy: Proxy | None, more_lines: Callable[[], bytes] | None
) -> Callable[[Request, bytes], bytes]:
    chosen: Callable[[Request, bytes], bytes] = encode
    if proxy is not None and origin.scheme == "http":
        chosen = partial(encode_for_proxy, authorization=proxy.authorization)
    return chosen if more_lines is None else partial(encode_with, more_lines, chosen)
