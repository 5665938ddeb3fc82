"""The route that takes batches over HTTP: `POST /v1/hubs/{hub}/messages`.

Rules guarded: cheap refusals come first (who, which hub, what type, how large). What a batch means and whether it is
stored is not decided here. The route is plain ASGI: what a framework does around a request, and a model for each item,
would each cost more than all the rest.
"""

from collections.abc import Awaitable, Mapping
from http import HTTPStatus
from typing import TypeVar

from msgspec import structs
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from fanout.binding.batch import BatchLimits, batch_fingerprint, parse_batch
from fanout.binding.refusals import WARNING_CODES
from fanout.clock import Clock
from fanout.counters import Counter
from fanout.errors import FanoutError
from fanout.memory import ByteBudget, Holding
from fanout.metrics import Metrics
from fanout.settings import Settings
from fanout.signalr.connection_string import ConnectionString
from service.callers.caller import Right
from service.http.auth import Guard
from service.http.body import announced_size, check_media_type, read_body
from service.http.hubs import Hubs
from service.http.problems import Problem, problem_of, response_of
from service.http.request import JsonAnswer, RequestScope
from service.ingress.answer import Accepted, answer_of
from service.ingress.headers import options_of
from service.ingress.intake import Intake
from service.ingress.outcome import BatchOptions, Outcome


class Ingress:
    """The route as an ASGI application; it holds nothing of any request."""

    def __init__(
        self,
        settings: Settings,
        hubs: Hubs,
        intake: Intake,
        guard: Guard,
        metrics: Metrics,
        clock: Clock,
        limits: BatchLimits,
        budget: ByteBudget,
    ) -> None:
        self._settings = settings
        self._hubs = hubs
        self._intake = intake
        self._guard = guard
        self._metrics = metrics
        self._clock = clock
        self._limits = limits
        self._budget = budget
        self._refused = ("emptyAddress",) if settings.empty_address == "refuse" else ()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        request = RequestScope(scope, receive)
        response = await counted(self._metrics.requests, self._respond(request))
        await response(scope, receive, send)

    async def _respond(self, request: RequestScope) -> Response | JsonAnswer:
        try:
            answer = await self._take(request)
        except FanoutError as error:
            answer = problem_of(error)
        if isinstance(answer, Accepted):
            return JsonAnswer(202, answer.content, answer.headers)
        if answer.status == HTTPStatus.SERVICE_UNAVAILABLE:
            self._metrics.backpressure.inc()
        return response_of(answer, request.request_id)

    async def _take(self, request: RequestScope) -> Accepted | Problem:
        headers, settings = request.headers, self._settings
        caller = self._guard.caller_of(request.scope, headers)
        named = request.path_param("hub")
        caller.require(Right.SEND, named)
        hub = self._hubs.check(named)
        check_media_type(headers)
        options = _options_of(request, caller.name)
        with self._budget.hold(announced_size(headers, settings.max_body)) as holding:
            return answer_of(await self._store(request, hub, options, holding), options)

    async def _store(self, request: RequestScope, hub: str, options: BatchOptions, holding: Holding) -> Outcome:
        settings = self._settings
        body = await read_body(request, settings.max_body, clock=self._clock, within=settings.body_timeout)
        holding.resize(len(body))
        refused = WARNING_CODES if options.handling == "strict" else self._refused
        batch = parse_batch(body, self._limits, refused=refused, replace_surrogates=options.replace_surrogates)
        if options.key is not None:
            options = structs.replace(options, fingerprint=batch_fingerprint(body))
        del body  # the batch has copied what it needs of it
        return await self._intake(hub, batch, options, holding)


def _options_of(request: RequestScope, caller: str) -> BatchOptions:
    headers = request.headers
    if "prefer" in headers or "idempotency-key" in headers:
        return options_of(request.all_headers, request.request_id, caller)
    return BatchOptions(request.request_id, caller=caller)


def limits_of(settings: Settings, service: ConnectionString | None) -> BatchLimits:
    """Return the limits under which batches are parsed."""
    return BatchLimits(
        max_items=settings.max_items,
        max_targets=settings.max_targets,
        max_message=settings.max_message,
        endpoints=(service.endpoint,) if service else (),
    )


T = TypeVar("T", bound=Response | JsonAnswer)


async def counted(metrics: Mapping[str, Counter], responding: Awaitable[T]) -> T:
    """Count a response by its status class. One that was never made counts as 5xx, a client that left as 4xx."""
    status = 500
    try:
        response = await responding
        status = response.status_code
    except ClientDisconnect:
        status = 400
        raise
    else:
        return response
    finally:
        metrics[f"{status // 100}xx"].inc()
