"""The decision what to answer, as a table."""

import pytest

from fanout.binding.batch import Batch, BatchLimits, parse_batch
from fanout.queue.entry import Admission, Receipt
from fanout.signalr.message import GroupAction
from service.http.problems import Problem
from service.ingress.answer import Accepted, Stored, outcome_of, refusal_of, stored_ids, stored_of, submissions_of
from service.ingress.options import BatchOptions

A, D, C, F, U = (
    Admission.ACCEPTED,
    Admission.DUPLICATE,
    Admission.CONFLICT,
    Admission.FULL,
    Admission.UNKNOWN,
)
LIMITS = BatchLimits(max_items=100, max_targets=100, max_message=10_000)
STRICT, LENIENT = BatchOptions("o"), BatchOptions("o", lenient=True)


def batch_of(text: bytes) -> Batch:
    return parse_batch(text, LIMITS)


ONE_EACH = batch_of(b'[{"target":"t","messageId":"a"},{"target":"t","messageId":"b"}]')
TWO_TARGETS = batch_of(b'{"target":"t","userIds":["a","b"],"messageId":"m"}')


@pytest.mark.parametrize(
    ("admissions", "strict", "lenient"),
    [
        ((A, A), 202, 202),
        ((A, D), 202, 202),
        ((D, D), 202, 202),
        ((A, C), 422, 202),
        ((D, C), 422, 202),
        ((C, C), 422, 422),
        ((A, F), 503, 503),
        ((A, U), 503, 503),
        ((C, F), 503, 503),
        ((F, F), 503, 503),
    ],
)
def test_the_status_is_that_of_the_worst_admission(
    admissions: tuple[Admission, ...], strict: int, lenient: int
) -> None:
    receipts = [Receipt(admission) for admission in admissions]
    for options, status in ((STRICT, strict), (LENIENT, lenient)):
        outcome = outcome_of(ONE_EACH, receipts, options)
        assert (202 if isinstance(outcome, Accepted) else outcome.status) == status


@pytest.mark.parametrize(
    ("admissions", "status"),
    [
        ((A, D), "accepted"),
        ((D, D), "duplicate"),
        ((A, C), "rejected"),
        ((D, C), "rejected"),
        ((C, F), "failed"),
        ((A, U), "failed"),
    ],
)
def test_an_item_of_several_targets_is_judged_by_its_worst(admissions: tuple[Admission, ...], status: str) -> None:
    outcome = outcome_of(TWO_TARGETS, [Receipt(admission) for admission in admissions], STRICT)
    document = outcome.document if isinstance(outcome, Accepted) else outcome.members
    assert document["results"][0]["status"] == status
    assert sum(document["results"][0]["targetCounts"].values()) == 2


def test_receipts_meet_their_items_past_rejected_ones_and_wide_ones() -> None:
    batch = batch_of(b'[{"target":"t","userIds":["a","b"]},{},{"target":"t"}]')
    outcome = outcome_of(batch, [Receipt(A), Receipt(A), Receipt(D)], LENIENT)
    assert isinstance(outcome, Accepted)
    assert [r["status"] for r in outcome.document["results"]] == ["accepted", "rejected", "duplicate"]


def test_the_code_of_a_mixed_failure_is_the_graver_one() -> None:
    outcome = outcome_of(ONE_EACH, [Receipt(F), Receipt(U)], STRICT)
    assert isinstance(outcome, Problem)
    assert (outcome.code, outcome.headers["Retry-After"]) == ("queueSilent", "1")


def test_a_conflict_of_the_key_is_named_as_such() -> None:
    batch = batch_of(b'{"target":"t"}')
    outcome = outcome_of(batch, [Receipt(C)], BatchOptions("o", key="k"))
    assert isinstance(outcome, Problem)
    assert outcome.code == "idempotencyConflict"


def test_the_messages_own_id_goes_before_the_idempotency_key() -> None:
    batch = batch_of(b'[{"target":"t","messageId":"a"},{"target":"t"}]')
    first, second = submissions_of(batch, "chat", BatchOptions("o", key="k"), b"body")
    assert (first.dedup_id, first.entry.message_id) == ("a", "a")
    assert first.fingerprint not in (b"", b"body")
    assert (second.dedup_id, second.entry.message_id, second.fingerprint) == ("k#1", "o.1", b"body")


def test_members_of_one_group_have_dedup_ids_of_their_own() -> None:
    batch = batch_of(b'{"action":"add","groupName":"g","userIds":["a","b"],"messageId":"m"}')
    submissions = submissions_of(batch, "chat", STRICT, b"")
    assert all(isinstance(s.entry.item, GroupAction) for s in submissions)
    assert len({s.dedup_id for s in submissions}) == 2
    assert {s.entry.message_id for s in submissions} == {"m"}


def test_strict_refuses_for_one_bad_item_and_lenient_only_for_nothing_but_bad_ones() -> None:
    mixed, bad = batch_of(b'[{"target":"t"},{}]'), batch_of(b"[{}]")
    assert refusal_of(mixed, STRICT) is not None
    assert refusal_of(mixed, LENIENT) is None
    assert refusal_of(bad, LENIENT) is not None
    assert refusal_of(batch_of(b"[]"), STRICT) is None


def test_what_is_stored_and_not_confirmed_is_told_apart_from_what_may_be_stored() -> None:
    unconfirmed = Receipt(U, 3, b"1-0")
    outcome = outcome_of(ONE_EACH, [Receipt(A), unconfirmed], STRICT)
    assert isinstance(outcome, Problem)
    assert (outcome.code, outcome.status, outcome.headers["Retry-After"]) == ("notConfirmed", 503, "1")
    assert [(r["status"], r.get("code")) for r in outcome.members["results"]] == [
        ("accepted", None),
        ("failed", "notConfirmed"),
    ]
    assert "are stored, but not confirmed" in outcome.detail
    assert "same messageId" in outcome.members["results"][1]["detail"]


@pytest.mark.parametrize(
    ("other", "code"), [(Receipt(U), "queueSilent"), (Receipt(F), "queueFull"), (Receipt(C), "notConfirmed")]
)
def test_not_confirmed_is_the_least_grave_of_the_failures_and_graver_than_a_conflict(other: Receipt, code: str) -> None:
    outcome = outcome_of(TWO_TARGETS, [Receipt(U, 3, b"1-0"), other], STRICT)
    assert isinstance(outcome, Problem)
    assert (outcome.code, outcome.members["results"][0]["code"]) == (code, code)


@pytest.mark.parametrize("second", [b"", b',"messageId":"q\\"\xc3\xa9"'])
@pytest.mark.parametrize("options", [STRICT, LENIENT, BatchOptions("o", key="k")])
def test_the_short_answer_is_the_long_one_in_bytes(options: BatchOptions, second: bytes) -> None:
    batch = batch_of(b'[{"target":"t","arguments":[]},{"target":"t","arguments":[]%b}]' % second)
    receipts = [Receipt(A, 0, b"1-0"), Receipt(A, 0, b"1-1")]
    submissions = submissions_of(batch, "chat", options, b"body")
    short, long = stored_of(batch, submissions, receipts, options), outcome_of(batch, receipts, options)
    assert isinstance(short, Stored)
    assert isinstance(long, Accepted)
    assert (short.content, short.headers) == (long.content, long.headers)
    assert list(short.names) == stored_ids(long.document)


@pytest.mark.parametrize("odd", [D, C, F, U])
def test_the_short_answer_is_for_what_is_stored_now_alone(odd: Admission) -> None:
    batch = batch_of(b'[{"target":"t","arguments":[]},{"target":"t","arguments":[]}]')
    submissions = submissions_of(batch, "chat", STRICT, b"")
    assert stored_of(batch, submissions, [Receipt(A), Receipt(odd)], STRICT) is None
