"""How much a caller may send: so many requests and so many bytes in a time, `100/s`, `1MiB/s`, `6000/m`. Pure.

Rule guarded: a limit reads the same wherever it is stated, in a setting, at a key or for a role.
"""

import re
from dataclasses import dataclass
from typing import Final

from fanout.units import format_size, parse_size

_WINDOWS: Final = {"s": 1, "m": 60, "h": 3600}
_RATE: Final = re.compile(r"(\d{1,9})\s*/\s*([smh])", re.ASCII)
_MOST: Final = 2**40


@dataclass(frozen=True, slots=True)
class Quota:
    """So many in so many seconds. It fills up evenly; what is not used in one window is not saved for the next."""

    amount: int
    window: int

    @property
    def rate(self) -> float:
        """How many are added in a second."""
        return self.amount / self.window

    @property
    def unit(self) -> str:
        """The letter of the window."""
        return next(letter for letter, seconds in _WINDOWS.items() if seconds == self.window)


@dataclass(frozen=True, slots=True)
class Limits:
    """What one caller may send; None for what is not limited. One of the two is set."""

    requests: Quota | None = None
    size: Quota | None = None

    @property
    def text(self) -> str:
        """The limits as people write them."""
        parts = []
        if self.requests is not None:
            parts.append(f"{self.requests.amount} requests/{self.requests.unit}")
        if self.size is not None:
            parts.append(f"{format_size(self.size.amount)}/{self.size.unit} of bodies")
        return " and ".join(parts)


def parse_rate(text: str) -> Quota | None:
    """Read a rate of requests, None for "". ValueError says what is allowed."""
    if not text:
        return None
    found = _RATE.fullmatch(text.strip())
    if found is None or not int(found[1]):
        raise ValueError("must be a number per second, minute or hour: 100/s, 6000/m, 50000/h")
    return Quota(int(found[1]), _WINDOWS[found[2]])


def parse_bytes(text: str) -> Quota | None:
    """Read a rate of bytes, None for "". ValueError says what is allowed."""
    if not text:
        return None
    amount, slash, window = text.strip().rpartition("/")
    try:
        size = int(str(parse_size(amount.strip())))
    except ValueError:
        size = 0
    if not slash or window.strip() not in _WINDOWS or not 0 < size <= _MOST:
        raise ValueError("must be a size per second, minute or hour: 65536/s, 1MiB/s, 2GiB/h")
    return Quota(size, _WINDOWS[window.strip()])


def limits_of(rate: str, size: str) -> Limits | None:
    """Return what two texts state together, None where both are empty. ValueError says what is allowed."""
    limits = Limits(parse_rate(rate), parse_bytes(size))
    return None if limits == Limits() else limits
