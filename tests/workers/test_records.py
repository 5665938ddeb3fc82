"""What is counted and logged of a call."""

import random

from fanout.metrics import Metrics
from tests.builders import a_join, an_entry
from tests.fakes import FakeClock
from tests.workers.crew import Lines, a_tenure, held_in
from workers.gate import Gate
from workers.records import Records
from workers.retry import Again, Answered, Attempt, Dead, Delivered, RetryPolicy
from workers.trade import Trade
from workers.window import Window

POLICY = RetryPolicy(base=1.0, cap=30.0, max_age=3600.0, max_attempts=9, retry_unknown=True)


def some_books() -> tuple[Records, Metrics, Lines]:
    metrics, lines = Metrics(), Lines()
    gate = Gate(Window(8), {}, random.random)
    trade = Trade(FakeClock(), metrics, lines.log, POLICY, random.random, gate, lambda _kind, _slowdown: None)
    return Records(trade), metrics, lines


def test_a_delivered_entry_is_counted_by_operation_and_gets_its_line() -> None:
    records, metrics, lines = some_books()
    held = held_in(a_tenure(), 1, entry=an_entry(a_join(), message_id="m-7"))
    records.delivered([held])
    records.settled([held], Answered(200), attempts=2, took=0.5, certain=True)
    assert metrics.delivered["addUser"].value == 1
    [line] = lines.of("delivery.settled")
    assert (line["id"], line["end"], line["status"], line["attempts"]) == ("m-7", "delivered", 200, 2)


def test_a_delivery_whose_settlement_is_uncertain_says_so() -> None:
    records, _metrics, lines = some_books()
    records.settled([held_in(a_tenure(), 1)], Answered(202), attempts=1, took=0.1, certain=False)
    assert lines.of("delivery.settled")[0]["end"] == "delivered, not settled"


def test_an_attempt_that_did_not_deliver_is_counted_by_failure_and_gets_a_line() -> None:
    records, metrics, lines = some_books()
    held = held_in(a_tenure(), 1)
    records.judged([held], Attempt(3, 0.0, 0.0), Answered(503), Again(1.5, "unavailable"))
    assert metrics.failures["unavailable"].value == 1
    [line] = lines.of("delivery.attempt")
    assert (line["attempt"], line["status"], line["again_in"]) == (3, 503, 1.5)


def test_an_attempt_that_delivered_leaves_its_line_to_the_settlement() -> None:
    records, _metrics, lines = some_books()
    records.judged([held_in(a_tenure(), 1)], Attempt(1, 0.0, 0.0), Answered(202), Delivered())
    assert lines.told == []


def test_the_first_call_tells_how_long_an_entry_waited_and_later_ones_are_retries() -> None:
    records, metrics, _lines = some_books()
    held = held_in(a_tenure(), 1)
    records.began([held], 1, throttled=False)
    records.began([held], 1, throttled=True)
    records.began([held], 2, throttled=False)
    assert sum(metrics.queue_wait_seconds.counts) == 1
    assert metrics.retries.value == 1


def test_what_needed_no_call_is_counted_apart() -> None:
    records, metrics, lines = some_books()
    held = held_in(a_tenure(), 1)
    records.superseded(held)
    records.expired(held, 2)
    records.parked(held, Dead("tooLarge", "refused", 413, "status 413"), 1)
    assert (metrics.superseded.value, metrics.expired.value, metrics.dead["tooLarge"].value) == (1, 1, 1)
    assert [line["end"] for line in lines.of("delivery.settled")] == ["superseded", "expired", "dead: tooLarge"]
