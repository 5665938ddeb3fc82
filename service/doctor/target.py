"""The service under examination: how checks reach it, and under which names.

Rules guarded: what delivery does is proved with the delivery client itself, what it never does (HEAD, foreign
audiences, bodies nobody would send) goes through httpx; each wait is bounded through the clock; ids are made of a
nonce of this run, so that two doctors and a live application never meet; users put into groups are taken out again; a
call that is refused for its speed is made again, for that says nothing of what is examined.
"""

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import quote

import httpx

from fanout.clock import Clock
from fanout.errors import FanoutError
from fanout.http1.dial import default_tls
from fanout.http1.exchange import Limits, Origin, Response
from fanout.http1.pool import Pool
from fanout.settings import Settings
from fanout.signalr.client import Client, service_address
from fanout.signalr.connection_string import ConnectionString
from fanout.signalr.credentials import AccessKeyCredential, client_token, client_url, rest_token
from fanout.signalr.message import GroupAction, Item, Scope, Verb
from service.doctor.client_connection import Ear, Invitation, connected
from service.doctor.failure import DisprovedError, shown

_CONNECTIONS = 32
_KEPT_TOKENS = 1000
_SUCCESS = range(200, 300)
_THROTTLED = 429
_TRIES = 8  # calls made of one that is refused for its speed
_BUSY = f"Answered {_THROTTLED} {_TRIES} times: the service is too busy to be examined now."
_PAUSE = 1.0  # seconds between them where no Retry-After says more


@dataclass(frozen=True, slots=True)
class Terms:
    """How to examine.

    `hub` is the scratch hub, `timeout` bounds each call and each wait for a message, after `quiet` a message that
    should not come is taken not to come, `ttl` is the membership's, all in seconds; `provoke` is how many quick calls
    are to provoke a 429, 0 for none.
    """

    hub: str
    timeout: float = 10.0
    quiet: float = 0.3
    ttl: int = 1
    provoke: int = 0


@dataclass(frozen=True, slots=True)
class Errand:
    """One call outside delivery's habits: `path` is escaped, `audience` is what the token names, "" for no token.

    The audience is said apart from the path: which form of it is taken is what the token checks find out.
    """

    method: str
    path: str
    query: str = ""
    audience: str = ""
    body: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class Doors:
    """The ways in: the delivery client and one for calls that delivery never makes."""

    client: Client
    http: httpx.AsyncClient = field(repr=False)


class Patient:
    """One service, one configuration, one run."""

    def __init__(self, service: ConnectionString, settings: Settings, terms: Terms, clock: Clock, doors: Doors) -> None:
        self.service = service
        self.settings = settings
        self.terms = terms
        self.clock = clock
        self.client = doors.client
        self._http = doors.http
        self.nonce = secrets.token_hex(6)
        self.joined: set[str] = set()
        self._count = 0

    def __repr__(self) -> str:
        return f"<Patient {self.service.server_endpoint} hub {self.terms.hub}>"

    def name(self, kind: str) -> str:
        """Make an id nobody else uses."""
        self._count += 1
        return f"doctor-{kind}-{self.nonce}-{self._count}"

    def hub_path(self, rest: str) -> str:
        """Give the path of something under the scratch hub; `rest` is escaped and starts with a slash."""
        return f"/api/hubs/{quote(self.terms.hub, safe='')}{rest}"

    def query(self, api_version: str = "") -> str:
        """Give the query every call carries."""
        application = self.settings.application.lower()
        return (f"application={application}&" if application else "") + (
            f"api-version={api_version or self.settings.api_version}"
        )

    @property
    def audience_base(self) -> str:
        """What stands before the path in the audience, as configured."""
        return self.service.server_endpoint if self.settings.audience == "server" else self.service.endpoint

    async def ask(self, errand: Errand) -> httpx.Response:
        """Make one call outside delivery's habits, signed for `errand.audience` unless that is ""."""
        for _ in range(_TRIES):
            answer = await self._ask(errand)
            if answer.status_code != _THROTTLED:
                return answer
            await self._pause(answer.headers.get("retry-after"))
        raise DisprovedError(_BUSY)

    async def call(self, item: Item) -> Response:
        """Make the call of one item as a worker would."""
        return await self._patiently(lambda: self.client.call(self.terms.hub, item))

    async def execute(self, scope: Scope, to: str, bodies: Sequence[bytes]) -> Response:
        """Make one `:execute` as a worker would."""
        return await self._patiently(lambda: self.client.execute(self.terms.hub, scope, to, bodies))

    async def _patiently(self, call: Callable[[], Awaitable[Response]]) -> Response:
        for _ in range(_TRIES):
            response = await call()
            if response.status != _THROTTLED:
                return response
            await self._pause(response.headers.get("retry-after"))
        raise DisprovedError(_BUSY)

    async def _pause(self, retry_after: str | None) -> None:
        asked = float(retry_after) if retry_after and retry_after.isascii() and retry_after.isdigit() else _PAUSE
        await self.clock.sleep(min(asked, self.terms.timeout))

    async def _ask(self, errand: Errand) -> httpx.Response:
        headers = {"content-type": "application/json"} if errand.body else {}
        if errand.audience:
            expires = int(self.clock.wall() + self.settings.token_lifetime)
            headers["authorization"] = f"Bearer {rest_token(self.service.access_key, errand.audience, expires)}"
        url = self.service.server_endpoint + errand.path + (f"?{errand.query}" if errand.query else "")
        try:
            async with self.clock.timeout(self.terms.timeout):
                return await self._http.request(errand.method, url, headers=headers, content=errand.body)
        except TimeoutError:
            raise DisprovedError(f"No answer within {self.terms.timeout:g} s.") from None
        except httpx.HTTPError as error:
            raise DisprovedError(f"No answer: {shown(str(error) or type(error).__name__)}.") from None

    async def head(self, rest: str) -> int:
        """Ask whether something under the scratch hub exists; gives the status."""
        path = self.hub_path(rest)
        return (await self.ask(Errand("HEAD", path, self.query(), self.audience_base + path))).status_code

    async def send(self, item: Item) -> int:
        """Deliver one item as a worker would; gives the status, or raises DisprovedError for one outside 2xx."""
        if isinstance(item, GroupAction) and item.verb is Verb.ADD and item.member_scope is Scope.USER:
            self.joined.add(item.member)
        return accepted(await self.call(item))

    @asynccontextmanager
    async def listening(self, user: str = "") -> AsyncIterator[Ear]:
        """Hold a real client's connection, of a user of its own unless one is named; its memberships end with it."""
        user = user or self.name("user")
        try:
            async with connected(self._invitation(user), self._http, self.clock) as ear:
                yield ear
        finally:
            if user in self.joined:
                await self._forget(user)

    async def leave(self) -> tuple[str, ...]:
        """Take users that are still in groups out of them; gives those for whom that failed."""
        for user in tuple(self.joined):
            await self._forget(user)
        return tuple(sorted(self.joined))

    def _invitation(self, user: str) -> Invitation:
        """Make what negotiate gives a client."""
        application = self.settings.application.lower()
        hub = f"{application}_{self.terms.hub}" if application else self.terms.hub
        token = client_token(
            self.service,
            hub,
            user_id=user,
            claims={},
            now=self.clock.wall(),
            lifetime=self.settings.negotiate_lifetime,
        )
        return Invitation(client_url(self.service, hub), token, user, self.nonce, self.terms.timeout)

    async def _forget(self, user: str) -> None:
        try:
            await self.send(GroupAction(Verb.REMOVE_ALL, Scope.USER, user))
        except FanoutError:
            return  # still in `joined`: the last check tries again and says so
        self.joined.discard(user)


def accepted(response: Response) -> int:
    """Give the status of an answer that means done; DisprovedError says what it was otherwise."""
    if response.status in _SUCCESS:
        return response.status
    hints = [response.headers.get(name) for name in ("x-ms-error-code", "www-authenticate", "retry-after")]
    told = " ".join(hint for hint in hints if hint) or response.body.decode("utf-8", "replace")
    raise DisprovedError(shown(f"Answered {response.status}{': ' if told else ''}{told}").rstrip(".") + ".")


@asynccontextmanager
async def admitted(service: ConnectionString, settings: Settings, terms: Terms, clock: Clock) -> AsyncIterator[Patient]:
    """Open the ways to a service for the time of the block."""
    limits = Limits(_CONNECTIONS, connect_timeout=terms.timeout, request_timeout=terms.timeout)
    address = service_address(
        service, audience=settings.audience, api_version=settings.api_version, application=settings.application
    )
    credential = AccessKeyCredential(service.access_key, clock, lifetime=settings.token_lifetime)
    pool = Pool(Origin.parse(_origin(service)), limits, clock)
    client = Client(pool, credential, address, clock, cache_size=_KEPT_TOKENS)
    try:
        # As delivery: no proxy from the environment, the system's CAs.
        async with httpx.AsyncClient(
            trust_env=False,
            verify=default_tls(),
            timeout=None,  # noqa: S113 - the clock bounds each call
        ) as http:
            yield Patient(service, settings, terms, clock, Doors(client, http))
    finally:
        await client.aclose()


def _origin(service: ConnectionString) -> str:
    parts = httpx.URL(service.server_endpoint)
    return f"{parts.scheme}://{parts.netloc.decode()}"
