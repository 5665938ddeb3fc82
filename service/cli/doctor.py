"""`fanout doctor`: the examination on the command line, as a table for people or a document for programs.

Rules guarded: the exit code is 0 only when everything that the configuration relies on was proved, 1 when something was
not, 2 when there is nothing to examine. A row is printed as soon as it is known. FAIL marks a failure that the
configuration relies on, `no` one that it does not.
"""

import asyncio
import sys
from collections.abc import Sequence
from typing import Any, Final

import click
import orjson

from fanout.binding.names import check_hub
from fanout.clock import SystemClock
from fanout.environment import CONNECTION_STRING, load, variable_of
from fanout.errors import BadRequestError, ConfigurationError, QueueError
from fanout.queue.evidence import Evidence
from fanout.queue.keys import Keys
from fanout.settings import Settings
from fanout.signalr.connection_string import ConnectionString
from service.cli.running import or_exit
from service.doctor.examination import examine, holds
from service.doctor.findings import Finding, Outcome
from service.doctor.proposals import proposals
from service.doctor.target import Options
from service.identities import Identities, check_identity
from service.outgoing import open_configured_redis

_FAMILY_WIDTH: Final = 10
_NAME_WIDTH: Final = 40
_MARKS: Final = {Outcome.PROVED: "ok", Outcome.FAILED: "no", Outcome.SKIPPED: "-"}


@click.command()
@click.option("--hub", default="fanoutdoctor", show_default=True, help="The scratch hub; no live client should use it.")
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
def doctor(hub: str, provoke: int, timeout: float, *, as_json: bool, record: bool) -> None:
    """Prove against the service of AzureSignalRConnectionString what delivery relies on.

    It signs tokens in several forms, calls every route on a scratch hub under random ids, and receives the messages
    with real clients. It ends with the settings that fit the service.
    Exit code 0: everything that the configuration relies on was proved.
    """
    settings = or_exit(load)
    service = or_exit(lambda: _service(settings))
    options = or_exit(lambda: Options(_hub(hub), timeout=timeout, provoke=provoke))
    findings = asyncio.run(_examined(service, settings, options, quiet=as_json))
    recorded = asyncio.run(_recorded(service, settings, findings)) if record else ""
    if as_json:
        click.echo(orjson.dumps(document(service, settings, options, findings), option=orjson.OPT_INDENT_2).decode())
    else:
        click.echo(summary(findings, settings))
    if recorded:
        click.echo(recorded, err=as_json)
    sys.exit(0 if holds(findings) else 1)


async def _examined(service: ConnectionString, settings: Settings, options: Options, *, quiet: bool) -> list[Finding]:
    findings: list[Finding] = []
    if not quiet:
        click.echo(heading(service, settings, options))
    async for finding in examine(service, settings, options, SystemClock()):
        findings.append(finding)
        if not quiet:
            click.echo(row(finding))
    return findings


async def _recorded(service: ConnectionString, settings: Settings, findings: Sequence[Finding]) -> str:
    """Keep what was found of `:execute` where workers look for it, and return what was done."""
    proposed, clock = proposals(findings, settings).get(variable_of("execute")), SystemClock()
    if proposed is None:
        return "Nothing was recorded: `:execute` could not be tried."
    identities = Identities(clock)
    redis_client = or_exit(lambda: open_configured_redis(settings, clock, identities=identities))
    evidence, proved = Evidence(redis_client, Keys(settings.namespace)), proposed == "true"
    try:
        await identities.prepare()
        await evidence.record(service.server_endpoint, proved=proved, at=clock.wall())
    except QueueError as error:
        raise click.ClickException(f"Nothing was recorded: {error}") from None
    finally:
        await redis_client.aclose()
    return f"Recorded: {service.server_endpoint} runs `:execute`." if proved else "Recorded: it runs no `:execute`."


def _hub(name: str) -> str:
    try:
        return check_hub(name)
    except BadRequestError as error:
        raise ConfigurationError(f"--hub: {error}") from None


def _service(settings: Settings) -> ConnectionString:
    text = settings.connection_string.get_secret_value()
    if not text:
        raise ConfigurationError(
            f"{CONNECTION_STRING} is not set: name the service to examine. `fanout emulate` prints one."
        )
    service = ConnectionString.parse(text)
    check_identity(service)
    return service


def heading(service: ConnectionString, settings: Settings, options: Options) -> str:
    """Return what is examined; it contains no secret."""
    identity = "" if service.entra is None else f", as {service.entra.text}"
    return f"{service.server_endpoint}, hub {options.hub}, api-version {settings.api_version}{identity}\n"


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


def document(
    service: ConnectionString, settings: Settings, options: Options, findings: Sequence[Finding]
) -> dict[str, Any]:
    """Return the same for programs, in camelCase."""
    return {
        "ok": holds(findings),
        "service": service.server_endpoint,
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
            for finding in findings
        ],
        "settings": dict(proposals(findings, settings)),
    }
