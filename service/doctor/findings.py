"""What came of a check, and how a check fails.

Rules guarded: a finding does not judge whether it matters. `relied_on` does, which follows from the configuration and
alone decides the exit code. Texts of the service go to a terminal and into JSON, so they carry no secret and no control
character.
"""

from dataclasses import dataclass
from enum import StrEnum

from fanout.errors import FanoutError
from fanout.log import masked

_MAX_LENGTH = 200


class Outcome(StrEnum):
    """The outcome of a check; the values are those of --json."""

    PROVED = "proved"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Finding:
    """The outcome of one check, what was seen, and how many seconds it took."""

    family: str
    name: str
    outcome: Outcome
    relied_on: bool
    detail: str
    seconds: float = 0.0

    @property
    def harmful(self) -> bool:
        """Whether the configuration relies on what was not proved."""
        return self.relied_on and self.outcome is not Outcome.PROVED


class CheckFailedError(FanoutError):
    """The service does not do what the check's name says; the text is what it did instead."""

    label = "checkFailed"


def printable(text: str) -> str:
    """Return foreign text fit to be printed: one line, printable, at most 200 characters, secrets masked."""
    line = "".join(character if character.isprintable() else " " for character in masked(text))
    return line if len(line) <= _MAX_LENGTH else line[: _MAX_LENGTH - 3] + "..."
