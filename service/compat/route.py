"""The compatible routes: the data-plane REST API of the service, in front of the queue.

An application that has the service's SDK, or a Functions app, sends here by its connection string alone
(`ServerEndpoint=`). What only changes something is queued and answered with the status that the api-version promises;
what asks something is passed through to the service, after what the caller wrote before has been delivered.

Rules guarded: only the access key of the service opens these routes, and the API keys of this service do not matter
here. With several endpoints a call concerns only the one whose key signed it, because the SDK makes a call for each. A
request waits for room before it is refused, because the vendor's SDK repeats nothing by itself. A call of this service
that comes back to it is refused. The route is plain ASGI, as that of batches.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from http import HTTPStatus
from typing import Any, Final

from starlette.responses import Response
from starlette.types import Message as AsgiMessage
from starlette.types import Receive, Scope, Send

from fanout.binding.batch import Batch, ParsedItem
from fanout.clock import Clock
from fanout.environment import CONNECTION_STRING
from fanout.errors import (
    FanoutError,
    NotConfiguredError,
    OverloadedError,
    QueueError,
    QueueFullError,
    QueueSilentError,
    RateLimitedError,
)
from fanout.log import get_logger
from fanout.metrics import Metrics
from fanout.queue.keys import hub_at
from fanout.secret import Secret
from fanout.settings import Settings
from fanout.signalr.client import MARK
from fanout.signalr.credentials import InvalidTokenError
from fanout.signalr.endpoints import Endpoints, ServiceEndpoint
from service.callers.quotas import Quotas, announced_length
from service.compat.address import Address, address_of, promised_status
from service.compat.answer import refused, taken, unauthorized
from service.compat.barrier import Barrier
from service.compat.calls import (
    BINARY,
    WITH_BODY,
    Query,
    check_size,
    hub_with_application,
    item_of,
    lanes_asked_about,
    version_of,
)
from service.compat.questions import Question, Service
from service.compat.tokens import AccessTokens, CalledUrl, signer_of
from service.http.problems import PREFIX, Problem, problem_of
from service.http.request import ByteBudget, Holding, Hubs, RequestScope, announced_size, check_media_type, read_body
from service.ingress.intake import Intake
from service.ingress.outcome import BatchOptions, Mixed, Outcome
from service.ingress.route import counted

ACCESS_KEY: Final = "access-key"  # the name of whoever calls with the access key of the service
BEHIND: Final = "x-fanout-behind"  # in an answer that may be older than what the caller wrote
_HEALTH: Final = frozenset({"/api/health", "/api/v1/health"})
_CHUNK: Final = 32 * 1024  # bytes that are held for a body of unknown length before it arrives
_FIRST_PAUSE, _LONGEST_PAUSE = 0.02, 0.25
_SDK_TRANSPORT: Final = (
    "This service does not take the persistent connections of the SDK: set "
    "AzureSignalRServiceTransportType=Transient in the application's settings (ServiceTransportType.Transient in code)."
)
_ACCESS_KEY: Final = frozenset({"/api/auth/accessKey", "/api/v1/auth/accessKey"})
_ENTRA: Final = (
    "This service recognises its callers by the access key of the SignalR service and gives out no keys for callers of "
    "Microsoft Entra ID: use a connection string with AccessKey= in the application's settings."
)
_LOOP: Final = (
    "This call was sent by signalr-fanout and came back to it: its AzureSignalRConnectionString must name the SignalR "
    "service and not this service."
)
_OTHERS: Final = frozenset({"/server", *_HEALTH, *_ACCESS_KEY})
_NO_SUCH_CALL: Final = "The REST API of Azure SignalR Service has no such operation."


def is_compatible(path: str) -> bool:
    """Return whether a decoded path is one of these routes."""
    return path.startswith(("/api/hubs/", "/api/v1/hubs/", "/server/")) or path in _OTHERS


class Compatible:
    """The routes as an ASGI application; it holds nothing of any request."""

    def __init__(
        self,
        settings: Settings,
        hubs: Hubs,
        intake: Intake,
        metrics: Metrics,
        clock: Clock,
        budget: ByteBudget,
        *,
        endpoints: Endpoints | None,
        second_key: Secret,
        asked: Mapping[str, Service],
        barrier: Barrier | None,
        quotas: Quotas,
        is_online: Callable[[ServiceEndpoint], bool],
    ) -> None:
        """`asked` are the ways to the endpoints by name. `barrier` is None where nothing is waited for."""
        self._settings = settings
        self._hubs = hubs
        self._intake = intake
        self._metrics = metrics
        self._clock = clock
        self._budget = budget
        self._tokens = _tokens_of(endpoints, second_key)
        self._endpoints = endpoints
        self._is_online = is_online
        self._asked = asked
        self._barrier = barrier
        self._quotas = quotas
        self._log = get_logger()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        request = RequestScope(scope, receive)
        response = await counted(self._metrics.compatible, self._respond(request))
        await response(scope, receive, send)

    async def _respond(self, request: RequestScope) -> Response:
        try:
            return await self._answer(request)
        except FanoutError as error:
            problem = problem_of(error)
            if problem.status == HTTPStatus.TOO_MANY_REQUESTS:  # which the vendor's SDK never repeats
                problem = replace(problem, status=int(HTTPStatus.SERVICE_UNAVAILABLE))
        except MissingTokenError:
            problem = unauthorized(None)
        except InvalidTokenError as error:
            problem = unauthorized(error)
        if problem.status == HTTPStatus.SERVICE_UNAVAILABLE:
            self._metrics.backpressure.inc()
        return refused(problem, request.scope, request.request_id)

    async def _answer(self, request: RequestScope) -> Response:
        scope = request.scope
        path = _raw_path(scope)
        refusal = self._refusal(request, path)
        if refusal is not None:
            return refused(refusal, scope, request.request_id)
        query = scope["query_string"].decode("latin-1")
        if path in _HEALTH:
            return await self._pass_through(request, self._healthiest(), path, query, behind=False, signed=False)
        address = address_of(scope["method"], path)
        if address is None:
            return refused(Problem("notFound", 404, _NO_SUCH_CALL), scope, request.request_id)
        endpoint = self._authenticate(request, path, query)
        asked = Query.parse(query)
        hub = hub_with_application(self._hubs.check(address.hub), asked, self._settings.application)
        status = promised_status(address.operation, version_of(address, asked))
        if status is None:
            behind = self._barrier is not None and not await self._barrier.passed(
                hub_at(hub, endpoint), lanes_asked_about(address)
            )
            return await self._pass_through(request, endpoint, path, query, behind=behind)
        await self._take(request, address, asked, hub, endpoint)
        return taken(status)

    def _healthiest(self) -> str:
        """Return the name of the endpoint whose health is told: the question has no token that says which is meant."""
        if self._endpoints is None:
            return ""
        return next(filter(self._is_online, self._endpoints), self._endpoints.first).key

    def _refusal(self, request: RequestScope, path: str) -> Problem | None:
        if MARK in request.headers:
            return Problem("loop", 508, _LOOP)
        if path == "/server" or path.startswith("/server/"):
            return Problem("persistentTransport", 400, _SDK_TRANSPORT)
        if path in _ACCESS_KEY:
            return Problem("entraCaller", 400, _ENTRA)
        return None

    def _authenticate(self, request: RequestScope, path: str, query: str) -> str:
        """Return the name of the endpoint whose key signed the call; InvalidTokenError when none did."""
        if not self._tokens:
            raise NotConfiguredError(f"{CONNECTION_STRING} is not set, so no caller can be recognised.")
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise MissingTokenError
        host, now = request.headers.get("host", ""), self._clock.wall()
        prefix = request.scope.get(PREFIX, "")
        try:
            return signer_of(self._tokens, token.strip(), CalledUrl(host, path, query), now)
        except InvalidTokenError:
            if not prefix:
                raise
            return signer_of(self._tokens, token.strip(), CalledUrl(host, prefix + path, query), now)

    async def _take(self, request: RequestScope, address: Address, query: Query, hub: str, endpoint: str) -> None:
        """Queue what a call asks for; a FanoutError when it is not stored."""
        until = self._clock.monotonic() + self._settings.compat_hold
        has_body = address.operation in WITH_BODY
        await self._within_limits(announced_length(request.headers), until)
        with Holding(self._budget) as holding:
            room = _Room(self._clock, holding, until)
            body = await self._body(request, room) if has_body else b""
            if self._quotas.default is not None:
                self._quotas.owe(ACCESS_KEY, self._quotas.default, len(body) - announced_length(request.headers))
            item = item_of(address, query, body, request.headers.get("content-type", ""))
            batch = Batch((ParsedItem(0, (item,), endpoints=(endpoint,)),), is_plain=True)
            await self._store(request, hub, batch, holding, until)

    async def _within_limits(self, size: int, until: float) -> None:
        """Wait until the callers of these routes may send so many bytes; RateLimitedError when that takes too long."""
        limits = self._quotas.default
        while limits is not None:
            try:
                await self._quotas.spend(ACCESS_KEY, limits, size)
            except RateLimitedError as error:
                left = until - self._clock.monotonic()
                if error.retry_after >= left:
                    raise
                await self._clock.sleep(max(error.retry_after, _FIRST_PAUSE))
            else:
                return

    async def _body(self, request: RequestScope, room: "_Room") -> bytes:
        settings, headers = self._settings, request.headers
        if headers.get("content-type", "").partition(";")[0].strip().lower() != BINARY:
            check_media_type(headers)
        announced = announced_size(headers, settings.max_message)
        await room.hold(announced if "content-length" in headers else _CHUNK)
        metered = _Metered(request, room)
        body = await read_body(metered, settings.max_message, clock=self._clock, within=settings.body_timeout)
        check_size(body, settings.max_message)
        return body

    async def _store(self, request: RequestScope, hub: str, batch: Batch, holding: Holding, until: float) -> None:
        # A call that found no room is tried again for a while: for the SDK there is no other way than to wait.
        options = BatchOptions(request.request_id, caller=ACCESS_KEY)
        pause, held = _FIRST_PAUSE, holding.size
        while True:
            try:
                _check(await self._intake(hub, batch, options, holding))
            except (OverloadedError, QueueError) as error:
                left = until - self._clock.monotonic()
                if left <= 0 or isinstance(error, QueueSilentError):
                    raise
                holding.resize(held)
                await self._clock.sleep(min(pause, left))
                pause = min(2 * pause, _LONGEST_PAUSE)
            else:
                return

    async def _pass_through(
        self, request: RequestScope, endpoint: str, path: str, query: str, *, behind: bool, signed: bool = True
    ) -> Response:
        asked = self._asked.get(endpoint)
        if asked is None:
            raise NotConfiguredError(f"{CONNECTION_STRING} is not set, so the service cannot be asked.")
        settings = self._settings
        with Holding(self._budget) as holding:
            room = _Room(self._clock, holding, self._clock.monotonic() + settings.compat_hold)
            size = announced_size(request.headers, settings.max_message)
            await room.hold(size)
            body = await read_body(request, settings.max_message, clock=self._clock, within=settings.body_timeout)
            method = request.scope["method"]
            answer = await asked.ask(Question(method, path, query, request.headers, body, signed))
        headers = dict(answer.headers)
        if behind:
            self._metrics.compatible_behind.inc()
            headers[BEHIND] = "1"
        return Response(answer.body, answer.status, headers)


class MissingTokenError(InvalidTokenError):
    """The call carries no token."""


class _Room:
    """Holds bytes of the budget, and waits for them until a time."""

    def __init__(self, clock: Clock, holding: Holding, until: float) -> None:
        self._clock = clock
        self._holding = holding
        self._until = until

    async def hold(self, size: int) -> None:
        """Hold at least `size` bytes; OverloadedError when there was no room for them in time."""
        pause = _FIRST_PAUSE
        while size > self._holding.size:
            try:
                self._holding.resize(size)
            except OverloadedError:
                left = self._until - self._clock.monotonic()
                if left <= 0:
                    raise
                await self._clock.sleep(min(pause, left))
                pause = min(2 * pause, _LONGEST_PAUSE)


class _Metered:
    """A request whose body is held as it comes: chunks announce no length, and most bodies are small."""

    def __init__(self, request: RequestScope, room: _Room) -> None:
        self.headers = request.headers
        self._receive = request.receive
        self._room = room
        self._size = 0

    @property
    def receive(self) -> Receive:
        """Where the body comes from."""
        return self._next

    async def _next(self) -> AsgiMessage:
        message = await self._receive()
        self._size += len(message.get("body", b""))
        await self._room.hold(self._size)
        return message


_ERRORS: dict[str, Callable[[str], QueueError]] = {"queueFull": QueueFullError, "queueSilent": QueueSilentError}


def _check(outcome: Outcome) -> None:
    if isinstance(outcome, Mixed) and outcome.items[0].status == "failed":
        failed = outcome.items[0]
        raise _ERRORS.get(failed.code, QueueSilentError)(failed.detail)


def _tokens_of(endpoints: Endpoints | None, second_key: Secret) -> list[tuple[str, AccessTokens]]:
    """Return what is accepted for each endpoint; `second_key` is that of the first."""
    tokens: list[tuple[str, AccessTokens]] = []
    for endpoint in endpoints or ():
        service = endpoint.service
        keys = (service.key,) if tokens else (service.key, second_key)
        tokens.append((endpoint.key, AccessTokens(keys, (service.endpoint, service.server_endpoint))))
    return tokens


def _raw_path(scope: Scope) -> str:
    # The path as it was sent: escaped, and without the prefix that a gateway puts in front.
    raw: Any = scope.get("raw_path") or scope["path"].encode()
    return str(raw.decode("latin-1").removeprefix(scope.get(PREFIX, "")))
