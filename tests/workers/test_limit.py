"""The search for the rate that a service takes."""

import itertools
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.limit import Found, Limit, Phase, Taken


def used_for(limit: Limit, start: float, seconds: float) -> float:
    """Use a rate without a refusal; return the time."""
    now = start
    while now < start + seconds:
        now += 0.01
        if limit.is_due(now):
            limit.advance(now, limit.rate * (now - limit.tried_at))
    return now


def standing(limit: Limit) -> str:
    """Return the name of its phase."""
    return limit.phase.name


def test_it_begins_free_or_at_the_ceiling() -> None:
    assert (Limit().rate, Limit(50.0).rate) == (inf, 50.0)
    assert Limit(50.0).is_trusted


def test_the_first_refusal_keeps_just_below_what_was_taken() -> None:
    limit = Limit()
    found = limit.cut(200.0)
    assert (found.rate, found.taken, found.refused) == pytest.approx((194.0, 100.0, inf))
    limit.follow(found, 1.0, 1.0)
    assert limit.phase is Phase.SEARCHING
    assert not limit.is_trusted


def test_what_lies_between_taken_and_refused_is_halved_until_nothing_is_left() -> None:
    limit, now, refusals = Limit(), 0.0, 0
    limit.follow(limit.cut(380.0), now, 1.0)
    while limit.phase is not Phase.HOLDING:
        if limit.rate > 200.0:
            now, refusals = now + 1.0, refusals + 1
            limit.follow(limit.cut(None), now, 1.0)
        else:
            now = used_for(limit, now, 0.5)
    assert 185.0 <= limit.rate <= 200.0
    assert refusals <= 6


def test_refusals_one_after_the_other_cut_deeper_each_time_and_by_half_at_most() -> None:
    limit, rates = Limit(100.0), [100.0]
    for number in range(8):
        limit.follow(limit.cut(None), float(number), 0.05)
        rates.append(limit.rate)
    parts = [after / before for before, after in itertools.pairwise(rates)]
    assert parts[:5] == pytest.approx([0.97, 0.94, 0.88, 0.76, 0.52])
    assert min(parts) >= 0.5


def test_a_step_beyond_waits_until_the_pause_of_the_last_refusal_has_been_earned() -> None:
    limit = Limit()
    limit.follow(Found(99.0, 100.0, 102.0), 0.0, 1.0)
    used_for(limit, 0.0, 30.0)
    assert standing(limit) == "HOLDING"
    used_for(limit, 30.0, 5.0)
    assert standing(limit) == "BEYOND"


def test_a_step_beyond_waits_until_a_hundred_calls_were_accepted() -> None:
    limit = Limit()
    limit.follow(Found(1.98, 2.0, 2.05), 0.0, 0.05)
    used_for(limit, 0.0, 45.0)
    assert standing(limit) == "HOLDING"
    used_for(limit, 45.0, 10.0)
    assert standing(limit) == "BEYOND"


def test_a_step_beyond_that_is_refused_goes_back_to_what_was_taken() -> None:
    limit = Limit()
    limit.follow(Found(99.0, 100.0, 102.0), 0.0, 0.05)
    now = used_for(limit, 0.0, 2.0)
    assert standing(limit) == "BEYOND"
    limit.follow(limit.cut(101.0), now, 0.05)
    assert standing(limit) == "HOLDING"
    assert limit.rate == pytest.approx(99.0)


def test_a_limit_that_is_gone_is_left_behind_by_wider_and_wider_steps() -> None:
    limit = Limit()
    limit.follow(Found(99.0, 100.0, 102.0), 0.0, 0.05)
    used_for(limit, 0.0, 12.0)
    assert limit.rate > 1000.0


def test_it_does_not_grow_while_it_is_not_used() -> None:
    limit = Limit()
    limit.follow(Found(99.0, 100.0, 102.0), 0.0, 0.05)
    for second in range(200):
        if limit.is_due(float(second)):
            limit.advance(float(second), 10.0)
    assert limit.rate == 99.0


def test_a_share_that_was_too_small_earns_no_more_than_time_allows() -> None:
    limit = Limit()
    limit.follow(Found(1.98, 2.0, 2.05), 0.0, 0.05)
    for second in range(1, 46):
        if limit.is_due(float(second)):
            limit.advance(float(second), 1000.0)
    assert standing(limit) == "HOLDING"


def test_a_step_beyond_a_slow_rate_lasts_until_it_is_worth_two_calls() -> None:
    limit = Limit()
    limit.follow(Found(1.98, 2.0, inf), 0.0, 1.0)
    now = used_for(limit, 0.0, 60.0)
    while limit.found.taken <= 2.0:
        now = used_for(limit, now, 0.1)
    assert standing(limit) == "BEYOND"
    apart = limit.rate - limit.found.taken
    assert used_for(limit, now, 2.0 / apart - 0.2) > now
    assert limit.rate - limit.found.taken == apart


def test_a_trial_that_begins_anew_is_as_long_as_before() -> None:
    limit = Limit()
    limit.follow(Found(3.0, 2.0, 3.1), 0.0, 0.05)
    limit.follow(limit.cut(None), 0.0, 0.05)
    worth = 1.0 / (3.0 - limit.rate)
    limit.try_again(10.0, 0.05)
    assert not limit.is_due(10.0 + worth - 0.01)
    assert limit.is_due(10.0 + worth + 0.1)


@pytest.mark.parametrize(("refused", "seconds"), [(204.0, 1.0), (230.0, 1.0), (250.0, 2.0), (400.0, 2.0)])
def test_a_rate_far_below_the_one_that_was_refused_is_tried_for_two_seconds(refused: float, seconds: float) -> None:
    """In parts of two seconds of the service it would pass at half as much again as the service takes in one."""
    limit = Limit()
    limit.follow(Found(200.0, 0.0, refused), 0.0, 0.0)
    assert not limit.is_due(seconds - 0.01)
    assert limit.is_due(seconds + 0.01)


@pytest.mark.parametrize(("is_asked", "seconds"), [(True, 13.0), (False, 3.0)])
def test_a_pause_costs_little_where_it_ends_with_a_second_that_is_used_up(*, is_asked: bool, seconds: float) -> None:
    limit = Limit()
    limit.keep(Found(102.0, 100.0))
    limit.follow(Found(99.0, 100.0, 102.0), 0.0, 0.4, is_asked=is_asked)
    now = 0.0
    while standing(limit) != "BEYOND":
        now = used_for(limit, now, 0.1)
    assert now == pytest.approx(seconds, abs=1.5)


def test_workers_that_paused_for_different_times_go_beyond_together() -> None:
    longer, shorter = Limit(), Limit()
    for limit, pause in ((longer, 0.9), (shorter, 0.1)):
        limit.follow(Found(99.0, 100.0, 102.0), pause, pause)
    longer.try_again(0.9, 0.1, is_asked=False)
    for limit in (longer, shorter):
        used_for(limit, 1.0, 4.0)
    assert standing(longer) == standing(shorter) == "BEYOND"


def test_a_first_rate_that_is_corrected_earns_what_the_corrected_one_does() -> None:
    limit = Limit()
    limit.follow(limit.cut(8.0), 0.0, 1.0)
    limit.correct(2.0)
    used_for(limit, 0.0, 35.0)
    assert standing(limit) == "HOLDING"


def test_it_grows_to_the_ceiling_and_is_free_there() -> None:
    limit = Limit(120.0)
    limit.follow(Found(99.0, 100.0, 102.0), 0.0, 0.05)
    used_for(limit, 0.0, 12.0)
    assert (limit.rate, limit.phase) == (120.0, Phase.FREE)


@given(
    st.lists(st.tuples(st.booleans(), st.one_of(st.none(), st.floats(0.0, 500.0)), st.floats(0.0, 5.0)), max_size=60),
    st.one_of(st.none(), st.floats(1.0, 500.0)),
)
def test_whatever_happens_the_rate_stays_between_its_floor_and_its_ceiling(
    events: list[tuple[bool, float | None, float]], ceiling: float | None
) -> None:
    limit, now = Limit(ceiling), 0.0
    for refused, accepted, wait in events:
        now += wait
        if refused and not (limit.rate == inf and accepted is None):
            limit.follow(limit.cut(accepted), now, wait)
        elif limit.is_due(now):
            limit.advance(now, 1000.0 * wait)
        assert 0.5 <= limit.rate <= limit.ceiling


@pytest.mark.parametrize("boundary", [0.02, 0.05, 0.09])
@pytest.mark.parametrize("quota", [20, 200, 900])
def test_two_refusals_show_what_fell_into_one_second_of_the_service(quota: int, boundary: float) -> None:
    """The first calls fell into two seconds, so that the rate that was found is too high, and is refused too."""
    rate, taken = quota / 0.03, Taken()
    times = [boundary + each / rate for each in range(-int(boundary * rate), quota)]
    taken.at.extend(time for time in times if time < boundary or time - boundary < quota / rate)
    assert taken.begin(times[-1]) > quota
    trial = [1.1 + each / (1.2 * quota) for each in range(2 * quota)]
    second = [time for time in trial if time >= 1 + boundary][:quota]
    begun = [time for time in trial if time < 1 + boundary] + second
    taken.at.extend(begun if begun[0] < 1 + boundary else second)
    found = taken.in_a_second(second[-1] + 0.01, of_all=len(taken.first), share=1.0)
    assert found is not None
    assert found == pytest.approx((quota, quota), rel=0.06)


def test_where_no_moment_fits_both_refusals_nothing_is_shown() -> None:
    taken = Taken()
    taken.at.extend(each / 1000 for each in range(100))
    taken.begin(0.1)
    assert taken.in_a_second(1.5, of_all=100.0, share=1.0) is None


@pytest.mark.parametrize(
    ("quota", "rate", "taken"), [((190.0, 194.0), 188.16, 188.16), ((150.0, 250.0), 197.75, 145.5)]
)
def test_a_quota_that_is_known_closely_is_held_and_another_is_searched_for(
    quota: tuple[float, float], rate: float, taken: float
) -> None:
    limit = Limit()
    limit.follow(limit.cut(280.0), 0.0, 1.0)
    found = limit.cut(None, quota)
    assert (found.rate, found.taken) == pytest.approx((rate, taken))


@pytest.mark.parametrize("quota", [(98.0, 109.0), (99.0, 100.0), (60.0, 66.0), (40.0, 90.0)])
@pytest.mark.parametrize("taken", [0.0, 90.0, 99.0])
def test_a_refusal_never_raises_the_rate_whatever_quota_was_seen(quota: tuple[float, float], taken: float) -> None:
    limit = Limit(100.0)
    limit.keep(Found(99.9, taken))
    limit.follow(limit.cut(None, quota), 0.0, 0.05)
    assert limit.rate < 99.9
    assert limit.found.taken <= max(taken, quota[0])
    assert standing(limit) != "FREE"


def test_a_quota_that_was_seen_counts_for_more_than_what_was_taken_before_unless_it_is_far_lower() -> None:
    limit = Limit()
    limit.keep(Found(100.0, 101.0))
    assert limit.cut(None, (85.0, 86.0)).rate == pytest.approx(83.8, abs=0.1)
    assert limit.cut(None, (40.0, 41.0)).rate > 90.0
