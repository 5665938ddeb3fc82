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
from typing import cast

from fanout.signalr.http1.answer import AnswerReader
from fanout.signalr.http1.exchange import Limits, Response
from fanout.signalr.http1.failures import BrokenExchangeError

_IDLE_MARGIN = 1.0  # seconds before the server's announced end at which an idle connection is given up


class Connection(asyncio.Protocol):
    """A connection as the pool sees it: idle or busy, fit for one more request or not."""

    __slots__ = (
        "_answer",
        "_idle_limit",
        "_idle_since",
        "_limits",
        "_loop",
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
        self._reader: AnswerReader | None = None
        self._answer: asyncio.Future[Response] | None = None
        self.deadline = math.inf
        self.open = False
        self.served = 0

    def __repr__(self) -> str:
        state = "closed" if not self.open else "idle" if self._reader is None else "busy"
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

    def is_silent(self) -> bool:
        """Tell whether nothing waits to be read, as it must be between exchanges.

        The loop may not have looked at the socket since the last answer. An end or stray bytes that already lie in the
        kernel are seen here, before the request is written, and not mistaken for its answer.
        """
        return not self.is_closing() and self._poll is not None and not self._poll.poll(0)

    def exchange(self, message: bytes, method: str, deadline: float) -> asyncio.Future[Response]:
        """Write `message` and give the future of its answer; the connection must be fit and idle."""
        self._reader = AnswerReader(method, self._limits, reused=self.served > 0)
        self._answer = answer = self._loop.create_future()
        self.deadline = deadline
        self._transport.write(message)
        return answer

    def rest(self, now: float) -> bool:
        """End a turn, and tell whether it is fit to stay. An exchange still in flight was given up: that closes."""
        if self._reader is not None:
            self.abort()
        self._idle_since = now
        return self.is_fit(now)

    def time_out(self) -> None:
        """Fail the exchange in flight: its deadline has passed."""
        if self._reader is not None:
            self._fail(self._reader.late())

    def abort(self) -> None:
        """Close at once and drop what is unsent or unread; whoever awaits an answer is not told."""
        self.open = False
        self._reader = None
        self.deadline = math.inf
        self._transport.abort()

    def give_up(self, reason: str) -> None:
        """Close at once and fail the exchange in flight, if there is one."""
        if self._reader is None:
            self.abort()
        else:
            self._fail(self._reader.broken(reason))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one without being a subclass
        self._poll = select.poll()
        self._poll.register(transport.get_extra_info("socket").fileno(), select.POLLIN)
        self.open = True

    def data_received(self, data: bytes) -> None:
        reader = self._reader
        if reader is None:
            self.abort()
            return
        try:
            response = reader.feed(data)
        except BrokenExchangeError as error:
            self._fail(error)
            return
        if response is not None:
            self._finish(reader, response)

    def eof_received(self) -> None:
        reader = self._reader
        response = None if reader is None else reader.end()
        if reader is None or response is None:
            self.give_up("The connection ended")
        else:
            self._finish(reader, response)

    def connection_lost(self, exc: Exception | None) -> None:
        if exc is None:
            self.eof_received()
        else:
            self.give_up("The connection broke")
        self._poll = None
        self._on_lost(self)

    def _finish(self, reader: AnswerReader, response: Response) -> None:
        """Hand the answer over; one that came before the request was wholly written closes too."""
        answer = self._answer
        self.served += 1
        if reader.keep_alive and self._transport.get_write_buffer_size() == 0:
            self._reader = None
            self.deadline = math.inf
            if (promised := reader.idle) is not None:
                self._idle_limit = min(self._limits.idle_seconds, promised - _IDLE_MARGIN)
        else:
            self.abort()
        if answer is not None and not answer.done():
            answer.set_result(response)

    def _fail(self, error: BrokenExchangeError) -> None:
        answer = self._answer
        self.abort()
        if answer is not None and not answer.done():
            answer.set_exception(error)
