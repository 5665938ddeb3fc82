"""One REST call: route, audience, token and headers around an item, sent over the pool.

Rule guarded: the audience is made of the very path that goes into the request line, on the host of Endpoint unless the
operator says otherwise (contract 3.1). No retry happens here; the answer or the error goes up as it is.
"""

from dataclasses import dataclass
from urllib.parse import urlsplit

from fanout import __version__
from fanout.signalr.connection_string import ConnectionString
from fanout.signalr.http1.exchange import Request, Response
from fanout.signalr.http1.pool import Pool
from fanout.signalr.message import Item, Message
from fanout.signalr.routes import API_VERSION, Route, route_of
from fanout.signalr.tokens import TokenCache

_AGENT = f"Asrs-User-Agent: signalr-fanout/{__version__}\r\nUser-Agent: signalr-fanout/{__version__}\r\n"
_JSON = "Content-Type: application/json; charset=utf-8\r\n"


@dataclass(frozen=True, slots=True)
class Address:
    """How calls are addressed: `prefix` stands before each path on the wire, `audience` before each path in a token."""

    prefix: str
    audience: str
    api_version: str = API_VERSION
    application: str = ""


def address_of(service: ConnectionString, *, audience: str, api_version: str, application: str) -> Address:
    """Build the address of a service; `audience` is "endpoint" or "server", the host that tokens name."""
    return Address(
        prefix=urlsplit(service.server_endpoint).path,
        audience=service.server_endpoint if audience == "server" else service.endpoint,
        api_version=api_version,
        application=application,
    )


class Client:
    """Calls to one service."""

    def __init__(self, pool: Pool, tokens: TokenCache, address: Address) -> None:
        self.pool = pool
        self.tokens = tokens
        self._address = address

    def __repr__(self) -> str:
        return f"<Client {self._address.audience} {self.pool!r} {self.tokens!r}>"

    async def call(self, hub: str, item: Item) -> Response:
        """Deliver one item; NotSentError or MaybeSentError when no answer came."""
        route = self._route(hub, item)
        token = self.tokens.token(self._address.audience + route.path)
        has_body = isinstance(item, Message)
        headers = f"Authorization: Bearer {token}\r\n{_AGENT}{_JSON if has_body else ''}"
        body = item.body if isinstance(item, Message) else b""
        return await self.pool.send(
            Request(route.method, self._address.prefix + route.target, headers.encode("ascii"), body)
        )

    def renew_token(self, hub: str, item: Item) -> None:
        """Sign a new token for the next call of this item: the service refused the last one."""
        self.tokens.forget(self._address.audience + self._route(hub, item).path)

    async def aclose(self) -> None:
        """Close the connections."""
        await self.pool.aclose()

    def _route(self, hub: str, item: Item) -> Route:
        return route_of(hub, item, api_version=self._address.api_version, application=self._address.application)
