"""Stores a batch and returns what became of each item: `intake(hub, batch, options)`.

Every source of batches goes through here. It knows no HTTP: the HTTP route is one caller of it, and turns
outcomes into responses. A common batch (messages without ids of their own, for one endpoint, all stored) is dealt with
here in a few steps; what is decided about any other is decided in `outcome`.

Rule guarded: a large batch is stored part by part, so that it takes a bounded amount of memory, and nothing of it
overtakes what could not be stored.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Any, Protocol, cast

from fanout.binding.batch import Batch, ParsedItem
from fanout.clock import Clock
from fanout.errors import IdempotencyConflictError, QueueError, QueueSilentError
from fanout.instruments import DeliveryLog
from fanout.log import get_logger, masked
from fanout.metrics import Metrics
from fanout.queue.entry import Admission, Entry, Receipt, Submission
from fanout.queue.traces import TraceEvent, Traces
from fanout.signalr.message import SENDS, Message, operation_of, recipient_of
from service.ingress.outcome import (
    DETAILS,
    BatchOptions,
    Mixed,
    Outcome,
    Refused,
    Stored,
    outcome_of,
    rejected_of,
    stored_ids,
    submissions_of,
)

_ACCEPTED = Admission.ACCEPTED
_STORED = (Admission.ACCEPTED, Admission.DUPLICATE)
_FAILED = (Admission.FULL, Admission.UNKNOWN)
_NOT_STORED, _UNKNOWN = Receipt(Admission.FULL), Receipt(Admission.UNKNOWN)
_PART = 4 * 1024 * 1024  # bytes of messages that are stored in one step
_COPIES = 16  # partitions that a list touches, as many as there are by default
_ENTRY = 384  # bytes of the budget for each entry; its objects take a few times as many
_LOGGED_IDS = 20
# Every kind of secret that `masked` knows has one of these. Masking every id would cost as much as storing it.
_MAY_BE_SECRET = re.compile(r"[=:\s]|eyJ")


class Queue(Protocol):
    """The queue as the intake uses it. Each call raises QueueError when the store does not answer."""

    async def append(self, submissions: Sequence[Submission], /) -> list[Receipt]:
        """Store entries. Return one receipt for each submission, in the same order."""

    async def claim_key(self, hub: str, key: str, fingerprint: bytes) -> bool:
        """Remember an idempotency key. Return False when it was used before with another fingerprint."""


class Held(Protocol):
    """What a caller holds of the memory budget for a batch."""

    size: int

    def resize(self, size: int) -> None:
        """Hold `size` bytes from now on. Raise OverloadedError when that does not fit."""


class Intake:
    """Stores batches; holds nothing of any of them. `traces` and `delivery_log` are None where none are kept.

    `endpoints` are the names of those that get what names none: each entry has a leg for each of them.
    """

    def __init__(
        self,
        queue: Queue,
        metrics: Metrics,
        clock: Clock,
        *,
        traces: Traces | None = None,
        delivery_log: DeliveryLog | None = None,
        endpoints: Sequence[str] = ("",),
    ) -> None:
        self._endpoints = endpoints
        self._queue = queue
        self._metrics = metrics
        self._clock = clock
        self._traces = traces
        self._delivery_log = delivery_log
        self._log = get_logger()

    async def __call__(self, hub: str, batch: Batch, options: BatchOptions, holding: Held | None = None) -> Outcome:
        """Store what is valid of a batch and return what became of its items. `hub` is in lower case.

        `holding` is what the caller holds of the memory budget for the batch. It grows by what the entries take.
        Raises a FanoutError when nothing of the batch is stored for a reason that concerns all of it:
        OverloadedError, IdempotencyConflictError or QueueError.
        """
        rejected = [] if batch.is_plain else rejected_of(batch, options)
        if rejected:
            self._metrics.rejected.inc(len(rejected))
            return Refused(rejected, len(batch.results))
        is_common = batch.is_common and options.key is None and len(self._endpoints) == 1
        prepare = _common_submissions if is_common else submissions_of
        submissions = prepare(batch, hub, options, self._endpoints)
        if holding is not None:
            copies = _copies_of(batch, len(self._endpoints)) if len(submissions) > len(batch.results) else 0
            holding.resize(holding.size + _ENTRY * len(submissions) + copies)
        if options.key is not None:
            await self._claim_key(hub, options)
        asked_at = self._clock.wall()  # a worker may be done with an entry before its receipt is here
        is_small = holding is not None and holding.size <= _PART
        receipts = await self._append(submissions, is_small=is_small) if submissions else []
        outcome = _common_outcome(submissions, receipts, options) if is_common else None
        if outcome is None:
            outcome = outcome_of(batch, submissions, receipts, options.id_prefix(hub), len(self._endpoints))
        self._count(hub, options.caller, submissions, receipts, outcome)
        self._count_warnings(batch)
        self._trace(submissions, receipts, asked_at, options.caller)
        self._log_stored(outcome, hub, options)
        return outcome

    async def _claim_key(self, hub: str, options: BatchOptions) -> None:
        key = f"{options.caller}\n{options.key}"
        if not await self._queue.claim_key(hub, key, options.fingerprint):
            raise IdempotencyConflictError(DETAILS["idempotencyConflict"])

    async def _append(self, submissions: Sequence[Submission], *, is_small: bool) -> list[Receipt]:
        started = self._clock.monotonic()
        receipts = await (self._queue.append(submissions) if is_small else self._append_parts(submissions))
        self._metrics.append_seconds.observe(self._clock.monotonic() - started)
        return receipts

    async def _append_parts(self, submissions: Sequence[Submission]) -> list[Receipt]:
        """Store a large batch part by part, because storing takes a multiple of its bytes.

        After the first entry that is not stored nothing more is tried: what comes later would stand before it when the
        request is repeated.
        """
        receipts: list[Receipt] = []
        for part in _parts_of(submissions):
            try:
                receipts += await self._queue.append(part)
            except QueueError as error:
                if not receipts:
                    raise
                receipts += [_UNKNOWN if isinstance(error, QueueSilentError) else _NOT_STORED] * len(part)
            if any(receipt.admission in _FAILED for receipt in receipts[-len(part) :]):
                break
        return receipts + [_NOT_STORED] * (len(submissions) - len(receipts))

    def _count(
        self,
        hub: str,
        caller: str,
        submissions: Sequence[Submission],
        receipts: Sequence[Receipt],
        outcome: Stored | Mixed,
    ) -> None:
        if isinstance(outcome, Stored):
            items = [submission.entry.item for submission in submissions]
        else:
            pairs = zip(submissions, receipts, strict=True)
            items = [submission.entry.item for submission, receipt in pairs if receipt.admission is _ACCEPTED]
        stored = [SENDS[item.scope] if type(item) is Message else operation_of(item) for item in items]
        for operation in set(stored):
            self._metrics.accepted[operation].inc(stored.count(operation))
        if self._metrics.by_hub.is_enabled:
            self._metrics.by_hub.accepted(hub, len(stored))
        if self._metrics.by_caller.is_enabled and stored:
            self._metrics.by_caller.accepted(caller, len(stored))
        if isinstance(outcome, Mixed):
            self._metrics.duplicates.inc(sum(receipt.admission is Admission.DUPLICATE for receipt in receipts))
            self._metrics.rejected.inc(outcome.counts()["rejected"])

    def _count_warnings(self, batch: Batch) -> None:
        if batch.is_plain:
            return
        for result in batch.results:
            if isinstance(result, ParsedItem):
                for warning in result.warnings:
                    self._metrics.item_warnings[warning.code].inc()

    def _trace(self, submissions: Sequence[Submission], receipts: Sequence[Receipt], at: float, caller: str) -> None:
        if self._traces is None or not self._traces.is_enabled:
            return
        for submission, receipt in zip(submissions, receipts, strict=True):
            if receipt.admission in _STORED:
                self._traces.record(submission.entry.message_id, _accepted_event(submission, receipt, at, caller))

    def _log_stored(self, outcome: Stored | Mixed, hub: str, options: BatchOptions) -> None:
        ids = outcome.message_ids if isinstance(outcome, Stored) else stored_ids(outcome)
        log = self._delivery_log
        if not ids or (log is not None and not (stands_for := log.sample(important=False))):
            return
        counts = {"accepted": len(ids)} if isinstance(outcome, Stored) else outcome.counts()
        fields: dict[str, Any] = {
            "request_id": options.request_id,
            "caller": options.caller,
            "hub": hub,
            "items": sum(counts.values()),
            "accepted": counts.get("accepted", 0),
            "duplicates": counts.get("duplicate", 0),
            "rejected": counts.get("rejected", 0),
            "failed": counts.get("failed", 0),
            "ids": [masked(name) if _MAY_BE_SECRET.search(name) else name for name in ids[:_LOGGED_IDS]],
            "more_ids": max(0, len(ids) - _LOGGED_IDS),
        }
        if log is None:
            self._log.info("ingress.accepted", **fields)
        else:
            log.write(fields, stands_for)


def _common_submissions(
    batch: Batch, hub: str, options: BatchOptions, endpoints: Sequence[str] = ("",)
) -> list[Submission]:
    # As `submissions_of`, of a common batch for one endpoint.
    prefix, endpoint = options.request_id, endpoints[0]
    items = cast("Sequence[ParsedItem]", batch.results)
    return [Submission(Entry(hub, f"{prefix}.{item.index}", item.calls[0], endpoint=endpoint)) for item in items]


def _common_outcome(
    submissions: Sequence[Submission], receipts: Sequence[Receipt], options: BatchOptions
) -> Stored | Mixed | None:
    # As `outcome_of`, of a common batch; None when not all of it is stored now.
    if [receipt.admission for receipt in receipts].count(_ACCEPTED) < len(receipts):
        return None
    return Stored([submission.entry.message_id for submission in submissions], options.request_id)


def _accepted_event(submission: Submission, receipt: Receipt, at: float, caller: str) -> TraceEvent:
    detail: dict[str, str | int] = {"admission": receipt.admission.value, "hub": submission.entry.hub}
    detail["operation"] = operation_of(submission.entry.item)
    detail["to"] = recipient_of(submission.entry.item)
    if submission.entry.endpoint:
        detail["endpoint"] = submission.entry.endpoint
    if caller:
        detail["caller"] = caller
    if receipt.stream_id:
        detail |= {"partition": receipt.partition, "entry": receipt.stream_id.decode()}
    return TraceEvent(at, "accepted", detail)


def _copies_of(batch: Batch, endpoints: int) -> int:
    # The body of a list goes to each partition that it touches, once for each flow there.
    lists = [result.calls for result in batch.results if isinstance(result, ParsedItem)]
    return sum(
        len(calls[0].body) * (min(_COPIES, len(calls)) * endpoints - (len(calls) == 1))
        for calls in lists
        if isinstance(calls[0], Message)
    )


def _parts_of(submissions: Sequence[Submission]) -> Iterator[Sequence[Submission]]:
    # A list is never cut: its targets share a body and a record of deduplication.
    start, total, list_id = 0, 0, ""
    for position, submission in enumerate(submissions):
        if submission.list_id and submission.list_id == list_id:
            continue
        item, list_id = submission.entry.item, submission.list_id
        size = len(item.body) if type(item) is Message else 0
        if total + size > _PART and position > start:
            yield submissions[start:position]
            start, total = position, 0
        total += size
    yield submissions[start:]
