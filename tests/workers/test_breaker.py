"""The transition table of the breaker, row by row."""

from collections.abc import Iterable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.workers.helpers import Head
from workers.breaker import Breaker, Breakers, Phase, State, opened, probed, probes_needed

LANES = ("a", "b", "c")
WORN = Head("a")  # it failed


def fail(breaker: Breaker, count: int, *, now: float = 0.0, lanes: tuple[str, ...] = LANES) -> int:
    """Fail so often, in turn for these lanes; gives how many of the failures said that they opened it."""
    return sum(breaker.failed(now, lanes[number % len(lanes)], 0.0) for number in range(count))


def an_open_one(*, now: float = 0.0) -> Breaker:
    breaker = Breaker()
    fail(breaker, 9, now=now - 1.0)
    assert fail(breaker, 1, now=now) == 1
    return breaker


# Closed


def test_closed_lets_everything_go() -> None:
    assert Breaker().opens_at(WORN, 7.0) == 7.0


def test_closed_opens_at_the_tenth_failure_in_a_row_and_says_so_once() -> None:
    breaker = Breaker()
    assert fail(breaker, 1, now=0.0) == 0
    assert fail(breaker, 8, now=5.0) == 0
    assert fail(breaker, 1, now=5.0) == 1
    assert breaker.state == State(Phase.OPEN, 6.0, 5.0)
    assert fail(breaker, 1, now=5.0) == 0


def test_failures_of_one_moment_do_not_open_it() -> None:
    """Calls that were under way together fail together: that is one event, not a far side that stays dead."""
    breaker = Breaker()
    assert fail(breaker, 30, now=0.0) == 0
    assert fail(breaker, 10, now=0.99) == 0
    assert fail(breaker, 1, now=1.0) == 1


def test_closed_forgets_the_streak_at_a_success() -> None:
    breaker = Breaker()
    for _ in range(5):
        fail(breaker, 9)
        breaker.succeeded(0.0, "a")
        breaker.succeeded(0.0, "b")
    assert breaker.state == State()


@pytest.mark.parametrize("lanes", [("a",), ("a", "b")])
def test_one_dead_destination_or_two_cannot_open_it(lanes: tuple[str, ...]) -> None:
    breaker = Breaker()
    assert sum(fail(breaker, 50, now=float(second), lanes=lanes) for second in range(30)) == 0
    assert breaker.opens_at(WORN, 30.0) == 30.0


@given(st.lists(st.tuples(st.booleans(), st.floats(0.0, 2.0)), max_size=200))
def test_one_lane_never_opens_it_however_it_fails(calls: list[tuple[bool, float]]) -> None:
    breaker, now = Breaker(), 0.0
    for ok, wait in calls:
        now += wait
        if ok:
            breaker.succeeded(now, "only")
        else:
            assert not breaker.failed(now, "only", 0.5)
    assert breaker.state == State()


def test_closed_opens_when_nearly_all_of_a_window_failed_though_some_succeeded() -> None:
    breaker = Breaker()
    breaker.succeeded(0.0, "a")
    assert fail(breaker, 48) == 0
    assert fail(breaker, 1) == 1


def test_the_first_calls_after_it_closed_do_not_open_it_again() -> None:
    """All who waited go at once: those that fail by themselves may be the first."""
    breaker = an_open_one()
    breaker.succeeded(2.0, "a")
    assert fail(breaker, 200, now=2.9) == 0
    assert fail(breaker, 1, now=3.0) == 1


def test_a_window_with_too_few_calls_does_not_open_it() -> None:
    breaker = Breaker()
    assert fail(breaker, 49) == 0


def test_dead_destinations_though_they_be_most_of_them_do_not_open_it() -> None:
    breaker = Breaker()
    for tenth in range(1000):
        assert fail(breaker, 20, now=tenth / 10, lanes=("a", "b", "c", "d", "e")) == 0
        breaker.succeeded(tenth / 10, "alive")
    assert breaker.state == State()


def test_what_is_older_than_the_window_does_not_count() -> None:
    breaker = Breaker()
    fail(breaker, 49, now=0.0)
    breaker.succeeded(10.1, "a")
    assert fail(breaker, 10, now=10.2) == 0


# Open


def test_open_lets_nothing_go_until_its_time_is_over() -> None:
    breaker = an_open_one(now=5.0)
    assert breaker.opens_at(WORN, 5.0) == 6.0
    assert breaker.opens_at(WORN, 5.9) > 5.9
    assert breaker.opens_at(WORN, 6.0) == 6.0


def test_a_probe_starts_the_wait_for_the_next_one() -> None:
    breaker = an_open_one(now=5.0)
    breaker.began(WORN, 6.0)
    assert breaker.state == State(Phase.OPEN, 7.0, 5.0)
    assert breaker.opens_at(Head("b"), 6.1) == 7.0
    breaker.failed(6.2, "a", 0.0)
    assert breaker.state == State(Phase.OPEN, 7.0, 5.0)
    assert breaker.opens_at(Head("b"), 7.0) == 7.0


def test_a_call_that_was_under_way_when_it_opened_and_fails_changes_nothing() -> None:
    breaker = an_open_one()
    before = breaker.state
    assert fail(breaker, 50, now=0.5) == 0
    assert breaker.state == before


def test_whatever_succeeds_closes_it_and_nothing_of_before_counts() -> None:
    breaker = an_open_one()
    breaker.began(WORN, 1.0)
    breaker.succeeded(1.1, "b")
    assert breaker.state == State()
    assert fail(breaker, 9, now=60.0) == 0


def test_those_who_wait_are_told_of_a_recovery_at_once_and_then_once_a_second() -> None:
    breaker = an_open_one(now=0.0)
    assert breaker.succeeded(1.1, "a")
    for now in (1.2, 1.5):  # nothing was closed since
        assert not breaker.succeeded(now, "a")
    breaker.state = State(Phase.OPEN, 9.0, 1.0)
    assert not breaker.succeeded(1.9, "a")
    assert not breaker.succeeded(2.0, "a")
    assert breaker.succeeded(2.2, "a")  # of the one at 1.9
    assert not breaker.succeeded(9.0, "a")


def test_after_it_closed_the_first_wait_is_short_again() -> None:
    breaker = an_open_one()
    breaker.began(WORN, 3000.0)
    assert breaker.state.until == 3030.0
    breaker.succeeded(3001.0, "a")
    fail(breaker, 9, now=4000.0)
    fail(breaker, 1, now=4001.0)
    assert breaker.state == State(Phase.OPEN, 4002.0, 4001.0)


def test_an_abandoned_call_leaves_its_place_to_another() -> None:
    breaker = an_open_one()
    gone = start(breaker, map(first, range(60)))
    assert len(gone) == 32
    breaker.abandoned(gone[0].key)
    assert len(start(breaker, map(first, range(60, 70)), 10.0)) == 1


def test_an_abandoned_call_of_a_closed_one_changes_nothing() -> None:
    breaker = Breaker()
    breaker.abandoned("a")
    assert breaker.state == State()


# How many probes go


@pytest.mark.parametrize(
    ("failing", "needed"), [(1, 3), (3, 3), (60, 60), (100, 100), (101, 101), (120, 27.4), (200, 7.2), (10_000, 3)]
)
def test_a_round_has_so_many_probes_that_one_is_most_likely_for_another_than_a_hundred(
    failing: int, needed: float
) -> None:
    assert probes_needed(failing) == pytest.approx(needed, abs=0.05)
    assert failing <= 101 or (100 / failing) ** probes_needed(failing) < 0.01


@pytest.mark.parametrize(
    ("failing", "after", "wait"),
    [
        (3, 0.0, 1.0),  # seconds until the next probe, so long after it opened
        (100, 0.0, 0.03),
        (120, 0.0, 0.11),
        (1000, 0.0, 1.0),
        (100, 60.0, 0.06),
        (100, 3600.0, 3.6),
        (3, 60.0, 2.0),
        (3, 3600.0, 30.0),
        (1000, 3600.0, 30.0),
    ],
)
def test_probes_come_less_often_the_longer_it_is_open(failing: int, after: float, wait: float) -> None:
    state = probed(State(Phase.OPEN, 0.0, 0.0), after, probes_needed(failing), 0.0)
    assert state.until - after == pytest.approx(wait, abs=0.01)


@given(st.integers(1, 20_000), st.floats(0.0, 1e6), st.floats(0.0, 1.0, exclude_max=True))
def test_jitter_shortens_a_wait_by_less_than_a_quarter_and_never_adds_to_it(
    failing: int, after: float, jitter: float
) -> None:
    state = State(Phase.OPEN, 0.0, 0.0)
    full = probed(state, after, probes_needed(failing), 0.0).until - after
    wait = probed(state, after, probes_needed(failing), jitter).until - after
    assert 0.75 * full - 1e-6 <= wait <= full + 1e-9 <= 30.0 + 1e-6
    assert opened(after, jitter).until - after == pytest.approx(1.0 - 0.25 * jitter)


@given(
    st.lists(
        st.tuples(st.sampled_from(["call", "ok", "fail", "lost"]), st.sampled_from("abcde"), st.floats(0.0, 1.0)),
        max_size=150,
    )
)
def test_probes_keep_their_distance_whatever_happens(events: list[tuple[str, str, float]]) -> None:
    """The breaker is asked before each call, as the gate does."""
    breaker, now, went = an_open_one(), 0.0, []
    for name, key, wait in events:
        now += wait
        was_probe = breaker.is_probe(head := Head(key))
        at = breaker.opens_at(head, now)
        assert now <= at <= now + 31.5
        if name == "call" and at <= now:
            breaker.began(head, now)
            went += [now] if was_probe else []
        elif name == "ok":
            breaker.succeeded(now, key)
            went.clear()
            assert breaker.state.phase is Phase.CLOSED
        elif name == "fail":
            before = breaker.state.phase
            said = breaker.failed(now, key, 0.5)
            assert said == (before is not breaker.state.phase)
        elif name == "lost":
            breaker.abandoned(key)
        assert all(later - earlier >= 0.5 for earlier, later in pairwise(went))


def test_the_repr_names_the_phase() -> None:
    assert repr(an_open_one()) == "<Breaker open>"


# Whose call goes while it is open


def first(number: int, *, kind: str = "sendToUser", urgent: bool = False) -> Head:
    return Head(f"first {number}", kind, urgent)


def start(breaker: Breaker, heads: Iterable[Head], now: float = 0.5) -> list[Head]:
    """Start the calls that may go at once, and return them."""
    gone = []
    for head in heads:
        if breaker.opens_at(head, now) <= now:
            breaker.began(head, now)
            gone.append(head)
    return gone


def use_up_firsts(breaker: Breaker, now: float = 0.5, *, since: int = 0) -> int:
    """Fail with destinations that were not tried until no more of them may go at once; gives how many could."""
    number = since
    while start(breaker, [head := first(number)], now):
        breaker.failed(now, head.key, 0.0)
        number += 1
    return number - since


def probe(breaker: Breaker, waiting: Iterable[Head], count: int, now: float = 1.0) -> list[Head]:
    """Have so many probes fail, each at once, for those who wait; gives for whom they were."""
    times = dict.fromkeys(waiting, now)
    gone: list[Head] = []
    while len(gone) < count:
        head, now = min(times.items(), key=lambda item: item[1])
        times[head] = breaker.opens_at(head, now)
        if times[head] <= now:
            breaker.began(head, now)
            breaker.failed(now, head.key, 0.0)
            gone.append(head)
    return gone


def test_a_destination_that_was_not_tried_yet_goes_at_once_and_is_no_probe() -> None:
    breaker = an_open_one()
    assert start(breaker, [first(0)]) == [first(0)]
    assert not breaker.failed(0.6, "first 0", 0.0)
    assert breaker.state == State(Phase.OPEN, 1.0, 0.0)


def test_such_a_destination_is_tried_once_and_then_waits_for_a_probe() -> None:
    breaker = an_open_one()
    assert start(breaker, [first(0)]) == [first(0)]
    breaker.failed(0.5, "first 0", 0.0)
    assert breaker.opens_at(first(0), 0.5) > 0.5


def test_the_first_call_that_succeeds_closes_it() -> None:
    breaker = an_open_one()
    start(breaker, [first(0)])
    breaker.succeeded(0.6, "first 0")
    assert breaker.state == State()


def test_a_hundred_destinations_are_tried_in_one_opening_and_the_next_opening_has_as_many() -> None:
    breaker = an_open_one()
    assert use_up_firsts(breaker) == 100
    breaker.succeeded(5.0, "a")
    fail(breaker, 9, now=60.0)
    fail(breaker, 1, now=61.0)
    assert use_up_firsts(breaker, now=61.0, since=100) == 100


def test_urgent_calls_have_a_hundred_of_their_own() -> None:
    breaker = an_open_one()
    use_up_firsts(breaker)
    gone = 0
    while start(breaker, [head := Head(f"urgent {gone}", is_urgent=True)]):
        breaker.failed(0.5, head.key, 0.0)
        gone += 1
    assert gone == 100


def test_not_all_of_them_are_in_flight_at_once() -> None:
    breaker = an_open_one()
    gone = start(breaker, map(first, range(60)))
    assert len(gone) == 32
    assert 0.5 < breaker.opens_at(first(50), 0.5) <= 15.0
    breaker.failed(0.55, gone[0].key, 0.0)
    breaker.abandoned(gone[1].key)
    assert len(start(breaker, map(first, range(40, 60)), 3.0)) == 2


def test_those_who_wait_come_one_by_one_and_not_as_a_crowd() -> None:
    breaker = an_open_one()
    for number in range(100):
        breaker.failed(0.5, first(number).key, 0.0)
    times = sorted(breaker.opens_at(first(number), 0.5) for number in range(100))
    assert times[0] == 1.0
    assert times[-1] <= 2.6
    assert all(later - earlier >= 0.1 for earlier, later in zip(times, times[30:], strict=False))


def test_however_many_wait_few_ask_again_for_each_probe() -> None:
    breaker = an_open_one()
    use_up_firsts(breaker)
    times = [breaker.opens_at(first(number), 0.5) for number in range(1000, 11_000)]
    assert sum(at < 2.0 for at in times) < 1000
    assert max(times) <= 31.0


def test_probes_go_to_destinations_that_were_not_tried_before_those_that_were() -> None:
    breaker = an_open_one()
    use_up_firsts(breaker)
    waiting = [*map(first, range(50)), *map(first, range(1000, 1005))]
    assert {head.key for head in probe(breaker, waiting, 5)} == {f"first {number}" for number in range(1000, 1005)}


def test_probes_go_to_the_kinds_of_calls_in_turn() -> None:
    breaker = an_open_one()
    use_up_firsts(breaker)
    worn = [Head(f"first {number}", "add" if number % 10 else "removeAll") for number in range(50)]
    kinds = [head.kind for head in probe(breaker, worn, 40)]
    assert all(kinds[start : start + 10].count("removeAll") >= 3 for start in range(0, 40, 10))


def test_probes_go_to_all_destinations_in_turn() -> None:
    """After an outage some may go on failing: those that would be served now wait for no second probe of these."""
    breaker = an_open_one()
    use_up_firsts(breaker)
    probed_in_turn = probe(breaker, map(first, range(20)), 60)
    assert all(len({*probed_in_turn[start : start + 20]}) == 20 for start in (0, 20, 40))


def test_a_turn_goes_on_where_it_was_when_one_was_served_meanwhile() -> None:
    breaker = an_open_one()
    use_up_firsts(breaker)
    worn = [*map(first, range(20))]
    before = probe(breaker, worn, 10)
    breaker.succeeded(20.0, "a")
    fail(breaker, 9, now=20.0)
    fail(breaker, 1, now=21.0)
    breaker._first_left = [0, 0]
    assert {*before, *probe(breaker, worn, 10, now=21.0)} == {*worn}


# One for each hub


def a_dead(hub: str, breakers: Breakers, now: float = 0.0) -> None:
    """Have a hub's breaker open at a moment."""
    for number in range(10):
        breakers.failed(hub, now - 1.0 + number / 9, f"{hub}\n{LANES[number % 3]}", 0.0)


def test_each_hub_has_its_own() -> None:
    breakers = Breakers()
    a_dead("dead", breakers, 1.0)
    assert breakers.opens_at(Head("dead\na"), 1.0) == 2.0
    assert breakers.opens_at(Head("quiet\na"), 1.0) == 1.0
    assert (breakers.open, len(breakers.by_hub)) == (1, 1)
    breakers.succeeded("quiet", 1.5, "a")
    assert breakers.open == 1
    breakers.began(Head("dead\na"), 2.0)
    assert breakers.probing == 1
    breakers.abandoned("dead", "dead\na")
    assert breakers.probing == 0
    assert repr(breakers) == "<Breakers 1 of 1 open>"


def test_all_hubs_together_have_the_probes_of_one() -> None:
    """A thousand dead hubs are one dead service."""
    breakers = Breakers()
    hubs = [f"dead{number}" for number in range(50)]
    for hub in hubs:
        a_dead(hub, breakers)
    went, times = [], {Head(f"{hub}\n{lane}"): 1.0 for hub in hubs for lane in LANES}
    while (now := min(times.values())) < 6.0:
        head = min(times, key=lambda each: times[each])
        times[head] = breakers.opens_at(head, now)
        if times[head] <= now:
            breakers.began(head, now)
            breakers.failed(head.hub, now, head.key, 0.0)
            went.append(now)
    assert min(later - earlier for earlier, later in pairwise(went)) >= 0.0299
    assert len(went) > 100


def test_once_a_hub_is_served_the_others_may_find_out_at_once() -> None:
    breakers = Breakers()
    for hub in ("x", "y", "z"):
        a_dead(hub, breakers)
    breakers.began(Head("x\na"), 1.0)
    assert breakers.opens_at(Head("y\na"), 1.01) > 1.01
    breakers.succeeded("x", 1.02, "x\na")
    assert breakers.opens_at(Head("y\nb"), 1.02) == 1.02


def test_without_room_for_a_probe_none_goes() -> None:
    breakers = Breakers()
    a_dead("x", breakers)
    assert breakers.opens_at(Head("x\na"), 1.0, has_room=False) > 1.0
    assert breakers.opens_at(Head("x\nnew"), 1.0, has_room=False) == 1.0


def test_a_hub_that_is_well_again_is_forgotten_when_its_failures_are() -> None:
    breakers = Breakers()
    breakers.failed("a", 0.0, "x", 0.0)
    breakers.succeeded("a", 5.0, "x")
    assert len(breakers.by_hub) == 1
    breakers.succeeded("a", 10.1, "x")
    assert len(breakers.by_hub) == 0


@pytest.mark.parametrize(("only", "opens"), [(True, 1), (False, 0)])
def test_where_a_hub_has_but_one_lane_that_lane_opens_it(only: bool, opens: int) -> None:
    breakers = Breakers(only=only)
    assert sum(breakers.failed("a", number / 9, "everybody", 0.0) for number in range(10)) == opens


def test_hubs_that_failed_once_and_are_called_no_more_are_not_kept() -> None:
    breakers = Breakers()
    for second in range(1_000):
        breakers.failed(f"hub{second}", float(second), f"hub{second}\nu", 0.0)
    assert len(breakers.by_hub) <= 25  # those of twice a window, and a few
    for second in range(1_011, 1_040):
        assert not breakers.succeeded("healthy", float(second), "healthy\nu")
    assert not breakers.by_hub


def test_a_hub_that_is_held_back_is_kept_however_many_others_fail() -> None:
    breakers = Breakers()
    a_dead("dead", breakers)
    for second in range(20, 500):
        breakers.failed(f"hub{second}", float(second), f"hub{second}\nu", 0.0)
    assert not breakers.is_closed("dead")
