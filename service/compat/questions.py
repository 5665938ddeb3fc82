"""Passes questions through to the service: existence, listings, `:invoke`, `:generateToken`, `:execute`, health.

Rules guarded: an answer keeps the service's status, text and `x-ms-error-code`, without which the vendor's SDK throws.
Each call is signed here, because the caller's token may name this host. What is held of an answer is bounded, and so
are the calls at the same time and the wait for each.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Final

import httpx

from fanout.clock import Clock
from fanout.errors import FanoutError, TokenUnavailableError
from fanout.settings import Settings
from fanout.signalr.client import MARK
from fanout.signalr.connection_string import ConnectionString
from fanout.signalr.credentials import Credential
from fanout.signalr.endpoints import Endpoints
from service.identities import Identities, credential_of
from service.outgoing import origin_of, proxy_to, trusted

_MAX_ANSWER: Final = 4 * 1024 * 1024
_CONNECTIONS: Final = 64
_UNAUTHORIZED: Final = 401
_GOES_ALONG: Final = ("accept", "content-type", "asrs-user-agent")
_COMES_BACK: Final = ("content-type", "x-ms-error-code", "www-authenticate", "retry-after", "x-ms-request-id")


class ServiceUnavailableError(FanoutError):
    """The service did not answer a question."""

    status = 503
    label = "serviceUnavailable"


@dataclass(frozen=True, slots=True)
class Question:
    """A call to pass through; path and query are escaped, the path is that under the host of the service."""

    method: str
    raw_path: str
    raw_query: str
    headers: Mapping[str, str]
    body: bytes = b""
    signed: bool = True


@dataclass(frozen=True, slots=True)
class Answer:
    """What the service answered."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Service:
    """The service as it is asked; made by `open_service`."""

    def __init__(
        self,
        service: ConnectionString,
        settings: Settings,
        clock: Clock,
        http: httpx.AsyncClient,
        credential: Credential,
    ) -> None:
        self._service = service
        self._settings = settings
        self._clock = clock
        self._http = http
        self._credential = credential

    async def ask(self, question: Question) -> Answer:
        """Return the answer, whatever its status; ServiceUnavailableError when none came."""
        limit = self._settings.attempt_timeout
        try:
            async with self._clock.timeout(limit):
                return await self._ask(question)
        except TimeoutError:
            raise ServiceUnavailableError(f"The SignalR service did not answer within {limit:g} s.") from None
        except TokenUnavailableError:  # the reason is in the log: it is not for callers
            raise ServiceUnavailableError("There is no token for the SignalR service now.") from None
        except httpx.HTTPError:
            raise ServiceUnavailableError("The SignalR service cannot be reached.") from None

    async def _ask(self, question: Question) -> Answer:
        url = self._service.server_endpoint + question.raw_path + ("?" if question.raw_query else "")
        headers = {name: question.headers[name] for name in _GOES_ALONG if name in question.headers} | {MARK: "1"}
        authorization = None
        if question.signed:
            authorization = await self._credential.authorization(self._audience + question.raw_path)
            headers["authorization"] = authorization.value
        async with self._http.stream(
            question.method, url + question.raw_query, headers=headers, content=question.body or None
        ) as response:
            body = bytearray()
            async for part in response.aiter_bytes():
                body += part
                if len(body) > _MAX_ANSWER:
                    raise ServiceUnavailableError(
                        f"The answer of the SignalR service is larger than {_MAX_ANSWER} bytes."
                    )
            if authorization is not None and response.status_code == _UNAUTHORIZED:
                self._credential.refused(authorization)
            kept = {name: response.headers[name] for name in _COMES_BACK if name in response.headers}
            return Answer(response.status_code, kept, bytes(body))

    @property
    def _audience(self) -> str:
        service = self._service
        return service.server_endpoint if self._settings.audience == "server" else service.endpoint


@asynccontextmanager
async def open_services(
    endpoints: Endpoints | None, settings: Settings, clock: Clock, identities: Identities | None = None
) -> AsyncIterator[Mapping[str, Service]]:
    """Open the ways to all endpoints for the duration of the block, by the names that these have in the queue."""
    async with AsyncExitStack() as stack:
        ways = {each.key: open_service(each.service, settings, clock, identities) for each in endpoints or ()}
        yield {name: await stack.enter_async_context(way) for name, way in ways.items()}


@asynccontextmanager
async def open_service(
    service: ConnectionString, settings: Settings, clock: Clock, identities: Identities | None = None
) -> AsyncIterator[Service]:
    """Open the way to one endpoint for the duration of the block."""
    credential = credential_of(settings, service, clock, identities=identities)
    origin = origin_of(service)
    proxy = proxy_to(settings, origin)
    async with httpx.AsyncClient(
        trust_env=False,
        verify=trusted(settings),
        proxy=None if proxy is None else httpx.Proxy(str(proxy), headers=proxy.headers),
        limits=httpx.Limits(max_connections=_CONNECTIONS),
        timeout=None,  # noqa: S113 - the clock bounds each call
    ) as http:
        yield Service(service, settings, clock, http, credential)
