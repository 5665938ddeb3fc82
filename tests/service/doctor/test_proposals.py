"""Settings are proposed for what was proved or disproved, and for nothing else."""

from typing import Any

from fanout.environment import load
from service.doctor import executing, token_forms
from service.doctor.findings import Finding, Outcome
from service.doctor.proposals import proposals
from service.doctor.token_forms import ENDPOINT, SERVER, version_check

P, F, S = Outcome.PROVED, Outcome.FAILED, Outcome.SKIPPED
EXECUTING = [check.name for check in executing.checks(relied_on=True) if check.relied_on]


def proposed(token: dict[str, Outcome], execute: dict[str, Outcome], **settings: Any) -> dict[str, str]:
    findings = [Finding(token_forms.FAMILY, name, outcome, True, "") for name, outcome in token.items()]
    findings += [Finding(executing.FAMILY, name, outcome, True, "") for name, outcome in execute.items()]
    return dict(proposals(findings, load({}, **settings)))


def test_a_healthy_service_confirms_what_is_set() -> None:
    token = {ENDPOINT: P, version_check("2022-06-01"): P, version_check("2024-12-01"): P}
    assert proposed(token, dict.fromkeys(EXECUTING, P)) == {
        "FANOUT_AUDIENCE": "endpoint",
        "FANOUT_API_VERSION": "2022-06-01",
        "FANOUT_EXECUTE": "true",
    }


def test_the_audience_that_is_taken_is_proposed() -> None:
    assert proposed({ENDPOINT: F, SERVER: P}, {}) == {"FANOUT_AUDIENCE": "server"}


def test_the_newest_api_version_replaces_one_that_is_refused() -> None:
    token = {version_check("2024-12-01"): F, version_check("2022-06-01"): P, version_check("2023-07-01"): P}
    assert proposed(token, {}, api_version="2024-12-01") == {"FANOUT_API_VERSION": "2023-07-01"}


def test_execute_is_off_as_soon_as_one_thing_it_relies_on_fails() -> None:
    for name in EXECUTING:
        assert proposed({}, dict.fromkeys(EXECUTING, P) | {name: F}) == {"FANOUT_EXECUTE": "false"}


def test_what_was_not_tried_proposes_nothing() -> None:
    assert proposed({ENDPOINT: S}, dict.fromkeys(EXECUTING, S)) == {}
    assert proposed({}, {}) == {}
