"""One connection of a client: its requests one after another, each with bounds on time and memory.

Rules guarded: one request is answered at a time, and what a client sends ahead stays unread beyond one read. A head is
bounded in bytes whatever its segments, and parsed only when it is whole, so a slow head costs its bytes and no more.
Each phase has a deadline, except the answering, whose waits are bounded where they are made; an answer that the client
does not read has one too. A connection has no timer of its own: the server calls `check`.
"""

import asyncio
import secrets
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any, Final

from starlette.types import ASGIApp

from fanout.clock import Clock
from fanout.log import get_logger
from service.http.chunks import ChunkError
from service.http.exchange import (
    MAX_HEAD,
    Exchange,
    HeadError,
    cannot_become_head,
    completed,
    head_of,
    read_head,
    scope_of,
)
from service.http.problems import PROBLEM_TYPES, Problem, response_of

READ_SIZE: Final = 32 * 1024  # bytes of one read, and so of what one client may send ahead
_WRITE_HIGH_WATER: Final = 64 * 1024  # bytes of an answer that wait for the client before the application has to wait
_REST_TIMEOUT: Final = 5.0  # seconds in which the rest of a body that nobody wants is dropped
_CROWDED_TIMEOUT: Final = 2.0  # seconds for a head while other clients wait for a place
_END_OF_HEAD: Final = b"\r\n\r\n"
_NOT_HTTP: Final = "The head is not a valid HTTP/1.1 or HTTP/1.0 request."


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds: for a head, for a connection without a request, for a client that does not read its answer."""

    head: float
    idle: float
    unread: float


def _not_serving(_task: Coroutine[Any, Any, None]) -> object:
    raise RuntimeError("the server does not run")


@dataclass(slots=True)
class Shared:
    """What the connections of one server share; the server sets it up and changes it."""

    app: ASGIApp
    clock: Clock
    timeouts: Timeouts
    refused: Callable[[str, str], None]  # called with a problem code and the peer, for what no route has seen
    lost: Callable[[], None]  # called when a connection has ended
    buffer: memoryview  # every read goes through it; what is kept is copied
    connections: "set[Connection]" = field(default_factory=set)
    closes: bool = False  # answers close their connections
    crowded: bool = False  # clients wait for a place
    date: bytes = b""  # the Date header line
    start: Callable[[Coroutine[Any, Any, None]], object] = _not_serving  # starts the task of a request


class Phase(Enum):
    """What a connection waits for."""

    IDLE = auto()  # a request
    HEAD = auto()  # the end of a head
    ANSWERING = auto()  # the application
    REST = auto()  # the end of a body that nobody wants, to keep the connection
    LINGERING = auto()  # the client's close; what it still sends is dropped, so that it can read the answer


class Connection(asyncio.BufferedProtocol):
    """One connection; see the head of this file."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._transport: asyncio.Transport
        self._server: Any = None
        self._client: Any = None
        self._exchange: Exchange | None = None  # the request that is being answered
        self._pending = bytearray()  # bytes of the next requests
        self._drop = 0  # bytes of a body that nobody wants and that are still to come
        self._half_closed = False  # the client sends no more
        self._reading = True
        self._drained: asyncio.Future[None] | None = None
        self._unsent = 0  # bytes in the write buffer at the last check
        self._unsent_since = 0.0
        self.phase = Phase.IDLE
        self.since = 0.0  # when the phase began

    # asyncio calls these ------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to wait for a request."""
        self._transport = transport  # type: ignore[assignment] # of a stream, so it reads and writes
        self._transport.set_write_buffer_limits(high=_WRITE_HIGH_WATER)
        self._shared.connections.add(self)
        server, client = transport.get_extra_info("sockname"), transport.get_extra_info("peername")
        self._server = server[:2] if isinstance(server, tuple) else None  # a Unix socket has no host and port
        self._client = client[:2] if isinstance(client, tuple) else None
        self._enter(Phase.IDLE)

    def connection_lost(self, _exc: Exception | None) -> None:
        """Tell the application and the server."""
        if self._exchange is not None:
            self._exchange.disconnect()
        self.resume_writing()
        self._pending.clear()
        self._shared.connections.discard(self)
        self._shared.lost()

    def get_buffer(self, _sizehint: int) -> memoryview:
        """Return the buffer of the server, which holds the bytes only until `buffer_updated` returns."""
        return self._shared.buffer

    def buffer_updated(self, count: int) -> None:
        """Take what was read."""
        if self.phase is not Phase.LINGERING and not self._transport.is_closing():
            self._received(bytes(self._shared.buffer[:count]))

    def eof_received(self) -> bool:
        """Keep the connection while the answer to a complete request is due."""
        self._half_closed = True
        return self._exchange is not None and self._exchange.body_complete

    def pause_writing(self) -> None:
        """Let the application wait until the client has read."""
        self._drained = asyncio.get_running_loop().create_future()

    def resume_writing(self) -> None:
        """Let the application write again."""
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)
        self._drained = None

    # The exchange calls these ---------------------------------------------------------------------------------------

    @property
    def closes(self) -> bool:
        """Whether the answer closes this connection, whatever the client asked for."""
        return self._shared.closes or self._shared.crowded or (self._half_closed and not self._pending)

    @property
    def date(self) -> bytes:
        """The Date header line."""
        return self._shared.date

    def write(self, data: bytes) -> None:
        """Write; drop the data when the connection is closing."""
        if not self._transport.is_closing():
            self._transport.write(data)

    async def writable(self) -> None:
        """Return when the client has read enough of what was written, or the connection is gone."""
        if self._drained is not None:
            await asyncio.shield(self._drained)

    def body_consumed(self) -> None:
        """Read on."""
        self._read(on=not self._pending)

    def answered(self, exchange: Exchange) -> None:
        """Close, or go on with the next request."""
        self._exchange = None
        if self._transport.is_closing():
            return
        if not exchange.keep_alive:
            self._close(linger=bool(self._pending) or not exchange.body_complete)
            return
        self._drop = exchange.rest or 0
        self._enter(Phase.REST if self._drop else Phase.IDLE)
        self._next()

    # The server calls these -----------------------------------------------------------------------------------------

    def check(self, now: float) -> None:
        """End what took too long."""
        if self._is_unread(now):
            self._shared.refused("answerUnread", self._peer)
            self._transport.abort()
        elif now - self.since >= self._allowed():
            if self.phase is Phase.HEAD:
                self._refuse("headTooSlow")
            elif self.phase is Phase.IDLE:
                self._transport.close()
            else:
                self._transport.abort()

    def close(self) -> None:
        """Close a connection that has no request; others close after their answer."""
        if self.phase is Phase.IDLE:
            self._transport.close()

    def abort(self) -> None:
        """Close the connection at once."""
        self._transport.abort()

    # Requests -------------------------------------------------------------------------------------------------------

    def _received(self, data: bytes) -> None:
        if self.phase is Phase.IDLE and not self._pending:
            end = data.find(_END_OF_HEAD, 0, MAX_HEAD)
            if end > 0:  # nearly every request: its head arrived whole
                end += len(_END_OF_HEAD)
                self._begin(data[:end], data[end:])
                self._next()
                return
        if self._drop:
            data = self._without_rest(data)
        exchange = self._exchange
        if data and exchange is not None and not exchange.body_complete:
            data = self._feed(exchange, data)
        self._pending += data
        self._next()

    def _next(self) -> None:
        # Start with the next request, if its head is whole; read on, unless what was read has to wait.
        if self._pending and self._exchange is None and not self._drop:
            self._begin_pending()
        exchange = self._exchange
        if exchange is not None:
            self._read(on=not (self._pending or exchange.full))
        elif not self._transport.is_closing() and self.phase is not Phase.LINGERING:
            if self._half_closed:
                self._transport.close()
            else:
                self._read(on=True)

    def _begin_pending(self) -> None:
        pending = self._pending
        while pending[:2] == b"\r\n":  # some clients send an empty line after a body
            del pending[:2]
        end = pending.find(_END_OF_HEAD, 0, MAX_HEAD)
        if end < 0:
            self._wait_for_head()
            return
        end += len(_END_OF_HEAD)
        text = bytes(memoryview(pending)[:end])
        del pending[:end]
        self._begin(text, b"")

    def _begin(self, text: bytes, more: bytes) -> None:
        # Start with the request whose head this is; `more` followed it and is not yet pending.
        try:
            head = read_head(text)
        except HeadError as error:
            self._refuse("invalidRequest", str(error))
            return
        exchange = self._exchange = Exchange(head, scope_of(head, server=self._server, client=self._client), self)
        self._enter(Phase.ANSWERING)
        if self._pending and not exchange.body_complete:
            more = bytes(self._pending)
            self._pending.clear()
        if more:
            self._pending += more if exchange.body_complete else self._feed(exchange, more)
        if self._exchange is exchange:
            self._shared.start(self._answer(exchange))

    def _wait_for_head(self) -> None:
        if len(self._pending) >= MAX_HEAD:
            self._refuse("headTooLarge")
        elif cannot_become_head(self._pending):
            self._refuse("invalidRequest", _NOT_HTTP)
        elif self.phase is not Phase.HEAD:
            self._enter(Phase.HEAD if self._pending else Phase.IDLE)

    def _feed(self, exchange: Exchange, data: bytes) -> bytes:
        # Give the exchange its part of what arrived and return the rest.
        try:
            return exchange.feed(data)
        except ChunkError:
            exchange.disconnect()
            if exchange.answer_began:
                self._transport.abort()
            else:
                self._refuse("invalidRequest", "The body is not made of valid chunks.")
            return b""

    async def _answer(self, exchange: Exchange) -> None:
        try:
            await self._shared.app(exchange.scope, exchange.receive, exchange.send)
        except Exception:  # noqa: BLE001 - the middleware answers errors; here an answer was broken off
            get_logger().exception("request.broken_off", path=exchange.scope["path"])
        if not exchange.answer_complete and not exchange.disconnected:
            self._transport.abort()

    def _without_rest(self, data: bytes) -> bytes:
        rest = data[self._drop :]
        self._drop = max(0, self._drop - len(data))
        if not self._drop:
            self._enter(Phase.IDLE)
        return rest

    # Ends -----------------------------------------------------------------------------------------------------------

    @property
    def _peer(self) -> str:
        return self._client[0] if self._client else ""

    def _enter(self, phase: Phase) -> None:
        self.phase = phase
        self.since = self._shared.clock.monotonic()

    def _allowed(self) -> float:
        timeouts = self._shared.timeouts
        if self.phase is Phase.IDLE:
            return timeouts.idle
        if self.phase is Phase.HEAD:
            return min(timeouts.head, _CROWDED_TIMEOUT) if self._shared.crowded else timeouts.head
        return float("inf") if self.phase is Phase.ANSWERING else _REST_TIMEOUT

    def _is_unread(self, now: float) -> bool:
        unsent = self._transport.get_write_buffer_size()
        if not unsent or not self._unsent or unsent < self._unsent:
            self._unsent_since = now
        self._unsent = unsent
        return now - self._unsent_since >= self._shared.timeouts.unread

    def _read(self, *, on: bool) -> None:
        if on is self._reading or self._transport.is_closing():
            return
        self._reading = on
        if on:
            self._transport.resume_reading()
        else:
            self._transport.pause_reading()

    def _refuse(self, code: str, detail: str = "") -> None:
        kind = PROBLEM_TYPES[code]
        request_id = secrets.token_hex(8)
        answer = response_of(Problem(code, kind.status, detail or f"{kind.title}."), request_id)
        self._shared.refused(code, self._peer)
        headers = completed(answer.raw_headers, request_id)
        headers.append((b"connection", b"close"))
        self.write(head_of(kind.status, headers, self._shared.date) + bytes(answer.body))
        self._exchange = None
        self._close(linger=True)

    def _close(self, *, linger: bool) -> None:
        self._pending.clear()
        if linger and self._transport.can_write_eof():
            # A close with unread bytes would reset the connection, and the client might not see the answer.
            self._transport.write_eof()
            self._enter(Phase.LINGERING)
            self._read(on=True)
        else:
            self._transport.close()
