"""The pace of a drain, read off looks at it."""

import pytest

from bench.demands.backlog import Look, stretch


def test_a_stretch_lies_between_the_first_looks_past_both_marks() -> None:
    looks = [Look(at=float(second), delivered=second * 100, resident=0, cpu=second * 0.01) for second in range(11)]
    found = stretch(looks, 100, 500)
    assert found.rate == 100
    assert found.us == pytest.approx(100)


def test_a_stretch_between_two_looks_is_not_a_division_by_zero() -> None:
    found = stretch([Look(1.0, 1000, 0, 0.5)], 10, 20)
    assert (found.rate, found.us) == (0, 0)
