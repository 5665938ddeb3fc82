"""Decides what a batch is answered with. Pure: parsed items and receipts in, an answer out.

Rules guarded: 202 only when every item that was to be taken is stored or was stored before; an answer that is not 202
says for each item what became of it as soon as one of them may be stored (RFC 9457 with `results`). Strict is the
default: one item that cannot be read refuses the batch before anything is queued. What can only be found while storing
(a messageId used before with another content, a full partition) cannot be undone and is told item by item.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from types import MappingProxyType
from typing import Any

import msgspec
import orjson

from fanout.binding.batch import Batch, ParsedItem, RejectedItem
from fanout.queue.entry import VERSION, Admission, Entry, Receipt, Submission
from fanout.signalr.message import GroupAction, Item
from service.http.problems import Problem
from service.ingress.options import BatchOptions

RETRY_AFTER = "1"
_NONE: Mapping[str, str] = MappingProxyType({})
_LENIENT: Mapping[str, str] = MappingProxyType({"Preference-Applied": "handling=lenient"})
_ORIGIN = b"\0"
_FORMS_TO = 500  # items; the form of larger batches is not kept
_quoted = msgspec.json.Encoder().encode
_ACCEPTED = Admission.ACCEPTED
_REPEAT = (
    "Repeat the request with the same Idempotency-Key or messageIds: items that are stored answer `duplicate`. "
    "Without either, send only the failed items again."
)
# What the receipts of one item come to: the first of these that occurs among its targets decides. True: it has an entry
# id, so it is stored in the primary; with UNKNOWN that means that too few replicas acknowledged it in time.
_VERDICTS: tuple[tuple[tuple[Admission, bool | None], str, str], ...] = (
    ((Admission.UNKNOWN, False), "failed", "queueSilent"),
    ((Admission.FULL, None), "failed", "queueFull"),
    ((Admission.UNKNOWN, True), "failed", "notConfirmed"),
    ((Admission.CONFLICT, None), "rejected", "messageIdConflict"),
    ((Admission.ACCEPTED, None), "accepted", ""),
    ((Admission.DUPLICATE, None), "duplicate", ""),
)
_DETAILS: Mapping[str, str] = {
    "queueSilent": "The queue did not answer; the item may or may not be stored.",
    "queueFull": "The queue is full; the item is not stored, or not for all of its targets.",
    "notConfirmed": "The item is stored, but too few replicas acknowledged it in time to promise that it survives the "
    "loss of the primary. A repeat with the same messageId stores nothing twice.",
    "messageIdConflict": "This messageId was used before with another content for the same destination.",
    "idempotencyConflict": "This Idempotency-Key was used before with another body.",
}


@dataclass(frozen=True, slots=True)
class Accepted:
    """A 202: the document and the headers that go with it."""

    document: Mapping[str, Any]
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def content(self) -> bytes:
        """The document as JSON."""
        return orjson.dumps(self.document)


@dataclass(frozen=True, slots=True)
class Stored:
    """The 202 of nearly every batch: each item is stored, in one place, and there is nothing to say of any.

    `content` is the JSON of the document `outcome_of` would give; `names` are the message ids in order.
    """

    names: Sequence[str]
    content: bytes
    headers: Mapping[str, str]


Outcome = Accepted | Stored | Problem


def submissions_of(batch: Batch, hub: str, options: BatchOptions, fingerprint: bytes) -> list[Submission]:
    """Give the entries of a batch in order; `fingerprint` stands for the whole body and guards the Idempotency-Key."""
    submissions: list[Submission] = []
    for parsed in batch.results:
        if type(parsed) is not ParsedItem:
            continue
        message_id = parsed.message_id or f"{options.origin}.{parsed.index}"
        dedup_id, mark = parsed.message_id, parsed.fingerprint
        if dedup_id is None and options.key is not None:
            dedup_id, mark = f"{options.key}#{parsed.index}", fingerprint
        for item in parsed.calls:
            own_id = None if dedup_id is None else _dedup_id(dedup_id, item)
            submissions.append(Submission(Entry(VERSION, hub, message_id, item), own_id, mark))
    return submissions


def stored_of(
    batch: Batch, submissions: Sequence[Submission], receipts: Sequence[Receipt], options: BatchOptions
) -> Stored | None:
    """Decide the answer of a plain batch that is stored as it came; None when there is more to say."""
    if not batch.is_plain:
        return None
    for receipt in receipts:
        if receipt.admission is not _ACCEPTED:
            return None
    names = [submission.entry.message_id for submission in submissions]
    count = len(names)
    if count <= _FORMS_TO and all(
        parsed.message_id is None for parsed in batch.results if isinstance(parsed, ParsedItem)
    ):
        content = _form(count).replace(_ORIGIN, options.origin.encode())
    else:
        content = _content(map(_quoted, names), count)
    return Stored(names, content, _headers(options))


def _content(names: Iterable[bytes], count: int) -> bytes:
    rows = [b'{"index":%d,"status":"accepted","messageId":%b}' % row for row in enumerate(names)]
    return b'{"accepted":%d,"duplicates":0,"rejected":0,"results":[%b]}' % (count, b",".join(rows))


@lru_cache(maxsize=64)
def _form(count: int) -> bytes:
    # The answer to so many items whose ids are made here, with a mark where the origin goes: it is no part of JSON.
    return _content((b'"%b.%d"' % (_ORIGIN, index) for index in range(count)), count)


def refusal_of(batch: Batch, options: BatchOptions) -> Problem | None:
    """Say why nothing of a batch is queued, None when something is to be."""
    if batch.is_plain:
        return None
    rejected = [result for result in batch.results if isinstance(result, RejectedItem)]
    if not rejected or (options.lenient and len(rejected) < len(batch.results)):
        return None
    errors = [{"index": r.index, "pointer": r.pointer, "code": r.code, "detail": r.detail} for r in rejected]
    detail = f"{len(rejected)} of {len(batch.results)} items are not valid; nothing was queued."
    return Problem("invalidItems", 400, detail, members={"errors": errors})


def outcome_of(batch: Batch, receipts: Sequence[Receipt], options: BatchOptions) -> Accepted | Problem:
    """Decide the answer once the receipts are in: one for each submission, in the order of `submissions_of`."""
    results = _results(batch, receipts, options)
    counts = Counter(result["status"] for result in results)
    document = {
        "accepted": counts["accepted"],
        "duplicates": counts["duplicate"],
        "rejected": counts["rejected"],
        "results": results,
    }
    if counts["failed"]:
        return _failed(document | {"failed": counts["failed"]})
    conflicts = [r["code"] for r in results if r.get("code") in ("messageIdConflict", "idempotencyConflict")]
    if conflicts and not (options.lenient and counts["accepted"] + counts["duplicate"]):
        detail = (
            f"{len(conflicts)} items were refused while storing, {counts['accepted']} were accepted and are queued, "
            f"{counts['duplicate']} were stored before; see `results`."
        )
        return Problem(conflicts[0], 422, detail, members=document)
    return Accepted(document, _headers(options))


def document_of(outcome: Accepted | Problem) -> Mapping[str, Any]:
    """Give what became of the items."""
    return outcome.document if isinstance(outcome, Accepted) else outcome.members


def stored_ids(document: Mapping[str, Any]) -> list[str]:
    """Name the items that are stored, or may be."""
    return [result["messageId"] for result in document["results"] if result["status"] != "rejected"]


def _headers(options: BatchOptions) -> Mapping[str, str]:
    return _LENIENT if options.lenient else _NONE


def _failed(document: Mapping[str, Any]) -> Problem:
    results = document["results"]
    codes = {result["code"] for result in results if result["status"] == "failed"}
    code = next(code for _, _, code in _VERDICTS if code in codes)
    what = "stored, but not confirmed by enough replicas" if codes == {"notConfirmed"} else "not known to be stored"
    detail = f"{document['failed']} of {len(results)} items are {what}. {_REPEAT}"
    return Problem(code, 503, detail, {"Retry-After": RETRY_AFTER}, document)


def _results(batch: Batch, receipts: Sequence[Receipt], options: BatchOptions) -> list[dict[str, Any]]:
    results: list[dict[str, Any]] = []
    taken = 0
    for result in batch.results:
        if isinstance(result, RejectedItem):
            results.append(_rejection(result))
            continue
        targets = len(result.calls)
        if targets == 1 and receipts[taken].admission is _ACCEPTED and not result.warnings:
            # Nearly every item of nearly every batch; the general way costs four times as much.
            results.append({"index": result.index, "status": "accepted", "messageId": _message_id(result, options)})
        else:
            results.append(_result(result, receipts[taken : taken + targets], options))
        taken += targets
    return results


def _rejection(rejected: RejectedItem) -> dict[str, Any]:
    return {
        "index": rejected.index,
        "status": "rejected",
        "code": rejected.code,
        "detail": rejected.detail,
        "pointer": rejected.pointer,
    }


def _result(parsed: ParsedItem, receipts: Sequence[Receipt], options: BatchOptions) -> dict[str, Any]:
    status, code = _verdict(receipts)
    result: dict[str, Any] = {"index": parsed.index, "status": status, "messageId": _message_id(parsed, options)}
    if code == "messageIdConflict" and parsed.message_id is None:
        code = "idempotencyConflict"
    if code:
        result |= {"code": code, "detail": _DETAILS[code]}
    if len(receipts) > 1:
        result["targets"] = len(receipts)
        result["targetCounts"] = Counter(receipt.admission.value for receipt in receipts)
    if parsed.warnings:
        result["warnings"] = parsed.warnings
    return result


def _verdict(receipts: Sequence[Receipt]) -> tuple[str, str]:
    found = {(receipt.admission, place) for receipt in receipts for place in (None, bool(receipt.entry_id))}
    return next((status, code) for key, status, code in _VERDICTS if key in found)


def _dedup_id(dedup_id: str, item: Item) -> str:
    # The queue tells ids apart by lane, and all members of a group share its lane: without the member's name one item
    # that adds two users would be its own duplicate. Neither kind of id can hold a line feed.
    return f"{dedup_id}\n{item.member_scope}\n{item.member}" if isinstance(item, GroupAction) else dedup_id


def _message_id(parsed: ParsedItem, options: BatchOptions) -> str:
    return parsed.message_id or f"{options.origin}.{parsed.index}"
