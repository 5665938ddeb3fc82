"""A route is proved by what arrives, not by its status."""

import pytest

from service.doctor import routes
from service.doctor.routes import CONNECTS
from tests.service.doctor.examining import HUB, examined, failed, run_check

pytestmark = pytest.mark.slow

CHECKS = routes.checks()
LYING = {"send": ("/:send", "did not arrive"), "add": ("/groups/", "did not arrive"), "close": ("", "stayed open")}


async def test_every_route_of_a_faithful_service_is_proved_and_nothing_is_left() -> None:
    async with examined() as (service, target):
        for check in CHECKS:
            assert await check.run(target)
        assert target.joined == set()
        hub = service.emulator.hubs[HUB]
        assert not hub.memberships._by_user


@pytest.mark.parametrize("name", [check.name for check in CHECKS if check.name.startswith(("send", "add", "close"))])
async def test_a_status_without_its_effect_proves_nothing(name: str) -> None:
    async with examined(timeout=0.3) as (service, target):
        path, words = LYING[name.split(" ", maxsplit=1)[0]]
        methods = {"close a connection": "DELETE"}
        match = {"path": path or ":closeConnections", "method": "POST"}
        if name.startswith("add"):
            match["method"] = "PUT"
        if name in methods:
            match = {"path": "/connections/[^/]+$", "method": methods[name]}
        service.emulator.faults.set([{"kind": "status", "status": 202, "match": match}])
        assert words in await failed(target, CHECKS, name)


@pytest.mark.parametrize("name", [check.name for check in CHECKS if check.name.startswith("remove")])
async def test_a_member_that_was_removed_and_still_receives_is_a_failure(name: str) -> None:
    async with examined() as (service, target):
        service.emulator.faults.set([{"kind": "status", "status": 204, "match": {"method": "DELETE"}}])
        assert "'after leaving' arrived" in await failed(target, CHECKS, name)


async def test_what_exists_is_asked_for_by_status() -> None:
    async with examined() as (service, target):
        service.emulator.faults.set([{"kind": "status", "status": 200, "match": {"method": "HEAD", "path": "0x"}}])
        words = await failed(target, CHECKS, "ask what exists")
        assert "missing connection 200, missing user 200" in words


async def test_a_client_connects_where_negotiate_would_send_it() -> None:
    async with examined() as (service, target):
        assert await run_check(target, CHECKS, CONNECTS) == f"through {service.base}/client"
