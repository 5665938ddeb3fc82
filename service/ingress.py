"""Takes batches in: `POST /v1/hubs/{hub}/messages`.

Rules guarded: cheap refusals come first (who, which hub, what type, how large), nothing is queued of a batch that is
refused, and 202 means stored. This file only acts; what to answer is decided in `outcome`. The route takes the plain
request, because a model per item would cost more than everything else here together.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Awaitable, Mapping, Sequence

import orjson
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from fanout.errors import BodyTooLargeError, FanoutError, IdempotencyConflictError
from fanout.log import get_logger, masked
from fanout.queue.entry import Admission, Receipt, Submission
from fanout.queue.traces import TraceEvent
from fanout.signalr.batch import Batch, BatchLimits, parse_batch
from fanout.signalr.message import Message, operation_of
from fanout.signalr.names import check_hub
from fanout.tally import Count
from service.auth import Guard, Right
from service.body import check_media_type, read_body
from service.door import Door
from service.envelope import request_id_of
from service.outcome import Accepted, outcome_of, refusal_of, submissions_of
from service.problems import Problem, problem_of, response_of
from service.terms import Terms, terms_of

_STORED = (Admission.ACCEPTED, Admission.DUPLICATE)
_LOGGED_IDS = 20
# All shapes of secrets that `masked` knows have one of these; to look for them in each id costs as much as storing it.
_SUSPECT = re.compile(r"[=:\s]|eyJ")


class Ingress:
    """The route's handler; holds what it needs, and nothing of any request."""

    def __init__(self, door: Door, guard: Guard) -> None:
        self._door = door
        self._guard = guard
        self._limits = limits_of(door)
        self._log = get_logger()

    async def answer(self, request: Request) -> Response:
        """Handle one request."""
        return await counted(self._door.metrics.requests, self._answer(request))

    async def _answer(self, request: Request) -> Response:
        try:
            outcome = await self._take(request)
        except FanoutError as error:
            outcome = problem_of(error)
        if isinstance(outcome, Accepted):
            return Response(orjson.dumps(outcome.document), 202, dict(outcome.headers), "application/json")
        if outcome.status == 503:  # noqa: PLR2004 - the status is the fact
            self._door.metrics.backpressure.inc()
        return response_of(outcome, request_id_of(request.scope))

    async def _take(self, request: Request) -> Accepted | Problem:
        peer = request.client.host if request.client else None
        self._guard.caller_of(request.headers, peer).require(Right.SEND)
        hub = check_hub(request.path_params["hub"])
        check_media_type(request.headers)
        terms = terms_of(request.headers, hub, request_id_of(request.scope))
        body = await read_body(request, self._door.settings.max_body)
        batch = parse_batch(body, self._limits)
        refusal = refusal_of(batch, terms)
        if refusal is not None:
            self._door.metrics.rejected.inc(len(refusal.members["errors"]))
            return refusal
        outcome = await self._store(hub, body, batch, terms)
        self._say(outcome, hub, request_id_of(request.scope))
        return outcome

    async def _store(self, hub: str, body: bytes, batch: Batch, terms: Terms) -> Accepted | Problem:
        fingerprint = b"" if terms.key is None else hashlib.blake2b(body, digest_size=16).digest()
        submissions = submissions_of(batch, hub, terms, fingerprint)
        if len(submissions) > len(batch.results):
            _check_expanded(submissions, self._door.settings.max_expanded)
        if terms.key is not None and not await self._door.queue.claim_key(hub, terms.key, fingerprint):
            raise IdempotencyConflictError("The Idempotency-Key was used before with another body.")
        asked_at = self._door.clock.wall()  # before it: a worker may be done with an entry before the receipt is here
        receipts = await self._append(submissions) if submissions else []
        outcome = outcome_of(batch, receipts, terms)
        self._tally(submissions, receipts, outcome)
        self._trace(submissions, receipts, asked_at)
        return outcome

    async def _append(self, submissions: Sequence[Submission]) -> list[Receipt]:
        started = self._door.clock.monotonic()
        receipts = await self._door.queue.append(submissions)
        self._door.metrics.append_seconds.observe(self._door.clock.monotonic() - started)
        return receipts

    def _tally(
        self, submissions: Sequence[Submission], receipts: Sequence[Receipt], outcome: Accepted | Problem
    ) -> None:
        metrics = self._door.metrics
        stored: Counter[str] = Counter()
        duplicates = 0
        for submission, receipt in zip(submissions, receipts, strict=True):
            if receipt.admission is Admission.ACCEPTED:
                stored[operation_of(submission.entry.item)] += 1
            elif receipt.admission is Admission.DUPLICATE:
                duplicates += 1
        for operation, count in stored.items():
            metrics.accepted[operation].inc(count)
        metrics.duplicates.inc(duplicates)
        document = outcome.document if isinstance(outcome, Accepted) else outcome.members
        metrics.rejected.inc(document["rejected"])

    def _trace(self, submissions: Sequence[Submission], receipts: Sequence[Receipt], at: float) -> None:
        traces = self._door.traces
        if traces is None or not traces.on:
            return
        for submission, receipt in zip(submissions, receipts, strict=True):
            if receipt.admission in _STORED:
                traces.note(submission.entry.message_id, _accepted(submission, receipt, at))

    def _say(self, outcome: Accepted | Problem, hub: str, request_id: str) -> None:
        document = outcome.document if isinstance(outcome, Accepted) else outcome.members
        ids = [result["messageId"] for result in document["results"] if result["status"] != "rejected"]
        ledger = self._door.ledger
        if not ids or (ledger is not None and not (stands_for := ledger.wants(important=False))):
            return
        fields = {
            "request_id": request_id,
            "hub": hub,
            "items": len(document["results"]),
            "accepted": document["accepted"],
            "duplicates": document["duplicates"],
            "rejected": document["rejected"],
            "failed": document.get("failed", 0),
            "ids": [masked(name) if _SUSPECT.search(name) else name for name in ids[:_LOGGED_IDS]],
            "more_ids": max(0, len(ids) - _LOGGED_IDS),
        }
        if ledger is None:
            self._log.info("ingress.accepted", **fields)
        else:
            ledger.enter(fields, stands_for)


def _accepted(submission: Submission, receipt: Receipt, at: float) -> TraceEvent:
    detail: dict[str, str | int] = {"admission": receipt.admission.value, "hub": submission.entry.hub}
    detail["operation"] = operation_of(submission.entry.item)
    partition, colon, entry_id = receipt.entry_id.partition(":")
    if colon:
        detail |= {"partition": int(partition), "entry": entry_id}
    return TraceEvent(at, "accepted", detail)


def _check_expanded(submissions: Sequence[Submission], most: int) -> None:
    size = sum(len(s.entry.item.body) for s in submissions if isinstance(s.entry.item, Message))
    if size > most:
        raise BodyTooLargeError(
            f"With its lists of targets expanded the batch would take {size} bytes of the queue, the limit is {most}. "
            "Send fewer targets at a time."
        )


def limits_of(door: Door) -> BatchLimits:
    """Give the bounds a batch is parsed under."""
    settings = door.settings
    return BatchLimits(
        max_items=settings.max_items,
        max_targets=settings.max_targets,
        max_message=settings.max_message,
        endpoints=(door.service.endpoint,) if door.service else (),
    )


async def counted(metrics: Mapping[str, Count], answering: Awaitable[Response]) -> Response:
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
