"""The command line, `fanout`: one command for each thing an operator does.

Rule guarded: this room is the only one that knows click.
"""

import sys
from collections.abc import Mapping, Sequence
from typing import Final

import click

from fanout import __version__
from service.cli.config import config
from service.cli.dead_letters.commands import dead_letters
from service.cli.dev import dev
from service.cli.doctor import doctor
from service.cli.groups import WholeGroup
from service.cli.hub import hub
from service.cli.keys import keys
from service.cli.pauses import pause, pauses, resume
from service.cli.send import send
from service.cli.serve import emulate, serve
from service.cli.top import top
from service.cli.trace import trace

_SECTIONS: Final[Mapping[str, Sequence[click.Command]]] = {
    "To try it": (dev, emulate, send),
    "To run it": (serve, config, doctor, keys),
    "To see what it does": (top, trace, pauses),
    "To step in": (dead_letters, pause, resume, hub),
}


class _Sectioned(WholeGroup):
    """A group whose help lists the commands by what they are for."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands of each section."""
        del ctx
        for title, commands in _SECTIONS.items():
            self.write(formatter, title, commands)


@click.group(cls=_Sectioned, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="fanout")
def main() -> None:
    """Durable, ordered fan-out of SignalR messages to Azure SignalR Service.

    Backends POST batches of messages and group actions. They are queued in Redis streams and delivered to the service
    in order, with retries. `fanout dev` starts all of it on this machine, without any settings.

    Settings come from the environment; `fanout config` prints all of them. `fanout COMMAND --help` tells the rest.
    """


for _commands in _SECTIONS.values():
    for _command in _commands:
        main.add_command(_command)

if __name__ == "__main__":
    sys.exit(main())
