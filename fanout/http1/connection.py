"""One connection: a socket that the event loop watches, plain or with TLS, and one exchange at a time on it.

Rules guarded:

- An answer belongs to the request in flight or to none. Bytes that arrive while no request is in flight, after an
  answer, or before the request is completely written close the connection, so none of them can reach a later request.
- The loop's own TLS transport costs twice the rest of a request, so sockets are read and written directly, plain ones
  too: there is one path. Whatever goes wrong is reported once, from the loop and never from within a write.
- Closing is always an abort: the end of each answer is known from its framing, so a TLS close_notify would tell the
  server nothing, and waiting for its reply is a place to hang.
"""

import asyncio
import math
import os
import select
import socket
import ssl
from collections.abc import Callable
from functools import partial
from typing import Final, Protocol

from fanout.http1.exchange import BrokenExchangeError, Limits, Response
from fanout.http1.messages import REMEMBERED, AnswerReader, known_answer, read_whole

BeforeWrite = Callable[[], None]
OnDone = Callable[[Response | BrokenExchangeError], None]
_READ_SIZE: Final = 64 * 1024
_RECORD_SIZE: Final = 16 * 1024  # the largest that TLS allows
_NOTHING: Final = memoryview(b"")
_IDLE_MARGIN = 1.0  # seconds before the server's announced end at which an idle connection is closed


# The socket ----------------------------------------------------------------------------------------------------------


class Receiver(Protocol):
    """What a transport reports to."""

    def data_received(self, data: bytes) -> None:
        """Take bytes that arrived."""

    def ended(self, reason: str | None) -> None:
        """Take note that nothing more arrives: None after an orderly end, else what broke. Called once."""


class Transport:
    """A plain TCP connection. Only `abort` ends it."""

    __slots__ = ("_loop", "_poll", "_receiver", "_socket", "_take", "_unsent", "has_ended", "has_unsent", "is_open")

    def __init__(self, connected: socket.socket) -> None:
        """Store; `connected` is in non-blocking mode."""
        self._socket = connected
        self._loop = asyncio.get_running_loop()
        self._poll = select.poll()
        self._unsent = _NOTHING
        self.is_open = True
        self.has_unsent = False  # the socket has not taken all that was written
        self.has_ended = False  # nothing more can arrive

    def start(self, receiver: Receiver) -> None:
        """Begin to read."""
        self._receiver = receiver
        self._take = receiver.data_received
        self._poll.register(self._socket, select.POLLIN)
        self._loop.add_reader(self._socket, self._on_readable)

    def write(self, data: bytes) -> None:
        """Send `data`, the rest of it as soon as the socket takes more."""
        if self.has_unsent:
            self._unsent = memoryview(bytes(self._unsent) + data)
            return
        try:
            sent = self._socket.send(data)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError as error:
            self._loop.call_soon(self._end, describe(error))
            return
        if sent < len(data):
            self._unsent, self.has_unsent = memoryview(data)[sent:], True
            self._loop.add_writer(self._socket, self._on_writable)

    def is_silent(self) -> bool:
        """Return whether the connection is open and the peer has sent nothing that was not read.

        The loop may not have looked at the socket since it was last read, so the socket is asked.
        """
        if self.is_open and not self.has_ended and self._poll.poll(0):
            self._on_readable()
        return self.is_open and not self.has_ended

    def abort(self) -> None:
        """Close at once. What is unsent or unread is dropped, and nothing more is reported."""
        if not self.is_open:
            return
        self.is_open = False
        self._loop.remove_reader(self._socket)
        if self.has_unsent:
            self._stop_writing()
        self._socket.close()

    def _on_writable(self) -> None:
        try:
            sent = self._socket.send(self._unsent)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._end(describe(error))
            return
        self._unsent = self._unsent[sent:]
        if not self._unsent:
            self._stop_writing()

    def _stop_writing(self) -> None:
        self._unsent, self.has_unsent = _NOTHING, False
        self._loop.remove_writer(self._socket)

    def _on_readable(self) -> None:
        try:
            data = self._socket.recv(_READ_SIZE)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._end(describe(error))
            return
        if data:
            self._take(data)
        else:
            self._end(self._unexpected_end())

    def _unexpected_end(self) -> str | None:
        """Return why the end of the TCP stream is not an orderly end, None where it is."""
        return None

    def _end(self, reason: str | None) -> None:
        if self.is_open and not self.has_ended:
            self._stop_reading()
            self._receiver.ended(reason)

    def _stop_reading(self) -> None:
        self.has_ended = True
        self._loop.remove_reader(self._socket)


class TlsTransport(Transport):
    """A TLS connection whose handshake is done: `tls` reads from `incoming` and writes to `outgoing`."""

    __slots__ = ("_incoming", "_outgoing", "_tls")

    def __init__(
        self, connected: socket.socket, tls: ssl.SSLObject, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO
    ) -> None:
        super().__init__(connected)
        self._tls = tls
        self._incoming = incoming
        self._outgoing = outgoing

    def start(self, receiver: Receiver) -> None:
        """Begin to read, with what came together with the end of the handshake."""
        super().start(receiver)
        self._take = self._decrypt
        if self._incoming.pending:
            self._decrypt(b"")

    def write(self, data: bytes) -> None:
        try:
            written = self._tls.write(data)
            while written < len(data):
                written += self._tls.write(memoryview(data)[written:])
        except ssl.SSLError as error:
            self._loop.call_soon(self._end, describe(error))
            return
        super().write(self._outgoing.read())

    def _decrypt(self, data: bytes) -> None:
        """Hand on in one piece all that can be decrypted, and then the end if it came with it."""
        self._incoming.write(data)
        data, error = b"", None
        try:
            data = piece = self._tls.read(_RECORD_SIZE)  # the whole of one record
            while piece and self._incoming.pending:
                piece = self._tls.read(_RECORD_SIZE)
                data += piece
        except ssl.SSLWantReadError:
            piece = None  # the rest of a record is still to come
        except ssl.SSLError as broken:
            error = broken
        if self._outgoing.pending:  # the answer to a key update
            super().write(self._outgoing.read())
        has_ended = error is not None or piece == b""  # the close_notify of the peer reads as nothing
        if has_ended:
            self._stop_reading()
        if data:
            self._receiver.data_received(data)
        if has_ended and self.is_open:
            self._receiver.ended(None if error is None else describe(error))

    def _unexpected_end(self) -> str | None:
        return "the stream ended without the end of TLS"


def describe(error: OSError) -> str:
    """Return what went wrong in words, without names or addresses."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate was refused ({error.verify_message})"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed ({(error.reason or 'no reason given').lower().replace('_', ' ')})"
    if isinstance(error, socket.gaierror):
        return f"the name cannot be resolved ({(error.strerror or 'no reason given').lower()})"
    return os.strerror(error.errno).lower() if error.errno else str(error) or type(error).__name__


# The exchange --------------------------------------------------------------------------------------------------------


class Connection:
    """A connection as the pool sees it: idle or busy, and usable for one more request or not."""

    __slots__ = (
        "_fresh_until",
        "_idle_limit",
        "_limits",
        "_method",
        "_on_done",
        "_on_lost",
        "_reader",
        "_too_old_at",
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
        self._too_old_at = now + limits.max_age_seconds
        self._idle_limit = limits.idle_seconds
        self._fresh_until = min(now + self._idle_limit, self._too_old_at)
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
        return self._transport.is_open and now < self._fresh_until

    def is_usable(self, now: float) -> bool:
        """Return whether it is fresh and silent, as it must be between exchanges.

        An end or stray bytes that already lie in the kernel are seen here, before the request is written, and not
        mistaken for its answer.
        """
        return now < self._fresh_until and self._transport.is_silent()  # which asks first whether it is open

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
        self._fresh_until = min(now + self._idle_limit, self._too_old_at)
        return self._transport.is_open and now < self._fresh_until

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
        if self._reader is None:
            read = known_answer if len(data) <= REMEMBERED else read_whole
            whole, limits = read(data, self._method, reused=self.answers > 0), self._limits
            if whole is not None and whole.head_size <= limits.max_headers and whole.head.length <= limits.max_body:
                head = whole.head
                self._finish(whole.response, keep_alive=head.keep_alive, idle_timeout=head.idle_timeout)
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
