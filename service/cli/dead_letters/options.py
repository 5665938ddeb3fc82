"""What the commands about dead letters share: their options, and how they end.

Rule guarded: exit code 0: done. 1: refused, not confirmed, or there was nothing. 2: a wrong option, or no ingress.
"""

import sys
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click
import orjson

from fanout.environment import load
from fanout.errors import ConfigurationError
from service.admin.dead_letters.command import REASONS
from service.cli.dead_letters.client import Caller, RefusedError
from service.cli.dead_letters.tables import json_lines
from service.cli.trace import plain

F = TypeVar("F", bound=Callable[..., Any])
REFUSED, WRONG = 1, 2
FILTERS = (
    click.option("--hub", help="Those of this hub."),
    click.option(
        "--reason",
        metavar="REASON",
        type=click.Choice(REASONS),
        help=f"Those that died of this: {', '.join(REASONS)}.",
    ),
    click.option("--message-id", "messageId", metavar="ID", help="Those of this message."),
    click.option(
        "--before", metavar="TIME", help="Those parked before this: 2026-05-04T09:12:33Z (UTC), or unix seconds."
    ),
)
PLACE = (
    click.option("--url", default="http://127.0.0.1:8080", show_default=True, help="The ingress."),
    click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text."),
)


def with_options(*options: Callable[[F], F]) -> Callable[[F], F]:
    """Give a command these options, in this order."""

    def decorate(command: F) -> F:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def said(filters: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what was not said."""
    return {name: value for name, value in filters.items() if value is not None}


def run(url: str, work: Callable[[Caller], int]) -> None:
    """Do the work and end the process with its exit code, or with that of what went wrong."""
    try:
        code = work(Caller(url, load().api_key.get_secret_value()))
    except RefusedError as error:
        note(f"fanout: {plain(error)}")
        code = REFUSED
    except ConfigurationError as error:
        note(f"fanout: {error}")
        code = WRONG
    sys.exit(code)


def show_lines(lines: list[str]) -> None:
    """Print lines, where there are any."""
    if lines:
        click.echo("\n".join(lines))


def show_json(document: Mapping[str, Any] | str) -> None:
    """Print a document, or the JSON of one."""
    show_lines(json_lines(document if isinstance(document, str) else orjson.dumps(document)))


def note(text: str) -> None:
    """Say something beside the output, where there is anything to say."""
    if text:
        click.echo(text, err=True)
