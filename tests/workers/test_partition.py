"""What a worker knows of a partition it owns, and of the store's clock."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.workers.helpers import a_flow, a_partition
from workers.partition import StoreClock


def test_a_partition_may_act_as_long_as_its_lease_is_valid_and_it_has_not_ended() -> None:
    owned = a_partition(3, expires=10.0)
    assert owned.number == 3
    assert owned.may_act(9.9)
    assert not owned.may_act(10.0)
    owned.ended = True
    assert not owned.may_act(9.9)


def test_a_lost_partition_stays_silent() -> None:
    owned = a_partition()
    owned.lose()
    assert (owned.ended, owned.lost) == (True, True)
    assert not owned.is_held(float("-inf"))
    assert owned.lease.token == "w:1"


def test_whoever_waits_for_quiet_is_told_at_once_when_nothing_is_in_flight() -> None:
    told: list[str] = []
    a_partition().when_quiet(lambda: told.append("now"))
    assert told == ["now"]


def test_whoever_waits_for_quiet_is_told_when_the_last_call_ends() -> None:
    owned, told = a_partition(), list[int]()
    owned.began_call("lane")
    owned.began_call("lane")
    owned.when_quiet(lambda: told.append(owned.in_flight))
    owned.ended_call("lane")
    assert told == []
    owned.ended_call("lane")
    assert told == [0]


def test_everybody_who_waits_for_quiet_is_told() -> None:
    """A partition that is handed back can be lost, or the worker can leave, while calls are still in flight."""
    owned, told = a_partition(), list[str]()
    owned.began_call("lane")
    owned.when_quiet(lambda: told.append("first"))
    owned.when_quiet(lambda: told.append("second"))
    owned.ended_call("lane")
    assert sorted(told) == ["first", "second"]


def test_a_partition_tells_its_state_to_people() -> None:
    owned = a_partition(3)
    a_flow(owned).known.add(b"1-0")
    owned.began_call("lane")
    assert repr(owned) == "<OwnedPartition 3 running: 1 known, 1 in flight>"
    owned.lose()
    assert "ended" in repr(owned)


# The store's clock -------------------------------------------------------------------------------------------------

MOMENTS = st.lists(st.tuples(st.floats(0, 1000), st.floats(0, 5), st.floats(0, 5)), min_size=1, max_size=10)


def test_before_the_store_was_ever_asked_nothing_is_old() -> None:
    assert StoreClock().now(50.0) == float("-inf")


def test_the_stores_time_goes_on_from_the_last_heartbeat() -> None:
    store_clock = StoreClock()
    store_clock.observe(1_800_000_000.0, 50.0, 50.0)
    assert store_clock.now(57.5) == pytest.approx(1_800_000_007.5, abs=0.002)


def test_a_quick_answer_says_more_than_a_slow_one() -> None:
    store_clock = StoreClock()
    store_clock.observe(1000.0, 48.0, 52.0)
    store_clock.observe(1001.0, 51.0, 51.0)
    store_clock.observe(1004.0, 50.0, 58.0)
    assert store_clock.now(51.0) == pytest.approx(1001.0, abs=0.002)


def test_a_store_whose_clock_was_set_is_believed() -> None:
    store_clock = StoreClock()
    store_clock.observe(1_800_000_000.0, 50.0, 50.0)
    store_clock.observe(1_800_000_100.0, 60.0, 60.0)
    assert store_clock.now(61.0) == pytest.approx(1_800_000_101.0, abs=0.002)


@given(MOMENTS, st.floats(-1e6, 1e6))
def test_nothing_is_taken_for_younger_than_it_is(moments: list[tuple[float, float, float]], ahead: float) -> None:
    """However long the answers took, the store's true time is not later than ours of it."""
    store_clock = StoreClock()
    for asked, there, back in moments:
        store_clock.observe(asked + there + ahead, asked, asked + there + back)
    assert store_clock.now(2000.0) >= 2000.0 + ahead - 1e-6
    assert store_clock.now(2000.0) <= 2000.0 + ahead + min(there for _asked, there, _back in moments) + 0.002
