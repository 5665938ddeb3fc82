"""The store's clock as this worker knows it.

Rule guarded: the age of an entry is measured by one clock, the store's, which also wrote the entry's id; clocks of
workers may be wrong or jump without expiring anything early. What is known is an interval, because an answer may have
been on its way for a while; the later end is used, so that nothing is taken for younger than it is. Pure.
"""

from math import inf

_PRECISION = 0.001  # the store tells whole milliseconds, rounded down


class StoreTime:
    """The difference between the store's clock and ours: somewhere between the bounds all answers so far allow."""

    def __init__(self) -> None:
        self._low, self._high = -inf, inf

    def __repr__(self) -> str:
        return f"<StoreTime {self._low:.3f} to {self._high:.3f} ahead>"

    def note(self, store: float, asked: float, answered: float) -> None:
        """Remember that the store's clock said `store` (unix seconds) between two readings of our monotonic clock."""
        low, high = store - answered, store + _PRECISION - asked
        self._low, self._high = max(self._low, low), min(self._high, high)
        if self._low > self._high:
            self._low, self._high = low, high  # the store's clock was set, or ours ran at another speed

    def now(self, monotonic: float) -> float:
        """Give the latest the store's clock may say, in unix seconds; minus infinity before it was ever asked."""
        return monotonic + self._high if self._high != inf else -inf
