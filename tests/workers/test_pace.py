"""How fast one class of calls may go."""

import itertools
from math import inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.workers.quota_world import Phase, World
from workers.pace import IDLE, Pace, Slowdown, share_of

SEEDS = (1, 3, 8)


def limited(rate: float = 100.0, *, at: float = 0.0) -> Pace:
    """Return a pace that was told a rate a while before `at`, and may go on."""
    pace = Pace()
    pace.heard(Slowdown(pause=0.0, rate=rate, factor=0.97, asked=False), at - 1.0)
    pace.accepted(at - 0.5)
    return pace


def spent_from(pace: Pace, start: float, seconds: float) -> list[float]:
    """Make every call at the moment the pace allows it, all of them accepted."""
    moments, now = [], start
    while (now := max(now, pace.opens_at)) < start + seconds:
        pace.spend(now)
        pace.accepted(now)
        moments.append(now)
    return moments


def test_nothing_is_held_back_before_anything_was_refused() -> None:
    pace = Pace()
    for _ in range(1000):
        assert pace.opens_at <= 0.0
        pace.spend(0.0)
        pace.accepted(0.0)
    assert pace.rate == inf


def test_a_configured_rate_holds_from_the_first_call() -> None:
    assert len(spent_from(Pace(50.0), 0.0, 10.0)) == pytest.approx(500, abs=3)


def test_a_worker_takes_its_share_of_the_rate() -> None:
    pace = Pace(50.0)
    pace.share = 0.2
    assert len(spent_from(pace, 0.0, 10.0)) == pytest.approx(100, abs=3)


def test_a_greater_share_is_taken_when_it_is_given_twice_and_a_smaller_one_at_once() -> None:
    """Else those that become busy together would each take what the others had a moment ago."""
    pace, seen = Pace(50.0), list[float]()
    for share in (0.25, 0.9, 0.9, 0.3, 0.2, 0.8, 0.4):
        pace.take_share(share)
        seen.append(pace.share)
    assert seen == [0.25, 0.25, 0.9, 0.3, 0.2, 0.2, 0.4]


def test_a_refusal_before_anything_was_taken_holds_no_rate_down() -> None:
    pace = Pace()
    pace.refused(10.0, 2.0)
    assert pace.paused_until == 12.0
    spent_from(pace, 12.0, 15.0)
    assert pace.rate > 50.0


def test_calls_come_evenly_and_a_rest_saves_up_no_more_than_a_moment() -> None:
    pace = Pace(100.0)
    spent_from(pace, 0.0, 1.0)
    after_a_rest = spent_from(pace, 60.0, 0.0999)
    assert after_a_rest.count(60.0) <= 5
    late = after_a_rest[5:]
    gaps = [after - before for before, after in itertools.pairwise(late)]
    assert len(gaps) > 5
    assert gaps == pytest.approx([0.01] * len(gaps))


@pytest.mark.parametrize("seconds", [0.001, 0.5, 3.0, 90.0, 3600.0])
def test_a_retry_after_is_obeyed_to_the_letter(seconds: float) -> None:
    """By the worker that got it and by those that hear of it, whatever pace they go at."""
    for own, other in ((Pace(), Pace()), (Pace(50.0), limited()), (limited(), Pace(7.0))):
        told = own.refused(10.0, seconds)
        assert told is not None
        assert told.asked
        assert told.pause == seconds
        other.heard(told, 10.5)
        assert own.opens_at >= 10.0 + seconds
        assert own.paused_until == 10.0 + seconds
        assert other.opens_at >= 10.5 + seconds
        assert other.paused_until == 10.5 + seconds


def test_a_shorter_pause_never_ends_a_longer_one() -> None:
    pace = limited()
    pace.refused(10.0, 30.0)
    pace.heard(Slowdown(1.0, 50.0, 0.97, asked=True), 10.1)
    assert pace.refused(10.2, 2.0) is None
    assert pace.refused(10.3, None) is None
    assert pace.opens_at >= 40.0


def test_a_longer_pause_that_comes_late_is_kept_and_told() -> None:
    pace = limited()
    pace.refused(10.0, 1.0)
    told = pace.refused(10.1, 5.0)
    assert told is not None
    assert told.factor == 1.0
    assert pace.paused_until == pytest.approx(15.1)


def test_after_a_retry_after_nothing_grows_for_many_times_its_length() -> None:
    pace = limited()
    pace.refused(10.0, 1.0)
    rate = pace.rate
    spent_from(pace, 11.0, 18.5)
    assert pace.rate == rate
    spent_from(pace, 29.5, 5.0)
    assert pace.rate > rate


def test_the_first_refusal_finds_the_rate_that_was_taken_in_the_last_second() -> None:
    pace = Pace()
    for number in range(40):
        pace.accepted(9.0 + number / 100)
    told = pace.refused(9.5, None)
    assert told is not None
    assert told.factor == 0.0
    assert pace.rate == pytest.approx(40, rel=0.05)
    assert pace.paused_until == pytest.approx(10.0)


def test_what_several_workers_found_together_adds_up() -> None:
    """Each had a part of the quota; all end with the whole, in whatever order they hear of each other."""
    paces = [Pace() for _ in range(3)]
    for pace, part in zip(paces, (50, 20, 30), strict=True):
        for number in range(part):
            pace.accepted(10.0 + number / 1000)
    for teller in (1, 0, 2):
        told = paces[teller].refused(10.1 + teller / 1000, None)
        assert told is not None
        for pace in paces:
            if pace is not paces[teller]:
                pace.heard(told, 10.1 + teller / 1000)
    for pace in paces:
        assert pace.rate == pytest.approx(97.0)


def test_a_worker_that_is_new_to_a_limit_slows_the_others_by_no_more_than_a_refusal_does() -> None:
    old, new = limited(200.0), Pace()
    rate = old.rate
    told = new.refused(10.0, None)
    assert told is not None
    old.heard(told, 10.0)
    assert rate * 0.9 <= old.rate < rate


def test_one_refusal_cuts_once_however_many_calls_were_under_way() -> None:
    pace = limited()
    first = pace.refused(10.0, None)
    assert first is not None
    rate = pace.rate
    assert all(pace.refused(10.0 + number / 1000, None) is None for number in range(10))
    assert pace.rate == rate
    pace.heard(Slowdown(0.02, 80.0, 0.97, asked=False), 10.01)
    assert pace.rate == rate


def test_calls_that_were_under_way_for_longer_than_the_pause_are_the_same_refusal() -> None:
    """A slow service: the pause is over and the time in which cuts count once as well, but they began before it."""
    pace = limited()
    assert pace.refused(10.0, None, took=0.3) is not None
    rate, until = pace.rate, pace.paused_until
    assert all(pace.refused(10.0 + number / 100, None, took=0.3) is None for number in range(1, 30))
    assert (pace.rate, pace.paused_until) == (rate, until)
    pace.accepted(10.3)
    assert pace.refused(10.31, None, took=0.3) is not None
    assert pace.rate < rate


def test_a_retry_after_is_obeyed_though_its_call_began_before_the_last_slowdown() -> None:
    pace = limited()
    pace.refused(10.0, None, took=0.3)
    rate = pace.rate
    told = pace.refused(10.25, 5.0, took=0.3)
    assert told is not None
    assert (told.factor, pace.rate) == (1.0, rate)
    assert pace.paused_until == 15.25


def test_parts_add_up_where_refusals_are_long_under_way() -> None:
    one, other = Pace(), Pace()
    for pace in (one, other):
        for number in range(50):
            pace.accepted(10.0 + number / 1000)
    told = one.refused(10.1, None, took=0.4)
    assert told is not None
    other.heard(told, 10.102)
    told = other.refused(10.4, None, took=0.4)
    assert told is not None
    assert told.factor == 0.0
    assert other.rate == pytest.approx(97.0)


def test_a_worker_whose_share_grows_goes_faster_at_once() -> None:
    pace = Pace(100.0)
    pace.share = 0.001
    pace.spend(0.0)
    assert pace.opens_at > 9.0
    pace.share = 0.5
    assert pace.opens_at <= 0.02


def test_a_cut_is_never_deeper_than_by_half() -> None:
    pace = limited(400.0)
    rate = pace.rate
    pace.refused(10.0, None)
    assert pace.rate == pytest.approx(rate / 2)


def test_who_was_refused_tries_again_before_the_others_do() -> None:
    own, other = limited(), limited()
    told = own.refused(10.0, None)
    assert told is not None
    other.heard(told, 10.002)
    assert own.opens_at < other.opens_at


def test_pauses_become_longer_while_the_service_goes_on_refusing_and_end_at_a_second() -> None:
    pace, now, pauses = limited(1000.0), 10.0, list[float]()
    for _ in range(20):
        pace.refused(now, None)
        pauses.append(pace.paused_until - now)
        now = pace.paused_until + 0.001
    assert pauses == pytest.approx(sorted(pauses))
    assert pauses[0] == pytest.approx(0.02)
    assert pauses[-1] == pytest.approx(1.0)
    pace.accepted(now)
    pace.refused(now + 0.01, None)
    assert pace.paused_until == pytest.approx(now + 0.03, abs=0.01)


def test_a_service_that_refuses_everything_for_a_while_halves_the_rate_once() -> None:
    pace, now = limited(200.0), 10.0
    before = pace.rate
    spent_from(pace, 5.0, 5.0)
    while now < 40.0:
        pace.refused(now, None)
        now = pace.paused_until + 0.001
    assert pace.rate >= before / 2
    spent_from(pace, now, 6.0)
    assert pace.rate > before


def test_where_nothing_was_taken_before_the_first_refusal_the_rate_is_looked_for_at_once() -> None:
    pace = Pace()
    pace.refused(10.0, None)
    assert pace.rate == 0.5
    spent_from(pace, 10.0, 20.0)
    assert pace.rate > 50.0


def test_at_a_low_rate_a_pause_is_worth_a_call() -> None:
    pace = limited(4.0)
    pace.refused(10.0, None)
    assert pace.paused_until >= 10.25


def test_it_does_not_grow_while_it_is_not_used() -> None:
    pace = limited()
    rate = pace.rate
    for second in range(200):
        pace.spend(float(second))
        pace.accepted(float(second))
    assert pace.rate == rate


def test_it_does_not_grow_before_many_calls_were_accepted() -> None:
    pace = limited(2.0)
    rate = pace.rate
    spent_from(pace, 0.0, 45.0)
    assert pace.rate == rate
    spent_from(pace, 45.0, 20.0)
    assert pace.rate > rate


def test_it_grows_to_the_ceiling_and_not_beyond() -> None:
    pace = Pace(300.0)
    pace.heard(Slowdown(0.0, 200.0, 0.7, asked=False), 0.0)
    spent_from(pace, 1.0, 20.0)
    assert pace.rate == 300.0


def test_workers_that_lost_sight_of_each_other_come_together_again() -> None:
    high, low = limited(400.0), limited(50.0)
    for event in range(12):
        for teller, hearer in ((high, low), (low, high)):
            now = 10.0 * event + (5.0 if teller is low else 0.0)
            told = Slowdown(0.0, teller.rate, 0.97, asked=False)
            hearer.accepted(now - 1.0)
            hearer.heard(told, now)
    assert high.rate / low.rate == pytest.approx(1.0, rel=0.3)


LONGEST = 20.0  # seconds: a call at the lowest rate and the smallest share, longer than any pause that is drawn
EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["spend", "accepted", "refused", "asked", "heard", "found", "share"]),
        st.floats(0.0, 5.0),
        st.floats(0.01, 1.0),
    ),
    max_size=60,
)


@given(EVENTS, st.one_of(st.none(), st.floats(1.0, 1000.0)))
def test_whatever_happens_the_rate_stays_between_its_floor_and_its_ceiling(
    events: list[tuple[str, float, float]], ceiling: float | None
) -> None:
    pace, now = Pace(ceiling), 0.0
    for name, wait, number in events:
        now += wait
        asked_until = pace.paused_until
        match name:
            case "spend":
                now = max(now, pace.opens_at)  # the gate makes no call before
                pace.spend(now)
            case "accepted":
                pace.accepted(now)
            case "refused" | "asked":
                told = pace.refused(now, number * 3 if name == "asked" else None)
                assert told is None or (told.pause > 0 and 0.0 <= told.factor <= 1.0 and told.rate < inf)
            case "heard" | "found":
                pace.heard(Slowdown(number, number * 500, 0.0 if name == "found" else number, asked=False), now)
            case _:
                pace.share = number
        assert 0.5 <= pace.rate <= pace.ceiling
        assert pace.paused_until >= asked_until
        assert pace.opens_at <= now + LONGEST + 1e-6  # rounding


@settings(deadline=None)
@given(st.floats(1.0, 500.0), st.floats(0.05, 1.0))
def test_no_window_of_a_second_holds_more_calls_than_the_rate_and_a_moment_allow(rate: float, share: float) -> None:
    pace = Pace(rate)
    pace.share = share
    moments = spent_from(pace, 0.0, 3.0)
    for start in moments:
        within = sum(start <= moment < start + 1.0 for moment in moments)
        assert within <= rate * share * 1.04 + 1.001


@given(st.lists(st.floats(0.0, 1000.0), min_size=1, max_size=8))
def test_shares_are_by_demand_and_add_up_to_no_more_than_one_where_all_have_demand(demands: list[float]) -> None:
    total = sum(demands)
    shares = [share_of(demand, total - demand) for demand in demands]
    assert all(0.0 < share <= 1.0 for share in shares)
    if all(demand >= 1.0 for demand in demands):
        assert sum(shares) == pytest.approx(1.0)


def test_a_worker_with_nothing_waiting_keeps_a_share_to_begin_with() -> None:
    assert share_of(0.0, 0.0) == 1.0
    assert share_of(0.0, IDLE * 3) == pytest.approx(0.25)
    assert 0.0 < share_of(0.0, 99.0) < 0.001


def test_the_repr_shows_rate_and_share() -> None:
    assert repr(Pace()) == "<Pace unlimited, share 1.00>"
    assert repr(Pace(20.0)) == "<Pace 20.0/s, share 1.00>"


# Four workers against a far side that counts by the second; nobody knows its quota.


def is_filled(world: World, phase: Phase) -> bool:
    """Whether a phase saw what is demanded of the pace."""
    goodput, refused = world.seen(phase)
    return goodput >= 0.95 and refused < 0.02


@pytest.mark.parametrize("seed", SEEDS)
def test_four_workers_find_a_quota_and_fill_it_with_hardly_a_refusal(seed: int) -> None:
    world = World(quota=lambda _now: 200, lanes=(100, 100, 100, 100), seed=seed)
    world.run(25.0)
    assert is_filled(world, Phase(10.0, 25.0, 200))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("before", "after"), [(200, 100), (100, 200)])
def test_when_the_quota_halves_or_doubles_it_is_filled_again_within_five_seconds(
    seed: int, before: int, after: int
) -> None:
    world = World(quota=lambda now: before if now < 15.0 else after, lanes=(100, 100, 100, 100), seed=seed)
    world.run(30.0)
    assert any(world.seen(Phase(15.0 + s, 16.0 + s, after))[0] >= 0.95 for s in range(5))
    assert is_filled(world, Phase(20.0, 30.0, after))


@pytest.mark.parametrize("seed", SEEDS)
def test_two_broadcasts_a_second_from_one_lane_are_held_with_one_refusal(seed: int) -> None:
    world = World(quota=lambda _now: 2, lanes=(0, 1, 0, 0), seed=seed)
    world.run(40.0)
    assert is_filled(world, Phase(0.0, 40.0, 2))


@pytest.mark.parametrize("seed", SEEDS)
def test_workers_that_start_in_a_fleet_that_is_limited_neither_starve_nor_starve_the_others(seed: int) -> None:
    world = World(quota=lambda _now: 200, lanes=(100, 100, 100, 100), seed=seed)
    world.run(30.0, late=(3, 12.0))
    assert is_filled(world, Phase(20.0, 30.0, 200))
    assert world.seen_by(3, Phase(20.0, 30.0, 200)) >= 0.1
