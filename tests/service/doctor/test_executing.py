"""`:execute` is proved sentence by sentence, against services that break each."""

from collections.abc import Callable

import pytest
from msgspec import Raw

from emulator.client import Client
from emulator.config import EmulatorConfig
from emulator.rest.payload import parse_array
from emulator.rest.sends import parse_filter
from service.doctor import executing
from service.doctor.executing import EXISTS
from tests.service.doctor.examining import examined, failed

pytestmark = pytest.mark.slow

CHECKS = executing.checks(relied_on=True)


async def test_a_faithful_service_passes() -> None:
    async with examined() as (_service, target):
        for check in CHECKS:
            assert await check.run(target)


async def test_a_service_without_it_is_disproof() -> None:
    async with examined(EmulatorConfig(execute=False)) as (_service, target):
        assert (await failed(target, CHECKS, EXISTS)).startswith("Answered 404")


@pytest.mark.parametrize("name", ["userId eq, in order", "userId eq, quotes in ids"])
async def test_a_filter_that_is_not_heeded_is_disproof(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def everybody(_text: str) -> Callable[[Client], bool]:
        return lambda _client: True

    monkeypatch.setattr("emulator.rest.sends.parse_filter", everybody)
    async with examined() as (_service, target):
        assert "was expected" in await failed(target, CHECKS, name)


async def test_a_filter_that_breaks_at_quotes_is_disproof(monkeypatch: pytest.MonkeyPatch) -> None:
    def naive(text: str) -> Callable[[Client], bool]:
        return parse_filter(text.replace("''", "'"))

    monkeypatch.setattr("emulator.rest.sends.parse_filter", naive)
    async with examined() as (_service, target):
        assert (await failed(target, CHECKS, "userId eq, quotes in ids")).startswith("Answered 400")


@pytest.mark.parametrize("name", ["userId eq, in order", "no filter, in order", "nothing comes in between"])
async def test_messages_in_another_order_are_disproof(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("emulator.rest.sends.parse_array", lambda body: list(reversed(parse_array(body))))
    async with examined() as (_service, target):
        assert await failed(target, CHECKS, name)


async def test_half_of_a_bad_request_that_was_done_is_disproof(monkeypatch: pytest.MonkeyPatch) -> None:
    def but_the_bad_one(body: bytes) -> list[Raw]:
        return [item for item in parse_array(body) if b"NoSuchCommand" not in bytes(item)]

    monkeypatch.setattr("emulator.rest.sends.parse_array", but_the_bad_one)
    async with examined() as (service, target):
        words = await failed(target, CHECKS, "one bad command and nothing happens")
        assert words == "A command that does not exist was answered with 202."
        service.emulator.faults.set(
            [{"kind": "statusAfterDelivery", "status": 400, "match": {"path": ":execute"}}],
        )
        words = await failed(target, CHECKS, "one bad command and nothing happens")
        assert words == "'half of it' arrived where 'the end' was expected."
