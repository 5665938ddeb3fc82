"""Reads one answer from bytes. No socket, clock or loop is involved, so tests can cut the bytes in every way.

Source: RFC 9112. Rule guarded: an answer is returned exactly once, it is the same however the bytes were cut, and its
memory is bounded by `Limits`. Interim answers (1xx) are skipped. Bytes after the end are not kept: they only mean that
the connection must not serve again.
"""

import re
from typing import Final

from fanout.http1.chunks import ChunkedBody
from fanout.http1.exchange import (
    BrokenExchangeError,
    ExchangeTimeoutError,
    Headers,
    Limits,
    MalformedAnswerError,
    Response,
    StaleConnectionError,
)
from fanout.http1.head import CHUNKED, FIRST_FINAL_STATUS, UNTIL_CLOSE, FramingError, Head, find_head, read_head

_HEAD_START: Final = b"HTTP/1."
_HEAD_END: Final = b"\r\n\r\n"
_BARE_LF: Final = re.compile(rb"(?<!\r)\n")
_CHUNK_OVERHEAD: Final = 8  # bytes of framing allowed for each byte of body; chunks of one byte take five


def read_whole(data: bytes, method: str, limits: Limits, *, reused: bool) -> tuple[Response, Head] | None:
    """Return an answer that came in one piece with a counted body and nothing after it, as nearly all do.

    None for any other answer and for malformed bytes: feed an AnswerReader then, from the first byte.
    """
    try:
        found = find_head(data, method)
    except FramingError:
        return None
    if found is None:
        return None
    head, size = found
    if head.status < FIRST_FINAL_STATUS or head.length != len(data) - size:
        return None
    if size > limits.max_headers or head.length > limits.max_body:
        return None
    return Response(head.status, Headers(head.lines), data[size:], reused), head


class AnswerReader:
    """Reads one answer that comes in pieces: `feed` it until it returns a Response, then drop it.

    After that, `keep_alive` says whether the connection may carry another exchange, and `idle_timeout` how many seconds
    the server promises to keep it open unused. `began` says whether any byte came.
    """

    __slots__ = (
        "_body",
        "_chunked_bytes",
        "_chunks",
        "_head",
        "_head_size",
        "_limits",
        "_method",
        "_partial",
        "_remaining",
        "_reused",
        "began",
        "keep_alive",
    )

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
            answered = None if self._head is None else self._head.status
            raise MalformedAnswerError(f"Malformed answer: {error}.", reused=self._reused, answered=answered) from None

    def end(self) -> Response | None:
        """Return the answer when the orderly end of the connection is the end of its body, else None."""
        head = self._head
        if head is None or head.length != UNTIL_CLOSE:
            return None
        return self._answer(head, bytes(self._body))

    def broken_error(self, what: str) -> BrokenExchangeError:
        """Return the error for `what` having happened now; its text says how far the answer had come."""
        kind = BrokenExchangeError if self.began else StaleConnectionError
        return kind(f"{what} {self._progress()}.", reused=self._reused, answered=self._head and self._head.status)

    def timeout_error(self) -> ExchangeTimeoutError:
        """Return the error for a deadline that has passed now."""
        text = f"{self._limits.request_timeout:g} s passed {self._progress()}."
        return ExchangeTimeoutError(text, reused=self._reused, answered=self._head and self._head.status)

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
