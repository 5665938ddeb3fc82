"""`fanout trace ID`: prints the trace of one message.

Rule guarded: the exit code tells whether there was a trace: 0, 1 when none is kept, 2 when it could not be asked for.
"""

import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import click
import msgspec

from fanout.errors import ConfigurationError
from service.cli.api import Api, RefusedError, api_key, url_option
from service.cli.render import plain
from service.cli.running import NO, or_exit, tell_refusal

_TIMEOUT = 10.0
_NONE_KEPT = "traceUnknown"


@click.command()
@url_option("admin_url", "url")
@click.option("--json", "as_json", is_flag=True, help="Print the answer unchanged.")
@click.argument("message_id", metavar="ID")
def trace(url: str, message_id: str, *, as_json: bool) -> None:
    """Print what happened to a message: accepted, read, each attempt, settled.

    ID is the messageId that the ingress answered. Traces are kept for FANOUT_TRACE_KEEP, which must be set on the
    ingress and the workers. The API key is read from FANOUT_API_KEY.

    Exit code 0: there is a trace; 1: none is kept of this message; 2: it was refused, or nobody could be asked.
    """
    sys.exit(or_exit(lambda: print_trace(Api(url, api_key()), message_id, as_json=as_json)))


def print_trace(api: Api, message_id: str, *, as_json: bool) -> int:
    """Print a trace and return the exit code: 0, or 1 when none is kept. RefusedError and others: no answer."""
    name = quote(message_id, safe="").replace(".", "%2E")  # the id `..` would otherwise be a step upwards
    response = api.call("GET", f"/v1/admin/messages/{name}/trace", timeout=_TIMEOUT)
    if as_json:
        click.echo(response.text.rstrip())
    try:
        document = msgspec.json.decode(api.checked(response, members={"events"}).content, type=dict[str, Any])
        lines = lines_of(document)
    except RefusedError as error:
        if error.code != _NONE_KEPT:
            raise
        tell_refusal(error)
        return NO
    except (LookupError, TypeError):
        raise ConfigurationError(f"{api.url} answered {response.status_code} and is not a fanout ingress.") from None
    if not as_json:
        click.echo("\n".join(lines))
    return 0


def lines_of(document: Mapping[str, Any]) -> list[str]:
    """Return the lines of a trace: the id and when it began (UTC), then each event with the seconds since then."""
    events: Sequence[Mapping[str, Any]] = document["events"]
    began = events[0]["at"]
    at = datetime.fromtimestamp(began, UTC).isoformat(sep=" ", timespec="milliseconds").removesuffix("+00:00")
    return [f"{plain(document['messageId'])}  {at} UTC", *(_line(event, event["at"] - began) for event in events)]


def _line(event: Mapping[str, Any], after: float) -> str:
    detail = dict(event["detail"])
    what = detail.pop("admission", event["what"])  # the result of a submission says more than the submission itself
    details = "  ".join(f"{plain(name)}={plain(value)}" for name, value in detail.items() if value != "")
    return f"  +{after:.3f} s".ljust(14) + f"{plain(what):<10}{details}".rstrip()
