"""The examination on paper: a table for people, a document for programs. Pure.

Rule guarded: a reader sees at once what is wrong and whether it matters: FAIL is what the configuration relies on, `no`
is what it does not.
"""

from collections.abc import Sequence
from typing import Any, Final

from fanout.settings import Settings
from fanout.signalr.connection_string import ConnectionString
from service.doctor.examination import holds
from service.doctor.findings import Finding, Outcome
from service.doctor.proposals import proposals
from service.doctor.target import Options

_FAMILY: Final = 10
_NAME: Final = 40
_MARKS: Final = {Outcome.PROVED: "ok", Outcome.FAILED: "no", Outcome.SKIPPED: "-"}


def heading(service: ConnectionString, settings: Settings, options: Options) -> str:
    """Say what is examined; no secret is in it."""
    return f"{service.server_endpoint}, hub {options.hub}, api-version {settings.api_version}\n"


def row(finding: Finding) -> str:
    """Give one line of the table."""
    mark = "FAIL" if finding.relied_on and finding.outcome is Outcome.FAILED else _MARKS[finding.outcome]
    return f"{finding.family:<{_FAMILY}}{mark:<6}{finding.name:<{_NAME}} {finding.detail}".rstrip()


def summary(findings: Sequence[Finding], settings: Settings) -> str:
    """Give what stands below the table: the verdict, and the settings that fit."""
    counts = {outcome: sum(finding.outcome is outcome for finding in findings) for outcome in Outcome}
    lines = ["", ", ".join(f"{count} {outcome.value}" for outcome, count in counts.items()) + ".", _verdict(findings)]
    proposed = proposals(findings, settings)
    if proposed:
        lines += ["", "What it proved, as settings:", *(f"{name}={value}" for name, value in proposed.items())]
    return "\n".join(lines)


def _verdict(findings: Sequence[Finding]) -> str:
    harmful = [finding for finding in findings if finding.harmful]
    if not harmful:
        return "What the configuration relies on holds."
    failed = [f"{each.family}: {each.name}" for each in harmful if each.outcome is Outcome.FAILED]
    skipped = len(harmful) - len(failed)
    answered = [*failed, *([f"{skipped} more that could not be tried"] if skipped else [])]
    return f"Not proved, though the configuration relies on it: {'; '.join(answered)}."


def document(
    service: ConnectionString, settings: Settings, options: Options, findings: Sequence[Finding]
) -> dict[str, Any]:
    """Give the same for programs, in camelCase."""
    return {
        "ok": holds(findings),
        "service": service.server_endpoint,
        "hub": options.hub,
        "apiVersion": settings.api_version,
        "findings": [
            {
                "family": finding.family,
                "check": finding.name,
                "standing": finding.outcome.value,
                "reliedOn": finding.relied_on,
                "detail": finding.detail,
                "seconds": round(finding.seconds, 3),
            }
            for finding in findings
        ],
        "settings": dict(proposals(findings, settings)),
    }
