"""Memory that grows is distinguished from memory that warms up, swings or stays."""

import pytest

from tests.soak.gauges import MIB, drained, trend_of

MINUTES = 10


def over_time(*sizes: float) -> list[tuple[float, int]]:
    return [(at * 2.0, int(size * MIB)) for at, size in enumerate(sizes)]


@pytest.mark.parametrize(
    ("sizes", "flat"),
    [
        ([80.0] * 300, True),
        ([80 + n * 0.1 for n in range(300)], False),
        ([60 + min(n, 20) for n in range(300)], True),
        ([80 + 15 * (n % 7 == 0) for n in range(300)], True),
        ([9 + 2 * (n > 150) for n in range(300)], True),
        ([9 + 0.06 * n for n in range(300)], False),
    ],
    ids=["constant", "leak", "warm-up", "saw", "a step", "a small leak"],
)
def test_growth_is_told_from_what_is_not(sizes: list[float], *, flat: bool) -> None:
    trend = trend_of("worker b", over_time(*sizes))
    assert trend is not None
    assert trend.flat == flat
    assert ("flat" if flat else "GROWS") in str(trend)


def test_the_slope_is_in_bytes_a_minute() -> None:
    trend = trend_of("x", [(second, second * MIB) for second in range(100)])
    assert trend is not None
    assert trend.slope == pytest.approx(60 * MIB)


def test_a_handful_of_samples_says_nothing() -> None:
    assert trend_of("x", over_time(1, 2, 3)) is None


@pytest.mark.parametrize(("backlogs", "so"), [([0, 5, 9, 2, 0], True), ([], True), ([0, 5, 9], False)])
def test_a_queue_in_which_something_is_left_has_not_drained(backlogs: list[int], *, so: bool) -> None:
    assert drained(backlogs) == so
