"""Reaching the service, its health, its clock, its connections."""

import pytest

from service.doctor.findings import CheckFailedError
from service.doctor.reach import ANSWERS, checks, skew_verdict
from tests.service.doctor.examining import examined, failed, run_check


async def test_a_service_that_answers_is_reached_whatever_it_says() -> None:
    async with examined() as (service, target):
        assert service.base in await run_check(target, checks(), ANSWERS)
        assert "200" in await run_check(target, checks(), "health")
        assert "less than 2 s" in await run_check(target, checks(), "clock skew")
        assert "keep-alive" in await run_check(target, checks(), "two calls on one connection")
        service.emulator.faults.set([{"kind": "status", "status": 503, "match": {"path": "/health"}}])
        assert service.base in await run_check(target, checks(), ANSWERS)
        assert await failed(target, checks(), "health") == "HEAD /api/health answered 503."


async def test_a_connection_cut_after_each_call_is_seen() -> None:
    async with examined() as (service, target):
        service.emulator.faults.set([{"kind": "resetBeforeBody", "match": {"path": "/health"}}])
        assert "No answer" in await failed(target, checks(), ANSWERS)


@pytest.mark.parametrize(
    ("ahead", "words"),
    [
        (0.0, "less than 2 s"),
        (-1.9, "less than 2 s"),
        (30.0, "30 s ahead"),
        (-90.0, "90 s behind; correct"),
        (-5000.0, "5000 s behind; correct"),
        (359.0, "359 s ahead; correct"),
    ],
)
def test_skew_is_reported_and_noted_past_a_minute(ahead: float, words: str) -> None:
    assert words in skew_verdict(ahead, 3600)


def test_a_clock_so_far_ahead_that_cached_tokens_expire_is_disproof() -> None:
    with pytest.raises(CheckFailedError, match="expire"):
        skew_verdict(361.0, 3600)
