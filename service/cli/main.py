"""The command line, `fanout`: one command for each thing an operator does.

Rule guarded: this room is the only one that knows click.
"""

import sys

import click

from fanout import __version__
from service.cli.config import config
from service.cli.dead_letters.commands import dead_letters
from service.cli.dev import dev
from service.cli.doctor import doctor
from service.cli.hub import hub
from service.cli.keys import keys
from service.cli.pauses import pause, pauses, resume
from service.cli.send import send
from service.cli.serve import emulate, serve
from service.cli.top import top
from service.cli.trace import trace


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="fanout")
def main() -> None:
    """Durable, ordered fan-out of SignalR messages to Azure SignalR Service.

    Backends POST batches of messages and group actions. They are queued in Redis streams and delivered to the service
    in order, with retries. Settings come from the environment; `fanout config` prints all of them.
    """


for command in (serve, dev, emulate, send, top, trace, dead_letters, pause, resume, pauses, hub, keys, doctor, config):
    main.add_command(command)

if __name__ == "__main__":
    sys.exit(main())
