"""Reads request bodies without trusting them.

Rules guarded: no more than the limit is ever held (refused by Content-Length before a byte is read, and while streaming
when there is none or it lies), nor for longer than the time limit (a byte now and then would hold memory and a socket
for ever); only JSON in UTF-8 is read (RFC 8259). text/plain is taken because Functions send strings so, and a body
without a type because many small clients do; application/octet-stream is not, because at the service itself it means
MessagePack. Bodies are not decompressed: a few bytes could become gigabytes.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Protocol

from starlette.requests import ClientDisconnect
from starlette.types import Receive

from fanout.clock import Clock
from fanout.errors import BodyTooLargeError, SlowBodyError, UnsupportedMediaTypeError

_JSON = re.compile(r"application/([a-z0-9!#$&^_.\-]+\+)?json|text/json|text/plain", re.ASCII)
_REMEMBERED = 200  # characters; longer ones are looked at each time, so that nobody fills the memory with them
_CHARSETS = frozenset({"", "utf-8", "utf8", "us-ascii"})


def check_media_type(headers: Mapping[str, str]) -> None:
    """Raise UnsupportedMediaTypeError unless the headers announce JSON in UTF-8, not compressed."""
    encoding, announced = headers.get("content-encoding", "identity"), headers.get("content-type", "")
    known = len(encoding) + len(announced) <= _REMEMBERED
    problem = (_media_problem if known else _media_problem.__wrapped__)(encoding, announced)
    if problem:
        raise UnsupportedMediaTypeError(problem)


class Sent(Protocol):
    """A request, as far as its body is concerned."""

    @property
    def headers(self) -> Mapping[str, str]:
        """Its headers, by name in lower case."""

    @property
    def receive(self) -> Receive:
        """Where its body comes from."""


def announced_size(headers: Mapping[str, str], limit: int) -> int:
    """Return how many bytes a body may have: what its Content-Length says, or `limit` where it says nothing.

    Raises BodyTooLargeError when it is more than `limit`.
    """
    announced = headers.get("content-length", "")
    if not (announced.isascii() and announced.isdigit()):
        return 0 if "transfer-encoding" not in headers and not announced else limit
    if int(announced) > limit:
        raise _too_large(limit)
    return int(announced)


async def read_body(request: Sent, limit: int, *, clock: Clock | None = None, within: float | None = None) -> bytes:
    """Read a body of at most `limit` bytes that comes `within` seconds by `clock`; without a clock it has all time.

    Raises BodyTooLargeError past the limit, SlowBodyError past the time, ClientDisconnect when the client went away.
    """
    announced_size(request.headers, limit)
    if clock is None:
        return await _read(request.receive, limit)
    try:
        async with clock.timeout(within):
            return await _read(request.receive, limit)
    except TimeoutError:
        raise SlowBodyError(f"The body did not come within {within:g} seconds.") from None


async def _read(receive: Receive, limit: int) -> bytes:
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > limit:
            raise _too_large(limit)
        if chunk:
            chunks.append(chunk)
        if not message.get("more_body", False):
            return chunks[0] if len(chunks) == 1 else b"".join(chunks)


@lru_cache(maxsize=256)
def _media_problem(encoding: str, announced: str) -> str:
    if encoding.strip().lower() != "identity":
        return "Send the body without Content-Encoding."
    media_type, _, parameters = announced.partition(";")
    if announced and not _JSON.fullmatch(media_type.strip().lower()):
        return "Send the body with Content-Type: application/json."
    return "" if _charset(parameters) in _CHARSETS else "Send the body in UTF-8."


def _too_large(limit: int) -> BodyTooLargeError:
    return BodyTooLargeError(f"The body is larger than {limit} bytes.")


def _charset(parameters: str) -> str:
    for parameter in parameters.split(";"):
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "charset":
            return value.strip().strip('"').lower()
    return ""
