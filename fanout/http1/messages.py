"""The two messages of HTTP/1.1: what a request is made of, and how bytes become an answer. Pure.

No socket, clock or loop is involved, so tests can cut the bytes in every way. Source: RFC 9112, sections 2.2, 3, 4, 5,
6 (message body, 6.3 for its length) and 9.3 (persistence). Rules guarded:
- No value of a request can add a line or a second request. What does not fit on its line is refused when the value is
  made, and so is a header that the client itself writes: a second Content-Length is how requests are smuggled. Heads
  and header lines are values of their own so that they are checked once and written many times.
- An answer is returned exactly once, it is the same however the bytes were cut, and its memory is bounded by `Limits`.
  Interim answers (1xx) are skipped. Bytes after the end are not kept: they only mean that the connection must not serve
  again.
- Answers that are alike byte for byte are read once and remembered, a bounded number of small ones. What is remembered
  is a frozen value that depends on nothing but these bytes; who asks checks the limits of size each time.
- An answer whose end two readers could place differently is refused, because what follows it would be taken for the
  next answer. One expression is the whole grammar of a head: no folded lines, no bare CR or LF, no space before a
  colon, no control characters. Content-Length is one plain number. Transfer-Encoding is exactly `chunked`, never beside
  a length, never in HTTP/1.0. One match costs less than a callback for each header.
"""

import re
from functools import lru_cache
from typing import Final

import msgspec

from fanout.http1.chunks import ChunkedBody
from fanout.http1.exchange import (
    BrokenExchangeError,
    ExchangeTimeoutError,
    FramingError,
    Headers,
    Limits,
    MalformedAnswerError,
    Response,
    StaleConnectionError,
)

UNTIL_CLOSE: Final = -1  # the end of the connection is the end of the body
CHUNKED: Final = -2  # chunks carry their own ends
FIRST_FINAL_STATUS: Final = 200  # statuses below are interim: another head follows
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_RESERVED: Final = rb"(?i:host|content-length|transfer-encoding|connection|keep-alive|upgrade|te|trailer|expect)"
# "Anything but CR" is the cheapest run an expression can match, so line feeds and NULs in values are counted apart.
_LINES: Final = re.compile(rb"(?:(?!" + _RESERVED + rb":)[!#$%&'*+\-.^_`|~0-9A-Za-z]++:[^\r]*+\r\n)*+")
_HEAD: Final = re.compile(
    rb"HTTP/1\.([01]) ([1-5][0-9][0-9])(?: [\t -~\x80-\xff]*+)?\r\n"
    rb"((?:[!#$%&'*+\-.^_`|~0-9A-Za-z]++:[\t -~\x80-\xff]*+\r\n)*+)\r\n"
)
_FRAMING_HEADERS: Final = re.compile(rb"\n(content-length|transfer-encoding|connection|keep-alive):[\t ]*([^\r]*)")
_IDLE_PROMISE: Final = re.compile(rb"(?:^|,)[\t ]*timeout=([0-9]{1,9})[\t ]*(?:,|$)")
_BODILESS: Final = frozenset({204, 304})
_SWITCHING: Final = 101
_KEEP_ALIVE: Final = (b"connection", b"keep-alive")
_MAX_DIGITS: Final = 18  # fits a signed 64-bit number; longer is an attack or a bug
_HEAD_START: Final = b"HTTP/1."
_HEAD_END: Final = b"\r\n\r\n"
_BARE_LF: Final = re.compile(rb"(?<!\r)\n")
REMEMBERED: Final = 1024  # bytes of an answer; longer ones are read each time, so that they fill no memory
_CHUNK_OVERHEAD: Final = 8  # bytes of framing allowed for each byte of body; chunks of one byte take five
Fields = list[tuple[bytes, bytes]]


# A request -----------------------------------------------------------------------------------------------------------


class HeaderLines(msgspec.Struct, frozen=True, gc=False):
    """Finished header lines: `Name: value` and CRLF each.

    Host, Content-Length, Transfer-Encoding and what concerns the connection are refused with ValueError.
    """

    text: bytes = b""

    def __post_init__(self) -> None:
        text = self.text
        if text.count(b"\n") != text.count(b"\r") or b"\0" in text or _LINES.fullmatch(text) is None:
            raise ValueError(
                "Header lines are `Name: value`, each ended by CRLF. Host, Content-Length and the headers of the "
                "connection are written by the client."
            )

    def __repr__(self) -> str:
        """Return the names alone: values may be secret."""
        names = (line.partition(b":")[0].decode() for line in self.text.split(b"\r\n")[:-1])
        return f"<HeaderLines {', '.join(names)}>"


class RequestHead(msgspec.Struct, frozen=True, gc=False):
    """What the requests to one resource have in common. `target` is in origin-form and already escaped.

    ValueError when the method is unknown or the target does not fit on its line.
    """

    method: str
    target: str
    headers: HeaderLines = HeaderLines()
    start: bytes = b""  # the request line and the name of the Host header, made here

    def __post_init__(self) -> None:
        method, target = self.method, self.target
        if method not in _METHODS:
            raise ValueError(f"The method of a request is one of {', '.join(sorted(_METHODS))}.")
        if not (target.startswith("/") and target.isascii() and target.isprintable()) or " " in target:
            raise ValueError("The target of a request starts with / and holds visible ASCII only.")
        line = f"{method} {target} HTTP/1.1\r\nHost: ".encode("ascii")
        msgspec.structs.force_setattr(self, "start", line)

    def __repr__(self) -> str:
        return f"RequestHead({self.method!r}, {self.target!r})"


class Request(msgspec.Struct, frozen=True, gc=False):
    """One call. `authorization` stands apart from the head because it changes when the head does not."""

    head: RequestHead
    body: bytes = b""
    authorization: HeaderLines = HeaderLines()

    def __repr__(self) -> str:
        return f"Request({self.head.method!r}, {self.head.target!r})"


# An answer -----------------------------------------------------------------------------------------------------------


class Head(msgspec.Struct, frozen=True, gc=False):
    """A head, read. `length` is that of the body in bytes, or CHUNKED or UNTIL_CLOSE. `lines` are the header lines.

    `idle_timeout` is how many seconds the server promises to keep the idle connection open, None without a promise.
    """

    status: int
    length: int
    keep_alive: bool
    idle_timeout: float | None
    lines: bytes


class Whole(msgspec.Struct, frozen=True, gc=False):
    """An answer that came in one piece, its head, and the bytes of that."""

    response: Response
    head: Head
    head_size: int


def read_whole(data: bytes, method: str, *, reused: bool) -> Whole | None:
    """Return an answer that came in one piece with a counted body and nothing after it, as nearly all do.

    None for any other answer and for malformed bytes: feed an AnswerReader then, from the first byte. The limits of
    size are not checked here.
    """
    match = _HEAD.match(data)
    if match is None:
        return None
    try:
        head, size = _interpret(match, method), match.end()
    except FramingError:
        return None
    if head.status < FIRST_FINAL_STATUS or head.length != len(data) - size:
        return None
    return Whole(Response(head.status, Headers(head.lines), data[size:], reused), head, size)


known_answer = lru_cache(maxsize=64)(read_whole)  # for those of at most `REMEMBERED` bytes


class AnswerReader:
    """Reads one answer that comes in pieces: `feed` it until it returns a Response, then drop it.

    After that, `keep_alive` says whether the connection may carry another exchange, and `idle_timeout` how many seconds
    the server promises to keep it open unused. `began` says whether any byte came.
    """

    __slots__ = (
        "_body", "_chunked_bytes", "_chunks", "_head", "_head_size", "_limits", "_method", "_partial", "_remaining",
        "_reused", "began", "keep_alive",
    )  # fmt: skip

    def __init__(self, method: str, limits: Limits, *, reused: bool) -> None:
        """Store; `method` is that of the request (the answer to HEAD has no body), `reused` is for the Response."""
        self._method = method
        self._limits = limits
        self._reused = reused
        self._head: Head | None = None
        self._head_size = 0
        self._partial: bytearray | None = None
        self._remaining = 0
        self._body = bytearray()
        self._chunks: ChunkedBody | None = None
        self._chunked_bytes = 0
        self.began = False
        self.keep_alive = False

    @property
    def idle_timeout(self) -> float | None:
        """How many seconds the server promises to keep the idle connection open, None without a promise."""
        return None if self._head is None else self._head.idle_timeout

    @property
    def _answered(self) -> int | None:
        return None if self._head is None else self._head.status

    def feed(self, data: bytes) -> Response | None:
        """Read what arrived and return the answer once it is complete.

        Bytes beyond its end clear `keep_alive` and are dropped. After a MalformedAnswerError the reader is of no use.
        """
        self.began = True
        try:
            while self._head is None:
                if not data:
                    return None
                data = self._read_head(data)
            if self._chunks is None:
                return self._read_body(self._head, data)
            return self._read_chunks(self._head, self._chunks, data)
        except FramingError as error:
            what = f"Malformed answer: {error}."
            raise MalformedAnswerError(what, reused=self._reused, answered=self._answered) from None

    def end(self) -> Response | None:
        """Return the answer when the orderly end of the connection is the end of its body, else None."""
        head = self._head
        if head is None or head.length != UNTIL_CLOSE:
            return None
        return self._answer(head, bytes(self._body))

    def broken_error(self, what: str) -> BrokenExchangeError:
        """Return the error for `what` having happened now; its text says how far the answer had come."""
        kind = BrokenExchangeError if self.began else StaleConnectionError
        return kind(f"{what} {self._progress()}.", reused=self._reused, answered=self._answered)

    def timeout_error(self) -> ExchangeTimeoutError:
        """Return the error for a deadline that has passed now."""
        text = f"{self._limits.request_timeout:g} s passed {self._progress()}."
        return ExchangeTimeoutError(text, reused=self._reused, answered=self._answered)

    def _progress(self) -> str:
        if self._head is not None:
            return f"before the end of an answer {self._head.status}"
        return "before the end of an answer's head" if self.began else "before any answer"

    def _read_head(self, data: bytes) -> bytes:
        """Look for the end of a head and return what follows it, b"" while the head is incomplete."""
        text: bytes | bytearray = data
        searched = 0
        if self._partial is not None:
            searched = max(0, len(self._partial) - len(_HEAD_END) + 1)
            self._partial += data
            text = self._partial
        at = text.find(_HEAD_END, searched)
        size = len(text) if at < 0 else at + len(_HEAD_END)
        if self._head_size + size > self._limits.max_headers:
            raise FramingError(f"a head over {self._limits.max_headers} bytes")
        if at < 0:
            return self._keep_partial(text, searched)
        self._head_size += size
        self._partial = None
        head = read_head(bytes(text[:size]), self._method)
        if head.status >= FIRST_FINAL_STATUS:
            self._take_head(head)
        return bytes(text[size:])

    def _keep_partial(self, text: bytes | bytearray, searched: int) -> bytes:
        """Keep an incomplete head, unless its beginning already shows that it is not one."""
        if not text.startswith(_HEAD_START[: len(text)]) or _BARE_LF.search(text, searched):
            raise FramingError("the head is not an HTTP/1.0 or HTTP/1.1 head")
        if self._partial is None:
            self._partial = bytearray(text)
        return b""

    def _take_head(self, head: Head) -> None:
        self._head = head
        self._remaining = head.length
        self.keep_alive = head.keep_alive
        if head.length == CHUNKED:
            self._chunks = ChunkedBody(self._limits.max_body)

    def _read_body(self, head: Head, data: bytes) -> Response | None:
        """Read a body that is counted or lasts until the end of the connection."""
        if not data and not self._remaining:
            return self._answer(head, b"")
        counted = head.length != UNTIL_CLOSE
        if counted and len(data) > self._remaining:
            data = data[: self._remaining]
            self.keep_alive = False
        if data:
            self._body += data
            if len(self._body) > self._limits.max_body:
                self.keep_alive = False
                return self._answer(head, bytes(self._body[: self._limits.max_body]))
        if not counted:
            return None
        self._remaining -= len(data)
        return self._answer(head, bytes(self._body)) if self._remaining == 0 else None

    def _read_chunks(self, head: Head, chunks: ChunkedBody, data: bytes) -> Response | None:
        if not data:
            return None
        self._chunked_bytes += len(data)
        if chunks.feed(data):
            self.keep_alive = self.keep_alive and not (chunks.truncated or chunks.has_trailing_bytes)
            return self._answer(head, chunks.body)
        if self._chunked_bytes > self._limits.max_headers + _CHUNK_OVERHEAD * len(chunks):
            raise FramingError("more chunk framing than body")
        return None

    def _answer(self, head: Head, body: bytes) -> Response:
        return Response(head.status, Headers(head.lines), body, self._reused)


def read_head(text: bytes, method: str) -> Head:
    """Read a whole head, from the status line to the empty line; raises FramingError.

    `method` is that of the request: the answer to HEAD has no body, whatever its head says.
    """
    match = _HEAD.fullmatch(text)
    if match is None:
        raise FramingError("the head is not an HTTP/1.0 or HTTP/1.1 head")
    return _interpret(match, method)


def _interpret(match: re.Match[bytes], method: str) -> Head:
    minor, digits, lines = match.groups()
    status = int(digits)
    framing: Fields = _FRAMING_HEADERS.findall(match[0].lower())
    modern = minor == b"1"
    if modern and status >= FIRST_FINAL_STATUS and status not in _BODILESS and method != "HEAD":  # nearly every answer
        if _KEEP_ALIVE in framing:
            framing.remove(_KEEP_ALIVE)  # the default
        if len(framing) == 1 and framing[0][0] == b"content-length":
            value = framing[0][1]
            length = int(value) if value.isdigit() and len(value) <= _MAX_DIGITS else _content_length(value)
            return Head(status, length, True, None, lines)
    if status == _SWITCHING:
        raise FramingError("a switch of protocols that was not requested")
    stated, options = _body_length(framing, modern=modern), _options(framing)
    length = 0 if method == "HEAD" or status in _BODILESS or status < FIRST_FINAL_STATUS else stated
    keep_alive = length != UNTIL_CLOSE and b"close" not in options and (modern or b"keep-alive" in options)
    return Head(status, length, keep_alive, _idle_timeout(framing), lines)


def _body_length(framing: Fields, *, modern: bool) -> int:
    lengths = [value for name, value in framing if name == b"content-length"]
    encodings = [value for name, value in framing if name == b"transfer-encoding"]
    if len(lengths) > 1:
        raise FramingError("more than one Content-Length")
    if not encodings:
        return _content_length(lengths[0]) if lengths else UNTIL_CLOSE
    if lengths:
        raise FramingError("Transfer-Encoding beside Content-Length")
    if len(encodings) > 1 or encodings[0].strip() != b"chunked":
        raise FramingError("a Transfer-Encoding other than chunked")
    if not modern:
        raise FramingError("Transfer-Encoding in HTTP/1.0")
    return CHUNKED


def _content_length(value: bytes) -> int:
    digits = value.rstrip()
    if not digits.isdigit() or len(digits) > _MAX_DIGITS:
        raise FramingError("a Content-Length that is not a plain number")
    return int(digits)


def _options(framing: Fields) -> frozenset[bytes]:
    return frozenset(option.strip() for name, value in framing if name == b"connection" for option in value.split(b","))


def _idle_timeout(framing: Fields) -> float | None:
    for name, value in framing:
        if name == b"keep-alive" and (match := _IDLE_PROMISE.search(value)):
            return float(match[1])
    return None
