"""The route that takes batches over HTTP, `POST /v1/hubs/{hub}/messages`, and its answers.

Rules guarded: cheap refusals come first (who, which hub, what type, how large). What a batch means and whether it is
stored is not decided here. 202 means that every item that was to be taken is stored, now or before. Any other answer
says for each item what became of it as soon as one of them may be stored (RFC 9457 with `results`). The route is plain
ASGI: what a framework does around a request, and a model for each item, would each cost more than all the rest.
"""

from collections.abc import Awaitable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from http import HTTPStatus
from types import MappingProxyType
from typing import Any, TypeVar

import msgspec
from msgspec import structs
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from fanout.binding.batch import BatchLimits, RejectedItem, batch_fingerprint, parse_batch
from fanout.binding.refusals import WARNING_CODES
from fanout.clock import Clock
from fanout.errors import FanoutError
from fanout.instruments import Counter
from fanout.metrics import Metrics
from fanout.quota import Limits
from fanout.settings import Settings
from fanout.signalr.endpoints import Endpoints
from service.callers.caller import Right
from service.callers.quotas import CountedBody, Quotas, announced_length
from service.http.problems import Problem, problem_of, response_of
from service.http.request import (
    ByteBudget,
    Guard,
    Holding,
    Hubs,
    RequestScope,
    announced_size,
    check_media_type,
    read_body,
)
from service.ingress.headers import options_of
from service.ingress.intake import Intake
from service.ingress.outcome import CONFLICTS, FAILURES, BatchOptions, ItemOutcome, Outcome, Refused, Stored

RETRY_AFTER = "1"
_SEND = Right.SEND
_PREFIX = b"\0"  # stands for the prefix of the ids in a prepared answer; no JSON has this byte
_MAX_PREPARED = 500  # items; the answers to larger batches are not kept
_encode = msgspec.json.Encoder().encode
_REPEAT = (
    "Repeat the request with the same Idempotency-Key or messageIds: items that are stored answer `duplicate`. "
    "Without either, send only the failed items again."
)


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


T = TypeVar("T", bound=Response | JsonAnswer)


class Accepted(msgspec.Struct, frozen=True, gc=False):
    """A 202: the JSON of its body, and the headers that go with it."""

    content: bytes
    headers: Mapping[str, str]


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
        quotas: Quotas,
    ) -> None:
        self._settings = settings
        self._hubs = hubs
        self._intake = intake
        self._guard = guard
        self._metrics = metrics
        self._clock = clock
        self._limits = limits
        self._budget = budget
        self._quotas = quotas
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
        headers = request.headers
        caller = self._guard.caller_of(request.scope, headers)
        named = request.path_param("hub")
        if _SEND not in caller.everywhere:
            caller.require(_SEND, named)
        hub = self._hubs.check(named)
        check_media_type(headers)
        options = _options_of(request, caller.name)
        limits = caller.limits or self._quotas.default
        if limits is None:
            return await self._answer(request, hub, options)
        return await self._within(limits, request, hub, options)

    async def _within(
        self, limits: Limits, request: RequestScope, hub: str, options: BatchOptions
    ) -> Accepted | Problem:
        """Answer a caller that has limits; RateLimitedError when it may not send now."""
        size, body = announced_length(request.headers), CountedBody(request.receive)
        headers = await self._quotas.spend(options.caller, limits, size)
        request.receive = body
        try:
            answer = await self._answer(request, hub, options)
        finally:
            self._quotas.owe(options.caller, limits, body.size - size)
        return _with(answer, headers)

    async def _answer(self, request: RequestScope, hub: str, options: BatchOptions) -> Accepted | Problem:
        headers, settings = request.headers, self._settings
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


def _with(answer: Accepted | Problem, headers: Mapping[str, str]) -> Accepted | Problem:
    if isinstance(answer, Accepted):
        return structs.replace(answer, headers={**answer.headers, **headers})
    return replace(answer, headers={**answer.headers, **headers})


def limits_of(settings: Settings, endpoints: Endpoints | None) -> BatchLimits:
    """Return the limits under which batches are parsed."""
    all_of_them = () if endpoints is None else endpoints.all
    return BatchLimits(
        max_items=settings.max_items,
        max_targets=settings.max_targets,
        max_message=settings.max_message,
        endpoints=tuple(each.service.endpoint for each in all_of_them),
        endpoint_names=tuple(each.key for each in all_of_them),
    )


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


def answer_of(outcome: Outcome, options: BatchOptions) -> Accepted | Problem:
    """Return the answer to an outcome."""
    headers = _applied(options.handling, replace_surrogates=options.replace_surrogates)
    if isinstance(outcome, Stored):
        return Accepted(_stored_content(outcome), headers)
    if isinstance(outcome, Refused):
        return _refusal(outcome.rejected, outcome.count)
    counts = outcome.counts()
    members: dict[str, Any] = {
        "accepted": counts["accepted"],
        "duplicates": counts["duplicate"],
        "rejected": counts["rejected"],
        "results": outcome.items,
    }
    if counts["failed"]:
        return _failure(outcome.items, members | {"failed": counts["failed"]})
    conflicts = [item.code for item in outcome.items if item.code in CONFLICTS]
    if conflicts and not (options.lenient and counts["accepted"] + counts["duplicate"]):
        return _conflict(conflicts, members)
    return Accepted(_encode(members), headers)


@lru_cache
def _applied(handling: str, *, replace_surrogates: bool) -> Mapping[str, str]:
    preferences = [f"handling={handling}"] if handling else []
    if replace_surrogates:
        preferences.append("surrogates=replace")
    return MappingProxyType({"Preference-Applied": ", ".join(preferences)} if preferences else {})


def _stored_content(outcome: Stored) -> bytes:
    count = len(outcome.message_ids)
    if outcome.id_prefix and count <= _MAX_PREPARED:
        return _prepared(count).replace(_PREFIX, outcome.id_prefix.encode())
    return _content(map(_encode, outcome.message_ids), count)


@lru_cache(maxsize=64)
def _prepared(count: int) -> bytes:
    return _content((b'"%b.%d"' % (_PREFIX, index) for index in range(count)), count)


def _content(quoted_ids: Iterable[bytes], count: int) -> bytes:
    rows = [b'{"index":%d,"status":"accepted","messageId":%b}' % row for row in enumerate(quoted_ids)]
    return b'{"accepted":%d,"duplicates":0,"rejected":0,"results":[%b]}' % (count, b",".join(rows))


def _refusal(rejected: Sequence[RejectedItem], count: int) -> Problem:
    errors = [{"index": r.index, "pointer": r.pointer, "code": r.code, "detail": r.detail} for r in rejected]
    detail = f"{len(rejected)} of {count} items are not valid; nothing was queued."
    return Problem("invalidItems", 400, detail, members={"errors": errors})


def _failure(items: Sequence[ItemOutcome], members: Mapping[str, Any]) -> Problem:
    codes = {item.code for item in items if item.status == "failed"}
    code = next(code for code in FAILURES if code in codes)
    what = "stored, but not confirmed by enough replicas" if codes == {"notConfirmed"} else "not known to be stored"
    detail = f"{members['failed']} of {len(items)} items are {what}. {_REPEAT}"
    return Problem(code, 503, detail, {"Retry-After": RETRY_AFTER}, members)


def _conflict(codes: Sequence[str], members: Mapping[str, Any]) -> Problem:
    detail = (
        f"{len(codes)} items were refused while storing, {members['accepted']} were accepted and are queued, "
        f"{members['duplicates']} were stored before; see `results`."
    )
    return Problem(codes[0], 422, detail, members=members)
