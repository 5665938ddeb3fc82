"""One REST call: the route of an item, the authorization of its audience, the request sent over the pool, and its end.

`Client` makes the request, `Sender` measures it and gives its end as a value. Rules guarded:
- The audience is made of the very path that goes into the request line (source: docs/sources.md, rest-tokens).
- Nothing is retried here: the answer or the error goes up unchanged.
- What one destination's requests have in common, token included, is kept in one cache with one bound, because every
  user, group and connection is an audience of its own.
- A service that refused `:execute` is not asked for it again for a while.
"""

from collections import OrderedDict
from collections.abc import Callable, Coroutine, Hashable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol
from urllib.parse import urlsplit

import msgspec

from fanout import __version__
from fanout.clock import Clock
from fanout.errors import MaybeSentError, NotSentError
from fanout.http1.connection import BeforeWrite, OnDone
from fanout.http1.exchange import Response
from fanout.http1.messages import HeaderLines, Request, RequestHead
from fanout.http1.pool import MayWrite, Pool
from fanout.instruments import Counter, Histogram
from fanout.signalr.connection_string import ConnectionString
from fanout.signalr.credentials import Authorization, Credential
from fanout.signalr.message import Item, Message, Scope
from fanout.signalr.outcome import FIRST_NOT_TAKEN, TAKEN, Answered, Outcome, outcome_of
from fanout.signalr.routes import API_VERSION, EXECUTE_API_VERSION, Route, execute_body, execute_route, route_of

MARK = "x-signalr-fanout"  # in every call of this service, so that it recognises a call that comes back to it
_AGENT = (
    f"Asrs-User-Agent: signalr-fanout/{__version__}\r\nUser-Agent: signalr-fanout/{__version__}\r\n{MARK}: 1\r\n"
).encode()
_WITHOUT_BODY = HeaderLines(_AGENT)
_WITH_BODY = HeaderLines(_AGENT + b"Content-Type: application/json; charset=utf-8\r\n")
_BINARY = object()  # ends the key of a call whose body is no JSON
_WITH_BINARY = HeaderLines(_AGENT + b"Content-Type: application/octet-stream\r\n")
# An `:execute` that ends so may contain one bad message, or the service may not know it. Its messages go one by one,
# and it is not tried again before `_REMEMBERED` seconds have passed.
_REFUSALS = frozenset({400, 404, 413, 415, 501})
_REMEMBERED = 600.0

OnOutcome = Callable[[Outcome], None]


@dataclass(frozen=True, slots=True)
class ServiceAddress:
    """How calls are addressed: `prefix` precedes each path in a request, `audience` each path in a token."""

    prefix: str
    audience: str
    api_version: str = API_VERSION
    application: str = ""


def service_address(service: ConnectionString, *, audience: str, api_version: str, application: str) -> ServiceAddress:
    """Return the address of a service; `audience` is "endpoint" or "server", the host that tokens name."""
    return ServiceAddress(
        prefix=urlsplit(service.server_endpoint).path,
        audience=service.server_endpoint if audience == "server" else service.endpoint,
        api_version=api_version,
        application=application,
    )


@dataclass(frozen=True, slots=True)
class CacheStats:
    """Authorizations kept now, and counters since the start: calls that found one and calls that asked for one."""

    kept: int
    hits: int
    misses: int


class _Prepared(msgspec.Struct, frozen=True, gc=False):
    """What the calls to one destination have in common."""

    head: RequestHead
    authorization: Authorization


class Client:
    """Calls to one service."""

    def __init__(
        self, pool: Pool, credential: Credential, address: ServiceAddress, clock: Clock, *, cache_size: int
    ) -> None:
        """`cache_size` bounds the authorizations kept, one for each destination; the least recently used goes first."""
        self.pool = pool
        self._credential = credential
        self._address = address
        self._clock = clock
        self._cache_size = cache_size
        self._cache: OrderedDict[Hashable, _Prepared] = OrderedDict()
        self._hits = 0
        self._misses = 0

    def __repr__(self) -> str:
        return f"<Client {self._address.audience} {self.pool!r} {self.cache_stats}>"

    @property
    def cache_stats(self) -> CacheStats:
        """A snapshot for metrics."""
        return CacheStats(len(self._cache), self._hits, self._misses)

    def call(self, hub: str, item: Item, may_write: MayWrite | None = None) -> Coroutine[Any, Any, Response]:
        """Deliver one item when awaited; NotSentError or MaybeSentError when no answer came.

        `may_write` is asked after all waiting, see `Pool.send`.
        """
        request = self._request(hub, item)
        if request is None:
            return self._authorize_and_send(_key(hub, item), self._route(hub, item), _body(item), may_write)
        return self.pool.send(request, may_write)

    def start(self, hub: str, item: Item, before_write: BeforeWrite, on_done: OnDone) -> bool:
        """Deliver one item at once, as `Pool.start`.

        False when that has to wait for a connection or for the credential. Nothing was done then, and `call` waits.
        """
        if not self.pool.may_start:
            return False
        request = self._request(hub, item)
        return request is not None and self.pool.start(request, before_write, on_done)

    async def execute(
        self, hub: str, scope: Scope, to: str, bodies: Sequence[bytes], may_write: MayWrite | None = None
    ) -> Response:
        """Deliver messages for everybody or one user in one call, in order; errors as `call`.

        ValueError for another scope. `bodies` are what `Message.body` holds; the service takes 1 MB of them.
        """
        key = _execute_key(hub, scope, to)
        prepared = self._cached(key)
        if prepared is not None:
            request = Request(prepared.head, execute_body(bodies), prepared.authorization.lines)
            return await self.pool.send(request, may_write)
        route = self._execute_route(hub, scope, to)
        return await self._authorize_and_send(key, route, execute_body(bodies), may_write)

    def renew_token(self, hub: str, item: Item) -> None:
        """Have the next call of this item carry a new authorization: the service refused the last one."""
        self._forget(_key(hub, item))

    def renew_execute_token(self, hub: str, scope: Scope, to: str) -> None:
        """Have the next `execute` for this destination carry a new authorization."""
        self._forget(_execute_key(hub, scope, to))

    def forget_tokens(self) -> None:
        """Have every further call carry a new authorization: the key is another one."""
        self._cache.clear()

    async def aclose(self) -> None:
        """Close the connections."""
        await self.pool.aclose()

    def _request(self, hub: str, item: Item) -> Request | None:
        """Return the request of `item`, None when the credential has to be waited for."""
        key = _key(hub, item)
        prepared = self._cached(key)
        if prepared is None:
            route = self._route(hub, item)
            authorization = self._credential.immediate(self._audience(route), self._clock.wall())
            if authorization is None:
                return None
            prepared = self._keep(key, route, authorization)
        body = item.body if isinstance(item, Message) else b""
        return Request(prepared.head, body, prepared.authorization.lines)

    def _cached(self, key: Hashable) -> _Prepared | None:
        prepared = self._cache.get(key)
        if prepared is None or self._clock.wall() >= prepared.authorization.renew_at:
            return None
        self._cache.move_to_end(key)
        self._hits += 1
        return prepared

    def _keep(self, key: Hashable, route: Route, authorization: Authorization) -> _Prepared:
        self._misses += 1
        headers = (_WITH_BINARY if _is_binary(key) else _WITH_BODY) if route.has_body else _WITHOUT_BODY
        prepared = _Prepared(RequestHead(route.method, self._address.prefix + route.target, headers), authorization)
        self._cache[key] = prepared
        self._cache.move_to_end(key)
        if len(self._cache) > self._cache_size:
            self._cache.popitem(last=False)
        return prepared

    def _forget(self, key: Hashable) -> None:
        prepared = self._cache.pop(key, None)
        if prepared is not None:
            self._credential.refused(prepared.authorization)

    async def _authorize_and_send(
        self, key: Hashable, route: Route, body: bytes, may_write: MayWrite | None
    ) -> Response:
        authorization = await self._credential.authorization(self._audience(route))
        prepared = self._keep(key, route, authorization)
        return await self.pool.send(Request(prepared.head, body, authorization.lines), may_write)

    def _audience(self, route: Route) -> str:
        return self._address.audience + route.path

    def _execute_route(self, hub: str, scope: Scope, to: str) -> Route:
        own, named, hub = hub.rpartition("/")
        application = own if named else self._address.application
        full = f"{application}_{hub}" if application else hub
        version = max(self._address.api_version, EXECUTE_API_VERSION)  # dates, so they compare as text
        return execute_route(full, scope, to, api_version=version)

    def _route(self, hub: str, item: Item) -> Route:
        return route_of(hub, item, api_version=self._address.api_version, application=self._address.application)


@dataclass(frozen=True, slots=True)
class Bounds:
    """The largest number of messages and of bytes in one `:execute`, and the least that have to wait for one."""

    count: int = 64  # a caller that keeps fewer of one destination joins fewer
    size: int = 900_000
    least: int = 2


class Call(Protocol):
    """What is sent: an item to a hub, with its id and the link to its trace ("" for none)."""

    @property
    def hub(self) -> str: ...

    @property
    def item(self) -> Item: ...

    @property
    def message_id(self) -> str: ...

    @property
    def link(self) -> str: ...


class Measures(Protocol):
    """What a sender counts: seconds of each request, and messages that shared one."""

    @property
    def send_seconds(self) -> Histogram: ...

    @property
    def joined(self) -> Counter: ...


class Sender:
    """Sends calls to one service. `joined` bounds one `:execute`; None where the service is not known to run it."""

    def __init__(self, client: Client, clock: Clock, metrics: Measures, *, joined: Bounds | None = None) -> None:
        self._client = client
        self._clock = clock
        self._metrics = metrics
        self._joined = joined
        self._is_on_trial = False
        self._not_joined_until = float("-inf")

    def __repr__(self) -> str:
        return f"<Sender {self._client!r}>"

    @property
    def bounds(self) -> Bounds | None:
        """How much may go in one call now; None when each message goes in its own."""
        if self._joined is None or self._clock.monotonic() < self._not_joined_until:
            return None
        return self._joined

    def join(self, joined: Bounds | None) -> None:
        """Use `:execute` within these bounds until it is refused once, or not any longer."""
        self._joined = joined
        self._is_on_trial = True
        self._not_joined_until = float("-inf")

    async def send(self, calls: Sequence[Call], may_write: MayWrite | None = None) -> Outcome:
        """Make one request for one or more calls and return its outcome; several are messages for one destination.

        Raises WithheldError when `may_write` says no right before the request would be written.
        """
        first = calls[0]
        alone = len(calls) == 1
        waited = self._client.call(first.hub, first.item, may_write) if alone else self._joint(calls, may_write)
        started = self._clock.monotonic()
        try:
            return self._outcome(await waited)
        except (NotSentError, MaybeSentError) as error:
            return self._outcome(error)
        finally:
            self._metrics.send_seconds.observe(self._clock.monotonic() - started)

    def start(self, call: Call, before_write: Callable[[], None], on_outcome: OnOutcome) -> bool:
        """Make the call at once, and call `on_outcome` when it has ended.

        `before_write` is called right before the request is written. Return False when nothing was done, because no
        connection is free: `send` can wait for one. `on_outcome` must not raise.
        """
        on_done = partial(self._ended, on_outcome, self._clock.monotonic())
        return self._client.start(call.hub, call.item, before_write, on_done)

    def refused_joining(self, outcome: Outcome) -> bool:
        """Return whether an `:execute` was refused as such; if so, it is not used for a while, or not any more."""
        if not (isinstance(outcome, Answered) and outcome.status in _REFUSALS):
            return False
        if self._is_on_trial:
            self._joined = None
        self._not_joined_until = self._clock.monotonic() + _REMEMBERED
        return True

    def renew_token(self, calls: Sequence[Call]) -> None:
        """Have the next request for these calls carry a new token."""
        first = calls[0]
        if len(calls) == 1:
            self._client.renew_token(first.hub, first.item)
        elif isinstance(first.item, Message):
            self._client.renew_execute_token(first.hub, first.item.scope, first.item.to)

    def _ended(self, on_outcome: OnOutcome, started: float, end: Response | MaybeSentError) -> None:
        self._metrics.send_seconds.observe(self._clock.monotonic() - started)
        on_outcome(self._outcome(end))

    def _outcome(self, end: Response | NotSentError | MaybeSentError) -> Outcome:
        if type(end) is Response and end.status < FIRST_NOT_TAKEN and not end.body:  # nearly every one
            return TAKEN
        return outcome_of(end, self._clock.wall())

    def _joint(self, calls: Sequence[Call], may_write: MayWrite | None) -> Coroutine[Any, Any, Response]:
        first = calls[0].item
        bodies = [call.item.body for call in calls if isinstance(call.item, Message)]
        if not isinstance(first, Message) or len(bodies) != len(calls):
            raise TypeError("only messages share a call")
        may_join = partial(self._may_join, len(calls), may_write)
        return self._client.execute(calls[0].hub, first.scope, first.to, bodies, may_join)

    def _may_join(self, count: int, may_write: MayWrite | None) -> bool:
        """Count messages that share a call, unless another such call was refused while this one waited."""
        if self.bounds is None or not (may_write is None or may_write()):
            return False
        self._metrics.joined.inc(count)
        return True


def _key(hub: str, item: Item) -> Hashable:
    """Name what decides the whole request of an item except its body."""
    if not isinstance(item, Message):
        return hub, item
    if not (item.excluded or item.stream or item.binary):  # nearly every one
        return hub, item.scope, item.to
    if item.stream:
        return hub, item.to, item.stream, item.completion, bool(item.body)
    return (
        (hub, item.scope, item.to, item.excluded, _BINARY) if item.binary else (hub, item.scope, item.to, item.excluded)
    )


def _is_binary(key: Hashable) -> bool:
    return isinstance(key, tuple) and key[-1] is _BINARY


def _execute_key(hub: str, scope: Scope, to: str) -> Hashable:
    return hub, scope, to, "execute"


def _body(item: Item) -> bytes:
    return item.body if isinstance(item, Message) else b""
