"""Reaching the service, its health, its clock, its connections."""

import pytest

from service.doctor.failure import DisprovedError
from service.doctor.reach import ANSWERS, checks, skew_verdict
from tests.service.doctor.examining import disproved, examined, seen


async def test_a_service_that_answers_is_reached_whatever_it_says() -> None:
    async with examined() as (service, patient):
        assert service.base in await seen(patient, checks(), ANSWERS)
        assert "200" in await seen(patient, checks(), "health")
        assert "less than 2 s" in await seen(patient, checks(), "clock skew")
        assert "keep-alive" in await seen(patient, checks(), "two calls on one connection")
        service.emulator.faults.set([{"kind": "status", "status": 503, "match": {"path": "/health"}}])
        assert service.base in await seen(patient, checks(), ANSWERS)
        assert await disproved(patient, checks(), "health") == "HEAD /api/health answered 503."


async def test_a_connection_cut_after_each_call_is_seen() -> None:
    async with examined() as (service, patient):
        service.emulator.faults.set([{"kind": "resetBeforeBody", "match": {"path": "/health"}}])
        assert "No answer" in await disproved(patient, checks(), ANSWERS)


@pytest.mark.parametrize(
    ("ahead", "words"),
    [
        (0.0, "less than 2 s"),
        (-1.9, "less than 2 s"),
        (30.0, "30 s ahead"),
        (-90.0, "90 s behind; set"),
        (-5000.0, "5000 s behind; set"),
        (359.0, "359 s ahead; set"),
    ],
)
def test_skew_is_told_and_noted_past_a_minute(ahead: float, words: str) -> None:
    assert words in skew_verdict(ahead, 3600)


def test_a_clock_so_far_ahead_that_cached_tokens_expire_is_disproof() -> None:
    with pytest.raises(DisprovedError, match="expire"):
        skew_verdict(361.0, 3600)
