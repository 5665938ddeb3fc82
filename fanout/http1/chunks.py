"""Decodes a chunked body with httptools (llhttp), and knows exactly where it ended.

Source: RFC 9112, section 7.1. Rule guarded: llhttp is strict about sizes, line ends and extensions, but reads on past
the end of a message and skips empty lines there without a word. So the last byte of every piece goes in alone: when the
body was whole before it, that byte was one too many. Trailers are checked and dropped without being kept.
"""

from typing import Final

from httptools import HttpParserError, HttpResponseParser

from fanout.http1.head import UnacceptableError

_ANY_CHUNKED_HEAD: Final = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


class _FullError(Exception):
    """The body is over its bound: stops the decoder, leaves this module as `cut`."""


class _Gathered:
    """What the decoder calls back; it knows no decoder, so the two form no cycle for the collector to find."""

    __slots__ = ("body", "complete", "room")

    def __init__(self, room: int) -> None:
        self.room = room
        self.body = bytearray()
        self.complete = False

    def on_body(self, data: bytes) -> None:
        self.body += data
        if len(self.body) > self.room:
            raise _FullError

    def on_message_complete(self) -> None:
        self.complete = True


class ChunkedBody:
    """A chunked body on its way, at most `room` bytes of it.

    After `feed` said True: `cut` tells that there was more than `room`, `excess` that bytes followed the end.
    """

    __slots__ = ("_decoder", "_gathered", "cut", "excess")

    def __init__(self, room: int) -> None:
        self._gathered = _Gathered(room)
        self._decoder = HttpResponseParser(self._gathered)
        self._decoder.feed_data(_ANY_CHUNKED_HEAD)
        self.cut = False
        self.excess = False

    def __len__(self) -> int:
        return len(self._gathered.body)

    @property
    def body(self) -> bytes:
        """What was gathered so far, within the bound."""
        return bytes(self._gathered.body[: self._gathered.room])

    def feed(self, data: bytes) -> bool:
        """Take a piece of at least one byte; tells whether the body is over. Raises UnacceptableError."""
        if self._decode(data[:-1]):
            self.excess = not self.cut
            return True
        return self._decode(data[-1:])

    def _decode(self, data: bytes) -> bool:
        try:
            self._decoder.feed_data(data)
        except HttpParserError as error:
            if isinstance(error.__context__, _FullError):
                self.cut = True
                return True
            if not self._gathered.complete:
                raise UnacceptableError(f"chunks: {error}") from None
        return self._gathered.complete
