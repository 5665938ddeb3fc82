"""Pace, breaker and window together: whether a call may go now."""

from math import inf
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanout.signalr.message import Item, RouteClass
from fanout.signalr.outcome import TAKEN, Answered, MaybeSent, NotSent, Outcome
from tests.builders import a_message, an_entry
from tests.workers.helpers import Head
from tests.workers.virtual_worker import VirtualWorker
from workers.gate import ALL, Gate, Window, is_overload
from workers.limit import Found
from workers.pace import Pace
from workers.refusals import Refusals
from workers.slowdown import Slowdown
from workers.verdicts import Sign, sign_of

OK = Answered(202)
ALICE, BOB = "chat\nualice", "chat\nubob"
SEND, BROADCAST, ACTION = RouteClass.SEND, RouteClass.BROADCAST, RouteClass.ACTION


def a_gate(most: int = 8, **ceilings: float) -> Gate:
    return Gate(
        Window(most, first=most), {RouteClass[name.upper()]: rate for name, rate in ceilings.items()}, lambda: 0.0
    )


def call(
    gate: Gate, outcome: Outcome, *, route_class: RouteClass = SEND, lane: str = ALICE, now: float = 0.0
) -> Slowdown | None:
    """Make one call that ends at once."""
    gate.began(route_class, Head(lane, route_class=route_class), now)
    sign = sign_of(an_entry(), outcome, proven=False)
    return gate.ended(route_class, lane, outcome, sign, now=now, took=0.0, in_flight=1)


def worn(route_class: RouteClass, hub: str = "chat") -> Head:
    """One of the destinations that fail in `break_down`."""
    return Head(f"{hub}\nu0", route_class=route_class)


def break_down(gate: Gate, route_class: RouteClass = SEND, hub: str = "chat") -> None:
    """Fail for a second, until now is 0."""
    for number in range(10):
        call(gate, NotSent("gone"), route_class=route_class, lane=f"{hub}\nu{number % 3}", now=number / 9 - 1.0)


def test_while_nothing_was_refused_or_failing_all_classes_are_open() -> None:
    gate = a_gate()
    for number in range(100):
        assert call(gate, OK, now=number / 1000) is None
        assert not gate.holds_back
        assert gate.open_classes(number / 1000, 0) is ALL


def test_while_nothing_holds_back_neither_pace_nor_breaker_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    def no(*_arguments: object) -> None:
        pytest.fail("it was asked")

    monkeypatch.setattr(Pace, "spend", no)
    monkeypatch.setattr(Pace, "accepted", no)
    monkeypatch.setattr(Pace, "opens_at", property(no))
    gate = a_gate()
    call(gate, OK)
    assert gate.open_classes(0.0, 0) is ALL


def test_a_refusal_finds_the_rate_of_calls_the_pace_did_not_hear_of_and_it_hears_of_those_that_follow(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gate, heard = a_gate(), list[float]()
    for number in range(100):
        call(gate, OK, now=number / 200)
    assert call(gate, Answered(429, "", 1.0), now=0.5) is not None
    assert gate.paces[SEND].rate == pytest.approx(97.0)
    monkeypatch.setattr(Pace, "accepted", lambda _pace, now, *, took: heard.append(now - took))
    call(gate, OK, now=2.0)
    assert heard == [2.0]


def test_a_full_window_closes_all_classes() -> None:
    gate = a_gate(8)
    assert gate.open_classes(0.0, 7) == ALL
    assert gate.open_classes(0.0, 8) == ()


def test_a_configured_rate_holds_its_class_back_and_no_other() -> None:
    gate = a_gate(broadcast=2.0)
    assert gate.holds_back
    assert gate.is_limited
    gate.began(BROADCAST, worn(BROADCAST), 0.0)
    assert gate.open_classes(0.1, 1) == (SEND, ACTION)
    assert gate.open_classes(0.6, 1) == ALL


def test_a_refusal_pauses_its_class_alone_and_gives_what_to_tell() -> None:
    gate = a_gate()
    told = call(gate, Answered(429, "", 3.0), route_class=BROADCAST, now=10.0)
    assert told is not None
    assert (told.pause, told.asked) == (3.0, True)
    assert gate.holds_back
    assert gate.open_classes(12.9, 0) == (SEND, ACTION)
    assert gate.opens_at(BROADCAST, 12.9) >= 13.0


def test_a_slowdown_heard_pauses_the_class_it_is_about() -> None:
    gate = a_gate()
    gate.heard(ACTION, Slowdown(2.0, Found(50.0), asked=True), 10.0)
    assert gate.open_classes(11.9, 0) == (BROADCAST, SEND)
    assert gate.holds_back


def test_an_open_breaker_holds_back_its_class_of_its_hub_and_no_other() -> None:
    gate = a_gate()
    break_down(gate)
    assert gate.holds_back
    assert gate.open_classes(0.5, 0) == ALL
    assert [gate.held_until(worn(each, "chat"), 0.5) for each in RouteClass] == [None, 1.0, None]
    assert all(gate.held_until(worn(each, "quiet"), 0.5) is None for each in RouteClass)
    assert [gate.held_back(each) for each in RouteClass] == [0, 1, 0]


def test_a_dead_hub_is_not_healed_by_another_that_lives() -> None:
    gate = a_gate()
    break_down(gate)
    call(gate, OK, lane="quiet\nua", now=0.5)
    assert gate.held_until(worn(SEND, "chat"), 0.5) == 1.0


def test_a_hub_that_failed_and_heals_is_forgotten() -> None:
    gate = a_gate()
    break_down(gate)
    call(gate, OK, now=1.0)
    call(gate, OK, now=30.0)
    assert not gate.breakers[SEND].by_hub


def test_after_a_probe_the_next_one_waits() -> None:
    gate = a_gate()
    break_down(gate)
    gate.began(SEND, worn(SEND), 1.0)
    assert gate.held_until(worn(SEND, "chat"), 1.0) == 2.0


def test_probes_take_half_of_the_window_and_always_one_place() -> None:
    """They may be answered late, or never. Those of all hubs and classes are counted together."""
    for most, probing in ((8, 4), (1, 1)):
        gate = a_gate(most)
        for number in range(10):
            break_down(gate, (SEND, ACTION)[number % 2], f"dead{number}")
        for number in range(10):
            lane = worn(route_class := (SEND, ACTION)[number % 2], f"dead{number}")
            if gate.held_until(lane, 1.0 + number) is None:
                gate.began(route_class, lane, 1.0 + number)
        assert sum(breakers.probing for breakers in gate.breakers) == probing


def test_a_probe_that_succeeds_ends_the_holding_back() -> None:
    gate = a_gate()
    break_down(gate)
    call(gate, OK, now=1.0)
    assert not gate.holds_back
    assert gate.open_classes(1.0, 0) is ALL


def test_a_probe_that_is_abandoned_gives_its_place_to_the_next() -> None:
    gate = a_gate(1)
    break_down(gate)
    gate.began(SEND, worn(SEND), 1.0)
    assert gate.held_until(worn(SEND, "chat"), 2.0) is not None
    gate.abandoned(SEND, worn(SEND).key)
    assert gate.in_flight(SEND) == 0
    assert gate.held_until(worn(SEND, "chat"), 2.0) is None


def test_while_a_breaker_is_open_it_says_who_goes_when_and_not_their_backoff() -> None:
    gate = a_gate()
    assert gate.longest_backoff(SEND, "chat", -2.0, -1.0) == inf
    break_down(gate)
    assert gate.longest_backoff(SEND, "chat", 0.5, 1.0) == 3.0
    assert gate.longest_backoff(SEND, "chat", 99.5, 100.0) == 10.0
    assert gate.longest_backoff(SEND, "quiet", 0.5, 1.0) == gate.longest_backoff(ACTION, "chat", 0.5, 1.0) == inf


def test_a_call_that_began_before_a_breaker_closed_and_fails_after_it_is_repeated_soon() -> None:
    gate = a_gate()
    break_down(gate)
    call(gate, OK, now=1.0)
    assert gate.longest_backoff(SEND, "chat", 0.9, 1.5) == 1.0
    assert gate.longest_backoff(SEND, "chat", 1.1, 1.5) == inf


def test_a_refusal_says_nothing_against_the_health_of_the_far_side() -> None:
    gate = a_gate()
    for number in range(50):
        call(gate, Answered(429), lane=f"chat\nu{number}")
        call(gate, Answered(400), lane=f"chat\nu{number}")
    assert gate.held_until(worn(SEND, "chat"), 0.0) is None
    assert gate.held_back(SEND) == 0


def test_an_overload_narrows_the_window_of_all_classes() -> None:
    gate = a_gate(8)
    for number, outcome in enumerate((Answered(503), OK, Answered(503))):
        call(gate, outcome, route_class=ACTION, lane=f"chat\nu{number}", now=1.0)
    assert gate.window.limit == 6.0
    assert gate.open_classes(1.0, 6) == ()


def test_where_nothing_is_served_the_breaker_decides_and_the_window_stays_as_it_is() -> None:
    """Else a hundred destinations that fail by themselves would leave three places of sixteen to all others."""
    gate = a_gate(16)
    for second in range(100):
        call(gate, Answered(503), lane=f"chat\nu{second}", now=float(second))
    assert gate.window.limit == 16.0


def test_a_pause_that_was_heard_and_is_over_leaves_the_rate_behind() -> None:
    gate = a_gate()
    gate.heard(SEND, Slowdown(1.0, Found(50.0)), 0.0)
    call(gate, OK, now=5.0)
    assert gate.is_limited
    assert gate.holds_back


def test_refusals_that_do_not_come_from_the_rate_shrink_no_window_and_pause_nothing() -> None:
    gate = a_gate()
    gate.heard(SEND, Slowdown(0.0, Found(inf), share=0.1), 0.0)
    assert call(gate, Answered(429, retry_after=5.0), now=1.0) is None
    assert gate.window.limit == 8.0
    assert SEND in gate.open_classes(1.0, 0)


def test_what_calls_beside_a_refusal_show_is_told_to_the_others() -> None:
    gate = a_gate(most=100)
    for _ in range(20):
        call(gate, OK, now=0.5)
    for number in range(9):
        gate.began(SEND, Head(f"chat\nu{number}", route_class=SEND), 1.0)
    outcomes = (Answered(429, retry_after=1.0), *(OK for _ in range(8)))
    told = [
        gate.ended(SEND, f"chat\nu{number}", outcome, sign_of(an_entry(), outcome, proven=False),
                   now=1.1, took=0.1, in_flight=9 - number)
        for number, outcome in enumerate(outcomes)
    ]  # fmt: skip
    assert [slowdown is not None for slowdown in told] == [True, *(False for _ in range(7)), True]
    assert told[-1] is not None
    assert (told[-1].pause, told[-1].found.rate, told[-1].share > 0) == (0.0, inf, True)


def test_calls_under_way_are_counted_by_class() -> None:
    gate = a_gate()
    gate.began(SEND, worn(SEND), 0.0)
    gate.began(SEND, worn(SEND), 0.0)
    gate.began(ACTION, worn(ACTION), 0.0)
    assert [gate.in_flight(route_class) for route_class in RouteClass] == [0, 2, 1]
    gate.ended(SEND, "a", OK, Sign.SERVED, now=0.0, took=0.0, in_flight=3)
    assert gate.in_flight(SEND) == 1


def test_each_class_has_its_own_share_by_what_waits_here_and_elsewhere() -> None:
    gate = a_gate(send=100.0)
    gate.share({SEND: 3.0, BROADCAST: 1.0}, {SEND: 1.0})
    assert [pace.share for pace in gate.paces] == [1.0, 0.75, 1.0]


def test_a_destination_that_fails_again_and_again_narrows_the_window_once_at_most() -> None:
    gate = a_gate(8)
    for second in range(20):
        call(gate, Answered(503), now=float(second))
        call(gate, OK, lane=BOB, now=second + 0.5)
    assert gate.window.limit >= 6.0


# Refused alone -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("outcome", [Answered(403), Answered(404), Answered(302), Answered(200, foreign=True)])
def test_a_destination_is_alone_that_is_refused_for_seconds_while_another_is_served(outcome: Answered) -> None:
    gate = a_gate()
    for second in range(5):
        assert not gate.is_alone(ALICE)
        call(gate, OK, lane=BOB, now=second - 0.5)
        call(gate, outcome, now=float(second))
    assert gate.is_alone(ALICE)
    assert not gate.is_alone(BOB)


def test_a_destination_is_not_alone_where_others_were_served_before_it_was_refused_and_not_since() -> None:
    gate = a_gate()
    call(gate, OK, lane=BOB, now=-0.1)
    for second in range(100):
        call(gate, Answered(403), now=float(second))
        call(gate, Answered(403), lane=BOB, now=float(second))
    assert not gate.is_alone(ALICE)


def test_a_destination_is_not_alone_because_another_hub_is_served() -> None:
    gate = a_gate()
    for second in range(100):
        call(gate, OK, lane="news\nubob", now=second - 0.5)
        call(gate, Answered(403), now=float(second))
    assert not gate.is_alone(ALICE)


def test_a_destination_that_was_refused_alone_and_is_served_again_begins_anew() -> None:
    gate = a_gate()
    for second in range(5):
        call(gate, OK, lane=BOB, now=second - 0.5)
        call(gate, Answered(403), now=float(second))
    call(gate, OK, now=4.0)
    assert not gate.is_alone(ALICE)
    call(gate, OK, lane=BOB, now=4.5)
    call(gate, Answered(403), now=5.0)
    assert not gate.is_alone(ALICE)


def test_an_outage_that_ends_bit_by_bit_gives_everybody_some_seconds_more() -> None:
    gate = a_gate()
    for second in range(100):
        call(gate, Answered(403), now=float(second))
    for tenth in range(30):
        call(gate, OK, lane=BOB, now=100.0 + tenth / 10)
        call(gate, Answered(403), now=100.05 + tenth / 10)
        assert not gate.is_alone(ALICE)
    call(gate, OK, lane=BOB, now=103.1)
    call(gate, Answered(403), now=103.2)
    assert gate.is_alone(ALICE)


def test_where_many_were_refused_none_is_alone_though_others_are_served() -> None:
    """Half of an outage: one of two gateways has a new firewall rule."""
    gate = a_gate()
    many = [f"chat\nu{number}" for number in range(11)]
    for second in range(60):
        call(gate, OK, lane=BOB, now=second - 0.5)
        for lane in many if second == 0 else many[1:]:
            call(gate, Answered(403), lane=lane, now=float(second))
    assert not any(map(gate.is_alone, many))
    call(gate, OK, lane=BOB, now=60.5)
    for lane in many[1:]:
        call(gate, Answered(403), lane=lane, now=61.0)
    assert [lane for lane in many if not gate.is_alone(lane)] == many[:1]


def test_of_each_hub_few_are_remembered_and_of_hubs_a_thousand() -> None:
    refusals = Refusals()
    for number in range(3000):
        refusals.refused(f"hub{number // 2}", f"hub{number // 2}\nu{number}", 0.0)
        refusals.refused("chat", f"chat\nu{number}", 0.0)
    assert len(refusals._recent) == 1000
    assert len(refusals._recent["chat"]) == 11


def test_those_that_were_refused_long_ago_are_not_among_the_many() -> None:
    gate = a_gate()
    for number in range(20):
        call(gate, Answered(403), lane=f"chat\nu{number}", now=0.0)
    for second in range(61, 66):
        call(gate, OK, lane=BOB, now=second - 0.5)
        call(gate, Answered(403), now=float(second))
    assert gate.is_alone(ALICE)


def test_of_many_that_are_refused_the_latest_are_remembered() -> None:
    refusals = Refusals()
    for number in range(10_001):
        refusals.refused("chat", f"chat\nu{number}", 0.0)
    assert repr(refusals) == "<Refusals of 10000 destinations, 0 alone>"


@pytest.mark.parametrize(
    ("outcome", "failure", "overload"),
    [
        (Answered(202), False, False),
        (Answered(404), False, False),
        (Answered(429), False, True),
        (Answered(500), True, False),
        (Answered(502), True, False),
        (Answered(503), True, True),
        (NotSent("x"), True, False),
        (MaybeSent("x"), True, True),
        (MaybeSent("x", stale=True), True, False),
    ],
)
def test_what_speaks_against_the_far_side_and_what_asks_for_fewer_calls(
    outcome: Outcome, failure: bool, overload: bool
) -> None:
    assert (sign_of(an_entry(), outcome, proven=False) is Sign.FAILED) == failure
    assert is_overload(outcome) == overload


def test_the_repr_shows_all_three() -> None:
    assert repr(a_gate(1)).startswith("<Gate <Window 1.0 of 1> [<Pace unlimited")


# Pauses -----------------------------------------------------------------------------------------------------------


def test_a_pause_of_a_class_holds_it_back_in_every_hub() -> None:
    gate = a_gate()
    gate.set_pauses({ACTION: 20.0, SEND: inf}, {}, 10.0)
    assert gate.open_classes(10.0, 0) == (BROADCAST,)
    assert [gate.opens_at(each, 10.0) for each in RouteClass] == [10.0, inf, 20.0]
    assert [gate.pause_ends_at(each, 10.0) for each in RouteClass] == [10.0, inf, 20.0]
    assert gate.open_classes(20.0, 0) == (BROADCAST, ACTION)
    gate.set_pauses({}, {}, 21.0)
    assert gate.open_classes(21.0, 0) is ALL
    assert not gate.holds_back


def test_a_pause_of_a_hub_holds_back_no_other() -> None:
    gate = a_gate()
    gate.set_pauses({}, {"chat": 20.0, "news": inf}, 10.0)
    assert (gate.open_classes(10.0, 0), gate.paused_hubs) == (ALL, 2)
    assert {gate.held_until(worn(each, "chat"), 10.0) for each in RouteClass} == {20.0}
    assert gate.held_until(worn(SEND, "news"), 10.0) == 11.0  # its end is not known: look again
    assert gate.held_until(worn(SEND, "quiet"), 10.0) is None
    assert gate.held_until(worn(SEND, "chat"), 20.0) is None


def test_after_the_cap_of_a_pause_one_call_at_a_time_finds_out_whether_it_is_over() -> None:
    gate = Gate(Window(8), {}, lambda: 0.0, pause_cap=300.0)
    told = call(gate, Answered(429, retry_after=86_400.0), now=0.0)
    assert told is not None
    assert (told.pause, told.asked, told.capped) == (300.0, True, True)
    assert gate.opens_at(SEND, 299.0) == 300.0
    gate.began(SEND, worn(SEND), 300.0)
    assert gate.open_classes(300.1, 1) == (BROADCAST, ACTION)  # the probe is in flight
    gate.ended(SEND, worn(SEND).key, NotSent("gone"), Sign.FAILED, now=301.0, took=1.0, in_flight=1)
    assert SEND in gate.open_classes(310.0, 0)  # it found out nothing: another one
    call(gate, Answered(429, retry_after=86_000.0), now=310.0)
    assert gate.opens_at(SEND, 311.0) >= 610.0
    gate.began(SEND, worn(SEND), 620.0)
    gate.abandoned(SEND, worn(SEND).key)
    call(gate, OK, now=630.0)
    gate.began(SEND, worn(SEND), 700.0)
    assert SEND in gate.open_classes(710.0, 1)


def test_other_workers_probe_too_after_a_pause_that_was_capped() -> None:
    gate = Gate(Window(8), {}, lambda: 0.0, pause_cap=300.0)
    gate.heard(SEND, Slowdown(300.0, Found(50.0), asked=True, capped=True), 0.0)
    gate.began(SEND, worn(SEND), 301.0)
    assert SEND not in gate.open_classes(302.0, 1)


def test_an_operator_can_end_a_pause_that_the_service_asked_for() -> None:
    gate = Gate(Window(8), {}, lambda: 0.0, pause_cap=300.0)
    call(gate, Answered(429, retry_after=86_400.0), now=0.0)
    gate.resume(SEND, 10.0)
    assert SEND in gate.open_classes(10.0, 0)
    gate.began(SEND, worn(SEND), 10.0)
    assert gate.open_classes(20.0, 1)[1] is SEND


# The window ----------------------------------------------------------------------------------------------------------


def test_it_starts_small_and_doubles_while_it_is_full_whether_calls_are_answered_or_not() -> None:
    gate, limits = Gate(Window(128), {}, lambda: 0.0), list[float]()
    for tenth in range(8):
        gate.open_classes(tenth * 0.11, in_flight=int(gate.window.limit))
        limits.append(gate.window.limit)
    assert limits == [6, 12, 24, 48, 96, 128, 128, 128]
    assert not gate.open_classes(1.0, in_flight=128)


def test_while_it_is_not_full_it_stays_small() -> None:
    gate = Gate(Window(128), {}, lambda: 0.0)
    assert all(gate.open_classes(float(second), in_flight=5) for second in range(10))
    assert gate.window.limit == 6.0


def test_while_it_starts_calls_that_are_answered_do_not_widen_it() -> None:
    window = Window(128)
    for _ in range(1000):
        window.succeeded(6)
    assert window.limit == 6.0


def test_a_refusal_for_speed_while_it_starts_has_it_start_again() -> None:
    window = Window(128)
    window.widen(0.0)
    assert window.widen(0.1)
    window.overloaded(0.15, 0.01, is_throttled=True)
    assert window.limit == 6.0
    assert not window.widen(0.2)
    assert window.widen(0.31)


def test_an_overload_while_it_starts_ends_the_start() -> None:
    window = Window(128)
    window.overloaded(0.15, 0.01)
    assert window.limit == 4.5
    assert not window.widen(100.0)


def test_a_window_that_is_smaller_than_the_start_is_all_there_from_the_beginning() -> None:
    window = Window(4)
    assert (window.limit, window.widens_at) == (4.0, inf)


def test_a_sign_of_overload_shrinks_it_by_a_quarter() -> None:
    window = Window(100, first=100)
    window.overloaded(10.0, 0.0)
    assert window.limit == 75.0


def test_it_shrinks_once_in_a_round_of_calls() -> None:
    """A round lasts as long as the call that was overloaded, at least a tenth of a second."""
    window = Window(100, first=100)
    window.overloaded(10.0, 0.01)
    window.overloaded(10.09, 0.01)
    assert window.limit == 75.0
    window.overloaded(10.11, 5.0)
    assert window.limit == 75.0
    window.overloaded(10.11, 0.01)
    assert window.limit == 56.25


def test_it_never_shuts() -> None:
    window = Window(100, first=100)
    for round_ in range(100):
        window.overloaded(float(round_), 0.0)
    assert window.limit == 1.0


def test_it_grows_by_one_in_a_round_while_it_is_full() -> None:
    window = Window(100, first=100)
    window.limit = 50.0
    for _ in range(50):
        window.succeeded(50)
    assert 50.9 < window.limit <= 51.0


def test_it_does_not_grow_while_it_is_not_used() -> None:
    window = Window(100, first=100)
    window.limit = 50.0
    for _ in range(500):
        window.succeeded(10)
    assert window.limit == 50.0


@given(
    st.integers(1, 500),
    st.lists(st.tuples(st.booleans(), st.integers(0, 500), st.floats(0.0, 1.0)), max_size=200),
)
def test_it_never_leaves_one_to_most(most: int, events: list[tuple[bool, int, float]]) -> None:
    window, now = Window(most, first=most), 0.0
    for well, in_flight, wait in events:
        now += wait
        if well:
            window.succeeded(in_flight)
        else:
            window.overloaded(now, wait)
        assert 1.0 <= window.limit <= most


def test_the_repr_shows_how_far_it_is_open() -> None:
    assert repr(Window(6)) == "<Window 6.0 of 6>"


def test_what_refusals_for_speed_took_from_the_window_is_given_back_where_they_are_none_of_the_rate() -> None:
    window = Window(100, first=100)
    window.overloaded(10.0, 0.0, is_throttled=True)
    window.overloaded(11.0, 0.0)
    window.overloaded(12.0, 0.0, is_throttled=True)
    window.forgive()
    assert window.limit == pytest.approx(75.0)  # what the other sign took stays
    window.forgive()
    assert window.limit == pytest.approx(75.0)


def test_what_a_window_has_grown_since_is_not_given_back_once_more() -> None:
    window = Window(100, first=100)
    window.overloaded(10.0, 0.0)
    window.overloaded(11.0, 0.0, is_throttled=True)
    while window.limit < 74.0:
        window.succeeded(99)
    window.forgive()
    assert window.limit == pytest.approx(75.0)


def test_refusals_at_random_leave_the_whole_window() -> None:
    random, limits = Random(1), list[float]()

    def service(_now: float, _item: Item) -> tuple[float, Outcome]:
        limits.append(worker.gate.window.limit)
        return 0.2, Answered(429, retry_after=1.0) if random.random() < 0.1 else TAKEN

    worker = VirtualWorker(service, places=128)
    worker.post(0.0, [a_message(f"u{number % 400}") for number in range(3000)])
    worker.run(4.0)
    assert min(limits) < 128.0
    assert worker.gate.paces[SEND].expects_refusals
    assert limits[-1] == 128.0
