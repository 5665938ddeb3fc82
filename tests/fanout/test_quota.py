"""How limits of callers are written and read."""

import pytest

from fanout.environment import load
from fanout.errors import ConfigurationError
from fanout.quota import Limits, Quota, limits_of, parse_bytes, parse_rate


@pytest.mark.parametrize(
    ("rate", "size", "text"),
    [
        ("100/s", "", "100 requests/s"),
        ("", "1MiB/s", "1MiB/s of bodies"),
        (" 6000 / m", "2GiB/h", "6000 requests/m and 2GiB/h of bodies"),
        ("50000/h", "65536/s", "50000 requests/h and 64KiB/s of bodies"),
    ],
)
def test_limits_are_shown_as_they_are_written(rate: str, size: str, text: str) -> None:
    limits = limits_of(rate, size)
    assert limits is not None
    assert limits.text == text


def test_what_is_not_written_is_no_limit() -> None:
    assert limits_of("", "") is None
    assert limits_of("60/m", "") == Limits(Quota(60, 60))
    assert Quota(60, 60).rate == 1


@pytest.mark.parametrize(
    "text", ["100", "/s", "0/s", "-1/s", "1.5/s", "100/d", "100/second", "1e9/s", "9999999999/s", "\u0661/s"]
)
def test_what_is_no_rate_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="100/s, 6000/m, 50000/h"):
        parse_rate(text)
    with pytest.raises(ConfigurationError, match="FANOUT_CALLER_RATE"):
        load({"FANOUT_CALLER_RATE": text})


@pytest.mark.parametrize("text", ["1MiB", "0/s", "1MB/s", "MiB/s", "-1/s", "1MiB/d", "2048GiB/s", "1/s/s"])
def test_what_is_no_rate_of_bytes_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="65536/s, 1MiB/s, 2GiB/h"):
        parse_bytes(text)
    with pytest.raises(ConfigurationError, match="FANOUT_CALLER_BYTES"):
        load({"FANOUT_CALLER_BYTES": text})
