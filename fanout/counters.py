"""Counters and histograms that cost next to nothing to write, read when metrics are scraped.

Rule guarded: what is counted per message is an addition and no more. The client library's own instruments take a lock
for every increment; here one event loop writes, so plain numbers do, and the library still renders them.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric


class Count:
    """A number that only grows."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0.0

    def inc(self, amount: float = 1) -> None:
        """Add to it."""
        self.value += amount


class Spread:
    """A histogram: how many observations fell below each bound, and their sum."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Count one observation."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def buckets(self) -> list[tuple[str, float]]:
        """Give the cumulative counts by upper bound, as Prometheus has them."""
        total, rows = 0, []
        for bound, count in zip((*self.bounds, float("inf")), self.counts, strict=True):
            total += count
            rows.append(("+Inf" if bound == float("inf") else str(float(bound)), float(total)))
        return rows


class Tallies:
    """All counts and spreads of one process, as a collector of the client library."""

    def __init__(self) -> None:
        self._counts: list[tuple[str, str, str, dict[str, Count]]] = []
        self._spreads: list[tuple[str, str, Spread]] = []

    def count(self, name: str, text: str) -> Count:
        """Make a counter without labels."""
        count = Count()
        self._counts.append((name, text, "", {"": count}))
        return count

    def counts(self, name: str, text: str, label: str, values: Sequence[str]) -> dict[str, Count]:
        """Make a counter for each value of a label, all present from the start."""
        counts = {value: Count() for value in values}
        self._counts.append((name, text, label, counts))
        return counts

    def spread(self, name: str, text: str, bounds: Sequence[float]) -> Spread:
        """Make a histogram."""
        spread = Spread(bounds)
        self._spreads.append((name, text, spread))
        return spread

    def collect(self) -> Iterator[Metric]:
        """Give everything, as the registry asks for it."""
        for name, text, label, counts in self._counts:
            family = CounterMetricFamily(name, text, labels=[label] if label else [])
            for value, count in counts.items():
                family.add_metric([value] if label else [], count.value)
            yield family
        for name, text, spread in self._spreads:
            yield HistogramMetricFamily(name, text, buckets=spread.buckets(), sum_value=spread.total)
