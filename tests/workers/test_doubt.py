"""Whether refusals come from the rate at all."""

import random

from workers.doubt import Doubt, Finding, Stage


def calls(doubt: Doubt, count: int, share: float, start: float, *, per_second: float = 1000.0) -> list[Finding]:
    """Make calls of which a share is refused by chance; return what was found, the nothings left out."""
    chance = random.Random(1)
    found = []
    for number in range(count):
        now = start + number / per_second
        found.append(doubt.refused(now) if chance.random() < share else doubt.taken(now))
    return [each for each in found if each is not Finding.NOTHING]


def a_test_of(share: float, slower: float) -> list[Finding]:
    """Test a service that refuses one share at the rate before and another one at a lower rate."""
    doubt = Doubt()
    doubt.begin(0.0)
    found = calls(doubt, 3000, share, 0.0)
    if found[:1] == [Finding.MEASURED]:
        doubt.go_slower(3.0, doubt.sample.share)
        found = [Finding.MEASURED, *calls(doubt, 5000, slower, 3.0)]
    return found


def test_refusals_are_those_of_a_limit_unless_it_was_shown_otherwise() -> None:
    doubt = Doubt()
    assert calls(doubt, 1000, 0.5, 0.0) == []
    assert (doubt.stage, doubt.is_idle) == (Stage.LIMIT, True)


def test_calls_beside_a_refusal_that_are_refused_as_well_show_a_limit() -> None:
    doubt = Doubt()
    doubt.watch(0.0, 1.0, 5)
    assert [doubt.refused(0.01) for _ in range(5)] == [*[Finding.NOTHING] * 4, Finding.SHUT]


def test_three_calls_beside_a_refusal_show_a_limit_if_none_was_accepted() -> None:
    doubt, other = Doubt(), Doubt()
    doubt.watch(0.0, 1.0, 3)
    assert [doubt.refused(0.01) for _ in range(3)] == [*[Finding.NOTHING] * 2, Finding.SHUT]
    other.watch(0.0, 1.0, 4)
    assert [other.taken(0.01), *(other.refused(0.01) for _ in range(3))] == [Finding.NOTHING] * 4


def test_calls_beside_a_refusal_that_are_accepted_raise_a_doubt() -> None:
    doubt = Doubt()
    doubt.watch(0.0, 1.0, 5)
    assert [doubt.taken(0.01) for _ in range(5)] == [*[Finding.NOTHING] * 4, Finding.OPEN]


def test_too_few_calls_beside_a_refusal_are_no_reason_before_the_pause_is_over() -> None:
    doubt = Doubt()
    doubt.watch(0.0, 1.0, 1)
    assert [doubt.refused(0.01), doubt.taken(0.9), doubt.taken(1.1)] == [Finding.NOTHING, Finding.NOTHING, Finding.OPEN]


def test_a_share_that_stays_the_same_at_a_lower_rate_is_no_limit() -> None:
    for share in (0.02, 0.05, 0.2):
        assert a_test_of(share, share) == [Finding.MEASURED, Finding.RANDOM]


def test_the_share_that_is_expected_is_that_of_both_measurements() -> None:
    doubt = Doubt()
    doubt.begin(0.0)
    for number in range(1001):
        _ = doubt.refused(number / 500) if number % 10 == 0 else doubt.taken(number / 500)
    doubt.go_slower(2.0, doubt.sample.share)
    found = [doubt.taken(3.01) for _ in range(74)] + [doubt.refused(3.02) for _ in range(4)]
    assert found[-1] is Finding.RANDOM  # 4 of 78 is the least that is like a tenth
    assert 0.09 < doubt.share < 0.1


def test_a_share_that_is_gone_at_a_lower_rate_is_a_limit() -> None:
    for share in (0.02, 0.05, 0.2):
        assert a_test_of(share, 0.0)[:2] == [Finding.MEASURED, Finding.LIMIT]


def test_a_share_that_is_no_more_than_steps_beyond_may_cost_needs_no_test() -> None:
    assert a_test_of(0.004, 0.004) == [Finding.RANDOM]


def test_nothing_but_refusals_is_a_limit_whatever_was_expected() -> None:
    for share in (0.01, 0.05, 0.3):
        doubt = Doubt()
        doubt.follow(share, 0.0)
        assert calls(doubt, 3000, share, 0.0) == []
        found = [doubt.refused(3.0) for _ in range(60)]
        assert Finding.SHUT in found


def test_before_the_share_is_measured_seven_refusals_in_a_row_are_a_limit() -> None:
    doubt = Doubt()
    doubt.begin(0.0)
    found = [doubt.taken(0.0), *(doubt.refused(0.01) for _ in range(8))]
    assert Finding.SHUT not in found[:7]
    assert found[8] is Finding.SHUT


def test_refusals_that_have_ended_are_expected_no_more() -> None:
    doubt = Doubt()
    doubt.follow(0.05, 0.0)
    assert doubt.taken(9.0) is Finding.NOTHING
    assert doubt.taken(10.5) is Finding.OVER
