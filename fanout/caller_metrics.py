"""What is counted for callers one by one, for those that an operator names.

Rule guarded: the number of series is bounded by the setting, never by who calls. Whoever is not named counts as
`other`, and nothing is counted as long as nobody is named.
"""

from collections.abc import Sequence
from typing import Final

from fanout.instruments import Counter, Counters

OTHER: Final = "other"
MAX_CALLERS: Final = 50


class CallerMetrics:
    """Counters for each named caller and for all others together; empty without a name."""

    def __init__(self, section: str, callers: Sequence[str]) -> None:
        self.counters = Counters(section)
        self.is_enabled = bool(callers)
        values = tuple(dict.fromkeys((*callers, OTHER))) if callers else ()
        self._batches = self.counters.counters(
            "fanout_caller_batches", "Batches and calls of which something was stored, by caller.", "caller", values
        )
        self._accepted = self.counters.counters(
            "fanout_caller_accepted", "Entries stored, by caller.", "caller", values
        )
        self._limited = self.counters.counters(
            "fanout_caller_limited", "Requests refused because their caller sent more than it may.", "caller", values
        )

    def limited(self, caller: str) -> None:
        """Count a request that was refused because the caller has sent what it may."""
        if self.is_enabled:
            _child(self._limited, caller).inc()

    def accepted(self, caller: str, entries: int) -> None:
        """Count a batch, and its entries that were stored."""
        _child(self._batches, caller).inc()
        _child(self._accepted, caller).inc(entries)


def _child(children: dict[str, Counter], caller: str) -> Counter:
    return children.get(caller) or children[OTHER]
