"""`fanout hub`: asks the service about one hub, and closes all its connections.

Rule guarded: nothing is closed that was not told and confirmed first, unless --yes is given.
"""

import sys
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import quote

import click
import msgspec

from fanout.signalr.message import UNNAMED
from service.cli.api import Api, api_key, url_option
from service.cli.groups import WholeGroup
from service.cli.render import cell, plain, table
from service.cli.running import NO, or_exit

_TIMEOUT: Final = 30.0
_MAX_PAGE: Final = 200


_ENDPOINT: Final = click.option(
    "--endpoint", metavar="NAME", help="Only this endpoint; `default` has no name. Without it every one."
)


@click.group(cls=WholeGroup)
def hub() -> None:
    """Ask the service who is connected to a hub, or close all its connections.

    \b
    fanout hub exists chat --user alice
    fanout hub exists chat --user alice --group red
    fanout hub connections chat --group red
    fanout hub close chat --reason maintenance

    The API key is read from FANOUT_API_KEY.
    """  # noqa: D301 - click reads the backspace character as "do not re-wrap"


@hub.command()
@url_option("admin_url", "url")
@click.option("--connection", help="Whether this connection is there.")
@click.option("--user", help="Whether this user has a connection; with --group whether it is a member.")
@click.option("--group", help="Whether this group has a connection.")
@_ENDPOINT
@click.argument("name", metavar="HUB")
def exists(url: str, name: str, **names: str | None) -> None:
    """Say whether a connection, a user, a group or a membership exists, and where.

    Give one of --connection, --user and --group, or --user with --group for a membership.
    With several endpoints "no" means that each of them said so.

    Exit code 0: yes; 1: no; 2: it could not be asked, or not every endpoint that matters answered.
    """
    asked = {kind: value for kind, value in names.items() if value is not None}

    def work(api: Api) -> int:
        found = _called(api, "GET", _path(name, "exists"), "exists", params=asked)
        places = ", ".join(map(plain, found.get("endpoints", ())))  # an older ingress does not say
        where = "" if places in ("", UNNAMED) else f" ({places})"
        click.echo(f"yes{where}" if found["exists"] else "no")
        if found.get("unanswered"):
            click.echo(f"Not answered: {', '.join(map(plain, found['unanswered']))}.", err=True)
        return 0 if found["exists"] else NO

    _run(url, work)


@hub.command()
@url_option("admin_url", "url")
@click.option("--group", required=True, help="The group; the service lists the connections of groups alone.")
@click.option("--limit", type=click.IntRange(1), default=200, show_default=True, help="List at most N.")
@_ENDPOINT
@click.argument("name", metavar="HUB")
def connections(url: str, name: str, group: str, limit: int, endpoint: str | None) -> None:
    """List the connections of a group with their users. Exit code 2: they could not be asked for."""

    def work(api: Api) -> int:
        items: list[dict[str, Any]] = []
        query = {"group": group} | ({} if endpoint is None else {"endpoint": endpoint})
        while len(items) < limit:
            query["limit"] = str(min(_MAX_PAGE, limit - len(items)))
            page = _called(api, "GET", _path(name, "connections"), "items", params=query)
            items += page["items"]
            if page["next"] is None or not page["items"]:
                break
            query["cursor"] = page["next"]
        else:
            click.echo("There may be more: raise --limit.", err=True)
        heading, members = ["CONNECTION", "USER"], ["connectionId", "userId"]
        if any(item.get("endpoint", UNNAMED) != UNNAMED for item in items):
            heading, members = [*heading, "ENDPOINT"], [*members, "endpoint"]
        rows = [[cell(item[member]) for member in members] for item in items]
        click.echo("\n".join(table([heading, *rows])) if rows else "There are none.")
        return 0

    _run(url, work)


@hub.command()
@url_option("admin_url", "url")
@click.option("--reason", default="", help="Told to the clients, where detailed errors are enabled.")
@_ENDPOINT
@click.option("--dry-run", is_flag=True, help="Only say what waits; close nothing.")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@click.argument("name", metavar="HUB")
def close(url: str, name: str, reason: str, endpoint: str | None, *, dry_run: bool, yes: bool) -> None:
    """Close every connection of a hub, at every endpoint unless one is named.

    The closing is queued and repeated until the service has done it. Clients may connect again at once. How many
    connections a hub has the service does not say.

    Exit code 0: it is queued; 1: it was not confirmed; 2: it was refused, or nobody could be asked.
    """
    command: dict[str, Any] = {"all": True} | ({"reason": reason} if reason else {})
    command |= {} if endpoint is None else {"endpoint": endpoint}
    where = f"hub {plain(name)}" + ("" if endpoint is None else f" at endpoint {plain(endpoint)}")

    def work(api: Api) -> int:
        path = _path(name, "close")
        waiting = _called(api, "POST", path, "waiting", json={**command, "dryRun": True})["waiting"]
        click.echo(f"This closes every connection of {where}. Entries of it that wait: {waiting}.", err=True)
        if dry_run:
            return 0
        if not yes:
            click.confirm("Close them?", abort=True, err=True)
        done = _called(api, "POST", path, "waiting", json=command)
        click.echo(f"Queued as {plain(done['messageId'])}.")
        return 0

    _run(url, work)


def _path(name: str, what: str) -> str:
    return f"/v1/admin/hubs/{quote(name, safe='').replace('.', '%2E')}/{what}"


def _called(api: Api, method: str, path: str, member: str, **content: Any) -> Any:
    response = api.checked(api.call(method, path, timeout=_TIMEOUT, **content), members={member})
    return msgspec.json.decode(response.content)


def _run(url: str, work: Callable[[Api], int]) -> None:
    sys.exit(or_exit(lambda: work(Api(url, api_key()))))
