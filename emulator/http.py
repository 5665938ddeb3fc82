"""One HTTP exchange as values: a `Request`, a `Response`, and the ASGI messages that carry them.

The emulator is a plain ASGI application. A web framework's router matches the decoded path, in which the user `a/b` of
`/users/a%2Fb` becomes two segments; here one segment on the wire is one name, whatever it decodes to. A request that
cannot be served is an `HttpError`: a status, and for the REST API an error code and an ErrorDetail body.
Source: docs/sources.md, answers.
"""

import re
from collections.abc import Awaitable, Callable, MutableMapping
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote, unquote_plus

import msgspec

from fanout.errors import FanoutError

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

CONNECTION_NOT_EXISTED = "Warning.Connection.NotExisted"
USER_NOT_EXISTED = "Warning.User.NotExisted"
GROUP_NOT_EXISTED = "Warning.Group.NotExisted"
USER_NOT_IN_GROUP = "Info.User.NotInGroup"
ADDED_CONNECTION_NOT_EXISTED = "Error.Connection.NotExisted"
ERROR_CODE_HEADER = "x-ms-error-code"
V1 = "1.0"
_SLASH = re.compile("%(2f)", re.IGNORECASE)


class BodyTooLargeError(ValueError):
    """The request body is over the limit. What was read of it has been discarded."""


class ClientDisconnectedError(ConnectionError):
    """The caller closed the connection before its request was complete."""


class HttpError(FanoutError):
    """A request is refused with an HTTP status, an error code and a text that says what to change.

    `target` names the part of the request that is wrong. `headers` are sent with the response.
    """

    label = "refused"

    def __init__(
        self, status: int, code: str, message: str, *, target: str = "", headers: tuple[tuple[str, str], ...] = ()
    ) -> None:
        super().__init__(message)
        self.status_code = status
        self.code = code
        self.target = target
        self.headers = headers


class Request(msgspec.Struct, frozen=True):
    """The head of one request.

    `raw_path` is the path as sent; `segments` are its parts, decoded, without the leading empty one. `query` holds the
    pairs in order. `headers` has lower-case names and the last value of a repeated header.
    """

    method: str
    raw_path: str
    raw_query: str
    segments: tuple[str, ...]
    query: tuple[tuple[str, str], ...]
    headers: dict[bytes, bytes]
    scheme: str

    def header(self, name: bytes) -> str:
        """Return a header's text, "" when it is absent."""
        return self.headers.get(name, b"").decode("latin-1")

    def parameter(self, name: str, default: str = "") -> str:
        """Return the first value of a query parameter. Names are compared without case, as the service does."""
        for key, value in self.query:
            if key.lower() == name:
                return value
        return default

    def parameters(self, name: str) -> list[str]:
        """Return all values of a repeated query parameter."""
        return [value for key, value in self.query if key.lower() == name]


class Response(msgspec.Struct, frozen=True):
    """A response. `headers` come in addition to content-length and content-type."""

    status: int
    body: bytes = b""
    content_type: str = ""
    headers: tuple[tuple[str, str], ...] = ()


def json_response(value: Any, status: int = 200) -> Response:
    """Return `value` as a JSON response."""
    return Response(status, msgspec.json.encode(value), "application/json; charset=utf-8")


def text_response(text: str, status: int) -> Response:
    """Return a plain text response."""
    return Response(status, text.encode(), "text/plain; charset=utf-8")


def bad_request(message: str, target: str = "") -> HttpError:
    """Return a 400 to raise."""
    return HttpError(400, "BadRequest", message, target=target)


def not_found(error_code: str) -> Response:
    """Return a 404 with the code by which callers tell "it does not exist" from "this is the wrong address"."""
    return Response(404, headers=((ERROR_CODE_HEADER, error_code),))


def error_response(error: HttpError, version: str) -> Response:
    """Return the response for `error`: plain text under v1, an ErrorDetail object otherwise."""
    if error.status_code == HTTPStatus.UNAUTHORIZED:  # the service explains it in its WWW-Authenticate header alone
        return Response(401, headers=error.headers)
    if version == V1:
        response = text_response(str(error), error.status_code)
    else:
        detail = {"code": error.code, "message": str(error)}
        if error.target:
            detail["target"] = error.target
        response = json_response(detail, error.status_code)
    return Response(response.status, response.body, response.content_type, error.headers)


def request_of(scope: Scope, *, decode_slashes: bool = True) -> Request:
    """Return the head of a request, or of a WebSocket upgrade, whose method is GET.

    Without `decode_slashes`, `%2F` stays as it is while everything else of the path is decoded.
    """
    raw_path = (scope.get("raw_path") or scope["path"].encode()).decode("latin-1")
    raw_query = scope["query_string"].decode("latin-1")
    return Request(
        method=scope.get("method", "GET"),
        raw_path=raw_path,
        raw_query=raw_query,
        segments=tuple(_segment(part, decode_slashes) if "%" in part else part for part in raw_path.split("/")[1:]),
        query=tuple(_pairs(raw_query)) if raw_query else (),
        headers=dict(scope["headers"]),
        scheme="https" if scope["scheme"] in {"https", "wss"} else "http",
    )


async def read_body(receive: Receive, limit: int, declared: str = "") -> bytes:
    """Return the request body.

    Raise BodyTooLargeError past `limit`, without reading when the declared content-length is over it already. Raise
    ClientDisconnectedError when the connection ends before the body does.
    """
    if declared.isdigit() and int(declared) > limit:
        raise BodyTooLargeError
    parts: list[bytes] = []
    size = 0
    while True:
        event = await receive()
        if event["type"] != "http.request":
            raise ClientDisconnectedError
        part = event.get("body", b"")
        size += len(part)
        if size > limit:
            raise BodyTooLargeError
        parts.append(part)
        if not event.get("more_body"):
            return parts[0] if len(parts) == 1 else b"".join(parts)


async def respond(send: Send, response: Response) -> None:
    """Send a complete response. A 204 has no content-length; a response to HEAD keeps the header without the body."""
    headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in response.headers]
    if response.content_type:
        headers.append((b"content-type", response.content_type.encode("latin-1")))
    if response.status != HTTPStatus.NO_CONTENT:
        headers.append((b"content-length", str(len(response.body)).encode()))
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    await send({"type": "http.response.body", "body": response.body})


def _segment(part: str, decode_slashes: bool) -> str:
    return unquote(part if decode_slashes else _SLASH.sub(r"%25\1", part))


def _pairs(raw_query: str) -> list[tuple[str, str]]:
    pairs = []
    for part in raw_query.split("&"):
        name, _, value = part.partition("=")
        if name:
            pairs.append((_decoded(name), _decoded(value)))
    return pairs


def _decoded(text: str) -> str:
    return unquote_plus(text) if "%" in text or "+" in text else text
