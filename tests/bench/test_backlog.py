"""The pace of a drain, read off looks at it."""

import pytest

from bench.demands.backlog import Look, pace


def test_the_pace_is_taken_between_the_first_looks_past_both_marks() -> None:
    looks = [Look(at=float(second), delivered=second * 100, resident=0) for second in range(11)]
    assert pace(looks, 100, 500) == 100


def test_a_pace_over_no_time_is_not_a_division_by_zero() -> None:
    assert pace([Look(1.0, 1000, 0)], 10, 20) == pytest.approx(0)
