"""The transition table of the breaker, row by row."""

from collections.abc import Iterable
from math import inf
from operator import itemgetter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.workers.helpers import Head
from workers.breaker import Breaker, Breakers, Phase, State, opened

LANES = ("a", "b", "c")
WORN = Head("a")  # it failed often


def fail(breaker: Breaker, count: int, *, now: float = 0.0, lanes: tuple[str, ...] = LANES) -> int:
    """Fail so often, in turn for these lanes; gives how many of the failures said that they opened it."""
    return sum(breaker.failed(now, lanes[number % len(lanes)], 0.0) for number in range(count))


def an_open_one(*, now: float = 0.0) -> Breaker:
    breaker = Breaker()
    fail(breaker, 9, now=now - 1.0)
    assert fail(breaker, 1, now=now) == 1
    return breaker


def a_half_open_one(*, now: float = 1.0) -> Breaker:
    breaker = an_open_one(now=now - 1.0)
    breaker.began(WORN, now)
    assert breaker.state.phase is Phase.HALF_OPEN
    return breaker


# Closed


def test_closed_lets_everything_go() -> None:
    assert Breaker().opens_at(WORN, 7.0) == 7.0


def test_closed_opens_at_the_tenth_failure_in_a_row_and_says_so_once() -> None:
    breaker = Breaker()
    assert fail(breaker, 1, now=0.0) == 0
    assert fail(breaker, 8, now=5.0) == 0
    assert fail(breaker, 1, now=5.0) == 1
    assert breaker.state == State(Phase.OPEN, 6.0, 1.0)
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
    assert 6.0 < breaker.opens_at(WORN, 5.0) <= 6.25
    breaker.began(WORN, 5.9)
    assert breaker.state.phase is Phase.OPEN


def test_open_lets_a_probe_go_when_its_time_is_over() -> None:
    breaker = an_open_one(now=5.0)
    breaker.began(WORN, 6.0)
    assert breaker.state.phase is Phase.HALF_OPEN


def test_a_call_that_was_under_way_when_it_opened_and_fails_changes_nothing() -> None:
    breaker = an_open_one()
    before = breaker.state
    assert fail(breaker, 50, now=0.5) == 0
    assert breaker.state == before


def test_a_call_that_was_under_way_when_it_opened_and_succeeds_closes_it() -> None:
    breaker = an_open_one()
    breaker.succeeded(0.5, "a")
    assert breaker.state == State()


# Half open


def test_half_open_lets_one_probe_go_and_no_other_call() -> None:
    assert a_half_open_one().opens_at(WORN, 1.0) == inf


def test_a_probe_that_succeeds_closes_it_and_nothing_of_before_counts() -> None:
    breaker = a_half_open_one()
    breaker.succeeded(1.1, "a")
    assert breaker.state == State()
    assert fail(breaker, 9, now=60.0) == 0


def test_those_who_wait_are_told_of_a_recovery_at_once_and_then_once_a_second() -> None:
    breaker = a_half_open_one(now=1.0)
    assert breaker.succeeded(1.1, "a")
    for now in (1.2, 1.5):  # nothing was closed since
        assert not breaker.succeeded(now, "a")
    breaker.state = State(Phase.OPEN, 9.0, 1.0)
    assert not breaker.succeeded(1.9, "a")
    assert not breaker.succeeded(2.0, "a")
    assert breaker.succeeded(2.2, "a")  # of the one at 1.9
    assert not breaker.succeeded(9.0, "a")


def test_a_probe_that_fails_opens_it_for_twice_as_long() -> None:
    breaker = a_half_open_one()
    assert breaker.failed(1.1, "a", 0.0)
    assert breaker.state == State(Phase.OPEN, 3.1, 2.0)


def test_waits_double_up_to_half_a_minute() -> None:
    breaker, waits, now = an_open_one(), [], 0.0
    for _ in range(8):
        waits.append(breaker.state.until - now)
        now = breaker.state.until
        breaker.began(WORN, now)
        breaker.failed(now, "a", 0.0)
    assert waits == [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]


def test_after_it_closed_the_first_wait_is_short_again() -> None:
    breaker = a_half_open_one()
    breaker.failed(1.0, "a", 0.0)
    breaker.began(WORN, 3.0)
    breaker.succeeded(3.1, "a")
    fail(breaker, 9, now=4.0)
    fail(breaker, 1, now=5.0)
    assert breaker.state == State(Phase.OPEN, 6.0, 1.0)


def test_a_probe_without_an_end_leaves_the_door_ajar_for_the_next() -> None:
    breaker = a_half_open_one()
    breaker.abandoned("a")
    assert breaker.opens_at(WORN, 1.0) <= 1.0
    breaker.began(WORN, 1.0)
    assert breaker.state.phase is Phase.HALF_OPEN


def test_an_abandoned_call_of_a_closed_one_changes_nothing() -> None:
    breaker = Breaker()
    breaker.abandoned("a")
    assert breaker.state == State()


@given(
    st.sampled_from([State(), State(Phase.HALF_OPEN, 0.0, 4.0), State(Phase.HALF_OPEN, 0.0, 30.0)]),
    st.floats(0.0, 1.0, exclude_max=True),
)
def test_jitter_shortens_a_wait_by_less_than_a_quarter_and_never_adds_to_it(state: State, jitter: float) -> None:
    now = 100.0
    after = opened(state, now, jitter)
    assert after.phase is Phase.OPEN
    assert 0.75 * after.wait - 1e-9 < after.until - now <= after.wait + 1e-9
    assert after.wait == opened(state, now, 0.0).wait <= 30.0


@given(st.lists(st.tuples(st.sampled_from(["call", "ok", "fail", "lost"]), st.floats(0.0, 3.0)), max_size=150))
def test_one_probe_at_a_time_whatever_happens(events: list[tuple[str, float]]) -> None:
    """The breaker is asked before each call, as the gate does; half open, nothing but the probe is out there."""
    breaker, now = Breaker(), 0.0
    for number, (name, wait) in enumerate(events):
        now += wait
        before = breaker.state.phase
        if name == "call" and breaker.opens_at(WORN, now) <= now:
            assert before is not Phase.HALF_OPEN
            breaker.began(WORN, now)
            assert breaker.state.phase is (Phase.CLOSED if before is Phase.CLOSED else Phase.HALF_OPEN)
        elif name == "ok":
            breaker.succeeded(now, LANES[number % 3])
            assert breaker.state.phase is Phase.CLOSED
        elif name == "fail":
            said = breaker.failed(now, LANES[number % 3], 0.5)
            assert said == (before is not Phase.OPEN and breaker.state.phase is Phase.OPEN)
        elif name == "lost":
            breaker.abandoned("a")
            assert breaker.state.phase is not Phase.HALF_OPEN
        if breaker.state.phase is Phase.OPEN:
            assert breaker.state.until <= now + 30.0


def test_the_repr_names_the_phase() -> None:
    assert repr(a_half_open_one()) == "<Breaker halfOpen>"


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


def test_a_destination_that_was_not_tried_yet_goes_at_once_and_is_no_probe() -> None:
    breaker = an_open_one()
    assert start(breaker, [first(0)]) == [first(0)]
    assert breaker.state.phase is Phase.OPEN
    assert not breaker.failed(0.6, "first 0", 0.0)
    assert breaker.state == State(Phase.OPEN, 1.0, 1.0)


def test_such_a_destination_is_tried_three_times_and_then_waits_for_a_probe() -> None:
    breaker = an_open_one()
    for _ in range(3):
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
    assert breaker.opens_at(first(50), 0.5) == 0.6
    breaker.failed(0.55, gone[0].key, 0.0)
    breaker.abandoned(gone[1].key)
    assert len(start(breaker, map(first, range(40, 60)), 0.55)) == 2


def test_the_probe_goes_to_a_destination_that_was_not_tried_before_one_that_was() -> None:
    breaker = an_open_one()
    use_up_firsts(breaker)
    assert breaker.opens_at(first(1000), 0.5) < breaker.opens_at(WORN, 0.5)


def test_probes_go_to_the_kinds_of_calls_in_turn() -> None:
    breaker, now, kinds = an_open_one(), 0.0, []
    use_up_firsts(breaker)
    worn = [Head(f"first {number}", kind) for number, kind in enumerate(("add", "add", "add", "removeAll"))]
    for head in worn:
        for _ in range(3):
            breaker.failed(0.5, head.key, 0.0)
        breaker.opens_at(head, 0.5)
    for _ in range(6):
        head, now = min(((head, breaker.opens_at(head, now)) for head in worn), key=itemgetter(1))
        breaker.began(head, now)
        kinds.append(head.kind)
        breaker.failed(now, head.key, 0.0)
    assert sorted(kinds) == ["add"] * 3 + ["removeAll"] * 3
    assert kinds[0] != kinds[1]


def test_probes_go_to_all_destinations_in_turn() -> None:
    """After an outage some may go on failing: those that would be served now wait for no second probe of these."""
    breaker, now = an_open_one(), 0.0
    probed: list[str] = []
    use_up_firsts(breaker)
    worn = [Head(f"first {number}") for number in range(20)]
    for head in [each for each in worn for _ in range(3)]:
        breaker.failed(0.5, head.key, 0.0)
    for _ in range(3 * len(worn)):
        ready = sorted(worn, key=lambda head: probed[::-1].index(head.key) if head.key in probed else 100)
        head, now = min(((head, breaker.opens_at(head, now)) for head in ready), key=itemgetter(1))
        breaker.began(head, now)
        probed.append(head.key)
        breaker.failed(now, head.key, 0.0)
    assert all(len({*probed[start : start + 20]}) == 20 for start in (0, 20, 40))


def test_a_hundred_destinations_that_fail_by_themselves_keep_nobody_waiting_for_five_seconds() -> None:
    """They fail after a second each, all have been waiting for long, and then another one comes."""
    breaker = Breaker()
    bad = [Head(f"bad {number}", "removeAll") for number in range(100)]
    ends: list[tuple[float, str]] = []
    now = 0.0
    while now < 20.0:
        resting = [head for head in bad if head.key not in {key for _, key in ends}]
        ends += [(now + 1.0, head.key) for head in start(breaker, resting, now)]
        for end, key in [end for end in ends if end[0] <= now]:
            breaker.failed(now, key, 0.0)
            ends.remove((end, key))
        now += 0.05
    assert breaker.state.phase is not Phase.CLOSED
    came = now
    while not start(breaker, [Head("good", "add")], now):
        for end, key in [end for end in ends if end[0] <= now]:
            breaker.failed(now, key, 0.0)
            ends.remove((end, key))
        now += 0.05
    assert now - came < 5.0


# One for each hub


def test_each_hub_has_its_own() -> None:
    breakers = Breakers()
    for number in range(10):
        breakers.failed("dead", number / 9, f"dead\n{LANES[number % 3]}", 0.0)
    assert breakers.opens_at(Head("dead\na"), 1.0) == 2.25
    assert breakers.opens_at(Head("quiet\na"), 1.0) == 1.0
    assert (breakers.open, len(breakers.by_hub)) == (1, 1)
    breakers.succeeded("quiet", 1.5, "a")
    assert breakers.open == 1
    breakers.began(Head("dead\na"), 2.0)
    assert breakers.opens_at(Head("dead\na"), 2.0) == inf
    breakers.abandoned("dead", "dead\na")
    assert breakers.opens_at(Head("dead\na"), 2.0) <= 2.0
    assert repr(breakers) == "<Breakers 1 of 1 open>"


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
