"""Groups of commands, as their help lists them.

Rule guarded: a reader finds a command by what it is for, and no sentence about one is cut, however narrow the terminal.
"""

from collections.abc import Iterable
from typing import Final

import click

_WHOLE: Final = 1000  # characters


class WholeGroup(click.Group):
    """A group whose help has the first sentence of each command as a whole."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands."""
        del ctx
        self.write(formatter, "Commands", self.commands.values())

    def write(self, formatter: click.HelpFormatter, title: str, commands: Iterable[click.Command]) -> None:
        """Write a section with some commands."""
        longest = max(map(len, self.commands))
        with formatter.section(title):
            formatter.write_dl([(f"{each.name:<{longest}}", each.get_short_help_str(_WHOLE)) for each in commands])
