"""The command line, `fanout`: one command for each thing an operator does.

Rule guarded: this room is the only one that knows click.
"""

import sys
from collections.abc import Mapping
from typing import Final

import click

from fanout import __version__
from service.cli.groups import SectionedGroup

_SECTIONS: Final[Mapping[str, Mapping[str, str]]] = {
    "To try it": {"dev": "service.cli.dev", "emulate": "service.cli.emulate", "send": "service.cli.send"},
    "To run it": {
        "serve": "service.cli.serve",
        "config": "service.cli.config",
        "doctor": "service.cli.doctor",
        "keys": "service.cli.keys",
    },
    "To see what it does": {
        "top": "service.cli.top",
        "trace": "service.cli.trace",
        "pauses": "service.cli.pauses",
    },
    "To step in": {
        "dead-letters": "service.cli.dead_letters.commands",
        "pause": "service.cli.pauses",
        "resume": "service.cli.pauses",
        "hub": "service.cli.hub",
    },
}


@click.group(
    cls=SectionedGroup,
    sections=_SECTIONS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.version_option(__version__, prog_name="fanout")
def main() -> None:
    """Durable, ordered fan-out of SignalR messages to Azure SignalR Service.

    Backends POST batches of messages and group actions. They are queued in Redis streams and delivered to the service
    in order, with retries. `fanout dev` starts all of it on this machine, without any settings.

    Settings come from the environment; `fanout config` prints all of them. `fanout COMMAND --help` tells the rest.
    """


if __name__ == "__main__":
    sys.exit(main())
