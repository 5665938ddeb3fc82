"""`fanout doctor`: the examination on the command line.

Rules guarded: the exit code is 0 only when what the configuration relies on was proved, 1 when something of it was not,
2 when there is nothing to examine; a row is printed as soon as it is known, so that a slow service is seen to be slow.
"""

import asyncio
import sys

import click
import orjson

from fanout.binding.names import check_hub
from fanout.clock import SystemClock
from fanout.environment import CONNECTION_STRING, load
from fanout.errors import BadRequestError, ConfigurationError
from fanout.settings import Settings
from fanout.signalr.connection_string import ConnectionString, require_access_key
from service.cli.doctor_table import document, heading, row, summary
from service.doctor.examination import examine, holds
from service.doctor.findings import Finding
from service.doctor.target import Options

_WRONG = 2


@click.command()
@click.option("--hub", default="fanoutdoctor", show_default=True, help="The scratch hub; no live client should use it.")
@click.option(
    "--provoke-429",
    "provoke",
    type=click.IntRange(0, 100_000),
    default=0,
    help="Send this many quick calls to see what a 429 carries. Live traffic of the service feels it.",
)
@click.option("--timeout", type=click.FloatRange(0.1, 120), default=10.0, show_default=True, help="For each call.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document instead of the table.")
def doctor(hub: str, provoke: int, timeout: float, *, as_json: bool) -> None:
    """Examine the service of AzureSignalRConnectionString and prove what delivery relies on.

    It signs tokens in several forms, calls every route on a scratch hub under random ids, and listens with real
    clients.
    Exit code 0: what the configuration relies on holds.
    """
    try:
        settings = load()
        service = _service(settings)
        options = Options(check_hub(hub), timeout=timeout, provoke=provoke)
    except (ConfigurationError, BadRequestError) as error:
        click.echo(f"fanout: {error}", err=True)
        sys.exit(_WRONG)
    findings = asyncio.run(_examined(service, settings, options, quiet=as_json))
    if as_json:
        click.echo(orjson.dumps(document(service, settings, options, findings), option=orjson.OPT_INDENT_2).decode())
    else:
        click.echo(summary(findings, settings))
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


def _service(settings: Settings) -> ConnectionString:
    text = settings.connection_string.get_secret_value()
    if not text:
        raise ConfigurationError(
            f"{CONNECTION_STRING} is not set: name the service to examine. `fanout emulate` prints one."
        )
    return require_access_key(ConnectionString.parse(text))
