"""How a check says no: one error for everything the service does otherwise than it should.

Rule guarded: the text goes to a person's terminal and into --json, so it carries no secret and no control character,
whatever the service put into its answer.
"""

from fanout.errors import FanoutError
from fanout.log import masked

_LONGEST = 200


class DisprovedError(FanoutError):
    """The service does not do what the check's name says; the text is what it did instead."""

    label = "disproved"


def shown(text: str) -> str:
    """Give foreign text fit to be printed: one line, printable, at most 200 characters, secrets masked."""
    line = "".join(character if character.isprintable() else " " for character in masked(text))
    return line if len(line) <= _LONGEST else line[: _LONGEST - 3] + "..."
