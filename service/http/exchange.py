"""One request and its answer, between a connection and the ASGI application.

Rules guarded: what of a body waits for the application is bounded, because the connection stops reading at
`HIGH_WATER`. An answer is written only as fast as the client reads. An answer that comes before the end of the body
closes the connection, unless the rest is small: the rest of a refused body is not worth a connection. Head and first
part of an answer go out in one write.
"""

import asyncio
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any, Final, Protocol

from starlette.types import Message, Scope

from service.http.chunks import ChunkDecoder
from service.http.request import CHUNKED, Head

HIGH_WATER: Final = 32 * 1024  # bytes of a body that wait for the application before reading stops
SMALL_REST: Final = 64 * 1024  # bytes of a body that are read and dropped to keep the connection
_STATUS_LINES: Final = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_WITHOUT_BODY: Final = frozenset({204, 304})


class Output(Protocol):
    """The connection, as an exchange writes to it."""

    @property
    def closes(self) -> bool:
        """Whether every answer now closes its connection."""

    @property
    def date(self) -> bytes:
        """The Date header line."""

    def write(self, data: bytes) -> None:
        """Write; drops the data when the connection is gone."""

    async def writable(self) -> None:
        """Return when the client has read enough of what was written, or the connection is gone."""

    def body_consumed(self) -> None:
        """Be told that the application has taken what there was of the body."""

    def answered(self, exchange: "Exchange") -> None:
        """Be told that the answer is complete."""


class AnswerError(RuntimeError):
    """The application broke the protocol, for example with a body longer than its Content-Length."""


class Exchange:
    """One request and its answer."""

    def __init__(self, head: Head, scope: Scope, output: Output) -> None:
        self.scope = scope
        self.disconnected = False
        self.answer_complete = False
        self.keep_alive = head.keep_alive
        self._output = output
        self._without_body = head.method == "HEAD"
        self._modern = head.version == "1.1"
        self._expects_continue = head.expects_continue
        self._chunks = ChunkDecoder() if head.length == CHUNKED else None
        self._left = max(0, head.length)  # bytes of the body that have not arrived, where its length is known
        self._body = b""  # what waits for the application; nearly always one part, which is not copied
        self._taken = False  # whether the application has seen the end of the body
        self._reader: asyncio.Future[None] | None = None
        self._head: bytes | None = None  # of the answer, until it is written with the first part
        self._promised: int | None = None  # bytes that the answer still has to have; None: chunked, or until the end
        self._chunked = False

    # The request ------------------------------------------------------------------------------------------------

    @property
    def body_complete(self) -> bool:
        """Whether the whole body has arrived."""
        return self._left == 0 if self._chunks is None else self._chunks.complete

    @property
    def full(self) -> bool:
        """Whether reading has to stop until the application takes what has arrived."""
        return len(self._body) >= HIGH_WATER

    @property
    def answer_began(self) -> bool:
        """Whether a part of the answer may be written."""
        return self._head is not None

    @property
    def rest(self) -> int | None:
        """The bytes of the body that have not arrived; None where that is not known."""
        return self._left if self._chunks is None else (0 if self._chunks.complete else None)

    def feed(self, data: bytes) -> bytes:
        """Take a piece of the body and return what follows its end; raises ChunkError."""
        self._expects_continue = False  # the client did not wait
        if self._chunks is None:
            part, rest = data[: self._left], data[self._left :]
            self._left -= len(part)
        else:
            part, rest = self._chunks.feed(data), self._chunks.rest
        if not self.answer_complete:
            self._body += part
        self._wake()
        return rest

    def disconnect(self) -> None:
        """Tell the application that the client is gone."""
        self.disconnected = True
        self._wake()

    async def receive(self) -> Message:
        """Return the next part of the body as ASGI has it."""
        while not (self._body or self.disconnected or self.answer_complete or (self.body_complete and not self._taken)):
            if self._expects_continue:
                self._expects_continue = False
                self._output.write(_CONTINUE)
            self._reader = asyncio.get_running_loop().create_future()
            await self._reader
        if self.disconnected or self.answer_complete:
            return {"type": "http.disconnect"}
        body, self._body = self._body, b""
        self._taken = self.body_complete
        self._output.body_consumed()
        return {"type": "http.request", "body": body, "more_body": not self._taken}

    def _wake(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    # The answer -------------------------------------------------------------------------------------------------

    async def send(self, message: Message) -> None:
        """Write a part of the answer as ASGI has it."""
        await self._output.writable()
        if self.disconnected:
            return
        if message["type"] == "http.response.start" and self._head is None:
            self._start(message["status"], list(message.get("headers", ())))
        elif message["type"] == "http.response.body" and self._head is not None and not self.answer_complete:
            self._continue(message.get("body", b""), more=message.get("more_body", False))
        else:
            raise AnswerError(f"unexpected {message['type']}")

    def _start(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        self._without_body |= status in _WITHOUT_BODY
        given = dict(headers)
        length = given.get(b"content-length")
        if length is not None:
            self._promised = int(length)
        if b"close" in given.get(b"connection", b"").lower():
            self.keep_alive = False
        if length is None and not self._without_body:
            self._chunked = self._modern
            self.keep_alive &= self._modern
            if self._chunked:
                headers.append((b"transfer-encoding", b"chunked"))
        rest = self.rest
        if self._output.closes or self._expects_continue or rest is None or rest > SMALL_REST:
            self.keep_alive = False
        if not self.keep_alive and b"connection" not in given:
            headers.append((b"connection", b"close"))
        self._head = head_of(status, headers, self._output.date)

    def _continue(self, body: bytes, *, more: bool) -> None:
        head, self._head = self._head or b"", b""
        if self._without_body:
            body = b""
        elif self._promised is not None:
            self._promised -= len(body)
            if self._promised < 0 or (self._promised and not more):
                raise AnswerError("the body is not as long as its Content-Length")
        elif self._chunked:
            body = (b"%x\r\n%b\r\n" % (len(body), body) if body else b"") + (b"" if more else b"0\r\n\r\n")
        if head or body:
            self._output.write(head + body)
        if not more:
            self.answer_complete = True
            self._body = b""
            self._wake()
            self._output.answered(self)


def head_of(status: int, headers: Iterable[tuple[bytes, bytes]], date: bytes) -> bytes:
    """Write the head of an answer; AnswerError when a header has a line break."""
    lines = [_STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status, date]
    lines += [b"%b: %b\r\n" % header for header in headers]
    lines.append(b"\r\n")
    text = b"".join(lines)
    if text.count(b"\n") != len(lines) or text.count(b"\r") != len(lines):
        raise AnswerError("a header has a line break")
    return text


def scope_of(head: Head, *, server: Any, client: Any) -> Scope:
    """Return the ASGI scope of a request; `server` and `client` are host and port, None on a Unix socket."""
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": head.version,
        "server": server,
        "client": client,
        "scheme": "http",
        "method": head.method,
        "root_path": "",
        "path": head.path,
        "raw_path": head.raw_path,
        "query_string": head.query,
        "headers": head.fields,
    }
