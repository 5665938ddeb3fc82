"""What the outcome of a batch is answered with, as a table."""

import json
from typing import Any

import pytest

from fanout.binding.batch import Batch, BatchLimits, parse_batch
from fanout.queue.entry import Admission, Receipt
from service.http.problems import Problem, response_of
from service.ingress.outcome import BatchOptions, Mixed, Refused, Stored, outcome_of, rejected_of, submissions_of
from service.ingress.route import Accepted, answer_of

A, D, C, F, U = Admission.ACCEPTED, Admission.DUPLICATE, Admission.CONFLICT, Admission.FULL, Admission.UNKNOWN
LIMITS = BatchLimits(max_items=100, max_targets=100, max_message=10_000)
STRICT, LENIENT = BatchOptions("o"), BatchOptions("o", handling="lenient")
KEYED = BatchOptions("o", key="k")


def batch_of(text: bytes) -> Batch:
    return parse_batch(text, LIMITS)


ONE_EACH = batch_of(b'[{"target":"t","messageId":"a"},{"target":"t","messageId":"b"}]')


def answer(batch: Batch, receipts: list[Receipt], options: BatchOptions = STRICT) -> Accepted | Problem:
    prefix = options.id_prefix("chat")
    return answer_of(outcome_of(batch, submissions_of(batch, "chat", options), receipts, prefix), options)


def document_of(answered: Accepted | Problem) -> dict[str, Any]:
    content = answered.content if isinstance(answered, Accepted) else bytes(response_of(answered, "r").body)
    document: dict[str, Any] = json.loads(content)
    return document


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
        answered = answer(ONE_EACH, receipts, options)
        assert (202 if isinstance(answered, Accepted) else answered.status) == status
        assert len(document_of(answered)["results"]) == 2


def test_the_code_of_a_mixed_failure_is_the_graver_one() -> None:
    answered = answer(ONE_EACH, [Receipt(F), Receipt(U)])
    assert isinstance(answered, Problem)
    assert (answered.code, answered.headers["Retry-After"]) == ("queueSilent", "1")


def test_what_is_stored_and_not_confirmed_is_told_apart_from_what_may_be_stored() -> None:
    answered = answer(ONE_EACH, [Receipt(A), Receipt(U, 3, b"1-0")])
    assert isinstance(answered, Problem)
    assert (answered.code, answered.status, answered.headers["Retry-After"]) == ("notConfirmed", 503, "1")
    results = document_of(answered)["results"]
    assert [(r["status"], r.get("code")) for r in results] == [("accepted", None), ("failed", "notConfirmed")]
    assert "are stored, but not confirmed" in answered.detail
    assert "same messageId" in results[1]["detail"]


def test_a_refusal_names_the_items_and_has_no_results() -> None:
    batch = batch_of(b'[{"target":"t"},{}]')
    answered = answer_of(Refused(rejected_of(batch, STRICT), 2), STRICT)
    assert isinstance(answered, Problem)
    document = document_of(answered)
    assert (document["status"], document["code"], "results" in document) == (400, "invalidItems", False)
    assert [(e["index"], e["pointer"], e["code"]) for e in document["errors"]] == [(1, "/1", "noTargetOrAction")]


@pytest.mark.parametrize("second", [b"", b',"messageId":"q\\"\xc3\xa9"'])
@pytest.mark.parametrize("options", [STRICT, LENIENT, KEYED])
def test_the_prepared_answer_says_what_the_long_one_says(options: BatchOptions, second: bytes) -> None:
    batch = batch_of(b'[{"target":"t","arguments":[]},{"target":"t","arguments":[]%b}]' % second)
    receipts = [Receipt(A, 0, b"1-0"), Receipt(A, 0, b"1-1")]
    prefix = options.id_prefix("chat")
    short = outcome_of(batch, submissions_of(batch, "chat", options), receipts, prefix)
    long = outcome_of(Batch(batch.results), [], receipts, prefix)
    assert isinstance(short, Stored)
    assert isinstance(long, Mixed)
    assert answer_of(short, options) == answer_of(long, options)


def test_the_answer_to_a_batch_of_nothing_and_of_very_many_is_json_too() -> None:
    assert document_of(answer(batch_of(b"[]"), []))["results"] == []
    many = Stored([f"o.{n}" for n in range(2000)], "o")
    document = document_of(answer_of(many, STRICT))
    assert (document["accepted"], document["results"][1999]["messageId"]) == (2000, "o.1999")
