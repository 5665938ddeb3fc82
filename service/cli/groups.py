"""Groups of commands, as their help lists them, and the group that imports a command when it is asked for.

Rules guarded: a reader finds a command by what it is for, and no sentence about one is cut, however narrow the
terminal. A process loads what its own command needs and nothing of the others, so that it starts early.
"""

import gc
from collections.abc import Iterable, Mapping
from importlib import import_module
from typing import Any, Final

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


class SectionedGroup(WholeGroup):
    """A group whose help lists the commands by what they are for.

    `sections` has for each title the commands' names, and for each name the module that has it.
    """

    def __init__(self, sections: Mapping[str, Mapping[str, str]], **options: Any) -> None:
        super().__init__(**options)
        self._sections = sections
        self._modules = {name: module for section in sections.values() for name, module in section.items()}

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands."""
        del ctx
        return list(self._modules)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command, imported now if it was not before; None when there is none of this name."""
        if cmd_name not in self.commands and cmd_name in self._modules:
            self.add_command(_imported(self._modules[cmd_name], cmd_name))
        return super().get_command(ctx, cmd_name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands of each section."""
        found = {name: self.get_command(ctx, name) for name in self._modules}
        for title, section in self._sections.items():
            self.write(formatter, title, [command for name in section if (command := found[name])])


def _imported(module: str, name: str) -> click.Command:
    # What an import makes stays. The garbage collector would look through it again and again, a tenth of the time.
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        command: click.Command = getattr(import_module(module), name.replace("-", "_"))
    finally:
        if was_enabled:
            gc.enable()
    return command
