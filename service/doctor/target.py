"""The service under examination: how checks reach it, and under which names.

Rules guarded: what delivery does is proved with the delivery client itself; what delivery never does (HEAD, other
audiences, malformed bodies) goes through httpx. Each wait is bounded by the clock. Ids contain a nonce of this run, so
two doctors and a live application do not interfere. Users that were added to groups are removed again. A throttled call
is repeated, because throttling says nothing about what is examined.
"""

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import quote

import httpx

from fanout.clock import Clock
from fanout.errors import FanoutError, TokenUnavailableError
from fanout.http1.exchange import Limits, Response
from fanout.settings import Settings
from fanout.signalr.client import MARK, Client
from fanout.signalr.connection_string import ConnectionString
from fanout.signalr.credentials import Authorization, Credential, client_url
from fanout.signalr.message import GroupAction, Item, Scope, Verb
from service.compat.questions import Service
from service.doctor.client_connection import ClientConnection, Negotiation, connect_client
from service.doctor.findings import CheckFailedError, printable
from service.identities import Identities, credential_of
from service.negotiate.client_tokens import ClientTokens, client_tokens_of
from service.negotiate.identity import ClientIdentity
from service.outgoing import open_client, origin_of, proxy_to, trusted

_CONNECTIONS = 32
_CACHED_TOKENS = 1000
_SUCCESS = range(200, 300)
_THROTTLED = 429
_UNAUTHORIZED = 401
_MAX_TRIES = 8  # of one throttled call
_BUSY = f"Answered {_THROTTLED} {_MAX_TRIES} times: the service is too busy to be examined now."
_DEFAULT_PAUSE = 1.0  # seconds between tries without a Retry-After


@dataclass(frozen=True, slots=True)
class Options:
    """How to examine. Times are in seconds.

    `hub` is the scratch hub. `timeout` bounds each call and each wait for a message. A message that should not arrive
    is waited for during `quiet`. `ttl` is that of a membership. `provoke` is the number of quick calls made to provoke
    a 429; 0 makes none.
    """

    hub: str
    timeout: float = 10.0
    quiet: float = 0.3
    ttl: int = 1
    provoke: int = 0


@dataclass(frozen=True, slots=True)
class SignedRequest:
    """One call that delivery would not make. `path` is escaped; a token names `audience`, "" sends no token.

    The audience is given apart from the path, because the token checks find out which form of it is accepted.
    """

    method: str
    path: str
    query: str = ""
    audience: str = ""
    body: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class Check:
    """One sentence about the service and how to prove it.

    `run` returns what was seen, or raises a FanoutError or TimeoutError. `needs` names the check without which this
    one could prove nothing. `relied_on` is True when the configuration depends on it.
    """

    family: str
    name: str
    run: Callable[["Target"], Awaitable[str]]
    needs: str = ""
    relied_on: bool = True


class Target:
    """One service, one configuration, one run. `delivery` is the client that workers use."""

    def __init__(
        self,
        service: ConnectionString,
        settings: Settings,
        options: Options,
        clock: Clock,
        delivery: Client,
        http: httpx.AsyncClient,
        credential: Credential,
        client_tokens: ClientTokens,
    ) -> None:
        self._client_tokens = client_tokens
        self._credential = credential
        self.service = service
        self.settings = settings
        self.options = options
        self.clock = clock
        self.delivery = delivery
        self._http = http
        self.nonce = secrets.token_hex(6)
        self.joined: set[str] = set()
        self._count = 0

    def __repr__(self) -> str:
        return f"<Target {self.service.server_endpoint} hub {self.options.hub}>"

    def unique_name(self, kind: str) -> str:
        """Return an id that nobody else uses."""
        self._count += 1
        return f"doctor-{kind}-{self.nonce}-{self._count}"

    def hub_path(self, rest: str) -> str:
        """Return the path of something under the scratch hub; `rest` is escaped and starts with a slash."""
        return f"/api/hubs/{quote(self.options.hub, safe='')}{rest}"

    def query(self, api_version: str = "") -> str:
        """Return the query that every call carries."""
        application = self.settings.application.lower()
        return (f"application={application}&" if application else "") + (
            f"api-version={api_version or self.settings.api_version}"
        )

    @property
    def audience_base(self) -> str:
        """The part of the audience before the path, as configured."""
        return self.service.server_endpoint if self.settings.audience == "server" else self.service.endpoint

    async def request(self, request: SignedRequest) -> httpx.Response:
        """Make one call that delivery would not make, signed for `request.audience` unless that is ""."""
        for _ in range(_MAX_TRIES):
            answer = await self._request(request)
            if answer.status_code != _THROTTLED:
                return answer
            await self._pause(answer.headers.get("retry-after"))
        raise CheckFailedError(_BUSY)

    async def call(self, item: Item) -> Response:
        """Make the call of one item as a worker would."""
        return await self._with_retries(lambda: self.delivery.call(self.options.hub, item))

    async def execute(self, scope: Scope, to: str, bodies: Sequence[bytes]) -> Response:
        """Make one `:execute` as a worker would."""
        return await self._with_retries(lambda: self.delivery.execute(self.options.hub, scope, to, bodies))

    async def _with_retries(self, call: Callable[[], Awaitable[Response]]) -> Response:
        for _ in range(_MAX_TRIES):
            response = await call()
            if response.status != _THROTTLED:
                return response
            await self._pause(response.headers.get("retry-after"))
        raise CheckFailedError(_BUSY)

    async def _pause(self, retry_after: str | None) -> None:
        text = retry_after or ""
        pause = float(text) if text.isascii() and text.isdigit() else _DEFAULT_PAUSE
        await self.clock.sleep(min(pause, self.options.timeout))

    async def _request(self, request: SignedRequest) -> httpx.Response:
        authorization: Authorization | None = None
        headers = {MARK: "1"} | ({"content-type": "application/json"} if request.body else {})
        if request.audience:
            authorization = await self._authorization(request.audience)
            headers["authorization"] = authorization.value
        url = self.service.server_endpoint + request.path + (f"?{request.query}" if request.query else "")
        try:
            async with self.clock.timeout(self.options.timeout):
                answer = await self._http.request(request.method, url, headers=headers, content=request.body)
        except TimeoutError:
            raise CheckFailedError(f"No answer within {self.options.timeout:g} s.") from None
        except httpx.HTTPError as error:
            raise CheckFailedError(f"No answer: {printable(str(error) or type(error).__name__)}.") from None
        if authorization is not None and answer.status_code == _UNAUTHORIZED:
            self._credential.refused(authorization)
        return answer

    async def _authorization(self, audience: str) -> Authorization:
        try:
            return await self._credential.authorization(audience)
        except TokenUnavailableError as error:
            raise CheckFailedError(str(error)) from None

    async def status_of(self, rest: str) -> int:
        """Ask whether something under the scratch hub exists, and return the status."""
        path = self.hub_path(rest)
        return (await self.request(SignedRequest("HEAD", path, self.query(), self.audience_base + path))).status_code

    async def send(self, item: Item) -> int:
        """Deliver one item as a worker would, and return the status; CheckFailedError for one outside 2xx."""
        if isinstance(item, GroupAction) and item.verb is Verb.ADD and item.member_scope is Scope.USER:
            self.joined.add(item.member)
        return accepted(await self.call(item))

    @asynccontextmanager
    async def connected_client(self, user: str = "") -> AsyncIterator[ClientConnection]:
        """Connect a real client, as a new user unless one is named; its memberships end with the block."""
        user = user or self.unique_name("user")
        try:
            async with connect_client(await self._negotiation(user), self._http, self.clock) as client:
                yield client
        finally:
            if user in self.joined:
                await self._forget(user)

    async def clean_up(self) -> tuple[str, ...]:
        """Remove users that are still in groups from them, and return those for whom that failed."""
        for user in tuple(self.joined):
            await self._forget(user)
        return tuple(sorted(self.joined))

    async def _negotiation(self, user: str) -> Negotiation:
        application = self.settings.application.lower()
        hub = f"{application}_{self.options.hub}" if application else self.options.hub
        lifetime = self.settings.negotiate_lifetime
        token = await self._client_tokens.issue(hub, ClientIdentity(user), self.clock.wall(), lifetime)
        return Negotiation(client_url(self.service, hub), token, user, self.nonce, self.options.timeout)

    async def _forget(self, user: str) -> None:
        try:
            await self.send(GroupAction(Verb.REMOVE_ALL, Scope.USER, user))
        except FanoutError:
            return  # still in `joined`: the last check tries again and reports it
        self.joined.discard(user)


def accepted(response: Response) -> int:
    """Return the status of a successful answer; CheckFailedError says what the answer was instead."""
    if response.status in _SUCCESS:
        return response.status
    hints = [response.headers.get(name) for name in ("x-ms-error-code", "www-authenticate", "retry-after")]
    reason = " ".join(hint for hint in hints if hint) or response.body.decode("utf-8", "replace")
    raise CheckFailedError(printable(f"Answered {response.status}{': ' if reason else ''}{reason}").rstrip(".") + ".")


@asynccontextmanager
async def open_target(
    service: ConnectionString,
    settings: Settings,
    options: Options,
    clock: Clock,
    identities: Identities | None = None,
) -> AsyncIterator[Target]:
    """Open the clients of a service for the duration of the block."""
    identities = identities or Identities(clock)
    credential = credential_of(settings, service, clock, identities=identities)
    limits = Limits(_CONNECTIONS, connect_timeout=options.timeout, request_timeout=options.timeout)
    client = open_client(
        settings, service, clock, limits, cache_size=_CACHED_TOKENS, on_refused=lambda: None,
        identities=identities,
    )  # fmt: skip
    proxy = proxy_to(settings, origin_of(service))
    try:
        async with httpx.AsyncClient(
            trust_env=False,
            verify=trusted(settings),
            proxy=None if proxy is None else httpx.Proxy(str(proxy), headers=proxy.headers),
            timeout=None,  # noqa: S113 - the clock bounds each call
        ) as http:
            asked = Service(service, settings, clock, http, credential)
            tokens = client_tokens_of(service, asked, clock, identities)
            yield Target(service, settings, options, clock, client, http, credential, tokens)
    finally:
        await client.aclose()
