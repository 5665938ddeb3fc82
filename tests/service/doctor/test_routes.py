"""A route is proved by what arrives, not by its status."""

import pytest

from service.doctor import routes
from service.doctor.routes import CONNECTS
from tests.service.doctor.examining import HUB, disproved, examined, seen

CHECKS = routes.checks()
LYING = {"send": ("/:send", "did not arrive"), "add": ("/groups/", "did not arrive"), "close": ("", "stayed open")}


async def test_every_route_of_a_faithful_service_is_proved_and_nothing_is_left() -> None:
    async with examined() as (service, patient):
        for check in CHECKS:
            assert await check.run(patient)
        assert patient.joined == set()
        hub = service.emulator.hubs[HUB]
        assert not hub.memberships._by_user


@pytest.mark.parametrize("name", [check.name for check in CHECKS if check.name.startswith(("send", "add", "close"))])
async def test_a_status_without_its_effect_proves_nothing(name: str) -> None:
    async with examined(timeout=0.3) as (service, patient):
        path, words = LYING[name.split(" ", maxsplit=1)[0]]
        methods = {"close a connection": "DELETE"}
        match = {"path": path or ":closeConnections", "method": "POST"}
        if name.startswith("add"):
            match["method"] = "PUT"
        if name in methods:
            match = {"path": "/connections/[^/]+$", "method": methods[name]}
        service.emulator.faults.set([{"kind": "status", "status": 202, "match": match}])
        assert words in await disproved(patient, CHECKS, name)


@pytest.mark.parametrize("name", [check.name for check in CHECKS if check.name.startswith("remove")])
async def test_a_member_that_was_removed_and_still_hears_is_disproof(name: str) -> None:
    async with examined() as (service, patient):
        service.emulator.faults.set([{"kind": "status", "status": 204, "match": {"method": "DELETE"}}])
        assert "'after leaving' arrived" in await disproved(patient, CHECKS, name)


async def test_what_exists_is_asked_for_by_status() -> None:
    async with examined() as (service, patient):
        service.emulator.faults.set([{"kind": "status", "status": 200, "match": {"method": "HEAD", "path": "0x"}}])
        words = await disproved(patient, CHECKS, "ask what exists")
        assert "missing connection 200, missing user 200" in words


async def test_a_client_connects_where_negotiate_would_send_it() -> None:
    async with examined() as (service, patient):
        assert await seen(patient, CHECKS, CONNECTS) == f"through {service.base}/client"
