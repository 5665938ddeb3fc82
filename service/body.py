"""Reads request bodies without trusting them.

Rules guarded: no more than the limit is ever held (refused by Content-Length before a byte is read, and while streaming
when there is none or it lies); only JSON in UTF-8 is read (RFC 8259). text/plain is taken because Functions send
strings so, and a body without a type because many small clients do; application/octet-stream is not, because at the
service itself it means MessagePack. Bodies are not decompressed: a few bytes could become gigabytes.
"""

import re

from starlette.datastructures import Headers
from starlette.requests import Request

from fanout.errors import BodyTooLargeError, UnsupportedMediaTypeError

_JSON = re.compile(r"application/([a-z0-9!#$&^_.\-]+\+)?json|text/json|text/plain", re.ASCII)
_CHARSETS = frozenset({"", "utf-8", "utf8", "us-ascii"})


def check_media_type(headers: Headers) -> None:
    """Raise UnsupportedMediaTypeError unless the headers announce JSON in UTF-8, not compressed."""
    encoding = headers.get("content-encoding", "identity").strip().lower()
    if encoding != "identity":
        raise UnsupportedMediaTypeError("Send the body without Content-Encoding.")
    announced = headers.get("content-type", "")
    media_type, _, parameters = announced.partition(";")
    if announced and not _JSON.fullmatch(media_type.strip().lower()):
        raise UnsupportedMediaTypeError("Send the body with Content-Type: application/json.")
    if _charset(parameters) not in _CHARSETS:
        raise UnsupportedMediaTypeError("Send the body in UTF-8.")


async def read_body(request: Request, limit: int) -> bytes:
    """Read a body of at most `limit` bytes; BodyTooLargeError past it, ClientDisconnect when the client went away."""
    announced = request.headers.get("content-length", "")
    if announced.isascii() and announced.isdigit() and int(announced) > limit:
        raise _too_large(limit)
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > limit:
            raise _too_large(limit)
        chunks.append(chunk)
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _too_large(limit: int) -> BodyTooLargeError:
    return BodyTooLargeError(f"The body is larger than {limit} bytes.")


def _charset(parameters: str) -> str:
    for parameter in parameters.split(";"):
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "charset":
            return value.strip().strip('"').lower()
    return ""
