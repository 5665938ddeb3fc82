"""What surrounds every request: an id to follow it by, and the last catch for errors nobody expected.

Rule guarded: every answer carries X-Request-Id (the caller's own when it is sane), an unexpected error is logged once
with that id and answered as a problem without internals, and a client that went away is no error. Plain ASGI, because
it stands in the path of every request.
"""

import re
import secrets
from collections.abc import Iterable
from typing import Final

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fanout.log import get_logger
from service.http.problems import response_of, unexpected

_KEY: Final = "fanout.request_id"
_SANE = re.compile(r"[A-Za-z0-9._\-]{1,64}", re.ASCII)


def request_id_of(scope: Scope) -> str:
    """Give the id of a request that passed the envelope."""
    return str(scope[_KEY])


class RequestMiddleware:
    """ASGI middleware; see the head of this file."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _given(scope["headers"]) or secrets.token_hex(8)
        scope[_KEY] = request_id
        started = False

        async def send_with_id(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                message["headers"] = [*message["headers"], (b"x-request-id", request_id.encode())]
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


def _given(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    for name, value in headers:
        if name == b"x-request-id":
            text = value.decode("latin-1")
            return text if _SANE.fullmatch(text) else None
    return None
