"""One connection that carries one exchange at a time.

Rule guarded: an answer belongs to the request in flight or to none. Bytes that arrive while no request is in flight,
after an answer, or before the request is completely written close the connection, so none of them can reach a later
request.
"""

import asyncio
import math
from collections.abc import Callable
from functools import partial

from fanout.http1.exchange import BrokenExchangeError, Limits, Response
from fanout.http1.messages import AnswerReader, read_whole
from fanout.http1.transport import Transport

BeforeWrite = Callable[[], None]
OnDone = Callable[[Response | BrokenExchangeError], None]
_IDLE_MARGIN = 1.0  # seconds before the server's announced end at which an idle connection is closed


class Connection:
    """A connection as the pool sees it: idle or busy, and usable for one more request or not."""

    __slots__ = (
        "_idle_limit",
        "_idle_since",
        "_limits",
        "_method",
        "_on_done",
        "_on_lost",
        "_opened_at",
        "_reader",
        "_transport",
        "answers",
        "deadline",
    )

    def __init__(
        self, transport: Transport, limits: Limits, now: float, on_lost: "Callable[[Connection], None]"
    ) -> None:
        """`on_lost` is called once, when the connection has ended for whatever reason."""
        self._transport = transport
        self._limits = limits
        self._on_lost = on_lost
        self._opened_at = now
        self._idle_since = now
        self._idle_limit = limits.idle_seconds
        self._method = ""  # of the request in flight, "" for none
        self._reader: AnswerReader | None = None  # of an answer that comes in pieces
        self._on_done: OnDone | None = None
        self.deadline = math.inf
        self.answers = 0

    def __repr__(self) -> str:
        state = "closed" if not self._transport.is_open else "busy" if self._method else "idle"
        return f"<Connection {state}, {self.answers} answers>"

    def open(self) -> bool:
        """Begin to read, and return whether nothing came before the first request."""
        self._transport.start(self)
        return self._transport.is_silent()

    def is_fresh(self, now: float) -> bool:
        """Return whether it is open, not too old and not idle for too long."""
        return (
            self._transport.is_open
            and now - self._idle_since < self._idle_limit
            and now - self._opened_at < self._limits.max_age_seconds
        )

    def is_usable(self, now: float) -> bool:
        """Return whether it is fresh and silent, as it must be between exchanges.

        An end or stray bytes that already lie in the kernel are seen here, before the request is written, and not
        mistaken for its answer.
        """
        return self.is_fresh(now) and self._transport.is_silent()

    def exchange(self, message: bytes, method: str, deadline: float) -> asyncio.Future[Response]:
        """Write `message` and return the future of its answer. The connection must be usable."""
        answer: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
        self.begin(message, method, deadline, partial(_resolve, answer))
        return answer

    def begin(self, message: bytes, method: str, deadline: float, on_done: OnDone) -> None:
        """Write `message`, and have `on_done` called from the loop with its answer or error.

        The connection must be usable. When `on_done` is called it is idle again, or closed.
        """
        self._method = method
        self._on_done = on_done
        self.deadline = deadline
        self._transport.write(message)

    def release(self, now: float) -> bool:
        """End the use of it, and return whether it may be used again. An exchange still in flight closes it."""
        if self._method:
            self.abort()
        self._idle_since = now
        return self.is_fresh(now)

    def time_out(self) -> None:
        """Fail the exchange in flight: its deadline has passed."""
        if self._method:
            self._fail(self._reader_in_flight().timeout_error())

    def abort(self) -> None:
        """Close at once. What is unsent or unread is dropped, and an exchange in flight is not reported."""
        self._method, self._reader, self._on_done = "", None, None
        self.deadline = math.inf
        if self._transport.is_open:
            self._transport.abort()
            self._on_lost(self)

    def fail(self, reason: str) -> None:
        """Close at once and fail the exchange in flight, if there is one."""
        if self._method:
            self._fail(self._reader_in_flight().broken_error(reason))
        else:
            self.abort()

    def data_received(self, data: bytes) -> None:
        if not self._method:
            self.abort()
            return
        whole = read_whole(data, self._method, self._limits, reused=self.answers > 0) if self._reader is None else None
        if whole is not None:
            response, head = whole
            self._finish(response, keep_alive=head.keep_alive, idle_timeout=head.idle_timeout)
            return
        reader = self._reader_in_flight()
        try:
            piece = reader.feed(data)
        except BrokenExchangeError as error:
            self._fail(error)
            return
        if piece is not None:
            self._finish(piece, keep_alive=reader.keep_alive, idle_timeout=reader.idle_timeout)

    def ended(self, reason: str | None) -> None:
        response = self._reader.end() if self._reader is not None and reason is None else None
        if response is not None:
            self._finish(response, keep_alive=False, idle_timeout=None)
        else:
            self.fail("The connection ended" if reason is None else f"The connection broke ({reason})")

    def _reader_in_flight(self) -> AnswerReader:
        """Return the reader of the answer in flight; it is made for the first piece that is not a whole answer."""
        if self._reader is None:
            self._reader = AnswerReader(self._method, self._limits, reused=self.answers > 0)
        return self._reader

    def _finish(self, response: Response, *, keep_alive: bool, idle_timeout: float | None) -> None:
        """Report the answer. The connection stays open if both sides want that and the request is completely sent."""
        on_done, self._on_done = self._on_done, None
        self.answers += 1
        if keep_alive and not self._transport.has_unsent:
            self._method, self._reader = "", None
            self.deadline = math.inf
            if idle_timeout is not None:
                self._idle_limit = min(self._limits.idle_seconds, idle_timeout - _IDLE_MARGIN)
        else:
            self.abort()
        if on_done is not None:
            on_done(response)

    def _fail(self, error: BrokenExchangeError) -> None:
        on_done = self._on_done
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
