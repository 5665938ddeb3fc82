"""Reads one answer from bytes; no socket, no clock, no loop (sans-IO), so every cut of the bytes can be tried.

Source: RFC 9112. Rule guarded: an answer is given exactly once, is the same however the bytes were cut, and the memory
behind it is bounded by `Limits`. Interim answers (1xx) are skipped; bytes after the end are never kept, they only tell
that the connection must not serve again.
"""

import re
from typing import Final

from fanout.http1.chunks import ChunkedBody
from fanout.http1.exchange import Headers, Limits, Response
from fanout.http1.failures import (
    BrokenExchangeError,
    ExchangeTimeoutError,
    MalformedAnswerError,
    StaleConnectionError,
)
from fanout.http1.head import CHUNKED, FINAL, UNTIL_CLOSE, Head, UnacceptableError, find_head, read_head

_HEAD_START: Final = b"HTTP/1."
_HEAD_END: Final = b"\r\n\r\n"
_BARE_LF: Final = re.compile(rb"(?<!\r)\n")
_CHUNK_OVERHEAD: Final = 8  # framing bytes granted per body byte: chunks of one byte take five


def read_whole(data: bytes, method: str, limits: Limits, *, reused: bool) -> tuple[Response, Head] | None:
    """Read an answer that came in one piece with a counted body and nothing after it, as nearly all do.

    None for any other, and for what is wrong: an AnswerReader has to be fed then, from the first byte.
    """
    try:
        found = find_head(data, method)
    except UnacceptableError:
        return None
    if found is None:
        return None
    head, size = found
    if head.status < FINAL or head.length != len(data) - size:
        return None
    if size > limits.max_headers or head.length > limits.max_body:
        return None
    return Response(head.status, Headers(head.lines), data[size:], reused), head


class AnswerReader:
    """The reader of one answer: `feed` it until it gives a Response, then drop it.

    After that `keep_alive` tells whether the connection may carry another exchange, and `idle` how many unused seconds
    the server promised it, None for no promise. `began` tells whether any byte came.
    """

    __slots__ = (
        "_body",
        "_chunks",
        "_head",
        "_head_size",
        "_limits",
        "_method",
        "_missing",
        "_partial",
        "_raw",
        "_reused",
        "began",
        "keep_alive",
    )

    def __init__(self, method: str, limits: Limits, *, reused: bool) -> None:
        """Store; `method` is the request's (the answer to HEAD has no body), `reused` is for the Response."""
        self._method = method
        self._limits = limits
        self._reused = reused
        self._head: Head | None = None
        self._head_size = 0
        self._partial: bytearray | None = None
        self._missing = 0
        self._body = bytearray()
        self._chunks: ChunkedBody | None = None
        self._raw = 0
        self.began = False
        self.keep_alive = False

    @property
    def idle(self) -> float | None:
        """Seconds the server promised to keep the connection unused, None for no promise."""
        return None if self._head is None else self._head.idle

    def feed(self, data: bytes) -> Response | None:
        """Take what arrived; gives the answer once it is whole. Raises MalformedAnswerError, after which all is over.

        Bytes beyond the end of the answer clear `keep_alive` and are dropped.
        """
        self.began = True
        try:
            while self._head is None:
                if not data:
                    return None
                data = self._read_head(data)
            if self._chunks is None:
                return self._read_plain(self._head, data)
            return self._read_chunks(self._head, self._chunks, data)
        except UnacceptableError as error:
            answered = None if self._head is None else self._head.status
            raise MalformedAnswerError(f"Malformed answer: {error}.", reused=self._reused, answered=answered) from None

    def end(self) -> Response | None:
        """Take the orderly end of the connection: gives the answer when its body lasts until then, else None."""
        head = self._head
        if head is None or head.length != UNTIL_CLOSE:
            return None
        return self._answer(head, bytes(self._body))

    def broken(self, what: str) -> BrokenExchangeError:
        """Give the error for `what` happening now; it says how far the answer had come."""
        kind = BrokenExchangeError if self.began else StaleConnectionError
        return kind(f"{what} {self._progress()}.", reused=self._reused, answered=self._head and self._head.status)

    def late(self) -> ExchangeTimeoutError:
        """Give the error for a deadline that passed now."""
        text = f"{self._limits.request_timeout:g} s passed {self._progress()}."
        return ExchangeTimeoutError(text, reused=self._reused, answered=self._head and self._head.status)

    def _progress(self) -> str:
        if self._head is not None:
            return f"before the end of an answer {self._head.status}"
        return "before the end of an answer's head" if self.began else "before any answer"

    def _read_head(self, data: bytes) -> bytes:
        """Look for the end of a head; gives what follows it, b"" when the head goes on."""
        text: bytes | bytearray = data
        searched = 0
        if self._partial is not None:
            searched = max(0, len(self._partial) - len(_HEAD_END) + 1)
            self._partial += data
            text = self._partial
        at = text.find(_HEAD_END, searched)
        size = len(text) if at < 0 else at + len(_HEAD_END)
        if self._head_size + size > self._limits.max_headers:
            raise UnacceptableError(f"a head over {self._limits.max_headers} bytes")
        if at < 0:
            return self._keep_partial(text, searched)
        self._head_size += size
        self._partial = None
        head = read_head(bytes(text[:size]), self._method)
        if head.status >= FINAL:
            self._take_head(head)
        return bytes(text[size:])

    def _keep_partial(self, text: bytes | bytearray, searched: int) -> bytes:
        """Wait for the rest, unless what is here can never become a head."""
        if not text.startswith(_HEAD_START[: len(text)]) or _BARE_LF.search(text, searched):
            raise UnacceptableError("the head is no HTTP/1.0 or HTTP/1.1 head")
        if self._partial is None:
            self._partial = bytearray(text)
        return b""

    def _take_head(self, head: Head) -> None:
        self._head = head
        self._missing = head.length
        self.keep_alive = head.keep_alive
        if head.length == CHUNKED:
            self._chunks = ChunkedBody(self._limits.max_body)

    def _read_plain(self, head: Head, data: bytes) -> Response | None:
        """Gather a body that is counted or lasts until the end of the connection."""
        if not data and not self._missing:
            return self._answer(head, b"")
        counted = head.length != UNTIL_CLOSE
        if counted and len(data) > self._missing:
            data = data[: self._missing]
            self.keep_alive = False
        if data:
            self._body += data
            if len(self._body) > self._limits.max_body:
                self.keep_alive = False
                return self._answer(head, bytes(self._body[: self._limits.max_body]))
        if not counted:
            return None
        self._missing -= len(data)
        return self._answer(head, bytes(self._body)) if self._missing == 0 else None

    def _read_chunks(self, head: Head, chunks: ChunkedBody, data: bytes) -> Response | None:
        if not data:
            return None
        self._raw += len(data)
        if chunks.feed(data):
            self.keep_alive = self.keep_alive and not (chunks.cut or chunks.excess)
            return self._answer(head, chunks.body)
        if self._raw > self._limits.max_headers + _CHUNK_OVERHEAD * len(chunks):
            raise UnacceptableError("more chunk framing than body")
        return None

    def _answer(self, head: Head, body: bytes) -> Response:
        return Response(head.status, Headers(head.lines), body, self._reused)
