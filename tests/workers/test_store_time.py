"""The store's clock as this worker knows it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.store_time import StoreTime

MOMENTS = st.lists(st.tuples(st.floats(0, 1000), st.floats(0, 5), st.floats(0, 5)), min_size=1, max_size=10)


def test_before_the_store_was_ever_asked_nothing_is_old() -> None:
    assert StoreTime().now(50.0) == float("-inf")


def test_the_stores_time_goes_on_from_the_last_heartbeat() -> None:
    store_time = StoreTime()
    store_time.note(1_800_000_000.0, 50.0, 50.0)
    assert store_time.now(57.5) == pytest.approx(1_800_000_007.5, abs=0.002)


def test_a_quick_answer_says_more_than_a_slow_one() -> None:
    store_time = StoreTime()
    store_time.note(1000.0, 48.0, 52.0)
    store_time.note(1001.0, 51.0, 51.0)
    store_time.note(1004.0, 50.0, 58.0)
    assert store_time.now(51.0) == pytest.approx(1001.0, abs=0.002)


def test_a_store_whose_clock_was_set_is_believed() -> None:
    store_time = StoreTime()
    store_time.note(1_800_000_000.0, 50.0, 50.0)
    store_time.note(1_800_000_100.0, 60.0, 60.0)
    assert store_time.now(61.0) == pytest.approx(1_800_000_101.0, abs=0.002)


@given(MOMENTS, st.floats(-1e6, 1e6))
def test_nothing_is_taken_for_younger_than_it_is(moments: list[tuple[float, float, float]], ahead: float) -> None:
    """Whatever time the answers took on their ways, the store's true time is not later than what we say."""
    store_time = StoreTime()
    for asked, there, back in moments:
        store_time.note(asked + there + ahead, asked, asked + there + back)
    assert store_time.now(2000.0) >= 2000.0 + ahead - 1e-6
    assert store_time.now(2000.0) <= 2000.0 + ahead + min(there for _asked, there, _back in moments) + 0.002
