"""Checks run in order and end each other only where one is the ground of the next."""

from collections.abc import AsyncIterator

import pytest

from emulator.config import EmulatorConfig
from fanout.environment import load
from fanout.signalr.connection_string import ConnectionString
from service.doctor import reach, token_forms
from service.doctor.examination import checks_of, holds
from service.doctor.findings import CheckFailedError, Outcome
from service.doctor.target import Check, Target
from tests.emulator.running import Service, running
from tests.service.doctor.examining import findings_of, service_of

pytestmark = pytest.mark.slow


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    """A running emulator."""
    async with running() as started:
        yield started


def grounds(where: ConnectionString) -> list[Check]:
    """Enough checks to see what a configuration relies on."""
    return [check for check in checks_of(where, load({})) if check.family in {"reach", "token", "end"}]


def test_names_are_unique_and_each_ground_is_proved_before_it_is_needed(service: Service) -> None:
    names: list[str] = []
    for check in checks_of(service_of(service), load({})):
        assert check.name not in names
        assert not check.needs or check.needs in names
        names.append(check.name)


@pytest.mark.parametrize("execute", [False, True])
def test_execute_is_relied_on_where_it_is_configured(service: Service, *, execute: bool) -> None:
    checks = checks_of(service_of(service), load({}, execute=execute))
    assert any(check.relied_on for check in checks if check.family == ":execute") is execute


async def test_a_dead_endpoint_is_one_failure_and_the_rest_is_skipped(service: Service) -> None:
    where = ConnectionString.parse(f"Endpoint=http://127.0.0.1:1;AccessKey={'k' * 44}")
    first, *rest = await findings_of(service, where=where)
    assert (first.name, first.outcome) == (reach.ANSWERS, Outcome.FAILED)
    assert first.detail.startswith("No answer: ")
    assert {finding.outcome for finding in rest} == {Outcome.SKIPPED}
    assert not holds([first, *rest])


async def test_a_silent_endpoint_costs_one_time_out(service: Service) -> None:
    service.emulator.faults.set([{"kind": "latency", "seconds": 60}])
    findings = await findings_of(service, timeout=0.2)
    assert len(service.emulator.journal) == 1  # nothing more is asked
    assert [finding.outcome for finding in findings].count(Outcome.FAILED) == 1


async def test_a_wrong_key_ends_it_with_the_token(service: Service) -> None:
    findings = await findings_of(service, key="x" * 44)
    failed = {finding.name for finding in findings if finding.outcome is Outcome.FAILED}
    assert {token_forms.ACCEPTED, token_forms.ENDPOINT} <= failed
    assert {finding.family for finding in findings if finding.outcome is Outcome.FAILED} == {"token"}
    assert not holds(findings)


async def test_a_service_that_takes_any_audience_is_noted_and_does_no_harm() -> None:
    async with running(EmulatorConfig(check_audience=False)) as service:
        findings = await findings_of(service, grounds(service_of(service)))
    assert [finding.name for finding in findings if finding.outcome is Outcome.FAILED] == [
        "a token for another URL is refused"
    ]
    assert holds(findings)


async def test_what_a_check_raises_is_a_line(service: Service) -> None:
    async def says_no(_target: Target) -> str:
        raise CheckFailedError("no\x1b[2J")

    async def hangs(target: Target) -> str:
        await target.clock.sleep(60)
        return ""

    async def two_at_once(_target: Target) -> str:
        raise ExceptionGroup("both", [CheckFailedError("first"), CheckFailedError("second")])

    checks = [Check("x", str(run.__name__), run) for run in (says_no, hangs, two_at_once)]
    findings = await findings_of(service, checks, timeout=0.02, ttl=0)
    assert [finding.detail for finding in findings] == ["no [2J", "Not done within 0.08 s.", "first"]


async def test_a_mistake_in_a_check_is_not_taken_for_the_service_s(service: Service) -> None:
    async def broken(_target: Target) -> str:
        raise KeyError("typing error")

    with pytest.raises(KeyError):
        await findings_of(service, [Check("x", "broken", broken)])


async def test_429_is_provoked_on_request_alone(service: Service) -> None:
    checks = [check for check in checks_of(service_of(service), load({})) if check.family in {"reach", "token", "429"}]
    assert "--provoke-429" in (await findings_of(service, checks))[-1].detail
    assert (await findings_of(service, checks, provoke=3))[-1].detail.startswith("3 calls")


def test_nothing_found_is_not_a_proof() -> None:
    assert not holds([])
