"""A request, and the bytes it becomes in one piece.

Source: RFC 9112, sections 3, 5 and 6. Rule guarded: no value can add a line or a second request. What does not fit on
its line is refused when the value is made, and so is a header that the client itself writes: a second Content-Length is
how requests are smuggled. Heads and header lines are values of their own so that they are checked once and written
many times.
"""

import re
from collections.abc import Callable
from typing import Final

import msgspec

_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_RESERVED: Final = rb"(?i:host|content-length|transfer-encoding|connection|keep-alive|upgrade|te|trailer|expect)"
# "Anything but CR" is the cheapest run an expression can match, so line feeds and NULs in values are counted apart.
_LINES: Final = re.compile(rb"(?:(?!" + _RESERVED + rb":)[!#$%&'*+\-.^_`|~0-9A-Za-z]++:[^\r]*+\r\n)*+")


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


def encode(request: Request, authority: bytes) -> bytes:
    """Return the whole message: request line, Host (`authority`), header lines, Content-Length, body."""
    head, body = request.head, request.body
    return b"%b%b\r\n%b%bContent-Length: %d\r\n\r\n%b" % (
        head.start,
        authority,
        request.authorization.text,
        head.headers.text,
        len(body),
        body,
    )


def encode_with(
    more: Callable[[], bytes], encoder: Callable[[Request, bytes], bytes], request: Request, authority: bytes
) -> bytes:
    """Return what `encoder` makes of a request with further header lines, those that `more` returns now."""
    lines = HeaderLines(request.authorization.text + more())
    return encoder(Request(request.head, request.body, lines), authority)


def encode_for_proxy(request: Request, authority: bytes, authorization: HeaderLines) -> bytes:
    """Return the message for a proxy to a plain origin: the target is a whole URL, `authorization` is for the proxy."""
    head, body = request.head, request.body
    return b"%b http://%b%b HTTP/1.1\r\nHost: %b\r\n%b%b%bContent-Length: %d\r\n\r\n%b" % (
        head.method.encode(),
        authority,
        head.target.encode(),
        authority,
        authorization.text,
        request.authorization.text,
        head.headers.text,
        len(body),
        body,
    )
