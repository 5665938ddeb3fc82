"""What surrounds every request: its id, its time, the headers of every answer, and the handler of unexpected errors.

Rules guarded: every answer carries X-Request-Id (the caller's own when it is valid) and the security headers; a route
may replace a security header by its own. An unexpected error is logged once with the request id and answered as a
problem without internals. A client that disconnected is not an error. The label of a route in metrics is one of a
closed set, whatever path a client sends. Plain ASGI, because every request passes here. For the routes that are plain
ASGI too, `RequestScope` and `JsonAnswer` stand for what the framework has, which would cost more than their work. A
header that is sent twice counts there with its first value, as it does on every other route.
"""

import re
import secrets
from collections.abc import Iterable, Mapping
from typing import Any, Final

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fanout.clock import Clock
from fanout.log import get_logger
from fanout.metrics import Metrics
from service.http.probes import PROBE_PATHS
from service.http.problems import refusal_in, response_of, unexpected
from service.http.refusals import Refusals

_KEY: Final = "fanout.request_id"
# Answers are about one caller and one moment, and none of them is a page to run scripts in or to be framed.
SECURITY_HEADERS: Final = (
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
)
_SECURITY_NAMES: Final = frozenset(name for name, _ in SECURITY_HEADERS)
_UNAUTHORIZED: Final = 401
_REFUSED: Final = 400  # and all above it
_VALID_ID = re.compile(r"[A-Za-z0-9._\-]{1,64}", re.ASCII)
_COMPATIBLE = ("/api/hubs/", "/api/v1/hubs/", "/server")
_PROBES = frozenset({*PROBE_PATHS, "/metrics", "/backlog"})


class RequestTimes:
    """The times of the requests of one process, from their head to the head of their answer."""

    def __init__(self, metrics: Metrics, clock: Clock) -> None:
        self._histograms = metrics.http_seconds
        self.now = clock.monotonic

    def answered(self, scope: Scope, status: int, began: float) -> None:
        """Observe an answer to a request that began at this time."""
        key = (route_of(scope["path"]), f"{status // 100}xx")
        histogram = self._histograms.get(key)
        if histogram is not None:
            histogram.observe(self.now() - began)


def route_of(path: str) -> str:
    """Return what a path is about: one of `fanout.metrics.ROUTES`."""
    if path.startswith("/v1/hubs/") and path.endswith("/messages"):
        return "messages"
    if path.startswith(_COMPATIBLE):
        return "compatible"
    if path.endswith("/negotiate"):
        return "negotiate"
    if path.startswith("/v1/admin/"):
        return "admin"
    return "probe" if path in _PROBES else "other"


def request_id_of(scope: Scope) -> str:
    """Return the id of a request that passed the middleware."""
    return str(scope[_KEY])


class RequestMiddleware:
    """ASGI middleware around the application, and around the batch route, which passes by the framework."""

    def __init__(self, app: ASGIApp, refusals: Refusals, times: RequestTimes) -> None:
        self._app = app
        self._refusals = refusals
        self._times = times

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _given(scope["headers"]) or secrets.token_hex(8)
        scope[_KEY] = request_id
        started = False
        began = self._times.now()

        async def send_with_id(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                if message["status"] >= _REFUSED:
                    await self._before_refusal(message["status"], scope)
                message["headers"] = completed(message["headers"], request_id)
                self._times.answered(scope, message["status"], began)
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except ClientDisconnect:
            return
        except Exception:
            if started:
                raise  # half an answer is out: only closing the connection tells the client
            get_logger().exception("request.failed", request_id=request_id, method=scope["method"], path=scope["path"])
            await response_of(unexpected(), request_id)(scope, receive, send_with_id)

    async def _before_refusal(self, status: int, scope: Scope) -> None:
        problem = refusal_in(scope)
        if problem is None:
            return
        peer = peer_of(scope)
        if status == _UNAUTHORIZED:
            await self._refusals.slow_down(problem, peer)
        self._refusals.note(
            problem, request_id=request_id_of(scope), peer=peer, method=scope["method"], path=scope["path"]
        )


def peer_of(scope: Scope) -> str:
    """Return the address that a request came from, "" where it has none."""
    client: tuple[str, int] | None = scope.get("client")
    return client[0] if client else ""


def completed(headers: Iterable[tuple[bytes, bytes]], request_id: str) -> list[tuple[bytes, bytes]]:
    """Return the headers of an answer with the request id and the security headers it does not have."""
    own = list(headers)
    names = {name for name, _ in own}
    if _SECURITY_NAMES.isdisjoint(names):  # nearly every answer
        own += SECURITY_HEADERS
    else:
        own += [header for header in SECURITY_HEADERS if header[0] not in names]
    own.append((b"x-request-id", request_id.encode()))
    return own


def _given(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    for name, value in headers:
        if name == b"x-request-id":
            text = value.decode("latin-1")
            return text if _VALID_ID.fullmatch(text) else None
    return None


class RequestScope:
    """A request that passed the middleware; `headers` are by lower-case name."""

    __slots__ = ("headers", "receive", "request_id", "scope")

    headers: Mapping[str, str]
    receive: Receive

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self.scope = scope
        self.receive = receive
        self.request_id = request_id_of(scope)
        self.headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in reversed(scope["headers"])}

    @property
    def all_headers(self) -> Headers:
        """The headers with every value they were sent with."""
        return Headers(scope=self.scope)

    def path_param(self, name: str) -> str:
        """Return a part of the path, as the route names it."""
        params: Mapping[str, Any] = self.scope["path_params"]
        return str(params[name])


class JsonAnswer:
    """A JSON answer in one piece."""

    __slots__ = ("_content", "_headers", "status_code")

    def __init__(self, status_code: int, content: bytes, headers: Mapping[str, str]) -> None:
        self.status_code = status_code
        self._content = content
        self._headers = headers

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        """Send it."""
        headers = [(b"content-length", b"%d" % len(self._content)), (b"content-type", b"application/json")]
        if self._headers:
            headers += [
                (name.lower().encode("latin-1"), text.encode("latin-1")) for name, text in self._headers.items()
            ]
        await send({"type": "http.response.start", "status": self.status_code, "headers": headers})
        await send({"type": "http.response.body", "body": self._content})
