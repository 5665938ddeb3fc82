"""Order, bytes, exclusions and membership TTL are proved on clients, against services that break them."""

from collections.abc import Collection

import msgspec
import pytest

from emulator import hubs
from emulator.client import Client
from emulator.config import LIKE_ASRS_EMULATOR
from emulator.hubs import UserGroups
from emulator.protocols.hub import Frame, HubProtocol, Invocation
from service.doctor import delivery, executing
from service.doctor.target import Check
from tests.service.doctor.examining import HUB, examined, failed

pytestmark = pytest.mark.slow

CHECKS = delivery.checks()


async def test_a_faithful_service_passes() -> None:
    async with examined() as (service, target):
        for check in CHECKS:
            assert await check.run(target)
        assert not service.emulator.hubs[HUB].memberships._by_user


async def test_a_message_lost_on_the_way_is_disproof() -> None:
    async with examined() as (service, target):
        service.emulator.faults.set([{"kind": "status", "status": 202, "every": 7}])
        words = await failed(target, CHECKS, "20 messages arrive in order")
        assert words == "'number 7' arrived where 'number 6' was expected."


@pytest.mark.parametrize("name", ["excluded, everybody", "excluded, group"])
async def test_an_excluded_connection_that_receives_is_a_failure(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def all_of_them(clients: dict[str, Client], _excluded: Collection[str]) -> list[Client]:
        return list(clients.values())

    monkeypatch.setattr(hubs, "_excluding", all_of_them)
    async with examined() as (_service, target):
        assert await failed(target, CHECKS, name) == "'some' arrived where 'all' was expected."


async def test_a_membership_that_outlives_its_ttl_is_disproof(monkeypatch: pytest.MonkeyPatch) -> None:
    def everlasting(self: UserGroups, user: str, now: float) -> list[str]:
        return list(self._by_user.get(user, ()))

    monkeypatch.setattr(UserGroups, "groups_of", everlasting)
    async with examined() as (_service, target):
        words = await failed(target, CHECKS, "membership with a TTL")
        assert words == "'too late' arrived where 'the end' was expected."


@pytest.mark.parametrize(
    ("checks", "name"),
    [(CHECKS, "arguments arrive byte for byte"), (executing.checks(relied_on=True), "arguments byte for byte")],
)
async def test_arguments_that_are_rewritten_are_a_failure(
    checks: tuple[Check, ...], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Invocation.frame

    def rewriting(self: Invocation, protocol: HubProtocol) -> Frame | None:
        self._arguments = msgspec.json.encode(msgspec.json.decode(self._arguments)).decode()
        return original(self, protocol)

    monkeypatch.setattr(Invocation, "frame", rewriting)
    async with examined() as (_service, target):
        assert "rewrites them" in await failed(target, checks, name)


async def test_an_id_with_a_slash_that_reaches_another_user_is_a_failure() -> None:
    async with examined(LIKE_ASRS_EMULATOR) as (_service, target):
        words = await failed(target, CHECKS, "ids with / and % reach their own user and no other")
    assert "/a' arrived where 'for " in words
