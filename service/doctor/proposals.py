"""What was proved, as settings. Pure.

Rule guarded: a setting is proposed only for what a check has proved or disproved; what was skipped proposes nothing.
"""

from collections.abc import Mapping, Sequence

from fanout.environment import variable_of
from fanout.settings import Settings
from service.doctor import executing, token_forms
from service.doctor.check import Finding, Standing
from service.doctor.token_forms import VERSIONS, version_check


def proposals(findings: Sequence[Finding], settings: Settings) -> Mapping[str, str]:
    """Give variable names and values that fit what was found, in the order of the checks."""
    standings = {(finding.family, finding.name): finding.standing for finding in findings}
    chosen = {
        "audience": _audience(standings),
        "api_version": _api_version(standings, settings.api_version),
        "execute": _execute(standings),
    }
    return {variable_of(name): value for name, value in chosen.items() if value}


def _audience(standings: Mapping[tuple[str, str], Standing]) -> str:
    names = {token_forms.ENDPOINT: "endpoint", token_forms.SERVER: "server"}
    proved = [value for name, value in names.items() if standings.get((token_forms.FAMILY, name)) is Standing.PROVED]
    return proved[0] if proved else ""


def _api_version(standings: Mapping[tuple[str, str], Standing], configured: str) -> str:
    preferred = (configured, *reversed(VERSIONS))
    for version in preferred:
        if standings.get((token_forms.FAMILY, version_check(version))) is Standing.PROVED:
            return version
    return ""


def _execute(standings: Mapping[tuple[str, str], Standing]) -> str:
    leaned_on = [
        standings.get((executing.FAMILY, check.name), Standing.SKIPPED)
        for check in executing.checks(relied_on=True)
        if check.relied_on
    ]
    if leaned_on[0] is Standing.SKIPPED:
        return ""
    return "true" if all(standing is Standing.PROVED for standing in leaned_on) else "false"
