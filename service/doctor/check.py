"""What a check is, and what came of it: the values the doctor works with.

Rule guarded: a check proves one sentence by doing it. It returns what it saw, or raises; it never judges whether the
finding matters. That is `relied_on`, which follows from the configuration and alone decides the exit code.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum

from service.doctor.target import Patient


class Standing(StrEnum):
    """What came of a check; the values are those of --json."""

    PROVED = "proved"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Check:
    """One sentence about the service and how to prove it.

    `run` gives what was seen, or raises a FanoutError or TimeoutError. `needs` names the check without which this one
    could prove nothing. `relied_on` tells whether the configuration depends on it.
    """

    family: str
    name: str
    run: Callable[[Patient], Awaitable[str]]
    needs: str = ""
    relied_on: bool = True


@dataclass(frozen=True, slots=True)
class Finding:
    """What came of one check; `seconds` is how long it took."""

    family: str
    name: str
    standing: Standing
    relied_on: bool
    detail: str
    seconds: float = 0.0

    @property
    def harmful(self) -> bool:
        """Whether the configuration depends on what was not proved."""
        return self.relied_on and self.standing is not Standing.PROVED
