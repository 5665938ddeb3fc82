"""What surrounds every request: its id, the headers of every answer, and the handler of unexpected errors.

Rules guarded: every answer carries X-Request-Id (the caller's own when it is valid) and the security headers; a route
may replace a security header by its own. An unexpected error is logged once with the request id and answered as a
problem without internals. A client that disconnected is not an error. Plain ASGI, because every request passes here.
"""

import re
import secrets
from collections.abc import Iterable
from typing import Final

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fanout.log import get_logger
from service.http.problems import refusal_in, response_of, unexpected
from service.http.refusals import Refusals
from service.http.timing import RequestTimes

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
_UNAUTHORIZED: Final = 401
_VALID_ID = re.compile(r"[A-Za-z0-9._\-]{1,64}", re.ASCII)


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
                await self._before_answer(message["status"], scope)
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
        self._note(scope)

    async def _before_answer(self, status: int, scope: Scope) -> None:
        problem = refusal_in(scope) if status == _UNAUTHORIZED else None
        if problem is not None:
            await self._refusals.slow_down(problem, _peer_of(scope))

    def _note(self, scope: Scope) -> None:
        problem = refusal_in(scope)
        if problem is None:
            return
        self._refusals.note(
            problem,
            request_id=request_id_of(scope),
            peer=_peer_of(scope),
            method=scope["method"],
            path=scope["path"],
        )


def _peer_of(scope: Scope) -> str:
    client: tuple[str, int] | None = scope.get("client")
    return client[0] if client else ""


def completed(headers: Iterable[tuple[bytes, bytes]], request_id: str) -> list[tuple[bytes, bytes]]:
    """Return the headers of an answer with the request id and the security headers it does not have."""
    own = list(headers)
    names = {name for name, _ in own}
    own += [header for header in SECURITY_HEADERS if header[0] not in names]
    own.append((b"x-request-id", request_id.encode()))
    return own


def _given(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    for name, value in headers:
        if name == b"x-request-id":
            text = value.decode("latin-1")
            return text if _VALID_ID.fullmatch(text) else None
    return None
