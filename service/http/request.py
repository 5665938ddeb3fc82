"""A request and an answer for the batch route, where those of the framework would cost more than its work.

Rule guarded: a header that is sent twice counts with its first value, as it does on every other route.
"""

from collections.abc import Mapping
from typing import Any

from starlette.datastructures import Headers
from starlette.types import Receive, Scope, Send

from service.http.middleware import request_id_of


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
