"""One request and its answer, between a connection and the ASGI application: its head, its body, and what is written.

Source: RFC 9112, sections 3 (request line), 5 (fields) and 6 (message body). Rules guarded:

1. A request whose end two readers could place differently is refused, because what follows it would be taken for
   another request. One expression is the whole grammar of a head: no folded lines, no bare CR or LF, no space before a
   colon, no control characters. An `Upgrade` is ignored, as RFC 9110 allows, and the body is read as usual.
2. What of a body waits for the application is bounded, because the connection stops reading at `HIGH_WATER`.
3. An answer is written only as fast as the client reads, its head and first part in one write. An answer that comes
   before the end of the body closes the connection, unless the rest is small: the rest of a refused body is not worth a
   connection. Every answer carries X-Request-Id and the security headers; a route may replace one of these.
"""

import asyncio
import re
import string
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any, Final, Protocol
from urllib.parse import unquote

import msgspec
from starlette.types import Message, Scope

from service.http.chunks import ChunkDecoder

CHUNKED: Final = -1  # as a length: chunks carry their own ends
MAX_HEAD: Final = 64 * 1024  # bytes
MAX_FIELDS: Final = 200
_TOKEN: Final = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]++"
_HEAD: Final = re.compile(
    rb"(" + _TOKEN + rb") ([!-~]++) HTTP/1\.([01])\r\n"
    rb"((?:" + _TOKEN + rb":[\t -~\x80-\xff]*+\r\n)*+)\r\n"
)
_FIELD: Final = re.compile(rb"([^:\r\n]++):[\t ]*+([^\r]*+)\r\n")
_ABSOLUTE: Final = re.compile(rb"https?://[^/?#]*+", re.IGNORECASE)
# The fields that decide where a message ends, whether another may follow, and that must not be there twice.
_FRAMING: Final = frozenset({b"content-length", b"transfer-encoding", b"connection", b"expect", b"host"})
_LETTERS: Final = frozenset(string.ascii_letters.encode())
_MAX_DIGITS: Final = 18  # fits a signed 64-bit number
HIGH_WATER: Final = 32 * 1024  # bytes of a body that wait for the application before reading stops
SMALL_REST: Final = 64 * 1024  # bytes of a body that are read and dropped to keep the connection
_STATUS_LINES: Final = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_WITHOUT_BODY: Final = frozenset({204, 304})
# Answers are about one caller and one moment, and none of them is a page to run scripts in or to be framed.
SECURITY_HEADERS: Final = (
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
)
_SECURITY_NAMES: Final = frozenset(name for name, _ in SECURITY_HEADERS)
Fields = list[tuple[bytes, bytes]]


# The head of a request -----------------------------------------------------------------------------------------------


class HeadError(ValueError):
    """The head is refused; the text says why, without any value of the sender."""


class Head(msgspec.Struct, frozen=True, gc=False):
    """A head. `length` is the size of the body in bytes, or CHUNKED. Names of `fields` are in lower case."""

    method: str
    path: str
    raw_path: bytes
    query: bytes
    version: str
    fields: Fields
    length: int
    keep_alive: bool
    expects_continue: bool


def read_head(text: bytes) -> Head:
    """Read a whole head, from the request line to the empty line; raises HeadError."""
    match = _HEAD.fullmatch(text)
    if match is None:
        raise HeadError("The head is not a valid HTTP/1.1 or HTTP/1.0 request.")
    method, target, minor, lines = match.groups()
    if lines.count(b"\n") > MAX_FIELDS:
        raise HeadError(f"The head has more than {MAX_FIELDS} header fields.")
    fields: Fields = [(name.lower(), value.rstrip(b"\t ")) for name, value in _FIELD.findall(lines)]
    modern = minor == b"1"
    framing = [field for field in fields if field[0] in _FRAMING]
    raw_path, _, query = _origin_form(target).partition(b"?")
    path = raw_path.decode("ascii")
    return Head(
        method=method.decode("ascii"),
        path=unquote(path) if "%" in path else path,
        raw_path=raw_path,
        query=query,
        version="1.1" if modern else "1.0",
        fields=fields,
        length=_length(framing, modern=modern),
        keep_alive=modern and b"close" not in _options(framing, b"connection"),
        expects_continue=modern and b"100-continue" in _options(framing, b"expect"),
    )


def cannot_become_head(text: bytes | bytearray) -> bool:
    """Return whether bytes without an empty line belong to another protocol, or have a line that ends without CR."""
    if not text or text == b"\r":
        return False
    if text[0] not in _LETTERS:
        return True
    end = text.find(b"\n")
    return end >= 0 and text[end - 1 : end] != b"\r"


def _options(framing: Fields, wanted: bytes) -> set[bytes]:
    return {option.strip() for name, value in framing if name == wanted for option in value.lower().split(b",")}


def _length(framing: Fields, *, modern: bool) -> int:
    names = [name for name, _ in framing]
    lengths = [value for name, value in framing if name == b"content-length"]
    encodings = [value for name, value in framing if name == b"transfer-encoding"]
    if names.count(b"host") > 1:
        raise HeadError("The head has more than one Host.")
    if not encodings:
        return _content_length(lengths) if lengths else 0
    if lengths:
        raise HeadError("The head has Transfer-Encoding and Content-Length.")
    if len(encodings) > 1 or encodings[0].lower() != b"chunked":
        raise HeadError("The only Transfer-Encoding that is read is chunked.")
    if not modern:
        raise HeadError("HTTP/1.0 has no Transfer-Encoding.")
    return CHUNKED


def _content_length(lengths: list[bytes]) -> int:
    value = lengths[0]
    if len(lengths) > 1 or not value.isdigit() or len(value) > _MAX_DIGITS:
        raise HeadError("Content-Length must be one plain number.")
    return int(value)


def _origin_form(target: bytes) -> bytes:
    if target.startswith(b"/") or target == b"*":
        return target
    match = _ABSOLUTE.match(target)
    if match is None:
        return b"/" + target  # CONNECT and other targets without a path: no route has such an address
    rest = target[match.end() :]
    return rest if rest.startswith(b"/") else b"/" + rest


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


# A request and its answer --------------------------------------------------------------------------------------------


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


# The head of an answer -----------------------------------------------------------------------------------------------


def head_of(status: int, headers: Iterable[tuple[bytes, bytes]], date: bytes) -> bytes:
    """Write the head of an answer; AnswerError when a header has a line break."""
    lines = [_STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status, date]
    lines += [b"%b: %b\r\n" % header for header in headers]
    lines.append(b"\r\n")
    text = b"".join(lines)
    if text.count(b"\n") != len(lines) or text.count(b"\r") != len(lines):
        raise AnswerError("a header has a line break")
    return text


def completed(headers: Iterable[tuple[bytes, bytes]], request_id: str) -> list[tuple[bytes, bytes]]:
    """Return the headers of an answer with the request id and the security headers it does not have."""
    own = list(headers)
    names = {name for name, _ in own}
    if _SECURITY_NAMES.isdisjoint(names):  # nearly every answer
        own += SECURITY_HEADERS
    else:
        own += [header for header in SECURITY_HEADERS if header[0] not in names]
    own.append((b"x-request-id", request_id.encode()))
    return own
