"""How many calls may be in flight at once."""

from hypothesis import given
from hypothesis import strategies as st

from workers.window import Window


def test_it_starts_wide_open() -> None:
    window = Window(128)
    assert window.admits(127)
    assert not window.admits(128)


def test_a_sign_of_overload_shrinks_it_by_a_quarter() -> None:
    window = Window(100)
    window.overloaded(10.0, 0.0)
    assert window.limit == 75.0


def test_it_shrinks_once_in_a_round_of_calls() -> None:
    """A round lasts as long as the call did that was overloaded, at least a tenth of a second."""
    window = Window(100)
    window.overloaded(10.0, 0.01)
    window.overloaded(10.09, 0.01)
    assert window.limit == 75.0
    window.overloaded(10.11, 5.0)
    assert window.limit == 75.0
    window.overloaded(10.11, 0.01)
    assert window.limit == 56.25


def test_it_never_shuts() -> None:
    window = Window(100)
    for round_ in range(100):
        window.overloaded(float(round_), 0.0)
    assert window.limit == 1.0
    assert window.admits(0)


def test_it_grows_by_one_in_a_round_while_it_is_full() -> None:
    window = Window(100)
    window.limit = 50.0
    for _ in range(50):
        window.went_well(50)
    assert 50.9 < window.limit <= 51.0


def test_it_does_not_grow_while_it_is_not_used() -> None:
    window = Window(100)
    window.limit = 50.0
    for _ in range(500):
        window.went_well(10)
    assert window.limit == 50.0


@given(
    st.integers(1, 500),
    st.lists(st.tuples(st.booleans(), st.integers(0, 500), st.floats(0.0, 1.0)), max_size=200),
)
def test_it_never_leaves_one_to_most(most: int, events: list[tuple[bool, int, float]]) -> None:
    window, now = Window(most), 0.0
    for well, in_flight, wait in events:
        now += wait
        if well:
            window.went_well(in_flight)
        else:
            window.overloaded(now, wait)
        assert 1.0 <= window.limit <= most


def test_the_repr_shows_how_far_it_is_open() -> None:
    assert repr(Window(8)) == "<Window 8.0 of 8>"
