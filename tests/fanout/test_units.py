"""Durations and sizes: read with or without a unit, shown with one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanout.units import format_duration, format_size, parse_duration, parse_size


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("600", 600), ("2.5", 2.5), (".5", 0.5), ("500ms", 0.5), ("30s", 30), ("10m", 600), ("1h", 3600),
        ("7d", 604_800), (" 1.5 h ", 5400), ("0", 0),
    ],
)  # fmt: skip
def test_a_duration_is_seconds_or_has_a_unit(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "m", "10 minutes", "1h30m", "-1", "1e3", "inf", "nan", "1_0", "10M", "\u0661"])
def test_any_other_duration_is_refused_with_examples(text: str) -> None:
    with pytest.raises(ValueError, match=r"seconds \(600\), or a number with a unit"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "count"), [("65536", 65536), ("64KiB", 65536), ("16MiB", 16 * 1024**2), ("1 gib", 1024**3), ("7B", 7)]
)
def test_a_size_is_bytes_or_has_a_unit(text: str, count: int) -> None:
    assert parse_size(text) == count


@pytest.mark.parametrize("text", ["", "16MB", "1.5MiB", "-1", "many", "1e6"])
def test_any_other_size_is_refused_with_examples(text: str) -> None:
    with pytest.raises(ValueError, match=r"bytes \(65536\), or a number with a unit"):
        parse_size(text)


@given(st.integers(0, 10**9))
def test_what_is_shown_is_read_back(milliseconds: int) -> None:
    assert parse_duration(format_duration(milliseconds / 1000)) == pytest.approx(milliseconds / 1000)
    assert parse_size(format_size(milliseconds)) == milliseconds


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(600.0, "10m"), (3600.0, "1h"), (90.0, "90s"), (0.2, "200ms"), (2.5, "2500ms"), (0.0, "0s"), (604_800.0, "7d")],
)
def test_a_duration_is_shown_in_the_largest_unit_that_divides_it(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@pytest.mark.parametrize(("count", "text"), [(16 * 1024**2, "16MiB"), (1_000_000, "1000000"), (0, "0"), (1024, "1KiB")])
def test_a_size_is_shown_in_the_largest_unit_that_divides_it(count: int, text: str) -> None:
    assert format_size(count) == text


def test_numbers_pass() -> None:
    assert (parse_duration(2.5), parse_size(7)) == (2.5, 7)
