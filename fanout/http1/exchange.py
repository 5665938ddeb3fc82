"""The values of an exchange: where it goes, within which bounds, and how it ends, with an answer or an error.

Source: RFC 9110 and RFC 9112. Rules guarded: the values are frozen and hold no connection. What was written is never
repeated silently, so a caller can tell the cases apart: before the write there is `fanout.errors.NotSentError`, after
the write every error is a `BrokenExchangeError`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Self
from urllib.parse import urlsplit

import msgspec

from fanout.errors import MaybeSentError

_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_KIB: Final = 1024


class Headers(msgspec.Struct, frozen=True, gc=False):
    """The headers of an answer in their order, parsed when they are asked for. Names compare without case.

    `lines` are whole header lines, each ended by CRLF, unchanged.
    """

    lines: bytes = b""

    def get(self, name: str) -> str | None:
        """Return the first value of `name` as latin-1 text, None when the answer has no such header."""
        wanted = name.lower()
        return next((value for known, value in self if known == wanted), None)

    def __iter__(self) -> Iterator[tuple[str, str]]:
        """Iterate over pairs of lower-case name and value."""
        for line in self.lines.decode("latin-1").split("\r\n")[:-1]:
            name, _, value = line.partition(":")
            yield name.lower(), value.strip(" \t")

    def __len__(self) -> int:
        return self.lines.count(b"\n")

    def __repr__(self) -> str:
        return f"<Headers {', '.join(name for name, _ in self)}>"


class Response(msgspec.Struct, frozen=True, gc=False):
    """One final answer, whatever its status; redirects are answers.

    `body` has at most `Limits.max_body` bytes, the rest was dropped. `reused` says whether the connection had carried
    an exchange before.
    """

    status: int
    headers: Headers
    body: bytes
    reused: bool


class BrokenExchangeError(MaybeSentError):
    """The request was written and no complete answer came.

    `reused` says whether the connection had carried an exchange before. `answered` is the status of an answer whose
    head was complete and whose body was not, None when no head was read.
    """

    def __init__(self, detail: str, *, reused: bool, answered: int | None = None) -> None:
        super().__init__(detail)
        self.reused = reused
        self.answered = answered


class StaleConnectionError(BrokenExchangeError):
    """The connection ended after the write and before the first byte of an answer.

    When `reused`, the server most likely closed an idle connection just as the request left.
    """


class MalformedAnswerError(BrokenExchangeError):
    """The answer is not one that this client accepts as HTTP/1.1; the connection was closed."""


class ExchangeTimeoutError(BrokenExchangeError):
    """The exchange took longer than `Limits.request_timeout`; the connection was closed."""


class FramingError(ValueError):
    """The framing of an answer is refused. The text is the reason, without any value the server chose."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The bounds of one pool. Times are seconds, sizes are bytes.

    `connect_timeout` covers name lookup, TCP and TLS. `request_timeout` covers one whole exchange, from the write to
    the last byte of the answer; waiting for a free connection counts against neither. A connection is closed after
    `idle_seconds` without use and takes no new request once it is `max_age_seconds` old, so that a changed DNS record
    is followed. `max_headers` bounds the heads of one answer, interim ones included.
    """

    connections: int = 128
    connect_timeout: float = 5.0
    request_timeout: float = 10.0
    idle_seconds: float = 30.0
    max_age_seconds: float = 300.0
    max_headers: int = 64 * _KIB
    max_body: int = 64 * _KIB


@dataclass(frozen=True, slots=True)
class Origin:
    """Where requests go: `host` is a name or an address (IPv6 without brackets), `scheme` is http or https."""

    scheme: str
    host: str
    port: int

    @classmethod
    def parse(cls, url: str) -> Self:
        """Parse `scheme://host[:port][/]`. Raises ValueError for anything more, because it would be ignored."""
        parts = urlsplit(url)
        if parts.scheme not in _DEFAULT_PORTS or not parts.hostname:
            raise ValueError("An origin is http://host or https://host, with an optional port.")
        if parts.username is not None or parts.password is not None:
            raise ValueError("An origin carries no credentials.")
        if parts.path not in ("", "/") or parts.query or parts.fragment:
            raise ValueError("An origin carries no path, query or fragment.")
        host = parts.hostname
        if not host.isascii() or not host.isprintable() or any(c in host for c in ' %"<>\\^`{|}'):
            raise ValueError("An origin's host is an ASCII name or an address; write names in their xn-- form.")
        return cls(parts.scheme, host, parts.port if parts.port is not None else _DEFAULT_PORTS[parts.scheme])

    @property
    def authority(self) -> str:
        """The value of the Host header: IPv6 in brackets, without the default port of the scheme."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}"
