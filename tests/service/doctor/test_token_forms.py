"""Which tokens are taken is found out form by form."""

from pathlib import Path

import pytest

from emulator.config import WELL_KNOWN_KEY, EmulatorConfig
from emulator.control.faults import FaultRule, Match
from fanout.environment import load
from fanout.settings import Settings
from fanout.signalr.connection_string import ConnectionString
from service.doctor import token_forms
from service.doctor.delivery import MANY
from service.doctor.examination import checks_of, examine
from service.doctor.probe import Access, probe
from service.doctor.reach import ANSWERS
from service.doctor.routes import CONNECTS
from service.doctor.target import Check, Target, open_target
from service.doctor.token_forms import ACCEPTED, ENDPOINT, SERVER, other_port, version_check
from tests.authority import CLIENT, SECRET, TENANT, authority, token_number
from tests.emulator.running import running
from tests.service.doctor.examining import examined, failed, options, run_check

pytestmark = pytest.mark.slow


def all_of(target: Target) -> tuple[Check, ...]:
    return token_forms.checks(target.service, target.settings)


async def test_every_form_the_service_takes_is_proved() -> None:
    async with examined() as (_service, target):
        for check in all_of(target):
            assert await check.run(target)


async def test_a_wrong_key_is_disproof() -> None:
    async with examined(EmulatorConfig(keys=("x" * 44,))) as (service, target):
        words = await failed(target, all_of(target), ACCEPTED)
        assert words == f"Answered 401 to a token for {service.base}: wrong key, audience, clock or network rule."


async def test_a_service_that_checks_no_audience_is_noticed() -> None:
    async with examined(EmulatorConfig(check_audience=False)) as (_service, target):
        words = await failed(target, all_of(target), "a token for another URL is refused")
        assert words == "The service accepts tokens for other URLs."


async def test_a_server_error_says_nothing_of_a_token() -> None:
    async with examined() as (service, target):
        service.emulator.faults.set([{"kind": "status", "status": 503}])
        assert "says nothing" in await failed(target, all_of(target), ACCEPTED)


async def test_an_api_version_that_the_service_does_not_know_is_a_failure() -> None:
    async with examined(settings=load({}, api_version="2024-12-01")) as (service, target):
        service.emulator.faults.set([{"kind": "status", "status": 400}])  # as a service without this version answers
        assert await failed(target, all_of(target), version_check("2024-12-01")) == "Answered 400."


@pytest.mark.parametrize(("audience", "relied_on"), [("endpoint", ENDPOINT), ("server", SERVER)])
def test_the_configured_host_is_relied_on_and_the_other_is_not(audience: str, relied_on: str) -> None:
    where = ConnectionString.parse(f"Endpoint=https://a.example;ServerEndpoint=https://b.example;AccessKey={'k' * 44}")
    settings: Settings = load({}, audience=audience)
    chosen = {check.name: check.relied_on for check in token_forms.checks(where, settings)}
    assert {name for name in (ENDPOINT, SERVER) if chosen[name]} == {relied_on}


async def test_each_host_is_tried_for_itself() -> None:
    async with examined(EmulatorConfig(endpoint="http://signalr.example")) as (service, target):
        text = f"Endpoint=http://else.example;ServerEndpoint={service.base};AccessKey={WELL_KNOWN_KEY}"
        checks = token_forms.checks(ConnectionString.parse(text), load({}, audience="server"))
        assert "else.example" in await failed(target, checks, ENDPOINT)
        assert await run_check(target, checks, SERVER) == service.base


@pytest.mark.parametrize(
    ("base", "other"),
    [
        ("https://a.example", "https://a.example:443"),
        ("http://a.example", "http://a.example:80"),
        ("http://localhost:8888", "http://localhost"),
        ("https://[::1]:444/under", "https://[::1]/under"),
    ],
)
def test_the_other_form_of_a_port(base: str, other: str) -> None:
    assert other_port(base) == other


async def test_an_identity_is_proved_and_its_refusals_say_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with authority(tmp_path) as entra:
        for name, value in entra.environ.items():
            monkeypatch.setenv(name, value)
        config = EmulatorConfig(entra_tokens=(token_number(1),))
        async with running(config) as service:
            app = f"AuthType=azure.app;ClientId={CLIENT};TenantId={TENANT};ClientSecret={SECRET}"
            where = ConnectionString.parse(f"Endpoint={service.base};{app}")
            wanted = {ANSWERS, ACCEPTED, CONNECTS, f"{MANY} messages arrive in order"}
            all_checks = checks_of(where, load({}))
            checks = [each for each in all_checks if each.name in wanted]
            found = {each.name: each async for each in examine(where, load({}), options(), service.clock, checks)}
            assert found.keys() == wanted
            assert [each for each in found.values() if each.harmful] == []
            assert CLIENT in found[ACCEPTED].detail
            assert ENDPOINT not in {each.name for each in all_checks}
            async with open_target(where, load({}), options(), service.clock) as target:
                words = await failed(target, all_of(target), ACCEPTED)
            assert words.startswith(f"The service does not accept the token of the app registration {CLIENT}")
            result = await probe(where, load({}), service.clock)
            assert result.access is Access.KEY_REFUSED
            service.emulator.faults.set([FaultRule("status", Match(path="/api/hubs"), 403)])
            result = await probe(where, load({}), service.clock)
            assert "give it the role SignalR Service Owner" in result.detail
            assert SECRET not in result.detail
