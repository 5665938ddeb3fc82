"""The connections to one origin: at most so many, handed to callers first come, first served.

Rule guarded: a caller holds a *turn*, and there are as many turns as connections. A turn is passed on with its
connection or without one, so a cancelled waiter, a failed dial or a connection that died on the way never loses it.
What was found dead before a byte was written is replaced inside the turn; what was written is never repeated here.
Deadlines and idle ends cost one timer per pool, not one per request: they are found late by at most one sweep.
"""

import asyncio
import contextlib
import ssl
from collections import deque
from dataclasses import dataclass
from functools import partial
from typing import Final

from fanout.clock import Clock
from fanout.errors import NotSentError
from fanout.http1.connection import BeforeWrite, Connection, OnDone
from fanout.http1.dial import default_tls, dial
from fanout.http1.exchange import BrokenExchangeError, Limits, Origin, Response
from fanout.http1.request import Request, encode

_SWEEPS_PER_LIMIT: Final = 20
_SHORTEST_SWEEP, _LONGEST_SWEEP = 0.01, 0.5  # seconds


@dataclass(frozen=True, slots=True)
class PoolStats:
    """Counters since the start (`opened` connections, requests that `reused` one) and what is held now."""

    opened: int
    reused: int
    idle: int
    busy: int
    waiting: int


class Pool:
    """Sends requests to one origin. Belongs to the event loop of its first `send`."""

    def __init__(self, origin: Origin, limits: Limits, clock: Clock, tls: ssl.SSLContext | None = None) -> None:
        """`tls` is for https origins; without it the system's CAs are trusted and names are checked."""
        self._origin = origin
        self._authority = origin.authority.encode("ascii")
        self._limits = limits
        self._clock = clock
        self._tls = tls
        self._connections: set[Connection] = set()
        self._idle: list[Connection] = []
        self._waiters: deque[asyncio.Future[Connection | None]] = deque()
        self._turns = 0
        self._opened = 0
        self._reused = 0
        self._sweeper: asyncio.TimerHandle | None = None
        self._emptied: asyncio.Future[None] | None = None
        self._closed = False

    def __repr__(self) -> str:
        state = "closed" if self._closed else "open"
        held = f"{len(self._idle)} idle, {self._turns} busy, {len(self._waiters)} waiting"
        return f"<Pool {self._origin} {state}: {held}, {self._opened} opened, {self._reused} reused>"

    @property
    def stats(self) -> PoolStats:
        """A snapshot for metrics."""
        return PoolStats(self._opened, self._reused, len(self._idle), self._turns, len(self._waiters))

    async def send(self, request: Request) -> Response:
        """Write `request` once and give its answer, whatever the status.

        Raises ValueError for a request that does not fit on the wire, NotSentError when no byte of it was written,
        and MaybeSentError (always a BrokenExchangeError) when it was and no whole answer came in time.
        """
        message = encode(request, self._authority)
        now = self._clock.monotonic()
        connection = self._take_idle(now)
        if connection is None:
            connection = await self._take_turn()
            now = self._clock.monotonic()
        try:
            if connection.served:
                self._reused += 1
            return await connection.exchange(message, request.head.method, now + self._limits.request_timeout)
        finally:
            self._end_turn(connection)

    @property
    def may_start(self) -> bool:
        """Whether a connection seems to rest; `start` then finds out."""
        return bool(self._idle)

    def start(self, request: Request, before_write: BeforeWrite, on_done: OnDone) -> bool:
        """Write `request` now, if a connection rests, and have `heard` called with its answer or a BrokenExchangeError.

        False when none rests: nothing was done then, and `send` has to wait for one. `leaving` is called right before
        the write. `heard` is called from the loop and must raise nothing. ValueError as `send`.
        """
        message = encode(request, self._authority)
        now = self._clock.monotonic()
        connection = self._take_idle(now)
        if connection is None:
            return False
        if connection.served:
            self._reused += 1
        deadline = now + self._limits.request_timeout
        before_write()
        connection.begin(message, request.head.method, deadline, partial(self._answered, connection, on_done))
        return True

    def _answered(self, connection: Connection, on_done: OnDone, answer: Response | BrokenExchangeError) -> None:
        self._end_turn(connection)
        on_done(answer)

    async def aclose(self) -> None:
        """Close all connections and wait until they are gone. Waiters get NotSentError, exchanges in flight break."""
        self._closed = True
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_exception(NotSentError(f"The pool of {self._origin} was closed."))
        self._idle.clear()
        for connection in list(self._connections):
            connection.give_up("The pool was closed")
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
        if self._connections:
            self._emptied = asyncio.get_running_loop().create_future()
            await self._emptied

    def sweep(self) -> None:
        """Fail exchanges past their deadline and close connections idle or old past their limit."""
        now = self._clock.monotonic()
        for connection in [held for held in self._connections if held.deadline <= now]:
            connection.time_out()
        for connection in [held for held in self._idle if not held.is_fit(now)]:
            self._idle.remove(connection)
            connection.abort()

    def _take_idle(self, now: float) -> Connection | None:
        """Take a turn with the connection used last, so that the others can grow old and go; None without one."""
        while self._idle:
            connection = self._idle.pop()
            if connection.may_serve(now):
                self._turns += 1
                return connection
            connection.abort()
        return None

    async def _take_turn(self) -> Connection:
        """Wait for a turn and give it with a fit connection, at need a new one; a failure passes the turn on."""
        if self._closed:
            raise NotSentError(f"The pool of {self._origin} is closed.")
        if self._turns < self._limits.connections:
            self._turns += 1
        else:
            connection = await self._wait()
            if connection is not None:
                if connection.may_serve(self._clock.monotonic()):
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
                with contextlib.suppress(ValueError):  # whoever passed a turn on may have skipped it already
                    self._waiters.remove(waiter)
            elif waiter.exception() is None:  # the turn had come already
                self._pass_on(waiter.result())
            raise

    async def _open(self) -> Connection:
        if self._tls is None and self._origin.scheme == "https":
            self._tls = default_tls()
        tls = self._tls if self._origin.scheme == "https" else None
        connection = await dial(self._origin, tls, self._new_connection, self._clock, self._limits.connect_timeout)
        silent = tls is not None or connection.is_silent()  # TLS has session tickets to read
        if not connection.is_closing() and silent and not self._closed:
            self._connections.add(connection)
            self._opened += 1
            self._start_sweeping()
            return connection
        connection.abort()
        raise NotSentError(f"The connection to {self._origin} ended before the request.")

    def _new_connection(self) -> Connection:
        return Connection(self._limits, self._clock.monotonic(), self._lost)

    def _end_turn(self, connection: Connection) -> None:
        if not connection.rest(self._clock.monotonic()) or self._closed:
            connection.abort()
            self._pass_on(None)
        elif self._waiters:
            self._pass_on(connection)
        else:
            self._turns -= 1
            self._idle.append(connection)

    def _pass_on(self, connection: Connection | None) -> None:
        """Give the turn to the first who waits, with `connection` or without; else the connection rests."""
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(connection)
                return
        self._turns -= 1
        if connection is not None:
            self._idle.append(connection)

    def _lost(self, connection: Connection) -> None:
        self._connections.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        if self._emptied is not None and not self._connections and not self._emptied.done():
            self._emptied.set_result(None)

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
