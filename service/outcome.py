"""Decides what a batch is answered with. Pure: parsed items and receipts in, an answer out.

Rules guarded: 202 only when every item that was to be taken is stored or was stored before; an answer that is not 202
says for each item what became of it as soon as one of them may be stored (RFC 9457 with `results`). Strict is the
default: one item that cannot be read refuses the batch before anything is queued. What can only be found while storing
(a messageId used before with another content, a full partition) cannot be undone and is told item by item.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fanout.queue.entry import VERSION, Admission, Entry, Receipt, Submission
from fanout.signalr.batch import Batch, Parsed, Rejected
from fanout.signalr.message import GroupAction, Item
from service.problems import Problem
from service.terms import Terms

RETRY_AFTER = "1"
_ACCEPTED = Admission.ACCEPTED
_REPEAT = (
    "Repeat the request with the same Idempotency-Key or messageIds: items that are stored answer `duplicate`. "
    "Without either, send only the failed items again."
)
# What the receipts of one item come to: the first of these that occurs among its targets decides.
_VERDICTS: tuple[tuple[Admission, str, str], ...] = (
    (Admission.UNKNOWN, "failed", "queueSilent"),
    (Admission.FULL, "failed", "queueFull"),
    (Admission.CONFLICT, "rejected", "messageIdConflict"),
    (Admission.ACCEPTED, "accepted", ""),
    (Admission.DUPLICATE, "duplicate", ""),
)
_DETAILS: Mapping[str, str] = {
    "queueSilent": "The queue did not answer; the item may or may not be stored.",
    "queueFull": "The queue is full; the item is not stored, or not for all of its targets.",
    "messageIdConflict": "This messageId was used before with another content for the same destination.",
    "idempotencyConflict": "This Idempotency-Key was used before with another body.",
}


@dataclass(frozen=True, slots=True)
class Accepted:
    """A 202: the document and the headers that go with it."""

    document: Mapping[str, Any]
    headers: Mapping[str, str] = field(default_factory=dict)


def submissions_of(batch: Batch, hub: str, terms: Terms, fingerprint: bytes) -> list[Submission]:
    """Give the entries of a batch in order; `fingerprint` stands for the whole body and guards the Idempotency-Key."""
    submissions: list[Submission] = []
    for parsed in _parsed(batch):
        message_id = _message_id(parsed, terms)
        dedup_id, mark = parsed.message_id, parsed.fingerprint
        if dedup_id is None and terms.key is not None:
            dedup_id, mark = f"{terms.key}#{parsed.index}", fingerprint
        for item in parsed.items:
            own_id = None if dedup_id is None else _dedup_id(dedup_id, item)
            submissions.append(Submission(Entry(VERSION, hub, message_id, item), own_id, mark))
    return submissions


def refusal_of(batch: Batch, terms: Terms) -> Problem | None:
    """Say why nothing of a batch is queued, None when something is to be."""
    rejected = [result for result in batch.results if isinstance(result, Rejected)]
    if not rejected or (terms.lenient and len(rejected) < len(batch.results)):
        return None
    errors = [{"index": r.index, "pointer": r.pointer, "code": r.code, "detail": r.detail} for r in rejected]
    detail = f"{len(rejected)} of {len(batch.results)} items are not valid; nothing was queued."
    return Problem("invalidItems", 400, detail, members={"errors": errors})


def outcome_of(batch: Batch, receipts: Sequence[Receipt], terms: Terms) -> Accepted | Problem:
    """Decide the answer once the receipts are in: one for each submission, in the order of `submissions_of`."""
    results = _results(batch, receipts, terms)
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
    if conflicts and not (terms.lenient and counts["accepted"] + counts["duplicate"]):
        detail = (
            f"{len(conflicts)} items were refused while storing, {counts['accepted']} were accepted and are queued, "
            f"{counts['duplicate']} were stored before; see `results`."
        )
        return Problem(conflicts[0], 422, detail, members=document)
    return Accepted(document, {"Preference-Applied": "handling=lenient"} if terms.lenient else {})


def _failed(document: Mapping[str, Any]) -> Problem:
    results = document["results"]
    codes = {result["code"] for result in results if result["status"] == "failed"}
    code = "queueSilent" if "queueSilent" in codes else "queueFull"
    detail = f"{document['failed']} of {len(results)} items are not known to be stored. {_REPEAT}"
    return Problem(code, 503, detail, {"Retry-After": RETRY_AFTER}, document)


def _results(batch: Batch, receipts: Sequence[Receipt], terms: Terms) -> list[dict[str, Any]]:
    results: list[dict[str, Any]] = []
    taken = 0
    for result in batch.results:
        if isinstance(result, Rejected):
            results.append(_rejection(result))
            continue
        targets = len(result.items)
        if targets == 1 and receipts[taken].admission is _ACCEPTED and not result.warnings:
            # Nearly every item of nearly every batch; the general way costs four times as much.
            results.append({"index": result.index, "status": "accepted", "messageId": _message_id(result, terms)})
        else:
            results.append(_result(result, receipts[taken : taken + targets], terms))
        taken += targets
    return results


def _rejection(rejected: Rejected) -> dict[str, Any]:
    return {
        "index": rejected.index,
        "status": "rejected",
        "code": rejected.code,
        "detail": rejected.detail,
        "pointer": rejected.pointer,
    }


def _result(parsed: Parsed, receipts: Sequence[Receipt], terms: Terms) -> dict[str, Any]:
    admissions = [receipt.admission for receipt in receipts]
    status, code = _verdict(admissions)
    result: dict[str, Any] = {"index": parsed.index, "status": status, "messageId": _message_id(parsed, terms)}
    if code == "messageIdConflict" and parsed.message_id is None:
        code = "idempotencyConflict"
    if code:
        result |= {"code": code, "detail": _DETAILS[code]}
    if len(admissions) > 1:
        result["targets"] = len(admissions)
        result["targetCounts"] = Counter(admission.value for admission in admissions)
    if parsed.warnings:
        result["warnings"] = parsed.warnings
    return result


def _verdict(admissions: Sequence[Admission]) -> tuple[str, str]:
    return next((status, code) for admission, status, code in _VERDICTS if admission in admissions)


def _dedup_id(dedup_id: str, item: Item) -> str:
    # The queue tells ids apart by lane, and all members of a group share its lane: without the member's name one item
    # that adds two users would be its own duplicate. Neither kind of id can hold a line feed.
    return f"{dedup_id}\n{item.member_scope}\n{item.member}" if isinstance(item, GroupAction) else dedup_id


def _parsed(batch: Batch) -> Iterator[Parsed]:
    return (result for result in batch.results if isinstance(result, Parsed))


def _message_id(parsed: Parsed, terms: Terms) -> str:
    return parsed.message_id or f"{terms.origin}.{parsed.index}"
