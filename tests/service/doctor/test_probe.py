"""One question to the service: is it there, and does it accept the key."""

import pytest

from emulator.config import WELL_KNOWN_KEY, EmulatorConfig, connection_string
from fanout.clock import SystemClock
from fanout.environment import load
from fanout.signalr.connection_string import ConnectionString
from service.doctor.probe import Access, probe
from tests.emulator.running import running
from tests.service.doctor.examining import service_of

pytestmark = pytest.mark.slow


async def test_a_healthy_service_accepts_the_key_and_nothing_is_changed() -> None:
    async with running() as service:
        result = await probe(service_of(service), load({}), service.clock)
        assert result.access is Access.GRANTED
        assert {entry.method for entry in service.emulator.journal.entries()} == {"HEAD"}


@pytest.mark.parametrize(("status", "access"), [(401, Access.GRANTED), (403, Access.GRANTED), (404, Access.GRANTED)])
async def test_a_health_route_that_asks_for_a_token_or_is_missing_is_no_fault(status: int, access: Access) -> None:
    """The vendor's local emulator answers it with 401, and a gateway in front may not forward it."""
    async with running() as service:
        service.emulator.faults.set([{"kind": "status", "status": status, "times": 1}])
        assert (await probe(service_of(service), load({}), service.clock)).access is access


async def test_a_wrong_key_is_refused_with_what_to_check() -> None:
    async with running(EmulatorConfig(keys=("another-key-" * 4,))) as service:
        result = await probe(service_of(service), load({}), service.clock)
        named = await probe(service_of(service), load({}), service.clock, variable="Azure__SignalR__Endpoints__East")
    assert result.access is Access.KEY_REFUSED
    assert "Check Azure__SignalR__Endpoints__East, " in named.detail
    assert "refuses the access key (401)" in result.detail
    assert "AzureSignalRConnectionString" in result.detail
    assert WELL_KNOWN_KEY not in result.detail


async def test_a_wrong_audience_is_refused_like_a_wrong_key() -> None:
    async with running(EmulatorConfig(endpoint="http://signalr.example")) as service:
        text = f"Endpoint=http://else.example;ServerEndpoint={service.base};AccessKey={WELL_KNOWN_KEY}"
        result = await probe(ConnectionString.parse(text), load({}), service.clock)
        assert result.access is Access.KEY_REFUSED
        assert "FANOUT_AUDIENCE" in result.detail
        server = await probe(ConnectionString.parse(text), load({}, audience="server"), service.clock)
    assert server.access is Access.GRANTED


async def test_a_service_that_does_not_know_the_version_names_the_setting() -> None:
    async with running() as service:
        service.emulator.faults.set([{"kind": "status", "status": 400}])
        result = await probe(service_of(service), load({}), service.clock)
    assert result.access is Access.VERSION_REFUSED
    assert "FANOUT_API_VERSION" in result.detail


async def test_a_service_that_is_unwell_or_away_says_nothing_about_the_key() -> None:
    async with running() as service:
        service.emulator.faults.set([{"kind": "status", "status": 503}])
        unwell = await probe(service_of(service), load({}), service.clock)
    away = await probe(ConnectionString.parse(connection_string(1)), load({}), SystemClock())
    assert (unwell.access, away.access) == (Access.UNAVAILABLE, Access.UNAVAILABLE)
    assert "answered 503" in unwell.detail
    assert "No answer" in away.detail
