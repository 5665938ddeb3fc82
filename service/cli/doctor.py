"""`fanout doctor`: the examination on the command line, as a table for people or a document for programs.

Rules guarded: the exit code is 0 only when everything that the configuration relies on was proved, 1 when something was
not, 2 when there is nothing to examine or it could not be recorded. A row is printed as soon as it is known. FAIL marks
a failure that the configuration relies on, `no` one that it does not. Several endpoints are examined in turn, and each
has to hold.
"""

import asyncio
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import click
import orjson

from fanout.binding.names import check_hub
from fanout.clock import Clock, SystemClock
from fanout.environment import load, variable_of
from fanout.errors import BadRequestError, ConfigurationError, QueueError
from fanout.queue.evidence import Evidence
from fanout.queue.keys import Keys
from fanout.settings import Settings
from fanout.signalr.endpoints import ServiceEndpoint, key_named
from service.cli.running import or_exit
from service.doctor.examination import examine, holds
from service.doctor.findings import Finding, Outcome
from service.doctor.proposals import proposals
from service.doctor.target import Options
from service.identities import Identities
from service.outgoing import open_configured_redis
from service.startup import endpoints_of

_FAMILY_WIDTH: Final = 10
_NAME_WIDTH: Final = 40
_MARKS: Final = {Outcome.PROVED: "ok", Outcome.FAILED: "no", Outcome.SKIPPED: "-"}


@dataclass(frozen=True, slots=True)
class Examination:
    """One endpoint and what was found of it."""

    endpoint: ServiceEndpoint
    findings: Sequence[Finding]

    @property
    def holds(self) -> bool:
        """Whether everything that the configuration relies on was proved."""
        return holds(self.findings)


@click.command()
@click.option("--hub", default="fanoutdoctor", show_default=True, help="The scratch hub; no live client should use it.")
@click.option("--endpoint", "name", metavar="NAME", help="Examine this endpoint only; `default` has no name.")
@click.option(
    "--provoke-429",
    "provoke",
    type=click.IntRange(0, 100_000),
    default=0,
    help="Send this many quick calls to see what a 429 contains. They slow down live traffic of the service.",
)
@click.option(
    "--timeout", type=click.FloatRange(0.1, 120), default=10.0, show_default=True, help="Seconds for each call."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of the table.")
@click.option(
    "--record", is_flag=True, help="Store in Redis whether the service runs `:execute`, for FANOUT_EXECUTE=auto."
)
def doctor(hub: str, name: str | None, provoke: int, timeout: float, *, as_json: bool, record: bool) -> None:
    """Prove against every configured endpoint what delivery relies on, one after another.

    It signs tokens in several forms, calls every route on a scratch hub under random ids, and receives the messages
    with real clients. It ends with the settings that fit the service. AzureSignalRConnectionString names the service.

    Exit code 0: everything that the configuration relies on was proved, of every endpoint; 1: something was not; 2:
    there was nothing to examine, or Redis did not take what was to be recorded.
    """
    settings = or_exit(load)
    endpoints = or_exit(lambda: _chosen(settings, name))
    options = or_exit(lambda: Options(_hub(hub), timeout=timeout, provoke=provoke))
    done = asyncio.run(_examined(endpoints, settings, options, quiet=as_json))
    recorded = or_exit(lambda: asyncio.run(_recorded(done, settings))) if record else []
    if as_json:
        click.echo(orjson.dumps(documents(done, settings, options), option=orjson.OPT_INDENT_2).decode())
    elif len(done) > 1:
        click.echo("\n".join(["", *conclusion(done, settings)]))
    for line in recorded:
        click.echo(line, err=as_json)
    sys.exit(0 if all(each.holds for each in done) else 1)


async def _examined(
    endpoints: Sequence[ServiceEndpoint], settings: Settings, options: Options, *, quiet: bool
) -> list[Examination]:
    done: list[Examination] = []
    for endpoint in endpoints:
        findings: list[Finding] = []
        if not quiet:
            click.echo(("\n" if done else "") + heading(endpoint, settings, options))
        async for finding in examine(endpoint.service, settings, options, SystemClock()):
            findings.append(finding)
            if not quiet:
                click.echo(row(finding))
        if not quiet:
            click.echo(summary(findings, settings))
        done.append(Examination(endpoint, findings))
    return done


async def _recorded(done: Sequence[Examination], settings: Settings) -> list[str]:
    """Keep what was found of `:execute` where workers look for it, and return what was done."""
    clock = SystemClock()
    identities = Identities(clock)
    redis_client = or_exit(lambda: open_configured_redis(settings, clock, identities=identities))
    evidence = Evidence(redis_client, Keys(settings.namespace))
    try:
        await identities.prepare()
        return [await _record(each, settings, evidence, clock) for each in done]
    except QueueError as error:
        raise ConfigurationError(f"--record: not everything was recorded: {error}") from None
    finally:
        await redis_client.aclose()


async def _record(examination: Examination, settings: Settings, evidence: Evidence, clock: Clock) -> str:
    address = examination.endpoint.service.server_endpoint
    proposed = proposals(examination.findings, settings).get(variable_of("execute"))
    if proposed is None:
        return f"Nothing was recorded of {address}: `:execute` could not be tried."
    proved = proposed == "true"
    await evidence.record(address, proved=proved, at=clock.wall())
    return f"Recorded: {address} runs {'' if proved else 'no '}`:execute`."


def _chosen(settings: Settings, name: str | None) -> list[ServiceEndpoint]:
    endpoints = list(endpoints_of(settings, needed=True) or ())
    if name is None:
        return endpoints
    try:
        key = key_named(name, [each.key for each in endpoints])
    except ValueError as error:
        raise ConfigurationError(f"--endpoint: {error}") from None
    return [each for each in endpoints if each.key == key]


def _hub(name: str) -> str:
    try:
        return check_hub(name)
    except BadRequestError as error:
        raise ConfigurationError(f"--hub: {error}") from None


def heading(endpoint: ServiceEndpoint, settings: Settings, options: Options) -> str:
    """Return what is examined; it contains no secret."""
    service = endpoint.service
    identity = "" if service.entra is None else f", as {service.entra.text}"
    place = f"Endpoint {endpoint.label}: {service.server_endpoint}"
    return f"{place}, hub {options.hub}, api-version {settings.api_version}{identity}\n"


def row(finding: Finding) -> str:
    """Return one line of the table."""
    mark = "FAIL" if finding.relied_on and finding.outcome is Outcome.FAILED else _MARKS[finding.outcome]
    return f"{finding.family:<{_FAMILY_WIDTH}}{mark:<6}{finding.name:<{_NAME_WIDTH}} {finding.detail}".rstrip()


def summary(findings: Sequence[Finding], settings: Settings) -> str:
    """Return what follows the table: the counts, the verdict and the settings that fit."""
    counts = {outcome: sum(finding.outcome is outcome for finding in findings) for outcome in Outcome}
    lines = ["", ", ".join(f"{count} {outcome.value}" for outcome, count in counts.items()) + ".", _verdict(findings)]
    proposed = proposals(findings, settings)
    if proposed:
        lines += ["", "Settings that follow from it:", *(f"{name}={value}" for name, value in proposed.items())]
    return "\n".join(lines)


def _verdict(findings: Sequence[Finding]) -> str:
    harmful = [finding for finding in findings if finding.harmful]
    if not harmful:
        return "Everything that the configuration relies on was proved."
    failed = [f"{each.family}: {each.name}" for each in harmful if each.outcome is Outcome.FAILED]
    skipped = len(harmful) - len(failed)
    reasons = [*failed, *([f"{skipped} more that could not be tried"] if skipped else [])]
    return f"Not proved, though the configuration relies on it: {'; '.join(reasons)}."


def conclusion(done: Sequence[Examination], settings: Settings) -> Iterator[str]:
    """Yield what can be said of several endpoints together: which do not hold, and which settings fit not all."""
    bad = [each.endpoint.label for each in done if not each.holds]
    yield f"{len(done)} endpoints examined. " + (f"Not as needed: {', '.join(bad)}." if bad else "All are as needed.")
    proposed = {each.endpoint.label: proposals(each.findings, settings) for each in done}
    for variable in dict.fromkeys(variable for fitting in proposed.values() for variable in fitting):
        fits = {label: fitting[variable] for label, fitting in proposed.items() if variable in fitting}
        if len(set(fits.values())) > 1:
            values = ", ".join(f"{value} fits {label}" for label, value in fits.items())
            yield f"{variable} counts for every endpoint, and they differ: {values}."


def documents(done: Sequence[Examination], settings: Settings, options: Options) -> dict[str, Any]:
    """Return the same for programs: the document of one endpoint, or a list with one of each."""
    found = [document(each, settings, options) for each in done]
    return found[0] if len(found) == 1 else {"ok": all(each.holds for each in done), "endpoints": found}


def document(examination: Examination, settings: Settings, options: Options) -> dict[str, Any]:
    """Return what was found of one endpoint, in camelCase."""
    return {
        "ok": examination.holds,
        "name": examination.endpoint.label,
        "service": examination.endpoint.service.server_endpoint,
        "hub": options.hub,
        "apiVersion": settings.api_version,
        "findings": [
            {
                "family": finding.family,
                "check": finding.name,
                "outcome": finding.outcome.value,
                "reliedOn": finding.relied_on,
                "detail": finding.detail,
                "seconds": round(finding.seconds, 3),
            }
            for finding in examination.findings
        ],
        "settings": dict(proposals(examination.findings, settings)),
    }
