"""One TCP or TLS connection that carries one exchange at a time.

Rule guarded: an answer belongs to the request in flight or to nobody. Bytes that come while no request is in flight,
after an answer, or before the request was wholly written close the connection, so nothing of them can reach a later
request. Closing is always an abort: the end of every answer is known from its framing, so a TLS close_notify would
tell the server nothing, and waiting for its twin is a place to hang.
"""

import asyncio
import math
import select
from collections.abc import Callable
from functools import partial
from typing import cast

from fanout.http1.answer import AnswerReader, read_whole
from fanout.http1.exchange import BrokenExchangeError, Limits, Response

BeforeWrite = Callable[[], None]
OnDone = Callable[[Response | BrokenExchangeError], None]
_IDLE_MARGIN = 1.0  # seconds before the server's announced end at which an idle connection is given up


class Connection(asyncio.Protocol):
    """A connection as the pool sees it: idle or busy, fit for one more request or not."""

    __slots__ = (
        "_idle_limit",
        "_idle_since",
        "_limits",
        "_loop",
        "_method",
        "_on_done",
        "_on_lost",
        "_opened_at",
        "_poll",
        "_reader",
        "_transport",
        "deadline",
        "open",
        "served",
    )

    _loop: asyncio.AbstractEventLoop
    _transport: asyncio.Transport

    def __init__(self, limits: Limits, now: float, on_lost: "Callable[[Connection], None]") -> None:
        """`on_lost` is called once, when an opened connection has ended for whatever reason."""
        self._limits = limits
        self._on_lost = on_lost
        self._opened_at = now
        self._idle_since = now
        self._idle_limit = limits.idle_seconds
        self._poll: select.poll | None = None
        self._method = ""  # of the request in flight; "" for none
        self._reader: AnswerReader | None = None  # of an answer that comes in pieces
        self._on_done: OnDone | None = None
        self.deadline = math.inf
        self.open = False
        self.served = 0

    def __repr__(self) -> str:
        state = "closed" if not self.open else "busy" if self._method else "idle"
        return f"<Connection {state}, {self.served} answers>"

    def is_fit(self, now: float) -> bool:
        """Tell whether it is open and its age, its rest and the server's promise allow one more request."""
        return (
            self.open
            and now - self._opened_at < self._limits.max_age_seconds
            and now - self._idle_since < self._idle_limit
        )

    def is_closing(self) -> bool:
        """Tell whether it has ended or is about to, as far as the loop knows; nothing can be written then."""
        return not self.open or self._transport.is_closing()

    def may_serve(self, now: float) -> bool:
        """Tell whether it is fit for one more request and silent."""
        rested, age = now - self._idle_since, now - self._opened_at
        return rested < self._idle_limit and age < self._limits.max_age_seconds and self.is_silent()

    def is_silent(self) -> bool:
        """Tell whether nothing waits to be read, as it must be between exchanges.

        The loop may not have looked at the socket since the last answer. An end or stray bytes that already lie in the
        kernel are seen here, before the request is written, and not mistaken for its answer.
        """
        return self.open and not self._transport.is_closing() and self._poll is not None and not self._poll.poll(0)

    def exchange(self, message: bytes, method: str, deadline: float) -> asyncio.Future[Response]:
        """Write `message` and give the future of its answer; the connection must be fit and idle."""
        answer: asyncio.Future[Response] = self._loop.create_future()
        self.begin(message, method, deadline, partial(_resolve, answer))
        return answer

    def begin(self, message: bytes, method: str, deadline: float, on_done: OnDone) -> None:
        """Write `message` and have `heard` called with its answer, or with what came instead, from the loop.

        The connection must be fit and idle; it is again when `heard` is called, as far as it ever will be.
        """
        self._method = method
        self._on_done = on_done
        self.deadline = deadline
        self._transport.write(message)

    def rest(self, now: float) -> bool:
        """End a turn, and tell whether it is fit to stay. An exchange still in flight was given up: that closes."""
        if self._method:
            self.abort()
        self._idle_since = now
        return self.open and self._idle_limit > 0 and now - self._opened_at < self._limits.max_age_seconds

    def time_out(self) -> None:
        """Fail the exchange in flight: its deadline has passed."""
        if self._method:
            self._fail(self._read_on().timeout_error())

    def abort(self) -> None:
        """Close at once and drop what is unsent or unread; whoever awaits an answer is not told."""
        self.open = False
        self._method, self._reader = "", None
        self.deadline = math.inf
        self._transport.abort()

    def give_up(self, reason: str) -> None:
        """Close at once and fail the exchange in flight, if there is one."""
        if self._method:
            self._fail(self._read_on().broken_error(reason))
        else:
            self.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one without being a subclass
        self._poll = select.poll()
        self._poll.register(transport.get_extra_info("socket").fileno(), select.POLLIN)
        self.open = True

    def data_received(self, data: bytes) -> None:
        if not self._method:
            self.abort()
            return
        whole = read_whole(data, self._method, self._limits, reused=self.served > 0) if self._reader is None else None
        if whole is not None:
            response, head = whole
            self._finish(response, keep_alive=head.keep_alive, idle=head.idle_timeout)
            return
        reader = self._read_on()
        try:
            piece = reader.feed(data)
        except BrokenExchangeError as error:
            self._fail(error)
            return
        if piece is not None:
            self._finish(piece, keep_alive=reader.keep_alive, idle=reader.idle_timeout)

    def eof_received(self) -> None:
        response = self._reader.end() if self._reader is not None else None
        if response is None:
            self.give_up("The connection ended")
        else:
            self._finish(response, keep_alive=False, idle=None)

    def connection_lost(self, exc: Exception | None) -> None:
        if exc is None:
            self.eof_received()
        else:
            self.give_up("The connection broke")
        self._poll = None
        self._on_lost(self)

    def _read_on(self) -> AnswerReader:
        """Give the reader of the answer in flight, which has come to nothing yet when it is made."""
        if self._reader is None:
            self._reader = AnswerReader(self._method, self._limits, reused=self.served > 0)
        return self._reader

    def _finish(self, response: Response, *, keep_alive: bool, idle: float | None) -> None:
        """Hand the answer over; one that came before the request was wholly written closes too."""
        on_done, self._on_done = self._on_done, None
        self.served += 1
        if keep_alive and self._transport.get_write_buffer_size() == 0:
            self._method, self._reader = "", None
            self.deadline = math.inf
            if idle is not None:
                self._idle_limit = min(self._limits.idle_seconds, idle - _IDLE_MARGIN)
        else:
            self.abort()
        if on_done is not None:
            on_done(response)

    def _fail(self, error: BrokenExchangeError) -> None:
        on_done, self._on_done = self._on_done, None
        self.abort()
        if on_done is not None:
            on_done(error)


def _resolve(answer: asyncio.Future[Response], outcome: Response | BrokenExchangeError) -> None:
    if answer.done():
        return  # its caller was cancelled
    if isinstance(outcome, Response):
        answer.set_result(outcome)
    else:
        answer.set_exception(outcome)
