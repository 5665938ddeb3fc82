"""One REST call: route, audience, token and headers around an item or several messages, sent over the pool.

Rule guarded: the audience is made of the very path that goes into the request line, on the host of Endpoint unless the
operator says otherwise (contract 3.1). No retry happens here; the answer or the error goes up as it is.
"""

from collections import deque
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import msgspec

from fanout import __version__
from fanout.http1.connection import BeforeWrite, OnDone
from fanout.http1.exchange import Request, Response
from fanout.http1.pool import Pool
from fanout.signalr.connection_string import ConnectionString
from fanout.signalr.credentials import AccessKeyCredential
from fanout.signalr.message import Item, Message, Scope
from fanout.signalr.routes import API_VERSION, EXECUTE_API_VERSION, Route, execute_body, execute_route, route_of

_AGENT = f"Asrs-User-Agent: signalr-fanout/{__version__}\r\nUser-Agent: signalr-fanout/{__version__}\r\n".encode()
_JSON = _AGENT + b"Content-Type: application/json; charset=utf-8\r\n"


@dataclass(frozen=True, slots=True)
class ServiceAddress:
    """How calls are addressed: `prefix` stands before each path on the wire, `audience` before each path in a token."""

    prefix: str
    audience: str
    api_version: str = API_VERSION
    application: str = ""


def service_address(service: ConnectionString, *, audience: str, api_version: str, application: str) -> ServiceAddress:
    """Build the address of a service; `audience` is "endpoint" or "server", the host that tokens name."""
    return ServiceAddress(
        prefix=urlsplit(service.server_endpoint).path,
        audience=service.server_endpoint if audience == "server" else service.endpoint,
        api_version=api_version,
        application=application,
    )


class _Post(msgspec.Struct, frozen=True, gc=False):
    """All of a message's request that only its destination decides, for as long as its token is good."""

    target: str
    headers: bytes
    until: float


class Client:
    """Calls to one service."""

    def __init__(self, pool: Pool, tokens: AccessKeyCredential, address: ServiceAddress) -> None:
        self.pool = pool
        self.tokens = tokens
        self._address = address
        self._posts: dict[tuple[str, Scope, str], _Post] = {}
        self._order: deque[tuple[str, Scope, str]] = deque()  # the first key of a dict is far behind those deleted

    def __repr__(self) -> str:
        return f"<Client {self._address.audience} {self.pool!r} {self.tokens!r}>"

    @property
    def kept(self) -> int:
        """How many tokens are kept; those of messages stand with the addresses of their destinations."""
        return len(self.tokens) + len(self._posts)

    def call(self, hub: str, item: Item) -> Coroutine[Any, Any, Response]:
        """Deliver one item when awaited; NotSentError or MaybeSentError when no answer came."""
        if not isinstance(item, Message) or item.excluded:
            return self._exchange(self._route(hub, item), item.body if isinstance(item, Message) else None)
        return self.pool.send(self._post(hub, item))

    def start(self, hub: str, item: Item, before_write: BeforeWrite, on_done: OnDone) -> bool:
        """Deliver one item at once if that can be, as `Pool.start`; False when nothing was done: `call` has to wait."""
        if not self.pool.may_start or not isinstance(item, Message) or item.excluded:
            return False
        return self.pool.start(self._post(hub, item), before_write, on_done)

    async def execute(self, hub: str, scope: Scope, to: str, bodies: Sequence[bytes]) -> Response:
        """Deliver messages for everybody or one user in one call, in order; errors as `call`.

        ValueError for another scope. `bodies` are what `Message.body` holds; the service takes 1 MB of them.
        """
        return await self._exchange(self._execute_route(hub, scope, to), execute_body(bodies))

    def renew_token(self, hub: str, item: Item) -> None:
        """Sign a new token for the next call of this item: the service refused the last one."""
        self.tokens.forget(self._address.audience + self._route(hub, item).path)
        if isinstance(item, Message):
            post = self._posts.get((hub, item.scope, item.to))
            if post is not None:
                self._posts[hub, item.scope, item.to] = _Post(post.target, post.headers, until=0.0)

    def renew_execute_token(self, hub: str, scope: Scope, to: str) -> None:
        """Sign a new token for the next `execute` of this destination: the service refused the last one."""
        self.tokens.forget(self._address.audience + self._execute_route(hub, scope, to).path)

    async def aclose(self) -> None:
        """Close the connections."""
        await self.pool.aclose()

    async def _exchange(self, route: Route, body: bytes | None) -> Response:
        token = self.tokens.authorization(self._address.audience + route.path)
        target = self._address.prefix + route.target
        return await self.pool.send(
            Request(route.method, target, token + (_AGENT if body is None else _JSON), body or b"")
        )

    def _post(self, hub: str, message: Message) -> Request:
        # A destination gets many messages, and naming its address and token costs more than looking them up.
        post = self._posts.get((hub, message.scope, message.to))
        if post is None or self.tokens.clock.wall() >= post.until:
            post = self._prepare(hub, message)
        else:
            self.tokens.hits += 1
        return Request("POST", post.target, post.headers, message.body)

    def _prepare(self, hub: str, message: Message) -> _Post:
        key = (hub, message.scope, message.to)
        if key not in self._posts:
            if len(self._posts) >= self.tokens.size:
                del self._posts[self._order.popleft()]
            self._order.append(key)
        route = self._route(hub, message)
        line, until = self.tokens.fresh(self._address.audience + route.path)
        post = self._posts[key] = _Post(self._address.prefix + route.target, line + _JSON, until)
        return post

    def _execute_route(self, hub: str, scope: Scope, to: str) -> Route:
        named = f"{self._address.application}_{hub}" if self._address.application else hub
        version = max(self._address.api_version, EXECUTE_API_VERSION)  # dates, so they compare as text
        return execute_route(named, scope, to, api_version=version)

    def _route(self, hub: str, item: Item) -> Route:
        return route_of(hub, item, api_version=self._address.api_version, application=self._address.application)
