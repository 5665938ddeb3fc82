"""Lanes whose time has not come yet."""

from tests.workers.crew import a_tenure
from workers.delays import Delays
from workers.lane import Lane


def a_lane(key: str = "hub\nu1") -> Lane:
    return Lane(key, a_tenure())


def test_lanes_come_back_in_the_order_they_are_due() -> None:
    delays, lanes = Delays(), [a_lane(f"hub\nu{number}") for number in range(3)]
    for lane, until in zip(lanes, (3.0, 1.0, 2.0), strict=True):
        delays.put(lane, until)
    assert all(lane.delayed for lane in lanes)
    assert (len(delays), delays.next_at(), repr(delays)) == (3, 1.0, "<Delays of 3 lanes>")
    assert list(delays.due(0.9)) == []
    assert list(delays.due(2.0)) == [lanes[1], lanes[2]]
    assert [lane.delayed for lane in lanes] == [True, False, False]


def test_those_of_one_moment_come_in_the_order_they_were_put_in() -> None:
    delays, lanes = Delays(), [a_lane(f"hub\nu{number}") for number in range(5)]
    for lane in lanes:
        delays.put(lane, 1.0)
    assert list(delays.due(1.0)) == lanes


def test_a_lane_whose_hub_is_held_back_is_put_back_until_it_may_be_called() -> None:
    delays, dead, quiet = Delays(), a_lane("dead\nu1"), a_lane("quiet\nu1")
    delays.held_until = lambda lane: 5.0 if lane.hub == "dead" else None
    delays.put(dead, 1.0)
    delays.put(quiet, 1.0)
    assert list(delays.due(1.0)) == [quiet]
    assert (dead.delayed, delays.next_at()) == (True, 5.0)
    delays.held_until = lambda _lane: None
    assert list(delays.due(5.0)) == [dead]


def test_a_lane_that_was_dropped_meanwhile_never_comes() -> None:
    delays, gone = Delays(), a_lane()
    delays.put(gone, 1.0)
    gone.dropped = True
    assert delays.next_at() is None
    delays.put(gone, 1.0)
    assert list(delays.due(2.0)) == []
