"""How fast one class of calls may go."""

import itertools
from dataclasses import replace
from math import inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.workers.quota_world import Phase, Service, World
from workers.limit import Found
from workers.pace import Pace
from workers.slowdown import IDLE, Slowdown, share_of

pytestmark = pytest.mark.slow

SEEDS = (1, 3, 8)


def limited(rate: float = 100.0, *, at: float = 0.0) -> Pace:
    """Return a pace that was told a rate a while before `at`, and may go on."""
    pace = Pace()
    pace.heard(Slowdown(0.0, Found(rate, rate)), at - 1.0)
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
    pace.heard(Slowdown(1.0, Found(50.0), asked=True), 10.1)
    assert pace.refused(10.2, 2.0) is None
    assert pace.refused(10.3, None) is None
    assert pace.opens_at >= 40.0


def test_a_longer_pause_that_comes_late_is_kept_and_told() -> None:
    pace = limited()
    pace.refused(10.0, 1.0)
    told = pace.refused(10.1, 5.0)
    assert told is not None
    assert pace.paused_until == pytest.approx(15.1)


def test_one_refusal_cuts_once_however_many_calls_were_under_way() -> None:
    pace = limited()
    first = pace.refused(10.0, None)
    assert first is not None
    rate = pace.rate
    assert all(pace.refused(10.0 + number / 1000, None) is None for number in range(10))
    assert pace.rate == rate
    pace.heard(Slowdown(0.02, Found(98.0)), 10.01)
    assert pace.rate == rate


def test_calls_that_were_under_way_for_longer_than_the_pause_are_the_same_refusal() -> None:
    """A slow service: the pause is over and the time in which cuts count once as well, but they began before it."""
    pace = limited()
    assert pace.refused(10.0, None, took=0.3) is not None
    rate, until = pace.rate, pace.paused_until
    assert all(pace.refused(10.0 + number / 100, None, took=0.3) is None for number in range(1, 30))
    assert (pace.rate, pace.paused_until) == (rate, until)
    for number in range(100):  # as many as before: a refusal after far fewer says little
        pace.accepted(10.3 + number / 1e5)
    assert pace.refused(10.31, None, took=0.3) is not None
    assert pace.rate < rate


def test_a_retry_after_is_obeyed_though_its_call_began_before_the_last_slowdown() -> None:
    pace = limited()
    pace.refused(10.0, None, took=0.3)
    rate = pace.rate
    told = pace.refused(10.25, 5.0, took=0.3)
    assert told is not None
    assert (told.found.rate, pace.rate) == (rate, rate)
    assert pace.paused_until == 15.25


def test_a_refusal_while_little_is_sent_pauses_and_leaves_no_rate_behind() -> None:
    pace = Pace()
    for number in range(10):
        pace.accepted(9.0 + number / 10)
    told = pace.refused(10.0, 5.0, pressed=False)
    assert told is not None
    assert (told.pause, told.found.rate, pace.paused_until, pace.rate) == (5.0, inf, 15.0, inf)


def test_a_refusal_where_nothing_was_taken_before_leaves_no_rate_behind() -> None:
    pace = Pace()
    assert pace.refused(10.0, 2.0) is not None
    assert (pace.paused_until, pace.rate) == (12.0, inf)


def test_a_first_refusal_far_below_what_was_taken_before_leaves_no_rate_behind_and_a_second_does() -> None:
    pace = Pace()
    for number in range(500):
        pace.accepted(5.0 + number / 1000)
    pace.take_parts(0.0, 5.7)  # as twice a second
    for start in (8.0, 9.5):
        for number in range(20):
            pace.accepted(start + number / 100)
        pace.refused(start + 0.2, None)
        assert (pace.rate == inf) is (start == 8.0)


def test_a_refusal_with_nothing_beside_it_finds_the_rate_that_was_taken_in_the_last_second() -> None:
    pace = Pace()
    for number in range(40):
        pace.accepted(9.0 + number / 100)
    told = pace.refused(9.5, None)
    assert told is not None
    assert (told.found.rate, told.found.taken, told.found.refused) == pytest.approx((40 * 0.97, 20.0, inf))
    assert pace.paused_until == pytest.approx(10.5)  # by then the service counts anew


def test_calls_under_way_beside_a_refusal_decide_whether_a_limit_was_met() -> None:
    """Where they are refused as well it was one, where they are accepted it may be none."""
    for refused, found in ((8, True), (0, False)):
        pace = Pace()
        for number in range(40):
            pace.accepted(9.0 + number / 100)
        pace.refused(9.5, 1.0, beside=8)
        assert pace.rate == inf
        for _ in range(refused):
            pace.refused(9.501, 1.0)
        for _ in range(8 - refused):
            pace.accepted(9.501)
        assert (pace.rate < inf, pace.expects_refusals) == (found, not found)
        assert pace.paused_until >= 10.5


def test_what_several_workers_had_accepted_adds_up_while_they_pause() -> None:
    paces = [Pace() for _ in range(3)]
    for pace, part in zip(paces, (50, 20, 30), strict=True):
        for number in range(part):
            pace.accepted(10.0 + number / 1000)
    told = paces[1].refused(10.1, 1.0)
    assert told is not None
    for pace in (paces[0], paces[2]):
        pace.heard(told, 10.102)
    parts = [pace.part for pace in paces]
    for pace in paces:
        pace.take_parts(sum(parts) - pace.part, 10.5)
        assert pace.rate == pytest.approx(97.0)
        pace.take_parts(1000.0, 12.0)  # the pause is over, and they may be of another time
        assert pace.rate == pytest.approx(97.0)


def test_a_worker_that_meets_a_limit_the_others_know_does_not_change_their_rate() -> None:
    old, new = limited(200.0), Pace()
    for number in range(20):
        new.accepted(9.0 + number / 100)
    told = new.refused(10.0, 1.0)
    assert told is not None
    old.heard(told, 10.0)
    assert (old.rate, old.paused_until) == (200.0, 11.0)


def test_a_worker_that_knows_nothing_yet_takes_away_no_rate_and_no_share_of_chance() -> None:
    new = Pace()
    told = new.refused(10.0, 1.0)
    assert told is not None
    assert told.found.rate == inf
    old, expecting = limited(200.0), Pace()
    expecting.heard(Slowdown(0.0, Found(inf), share=0.05), 9.0)
    for pace in (old, expecting):
        pace.heard(told, 10.0)
    assert (old.rate, old.paused_until) == (200.0, 11.0)
    assert expecting.expects_refusals
    assert expecting.paused_until == 11.0


def test_a_refusal_far_below_what_was_accepted_costs_its_pause_and_no_rate() -> None:
    pace = Pace()
    for number in range(200):
        pace.accepted(9.0 + number / 250)
    pace.refused(9.8, 1.0)
    rate = pace.rate
    for number in range(20):
        pace.accepted(11.0 + number / 100)
    pace.refused(11.2, 1.0)
    assert (pace.rate, pace.paused_until) == (rate, 12.2)


def test_two_refusals_before_what_was_taken_was_accepted_again_raise_doubt_where_a_service_counts_anew() -> None:
    """After a pause of a second it does, and after a shorter one it may have saved up too few calls."""
    for retry_after, doubts in ((1.0, True), (0.5, False)):
        pace = Pace()
        pace.heard(Slowdown(0.0, Found(198.0, 200.0, 206.0)), 8.0)
        pace.accepted(9.9)
        pace.refused(10.0, retry_after, pressed=False)
        for start in (11.0, 13.0):
            for number in range(100):
                pace.accepted(start + number / 200)
            pace.refused(start + 0.5, retry_after)
        assert (pace.expects_refusals, pace.rate == 198.0) == (doubts, doubts)


def test_a_limit_beside_refusals_by_chance_is_cut_and_the_chance_is_expected_still() -> None:
    pace = Pace()
    pace.heard(Slowdown(0.0, Found(inf), share=0.05), 9.0)
    for number in range(200):
        pace.accepted(9.2 + number / 250)
    told = [pace.refused(10.0 + number / 1000, 1.0) for number in range(20)]
    cut = next(each for each in told if each is not None)
    assert cut.found.rate < 250
    assert (cut.share, pace.rate, pace.expects_refusals) == (0.05, cut.found.rate, True)
    other = Pace()
    other.heard(cut, 10.01)
    assert (other.rate, other.expects_refusals, other.doubt.share) == (pace.rate, True, 0.05)


def test_a_worker_whose_share_grows_goes_faster_at_once() -> None:
    pace = Pace(100.0)
    pace.share = 0.001
    pace.spend(0.0)
    assert pace.opens_at > 9.0
    pace.share = 0.5
    assert pace.opens_at <= 0.02


def test_who_was_refused_tries_again_before_the_others_do() -> None:
    own, other = limited(), limited()
    told = own.refused(10.0, None)
    assert told is not None
    other.heard(told, 10.002)
    assert own.opens_at < other.opens_at


def test_who_hears_of_the_rest_of_a_pause_tries_the_rate_for_as_long_as_the_others() -> None:
    first, late = Pace(), Pace()
    told = Slowdown(1.0, Found(19.4, 10.0), asked=True)
    first.heard(told, 10.0)
    late.heard(replace(told, pause=0.2), 10.8)
    for pace in (first, late):
        pace.spend(11.0)
    assert [pace.limit.is_due(12.99) for pace in (first, late)] == [False, False]
    assert [pace.limit.is_due(13.01) for pace in (first, late)] == [True, True]


def taught(pace: Pace) -> float:
    """Have two rounds of refusals show when a second of the service begins; return when the second one has begun."""
    for end in (11.0, 12.0):
        spent_from(pace, end - 0.99, 0.9)
        pace.refused(end - 0.04, None)
        spent_from(pace, end, 0.02)
    return 12.02


@pytest.mark.parametrize("share", [1.0, 0.25])
def test_once_a_second_of_the_service_is_known_a_pause_ends_with_it(share: float) -> None:
    pace = limited(100.0, at=10.0)
    pace.share = share
    taken = len(spent_from(pace, taught(pace), 0.7)) / share
    pace.refused(12.75, None)
    assert pace.paused_until == pytest.approx(13.0, abs=0.03)
    assert pace.rate == pytest.approx(taken, rel=0.15)


def test_a_refusal_far_before_the_second_can_be_used_up_is_tried_again_soon() -> None:
    pace = limited(100.0, at=10.0)
    spent_from(pace, taught(pace), 0.2)
    pace.refused(12.25, None)
    assert pace.paused_until == pytest.approx(12.3)
    assert pace.rate > 75.0


def test_pauses_become_longer_while_the_service_goes_on_refusing_and_end_at_a_second() -> None:
    pace, now, pauses = limited(1000.0), 10.0, list[float]()
    for _ in range(20):
        pace.refused(now, None)
        pauses.append(pace.paused_until - now)
        now = pace.paused_until + 0.001
    assert pauses == pytest.approx(sorted(pauses))
    assert pauses[0] == pytest.approx(0.05)
    assert pauses[-1] == pytest.approx(1.0)
    pace.accepted(now)
    pace.refused(now + 0.01, None)
    assert pace.paused_until == pytest.approx(now + 0.06, abs=0.01)


def test_at_a_low_rate_a_pause_is_worth_a_call() -> None:
    pace = limited(4.0)
    pace.refused(10.0, None)
    assert pace.paused_until >= 10.25


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
                assert told is None or (told.pause >= 0.0 and 0.0 <= told.share <= 0.5 and told.found.rate >= 0.5)
            case "heard" | "found":
                pace.heard(Slowdown(number, Found(number * 500), share=number / 2 if name == "found" else 0.0), now)
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


# Workers against a far side in virtual time; nobody knows its quota.


def is_filled(world: World, phase: Phase) -> bool:
    """Whether a phase saw what is demanded of the pace."""
    goodput, refused = world.seen(phase)
    return goodput >= 0.95 and refused < 0.02


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("retry_after", [None, 1.0])
@pytest.mark.parametrize("workers", [1, 4])
def test_a_quota_is_found_and_filled_with_hardly_a_refusal(workers: int, retry_after: float | None, seed: int) -> None:
    service = Service(quota=lambda _now: 200, retry_after=retry_after)
    world = World(service, lanes=(400 // workers,) * workers, seed=seed, call=0.0002)
    world.run(30.0)
    assert is_filled(world, Phase(10.0, 30.0, 200))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("before", "after"), [(200, 100), (100, 200)])
def test_when_the_quota_halves_or_doubles_it_is_filled_again_within_five_seconds(
    seed: int, before: int, after: int
) -> None:
    service = Service(quota=lambda now: before if now < 15.0 else after)
    world = World(service, lanes=(100, 100, 100, 100), seed=seed)
    world.run(30.0)
    assert any(world.seen(Phase(15.0 + s, 16.0 + s, after))[0] >= 0.95 for s in range(5))
    assert is_filled(world, Phase(20.0, 30.0, after))
    assert world.seen(Phase(15.0, 30.0, after))[1] < 0.02


@pytest.mark.parametrize("seed", SEEDS)
def test_two_broadcasts_a_second_from_one_lane_are_held_with_one_refusal(seed: int) -> None:
    world = World(Service(quota=lambda _now: 2), lanes=(0, 1, 0, 0), seed=seed)
    world.run(40.0)
    assert is_filled(world, Phase(0.0, 40.0, 2))


@pytest.mark.parametrize("seed", SEEDS)
def test_workers_that_start_in_a_fleet_that_is_limited_neither_starve_nor_starve_the_others(seed: int) -> None:
    world = World(Service(quota=lambda _now: 200), lanes=(100, 100, 100, 100), seed=seed, starts=(0.0, 0.0, 0.0, 12.0))
    world.run(30.0)
    assert is_filled(world, Phase(20.0, 30.0, 200))
    assert world.seen_by(3, Phase(20.0, 30.0, 200)) >= 0.1


@pytest.mark.parametrize("retry_after", [5.0, 1.0, None])
@pytest.mark.parametrize("messages", [0, 50])
@pytest.mark.parametrize("workers", [1, 4])
def test_a_stray_refusal_costs_its_pause(workers: int, messages: int, retry_after: float | None) -> None:
    service = Service(strays=(4.05,), retry_after=retry_after)
    world = World(service, lanes=(400 // workers,) * workers, seed=1, waiting=0)
    for number in range(messages):
        world.post(number / 10, 1)
    world.post(5.0, 2000)
    world.run(20.0)
    assert world.taken_at(messages + 2000) - 5.0 <= (retry_after or 0.0) + 2.0


class Patient(Pace):
    """Holds back nothing: each refused message is repeated when its own time has come."""

    def accepted(self, now: float, *, took: float = 0.0) -> None:
        pass

    def refused(self, now: float, retry_after: float | None, **kwargs: object) -> None:
        pass


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("share", [0.001, 0.01, 0.05, 0.1])
def test_refusals_that_do_not_fall_with_the_rate_slow_down_nothing(share: float, seed: int) -> None:
    taken = {}
    for kind in (Pace, Patient):
        world = World(Service(random=share, retry_after=1.0), lanes=(400,), seed=seed, pace=kind)
        world.run(10.0)
        taken[kind] = world.seen(Phase(5.0, 10.0, 1))[0]
    assert taken[Pace] >= 0.9 * taken[Patient]


@pytest.mark.parametrize("seed", SEEDS)
def test_a_limit_that_comes_after_random_refusals_is_noticed(seed: int) -> None:
    service = Service(quota=lambda now: 1e9 if now < 10.0 else 200, random=0.05, retry_after=1.0)
    world = World(service, lanes=(400,), seed=seed)
    world.run(30.0)
    goodput, refused = world.seen(Phase(10.0, 30.0, 200))
    assert goodput > 0.6
    assert refused < 0.2


@pytest.mark.parametrize("workers", [1, 4])
def test_a_limit_is_found_beside_refusals_by_chance(workers: int) -> None:
    """The middle one of some seeds: how soon chance is told from the limit is chance as well."""
    goodputs = []
    for seed in range(5):
        service = Service(quota=lambda _now: 200, random=0.1, retry_after=None)
        world = World(service, lanes=(400 // workers,) * workers, seed=seed)
        world.run(20.0)
        goodputs.append(world.seen(Phase(10.0, 20.0, 200))[0])
    assert sorted(goodputs)[2] >= 0.7


def fills_a_quota() -> bool:
    """Whether a quota that refuses with a Retry-After is filled."""
    world = World(Service(quota=lambda _now: 200, retry_after=1.0), lanes=(400,), seed=3, call=0.0002)
    world.run(50.0)
    return is_filled(world, Phase(10.0, 50.0, 200))


def goes_on_beside_chance() -> bool:
    """Whether refusals by chance slow down nothing."""
    world = World(Service(random=0.05, retry_after=1.0), lanes=(400,), seed=3)
    world.run(8.0)
    return world.seen(Phase(5.0, 8.0, 1))[0] > 1000


def notices_a_limit_beside_chance() -> bool:
    """Whether a limit is met that comes when refusals are expected."""
    service = Service(quota=lambda now: 1e9 if now < 8.0 else 20, random=0.05, retry_after=1.0)
    world = World(service, lanes=(400,), seed=3)
    world.run(20.0)
    return world.seen(Phase(10.0, 20.0, 20))[1] < 0.5


PLANTED = {
    "steps beyond a limit that cost nothing": ("workers.limit._PAUSED", 1e9, fills_a_quota),
    "steps beyond a limit that nobody earned": ("workers.limit._LONGEST", 0.0, fills_a_quota),
    "calls beside a refusal that are not looked at": ("workers.doubt.Doubt.watch", lambda *_: None, fills_a_quota),
    "a doubt that nothing raises": ("workers.doubt.Doubt.watch", lambda *_: None, goes_on_beside_chance),
    "a test that never finds chance": ("workers.doubt._EXPECTED", 0.0, goes_on_beside_chance),
    "an alarm that never rings": ("workers.doubt._ALARM", inf, notices_a_limit_beside_chance),
}


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_bug_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    target, bug, holds = PLANTED[name]
    assert holds()
    monkeypatch.setattr(target, bug)
    assert not holds()


@settings(deadline=None, max_examples=8)
@given(
    st.integers(0, 1000),
    st.sampled_from([20, 200, 1000]),
    st.sampled_from([0.0, 10.0, 200.0]),
    st.sampled_from([None, 1.0, 5.0]),
    st.integers(1, 4),
)
def test_no_service_stops_delivery_or_is_overrun(
    seed: int, quota: int, bucket: float, retry_after: float | None, workers: int
) -> None:
    service = Service(quota=lambda _now: quota, bucket=bucket, retry_after=retry_after)
    world = World(service, lanes=(60,) * workers, seed=seed)
    world.run(40.0)
    goodput, refused = world.seen(Phase(20.0, 40.0, quota))
    assert goodput > 0.02
    assert refused < 0.6
