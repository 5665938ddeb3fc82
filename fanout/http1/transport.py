"""A connected socket that the event loop watches, plain or with TLS. The bytes it brings go to a receiver.

Rules guarded: the loop's own TLS transport costs twice the rest of a request, so sockets are read and written
directly, plain ones too: there is one path. Whatever goes wrong is reported once, from the loop and never from within a
write. Closing is always an abort: the end of each answer is known from its framing, so a TLS close_notify would tell
the server nothing, and waiting for its reply is a place to hang.
"""

import asyncio
import os
import select
import socket
import ssl
from typing import Final, Protocol

_READ_SIZE: Final = 64 * 1024
_RECORD_SIZE: Final = 16 * 1024  # the largest that TLS allows
_NOTHING: Final = memoryview(b"")


class Receiver(Protocol):
    """What a transport reports to."""

    def data_received(self, data: bytes) -> None:
        """Take bytes that arrived."""

    def ended(self, reason: str | None) -> None:
        """Take note that nothing more arrives: None after an orderly end, else what broke. Called once."""


class Transport:
    """A plain TCP connection. Only `abort` ends it."""

    __slots__ = ("_loop", "_poll", "_receiver", "_socket", "_unsent", "has_ended", "has_unsent", "is_open")

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
        self._poll.register(self._socket, select.POLLIN)
        self._loop.add_reader(self._socket, self._on_readable)

    def write(self, data: bytes) -> None:
        """Send `data`, the rest of it as soon as the socket takes more."""
        self._send(data)

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

    def _send(self, data: bytes) -> None:
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
            self._receive(data)
        else:
            self._end(self._unexpected_end())

    def _receive(self, data: bytes) -> None:
        self._receiver.data_received(data)

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
        if self._incoming.pending:
            self._receive(b"")

    def write(self, data: bytes) -> None:
        try:
            written = self._tls.write(data)
            while written < len(data):
                written += self._tls.write(memoryview(data)[written:])
        except ssl.SSLError as error:
            self._loop.call_soon(self._end, describe(error))
            return
        self._send(self._outgoing.read())

    def _receive(self, data: bytes) -> None:
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
            self._send(self._outgoing.read())
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
