"""What the commands about dead letters share: their options, and how they end.

Rule guarded: exit code 0: done. 1: not confirmed, or there was nothing. 2: a wrong option, refused, or no ingress.
"""

import sys
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click
import orjson

from service.admin.dead_letters.command import REASONS
from service.cli.api import Api, api_key, url_option
from service.cli.dead_letters.client import DeadLetterClient
from service.cli.render import json_lines
from service.cli.running import or_exit

F = TypeVar("F", bound=Callable[..., Any])
FILTERS = (
    click.option("--hub", help="Only letters of this hub."),
    click.option(
        "--endpoint", metavar="NAME", help="Only letters for this endpoint; `default` is the one without a name."
    ),
    click.option(
        "--reason",
        metavar="REASON",
        type=click.Choice(REASONS),
        help=f"Only letters with this reason: {', '.join(REASONS)}.",
    ),
    click.option("--to", metavar="NAME", help="Only letters for this user, group or connection."),
    click.option("--message-id", "messageId", metavar="ID", help="Only letters of this message."),
    click.option(
        "--since",
        metavar="TIME",
        help="Only letters parked at this time or later: 2026-05-04T09:12:33Z (UTC), or unix seconds.",
    ),
    click.option(
        "--before",
        metavar="TIME",
        help="Only letters parked before this time: 2026-05-04T09:12:33Z (UTC), or unix seconds.",
    ),
)
COMMON = (
    url_option("admin_url", "url"),
    click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text."),
)


def with_options(*options: Callable[[F], F]) -> Callable[[F], F]:
    """Add these options to a command, in this order."""

    def decorate(command: F) -> F:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def given(filters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the filters that were given."""
    return {name: value for name, value in filters.items() if value is not None}


def run(url: str, work: Callable[[DeadLetterClient], int]) -> None:
    """Do the work and end the process with its exit code, or with that of a refusal."""
    sys.exit(or_exit(lambda: work(DeadLetterClient(Api(url, api_key())))))


def print_lines(lines: list[str]) -> None:
    """Print lines, if there are any."""
    if lines:
        click.echo("\n".join(lines))


def print_json(document: Mapping[str, Any] | str) -> None:
    """Print a document, or the JSON of one."""
    print_lines(json_lines(document if isinstance(document, str) else orjson.dumps(document)))


def note(text: str) -> None:
    """Print a remark to standard error, if there is one."""
    if text:
        click.echo(text, err=True)
