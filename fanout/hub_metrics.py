"""What is counted for hubs one by one, for those that an operator names.

Rule guarded: the number of series is bounded by the setting, never by what callers send. Whatever hub is not named
counts as `other`, and nothing is counted as long as none is named.
"""

from collections.abc import Sequence
from typing import Final

from fanout.instruments import Counter, Counters, Histogram

OTHER: Final = "other"
MAX_HUBS: Final = 50


class HubMetrics:
    """Counters and a histogram for each named hub and for all others together; empty without a name."""

    def __init__(self, section: str, hubs: Sequence[str], bounds: Sequence[float]) -> None:
        self.counters = Counters(section)
        self.is_enabled = bool(hubs)
        values = tuple(dict.fromkeys((*hubs, OTHER))) if hubs else ()
        self._accepted = self._counter("fanout_hub_accepted", "Entries stored, by hub.", values)
        self._settled = self._counter(
            "fanout_hub_settled", "Entries that are delivered, gone, expired or superseded, by hub.", values
        )
        self._dead = self._counter("fanout_hub_dead", "Entries parked as dead letters, by hub.", values)
        self._seconds = self.counters.histograms(
            "fanout_hub_delivery_seconds", "Time from accepting an entry to settling its delivery, by hub.", bounds,
            hub=values,
        )  # fmt: skip

    def accepted(self, hub: str, count: int) -> None:
        """Count entries that were stored."""
        _child(self._accepted, hub).inc(count)

    def settled(self, hub: str, count: int) -> None:
        """Count entries that left the queue and are no dead letters."""
        _child(self._settled, hub).inc(count)

    def died(self, hub: str) -> None:
        """Count an entry that became a dead letter."""
        _child(self._dead, hub).inc()

    def seconds(self, hub: str) -> Histogram:
        """Return the histogram of the time to the end of a delivery."""
        return self._seconds.get((hub,)) or self._seconds[OTHER,]

    def _counter(self, name: str, text: str, hubs: Sequence[str]) -> dict[str, Counter]:
        return self.counters.counters(name, text, "hub", hubs)


def _child(children: dict[str, Counter], hub: str) -> Counter:
    return children.get(hub) or children[OTHER]
