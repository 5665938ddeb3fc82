"""Decides what is stored of a batch, and what became of its items: options, entries, outcomes. Pure.

Rules guarded: nothing is queued of a batch that is refused. Unless lenient handling is asked for, one item that cannot
be read refuses the batch. An item counts as accepted only when it is stored. What is found out only while storing (an
id that was used with another content, a full partition) cannot be undone, and is said item by item.
"""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

from fanout.binding.batch import Batch, ParsedItem, RejectedItem
from fanout.queue.entry import Admission, Entry, Receipt, Submission
from fanout.signalr.message import GroupAction, Item

Status = Literal["accepted", "duplicate", "rejected", "failed"]
Handling = Literal["", "strict", "lenient"]

_ACCEPTED = Admission.ACCEPTED
# What the receipts of one item amount to: the first row that occurs among its destinations decides. The second value
# says whether the entry has an id, so that it is stored in the primary. With UNKNOWN that means that too few replicas
# acknowledged it in time. None stands for both.
_VERDICTS: tuple[tuple[tuple[Admission, bool | None], Status, str], ...] = (
    ((Admission.UNKNOWN, False), "failed", "queueSilent"),
    ((Admission.FULL, None), "failed", "queueFull"),
    ((Admission.UNKNOWN, True), "failed", "notConfirmed"),
    ((Admission.CONFLICT, None), "rejected", "messageIdConflict"),
    ((Admission.ACCEPTED, None), "accepted", ""),
    ((Admission.DUPLICATE, None), "duplicate", ""),
)
FAILURES: tuple[str, ...] = tuple(code for _, status, code in _VERDICTS if status == "failed")  # the gravest first
CONFLICTS = ("messageIdConflict", "idempotencyConflict")
DETAILS: Mapping[str, str] = {
    "queueSilent": "The queue did not answer; the item may or may not be stored.",
    "queueFull": "The queue is full; the item is not stored, or not for all of its targets.",
    "notConfirmed": "The item is stored, but too few replicas acknowledged it in time to promise that it survives the "
    "loss of the primary. A repeat with the same messageId stores nothing twice.",
    "messageIdConflict": "This messageId was used before with another content for the same destination.",
    "idempotencyConflict": "This Idempotency-Key was used before with another body.",
}


class BatchOptions(msgspec.Struct, frozen=True, gc=False):
    """How a batch is to be taken.

    `request_id` names the request in logs, and starts the ids of its messages where there is no idempotency `key`.
    `fingerprint` stands for the whole batch and tells two batches under one key apart. `handling` concerns a batch with
    faults. By default an invalid item refuses it, and a doubtful one gets a warning. "lenient" queues the valid items
    beside invalid ones. "strict" refuses doubtful ones too. `replace_surrogates` takes items with half of a surrogate
    pair. The last two are done while parsing. Ids and keys of different values of `caller` have nothing to do with each
    other.
    """

    request_id: str
    handling: Handling = ""
    key: str | None = None
    fingerprint: bytes = b""
    replace_surrogates: bool = False
    caller: str = ""

    @property
    def lenient(self) -> bool:
        """Whether valid items are queued beside invalid ones."""
        return self.handling == "lenient"

    def id_prefix(self, hub: str) -> str:
        """Return what the ids made for the messages of a batch start with.

        With a key it is made of the key: a repeat is another request, yet has to name the messages as they were stored.
        """
        if self.key is None:
            return self.request_id
        return hashlib.blake2b(f"{hub}\n{self.caller}\n{self.key}".encode(), digest_size=8).hexdigest()


class ItemOutcome(msgspec.Struct, frozen=True, gc=False, rename="camel", omit_defaults=True):
    """What became of one item.

    `code` and `detail` say why an item was rejected or failed. `pointer` is the place in the sender's document of what
    was rejected while reading. `targets` and `target_counts` are set where an item has several destinations.
    """

    index: int
    status: Status
    message_id: str = ""
    code: str = ""
    detail: str = ""
    pointer: str | None = None
    targets: int = 0
    target_counts: dict[str, int] | None = None
    warnings: tuple[str, ...] = ()


class Refused(msgspec.Struct, frozen=True, gc=False):
    """Nothing of the batch is queued, because of these of its `count` items."""

    rejected: Sequence[RejectedItem]
    count: int


class Stored(msgspec.Struct, frozen=True, gc=False):
    """Every item is stored now, for one destination, without a warning: the outcome of nearly every batch.

    `id_prefix` is set where every id is made here, as `<prefix>.<index>`; it is "" where senders chose some.
    """

    message_ids: Sequence[str]
    id_prefix: str


class Mixed(msgspec.Struct, frozen=True, gc=False):
    """The items have different outcomes, or more is to be said than that they are stored."""

    items: tuple[ItemOutcome, ...]

    def counts(self) -> Counter[str]:
        """Return how many items have each status."""
        return Counter(item.status for item in self.items)


Outcome = Refused | Stored | Mixed


def rejected_of(batch: Batch, options: BatchOptions) -> list[RejectedItem]:
    """Return the items for whose sake nothing of the batch is queued, [] when something is to be."""
    if batch.is_plain:
        return []
    rejected = [result for result in batch.results if isinstance(result, RejectedItem)]
    return [] if options.lenient and len(rejected) < len(batch.results) else rejected


def submissions_of(batch: Batch, hub: str, options: BatchOptions, endpoints: Sequence[str] = ("",)) -> list[Submission]:
    """Return the entries of a batch in order: for each destination one for each endpoint, called its leg.

    `endpoints` are the names of those that get what names none.
    """
    prefix = options.id_prefix(hub)
    submissions: list[Submission] = []
    for parsed in batch.results:
        if type(parsed) is not ParsedItem:
            continue
        message_id = parsed.message_id or f"{prefix}.{parsed.index}"
        dedup_id, fingerprint = _dedup_id(parsed, options), parsed.fingerprint or options.fingerprint
        legs = endpoints if parsed.endpoints is None else parsed.endpoints
        list_id = str(parsed.index) if len(parsed.calls) > 1 or len(legs) > 1 else ""
        for item in parsed.calls:
            own_id = None if dedup_id is None else dedup_id + _member_of(item)
            for endpoint in legs:
                entry = Entry(hub, message_id, item, endpoint=endpoint)
                submissions.append(Submission(entry, own_id, fingerprint, list_id))
    return submissions


def outcome_of(
    batch: Batch, submissions: Sequence[Submission], receipts: Sequence[Receipt], prefix: str, legs: int = 1
) -> Stored | Mixed:
    """Decide what became of the items once the receipts are in: one for each submission, in order.

    `legs` is how many entries a destination has that names no endpoints.
    """
    if batch.is_plain and [receipt.admission for receipt in receipts].count(_ACCEPTED) == len(receipts):
        return Stored(
            [submission.entry.message_id for submission in submissions[::legs]], "" if _has_own_ids(batch) else prefix
        )
    items: list[ItemOutcome] = []
    taken = 0
    for result in batch.results:
        if isinstance(result, RejectedItem):
            items.append(ItemOutcome(result.index, "rejected", "", result.code, result.detail, result.pointer))
            continue
        own_legs = legs if result.endpoints is None else len(result.endpoints)
        end = taken + len(result.calls) * own_legs
        items.append(_item_outcome(result, _joined(receipts[taken:end], own_legs), prefix))
        taken = end
    return Mixed(tuple(items))


def stored_ids(outcome: Stored | Mixed) -> Sequence[str]:
    """Return the ids of the items that are stored or may be."""
    if isinstance(outcome, Stored):
        return outcome.message_ids
    return [item.message_id for item in outcome.items if item.status != "rejected"]


def _joined(receipts: Sequence[Receipt], legs: int) -> Sequence[Receipt]:
    """Return one receipt for each destination: of its legs the one that decides."""
    if legs == 1:
        return receipts
    return [min(receipts[k : k + legs], key=_gravity) for k in range(0, len(receipts), legs)]


def _gravity(receipt: Receipt) -> int:
    found = (receipt.admission, None), (receipt.admission, bool(receipt.entry_id))
    return next(place for place, (key, _status, _code) in enumerate(_VERDICTS) if key in found)


def _has_own_ids(batch: Batch) -> bool:
    for result in batch.results:  # noqa: SIM110 - three times as fast as a generator in all()
        if type(result) is ParsedItem and result.message_id is not None:
            return True
    return False


def _item_outcome(parsed: ParsedItem, receipts: Sequence[Receipt], prefix: str) -> ItemOutcome:
    message_id = parsed.message_id or f"{prefix}.{parsed.index}"
    if len(receipts) == 1 and receipts[0].admission is _ACCEPTED:  # the common case; the rest costs more
        return ItemOutcome(parsed.index, "accepted", message_id, warnings=_details(parsed))
    found = {(receipt.admission, place) for receipt in receipts for place in (None, bool(receipt.entry_id))}
    status, code = next((status, code) for key, status, code in _VERDICTS if key in found)
    if code == "messageIdConflict" and parsed.message_id is None:
        code = "idempotencyConflict"
    several = len(receipts) > 1
    return ItemOutcome(
        parsed.index,
        status,
        message_id,
        code,
        DETAILS[code] if code else "",
        targets=len(receipts) if several else 0,
        target_counts=dict(Counter(receipt.admission.value for receipt in receipts)) if several else None,
        warnings=_details(parsed),
    )


def _details(parsed: ParsedItem) -> tuple[str, ...]:
    return tuple([warning.detail for warning in parsed.warnings]) if parsed.warnings else ()


def _dedup_id(parsed: ParsedItem, options: BatchOptions) -> str | None:
    # Ids of different callers, and of the two kinds, never meet. None of the parts can hold a line feed.
    if parsed.message_id is not None:
        return f"{options.caller}\nmessageId\n{parsed.message_id}"
    return None if options.key is None else f"{options.caller}\nkey\n{options.key}\n{parsed.index}"


def _member_of(item: Item) -> str:
    # The queue tells ids apart within a lane, and all members of a group share its lane. Without the member's name an
    # item that adds two users would be its own duplicate.
    return f"\n{item.member_scope}\n{item.member}" if isinstance(item, GroupAction) else ""
