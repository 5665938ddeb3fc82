"""Decides the HTTP answer to the outcome of a batch. Pure.

Rules guarded: 202 means that every item that was to be taken is stored, now or before. Any other answer says for each
item what became of it as soon as one of them may be stored (RFC 9457 with `results`).
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import Any

import msgspec

from fanout.binding.batch import RejectedItem
from service.http.problems import Problem
from service.ingress.outcome import CONFLICTS, FAILURES, BatchOptions, ItemOutcome, Outcome, Refused, Stored

RETRY_AFTER = "1"
_PREFIX = b"\0"  # stands for the prefix of the ids in a prepared answer; no JSON has this byte
_MAX_PREPARED = 500  # items; the answers to larger batches are not kept
_encode = msgspec.json.Encoder().encode
_REPEAT = (
    "Repeat the request with the same Idempotency-Key or messageIds: items that are stored answer `duplicate`. "
    "Without either, send only the failed items again."
)


class Accepted(msgspec.Struct, frozen=True, gc=False):
    """A 202: the JSON of its body, and the headers that go with it."""

    content: bytes
    headers: Mapping[str, str]


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
