"""`fanout pause`, `fanout resume` and `fanout pauses`: hold delivery back, let it go on, and see what is held back.

Rule guarded: nothing is paused or resumed by accident: one of --hub, --class and --all has to be given, or --endpoint,
which narrows them and alone means all of that endpoint. What it concerns is told and confirmed first, unless --yes is
given.
"""

import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

import click
import msgspec

from fanout.signalr.message import RouteClass
from fanout.units import parse_duration
from service.cli.api import Api, api_key, url_option
from service.cli.render import cell, plain, table
from service.cli.running import NO, or_exit

F = TypeVar("F", bound=Callable[..., Any])
_TIMEOUT = 10.0
_PATH = "/v1/admin/pauses"
_YES = click.option("--yes", is_flag=True, help="Do not ask for confirmation.")


def _target_options(command: F) -> F:
    options = (
        click.option("--hub", help="This hub."),
        click.option(
            "--class", "route_class", type=click.Choice([each.label for each in RouteClass]),
            help="Calls of this class in every hub; sends are messages to users, groups and connections.",
        ),
        click.option("--all", "everything", is_flag=True, help="Everything."),
        click.option("--endpoint", metavar="NAME", help="Only at this endpoint; `default` is the one without a name."),
    )  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


@click.command()
@url_option("admin_url", "url")
@_target_options
@click.option("--for", "duration", metavar="DURATION", help="For so long: 600, 90s, 10m. Without it until `resume`.")
@click.option("--reason", default="", help="Why, for those who see it.")
@_YES
def pause(url: str, *, duration: str | None, reason: str, yes: bool, **target: Any) -> None:
    """Hold back the delivery to a hub, of a class of calls, or all of it.

    Give one of --hub, --class and --all. --endpoint narrows it to one endpoint, and alone means all of that endpoint.

    Messages are still accepted; they wait in the queue, in order. All workers obey within a second. Calls in flight end
    as they will. The API key is read from FANOUT_API_KEY.

    Exit code 0: it is paused; 1: it was not confirmed; 2: it was refused, or nobody could be asked.
    """
    meant = _target_of(**target)
    command = meant | ({"reason": reason} if reason else {})
    if duration is not None:
        command["seconds"] = _seconds(duration)

    def work() -> int:
        api = Api(url, api_key())
        waiting = _called(api, "POST", f"{_PATH}/preview", {"waiting"}, meant)["waiting"]
        click.echo(f"This holds back {_words_of(meant)}: {waiting} entries wait now, and what is accepted.", err=True)
        if not yes:
            click.confirm("Pause?", abort=True, err=True)
        [item] = [_called(api, "POST", f"{_PATH}/set", {"target"}, command)]
        click.echo("\n".join(_lines([item])))
        return 0

    sys.exit(or_exit(work))


@click.command()
@url_option("admin_url", "url")
@_target_options
@_YES
def resume(url: str, *, yes: bool, **target: Any) -> None:
    """Let delivery go on that was paused, by hand or because the service asked for it.

    Give one of --hub, --class and --all, as for `fanout pause`.
    With --endpoint only pauses of that endpoint are lifted, and none that holds back every endpoint.
    The API key is read from FANOUT_API_KEY.

    Exit code 0: a pause was lifted; 1: there was none, or it was not confirmed; 2: it was refused, or nobody could be
    asked.
    """
    command = _target_of(**target)

    def work() -> int:
        api = Api(url, api_key())
        found = _called(api, "POST", f"{_PATH}/preview", {"waiting"}, command)
        if not found["pauses"]:
            click.echo(f"Nothing pauses {_words_of(command)}.")
            return NO
        click.echo("\n".join([*_lines(found["pauses"]), f"{found['waiting']} entries wait."]), err=True)
        if not yes:
            click.confirm("Resume?", abort=True, err=True)
        lifted = _called(api, "POST", f"{_PATH}/lift", {"lifted"}, command)["lifted"]
        click.echo(f"{lifted} pause{'' if lifted == 1 else 's'} lifted.")
        return 0 if lifted else NO

    sys.exit(or_exit(work))


@click.command()
@url_option("admin_url", "url")
@click.option("--json", "as_json", is_flag=True, help="Print the answer unchanged.")
def pauses(url: str, *, as_json: bool) -> None:
    """List what is paused, since when, until when, by whom and why.

    The API key is read from FANOUT_API_KEY.
    """

    def work() -> int:
        document = _called(Api(url, api_key()), "GET", _PATH, {"items"})
        if as_json:
            click.echo(msgspec.json.encode(document).decode())
        else:
            click.echo("\n".join(_lines(document["items"])) if document["items"] else "Nothing is paused.")
        return 0

    sys.exit(or_exit(work))


def _target_of(*, hub: str | None, route_class: str | None, everything: bool, endpoint: str | None) -> dict[str, Any]:
    given = {"hub": hub, "class": route_class, "all": everything or None}
    target = {name: value for name, value in given.items() if value is not None}
    if not target and endpoint is not None:
        target = {"all": True}
    if len(target) != 1:
        raise click.UsageError("Give one of --hub, --class and --all; --endpoint narrows it to one endpoint.")
    return target if endpoint is None else {**target, "endpoint": endpoint}


def _words_of(target: dict[str, Any]) -> str:
    where = f" at endpoint {plain(target['endpoint'])}" if "endpoint" in target else ""
    if "all" in target:
        return f"everything{where}"
    return (f"hub {plain(target['hub'])}" if "hub" in target else f"the class {plain(target['class'])}") + where


def _seconds(text: str) -> float:
    try:
        seconds = parse_duration(text)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--for") from None
    return float(str(seconds))


def _called(api: Api, method: str, path: str, members: set[str], command: dict[str, Any] | None = None) -> Any:
    content = {} if command is None else {"json": command}
    response = api.checked(api.call(method, path, timeout=_TIMEOUT, **content), members=members)
    return msgspec.json.decode(response.content)


def _lines(items: list[dict[str, Any]]) -> list[str]:
    heading = ["TARGET", "SINCE (UTC)", "UNTIL (UTC)", "BY", "CAUSE"]
    rows = [
        [cell(item["target"]), _time(item["since"]), _time(item["until"]), cell(item["by"]), plain(item["cause"])]
        for item in items
    ]
    return table([heading, *rows])


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "resumed"
    return datetime.fromtimestamp(seconds, UTC).isoformat(sep=" ", timespec="seconds").removesuffix("+00:00")
