"""Decodes the chunked body of a request, and knows where it ends. Pure.

Source: RFC 9112, section 7.1. Rules guarded: sizes are plain hexadecimal numbers, lines end with CR LF, and the data of
a chunk is followed by CR LF; everything else is refused, because another reader might place the end differently. The
lines of sizes, extensions and trailers are bounded. Extensions and trailers are not kept.
"""

import re
from enum import Enum, auto
from typing import Final

_SIZE: Final = re.compile(rb"([0-9A-Fa-f]{1,15})(?:[\t ]*;[\t -~\x80-\xff]*)?\r\n")
_TRAILER: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[\t -~\x80-\xff]*\r\n")
_MAX_LINE: Final = 4096  # bytes of one size or trailer line
_MAX_TRAILERS: Final = 64


class ChunkError(ValueError):
    """The body is not made of valid chunks."""


class _Expected(Enum):
    SIZE = auto()
    DATA = auto()
    END_OF_DATA = auto()
    TRAILER = auto()


class ChunkDecoder:
    """A body that arrives in pieces. When `complete`, `rest` is what followed its end."""

    __slots__ = ("_expected", "_left", "_line", "_trailers", "complete", "rest")

    def __init__(self) -> None:
        self.complete = False
        self.rest = b""
        self._expected = _Expected.SIZE
        self._line = b""  # the start of a line whose end has not arrived
        self._left = 0  # bytes of the chunk that have not arrived
        self._trailers = 0

    def feed(self, data: bytes) -> bytes:
        """Return the decoded part of a piece; raises ChunkError."""
        parts: list[bytes] = []
        at = 0
        while at < len(data) and not self.complete:
            if self._expected is _Expected.SIZE and not self._line:
                at = _whole_chunks(data, at, parts)
                if at == len(data):
                    break
            if self._expected is _Expected.DATA:
                part = data[at : at + self._left]
                parts.append(part)
                at += len(part)
                self._left -= len(part)
                if not self._left:
                    self._expected = _Expected.END_OF_DATA
                continue
            end = data.find(b"\n", at) + 1
            line = self._line + data[at : end or len(data)]
            if len(line) > _MAX_LINE:
                raise ChunkError
            at = end or len(data)
            self._line = b"" if end else line
            if end:
                self._read(line)
        self.rest = data[at:]
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _read(self, line: bytes) -> None:
        if self._expected is _Expected.SIZE:
            match = _SIZE.fullmatch(line)
            if match is None:
                raise ChunkError
            self._left = int(match[1], 16)
            self._expected = _Expected.DATA if self._left else _Expected.TRAILER
        elif self._expected is _Expected.END_OF_DATA:
            if line != b"\r\n":
                raise ChunkError
            self._expected = _Expected.SIZE
        elif line == b"\r\n":
            self.complete = True
        else:
            self._trailers += 1
            if self._trailers > _MAX_TRAILERS or _TRAILER.fullmatch(line) is None:
                raise ChunkError


def _whole_chunks(data: bytes, at: int, parts: list[bytes]) -> int:
    # Take the chunks that are whole in `data` from `at` on, nearly all of a body, and return where they end. What is
    # wrong or cut is left to the decoder, which goes step by step.
    while (match := _SIZE.match(data, at)) is not None:
        start = match.end()
        end = start + int(match[1], 16)
        if end == start or data[end : end + 2] != b"\r\n":
            break
        parts.append(data[start:end])
        at = end + 2
    return at
