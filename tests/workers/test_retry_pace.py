"""How fast is tried again what failed: slowly while it fails, and as fast as it can go while it is served."""

import pytest

from workers.retry_pace import RATE, RetryPace


def _begun(pace: RetryPace, since: float, seconds: float, *, served_each: int = 0) -> int:
    """Begin as many as may, a thousand times a second; every `served_each`th is served."""
    count = 0
    for step in range(round(seconds * 1000)):
        now = since + step / 1000
        while pace.is_open(now) and count < 100_000:
            pace.began(now)
            count += 1
            if served_each and count % served_each == 0:
                pace.served()
    return count


def test_what_fails_is_tried_at_a_rate_and_hardly_any_of_it_together() -> None:
    pace = RetryPace()
    first = _begun(pace, 1000.0, 0.001)
    assert first == 128
    assert _begun(pace, 1000.0, 10.0) == pytest.approx(10 * RATE, abs=1)
    assert _begun(pace, 1100.0, 0.001) == 16  # after a rest


def test_as_long_as_one_of_eight_is_served_nothing_waits() -> None:
    pace = RetryPace()
    assert _begun(pace, 1000.0, 0.001, served_each=8) == 100_000


def test_a_service_that_recovers_is_busy_after_a_few_calls() -> None:
    pace = RetryPace()
    assert _begun(pace, 1000.0, 1.0) > 500
    rounds = [1]  # the probe that finds out
    while rounds[-1] < 128:
        for _ in range(rounds[-1]):
            pace.served()
        rounds.append(_begun(pace, 1000.999, 0.001))
    assert rounds == [1, 8, 64, 128]


def test_one_that_has_to_wait_comes_when_it_may_go_and_finds_a_few_together() -> None:
    pace = RetryPace()
    _begun(pace, 1000.0, 0.001)
    assert not pace.is_open(1000.0)
    assert 1000.0 < pace.opens_at < 1000.03
    assert _begun(pace, pace.opens_at + 1e-9, 0.001) == 8
