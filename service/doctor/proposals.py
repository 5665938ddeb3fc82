"""Settings that follow from the findings. Pure.

Rule guarded: a setting is proposed only for what a check has proved or disproved; a skipped check proposes nothing.
"""

from collections.abc import Mapping, Sequence

from fanout.environment import variable_of
from fanout.settings import Settings
from service.doctor import executing, token_forms
from service.doctor.findings import Finding, Outcome
from service.doctor.token_forms import VERSIONS, version_check


def proposals(findings: Sequence[Finding], settings: Settings) -> Mapping[str, str]:
    """Return variables and the values that fit the findings, in the order of the checks."""
    outcomes = {(finding.family, finding.name): finding.outcome for finding in findings}
    chosen = {
        "audience": _audience(outcomes),
        "api_version": _api_version(outcomes, settings.api_version),
        "execute": _execute(outcomes),
    }
    return {variable_of(name): value for name, value in chosen.items() if value}


def _audience(outcomes: Mapping[tuple[str, str], Outcome]) -> str:
    names = {token_forms.ENDPOINT: "endpoint", token_forms.SERVER: "server"}
    proved = [value for name, value in names.items() if outcomes.get((token_forms.FAMILY, name)) is Outcome.PROVED]
    return proved[0] if proved else ""


def _api_version(outcomes: Mapping[tuple[str, str], Outcome], configured: str) -> str:
    preferred = (configured, *reversed(VERSIONS))
    for version in preferred:
        if outcomes.get((token_forms.FAMILY, version_check(version))) is Outcome.PROVED:
            return version
    return ""


def _execute(outcomes: Mapping[tuple[str, str], Outcome]) -> str:
    relied_on = [
        outcomes.get((executing.FAMILY, check.name), Outcome.SKIPPED)
        for check in executing.checks(relied_on=True)
        if check.relied_on
    ]
    if relied_on[0] is Outcome.SKIPPED:
        return ""
    return "true" if all(outcome is Outcome.PROVED for outcome in relied_on) else "false"
