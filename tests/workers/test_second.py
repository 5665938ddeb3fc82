"""When the service begins to count anew."""

from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.second import Second

_AFTER = 0.01  # seconds until a call is answered


def round_of(second: Second, first: float, begin: float, *, answered: float = _AFTER) -> float:
    """Have a call refused, and repeated after doubled pauses until a second has begun; return when it was accepted."""
    sent = first
    for number in count():
        now = sent + answered
        if sent >= begin:
            second.accepted(sent, now)
            return now
        second.refused(sent, now)
        sent = now + 0.05 * 2**number
    raise AssertionError


def known() -> Second:
    """Return one that knows that a second begins within 0.2 s before each whole one."""
    second = Second()
    for whole in (1.0, 2.0):
        second.refused(whole - 0.2, whole - 0.2)
        second.accepted(whole, whole)
    return second


def test_it_is_not_known_before_two_rounds_of_refusals_agree() -> None:
    second = Second()
    assert second.left(0.0) is None
    round_of(second, 0.9, 1.0)
    assert second.left(1.5) is None
    round_of(second, 3.9, 4.0)
    assert second.left(4.5) is not None


@given(st.floats(0.0, 0.999), st.lists(st.tuples(st.integers(1, 5), st.floats(0.05, 0.95)), min_size=1, max_size=12))
def test_what_is_known_of_a_service_that_counts_by_the_second_is_right(
    phase: float, rounds: list[tuple[int, float]]
) -> None:
    second, begin = Second(), phase
    for seconds, ago in rounds:
        begin += seconds
        now = round_of(second, begin - ago, begin)
        left = second.left(now)
        if left is not None:
            assert min((now + left - begin) % 1.0, (begin - now - left) % 1.0) <= 0.25


def test_a_pause_ends_in_the_middle_of_what_is_not_known_until_that_is_little() -> None:
    second = known()
    left = second.left(2.5)
    assert left == pytest.approx(0.4, abs=0.01)
    ends = list[float]()
    for number in range(3, 9):
        left = second.left(number - 0.5)
        assert left is not None
        ends.append(left)
        second.refused(number - 0.5, number - 0.5)
        second.accepted(number - 0.5 + left, number - 0.5 + left)
    assert ends == pytest.approx(sorted(ends, reverse=True))
    assert ends[-1] == pytest.approx(ends[-2])
    assert ends[-1] == pytest.approx(0.3, abs=0.06)


def test_a_call_that_is_refused_in_that_part_is_tried_again_at_its_end() -> None:
    second = known()
    second.refused(2.9, 2.9)
    assert second.left(2.9) == pytest.approx(0.1, abs=0.01)


def test_rounds_that_do_not_agree_begin_anew_with_the_later_one() -> None:
    second = known()
    round_of(second, 3.4, 3.5)
    assert second.left(4.0) is None
    round_of(second, 4.4, 4.5)
    assert second.left(5.0) == pytest.approx(0.51, abs=0.06)


def test_a_long_pause_tells_nothing() -> None:
    second = Second()
    for whole in (1.0, 2.0, 3.0):
        second.refused(whole - 0.6, whole - 0.6)
        second.accepted(whole, whole)
    assert second.left(3.5) is None


def test_a_call_that_was_sent_before_the_refusal_was_known_tells_nothing() -> None:
    second = Second()
    second.refused(0.9, 1.0)
    second.accepted(0.99, 1.01)
    assert second.awaits
    second.accepted(1.01, 1.02)
    assert not second.awaits


def test_refusals_just_after_it_should_have_begun_show_that_it_did_not() -> None:
    second = known()
    second.refused(2.5, 2.5)
    assert second.left(2.5) is not None
    second.refused(3.01, 3.02)
    assert second.left(3.02) is None


def test_two_calls_that_were_under_way_together_and_are_refused_contradict_nothing() -> None:
    second = known()
    second.refused(3.01, 3.02)
    second.refused(3.01, 3.03)
    assert second.left(3.03) is not None


def test_pauses_that_end_when_a_second_was_expected_do_not_keep_the_expectation_alive() -> None:
    second, now = known(), 2.7
    while (left := second.left(now)) is not None:
        second.refused(now, now)
        second.accepted(now + left + 0.03, now + left + 0.03)
        now += 1.0
    assert 30.0 < now < 600.0


def test_the_present_second_is_told_by_its_earliest_and_its_latest_beginning() -> None:
    assert Second().begun(1.0) is None
    assert known().begun(2.7) == pytest.approx((1.8, 2.0), abs=0.01)


def test_clocks_go_apart_so_that_it_is_forgotten_in_the_end() -> None:
    second = known()
    assert second.left(20.0) is not None
    assert second.left(200.0) is None
    round_of(second, 500.9, 501.0)
    assert second.left(501.5) is None
