"""`fanout config`: prints the settings, and checks them.

Rule guarded: secrets are masked. Of a Redis URL the servers are shown, never the credentials.
"""

from typing import Any

import click

from fanout.environment import load, text_of, variable_of
from fanout.errors import ConfigurationError
from fanout.log import MASK
from fanout.redis.address import parse
from fanout.settings import ESSENTIAL, SUBJECTS, Settings
from service.cli.running import or_exit


@click.command()
@click.option("--changed", is_flag=True, help="Print only what differs from its default.")
def config(*, changed: bool) -> None:
    """Print every setting with its effective value and its meaning.

    The settings that an operator decides first come first, then the others by subject. Secrets are masked. Durations
    are written as 500ms, 30s, 10m or 1h, sizes as 64KiB or 16MiB. A secret may be read from a file whose path is in
    the variable with _FILE appended.
    """
    settings, defaults = or_exit(load), load({})
    differing = [name for name in Settings.model_fields if getattr(settings, name) != getattr(defaults, name)]
    for title, names in _sections():
        chosen = [name for name in names if name in differing or not changed]
        if chosen:
            click.echo(f"\n{click.style(title, underline=True)}\n")
        for name in chosen:
            mark = click.style("  (set)", fg="green") if name in differing else ""
            click.echo(f"{click.style(variable_of(name), bold=True)}={_shown(name, getattr(settings, name))}{mark}")
            click.echo(f"    {Settings.model_fields[name].description}")
    if changed and not differing:
        click.echo("Every setting has its default.", err=True)


def _sections() -> list[tuple[str, list[str]]]:
    rest = [
        (str(subject.__doc__).rstrip("."), [name for name in subject.model_fields if name not in ESSENTIAL])
        for subject in SUBJECTS
    ]
    return [("What to decide first", list(ESSENTIAL)), *rest]


def _shown(name: str, value: Any) -> str:
    text = text_of(name, value)
    if name == "redis_url":
        return _servers_of(text)
    return MASK if text and hasattr(value, "get_secret_value") else text


def _servers_of(url: str) -> str:
    try:
        return str(parse(url))
    except ConfigurationError:
        return MASK  # it cannot be parsed, so it is not known where the password ends
