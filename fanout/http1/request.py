"""Turns a request into the bytes that are written, in one piece.

Source: RFC 9112, sections 3, 5 and 6. Rule guarded: no value can add a line or a second request. A target or header
block with a space or a line end in the wrong place is a programming error and raises ValueError before any byte
leaves, and so does a field that the client itself writes (a second Content-Length is how requests get smuggled).
The checks cost about a microsecond: a run of "anything but CR" is the cheapest thing an expression can match, so line
feeds and NULs inside values are counted apart.
"""

import re
from functools import lru_cache
from typing import Final

from fanout.http1.exchange import Request

_REMEMBERED: Final = 16_384
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_OURS: Final = rb"(?i:host|content-length|transfer-encoding|connection|keep-alive|upgrade|te|trailer|expect)"
_HEADER_LINES: Final = re.compile(rb"(?:(?!" + _OURS + rb":)[!#$%&'*+\-.^_`|~0-9A-Za-z]++:[^\r]*+\r\n)*+")


def encode(request: Request, authority: bytes) -> bytes:
    """Give the whole message: request line, Host (`authority`), the caller's fields, Content-Length, body.

    Raises ValueError when a part of `request` does not fit on its line or names a field of the connection.
    """
    body = request.body
    return b"%b%b\r\n%bContent-Length: %d\r\n\r\n%b" % (
        _request_line(request.method, request.target),
        authority,
        _header_lines(request.headers),
        len(body),
        body,
    )


# A destination is called many times with the same line and the same token: what was found to fit is not read again.
@lru_cache(maxsize=_REMEMBERED)
def _request_line(method: str, target: str) -> bytes:
    if method not in _METHODS:
        raise ValueError(f"A method is one of {', '.join(sorted(_METHODS))}.")
    if not (target.startswith("/") and target.isascii() and target.isprintable()) or " " in target:
        raise ValueError("A target starts with / and holds visible ASCII only.")
    return b"%b %b HTTP/1.1\r\nHost: " % (method.encode(), target.encode())


@lru_cache(maxsize=_REMEMBERED)
def _header_lines(headers: bytes) -> bytes:
    lines_end_once = headers.count(b"\n") == headers.count(b"\r") and b"\0" not in headers
    if not lines_end_once or _HEADER_LINES.fullmatch(headers) is None:
        raise ValueError(
            "Header lines are `Name: value`, each ended by CRLF; Host, Content-Length and the fields of the "
            "connection are written by the client."
        )
    return headers
