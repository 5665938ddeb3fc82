"""One HTTP exchange as values: a `Call` that came in, a `Reply` that goes out, and the ASGI talk between them.

A plain ASGI application and no web framework: a framework's router matches the decoded path, in which the user
`a/b` of `/users/a%2Fb` becomes two segments (contract section 1: a name is ONE segment), and the flow tests push tens
of thousands of calls through here.
"""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import unquote, unquote_plus

import msgspec

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class BodyTooLongError(ValueError):
    """The request body is over the limit; what was read of it has been thrown away."""


class Call(msgspec.Struct, frozen=True):
    """The head of one request.

    `raw_path` is as on the wire, `segments` are its parts unescaped (without the leading empty one). `query` holds the
    pairs in order. `headers` has lower-case names; of a repeated header the last stands.
    """

    method: str
    raw_path: str
    raw_query: str
    segments: tuple[str, ...]
    query: tuple[tuple[str, str], ...]
    headers: dict[bytes, bytes]
    scheme: str

    def header(self, name: bytes) -> str:
        """Give a header's text, "" when it is absent."""
        return self.headers.get(name, b"").decode("latin-1")

    def parameter(self, name: str, default: str = "") -> str:
        """Give the first value of a query parameter; names match without case, as the service's do."""
        for key, value in self.query:
            if key.lower() == name:
                return value
        return default

    def parameters(self, name: str) -> list[str]:
        """Give all values of a repeated query parameter."""
        return [value for key, value in self.query if key.lower() == name]


class Reply(msgspec.Struct, frozen=True):
    """What is answered. `headers` come besides content-length and content-type."""

    status: int
    body: bytes = b""
    content_type: str = ""
    headers: tuple[tuple[str, str], ...] = ()


def json_reply(value: Any, status: int = 200) -> Reply:
    """Answer `value` as JSON."""
    return Reply(status, msgspec.json.encode(value), "application/json; charset=utf-8")


def text_reply(text: str, status: int) -> Reply:
    """Answer plain text."""
    return Reply(status, text.encode(), "text/plain; charset=utf-8")


def call_of(scope: Scope) -> Call:
    """Read the head of a request (or of a WebSocket upgrade, whose method is GET)."""
    raw_path = (scope.get("raw_path") or scope["path"].encode()).decode("latin-1")
    raw_query = scope["query_string"].decode("latin-1")
    return Call(
        method=scope.get("method", "GET"),
        raw_path=raw_path,
        raw_query=raw_query,
        segments=tuple(unquote(part) if "%" in part else part for part in raw_path.split("/")[1:]),
        query=tuple(_pairs(raw_query)) if raw_query else (),
        headers=dict(scope["headers"]),
        scheme="https" if scope["scheme"] in {"https", "wss"} else "http",
    )


class CallerGoneError(ConnectionError):
    """The caller went away before its request was complete."""


async def read_body(receive: Receive, limit: int, declared: str = "") -> bytes:
    """Read a request body; raises BodyTooLongError past `limit`, unread when content-length says so already.

    Raises CallerGoneError when the connection ends in the middle.
    """
    if declared.isdigit() and int(declared) > limit:
        raise BodyTooLongError
    parts: list[bytes] = []
    size = 0
    while True:
        event = await receive()
        if event["type"] != "http.request":
            raise CallerGoneError
        part = event.get("body", b"")
        size += len(part)
        if size > limit:
            raise BodyTooLongError
        parts.append(part)
        if not event.get("more_body"):
            return parts[0] if len(parts) == 1 else b"".join(parts)


async def respond(send: Send, reply: Reply) -> None:
    """Send a whole answer. 204 carries no length, and an answer to HEAD keeps the header but no body."""
    headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in reply.headers]
    if reply.content_type:
        headers.append((b"content-type", reply.content_type.encode("latin-1")))
    if reply.status != 204:  # noqa: PLR2004 - No Content
        headers.append((b"content-length", str(len(reply.body)).encode()))
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": reply.body})


def _pairs(raw_query: str) -> list[tuple[str, str]]:
    pairs = []
    for part in raw_query.split("&"):
        name, _, value = part.partition("=")
        if name:
            pairs.append((_plain(name), _plain(value)))
    return pairs


def _plain(text: str) -> str:
    return unquote_plus(text) if "%" in text or "+" in text else text
