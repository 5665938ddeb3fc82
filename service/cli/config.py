"""`fanout config`: prints the settings, or checks them.

Rules guarded: secrets are masked; of a Redis URL the servers are shown, never the credentials. A check reports every
finding at once and changes nothing. Its exit code is 0 when the process would work, 2 when a setting cannot work, 1
when Redis or the service refuses or does not answer.
"""

import asyncio
import sys
from typing import Any

import click
import msgspec

from fanout.clock import SystemClock
from fanout.environment import load, variable_of
from fanout.log import MASK, configure
from fanout.queue.store import Finding
from fanout.settings import ESSENTIAL, SUBJECTS, Settings
from fanout.signalr.message import label_of
from service.app import Role
from service.cli.api import Api, api_key, url_option
from service.cli.options import ROLES
from service.cli.render import plain
from service.cli.running import NO, UNANSWERED, or_exit
from service.effective import shown
from service.startup import check_connections, examine_settings

_TIMEOUT = 10.0


@click.command()
@click.option("--changed", is_flag=True, help="Print only what differs from its default.")
@click.option("--check", is_flag=True, help="Print nothing but what is wrong with the settings.")
@click.option("--connect", is_flag=True, help="With --check: connect to Redis and the service too.")
@click.option("--running", is_flag=True, help="Print the settings of the process that answers at --url.")
@url_option("admin_url", "url")
@click.option("--role", type=ROLES, default="all", show_default=True, help="With --check: the role to check for.")
def config(role: Any, url: str, *, running: bool, changed: bool, check: bool, connect: bool) -> None:
    """Print every setting with its effective value and its meaning, or check them with --check.

    The settings that an operator decides first come first, then the others by subject. Secrets are masked. Durations
    are written as 500ms, 30s, 10m or 1h, sizes as 64KiB or 16MiB. A secret may be read from a file whose path is in
    the variable with _FILE appended.

    --running asks a service for the settings that it runs with; the API key is read from FANOUT_API_KEY.

    Exit code of --check: 0 when the process would work; 1 when Redis or the service refuses or does not answer; 2 when
    a setting cannot work. Of --running: 2 when it was refused, or nobody could be asked.
    """
    if running and (check or connect):
        raise click.UsageError("--running asks another process; --check looks at the settings here.")
    if running:
        sys.exit(or_exit(lambda: _print_running(Api(url, api_key()), changed=changed)))
    settings = or_exit(load)
    if check:
        sys.exit(_check(settings, role, connect=connect))
    _print(settings, changed=changed)


def _print_running(api: Api, *, changed: bool) -> int:
    response = api.checked(api.call("GET", "/v1/admin/config", timeout=_TIMEOUT), members={"settings"})
    for setting in msgspec.json.decode(response.content)["settings"]:
        if setting["changed"] or not changed:
            mark = click.style("  (set)", fg="green") if setting["changed"] else ""
            click.echo(f"{click.style(plain(setting['name']), bold=True)}={plain(setting['value'])}{mark}")
    return 0


def _check(settings: Settings, role: Role, *, connect: bool) -> int:
    service, wrong = examine_settings(settings, role)
    findings: list[Finding] = []
    if connect:
        configure(level="error", style="console")
        findings = asyncio.run(check_connections(settings, service, SystemClock()))
    for text in wrong:
        click.echo(f"fanout: {text}", err=True)
    for finding in findings:
        click.echo(f"fanout: {'' if finding.fatal else 'warning: '}{finding.text}", err=True)
    if wrong:
        return UNANSWERED
    if any(finding.fatal for finding in findings):
        return NO
    click.echo("The settings can work." if not connect else "The settings can work; Redis and the service accept them.")
    return 0


def _print(settings: Settings, *, changed: bool) -> None:
    defaults = load({})
    differing = [name for name in Settings.model_fields if getattr(settings, name) != getattr(defaults, name)]
    for title, names in _sections():
        chosen = [name for name in names if name in differing or not changed]
        if chosen:
            click.echo(f"\n{click.style(title, underline=True)}\n")
        for name in chosen:
            mark = click.style("  (set)", fg="green") if name in differing else ""
            click.echo(f"{click.style(variable_of(name), bold=True)}={shown(name, getattr(settings, name))}{mark}")
            click.echo(f"    {Settings.model_fields[name].description}")
    if settings.named_connections:
        click.echo(f"\n{click.style('Endpoints with names', underline=True)}\n")
    for each in settings.named_connections:
        kind = f"{label_of(each.name)}, {each.type.lower()}"
        click.echo(f"{click.style(each.variable, bold=True)}={each.path or MASK}\n    The endpoint {kind}.")
    if changed and not differing and not settings.named_connections:
        click.echo("Every setting has its default.", err=True)


def _sections() -> list[tuple[str, list[str]]]:
    rest = [
        (str(subject.__doc__).rstrip("."), [name for name in subject.model_fields if name not in ESSENTIAL])
        for subject in SUBJECTS
    ]
    return [("What to decide first", list(ESSENTIAL)), *rest]
