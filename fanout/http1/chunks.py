"""Decodes a chunked body with httptools (llhttp), and knows exactly where it ended.

Source: RFC 9112, section 7.1. Rule guarded: llhttp is strict about sizes, line ends and extensions, but after the end
of a message it silently skips empty lines. So the last byte of each piece is fed alone: when the body was complete
before it, that byte did not belong to it. Trailers are checked and not kept.
"""

from typing import Final

from httptools import HttpParserError, HttpResponseParser

from fanout.http1.exchange import FramingError

_ANY_CHUNKED_HEAD: Final = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


class _TooLargeError(Exception):
    """Stops the decoder when the body is over its bound; callers see `truncated`."""


class _Collector:
    """The callbacks of the decoder. It holds no reference to the decoder, so the two form no garbage cycle."""

    __slots__ = ("body", "complete", "max_size")

    def __init__(self, max_size: int) -> None:
        self.max_size = max_size
        self.body = bytearray()
        self.complete = False

    def on_body(self, data: bytes) -> None:
        self.body += data
        if len(self.body) > self.max_size:
            raise _TooLargeError

    def on_message_complete(self) -> None:
        self.complete = True


class ChunkedBody:
    """A chunked body that comes in pieces; at most `max_size` bytes of it are kept.

    After `feed` returned True, `truncated` says whether the body was larger than `max_size`, and `has_trailing_bytes`
    whether bytes followed its end.
    """

    __slots__ = ("_collector", "_decoder", "has_trailing_bytes", "truncated")

    def __init__(self, max_size: int) -> None:
        self._collector = _Collector(max_size)
        self._decoder = HttpResponseParser(self._collector)
        self._decoder.feed_data(_ANY_CHUNKED_HEAD)
        self.truncated = False
        self.has_trailing_bytes = False

    def __len__(self) -> int:
        return len(self._collector.body)

    @property
    def body(self) -> bytes:
        """The decoded bytes so far, at most `max_size`."""
        return bytes(self._collector.body[: self._collector.max_size])

    def feed(self, data: bytes) -> bool:
        """Decode a piece of at least one byte and return whether the body has ended. Raises FramingError."""
        if self._decode(data[:-1]):
            self.has_trailing_bytes = not self.truncated
            return True
        return self._decode(data[-1:])

    def _decode(self, data: bytes) -> bool:
        try:
            self._decoder.feed_data(data)
        except HttpParserError as error:
            if isinstance(error.__context__, _TooLargeError):
                self.truncated = True
                return True
            if not self._collector.complete:
                raise FramingError(f"chunks: {error}") from None
        return self._collector.complete
