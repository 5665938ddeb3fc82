"""Takes batches in: `POST /v1/hubs/{hub}/messages`.

Rules guarded: cheap refusals come first (who, which hub, what type, how large), nothing is queued of a batch that is
refused, and 202 means stored. This file only acts; what to answer is decided in `outcome`. The route is plain ASGI,
because what a framework does around a request, and a model per item, would each cost more than the rest together.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Awaitable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from fanout.binding.batch import Batch, BatchLimits, parse_batch
from fanout.binding.names import check_hub
from fanout.clock import Clock
from fanout.counters import Counter as MetricCounter
from fanout.delivery_log import DeliveryLog
from fanout.errors import BodyTooLargeError, FanoutError, IdempotencyConflictError
from fanout.log import get_logger, masked
from fanout.metrics import Metrics
from fanout.queue.entry import Admission, Receipt, Submission
from fanout.queue.traces import TraceEvent, Traces
from fanout.settings import Settings
from fanout.signalr.connection_string import ConnectionString
from fanout.signalr.message import Message, operation_of
from service.http.auth import Guard, Right
from service.http.body import check_media_type, read_body
from service.http.problems import Problem, problem_of, response_of
from service.http.request import JsonAnswer, RequestScope
from service.ingress.answer import (
    Outcome,
    Stored,
    document_of,
    outcome_of,
    refusal_of,
    stored_ids,
    stored_of,
    submissions_of,
)
from service.ingress.options import BatchOptions, options_of

_ACCEPTED = Admission.ACCEPTED
_STORED = (Admission.ACCEPTED, Admission.DUPLICATE)
_LOGGED_IDS = 20
# All shapes of secrets that `masked` knows have one of these; to look for them in each id costs as much as storing it.
_SUSPECT = re.compile(r"[=:\s]|eyJ")


class Queue(Protocol):
    """The queue as the ingress sees it; each call raises QueueError when the store does not answer."""

    async def append(self, submissions: Sequence[Submission]) -> list[Receipt]:
        """Store entries; return one receipt for each submission, in the same order."""

    async def claim_key(self, hub: str, key: str, fingerprint: bytes) -> bool:
        """Remember an idempotency key; return False when it was used before with another fingerprint."""


class Ingress:
    """The route as an ASGI application; it stores its dependencies and nothing about any request.

    `traces` and `delivery_log` are None where no traces are kept and where people read the log.
    """

    def __init__(
        self,
        settings: Settings,
        queue: Queue,
        guard: Guard,
        metrics: Metrics,
        clock: Clock,
        *,
        service: ConnectionString | None,
        traces: Traces | None,
        delivery_log: DeliveryLog | None,
    ) -> None:
        self._settings = settings
        self._queue = queue
        self._guard = guard
        self._metrics = metrics
        self._clock = clock
        self._traces = traces
        self._delivery_log = delivery_log
        self._limits = limits_of(settings, service)
        self._log = get_logger()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        request = RequestScope(scope, receive)
        response = await counted(self._metrics.requests, self._answer(request))
        await response(scope, receive, send)

    async def _answer(self, request: RequestScope) -> Response | JsonAnswer:
        try:
            outcome = await self._take(request)
        except FanoutError as error:
            outcome = problem_of(error)
        if not isinstance(outcome, Problem):
            return JsonAnswer(202, outcome.content, outcome.headers)
        if outcome.status == 503:  # noqa: PLR2004 - the status is the fact
            self._metrics.backpressure.inc()
        return response_of(outcome, request.request_id)

    async def _take(self, request: RequestScope) -> Outcome:
        headers, settings = request.headers, self._settings
        self._guard.caller_of(headers, request.peer).require(Right.SEND)
        hub = check_hub(request.path_param("hub"))
        check_media_type(headers)
        options = (
            options_of(request.all_headers, hub, request.request_id)
            if _has_options(headers)
            else BatchOptions(request.request_id)
        )
        body = await read_body(request, settings.max_body, clock=self._clock, within=settings.body_timeout)
        batch = parse_batch(body, self._limits)
        refusal = refusal_of(batch, options)
        if refusal is not None:
            self._metrics.rejected.inc(len(refusal.members["errors"]))
            return refusal
        outcome = await self._store(hub, body, batch, options)
        self._say(outcome, hub, request.request_id)
        return outcome

    async def _store(self, hub: str, body: bytes, batch: Batch, options: BatchOptions) -> Outcome:
        fingerprint = b"" if options.key is None else hashlib.blake2b(body, digest_size=16).digest()
        submissions = submissions_of(batch, hub, options, fingerprint)
        if len(submissions) > len(batch.results):
            _check_expanded(submissions, self._settings.max_expanded)
        if options.key is not None and not await self._queue.claim_key(hub, options.key, fingerprint):
            raise IdempotencyConflictError("The Idempotency-Key was used before with another body.")
        asked_at = self._clock.wall()  # before it: a worker may be done with an entry before the receipt is here
        receipts = await self._append(submissions) if submissions else []
        outcome = stored_of(batch, submissions, receipts, options) or outcome_of(batch, receipts, options)
        self._tally(submissions, receipts, outcome)
        self._trace(submissions, receipts, asked_at)
        return outcome

    async def _append(self, submissions: Sequence[Submission]) -> list[Receipt]:
        started = self._clock.monotonic()
        receipts = await self._queue.append(submissions)
        self._metrics.append_seconds.observe(self._clock.monotonic() - started)
        return receipts

    def _tally(self, submissions: Sequence[Submission], receipts: Sequence[Receipt], outcome: Outcome) -> None:
        metrics = self._metrics
        pairs = zip(submissions, receipts, strict=True)
        stored = Counter([operation_of(s.entry.item) for s, receipt in pairs if receipt.admission is _ACCEPTED])
        for operation, count in stored.items():
            metrics.accepted[operation].inc(count)
        if isinstance(outcome, Stored):
            return
        metrics.duplicates.inc(sum(receipt.admission is Admission.DUPLICATE for receipt in receipts))
        metrics.rejected.inc(document_of(outcome)["rejected"])

    def _trace(self, submissions: Sequence[Submission], receipts: Sequence[Receipt], at: float) -> None:
        traces = self._traces
        if traces is None or not traces.on:
            return
        for submission, receipt in zip(submissions, receipts, strict=True):
            if receipt.admission in _STORED:
                traces.note(submission.entry.message_id, _accepted(submission, receipt, at))

    def _say(self, outcome: Outcome, hub: str, request_id: str) -> None:
        ids = outcome.names if isinstance(outcome, Stored) else stored_ids(document_of(outcome))
        delivery_log = self._delivery_log
        if not ids or (delivery_log is not None and not (stands_for := delivery_log.sample(important=False))):
            return
        document: Mapping[str, Any] = (
            {"accepted": len(ids), "results": ids} if isinstance(outcome, Stored) else document_of(outcome)
        )
        fields = {
            "request_id": request_id,
            "hub": hub,
            "items": len(document["results"]),
            **{word: document.get(word, 0) for word in ("accepted", "duplicates", "rejected", "failed")},
            "ids": [masked(name) if _SUSPECT.search(name) else name for name in ids[:_LOGGED_IDS]],
            "more_ids": max(0, len(ids) - _LOGGED_IDS),
        }
        if delivery_log is None:
            self._log.info("ingress.accepted", **fields)
        else:
            delivery_log.write(fields, stands_for)


def _has_options(headers: Mapping[str, str]) -> bool:
    return "prefer" in headers or "idempotency-key" in headers


def _accepted(submission: Submission, receipt: Receipt, at: float) -> TraceEvent:
    detail: dict[str, str | int] = {"admission": receipt.admission.value, "hub": submission.entry.hub}
    detail["operation"] = operation_of(submission.entry.item)
    if receipt.stream_id:
        detail |= {"partition": receipt.partition, "entry": receipt.stream_id.decode()}
    return TraceEvent(at, "accepted", detail)


def _check_expanded(submissions: Sequence[Submission], most: int) -> None:
    size = sum(len(s.entry.item.body) for s in submissions if isinstance(s.entry.item, Message))
    if size > most:
        raise BodyTooLargeError(
            f"With its lists of targets expanded the batch would take {size} bytes of the queue, the limit is {most}. "
            "Send fewer targets at a time."
        )


def limits_of(settings: Settings, service: ConnectionString | None) -> BatchLimits:
    """Return the bounds a batch is parsed under."""
    return BatchLimits(
        max_items=settings.max_items,
        max_targets=settings.max_targets,
        max_message=settings.max_message,
        endpoints=(service.endpoint,) if service else (),
    )


T = TypeVar("T", bound=Response | JsonAnswer)


async def counted(metrics: Mapping[str, MetricCounter], answering: Awaitable[T]) -> T:
    """Count an answer by its status class; one that never came counts as 5xx, a client that left as 4xx."""
    status = 500
    try:
        response = await answering
        status = response.status_code
    except ClientDisconnect:
        status = 400
        raise
    else:
        return response
    finally:
        metrics[f"{status // 100}xx"].inc()
