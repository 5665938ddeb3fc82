"""What follows from an outcome: delivered, again after a while, or dead."""

from dataclasses import replace
from email.utils import formatdate
from itertools import product
from math import inf

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanout.metrics import DEAD_REASONS, FAILURES
from fanout.queue.entry import Entry
from fanout.signalr.message import CloseConnections, GroupAction, Scope, Verb
from fanout.signalr.outcome import Answered, MaybeSent, NotSent, Outcome, retry_after
from tests.builders import a_join, a_message, an_entry
from workers.verdicts import (
    GONE,
    TABLE,
    Again,
    Attempt,
    Dead,
    Delivered,
    Gone,
    RetryPolicy,
    Ruling,
    Verdict,
    backoff,
    describe,
    judge,
    rule_of,
)

POLICY = RetryPolicy(base=0.2, cap=30.0, max_age=3600.0, retry_unknown=True, max_attempts=1000)
AT_MOST_ONCE = RetryPolicy(base=0.2, cap=30.0, max_age=3600.0, retry_unknown=False, max_attempts=1000)
MESSAGE, ACTION = an_entry(a_message()), an_entry(a_join())
CLOSE = an_entry(CloseConnections(Scope.CONNECTION, "c1"))
WEDNESDAY = 1_445_412_480.0  # Wed, 21 Oct 2015 07:28:00 GMT

outcomes: st.SearchStrategy[Outcome] = st.one_of(
    st.builds(
        Answered,
        status=st.integers(0, 999),
        error_code=st.sampled_from(["", "Something.Else", *GONE]),
        retry_after=st.none() | st.floats(0, 10_000),
    ),
    st.builds(NotSent, detail=st.text()),
    st.builds(MaybeSent, detail=st.text(), stale=st.booleans()),
)
attempts = st.builds(
    Attempt,
    number=st.integers(1, 5_000),
    age=st.floats(0, 20_000),
    jitter=st.floats(0, 1, exclude_max=True),
    renewed=st.booleans(),
    proven=st.booleans(),
    alone=st.booleans(),
)
policies = st.builds(
    RetryPolicy,
    base=st.floats(0.001, 10),
    cap=st.floats(0.001, 600),
    max_age=st.floats(0.001, 10_000),
    max_attempts=st.integers(1, 2_000),
    retry_unknown=st.booleans(),
)


def judged(
    outcome: Outcome, *, entry: Entry = MESSAGE, number: int = 1, age: float = 0.0, renewed: bool = False,
    proven: bool = False, alone: bool = False, policy: RetryPolicy = POLICY,
) -> Verdict:  # fmt: skip
    return judge(entry, outcome, Attempt(number, age, 0.5, renewed=renewed, proven=proven, alone=alone), policy)


@pytest.mark.parametrize("entry", [MESSAGE, ACTION, CLOSE])
@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_any_2xx_is_delivered(entry: Entry, status: int) -> None:
    assert judged(Answered(status), entry=entry) == Delivered()


@pytest.mark.parametrize(("entry", "code"), [*product([MESSAGE, ACTION, CLOSE], sorted(GONE))])
def test_a_404_that_says_the_destination_is_gone_is_gone(entry: Entry, code: str) -> None:
    assert judged(Answered(404, code), entry=entry) == Gone()
    assert judged(Answered(404, code), entry=entry, proven=True) == Gone()


LEAVE, LEAVE_ALL = (an_entry(GroupAction(verb, Scope.USER, "u", "g")) for verb in (Verb.REMOVE, Verb.REMOVE_ALL))


@pytest.mark.parametrize("entry", [LEAVE, LEAVE_ALL, CLOSE])
def test_a_404_without_a_code_to_leaving_or_closing_is_gone_where_the_endpoint_is_proven(entry: Entry) -> None:
    assert judged(Answered(404), entry=entry, proven=True) == Gone()
    unproven = judged(Answered(404), entry=entry)
    assert unproven == Again(0.1, "notFound")
    assert isinstance(judged(Answered(404), entry=entry, age=3600.0), Dead)
    assert judged(Answered(404, "Error.Hub.NotExisted"), entry=entry, proven=True) == Again(0.1, "notFound")


@pytest.mark.parametrize("entry", [MESSAGE, ACTION])
def test_a_404_without_a_code_to_sending_or_joining_is_a_wrong_address_even_there(entry: Entry) -> None:
    assert judged(Answered(404), entry=entry, proven=True) == Again(0.1, "notFound")
    verdict = judged(Answered(404), entry=entry, proven=True, alone=True)
    assert isinstance(verdict, Dead)
    assert verdict.reason == "wrongEndpoint"


@pytest.mark.parametrize("code", ["", "Error.Hub.NotExisted", "warning.user.notexisted"])
def test_any_other_404_is_a_wrong_address(code: str) -> None:
    verdict = judged(Answered(404, code), alone=True)
    assert isinstance(verdict, Dead)
    assert (verdict.reason, verdict.failure, verdict.status) == ("wrongEndpoint", "notFound", 404)
    assert verdict.detail == f"status 404 {code}".strip()


def test_a_known_code_on_another_status_means_nothing() -> None:
    assert isinstance(judged(Answered(400, "Warning.User.NotExisted")), Dead)


@pytest.mark.parametrize(
    ("status", "reason", "failure"),
    [
        (400, "refused", "refused"),
        (405, "refused", "refused"),
        (413, "tooLarge", "refused"),
        (414, "tooLarge", "refused"),
        (431, "tooLarge", "refused"),
        (999, "refused", "refused"),
    ],
)
def test_a_refusal_that_will_not_change_is_dead_at_once(status: int, reason: str, failure: str) -> None:
    for entry in (MESSAGE, ACTION):
        assert judged(Answered(status, retry_after=1.0), entry=entry) == Dead(
            reason, failure, status, f"status {status} (Retry-After: 1 s)"
        )


OF_SOMETHING_ELSE = [
    (Answered(301), "wrongEndpoint", "redirected"),
    (Answered(308), "wrongEndpoint", "redirected"),
    (Answered(403), "unauthorized", "forbidden"),
    (Answered(404), "wrongEndpoint", "notFound"),
    (Answered(404, "Error.Hub.NotExisted"), "wrongEndpoint", "notFound"),
    (Answered(200, foreign=True), "wrongEndpoint", "foreign"),
    (Answered(202, foreign=True), "wrongEndpoint", "foreign"),
]


@pytest.mark.parametrize(("outcome", "reason", "failure"), OF_SOMETHING_ELSE)
@pytest.mark.parametrize("entry", [MESSAGE, ACTION])
def test_what_something_on_the_way_refuses_waits_however_often_and_kills_a_destination_that_is_refused_alone(
    outcome: Answered, reason: str, failure: str, entry: Entry
) -> None:
    assert judged(outcome, entry=entry) == Again(0.1, failure)
    assert judged(outcome, entry=entry, number=100_000) == Again(15.0, failure)
    dead = judged(outcome, entry=entry, alone=True)
    assert dead == Dead(reason, failure, outcome.status, describe(outcome))


@pytest.mark.parametrize(("outcome", "reason", "failure"), OF_SOMETHING_ELSE)
def test_what_waited_for_the_way_until_it_was_too_old_dies_of_what_it_was_answered(
    outcome: Answered, reason: str, failure: str
) -> None:
    dead = judged(outcome, number=400, age=3600.0)
    assert isinstance(dead, Dead)
    assert (dead.reason, dead.failure, dead.status) == (reason, failure, outcome.status)
    assert "3600 s" in dead.detail


@pytest.mark.parametrize("status", [400, 413, 429, 500, 503])
def test_being_refused_alone_changes_no_other_verdict(status: int) -> None:
    assert judged(Answered(status), alone=True) == judged(Answered(status))


def test_a_401_renews_the_token_once_and_at_once_and_then_backs_off() -> None:
    assert judged(Answered(401)) == Again(0.0, "unauthorized", renew=True)
    assert judged(Answered(401), number=3, renewed=True) == Again(0.4, "unauthorized")


@pytest.mark.parametrize(("status", "failure"), [(503, "unavailable"), (408, "unavailable")])
def test_retry_after_is_the_least_that_is_waited(status: int, failure: str) -> None:
    assert judged(Answered(status, retry_after=7.0)) == Again(7.0, failure, asked=True)
    assert judged(Answered(status, retry_after=0.01)) == Again(0.1, failure, asked=True)
    assert judged(Answered(status)) == Again(0.1, failure)


def test_a_429_waits_for_what_the_service_asks_and_no_longer() -> None:
    """The pace of its class holds it back already; backing off as well would starve it."""
    assert judged(Answered(429, retry_after=7.0), number=9) == Again(7.0, "throttled", asked=True)
    assert judged(Answered(429), number=9) == Again(0.0, "throttled", asked=True)


def test_a_call_tried_too_often_is_dead_and_being_throttled_does_not_count() -> None:
    policy = RetryPolicy(base=0.2, cap=30.0, max_age=3600.0, max_attempts=3, retry_unknown=True)
    assert isinstance(judged(NotSent("no route"), number=2, policy=policy), Again)
    assert judged(NotSent("no route"), number=3, policy=policy) == Dead(
        "tooManyAttempts", "notSent", 0, "not delivered in 3 attempts, last: no route"
    )
    assert isinstance(judged(Answered(429), number=3, policy=policy), Again)


@pytest.mark.parametrize("outcome", [Answered(500), MaybeSent("lost")])
def test_what_the_sender_wants_after_a_lost_answer_wins_over_the_setting(outcome: Outcome) -> None:
    once = an_entry(msgspec.structs.replace(a_message(), at_most_once=True))
    again = an_entry(msgspec.structs.replace(a_message(), at_most_once=False))
    assert isinstance(judged(outcome, entry=once), Dead)
    assert isinstance(judged(outcome, entry=again, policy=AT_MOST_ONCE), Again)


def test_a_500_to_a_message_is_repeated_or_parked_as_the_setting_says() -> None:
    assert judged(Answered(500)) == Again(0.1, "serverError")
    assert judged(Answered(500), policy=AT_MOST_ONCE) == Dead("outcomeUnknown", "serverError", 500, "status 500")


@pytest.mark.parametrize("entry", [ACTION, CLOSE])
def test_what_can_be_done_twice_is_repeated_whatever_the_setting(entry: Entry) -> None:
    assert judged(Answered(500), entry=entry, policy=AT_MOST_ONCE) == Again(0.1, "serverError")
    assert judged(MaybeSent("lost"), entry=entry, policy=AT_MOST_ONCE) == Again(0.1, "maybeSent")


def test_a_lost_answer_to_a_message_is_repeated_or_parked_as_the_setting_says() -> None:
    assert judged(MaybeSent("lost")) == Again(0.1, "maybeSent")
    assert judged(MaybeSent("lost"), policy=AT_MOST_ONCE) == Dead("outcomeUnknown", "maybeSent", 0, "lost")


def test_a_stale_connection_is_repeated_at_once_but_only_the_first_time() -> None:
    assert judged(MaybeSent("stale", stale=True)) == Again(0.0, "maybeSent")
    assert judged(MaybeSent("stale", stale=True), number=2) == Again(0.2, "maybeSent")


def test_at_most_once_holds_for_a_stale_connection_too() -> None:
    """Whether the server read the request before it closed is unknown."""
    assert isinstance(judged(MaybeSent("stale", stale=True), policy=AT_MOST_ONCE), Dead)


def test_what_was_not_sent_is_repeated_whatever_the_setting() -> None:
    assert judged(NotSent("refused"), policy=AT_MOST_ONCE) == Again(0.1, "notSent")


def test_an_entry_that_would_be_repeated_past_its_age_is_tried_once_more_at_that_age() -> None:
    assert judged(NotSent("no route"), age=3599.5) == Again(0.1, "notSent")
    assert judged(NotSent("no route"), age=3599.9375) == Again(0.0625, "notSent")
    assert judged(Answered(503, retry_after=7200.0), age=3500.0) == Again(100.0, "unavailable", asked=True)
    assert judged(Answered(401), age=3599.9375, renewed=True) == Again(0.0625, "unauthorized")


def test_an_entry_that_failed_at_its_age_is_dead_and_says_what_happened() -> None:
    assert judged(NotSent("no route"), age=3600.0) == Dead(
        "tooOld", "notSent", 0, "not delivered within 3600 s, last: no route"
    )
    assert judged(Answered(503, retry_after=7200.0), age=3600.5) == Dead(
        "tooOld", "unavailable", 503, "not delivered within 3600 s, last: status 503 (Retry-After: 7200 s)"
    )


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("asked", [301.0, 86_400.0, retry_after("9" * 400, WEDNESDAY)])
def test_a_retry_after_is_waited_for_no_longer_than_the_cap(status: int, asked: float) -> None:
    verdict = judged(Answered(status, retry_after=asked))
    assert isinstance(verdict, Again)
    assert verdict.delay == 300.0
    policy = replace(POLICY, pause_cap=2.0)
    assert judged(Answered(status, retry_after=asked), policy=policy) == Again(2.0, verdict.failure, asked=True)


def test_an_entry_that_only_ever_met_401_says_so_when_it_is_dead() -> None:
    verdict = judged(Answered(401), age=4000.0)
    assert isinstance(verdict, Dead)
    assert (verdict.reason, verdict.failure, verdict.status) == ("unauthorized", "unauthorized", 401)


def test_an_old_entry_that_is_delivered_is_delivered() -> None:
    assert judged(Answered(202), age=1e9) == Delivered()


@given(policies, st.integers(1, 10_000), st.floats(0, 1, exclude_max=True))
def test_backoff_is_full_jitter_under_a_ceiling_that_doubles_up_to_the_cap(
    policy: RetryPolicy, number: int, jitter: float
) -> None:
    wait = backoff(policy, number, jitter)
    assert 0 <= wait <= policy.cap
    assert wait <= policy.base * 2.0 ** min(number - 1, 500)
    assert backoff(policy, number, 0.0) == 0.0


def test_backoff_doubles() -> None:
    assert [backoff(POLICY, number, 0.5) for number in (1, 2, 3, 8, 9, 10_000)] == [0.1, 0.2, 0.4, 12.8, 15.0, 15.0]


@given(outcomes, attempts, policies, st.sampled_from([MESSAGE, ACTION, CLOSE]))
def test_every_verdict_is_bounded_and_carries_labels_that_exist(
    outcome: Outcome, attempt: Attempt, policy: RetryPolicy, entry: Entry
) -> None:
    verdict = judge(entry, outcome, attempt, policy)
    asked = (outcome.retry_after or 0.0) if isinstance(outcome, Answered) else 0.0
    match verdict:
        case Again(delay, failure, renew):
            assert 0 <= delay <= max(policy.cap, min(asked, policy.pause_cap))
            late = attempt.age + delay > policy.max_age + 1e-6
            assert failure == "throttled" or not late  # the service sets the pace
            assert failure in FAILURES
            assert not (renew and attempt.renewed)
            if failure in {"throttled", "unavailable"}:
                last_chance = inf if failure == "throttled" else policy.max_age - attempt.age
                assert delay >= min(asked, policy.pause_cap, last_chance)
        case Dead(reason, failure, status, _):
            assert reason in DEAD_REASONS
            assert failure in FAILURES
            assert status == (outcome.status if isinstance(outcome, Answered) else 0)
        case Delivered():
            assert isinstance(outcome, Answered)
            assert 200 <= outcome.status < 300
        case Gone():
            assert isinstance(outcome, Answered)
            assert outcome.status == 404
            assert outcome.error_code in GONE or not outcome.error_code


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("7", 7.0),
        (" 7 ", 7.0),
        ("0", 0.0),
        ("Wed, 21 Oct 2015 07:28:30 GMT", 30.0),
        ("Wednesday, 21-Oct-15 07:28:30 GMT", 30.0),
        ("Wed Oct 21 07:28:30 2015", 30.0),
        ("Wed, 21 Oct 2015 07:27:00 GMT", 0.0),
        (None, None),
        ("", None),
        (" ", None),
        ("-1", None),
        ("1.5", None),
        ("soon", None),
        ("٣", None),
        ("Wed, 99 Oct 2015 07:28:00 GMT", None),
        ("Wed, 21 Oct 99999 07:28:00 GMT", None),
    ],
)
def test_retry_after_is_read_as_seconds_or_as_a_date(text: str | None, seconds: float | None) -> None:
    assert retry_after(text, WEDNESDAY) == seconds


@given(st.text() | st.text("0123456789:, GMTWedOctJan+-", max_size=40))
def test_any_retry_after_is_a_number_of_seconds_or_nothing(text: str) -> None:
    seconds = retry_after(text, WEDNESDAY)
    assert seconds is None or seconds >= 0


@given(st.integers(0, 10**7))
def test_a_date_means_the_seconds_until_then(seconds: int) -> None:
    assert retry_after(formatdate(WEDNESDAY + seconds, usegmt=True), WEDNESDAY) == seconds


# The table ------------------------------------------------------------------------------------------------------------


def test_where_there_is_no_token_an_entry_waits_however_old_it_is() -> None:
    for age in (0.0, 3600.0, 1e6):
        assert judged(NotSent("no token", no_token=True), age=age) == Again(0.1, "noToken")
    assert judged(NotSent("no token", no_token=True), number=10**6) == Again(15.0, "noToken")


def test_every_label_of_the_table_is_in_the_closed_sets_of_the_metrics() -> None:
    for rule in [*TABLE, rule_of(999)]:
        if rule.message is not Ruling.DELIVERED:
            assert rule.failure in FAILURES
            assert rule.reason in DEAD_REASONS


def test_every_status_has_exactly_one_row() -> None:
    for status in range(1000):
        rows = [rule for rule in TABLE if rule.first <= status <= rule.last]
        assert len(rows) <= 1
        assert rule_of(status) is (rows[0] if rows else rule_of(418))


def test_every_row_says_why_in_a_sentence_and_is_not_backwards() -> None:
    for rule in TABLE:
        assert rule.first <= rule.last
        assert rule.why.endswith(".")


def test_only_a_message_can_have_an_unknown_outcome() -> None:
    """A membership change or a closing has the same effect however often it is done."""
    assert [rule.first for rule in TABLE if rule.message is Ruling.UNKNOWN] == [500]
    assert not [rule for rule in TABLE if rule.action is Ruling.UNKNOWN]


@pytest.mark.parametrize(
    ("status", "message", "action"),
    [
        (100, Ruling.DEAD, Ruling.DEAD),
        (200, Ruling.DELIVERED, Ruling.DELIVERED),
        (202, Ruling.DELIVERED, Ruling.DELIVERED),
        (299, Ruling.DELIVERED, Ruling.DELIVERED),
        (302, Ruling.WAIT, Ruling.WAIT),
        (400, Ruling.DEAD, Ruling.DEAD),
        (401, Ruling.RENEW_TOKEN, Ruling.RENEW_TOKEN),
        (403, Ruling.WAIT, Ruling.WAIT),
        (404, Ruling.WAIT, Ruling.WAIT),
        (408, Ruling.RETRY, Ruling.RETRY),
        (409, Ruling.DEAD, Ruling.DEAD),
        (413, Ruling.DEAD, Ruling.DEAD),
        (414, Ruling.DEAD, Ruling.DEAD),
        (429, Ruling.RETRY, Ruling.RETRY),
        (431, Ruling.DEAD, Ruling.DEAD),
        (500, Ruling.UNKNOWN, Ruling.RETRY),
        (501, Ruling.RETRY, Ruling.RETRY),
        (502, Ruling.RETRY, Ruling.RETRY),
        (503, Ruling.RETRY, Ruling.RETRY),
        (504, Ruling.RETRY, Ruling.RETRY),
        (599, Ruling.RETRY, Ruling.RETRY),
        (600, Ruling.DEAD, Ruling.DEAD),
    ],
)
def test_what_a_status_means_for_messages_and_actions(status: int, message: Ruling, action: Ruling) -> None:
    rule = rule_of(status)
    assert (rule.message, rule.action) == (message, action)


def test_gone_is_told_by_exactly_these_codes() -> None:
    assert {code.split(".", 1)[0] for code in GONE} == {"Warning", "Info", "Error"}
    assert len(GONE) == 5


@pytest.mark.parametrize(
    ("outcome", "text"),
    [
        (NotSent("No connection to https://h: connection refused."), "No connection to https://h: connection refused."),
        (Answered(413), "status 413"),
        (Answered(400, "Error.Group.Invalid"), "status 400 Error.Group.Invalid"),
        (Answered(400, request_id="r-1", body=b'{"code":\r\n  "X"}'), 'status 400 (request r-1): {"code": "X"}'),
        (Answered(500, body=b"\xff\x00 text"), "status 500: \ufffd text"),
        (
            Answered(400, body=b"AccessKey=abc; Bearer eyJhbGciOi.eyJhdWQi.c2ln"),
            "status 400: AccessKey=***; Bearer ***",
        ),
        (Answered(502, body=b"x" * 2000), "status 502: " + "x" * 500),
        (Answered(400, body=b"x" * 490 + b" eyJ" + b"a" * 40 + b".bb.cc"), "status 400: " + "x" * 490 + " ***"),
    ],
)
def test_an_outcome_is_described_for_people(outcome: Outcome, text: str) -> None:
    assert describe(outcome) == text


def test_a_dead_letter_says_what_the_service_answered() -> None:
    verdict = judged(Answered(400, "Error.X", request_id="r-1", body=b"no such method"))
    assert isinstance(verdict, Dead)
    assert verdict.detail == "status 400 Error.X (request r-1): no such method"
