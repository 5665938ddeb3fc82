"""A 429 is provoked on request, and what it carries is told."""

import pytest

from service.doctor import throttle
from tests.service.doctor.examining import examined, failed, run_check

pytestmark = pytest.mark.slow

CHECKS = throttle.checks()
NAME = "what 429 carries"


async def test_calls_past_a_quota_tell_what_429_carries() -> None:
    async with examined(provoke=60) as (service, target):
        service.emulator.quota.set(5, 7)
        words = await run_check(target, CHECKS, NAME)
    assert words.startswith("60 calls in ")
    assert " x 202, " in words
    assert words.endswith("x 429; with retry-after: 7")


async def test_a_429_without_a_hint_is_told_too() -> None:
    async with examined(provoke=40) as (service, target):
        service.emulator.quota.set(1)
        assert "no Retry-After" in await run_check(target, CHECKS, NAME)


async def test_calls_that_are_all_taken_prove_nothing() -> None:
    async with examined(provoke=5) as (service, target):
        words = await failed(target, CHECKS, NAME)
        assert "5 x 202. No call was refused" in words
        assert len(service.emulator.journal) == 5


async def test_lost_answers_are_counted() -> None:
    async with examined(provoke=5) as (service, target):
        service.emulator.faults.set([{"kind": "resetAfterBody", "times": 2}])
        assert "3 x 202, 2 x maybeSent" in await failed(target, CHECKS, NAME)
